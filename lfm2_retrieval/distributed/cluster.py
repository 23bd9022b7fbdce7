"""The Ray cluster that a collection is built or searched on: reached, or started, and fit for it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ClusterError, MissingExtraError

__all__ = ["connect", "need_ray", "probe", "told"]

_PATIENCE_SECONDS = 5.0
_START_SECONDS = 60.0


def need_ray() -> None:
    """Refuse to begin what needs Ray where that isn't installed.

    Raises
    ------
    MissingExtraError
        If it isn't.
    """
    if "ray" not in sys.modules and find_spec("ray") is None:
        raise MissingExtraError("building and serving on a cluster", "ray")


def connect(address: str | None) -> Any:
    """Reach the cluster at an address, unless this process is connected to one; returns the module ``ray``.

    Parameters
    ----------
    address
        ``HOST:PORT`` of a cluster, ``"auto"`` for the one that runs on this machine, ``"local"`` to start
        one here, None for that of this process, the one that runs here, or a new one.

    Raises
    ------
    MissingExtraError
        If Ray isn't installed.
    ClusterError
        If the address doesn't answer, or refuses this process.
    """
    need_ray()
    import ray

    if ray.is_initialized():
        return ray
    given = os.environ.get("RAY_ADDRESS") if address is None else address
    if given is not None and given not in ("auto", "local") and "://" not in given:
        _check_answers(given)
    try:
        if given is None:
            try:
                _init(ray, "auto")
            except ConnectionError:  # none runs here
                _init(ray, "local")
        else:
            _init(ray, given)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise _refused(given or "this machine", error) from error
    return ray


def _init(ray: Any, address: str) -> None:
    """Connect this process, and say nothing of it."""
    options = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, logging_level="ERROR", log_to_driver=False, **options)


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for minutes, and end the process."""
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise ValueError
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_SECONDS):
            return
    except (ValueError, OverflowError):
        raise ClusterError(
            f"{address[:200]!r} is no address of a Ray cluster: give HOST:PORT (6379 by default), auto for "
            "the one that runs on this machine, or local to start one"
        ) from None
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; ray start --head starts one, "
            "and says its address"
        ) from error


def _refused(address: str, error: BaseException) -> ClusterError:
    """The error for a cluster that can't be used, by what Ray says of it."""
    says: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(says) < 10:
        says.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    together = " ".join(says).lower()
    if any(word in together for word in ("unauthenticated", "authentication", "auth token", "ray_auth")):
        return ClusterError(
            f"the Ray cluster at {address} refuses this process: it asks for its token, which is "
            "~/.ray/auth_token on the machine that started it; copy that file here, or set RAY_AUTH_TOKEN "
            "(and RAY_AUTH_MODE=token)"
        )
    if "could not find any running ray" in together:
        return ClusterError(
            "no Ray cluster runs on this machine: ray start --head starts one; or give its address, or local"
        )
    first = says[0].strip().splitlines()[0][:300] if says[0].strip() else type(error).__name__
    return ClusterError(f"the Ray cluster at {address} can't be used: {first}")


def probe(ray: Any, folder: Path, token: str) -> None:
    """Refuse a cluster whose nodes lack this package, or don't see a folder.

    Parameters
    ----------
    ray
        The module, connected.
    folder, token
        The folder, and the name of a file that is in it.

    Raises
    ------
    ClusterError
        Naming the node, and what to do.
    """
    path, version = str(folder / token), __version__

    def look() -> tuple[str | None, bool]:  # sent by value: a node without the package can run it, too
        import os

        try:
            import lfm2_retrieval
        except ImportError:
            return None, os.path.exists(path)  # noqa: PTH110
        return lfm2_retrieval.__version__, os.path.exists(path)  # noqa: PTH110

    nodes = [node for node in ray.nodes() if node.get("Alive")]
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in nodes:
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(look).options(num_cpus=0, max_retries=1, scheduling_strategy=affinity)
        asked[node["NodeManagerAddress"], node["NodeID"][:8]] = task.remote()
    for (host, node), answer in asked.items():
        try:
            there, seen = ray.get(answer, timeout=_START_SECONDS)
        except Exception as error:
            raise ClusterError(
                f"the node {node} of the Ray cluster, {host}, runs nothing: {error}"
            ) from error
        if there is None:
            raise ClusterError(
                f"the node {node} of the Ray cluster, {host}, lacks this package: pip install "
                f"'lfm2-retrieval[ray]=={version}' there"
            )
        if there != version:
            raise ClusterError(
                f"the node {node} of the Ray cluster, {host}, has lfm2-retrieval {there}, and this is "
                f"{version}: install the same version on all nodes"
            )
        if not seen:
            raise ClusterError(
                f"the node {node} of the Ray cluster, {host}, doesn't see {folder}: use a folder that all "
                "nodes share, mounted at the same path"
            )


@contextmanager
def told(ray: Any, what: str) -> Iterator[None]:
    """Raise what a worker raised as itself, and what Ray says of dead workers as an error of ours."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BaseException):
            raise cause from None
        raise ClusterError(f"{what} failed: {str(error).strip().splitlines()[-1][:300]}") from error
    except (ray.exceptions.RayError, TimeoutError) as error:
        first = str(error).strip().splitlines()
        raise ClusterError(f"{what} failed: {first[0][:300] if first else type(error).__name__}") from error

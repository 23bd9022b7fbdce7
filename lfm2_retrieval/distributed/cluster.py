"""The Ray cluster that a collection is built or searched on: reached, or started, and fit for it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ClusterError, MissingExtraError

__all__ = ["HeadWatch", "connect", "has_head", "host", "living_nodes", "need_ray", "probe", "told"]

_PATIENCE_SECONDS = 5.0
_START_SECONDS = 120.0
_HEAD_LOOK_SECONDS = 2.0
_HEAD_GONE_SECONDS = 8.0
_PATIENT_SECONDS = 1_000_000


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
    given = os.environ.get("RAY_ADDRESS") if address is None else address
    if given is not None and given not in ("auto", "local") and "://" not in given:
        _check_answers(given)
        _agree_on_token(given)
    with _patient():
        import ray

        if ray.is_initialized():
            if has_head(ray) and _is_member(ray):
                return ray
            ray.shutdown()
        if given in (None, "auto") and (address := _runs_here()) is not None:
            _agree_on_token(address)
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


def has_head(ray: Any) -> bool:
    """Whether the head of the cluster that this process is connected to answers."""
    if not ray.is_initialized():
        return False
    try:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_SECONDS):
            return True
    except (OSError, ValueError, RuntimeError):
        return False


def _is_member(ray: Any) -> bool:
    """Whether the node that this process is connected to lives, in the cluster that answers."""
    own = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == own for node in living_nodes(ray))


class HeadWatch:
    """Looks after the head of a cluster while answers are awaited.

    Parameters
    ----------
    ray
        The module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._looked = self._seen = time.monotonic()

    def check(self) -> None:
        """Look whether it answers, every other second at most.

        Raises
        ------
        ClusterError
            If it hasn't for some time.
        """
        now = time.monotonic()
        if now < self._looked + _HEAD_LOOK_SECONDS:
            return
        if has_head(self._ray):
            self._seen = now
        self._looked = time.monotonic()
        if self._looked > self._seen + _HEAD_GONE_SECONDS:
            address = self._ray.get_runtime_context().gcs_address
            raise ClusterError(
                f"the head of the Ray cluster at {address} doesn't answer any more: start the cluster again "
                "(ray start --head, and ray start --address=… on the other nodes), and repeat the call, or "
                "open the collection again; what was done is on disk"
            )


@contextmanager
def _patient() -> Iterator[None]:
    """Have Ray leave this process alone where the head dies: by itself, it ends it after a minute."""
    name = "RAY_gcs_rpc_server_reconnect_timeout_s"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(_PATIENT_SECONDS)
    try:
        _reread_environment()
        yield
    finally:
        os.environ.pop(name, None)  # a cluster that this process starts is to end with its head


def _reread_environment() -> None:
    """Have Ray take notice of variables of the environment that were set after it was imported."""
    if "ray" in sys.modules:
        with suppress(Exception):
            import_module("ray._raylet").Config.initialize("")


def _agree_on_token(address: str) -> None:
    """Show a cluster its token if it asks for one, where that was given, or the cluster is on this machine.

    Ray itself does so for ``auto`` alone, and there whether the cluster asks or not. To a cluster elsewhere
    ``RAY_AUTH_MODE=token`` has to be said: not everyone who has an address is to get the token.

    Raises
    ------
    ClusterError
        If the cluster asks for a token that this process doesn't show, or doesn't know any.
    """
    asks = _asks_for_token(address)
    if asks is None:
        return
    mode = os.environ.get("RAY_AUTH_MODE")
    if asks and mode is None:
        given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
        if given or (_is_here(address) and Path("~/.ray/auth_token").expanduser().is_file()):
            mode = os.environ["RAY_AUTH_MODE"] = "token"
            _reread_environment()
    if asks and mode != "token":
        raise _refused(address, RuntimeError("Unauthenticated"))
    if not asks and mode == "token":
        raise ClusterError(
            f"the Ray cluster at {address} knows no token, and RAY_AUTH_MODE=token has this process insist "
            "on one: unset it here, or start the cluster with it"
        )
    if not asks and mode is None:
        os.environ["RAY_AUTH_MODE"] = "disabled"
        _reread_environment()


def _asks_for_token(address: str) -> bool | None:
    """Whether a cluster asks for a token; None if that can't be known.

    Asked here since Ray tries for 20 seconds and more, and tells its log of every trial.
    """
    if find_spec("grpc") is None:
        return None
    grpc: Any = import_module("grpc")

    def same(message: bytes) -> bytes:
        return message

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId", same, same)
        try:
            call(b"", timeout=_PATIENCE_SECONDS)
        except grpc.RpcError as error:
            return True if error.code() is grpc.StatusCode.UNAUTHENTICATED else None
    return False


def _runs_here() -> str | None:
    """The address of the cluster that runs on this machine; None if there is none, or Ray doesn't tell."""
    with suppress(Exception):
        found = import_module("ray._private.services").find_gcs_addresses()
        return next(iter(found)) if len(found) == 1 else None
    return None


def _is_here(address: str) -> bool:
    """Whether an address is this machine's."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as own:
            own.bind((host, 0))
        return True
    except OSError:
        return False


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
            "~/.ray/auth_token on the machine that started it; copy that file here and set "
            "RAY_AUTH_MODE=token, or set RAY_AUTH_TOKEN (RAY_AUTH_MODE=disabled hides a token)"
        )
    if "no node info found" in together or "failed to get node info" in together:
        return ClusterError(
            f"this machine is no node of the Ray cluster at {address}: ray start --address={address} makes "
            "it one (with --num-cpus=0, if it isn't to work)"
        )
    if "could not find any running ray" in together:
        return ClusterError(
            "no Ray cluster runs on this machine: ray start --head starts one; or give its address, or local"
        )
    first = says[0].strip().splitlines()[0][:300] if says[0].strip() else type(error).__name__
    return ClusterError(f"the Ray cluster at {address} can't be used: {first}")


def living_nodes(ray: Any) -> list[dict[str, Any]]:
    """The nodes of the cluster that Ray takes for living, as it describes them, in a fixed order."""
    nodes = [dict(node) for node in ray.nodes() if node.get("Alive")]
    return sorted(nodes, key=lambda node: (node["NodeManagerAddress"], node["NodeID"]))


def host() -> str:
    """The node that this process runs on, for whoever reads an error."""
    ray: Any = import_module("ray")
    return f"{ray.get_runtime_context().get_node_id()[:8]}, {ray.util.get_node_ip_address()}"


def probe(ray: Any, folder: Path, token: str) -> None:
    """Refuse a cluster whose nodes lack this package, or don't see a folder.

    Parameters
    ----------
    ray
        The module, connected.
    folder, token
        The folder, and the name of a file or folder that is in it.

    Raises
    ------
    ClusterError
        Naming the node, and what to do.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = _looking(str(folder / token))
    asked = {}
    for node in living_nodes(ray):
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(look).options(num_cpus=0, max_retries=1, scheduling_strategy=affinity)
        asked[node["NodeID"]] = node["NodeManagerAddress"], task.remote()
    end = time.monotonic() + _START_SECONDS
    for node, (address, answer) in asked.items():
        where = f"the node {node[:8]} of the Ray cluster, {address},"
        try:
            there, seen = ray.get(answer, timeout=max(end - time.monotonic(), 1.0))
        except Exception as error:
            if all(living["NodeID"] != node for living in living_nodes(ray)):
                continue  # it died meanwhile, and Ray gives it nothing to do
            raise ClusterError(f"{where} runs nothing: {error}; restart it, or stop it") from error
        _check_node(where, there, seen, folder)


def _looking(path: str) -> Callable[[], tuple[str | None, bool]]:
    """What tells a node's version of this package, None without it, and whether it sees a path."""

    def look() -> tuple[str | None, bool]:  # sent by value: a node without the package can run it, too
        import os

        try:
            import lfm2_retrieval
        except ImportError:
            return None, os.path.exists(path)  # noqa: PTH110
        return lfm2_retrieval.__version__, os.path.exists(path)  # noqa: PTH110

    return look


def _check_node(where: str, version: str | None, seen: bool, folder: Path) -> None:
    """Refuse a node by what it told."""
    if version is None:
        raise ClusterError(
            f"{where} lacks this package: pip install 'lfm2-retrieval[ray]=={__version__}' there"
        )
    if version != __version__:
        raise ClusterError(
            f"{where} has lfm2-retrieval {version}, and this is {__version__}: install the same version on "
            "all nodes"
        )
    if not seen:
        raise ClusterError(
            f"{where} doesn't see {folder}: use a folder that all nodes share, mounted at the same path"
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

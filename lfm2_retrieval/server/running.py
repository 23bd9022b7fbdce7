"""Serving until told to stop."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from ..distributed import ShardedRetriever, is_manifest
from ..errors import InvalidInputError, UnknownFieldWarning
from ..indexes import Index
from .connections import Protocol
from .keys import KeyFile
from .options import ServerOptions

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["run", "worker_app"]

_PATH = "LFM2_RETRIEVAL_SERVE_PATH"
_OPTIONS = "LFM2_RETRIEVAL_SERVE_OPTIONS"
_TOGETHER = "PROMETHEUS_MULTIPROC_DIR"
_FILES = 16_384


def worker_app() -> FastAPI:
    """The application of one of several processes, which finds in the environment what it serves."""
    from .app import create_app

    _keep_quiet()
    return create_app(os.environ[_PATH], ServerOptions.from_json(os.environ[_OPTIONS]))


def run(
    path: str | os.PathLike[str],
    options: ServerOptions,
    *,
    on_start: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve an index until SIGINT or SIGTERM; requests that were begun are finished.

    Parameters
    ----------
    path
        The folder of the index, or of the collection in shards, or the manifest of that.
    options
        How to serve it.
    on_start
        Called with the port before the first request is taken, once all that can be refused has been checked.

    Raises
    ------
    StoredIndexError
        If there is no index at the path that can be opened.
    InvalidInputError
        If a key is needed and there is none, or the address is taken or none of this machine.
    """
    from .app import create_app

    if is_manifest(path):  # whatever is wrong is said here, not by each worker
        ShardedRetriever.open(path, allow_partial=options.allow_partial).close()
    else:
        Index.open(path).close()
    known = KeyFile(options.key_file).known()
    options.check_keys(len(known), sum(key.write for key in known))
    _allow_connections()
    _keep_quiet()
    with ExitStack() as stack:
        # uvicorn raises the signal again when it is through.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        stack.callback(signal.signal, signal.SIGTERM, before)
        common = {
            "host": options.host.strip("[]"),
            "port": options.port,
            "workers": options.workers,
            "http": partial(Protocol, timeout=options.timeout),
            "ws": "none",
            "log_level": "warning",
            "access_log": False,
            "server_header": False,
            "limit_concurrency": 4 * (options.concurrency + options.waiting),
            "timeout_keep_alive": 30,
            "timeout_worker_healthcheck": 60,  # at its start it imports, for long where much else goes on
            "timeout_graceful_shutdown": 30,
            "proxy_headers": False,
        }
        if options.workers == 1:
            config = uvicorn.Config(create_app(path, options), **common)  # type: ignore[arg-type]
            bound = stack.enter_context(_bind(options))
            bound.listen(config.backlog)  # who asks before all is loaded waits
            on_start(bound.getsockname()[1])
            uvicorn.Server(config).run([bound])
            return
        _bind(options).close()  # whatever is wrong with the address is said before workers are begun
        os.environ[_PATH] = str(Path(path).absolute())
        os.environ[_OPTIONS] = options.to_json()
        os.environ[_TOGETHER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="lfm2-metrics-"))
        on_start(options.port)
        uvicorn.run(f"{__name__}:worker_app", factory=True, **common)  # type: ignore[arg-type]


def _allow_connections() -> None:
    """Let this process open the files that the system lets it; by default it is 1,024 with connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _keep_quiet() -> None:
    """Keep names of fields out of the log: they are told as warnings, of which Python remembers each."""
    warnings.simplefilter("ignore", UnknownFieldWarning)


def _bind(options: ServerOptions) -> socket.socket:
    """A socket at the address."""
    host = options.host.strip("[]")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, options.port))
    except OSError as error:
        bound.close()
        why = error.strerror or str(error)
        raise InvalidInputError(
            f"can't listen at {host}, port {options.port} ({why}): choose another --port (0: one that is "
            "free), or a --host that is an address of this machine"
        ) from error
    return bound

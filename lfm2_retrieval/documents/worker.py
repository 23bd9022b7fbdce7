"""The process that parses: requests on its standard input, answers on its standard output, in bounds.

It runs other people's files through native code. What brings it down brings down one file.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["main", "read_frame", "write_frame"]

_HEADER = struct.Struct("<I")
MOST_BYTES = 1 << 30
"""How long a frame may be; whoever reads it doesn't trust the other side."""


def write_frame(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    """Send a message."""
    data = json.dumps(message).encode("ascii")
    rest = memoryview(_HEADER.pack(len(data)) + data)
    while rest:
        rest = rest[stream.write(rest) :]
    stream.flush()


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message; None at the end.

    Raises
    ------
    ValueError
        If it is none.
    """
    header = _exactly(stream, _HEADER.size)
    if header is None:
        return None
    [length] = _HEADER.unpack(header)
    if length > MOST_BYTES:
        raise ValueError("a message of too many bytes")
    data = _exactly(stream, length)
    if data is None:
        return None
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message


def _exactly(stream: BinaryIO, length: int) -> bytes | None:
    """So many bytes of a stream that may be unbuffered; None if it ends before."""
    parts = []
    while length:
        part = stream.read(length)
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def main(parser: str, seconds: float, memory: int) -> None:
    """Answer requests until there are no more.

    Parameters
    ----------
    parser
        ``module:function``, which yields the answers to a request.
    seconds
        Of processor time for each answer; then the kernel ends the process.
    memory
        How many bytes of address space it may take beyond what it begins with.
    """
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what libraries print is no answer
        os.dup2(null, standard)
    # Arrow's own pool would take more address space than a file may.
    os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    module, _, name = parser.partition(":")
    answers = getattr(importlib.import_module(module), name)
    for optional in ("kreuzberg", "pyarrow.parquet"):  # so that the bound is that of a file's own needs
        if name == "parse":
            _import(optional)
    base = _address_space()
    if base:
        resource.setrlimit(resource.RLIMIT_AS, (base + memory, base + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := read_frame(source)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        for answer in _answers(answers, request):
            signal.setitimer(signal.ITIMER_PROF, 0)
            write_frame(sink, answer)
            signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_PROF, 0)
        full = base > 0 and _address_space() > base + memory // 2
        write_frame(sink, {"end": True, "leaving": full})
        if full:
            return


def _answers(answers: Any, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        yield from answers(request)
    except MemoryError:
        yield {"refused": "took too much memory", "detail": ""}
    except OSError as error:
        yield {"refused": "unreadable", "detail": error.strerror or str(error)}
    except Exception as error:  # noqa: BLE001  (whatever it is, it is this file's)
        reason = getattr(error, "reason", "broken")
        detail = getattr(error, "detail", f"{type(error).__name__}: {error}")
        yield {"refused": str(reason), "detail": str(detail)[:300]}


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        return


def _address_space() -> int:
    """How many bytes of address space this process takes; 0 where that isn't told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))

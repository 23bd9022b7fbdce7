"""Lines of files, unpacked and decoded, in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from ..errors import InvalidInputError
from .encodings import detect_encoding

__all__ = [
    "MAX_BYTES",
    "STDIN",
    "Lines",
    "RefusedFileError",
    "check_encoding",
    "find_encoding",
    "open_unpacked",
    "read_lines",
    "read_text",
    "refuse",
]

STDIN = "-"
MAX_BYTES = 32 << 20
"""How long a line, a record of a table or a text file may be, unpacked.

It counts characters where the encoding is not UTF-8.
"""

_SAMPLE = 1 << 18

Lines = Iterator[tuple[int, str]]


class RefusedFileError(InvalidInputError):
    """A file or line that can't be used.

    ``reason`` says why in few words, for a report of many, and ``detail`` what else is known.
    """

    reason = "malformed"
    detail = ""


def refuse(
    path: str, number: int, why: str, reason: str = RefusedFileError.reason, detail: str = ""
) -> NoReturn:
    """Raise the error of a line.

    Raises
    ------
    InvalidInputError
        Always.
    """
    error = RefusedFileError(f"{'stdin' if path == STDIN else path}:{number}: {why}")
    error.reason, error.detail = reason, detail
    raise error


def check_encoding(encoding: str | None) -> None:
    """Refuse what is no name of an encoding.

    Raises
    ------
    InvalidInputError
        If Python has none of that name.
    """
    try:
        if encoding is not None:
            io.TextIOWrapper(io.BytesIO(), encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"there is no encoding {encoding!r}; such are utf-8, utf-16, latin-1, cp1252, shift_jis, gb18030"
        ) from error


def read_lines(path: str, encoding: str | None = None) -> Lines:
    """The lines of a file with their numbers, from 1; ``-`` is the standard input.

    Lines end at a line feed only, which they keep.

    Parameters
    ----------
    path
        Unpacked if its name ends in ``.gz``.
    encoding
        By default UTF-8.

    Raises
    ------
    InvalidInputError
        If the file can't be read, a line is not in the encoding, or longer than `MAX_BYTES`.
    """
    number = 0
    plain = encoding is None or _is_utf8(encoding)
    try:
        with (
            open_unpacked(path) as stream,
            _lines(stream) if plain else _decoded(stream, str(encoding)) as lines,
        ):
            for line in lines:
                number += 1
                if len(line) > MAX_BYTES:
                    refuse_length(path, number, "a line")
                yield number, line if isinstance(line, str) else _decode(line, path, number)
    except UnicodeError as error:
        refuse(path, number + 1, f"not {encoding}: {error}", "in another encoding")
    except (OSError, EOFError, zlib.error) as error:
        refuse(path, number + 1, f"can't be read: {getattr(error, 'strerror', None) or error}", "unreadable")


def read_text(path: str, encoding: str | None = None) -> str:
    """A whole file, refused as by `read_lines`, or if it is longer than `MAX_BYTES`."""
    text, length = io.StringIO(newline=""), 0
    for number, line in read_lines(path, encoding):
        length += len(line)
        if length > MAX_BYTES:
            refuse_length(path, number, "a text file")
        text.write(line)
    return text.getvalue()


def refuse_length(path: str, number: int, what: str) -> NoReturn:
    """Raise the error of what is longer than `MAX_BYTES`."""
    size = f"{MAX_BYTES >> 20} MiB" if MAX_BYTES >= 1 << 20 else f"{MAX_BYTES:,} bytes"
    refuse(path, number, f"{what} of more than {size}; split it into several documents", "too long")


def open_unpacked(path: str, file: BinaryIO | None = None) -> AbstractContextManager[BinaryIO]:
    """A file, or the standard input, unpacked if its name ends in ``.gz``; ``file``: if it is open."""
    if path == STDIN:
        return nullcontext(cast(BinaryIO, sys.stdin.buffer))
    if path.lower().endswith(".gz"):
        return cast(AbstractContextManager[BinaryIO], gzip.open(path if file is None else file))
    return Path(path).open("rb") if file is None else nullcontext(file)


def find_encoding(path: str) -> str | None:
    """The encoding of a regular file that isn't UTF-8; None if it is, or if nothing tells it."""
    if path == STDIN or not Path(path).is_file():
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_unpacked(path) as stream:
            head = stream.read(_SAMPLE)
            found = detect_encoding(head[: head.rfind(b"\n") + 1] or head)
            if found not in ("utf-8", "utf-8-sig"):
                return found
            block = head
            while block:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    return detect_encoding(block)
                block = stream.read(_SAMPLE)
    except (OSError, EOFError, zlib.error):
        return None  # told by whoever reads it
    return None


@contextmanager
def _lines(stream: BinaryIO) -> Iterator[Iterator[bytes]]:
    """Lines, of which none is read much further than it may be long."""
    limit = MAX_BYTES + 1
    yield iter(lambda: stream.readline(limit), b"")


@contextmanager
def _decoded(stream: BinaryIO, encoding: str) -> Iterator[Iterator[str]]:
    limit = MAX_BYTES + 1
    text = io.TextIOWrapper(stream, encoding=encoding, newline="\n")
    try:
        yield iter(lambda: text.readline(limit), "")
    finally:
        text.detach()  # whoever opened the stream closes it


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _decode(line: bytes, path: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        reason = "binary" if b"\0" in line else "in another encoding"
        byte = f"byte {line[error.start]:#04x} at position {error.start}"
        refuse(path, number, f"not UTF-8: {byte}; --encoding, or encoding=, names another", reason)

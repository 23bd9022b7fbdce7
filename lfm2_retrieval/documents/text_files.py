"""Text files as documents: decoded, with their front matter, headings and lines."""

from __future__ import annotations

import os
import stat
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from ..platform.plain_files import NotRegularError, is_hollow, read_regular
from . import lines
from .encodings import decode_text, detect_encoding
from .formats import text_kind
from .front_matter import split_front_matter
from .headings import headings_of
from .lines import STDIN, open_unpacked, refuse, refuse_length
from .notebooks import read_notebook
from .structure import Region, Structure, TextKind

__all__ = ["TextFile", "decode", "read_bytes", "structured"]

_SLACK = 1 << 20


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text and what is known of it."""

    text: str
    format: str
    metadata: dict[str, Any]
    structure: Structure


def read_bytes(path: str, *, regular: bool) -> bytes:
    """A whole file of `lines.MAX_BYTES` at most, unpacked if its name ends in ``.gz``.

    A file that changes meanwhile is read once more.

    Parameters
    ----------
    path
        Of the file; ``-`` is the standard input.
    regular
        Refuse pipes and devices, which could keep us for ever.

    Raises
    ------
    RefusedFileError
        If it can't be read, is larger, or changes again.
    """
    for _ in range(2):
        try:
            with read_regular(path, follow=True) if regular else nullcontext() as file:
                before = None
                if file is not None:
                    before = os.fstat(file.fileno())
                elif path != STDIN and stat.S_ISREG((found := os.stat(path)).st_mode):  # noqa: PTH116
                    before = found
                if before is not None and _too_large(path, before):
                    refuse_length(path, 1, "a text file")
                with open_unpacked(path, file) as stream:
                    data = _bounded(stream, path)
                changed = before is not None and not path.lower().endswith(".gz") and _changed(path, before)
        except NotRegularError:
            refuse(
                path, 1, "is no file, but a pipe, a socket or a device", "no files (pipes, sockets, devices)"
            )
        except FileNotFoundError as error:
            refuse(path, 1, f"can't be read: {error.strerror}", "vanished")
        except (OSError, EOFError, zlib.error) as error:
            refuse(path, 1, f"can't be read: {getattr(error, 'strerror', None) or error}", "unreadable")
        if not changed:
            return data
    return refuse(path, 1, "changes while it is read", "changed while it was read")


def _too_large(path: str, status: os.stat_result) -> bool:
    return not path.lower().endswith(".gz") and (
        status.st_size > lines.MAX_BYTES + _SLACK or is_hollow(status)
    )


def _changed(path: str, before: os.stat_result) -> bool:
    after = os.stat(path)  # noqa: PTH116
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def _bounded(stream: BinaryIO, path: str) -> bytes:
    data = stream.read(lines.MAX_BYTES + 1)
    if len(data) > lines.MAX_BYTES:
        refuse_length(path, data.count(b"\n") + 1, "a text file")
    return data


def decode(data: bytes, path: str, encoding: str | None) -> tuple[str, str]:
    """Bytes as text, and the encoding that they were in.

    Parameters
    ----------
    data, path
        The bytes, and how errors call them.
    encoding
        None to find it out.

    Raises
    ------
    RefusedFileError
        If they are binary, or in no encoding that can be told.
    """
    found = encoding or detect_encoding(data)
    if found is None:
        _refuse_undetected(data, path)
    try:
        text = decode_text(data, found)
    except UnicodeError as error:
        refuse(path, _line_of(data, error), f"not {found}: {error}", "in another encoding")
    if "\0" in text:
        refuse(path, 1, "is binary, no text", "binary")
    return text, found


def _line_of(data: bytes, error: UnicodeError) -> int:
    return data.count(b"\n", 0, error.start) + 1 if isinstance(error, UnicodeDecodeError) else 1


def _refuse_undetected(data: bytes, path: str) -> NoReturn:
    if b"\0" in data:
        refuse(path, 1, "is binary, no text", "binary")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        column = error.start - data.rfind(b"\n", 0, error.start) - 1
        byte = f"byte {data[error.start]:#04x} at position {column}"
        refuse(
            path,
            _line_of(data, error),
            f"not UTF-8: {byte}; --encoding, or encoding=, names another, and "
            "pip install 'lfm2-retrieval[documents]' lets it be found out",
            "in another encoding",
        )
    refuse(path, 1, "is in no encoding that can be told", "in another encoding")


def structured(text: str, path: str, data_format: str | None = None) -> TextFile:
    """A text with its structure, by what the file's name says.

    Parameters
    ----------
    text
        All of it.
    path
        Of the file.
    data_format
        In the place of what the name says, as for a text under another name.
    """
    kind = data_format or text_kind(path)
    if kind == "notebook":
        try:
            cells, structure = read_notebook(text)
        except ValueError as error:
            refuse(path, 1, f"no notebook: {error}", "malformed")
        return TextFile(cells, kind, {}, structure)
    metadata, start = split_front_matter(text) if kind == "markdown" else ({}, 0)
    first = text.count("\n", 0, start) + 1
    text = text[start:]
    structure = Structure(
        {"markdown": TextKind.MARKDOWN, "code": TextKind.CODE}.get(kind, TextKind.TEXT),
        headings_of(kind, text),
        (Region(0, len(text), first=first),),
    )
    return TextFile(text, kind, metadata, structure)

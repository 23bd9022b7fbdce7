"""The files of an index or a model, which somebody else may have made: only regular ones, without waiting.

A pipe in the place of a file would keep its reader for ever, a device gives bytes without end, a link leads
to files of others. Nothing in an index is a link; in the hub's cache every file of a model is one.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from ..errors import DamagedIndexError

__all__ = ["NotRegularError", "check_database", "is_hollow", "is_regular", "open_regular", "read_regular"]

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_HOLLOW_BYTES = 1 << 26
_BESIDE = ("", "-journal", "-wal", "-shm")
"""What SQLite opens of its own accord with a database."""


class NotRegularError(OSError):
    """A pipe, a socket, a device, a folder or a link in the place of a file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.ENXIO, "is no regular file", os.fspath(path))


def open_regular(path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """A descriptor of a regular file, without waiting for anybody.

    Parameters
    ----------
    path
        Of the file.
    flags
        As for `os.open`.
    follow
        Whether a link may lead to it.

    Raises
    ------
    NotRegularError
        If it is something else.
    OSError
        If it can't be opened.
    """
    try:
        file = os.open(path, flags | _FLAGS | (0 if follow else os.O_NOFOLLOW), 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # a link, a pipe or a socket, a folder
            raise NotRegularError(path) from error
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise NotRegularError(path)


def read_regular(path: str | os.PathLike[str], *, follow: bool = False) -> BufferedReader:
    """A regular file, opened to be read; see `open_regular`."""
    return os.fdopen(open_regular(path, follow=follow), "rb")


def is_hollow(status: os.stat_result) -> bool:
    """Whether a file takes next to no room for its size, and would take memory for it when it is read."""
    return status.st_size > _HOLLOW_BYTES and status.st_blocks * 512 < status.st_size // 64


def is_regular(path: Path, *, follow: bool = False) -> bool:
    """Whether a regular file is there, or with ``follow`` a link to one."""
    try:
        return stat.S_ISREG((path.stat() if follow else path.lstat()).st_mode)
    except (OSError, ValueError):
        return False


def check_database(path: Path) -> None:
    """Refuse a database that SQLite could wait for, or follow elsewhere: it opens its files itself.

    Raises
    ------
    DamagedIndexError
        If it, or a journal of it, is there and no regular file.
    """
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        try:
            regular = stat.S_ISREG(beside.lstat().st_mode)
        except FileNotFoundError:
            continue
        if not regular:
            raise DamagedIndexError(
                f"{beside} is no regular file; somebody put it there: remove it, repair the index "
                "(Retriever.repair, or lfm2-retrieve repair) or restore a backup"
            )

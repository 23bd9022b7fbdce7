"""Pins: how a reader tells writers, of whatever process, which commit it still reads.

A pin is a file in ``readers/`` that holds the commit's number and is locked (``flock``) for as long as the
reader lives. The system drops the lock of a process that dies, so a pin that isn't locked counts for nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import uuid
import weakref
from contextlib import suppress
from pathlib import Path

from ...platform.plain_files import NotRegularError, open_regular

__all__ = ["READERS", "Pin", "oldest_pin"]

READERS = "readers"
"""The folder, in that of the index."""

_NAME = re.compile(r"[0-9]+-[0-9a-f]{32}")
_EVERYTHING = 0
"""The number in the pin of a reader that doesn't know yet which commit it will read."""


class Pin:
    """Keeps everything that some commit holds from being swept, until it is garbage or the process ends.

    It is made before the commit's number is read: until `hold` says which, it keeps what every commit holds.

    Parameters
    ----------
    folder
        The folder of the index.

    Raises
    ------
    OSError
        If no file can be made or locked there.
    """

    def __init__(self, folder: Path) -> None:
        home = folder / READERS
        if home.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(home))
        while True:
            with suppress(FileExistsError):
                home.mkdir()
            path = home / f"{os.getpid()}-{uuid.uuid4().hex}"
            self._file = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                fcntl.flock(self._file, fcntl.LOCK_SH)
                os.pwrite(self._file, struct.pack("<q", _EVERYTHING), 0)
                kept = os.fstat(self._file).st_nlink > 0
            except BaseException:
                os.close(self._file)
                with suppress(OSError):
                    path.unlink()
                raise
            if kept:
                break
            os.close(self._file)  # a writer swept it before it was locked
        weakref.finalize(self, _release, self._file, path)

    def hold(self, commit: int) -> None:
        """From now on, keep what this commit holds, and nothing that died before.

        Where the disk refuses the number, the pin goes on keeping everything.
        """
        with suppress(OSError):
            os.pwrite(self._file, struct.pack("<q", commit), 0)


def _release(file: int, path: Path) -> None:
    # No unlocking: a forked child, which shares the lock, may go on reading. Then the file stays, too.
    os.close(file)
    with suppress(OSError):
        _read(path)


def _read(path: Path) -> int | None:
    """The number that a pin holds; None, and the file is deleted, if nobody holds the pin."""
    file = open_regular(path)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.pread(file, 8, 0)
            return int(struct.unpack("<q", number)[0]) if len(number) == 8 else _EVERYTHING
        path.unlink()
        return None
    finally:
        os.close(file)


def oldest_pin(folder: Path) -> int | None:
    """The lowest commit that somebody reads, None without readers; for the holder of the writer lock.

    Pins that nobody holds are deleted.
    """
    home = folder / READERS
    if home.is_symlink() or not home.is_dir():
        return None
    held = []
    for path in list(home.iterdir()):
        if _NAME.fullmatch(path.name):
            with suppress(FileNotFoundError, NotRegularError):
                held.append(_read(path))
    return min((commit for commit in held if commit is not None), default=None)

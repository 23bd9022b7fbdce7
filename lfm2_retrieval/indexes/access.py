"""Why something of an index can't be read: what the system refuses is told apart from damage.

Only what lies on the disk can be damaged: a file that is missing, of another kind, too short or altered. Too
many open files, no memory, a missing permission or a disk that fails just now say nothing about it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ..errors import (
    DamagedIndexError,
    IndexAccessError,
    IndexLockedError,
    IndexNotFoundError,
    IndexWriteError,
    RetrievalError,
    StoredIndexError,
)

__all__ = [
    "REMEDY",
    "access",
    "gone",
    "is_damage",
    "no_memory",
    "of_sqlite",
    "refused",
    "refused_to_write",
    "unreadable",
]

Numbered = TypeVar("Numbered", bound=OSError)

REMEDY = "repair the index (Retriever.repair, or lfm2-retrieve repair) or restore a backup"

_MISSING = (errno.ENOENT, errno.ENOTDIR)
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG)
"""What opening a link, a folder, a socket or an impossible name gives."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_FILES = "close some of its files, or raise the limit (ulimit -n)"
_MEMORY = "free some memory, or raise the limit (ulimit -v)"
_PERMISSIONS = "see to the permissions of the index's folder and files"
_DISK = "nothing says that the index is damaged: try again, and if it stays, see to the disk"
_REMEDIES = {
    errno.EMFILE: _FILES,
    errno.ENFILE: "the system has too many files open: close some",
    errno.ENOMEM: _MEMORY,
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "its file system is mounted read-only: mount it for writing, or copy the index",
    errno.ESTALE: "the folder was moved or deleted on its server: open the index again",
}
_OPENED_BY_SQLITE = 3
"""A database, its journal and the index of that."""

_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_TOOBIG,
)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_FAILED_READS = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_ACCESS,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_FSTAT,
    sqlite3.SQLITE_IOERR_SEEK,
    sqlite3.SQLITE_IOERR_MMAP,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
)
_NUMBERS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_AUTH: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EACCES,
}
"""What the system would have said."""
_FAILED_MEMORY = (sqlite3.SQLITE_IOERR_NOMEM, sqlite3.SQLITE_IOERR_SHMMAP)


def unreadable(path: Path, error: OSError, folder: Path) -> StoredIndexError:
    """The error for a file or a folder of an index that can't be read.

    Parameters
    ----------
    path
        What was to be read.
    error
        What the system said.
    folder
        That of the index; where it isn't there any more, nothing in it is damaged.
    """
    if error.errno in (*_MISSING, *_NO_FILE):
        if not _is_there(folder):
            return gone(folder)
        what = "is missing" if error.errno in _MISSING else f"is no plain file ({error.strerror})"
        return DamagedIndexError(f"{path} {what}; {REMEDY}")
    return refused(path, error)


def gone(folder: Path) -> IndexNotFoundError:
    """The error where the folder of an index is not there any more."""
    return _numbered(
        IndexNotFoundError(f"{folder} was moved or deleted since it was opened: open it where it lies now"),
        errno.ENOENT,
    )


def refused(path: Path, error: OSError) -> StoredIndexError:
    """The error for what the system refuses, whatever becomes of it; never damage."""
    if error.errno in _FULL:
        return refused_to_write(path, error)
    remedy = _REMEDIES.get(error.errno or 0, _DISK)
    said = IndexAccessError(f"{path}: {error.strerror or error}: it can't be read; {remedy}")
    return _numbered(said, error.errno)


def refused_to_write(path: Path, error: OSError) -> StoredIndexError:
    """The error where something can't be written; what was committed before is intact."""
    reason = f"{path}: {error.strerror or error}: it can't be written; the last commit is intact"
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return _numbered(IndexAccessError(f"{reason}: {_REMEDIES[error.errno]}, and repeat"), error.errno)
    remedy = _REMEDIES[error.errno] if error.errno in _FORBIDDEN else "make room, or see to the disk"
    return _numbered(IndexWriteError(f"{reason}: {remedy}, and repeat"), error.errno)


def no_memory(path: Path) -> IndexAccessError:
    """The error where memory ran out while something of an index was read."""
    said = IndexAccessError(f"{path} can't be read: not enough memory; {_MEMORY}")
    return _numbered(said, errno.ENOMEM)


@contextmanager
def access(folder: Path) -> Iterator[None]:
    """Turn what the system refuses into our errors, while an index is read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RetrievalError):
            raise
        path = Path(error.filename) if isinstance(error.filename, str) else folder
        raise unreadable(path, error, folder) from error
    except MemoryError as error:
        raise no_memory(folder) from error


def is_damage(error: Exception) -> bool:
    """Whether an error of the module sqlite3, or of decoding what it reads, says that a file is damaged."""
    if isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def of_sqlite(path: Path, error: Exception, *, writing: bool) -> StoredIndexError:
    """Our error for one of the module sqlite3.

    Parameters
    ----------
    path
        The database.
    error
        What SQLite said.
    writing
        Whether something was to be written.
    """
    if is_damage(error):
        return DamagedIndexError(f"{path} is damaged ({error}); {REMEDY}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    kind = code & 0xFF
    if kind == sqlite3.SQLITE_CANTOPEN:
        return _closed(path, error, writing=writing)
    if kind in _BUSY:
        return IndexLockedError(
            f"{path}: {error}: another process holds it; let it finish, and repeat; the last commit is intact"
        )
    if kind == sqlite3.SQLITE_NOMEM or code in _FAILED_MEMORY:
        return no_memory(path)
    if kind not in _NUMBERS:
        return StoredIndexError(f"{path}: {error}; the last commit is intact")
    writing |= kind == sqlite3.SQLITE_FULL or (kind == sqlite3.SQLITE_IOERR and code not in _FAILED_READS)
    said = OSError(_NUMBERS[kind], str(error))
    return refused_to_write(path, said) if writing else refused(path, said)


def _closed(path: Path, error: Exception, *, writing: bool) -> StoredIndexError:
    """The error where SQLite can't open a database or a file beside it."""
    found = _why_closed(path)
    if found is None:
        return IndexAccessError(
            f"{path}: {error}; nothing says that it is damaged: {_FILES}, or {_PERMISSIONS}"
        )
    # What is to be written may be yet to be made.
    return refused_to_write(path, found) if writing else unreadable(path, found, path.parent)


def _numbered(error: Numbered, number: int | None) -> Numbered:
    """The error with the system's number, which isn't part of what it says."""
    error.errno = number
    return error


def _why_closed(path: Path) -> OSError | None:
    """Why SQLite, which doesn't tell, can't open a database; None if nothing is found.

    The database itself isn't opened: closing it would drop the locks of this process's other connections.
    """
    opened: list[int] = []
    try:
        for _ in range(_OPENED_BY_SQLITE):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for suffix in ("", "-wal", "-shm"):
            file = path.with_name(path.name + suffix)
            if file.exists() and not os.access(file, os.R_OK):
                return PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        path.lstat()
    except OSError as error:
        return error
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return None


def _is_there(folder: Path) -> bool:
    """Whether a folder is there, as far as one may know."""
    try:
        return bool(folder.stat())
    except OSError as error:
        return error.errno not in _MISSING

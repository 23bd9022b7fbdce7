"""One writer at a time, among threads and processes."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import IndexLockedError, StoredIndexError
from ...platform.plain_files import open_regular
from ..access import gone, refused_to_write

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["WriterLock"]

_POLL_SECONDS = 0.05


class WriterLock:
    """An advisory lock (``flock``) on a file, which holds the writer's process id.

    The system frees it when its holder dies, however it dies. The file is never deleted: a lock on a
    deleted file excludes nobody.

    Parameters
    ----------
    path
        The lock file; made if missing.
    timeout
        Seconds to wait for another writer.

    Raises
    ------
    IndexLockedError
        On entering, if another writer holds it for longer than that.
    IndexWriteError, IndexAccessError, IndexNotFoundError
        On entering, if the file can't be made, or its folder isn't there any more.
    StoredIndexError
        On entering, if its file system has no locks.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._file = -1
        self._process = -1

    def __enter__(self) -> WriterLock:
        self._process = os.getpid()
        while True:
            try:
                self._file = open_regular(self._path, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                folder = self._path.parent
                if error.errno == errno.ENOENT and not folder.exists():
                    raise gone(folder) from error
                raise refused_to_write(self._path, error) from error
            try:
                self._wait()
            except BaseException:
                os.close(self._file)
                raise
            if self._is_current():
                break
            os.close(self._file)  # another index was put in the place of this one
        try:
            with suppress(OSError):  # a full disk must not keep anyone from deleting
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Unlocking, not only closing: a child forked meanwhile shares the lock and would keep it. But that
        # child doesn't unlock what its parent holds.
        if self._process == os.getpid():
            fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.lstat())
        except FileNotFoundError:
            return False

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                    raise StoredIndexError(
                        f"can't lock {self._path}: {error.strerror}; its file system has no locks, "
                        "so keep the index on a local disk"
                    ) from error
            else:
                return
            if time.monotonic() >= deadline:
                raise IndexLockedError(
                    f"{self._path.parent} is being written by {self._holder()}; waited {self._timeout:g} s: "
                    "let it finish or raise the timeout"
                )
            time.sleep(_POLL_SECONDS)

    def _holder(self) -> str:
        pid = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
        return "another writer in this process" * (pid == str(os.getpid())) or f"process {pid or 'unknown'}"

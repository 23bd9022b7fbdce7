"""Everything this library raises on purpose. Each error names its remedy.

::

    RetrievalError
    ├── InvalidInputError       also a ValueError: an argument that can't be used
    │   ├── InvalidTypeError    also a TypeError
    │   ├── DuplicateIdError
    │   └── UnknownIdError      also a LookupError
    ├── CheckpointError         also a ValueError: a model whose files contradict each other
    │   └── ModelNotFoundError  also a FileNotFoundError
    ├── StoredIndexError             the index on disk
    │   ├── IndexNotFoundError  also a FileNotFoundError
    │   ├── IndexExistsError    also a FileExistsError
    │   ├── IndexFormatError    also a ValueError: not an index, or one that this version can't read
    │   │   ├── NewerFormatError
    │   │   └── DamagedIndexError
    │   ├── IndexLockedError    also a TimeoutError: another process writes
    │   ├── IndexAccessError    also an OSError: the system refuses: open files, memory …
    │   ├── IndexWriteError     also an OSError: the disk is full or fails
    │   ├── IndexClosedError    also a ValueError: used after close()
    │   │   └── IndexReplacedError   another index lies at its path now
    │   ├── TransactionError    also a RuntimeError: what can't be done inside a transaction
    │   ├── ModelMismatchError  also a ValueError: made with another encoder
    │   ├── ShardMismatchError  also a ValueError: shards that don't belong together
    │   └── UntrustedModelError also a PermissionError: it names a model that the user didn't
    ├── ClusterError        also a ConnectionError: a Ray cluster, or what runs in it, doesn't answer
    ├── ServerError         also a ConnectionError: a server doesn't answer, or refuses
    ├── ForkedProcessError      also a RuntimeError: what a forked process can't go on with
    └── MissingExtraError       also an ImportError: an optional package is not installed

A warning is a ``UserWarning``: `UnknownFieldWarning`, of a filter's field that no document has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .printable import printable

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DamagedIndexError",
    "DuplicateIdError",
    "ForkedProcessError",
    "IndexAccessError",
    "IndexClosedError",
    "IndexExistsError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexReplacedError",
    "IndexWriteError",
    "InvalidInputError",
    "InvalidTypeError",
    "MissingExtraError",
    "ModelMismatchError",
    "ModelNotFoundError",
    "NewerFormatError",
    "RetrievalError",
    "ServerError",
    "ShardMismatchError",
    "StoredIndexError",
    "TransactionError",
    "UnknownFieldWarning",
    "UnknownIdError",
    "UntrustedModelError",
    "callers_level",
    "on_command_line",
    "remedy",
]


T = TypeVar("T")

_place = {"command line": False}


def remedy(python: T, command: T) -> T:
    """What helps, in the words of where the reader is: a call, or a command."""
    return command if _place["command line"] else python


@contextmanager
def on_command_line() -> Iterator[None]:
    """Have errors name commands, in all threads: the commands run in this."""
    before = _place["command line"]
    _place["command line"] = True
    try:
        yield
    finally:
        _place["command line"] = before


class RetrievalError(Exception):
    """The root of this library's errors. What its message quotes of files can't steer a terminal."""

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


class InvalidInputError(RetrievalError, ValueError):
    """An argument that can't be used; the message says which and what would do."""


class InvalidTypeError(InvalidInputError, TypeError):
    """An argument of the wrong type."""


class DuplicateIdError(InvalidInputError):
    """The same document id twice in one call, or an id that the index already holds."""


class UnknownIdError(InvalidInputError, LookupError):
    """A document id that the index doesn't hold."""


class CheckpointError(RetrievalError, ValueError):
    """A model's files are incomplete, contradict each other or describe another architecture."""


class ModelNotFoundError(CheckpointError, FileNotFoundError):
    """No model under that name or path, and none could be fetched."""


class StoredIndexError(RetrievalError):
    """The root of errors about an index on disk."""


class IndexNotFoundError(StoredIndexError, FileNotFoundError):
    """No index at that path, or not any more."""


class IndexExistsError(StoredIndexError, FileExistsError):
    """The path already holds an index, or something else."""


class IndexFormatError(StoredIndexError, ValueError):
    """What lies at the path is not an index that this version reads."""


class NewerFormatError(IndexFormatError):
    """The index was made by a newer version of this library."""


class DamagedIndexError(IndexFormatError):
    """A file of the index is missing, truncated or altered; the message names it."""


class IndexLockedError(StoredIndexError, TimeoutError):
    """Another process is writing to the index."""


class IndexAccessError(StoredIndexError, OSError):
    """The system refuses what reading takes: open files, memory, a permission, a disk. This is no damage."""


class IndexWriteError(StoredIndexError, OSError):
    """The disk is full, or fails; what was committed before is intact."""


class IndexClosedError(StoredIndexError, ValueError):
    """The index was used after ``close()``."""


class IndexReplacedError(IndexClosedError):
    """Another index was put in the place of the one that was opened."""


class TransactionError(StoredIndexError, RuntimeError):
    """What can't be done inside a transaction, such as beginning another."""


class ModelMismatchError(StoredIndexError, ValueError):
    """The index was made with another encoder than the one in use."""


class ForkedProcessError(RetrievalError, RuntimeError):
    """A forked process can't go on with what its parent had begun, or has on a GPU."""


class UntrustedModelError(StoredIndexError, PermissionError):
    """The index names a model that is neither bundled nor published by the family's makers, and that the user
    didn't name; the message says how he can."""


class MissingExtraError(RetrievalError, ImportError):
    """A feature needs a package that is not installed; the message names the extra."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'lfm2-retrieval[{extra}]'")
        self._given = feature, extra

    def __reduce__(self) -> tuple[Any, ...]:  # an exception is made again from its message otherwise
        return type(self), self._given, self.__dict__


class ShardMismatchError(StoredIndexError, ValueError):
    """Shards of a collection don't belong together: other models or codecs, exchanged or old folders."""


class ClusterError(RetrievalError, ConnectionError):
    """A Ray cluster doesn't answer, refuses, or lacks what is needed; or what ran in it has died."""


class ServerError(RetrievalError, ConnectionError):
    """A server doesn't answer, is busy or broken, or doesn't let the client do this.

    Attributes
    ----------
    status
        Of the answer; None if there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnknownFieldWarning(UserWarning):
    """A filter, or ``group_by``, names a field that no document of the index has."""


def callers_level() -> int:
    """The stack level of the caller of this library, for a warning of the function that calls this."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level

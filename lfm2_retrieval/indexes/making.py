"""Making an index: in a folder of its own, a temporary one, or in the place of what an index holds."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import IndexExistsError, InvalidInputError
from .catalogue.catalogue import Catalogue
from .catalogue.location import is_index, is_vacant
from .catalogue.lock import WriterLock
from .commits.writer import Writer

__all__ = ["TemporaryFolder", "make"]


class TemporaryFolder:
    """A folder that is removed with this object, or at the end of the process that made it, no fork of it."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="lfm2-retrieval-")
        self.cleanup = weakref.finalize(self, _remove, self.name, os.getpid())


def _remove(path: str, process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(path, ignore_errors=True)


def make(
    path: str | os.PathLike[str] | None, settings: Mapping[str, Any], if_exists: str, timeout: float
) -> tuple[Catalogue, TemporaryFolder | None]:
    """The catalogue of a new, empty index, and its folder where that is a temporary one; see `Index.create`.

    Raises
    ------
    IndexExistsError
        If something is there.
    InvalidInputError
        If ``if_exists`` is neither ``"error"`` nor ``"overwrite"``.
    """
    if if_exists not in ("error", "overwrite"):
        raise InvalidInputError(f"if_exists must be 'error' or 'overwrite', not {if_exists!r}")
    temporary = None
    if path is None:
        temporary = TemporaryFolder()
        path = temporary.name
    folder = Path(path).absolute()
    if is_vacant(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with WriterLock(folder / "lock", timeout):
            if is_vacant(folder):
                Catalogue.create(folder, settings)
                return Catalogue(folder), temporary
    if not is_index(folder):
        raise IndexExistsError(
            f"{folder} holds something that is not an index; it is left alone: choose another folder"
        )
    if if_exists == "error":
        raise IndexExistsError(
            f"{folder} already holds an index: if_exists='overwrite' replaces it; "
            "open() and add() add to it; or choose another folder"
        )
    catalogue = Catalogue(folder)
    try:
        with Writer(catalogue, timeout, replace=lambda _: dict(settings)):
            pass
    except BaseException:
        catalogue.close()
        raise
    return catalogue, None

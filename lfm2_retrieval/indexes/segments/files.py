"""Names of folders of arrays, and what is on the disk for certain."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import InvalidInputError

__all__ = ["check_name", "fsync_folder", "name_of", "refuse_inside", "sweep"]

_NAME = re.compile(r"[0-9]{8,18}", re.ASCII)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, keep: Iterable[str], check: Callable[[], None] = lambda: None) -> None:
    """Delete the folders that nothing names; for the holder of the writer lock only.

    Anything whose name isn't of the shape that segments and codecs have is left alone.

    Parameters
    ----------
    folder
        Where they lie.
    keep
        The names that are named.
    check
        Called once the folder is open; raises if it is another by now. It is swept wherever it is moved then.
    """
    kept = set(keep)
    home = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check()
        with os.scandir(home) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in names:
            if _NAME.fullmatch(name.removesuffix(".tmp")) and name not in kept:
                shutil.rmtree(name, dir_fd=home)
    finally:
        os.close(home)


def check_name(name: object) -> str:
    """The name of a segment's or codec's folder, which can't lead elsewhere.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(name)
    return name


def name_of(number: int) -> str:
    """The folder of a segment or codec of that number."""
    return f"{number:08d}"


def refuse_inside(folder: Path, destination: Path) -> None:
    """InvalidInputError where what is to be written would lie in the index at ``folder``."""
    where = destination.resolve()
    if folder.resolve() in (where, *where.parents):
        raise InvalidInputError(f"{destination} lies in the index: choose a place outside of it")

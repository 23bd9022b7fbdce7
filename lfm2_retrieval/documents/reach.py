"""What can be said of files that aren't found: they are gone, out of reach, or on a disk that isn't there."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["Disks", "is_certain", "is_listable", "is_mounted"]

_MOST = 1 << 12
"""Of so many folders the answer is kept."""


class Disks:
    """Finds the mount points beneath a folder.

    Parameters
    ----------
    root
        The folder, as an absolute path without links.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, str | None] = {root: None}

    def of(self, folder: str) -> str | None:
        """Where the disk is mounted that a folder beneath the root lies on; None if it is the root's own."""
        asked = []
        while folder not in self._known and len(folder) > len(self._root):
            asked.append(folder)
            if is_mounted(folder):
                self._known[folder] = folder
                break
            folder = os.path.dirname(folder)  # noqa: PTH120
        found = self._known.get(folder)
        if len(self._known) + len(asked) > _MOST:
            self._known = {self._root: None}
        self._known.update(dict.fromkeys(asked, found))
        return found


def is_mounted(folder: str) -> bool:
    """Whether a folder lies on another disk than the one above it."""
    try:
        device = os.lstat(folder).st_dev
        return device != os.lstat(os.path.dirname(folder)).st_dev  # noqa: PTH120
    except OSError:
        return False


def is_listable(folder: str) -> bool:
    """Whether a folder can be read; one that isn't there hides nothing."""
    try:
        with os.scandir(folder):
            return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


def is_certain(path: str, root: str, listable: Callable[[str], bool]) -> bool:
    """Whether a file is known not to be there, or not to be read: not only out of reach."""
    folder = os.path.dirname(path)  # noqa: PTH120
    while len(folder) > len(root):
        if not listable(folder):
            return False
        folder = os.path.dirname(folder)  # noqa: PTH120
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True

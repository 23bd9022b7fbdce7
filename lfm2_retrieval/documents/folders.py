"""The files of a folder: which are read, and how their documents are called."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from .formats import DEPENDENCIES, DocumentFormat, format_of, is_readable, suffix
from .report import Report

__all__ = ["find_files", "folder_names"]

_INDEX = "index.db"
"""A folder with this file is an index, whose files are no documents."""

_MARKUP = (".html", ".htm", ".xhtml", ".xml", ".svg", ".ipynb")


def folder_names(folders: Iterable[str]) -> dict[str, str]:
    """What stands before the ids of each folder's files where there are several: its name.

    Folders of one name get those above them, too, as many as it takes.
    """
    parts = {folder: PurePath(os.path.realpath(folder)).parts[1:] for folder in folders}
    names = {}
    for folder, own in parts.items():
        others = [other for other in set(parts.values()) if other != own]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        names[folder] = "/".join(own[-length:])
    return names


def find_files(
    folder: str, format: DocumentFormat | None, report: Report
) -> Iterator[tuple[str, str, DocumentFormat | None]]:
    """The files of a folder and below, in the order of their names.

    Links are not followed out of the folder, nor to folders: nothing is read twice, and no loop is endless.

    Yields
    ------
    tuple
        A file, its path in the folder, and its format; None for one without extension, which may be no text.
    """
    root = os.path.realpath(folder)
    linked: set[str] = set()
    for path, relative, entry in _walk(folder, report):
        if entry.is_symlink():
            reason = _why_not_link(path, root, format, linked)
        else:
            reason = None if entry.is_file(follow_symlinks=False) else "no files (pipes, sockets, devices)"
        found = format or format_of(entry.name, alone=False)
        if reason is None:
            reason = _why_not_name(entry.name, format)
        if reason is not None:
            report.leave_out(relative, reason)
        else:
            yield path, relative, found


def _walk(folder: str, report: Report) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """All that lies in a folder and below but what is hidden, dependencies and indexes."""
    stack = [iter(_entries(folder, "", report))]
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        relative, entry = found
        if entry.name.startswith("."):
            report.leave_out(relative, "hidden")
        elif not entry.is_dir(follow_symlinks=False):
            yield entry.path, relative, entry
        elif entry.name in DEPENDENCIES:
            report.leave_out(relative, "dependencies or caches")
        elif (Path(entry.path) / _INDEX).is_file():
            report.leave_out(relative, "indexes")
        else:
            stack.append(iter(_entries(entry.path, f"{relative}/", report)))


def _entries(folder: str, above: str, report: Report) -> list[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(((above + entry.name, entry) for entry in entries), key=lambda one: one[1].name)
    except OSError:
        if not above:
            raise
        report.leave_out(above, "unreadable")
        return []


def _why_not_link(path: str, root: str, format: DocumentFormat | None, linked: set[str]) -> str | None:
    """Why a link is not read; None if it leads to a file of the folder that is read under no other name."""
    target = os.path.realpath(path)
    try:
        mode = os.stat(target).st_mode  # noqa: PTH116  (one call for all kinds)
    except OSError:
        return "links to nothing"
    inside = PurePath(os.path.relpath(target, root)).parts
    if inside[:1] == (os.pardir,):
        return "links out of the folder"
    if stat.S_ISDIR(mode):
        return "links to folders"
    if not stat.S_ISREG(mode):
        return "no files (pipes, sockets, devices)"
    seen = target in linked
    linked.add(target)
    apart = any(part.startswith(".") or part in DEPENDENCIES for part in inside)
    apart = apart or _why_not_name(inside[-1], format) is not None
    return None if apart and not seen else "links to what is read anyway"


def _why_not_name(name: str, format: DocumentFormat | None) -> str | None:
    """Why a file is not read, by its name."""
    if format is not None:
        return None if is_readable(name, format) else f"of another format than {format}"
    if format_of(name, alone=False) is not None or not suffix(name):
        return None
    if suffix(name) in _MARKUP:
        return "of markup, which has to be made text or Markdown first"
    return "of a kind that is not read"

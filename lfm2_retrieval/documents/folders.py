"""The files of a folder: which are read, and how their documents are called."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from .formats import DEPENDENCIES, DocumentFormat, format_of, is_readable, suffix
from .ignoring import FileRules
from .report import ReadingReport

__all__ = ["find_files", "folder_names"]

_INDEX = "index.db"
"""A folder with this file is an index, whose files are no documents."""

_MARKUP = (".xml", ".svg")


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
    folder: str,
    format: DocumentFormat | None,
    report: ReadingReport,
    rules: FileRules | None = None,
) -> Iterator[tuple[str, str, DocumentFormat | None]]:
    """The files of a folder and below, in the order of their names.

    Links are not followed out of the folder, nor to folders: nothing is read twice, and no loop is endless.

    Parameters
    ----------
    folder
        Its path.
    format
        Of all files; None for what their names say.
    report
        Gets what is left out.
    rules
        What is left out beside that; by default what ``.gitignore`` says.

    Yields
    ------
    tuple
        A file, its path in the folder, and its format; None for one without extension, which may be no text.
    """
    root = os.path.realpath(folder)
    linked: set[str] = set()
    for path, relative, mode in _walk(folder, report, FileRules() if rules is None else rules):
        name = PurePath(relative).name
        if stat.S_ISLNK(mode):
            reason = _why_not_link(path, root, format, linked)
        else:
            reason = None if stat.S_ISREG(mode) else "no files (pipes, sockets, devices)"
        found = format or format_of(name, alone=False)
        if reason is None:
            reason = _why_not_name(name, format)
        if reason is not None:
            report.leave_out(relative, reason)
        else:
            yield path, relative, found


def _walk(folder: str, report: ReadingReport, rules: FileRules) -> Iterator[tuple[str, str, int]]:
    """All that lies in a folder and below but what is hidden, dependencies, indexes and ignored.

    Gives path, path in the folder, and mode.
    """
    rules.enter(folder)
    stack = [(folder, "", iter(_names(folder, "", report, rules)))]
    while stack:
        above, relative, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            if stack:
                rules.leave_folder(stack[-1][1])
            continue
        path, relative = os.path.join(above, name), relative + name  # noqa: PTH118  (a million of them)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            report.leave_out(relative, "vanished")
            continue
        is_folder = stat.S_ISDIR(mode)
        if name.startswith("."):
            report.leave_out(relative, "hidden")
        elif is_folder and name in DEPENDENCIES:
            report.leave_out(relative, "dependencies or caches")
        elif (reason := rules.why_not(relative, folder=is_folder)) is not None:
            report.leave_out(relative, reason)
        elif not is_folder:
            yield path, relative, mode
        elif (Path(path) / _INDEX).is_file():
            report.leave_out(relative, "indexes")
        else:
            stack.append((path, f"{relative}/", iter(_names(path, f"{relative}/", report, rules))))


def _names(folder: str, relative: str, report: ReadingReport, rules: FileRules) -> list[str]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  (names alone, of which there may be a million)
    except OSError:
        if not relative:
            raise
        report.leave_out(relative, "unreadable")
        return []
    rules.enter_folder(folder, relative)
    return names


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

"""Where hits lie, as editors and terminals understand it, and opening them there.

What an index says of its files may be a stranger's word. So nothing is opened but a regular file of a kind
that is read as a document, beneath the working directory or a folder that the caller names, and not hidden
there; of any other file on a terminal a person is asked, and is shown where it truly lies. Nothing is passed
to a shell, and no program is started that might run what the file holds.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from subprocess import DEVNULL, run

from ..documents.formats import format_of, rich_format, suffix, text_kind
from ..documents.report import storable
from ..documents.structure import Place
from ..errors import InvalidInputError
from ..platform.plain_files import is_regular

__all__ = ["check_beneath", "location", "open_at", "opening_command"]

_PLUS = frozenset(
    [
        "vi",
        "vim",
        "nvim",
        "gvim",
        "mvim",
        "view",
        "nano",
        "pico",
        "emacs",
        "emacsclient",
        "xemacs",
        "kak",
        "micro",
        "joe",
        "jmacs",
        "ne",
        "mg",
        "ed",
        "mcedit",
        "gedit",
        "pluma",
        "xed",
        "jed",
        "nedit",
        "ex",
        "rvim",
    ]
)
"""Editors that take ``+LINE FILE``."""
_GOTO = frozenset(["code", "code-insiders", "codium", "vscodium", "cursor", "windsurf", "positron"])
"""Those that take ``--goto FILE:LINE``."""
_COLON = frozenset(["subl", "sublime_text", "zed", "hx", "helix", "zeditor", "lapce", "amp"])
"""Those that take ``FILE:LINE``."""
_LINE = frozenset(["kate", "kwrite", "mate", "idea", "pycharm", "webstorm", "clion", "goland"])
"""Those that take ``--line LINE FILE``."""
_VIEWED = frozenset((".txt", ".text", ".md", ".markdown", ".rst", ".csv", ".tsv", ".log"))
"""Texts that the desktop's own program may open: it shows these, and runs none of them."""
_MACROS = frozenset((".docm", ".dotm", ".pptm", ".xlsm"))
"""Office files that may hold programs."""


def location(source: str, place: Place, *, line: int | None = None) -> str:
    """Where something lies: ``docs/guide.md:120``, ``paper.pdf p. 7``, ``book.xlsx Sheet!A2:D9``.

    Parameters
    ----------
    source
        The file's path; shown from here on, if it lies below the working directory.
    place
        Where in the file.
    line
        Instead of the place's first line.
    """
    shown = storable(_from_here(source))
    if place.cells is not None or place.sheet is not None or place.pages is not None:
        return f"{shown} {place}"
    first = line if line is not None else place.lines[0] if place.lines else None
    return shown if first is None else f"{shown}:{first}"


def _from_here(source: str) -> str:
    try:
        here = PurePath(os.path.realpath("."))
        return os.fspath(PurePath(source).relative_to(here))
    except (ValueError, OSError):
        return source


def check_beneath(
    source: str, folders: Sequence[str | os.PathLike[str]] = (), ask: Callable[[str], bool] | None = None
) -> None:
    """Refuse a file that an index names and nobody here vouched for.

    Parameters
    ----------
    source
        The file's path.
    folders
        Where files may be opened, beside the working directory.
    ask
        Is shown where the file truly lies, and says whether it may be opened; None for no.

    Raises
    ------
    InvalidInputError
        If it lies elsewhere, or is hidden there, and isn't allowed.
    """
    path = PurePath(os.path.realpath(source))
    for folder in (os.curdir, *folders):
        root = PurePath(os.path.realpath(folder))
        if root == PurePath(root.anchor) or root not in path.parents:
            continue
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            return
    shown = storable(os.fspath(path))
    if ask is None or not ask(shown):
        raise InvalidInputError(
            f"{shown}: lies neither here nor in a folder that --open-in names, or is hidden there; an index "
            "may name any file, so it isn't opened"
        )


def open_at(source: str, line: int | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Open a file at a line, and wait for an editor that lives in the terminal.

    Returns
    -------
    int
        The exit code of what opened it.

    Raises
    ------
    InvalidInputError
        If there is no such file, it is none, or nothing is there to open it with.
    """
    command = opening_command(source, line, environment)
    try:
        return run(command, check=False, stdin=None if sys.stdin.isatty() else DEVNULL).returncode
    except OSError as error:
        raise InvalidInputError(
            f"{command[0]} can't be started: {error.strerror or error}; EDITOR names another editor"
        ) from error


def opening_command(
    source: str, line: int | None = None, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """What opens a file at a line: ``$VISUAL`` or ``$EDITOR`` for texts, else the desktop's own program.

    Raises
    ------
    InvalidInputError
        As for :func:`open_at`.
    """
    path = Path(source)
    shown = storable(source)
    if not path.is_absolute():
        raise InvalidInputError(f"{shown}: the index doesn't say in which folder it lies, so it isn't opened")
    if not os.path.lexists(path):
        raise InvalidInputError(
            f"{shown}: no such file any more; lfm2-retrieve sync brings the index up to date"
        )
    if not is_regular(path, follow=True):
        raise InvalidInputError(f"{shown}: is no regular file any more, so it isn't opened")
    if suffix(source) in _MACROS or (suffix(source) and format_of(source, alone=False) is None):
        raise InvalidInputError(
            f"{shown}: is of a kind that may hold programs or isn't read as a document, so it isn't opened"
        )
    is_text = not rich_format(source) and suffix(source) != ".parquet"
    if is_text:
        for name in ("VISUAL", "EDITOR"):
            if environment.get(name, "").strip():
                return _with_line(_split(name, environment[name]), os.fspath(path), line)
    if not is_text or suffix(source) in _VIEWED or text_kind(source) in ("markdown", "rst"):
        viewer = shutil.which("xdg-open") or shutil.which("open")
        if viewer is not None:
            return [viewer, os.fspath(path)]
    what = "EDITOR, or VISUAL, names an editor" if is_text else "no xdg-open is installed to open it with"
    raise InvalidInputError(f"{shown}: {what}" + (", and neither is set" if is_text else ""))


def _split(name: str, value: str) -> list[str]:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise InvalidInputError(f"{name}={value}: {error}") from error
    return words


def _with_line(editor: list[str], path: str, line: int | None) -> list[str]:
    """An editor's command line; those that nobody knows here get the file alone."""
    kind = PurePath(editor[0]).name.removesuffix(".exe")
    if line is None:
        return [*editor, path]
    if kind in _PLUS:
        return [*editor, f"+{line}", path]
    if kind in _GOTO:
        return [*editor, "--goto", f"{path}:{line}"]
    if kind in _COLON:
        return [*editor, f"{path}:{line}"]
    if kind in _LINE:
        return [*editor, "--line", str(line), path]
    return [*editor, path]

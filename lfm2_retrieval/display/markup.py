"""Strings that somebody else wrote, as text of Markdown and LaTeX: none of it is markup there.

Names of folders, data sets, models and queries come into reports, which are opened in browsers and editors.
"""

from __future__ import annotations

import re

from ..printable import printable

__all__ = ["code", "latex", "markdown", "unmarked"]

_MARKDOWN = re.compile(
    r"[\\`|<$~]"  # escapes, code, cells, HTML, formulas, what is crossed out
    r"|&(?=[#A-Za-z])"  # entities
    r"|\*(?=\S)|(?<=\S)\*"  # emphasis; a lone star is none
    r"|_(?![A-Za-z0-9])|(?<![A-Za-z0-9])_"
    r"|\](?=[(\[:])"  # links; numbers in brackets aren't
)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "–": "--",
    "←": r"$\leftarrow$",
    "†": r"$\dagger$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def markdown(text: str) -> str:
    """Text within a line or a cell of a table of Markdown."""
    return _MARKDOWN.sub(lambda found: "\\" + found[0], _line(text))


def unmarked(text: str) -> str:
    r"""A line of Markdown as plain text: without marks of code, and ``\*`` as the star that it is."""
    parts = re.split(r"(\\[!-/:-@\[-`{-~])", " ".join(text.split()))
    return "".join(part[1] if _ESCAPED.fullmatch(part) else part.replace("`", "") for part in parts)


def code(text: str) -> str:
    """Text as code within a line of Markdown."""
    return f"`{_line(text).replace('`', chr(39))}`"


def latex(text: str) -> str:
    """A cell of a table of LaTeX. A group in front keeps ``\\\\`` from taking a star or a bracket."""
    found = "".join(_LATEX.get(character, character) for character in _line(text))
    return "{}" + found if found.startswith(("*", "[")) else found


def _line(text: str) -> str:
    return printable(" ".join(text.split()))

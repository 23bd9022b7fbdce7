"""Headings of plain text: Markdown, reStructuredText, LaTeX, AsciiDoc, Org; definitions of source code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .structure import Heading

__all__ = ["code_headings", "headings_of", "markdown_headings"]

_MOST = 200
"""How many characters a title has at most."""

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_NO_PARAGRAPH = re.compile(r" {0,3}(?:[-*+>|]|\d+[.)]|#{1,6}\s|$)|\t| {4}")
_LINK = re.compile(r"!?\[([^\]\n]{0,300})\](?:\([^)\n]{0,500}\)|\[[^\]\n]{0,100}\])")
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.:][^}\n]{0,200}\}$")
_EMPHASIS = re.compile(r"(\*\*|__|`+|(?<!\w)[*_]|[*_](?!\w))")

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*$")
_LATEX = re.compile(
    r"^[ \t]*\\(part|chapter|section|subsection|subsubsection|paragraph)\*?(?:\[[^\]\n]*\])?\{([^}\n]+)\}",
    re.M,
)
_LATEX_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
_MARKED = {
    "asciidoc": re.compile(r"^(={1,6})[ \t]+(\S.*)$", re.M),
    "org": re.compile(r"^(\*{1,6})[ \t]+(\S.*)$", re.M),
}

_DEFINITION = re.compile(
    r"^([ \t]*)(?:(?:export|default|pub(?:\([a-z]+\))?|public|private|protected|internal|static|final|"
    r"abstract|async|unsafe|virtual|override|open|data|sealed|inline|extern)[ \t]+)*"
    r"(def|class|func|fn|function|struct|interface|impl|trait|enum|module|namespace|object|protocol|defmodule)"
    r"[ \t]+([A-Za-z_][\w.:<>]{0,80})",
    re.M,
)
_ABOVE = ("@", "#", "//", "/*", "*", "--", '"""', ";;")
"""How lines begin that belong to the definition below them: decorators and comments."""


def headings_of(kind: str, text: str) -> tuple[Heading, ...]:
    """The headings of a text.

    Parameters
    ----------
    kind
        ``markdown``, ``rst``, ``latex``, ``asciidoc``, ``org`` or ``code``; all else has none.
    text
        The text.
    """
    finder = _FINDERS.get(kind)
    return () if finder is None else tuple(finder(text))


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Lines, without what ends them, and their offsets."""
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield start, text[start:stop].removesuffix("\r")
        start = stop + 1


def markdown_headings(text: str, start: int = 0, end: int | None = None) -> Iterator[Heading]:
    """Headings of Markdown, but for what stands in fenced code and comments."""
    fence, before, comment = "", (0, ""), False
    for at, line in _lines(text, start, len(text) if end is None else end):
        if fence:
            mark = _FENCE.match(line)
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            continue
        if comment or "<!--" in line:
            comment = line.rfind("-->") < (0 if comment else line.rfind("<!--"))
            before = (at, "")
            continue
        if mark := _FENCE.match(line):
            fence, before = mark[1], (at, "")
            continue
        if mark := _ATX.match(line):
            if title := _plain(mark[2] or ""):
                yield Heading(len(mark[1]), title, at, at + len(line))
            line = ""  # noqa: PLW2901  (nothing underlines a heading)
        elif before[1] and (mark := _UNDERLINE.match(line)) and not _NO_PARAGRAPH.match(before[1]):
            if title := _plain(before[1]):
                yield Heading(1 if mark[1][0] == "=" else 2, title, before[0], at + len(line))
            line = ""  # noqa: PLW2901
        before = (at, line if line.strip() else "")


def _plain(title: str) -> str:
    """A title without markup."""
    title = _LINK.sub(r"\1", _ATTRIBUTES.sub("", title.strip()))
    return _EMPHASIS.sub("", title).strip()[:_MOST]


def _rst_headings(text: str) -> Iterator[Heading]:
    """Titles of reStructuredText: the order in which adornments first appear is that of their levels."""
    levels: dict[str, int] = {}
    lines = list(_lines(text, 0, len(text)))
    for i, (at, line) in enumerate(lines[:-1]):
        under = _ADORNMENT.match(lines[i + 1][1])
        if under is None or not line.strip() or _ADORNMENT.match(line):
            continue
        over = _ADORNMENT.match(lines[i - 1][1]) if i else None
        over = (
            over
            if over and over[1] == under[1] and lines[i - 1][1].rstrip() == lines[i + 1][1].rstrip()
            else None
        )
        title = line.strip()
        if (line[0].isspace() and over is None) or len(under[0].rstrip()) < min(len(title), 4):
            continue
        if i and over is None and lines[i - 1][1].strip():
            continue  # the last line of a paragraph, or of a table
        level = levels.setdefault(under[1] * (2 if over else 1), len(levels) + 1)
        start = lines[i - 1][0] if over else at
        yield Heading(level, title[:_MOST], start, lines[i + 1][0] + len(lines[i + 1][1]))


def _latex_headings(text: str) -> Iterator[Heading]:
    found = list(_LATEX.finditer(text))
    top = min((_LATEX_LEVELS[one[1]] for one in found), default=1) - 1
    for one in found:
        yield Heading(_LATEX_LEVELS[one[1]] - top, one[2].strip()[:_MOST], one.start(), one.end())


def _marked_headings(pattern: re.Pattern[str]) -> Callable[[str], Iterator[Heading]]:
    def find(text: str) -> Iterator[Heading]:
        for one in pattern.finditer(text):
            yield Heading(len(one[1]), one[2].strip()[:_MOST], one.start(), one.end())

    return find


def code_headings(text: str) -> Iterator[Heading]:
    """Definitions of source code in most languages, with the decorators and comments above them.

    Their levels follow from how far they are indented.
    """
    indents: list[int] = []
    for one in _DEFINITION.finditer(text):
        indent = len(one[1].expandtabs(4))
        while indents and indents[-1] >= indent:
            indents.pop()
        indents.append(indent)
        start = one.start()
        while start:
            above = text.rfind("\n", 0, start - 1) + 1
            line = text[above : start - 1]
            same = len(line) - len(line.lstrip()) in (indent, len(one[1]))
            if not (same and line.lstrip().startswith(_ABOVE)):
                break
            start = above
        yield Heading(len(indents), f"{one[2]} {one[3].rstrip(':<>.')}", start, one.end())


_FINDERS: dict[str, Callable[[str], Iterator[Heading]]] = {
    "markdown": markdown_headings,
    "rst": _rst_headings,
    "latex": _latex_headings,
    "code": code_headings,
    **{kind: _marked_headings(pattern) for kind, pattern in _MARKED.items()},
}

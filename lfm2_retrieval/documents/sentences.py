"""Where sentences lie in a text, in any script.

A line that begins a list item, a heading or a row of a table begins a sentence, and so does one behind a line
that is too short to have been wrapped: code, verses and settings are taken line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["sentences"]

_BLANK = re.compile(r"\n[ \t\r]*(?:\n[ \t\r]*)+")
_ITEM = re.compile(r"[ \t]*(?:[-*+>|]\s|\||#{1,6}\s|\d{1,3}[.)]\s|```|~~~|:{3}|\\(?:item|section))")
_ALWAYS = "。！？｡।॥።።။།"
"""What ends a sentence without a space behind it."""
_END = re.compile(
    rf"[{_ALWAYS}]+[」』”’）)\]\"']*"
    r"|[.!?…؟۔։]+[\"'”’»)\]*_`]*(?=\s)"
)
_ABBREVIATION = re.compile(
    r"(?:(?<![\w'’])(?:[A-Za-z]|\d{1,3}|[A-Z]\.[A-Z]|[a-z]\.[a-z]|Dr|Mr|Mrs|Ms|Prof|St|vs|etc|cf|al|Fig|Figs|Eq|Sec|No|Nr|Abb|bzw|ca|"
    r"approx|Inc|Ltd|Jr|Sr|Vol|pp|ed|eds))\.$"
)
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Burmese and Khmer: spaces part phrases there, and nothing parts words."""
_SPACES = re.compile(r"[ \n]+")
_WRAPPED = 60
"""A line is taken for wrapped if the next one's first word would have made it longer than this."""
_LONG = 400
"""How many characters a sentence has before it is parted at lesser signs."""
_LESSER = (re.compile(r"[;；:：]\s+|[；：]"), re.compile(r"[,，、]\s*"), re.compile(r"\s+"))


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """The spans of the sentences of a text, or of a stretch of it, without the white space around them.

    Parameters
    ----------
    text
        Any.
    start, end
        The stretch.

    Yields
    ------
    (int, int)
        In order; they don't overlap, and what lies between them is white space.
    """
    end = len(text) if end is None else end
    at = start
    for found in _BLANK.finditer(text, start, end):
        yield from _of_paragraph(text, at, found.start())
        at = found.end()
    yield from _of_paragraph(text, at, end)


def _of_paragraph(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = start
    for border in _borders(text, start, end):
        yield from _parted(text, at, border)
        at = border
    yield from _parted(text, at, end)


def _borders(text: str, start: int, end: int) -> list[int]:
    """Where sentences end within a paragraph."""
    borders = {found.end() for found in _END.finditer(text, start, end) if _ends(text, start, found, end)}
    line = start
    while (stop := text.find("\n", line, end)) >= 0:
        following = text[stop + 1 : stop + 1 + _WRAPPED]
        word = following.split(maxsplit=1)[:1]
        room = stop - line + 1 + (len(word[0]) if word else 0)
        if room < _WRAPPED or _ITEM.match(following) or text.startswith(("#", "|"), line):
            borders.add(stop)
        line = stop + 1
    if end - start > _LONG and _UNSPACED.search(text, start, end):
        borders |= {found.end() for found in _SPACES.finditer(text, start, end)}
    return sorted(border for border in borders if start < border < end)


def _ends(text: str, start: int, found: re.Match[str], end: int) -> bool:
    """Whether a sign really ends a sentence: no abbreviation's, and none that small letters follow."""
    if found[0][0] in _ALWAYS:
        return True
    behind = text[found.end() : min(found.end() + 40, end)].lstrip()
    if behind[:1].islower():
        return False
    return not (found[0] == "." and _ABBREVIATION.search(text, max(start, found.start() - 12), found.end()))


def _parted(text: str, start: int, end: int, level: int = 0) -> Iterator[tuple[int, int]]:
    """A sentence without white space around it; a very long one in parts."""
    part = text[start:end]
    start, end = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
    if start >= end:
        return
    if end - start <= _LONG or level == len(_LESSER):
        yield start, end
        return
    at = start
    last = start
    for found in _LESSER[level].finditer(text, start, end):
        if found.end() - at > _LONG and last > at:
            yield from _parted(text, at, last, level + 1)
            at = last
        last = found.end()
    if end - at > _LONG and last > at:
        yield from _parted(text, at, last, level + 1)
        at = last
    yield from _parted(text, at, end, level + 1)

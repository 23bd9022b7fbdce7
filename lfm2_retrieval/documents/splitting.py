"""A long text into parts of so many tokens, by semantic-text-splitter.

The text is cut into blocks first, at paragraphs whose own words decide it. So the splitter's time grows with
the text's length and no faster, and an edit moves the borders within its block, not those behind it.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

from .structure import TextKind

__all__ = ["Span", "TokenCounter", "split_span", "without_surrogates"]

Span = tuple[int, int]

_PIECE = 2048
"""How many characters a piece has at most, of which blocks consist."""
_BLOCK = 4
"""A block has so many passages at least, about, and four times as many at most."""
_ONE_IN = 4
_BORDERS = (
    re.compile(r"\n[ \t\r]*\n\s*"),
    re.compile(r"\n"),
    re.compile(r"[.!?…]['\"”’)]*\s+|[。！？]"),
    re.compile(r"\s+"),
)
_SLACK = 0.92
"""How much of the room a part is aimed at: texts differ in how many tokens their characters make."""


class TokenCounter(Protocol):
    """Counts tokens as a model does.

    Attributes
    ----------
    limit
        How many tokens of a text the model reads, special ones apart.
    """

    limit: int

    def count(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each text has, special ones apart."""
        ...


_SURROGATES = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """A text with question marks for halves of characters, which no library in Rust takes."""
    return text if text.isascii() else _SURROGATES.sub("?", text)


def split_span(
    text: str, span: Span, kind: TextKind, counter: TokenCounter, *, room: int, overlap: int = 0
) -> Iterator[Span]:
    """Parts of a stretch of text, none of more than ``room`` tokens.

    They follow each other, with nothing but white space between, and overlap within a block if asked to.

    Parameters
    ----------
    text, span
        The text, and which stretch of it.
    kind
        How it is written.
    counter, room
        What counts tokens, and how many there may be.
    overlap
        Of tokens, about.
    """
    blocks = list(_blocks(text, span, room))
    counts: list[int] = []
    for i in range(0, len(blocks), 64):
        counts += counter.count([text[start:end] for start, end in blocks[i : i + 64]])
    for block, count in zip(blocks, counts, strict=True):
        if count <= room:
            yield block
        else:
            yield from _parts(text, block, kind, counter, count=count, room=room, overlap=overlap)


def _blocks(text: str, span: Span, room: int) -> Iterator[Span]:
    """Stretches of some passages each, which end where a paragraph's words say so, or have to."""
    least = _BLOCK * room * 3
    start = at = span[0]
    for end in _pieces(text, *span):
        words = text[at:end].strip()
        decided = end - start >= least and zlib.crc32(words.encode("utf-8", "replace")) % _ONE_IN == 0
        if decided or end - start >= 4 * least:
            yield start, end
            start = end
        at = end
    if text[start : span[1]].strip():
        yield start, span[1]


def _pieces(text: str, start: int, end: int) -> Iterator[int]:
    """Where paragraphs end; within long ones lines, sentences, words; at last anything."""
    stack = [(start, end, 0)]
    while stack:
        left, right, level = stack.pop()
        if right - left <= (_PIECE if level else 0) or level > len(_BORDERS):
            yield right
        elif level == len(_BORDERS):
            cuts = [left]
            while right - cuts[-1] > _PIECE:
                cuts.append(_before_marks(text, cuts[-1] + _PIECE, cuts[-1]))
            yield from (*cuts[1:], right)
        else:
            ends = [found.end() for found in _BORDERS[level].finditer(text, left, right)]
            ends = [one for one in ends if left < one < right]
            if level:
                ends = _packed(left, ends, right)
            stack.extend((a, b, level + 1) for a, b in reversed(list(pairwise([left, *ends, right]))))


def _packed(left: int, ends: list[int], right: int) -> list[int]:
    """As few of some borders as leave pieces that are not too long, where they can."""
    packed: list[int] = []
    before = left
    for end, after in pairwise([*ends, right]):
        if after - before > _PIECE:
            packed.append(end)
            before = end
    return packed


def _before_marks(text: str, at: int, least: int) -> int:
    """A place at or shortly before another that parts no character from its marks."""
    for place in range(at, max(at - 32, least + 1), -1):
        character = text[place]
        if not (
            unicodedata.combining(character) or character in "\u200d\ufe0f\n" or text[place - 1] == "\u200d"
        ):
            return place
    return at


def _parts(
    text: str, span: Span, kind: TextKind, counter: TokenCounter, *, count: int, room: int, overlap: int
) -> Iterator[Span]:
    """Parts of a block of ``count`` tokens, about equally long; any that is still too long is split again."""
    start, end = span
    length = end - start
    n = -(-count // int(max(room * _SLACK, 1)))
    most = max(int(length / count * room * _SLACK), 1)
    wanted = min(max(-(-length // n), 1), most)
    spans = _split(text[start:end], kind, wanted, most, int(length / count * overlap))
    counts = counter.count([text[start + a : start + b] for a, b in spans])
    for (a, b), tokens in zip(spans, counts, strict=True):
        if tokens <= room or b - a <= 1:
            yield start + a, start + b
        else:
            inner = (start + a, start + b)
            yield from _parts(text, inner, kind, counter, count=tokens, room=room, overlap=0)


def _split(block: str, kind: TextKind, wanted: int, most: int, overlap: int) -> list[Span]:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    splitter = MarkdownSplitter if kind is TextKind.MARKDOWN else TextSplitter
    overlap = max(0, min(overlap, wanted // 2))
    chunks = splitter((wanted, most), overlap=overlap, trim=False).chunk_indices(without_surrogates(block))
    spans = [(start, start + len(chunk)) for start, chunk in chunks if chunk.strip()]
    if len(spans) == 1 and spans[0] == (0, len(block)) and len(block) > most:
        half = len(block) // 2  # one that the splitter doesn't part
        return [(0, half), (half, len(block))]
    return spans

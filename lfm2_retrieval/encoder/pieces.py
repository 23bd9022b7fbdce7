"""Where a huge text is cut for the tokenizer, so that memory and time stay in proportion to its length."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["pieces"]

_CHARACTERS = 1 << 16
_LOOK_BACK = 1 << 12
_BEFORE_SPACE = re.compile(r"(?<=[^\W_])(?=\s)")


def pieces(text: str, most: int = _CHARACTERS) -> Iterator[tuple[int, str]]:
    """The text in pieces of at most ``most`` characters, each with the place where it begins.

    A piece ends after a letter or digit that white space follows. Tokenizers of the kinds in use split there
    in any case, so tokens are the same as of the whole. Where no such place is found in the last 4,096
    characters, as in text without spaces, a piece ends before any character that is no combining mark, and
    one token may come out split.
    """
    start = 0
    while len(text) - start > most:
        end = _end(text, start, start + most)
        yield start, text[start:end]
        start = end
    if start < len(text) or not text:
        yield start, text[start:]


def _end(text: str, start: int, most: int) -> int:
    least = max(start + 1, most - _LOOK_BACK)
    places = [found.start() for found in _BEFORE_SPACE.finditer(text, least, most + 1)]
    if places:
        return places[-1]
    for end in range(most, least, -1):
        if not unicodedata.category(text[end]).startswith("M"):
            return end
    return most

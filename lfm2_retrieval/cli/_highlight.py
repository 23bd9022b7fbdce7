"""Which words of a passage made it match a query."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = ["matched_words"]


def matched_words(encoder: Encoder, query: str, text: str, limit: int = 6) -> list[tuple[int, int]]:
    """Where in ``text`` are the words that the tokens of ``query`` found most decidedly.

    Each query token points to the token most like it, and counts by how far that stands out from its mean
    similarity to the text: a stop word, which is like everything, counts little.

    Returns
    -------
    list of (int, int)
        Start and end of at most ``limit`` words, in order.
    """
    asked, found = encoder.encode_queries([query]), encoder.encode_documents([text])
    if asked.spans is None or found.spans is None:
        return []
    of_query, of_text = (np.diff(spans).ravel() > 0 for spans in (asked.spans, found.spans))
    if not of_query.any() or not of_text.any():
        return []
    similarity = asked.embeddings[of_query] @ found.embeddings[of_text].T
    best = similarity.argmax(axis=1)
    words: set[tuple[int, int]] = set()
    for i in np.argsort(similarity.mean(axis=1) - similarity.max(axis=1), kind="stable"):
        start, end = found.spans[of_text][best[i]]
        word = _whole_word(text, int(start), int(end))
        if word is not None and len(words) < limit:
            words.add(word)
    return _merged(sorted(words))


def _whole_word(text: str, start: int, end: int) -> tuple[int, int] | None:
    """A token's span grown to its word; None for one without letters or digits."""
    while start < end and not _in_word(text[start]):
        start += 1
    while start < end and not _in_word(text[end - 1]):
        end -= 1
    if start == end:
        return None
    while start and _spaced(text[start]) and _spaced(text[start - 1]):
        start -= 1
    while end < len(text) and _spaced(text[end - 1]) and _spaced(text[end]):
        end += 1
    return start, end


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _spaced(character: str) -> bool:
    """Whether it belongs to a script that puts spaces between words; Chinese and Japanese do not."""
    return _in_word(character) and not "\u2e80" <= character <= "\uabff"


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged

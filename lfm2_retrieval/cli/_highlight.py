"""Which words of a passage made it match a query better than others."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = ["matched_words"]


def matched_words(
    encoder: Encoder, query: str, texts: Sequence[str], limit: int = 6
) -> list[list[tuple[int, int]]]:
    """Where in each of the ``texts`` found are the words that set it apart from the others.

    Each token of the query points to the token most like it, and counts by how much more like it that is than
    what the other texts have on average. Words that more than three of four texts have are left out.

    Returns
    -------
    list of list of (int, int)
        For each text start and end of at most ``limit`` words, in order.
    """
    asked, found = encoder.encode_queries([query]), encoder.encode_documents(texts)
    if asked.spans is None or found.spans is None:
        return [[] for _ in texts]
    vectors = asked.embeddings[np.diff(asked.spans).ravel() > 0]
    best = np.zeros((len(texts), len(vectors)))
    places = np.zeros((len(texts), len(vectors)), np.int64)
    for number, (start, end) in enumerate(pairwise(found.offsets)):
        similarity = vectors @ found.embeddings[start:end].T
        best[number], places[number] = similarity.max(axis=1), start + similarity.argmax(axis=1)
    counts = Counter(word for text in texts for word in set(re.findall(r"\w+", text.lower())))
    words = []
    for text, where, gain in zip(texts, places, best - best.mean(axis=0), strict=True):
        chosen: set[tuple[int, int]] = set()
        for i in np.argsort(-gain, kind="stable"):
            word = _whole_word(text, *map(int, found.spans[where[i]]))
            if word is None or gain[i] <= 0 or len(chosen) == limit:
                continue
            if counts[text[slice(*word)].lower()] <= 0.75 * len(texts):
                chosen.add(word)
        words.append(_merged(sorted(chosen)))
    return words


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

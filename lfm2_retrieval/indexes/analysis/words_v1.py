"""The first analysis of words: kept to search indexes whose words it made, until they are written to again.

FTS5 stemmed what it gives. Runs of letters and digits are words, so it tears words at combining marks, and
knows no signs; for what is right today see `lexical`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from .stemmer import stem
from .words import QueryWord

__all__ = ["query_words", "terms"]

_MOST_WORDS = 256
"""Of a query: more would only cost time."""

_PAIRED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul, kana
    "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_RUN = re.compile(rf"[{_PAIRED}]+|[^\W_{_PAIRED}]+")
_WORD = re.compile(r"[^\W_]+")
_IS_PAIRED = re.compile(f"[{_PAIRED}]")
_ACCENTED = re.compile("[\u00c0-\u052f\u1e00-\u1fff]")
_SIGNS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"
)
_ARABIC = str.maketrans(
    "\u0622\u0623\u0625\u0671\u0649\u06cc\u06a9\u0629", "\u0627\u0627\u0627\u0627\u064a\u064a\u0643\u0647"
)


def terms(text: str) -> tuple[list[str], int]:
    """What is indexed of a text, to be stemmed, and how many words that are."""
    folded = _folded(text)
    if _IS_PAIRED.search(folded):
        found = [word for run in _RUN.findall(folded) for word in _split(run)]
    else:
        found = _WORD.findall(folded)
    return found, len(found)


def query_words(query: str) -> Counter[QueryWord]:
    """The stemmed words to look for, and how often the query has each."""
    found: Counter[QueryWord] = Counter()
    for run in _RUN.findall(_folded(query)):
        if not _IS_PAIRED.match(run):
            found[QueryWord(stem(run))] += 1
        elif len(run) == 1:
            found[QueryWord(stem(run), True)] += 1
        else:
            # Its last character was made a word for queries of one character; here it would match noise.
            found.update(QueryWord(stem(pair)) for pair in _split(run)[:-1])
    return Counter(dict(list(found.items())[:_MOST_WORDS]))


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _ACCENTED.sub(lambda match: unicodedata.normalize("NFD", match[0]), text)
    return _SIGNS.sub("", text).translate(_ARABIC)


def _split(run: str) -> list[str]:
    if not _IS_PAIRED.match(run):
        return [run]
    return [*(run[i : i + 2] for i in range(len(run) - 1)), run[-1]]

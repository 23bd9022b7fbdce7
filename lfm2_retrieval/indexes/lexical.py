"""The words of a text, as SQLite's FTS5 indexes them, and those of a query.

FTS5 splits at white space what it is given, and stems English (Porter); so the words are ours to choose:

- NFKC, case folded. Accents of Latin, Greek and Cyrillic letters and the vowel signs of Arabic and Hebrew are
  dropped; Arabic letters that are written in several ways become one.
- A word is a run of letters and digits. Where writing has no spaces between words (Chinese, Japanese, Thai
  and their neighbours), and in Korean, whose words carry endings, a run becomes its overlapping pairs of
  characters, and its last character: every word of two characters is then a term, and one character finds
  the pairs that begin with it and the runs that end with it. FTS5's own trigrams would miss both.

A query has words too, and nothing else: FTS5's query language is never used, so no character means anything.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["query_words", "words"]

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


def words(text: str) -> str:
    """The words of a text, separated by spaces: what is indexed."""
    folded = _folded(text)
    if not _IS_PAIRED.search(folded):
        return " ".join(_WORD.findall(folded))
    return " ".join(word for run in _RUN.findall(folded) for word in _split(run))


def query_words(query: str) -> dict[str, bool]:
    """The words to look for, each once, and whether those that begin with it count, too."""
    found: dict[str, bool] = {}
    for run in _RUN.findall(_folded(query)):
        if not _IS_PAIRED.match(run):
            found[run] = False
        elif len(run) == 1:
            found[run] = True
        else:
            # Its last character was made a word for queries of one character; here it would match noise.
            found.update(dict.fromkeys(_split(run)[:-1], False))
    return dict(list(found.items())[:_MOST_WORDS])


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

"""How texts became words: the analyses that indexes were made with, by number.

An index keeps its number in the setting `SETTING`. It is searched by that one, and a writer that adds
to an index of an older one makes all its words anew first: words of two analyses are never in one index.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import DamagedIndexError
from . import words, words_v1
from .words import QueryWord

__all__ = ["ANALYSES", "ANALYSIS", "SETTING", "Analysis", "analysis_of"]

ANALYSIS = 2
"""The one that this version writes."""
SETTING = "lexical_analysis"
"""Where it isn't set, the analysis is 1."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One way from texts to words.

    Attributes
    ----------
    number
        Its number.
    tokenizer
        What FTS5 does with the terms that it is given, separated by spaces.
    terms
        Text → what FTS5 is given, and how many of these count as the text's length.
    query_words
        Query → terms as FTS5 keeps them, and how often the query has each.
    """

    number: int
    tokenizer: str
    terms: Callable[[str], tuple[list[str], int]]
    query_words: Callable[[str], Counter[QueryWord]]


ANALYSES = {
    1: Analysis(1, "'porter ascii'", words_v1.terms, words_v1.query_words),
    2: Analysis(2, "\"ascii tokenchars '-._&@/:+#'\"", words.terms, words.query_words),
}


def analysis_of(connection: sqlite3.Connection) -> Analysis:
    """That of the index that is read.

    Raises
    ------
    DamagedIndexError
        If there is none of this number.
    """
    found = connection.execute("SELECT value FROM settings WHERE key = ?", (SETTING,)).fetchone()
    number = 1 if found is None else json.loads(found[0])
    try:
        return ANALYSES[number]
    except (KeyError, TypeError):
        raise DamagedIndexError(f"index.db: there is no analysis of words {number!r}") from None

"""The sentence of a hit that answers best, and the words in it that matched."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from ..documents.sentences import sentences
from ..hits import Hit, ScoreKind
from ..indexes import query_words, terms

__all__ = ["Excerpt", "excerpts", "whole_word"]

Span = tuple[int, int]

_BY_WORDS = (ScoreKind.BM25, ScoreKind.RRF, ScoreKind.WEIGHTED)
"""Scores to which words count as such."""
_WORD = re.compile(r"\w[\w\u0300-\u036f\u0900-\u0dff]*")
_NO_SPACES = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\uac00\uf900-\ufaff]"
_UNSPACED = re.compile(_NO_SPACES)
_FEW, _COMMON = 8, 0.2
"""Of so many sentences or more, words that more than this share of them have are not marked."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A sentence of a hit's text.

    Parameters
    ----------
    start, end
        Its span in ``hit.text``.
    words
        The spans in ``hit.text`` of words in it that matched; they ascend and don't overlap.
    """

    start: int
    end: int
    words: tuple[Span, ...] = ()

    def to_dict(self, text: str) -> dict[str, Any]:
        """As JSON values, with the sentence; ``text`` is the hit's."""
        return {
            "span": [self.start, self.end],
            "text": text[self.start : self.end],
            "words": [list(span) for span in self.words],
        }


def excerpts(query: str, hits: Sequence[Hit]) -> list[Excerpt | None]:
    """Of each hit the sentence that carries most of its score.

    A token of the query counts in every sentence that has the word it matched, by its similarity squared.
    Where words are searched as such, each counts 1 at most: the fewer of the hits' sentences have it, the
    more. A heading is chosen if there is nothing else.

    Parameters
    ----------
    query
        The question.
    hits
        With ``matches``, if they were found by vectors: see ``explain`` of :meth:`Retriever.search`.

    Returns
    -------
    list of (Excerpt or None)
        None for a hit without text.
    """
    asked = _Asked(query)
    texts = [_Text(hit.text or "") for hit in hits]
    by_words = [
        asked.words_in(text.text) if hit.score_kind in _BY_WORDS or not hit.matches else {}
        for hit, text in zip(hits, texts, strict=True)
    ]
    having: Counter[str] = Counter()
    for text, found in zip(texts, by_words, strict=True):
        having.update(text.sentences_having(found))
    common = _Common(having, sum(len(text.sentences) for text in texts))
    return [
        _excerpt(hit, text, found, common) if text.sentences else None
        for hit, text, found in zip(hits, texts, by_words, strict=True)
    ]


class _Text:
    """A text with its sentences."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sentences = list(sentences(text))

    def sentences_having(self, words: dict[Span, str]) -> Counter[str]:
        """In how many sentences each of some terms stands."""
        starts = [start for start, _ in self.sentences]
        return Counter(
            term for _, term in {(bisect_right(starts, at), term) for (at, _), term in words.items()}
        )


@dataclass(frozen=True, slots=True)
class _Common:
    """How common words are among the sentences of all hits."""

    having: Counter[str]
    n_sentences: int

    def weight(self, term: str) -> float:
        """1 for a word of one sentence, nearly 0 for one of all."""
        return log(1 + self.n_sentences / self.having[term]) / log(1 + self.n_sentences)

    def tells(self, term: str) -> bool:
        """Whether it is worth being marked."""
        return self.n_sentences < _FEW or self.having[term] <= _COMMON * self.n_sentences


def _excerpt(hit: Hit, text: _Text, asked: dict[Span, str], common: _Common) -> Excerpt:
    weights: dict[str, float] = {}
    marked: set[str] = set()
    found = [
        (text.text[slice(*word)].casefold(), match.similarity)
        for match in hit.matches
        if match.query_span[0] < match.query_span[1]
        and (word := whole_word(text.text, *match.document_span)) is not None
    ]
    least = sum(similarity for _, similarity in found) / len(found) if found else 0.0
    for name, similarity in found:
        weights[name] = weights.get(name, 0.0) + similarity * similarity
        if similarity >= least:
            marked.add(name)
    for span, term in asked.items():
        name = text.text[slice(*span)].casefold()
        weights[name] = common.weight(term)
        if common.tells(term):
            marked.add(name)
    start, end = _best(text, weights)
    return Excerpt(start, end, _occurrences(text.text, start, end, marked))


def _best(text: _Text, weights: dict[str, float]) -> Span:
    """The sentence with the most weight; of equal ones the first."""
    best, most = text.sentences[0], (-1.0, False)
    for start, end in text.sentences:
        sentence = text.text[start:end].casefold()
        own = set(_WORD.findall(sentence))
        weight = sum(
            value
            for word, value in weights.items()
            if word in own or (_UNSPACED.match(word) and word in sentence)
        )
        heading = sentence.startswith("#")
        score = (0.0 if heading else weight, not heading)
        if score > most:
            best, most = (start, end), score
    return best


def _occurrences(text: str, start: int, end: int, marked: set[str]) -> tuple[Span, ...]:
    """Where a stretch of text has some words."""
    spans: list[Span] = []
    unspaced = [name for name in marked if _UNSPACED.match(name)]
    for found in _WORD.finditer(text, start, end):
        if found[0].casefold() in marked:
            spans.append(found.span())
        for name in unspaced:
            spans += [
                (found.start() + one.start(), found.start() + one.end())
                for one in re.finditer(re.escape(name), found[0])
            ]
    return _merged(sorted(spans))


class _Asked:
    """The words of a query, as the lexical search reads them."""

    def __init__(self, query: str) -> None:
        words = query_words(query)
        self._plain = {word.term for word in words if not word.prefix}
        self._prefixes = tuple(word.term for word in words if word.prefix)
        self._known: dict[str, str | None] = {}

    def words_in(self, text: str) -> dict[Span, str]:
        """Where they stand in a text, with each one's term; where no spaces are written, pairs of letters."""
        spans: dict[Span, str] = {}
        for found in _WORD.finditer(text):
            start, end = found.span()
            parts = [(start, end)]
            if _UNSPACED.search(found[0]):
                parts = [(at, min(at + 2, end)) for at in range(start, max(end - 1, start + 1))]
            for part in parts:
                term = self._term(text[slice(*part)])
                if term is not None:
                    spans[part] = term
        return spans

    def _term(self, word: str) -> str | None:
        if word not in self._known:
            found = terms(word)[0]
            self._known[word] = next(
                (one for one in found if one in self._plain or one.startswith(self._prefixes)), None
            )
        return self._known[word]


def whole_word(text: str, start: int, end: int) -> Span | None:
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
    """Whether it belongs to a script that puts spaces between words."""
    return _in_word(character) and not _UNSPACED.match(character)


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)

"""What BM25 has to know of all documents that are searched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Word", "WordStatistics", "least_common"]

_COMMON = 10_000
"""A word in more rows than this, and in more than half of all, is read only if the query has no others."""

Word = tuple[str, bool]
"""A term, and whether those that begin with it count, too."""


def least_common(word: Word, n_rows: int) -> float | None:
    """A word in more rows than this, of so many, is very common; None where none can be."""
    return None if word[1] or n_rows <= _COMMON else max(_COMMON, n_rows / 2)


@dataclass(frozen=True, slots=True)
class WordStatistics:
    """What BM25 has to know of all documents that are searched; those of parts of a collection add up.

    Parameters
    ----------
    n_documents, n_words
        Of the living documents that have words: how many, and how many words they have together.
    n_rows
        How many rows have words, those of dead documents and older versions included.
    rows
        Of words that were asked for: how many rows have it.
    documents
        How many living documents have it; left out for one that is very common there, unless that was asked.
    asked
        The words of each query.
    """

    n_documents: int
    n_words: int
    n_rows: int
    rows: Mapping[Word, int]
    documents: Mapping[Word, int]
    asked: Sequence[Sequence[Word]] = ()

    def plus(self, other: WordStatistics) -> WordStatistics:
        """Those of both parts, of which the same was asked."""
        both = self.documents.keys() & other.documents.keys()
        return WordStatistics(
            self.n_documents + other.n_documents,
            self.n_words + other.n_words,
            self.n_rows + other.n_rows,
            {word: n + other.rows[word] for word, n in self.rows.items()},
            {word: n + other.documents[word] for word, n in self.documents.items() if word in both},
            self.asked,
        )

    def uncounted(self) -> set[Word]:
        """Words that count in one of the queries, and whose documents weren't counted in all parts."""
        counting = {word for words in self.asked for word in self.counting(words)}
        return counting - self.documents.keys()

    def counting(self, words: Iterable[Word]) -> frozenset[Word]:
        """Those of a query's words that count: very common ones only where no document has another."""
        rare = frozenset(word for word in words if not self._is_common(word))
        return rare if any(self.rows[word] for word in rare) else frozenset(words)

    def _is_common(self, word: Word) -> bool:
        least = least_common(word, self.n_rows)
        return least is not None and self.rows[word] > least

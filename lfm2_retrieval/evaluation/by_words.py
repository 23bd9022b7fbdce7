"""Searches by words alone: the library's own, and bm25s beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import __version__
from ..datatypes import SearchParams, TokenEmbeddings
from ..errors import MissingExtraError
from ..indexes import Index

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BY_WORDS", "Bm25s", "ByWords", "Lexical"]

Ranked = list[list[tuple[str, float]]]
"""A query's documents with scores, the best first."""


class ByWords(Protocol):
    """A corpus that is searched by words; a context manager."""

    facts: dict[str, Any]

    def __init__(self, documents: Mapping[str, str]) -> None: ...

    def search(self, texts: Sequence[str], k: int) -> Ranked:
        """The best documents that share a word with each query; equal scores in the order of the corpus."""

    def __enter__(self) -> ByWords: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lexical:
    """The library's own search by words: an index of the texts alone, searched with ``mode="lexical"``."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        began = time.perf_counter()
        self._index = Index.create(None, 1, tier="exact")
        # No vectors; an id may be what no index takes.
        nothing = TokenEmbeddings(np.zeros((0, 1), np.float32), np.zeros(len(documents) + 1, np.int64))
        self._ids = list(documents)
        self._index.add([str(place) for place in range(len(documents))], nothing, list(documents.values()))
        self.facts: dict[str, Any] = {
            "build_seconds": time.perf_counter() - began,
            "version": f"lfm2-retrieval {__version__}",
        }

    def search(self, texts: Sequence[str], k: int) -> Ranked:
        """The best documents that share a word with each query; equal scores in the order of the corpus."""
        found = self._index.search(None, SearchParams(k, mode="lexical"), texts=list(texts))
        return [[(self._ids[int(hit.id)], hit.score) for hit in hits] for hits in found]

    def close(self) -> None:
        """Remove the index."""
        self._index.close()

    def __enter__(self) -> Lexical:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Bm25s:
    """BM25 as bm25s has it by default, tokenizer and English stop words included: somebody else's baseline.

    Raises
    ------
    MissingExtraError
        If bm25s is not installed.
    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        try:
            import bm25s
        except ImportError:
            raise MissingExtraError("the baseline bm25s", "eval") from None
        began = time.perf_counter()
        self._ids = list(documents)
        tokens = bm25s.tokenize(list(documents.values()), show_progress=False)
        self._tokenize = bm25s.tokenize
        self._ranking = bm25s.BM25() if any(tokens.ids) else None  # it takes no corpus without words
        if self._ranking is not None:
            self._ranking.index(tokens, show_progress=False)
        self.facts: dict[str, Any] = {
            "build_seconds": time.perf_counter() - began,
            "version": f"bm25s {version('bm25s')}",
        }

    def search(self, texts: Sequence[str], k: int) -> Ranked:
        """The best documents that share a word with each query; equal scores in the order of the corpus."""
        if self._ranking is None:
            return [[] for _ in texts]
        asked = self._tokenize(list(texts), return_ids=False, show_progress=False)
        found: Ranked = []
        for words in asked:
            scores = self._ranking.get_scores(words) if words else np.zeros(len(self._ids))
            best = np.argsort(-scores, kind="stable")[:k]
            found.append([(self._ids[i], float(scores[i])) for i in best if scores[i] > 0])
        return found

    def __enter__(self) -> Bm25s:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It holds memory alone."""


BY_WORDS: Mapping[str, type[ByWords]] = {"lexical": Lexical, "bm25s": Bm25s}
"""System → what searches."""

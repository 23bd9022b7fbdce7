"""Brute force, and this library."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .documents import Vectors, draw

__all__ = ["Brute", "Lfm2"]


class Brute:
    """MaxSim of all documents by NumPy in float32: what the others are compared with."""

    packages = ("numpy",)

    def build(self, documents: Vectors, folder: str) -> None:
        """Nothing: it searches the vectors themselves."""

    def open(self, folder: str, documents: Vectors) -> None:
        """Read the vectors."""
        self._vectors = documents.read(0, len(documents))
        self._filled = np.flatnonzero(np.diff(documents.offsets))
        self._starts = documents.offsets[:-1][self._filled]
        self._scored: Any = (None, None)

    def search(self, query: Any, k: int, below: int | None = None) -> tuple[list[int], list[float]]:
        """The best documents; equal scores in their order. Filtered searches of a query share its scores."""
        if below is None:
            return self._best(self._score(query), k)
        if self._scored[0] is not query:
            self._scored = query, self._score(query)
        chosen = draw(self._filled) < below
        scores = np.where(chosen, self._scored[1], -np.inf)
        return self._best(scores, min(k, int(chosen.sum())))

    def _score(self, query: Any) -> Any:
        return np.maximum.reduceat(query @ self._vectors.T, self._starts, axis=1).sum(axis=0)

    def _best(self, scores: Any, k: int) -> tuple[list[int], list[float]]:
        kept = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        kept = kept[np.lexsort((kept, -scores[kept]))]
        return self._filled[kept].tolist(), scores[kept].tolist()


class Lfm2:
    """This library."""

    packages = ("lfm2-retrieval",)

    def __init__(self) -> None:
        self._indexes, self._types = import_module("lfm2_retrieval.indexes"), import_module("lfm2_retrieval")

    def build(self, documents: Vectors, folder: str, tier: str, filtered: bool = False) -> dict[str, int]:
        """Add everything in one commit, then compress; to be filtered, with metadata."""
        dim = documents.read(0, 1).shape[1]
        with self._indexes.Index.create(folder, dim, tier=tier) as index:
            with index.writer() as writer:
                for start, vectors, offsets in documents.batches():
                    numbers = start + np.arange(len(offsets) - 1)
                    metadata = [{"draw": number} for number in draw(numbers).tolist()] if filtered else None
                    embeddings = self._types.TokenEmbeddings(vectors, offsets)
                    writer.add([str(number) for number in numbers], embeddings, metadata=metadata)
            if tier != "exact":
                index.build(force=True)
            return dict(index.size_bytes())

    def open(self, folder: str, documents: Vectors, tier: str) -> None:
        """Open the index."""
        self._index = self._indexes.Index.open(folder)

    def search(
        self, query: Any, k: int, below: int | None = None, **options: Any
    ) -> tuple[list[int], list[float]]:
        """``options`` are those of ``SearchParams``."""
        asked = self._types.TokenEmbeddings(query, np.array([0, len(query)]))
        where = None if below is None else {"draw": {"$lt": below}}
        (hits,) = self._index.search(asked, self._types.SearchParams(k, **options), where=where)
        return [int(hit.id) for hit in hits], [hit.score for hit in hits]

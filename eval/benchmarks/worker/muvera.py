"""MUVERA: a text as one vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .documents import Vectors

__all__ = ["Muvera", "encode", "make_random"]


class Muvera:
    """MUVERA (Dhulipala et al., 2024, arXiv:2405.19504), a plain form of it, written for this comparison.

    A text becomes one vector: random hyperplanes cut space into cells; of each cell a document contributes
    the mean of its vectors there, or where it has none the nearest by Hamming distance, and a query their
    sum; both are projected at random, and several such cuts are laid end to end. All documents' vectors are
    scanned, and the best documents scored by MaxSim on float16 vectors.
    """

    packages = ("numpy",)

    def build(self, documents: Vectors, folder: str, seed: int = 0, **shape: int) -> None:
        """``shape``: ``repetitions``, ``bits`` and ``projected``; by default 20, 4 and 16: 5,120 numbers."""
        home = Path(folder)
        home.mkdir()
        dim = documents.read(0, 1).shape[1]
        planes, projections = make_random(dim, seed, **shape)
        np.savez(home / "random.npz", planes=planes, projections=projections)
        encoded = []
        with (home / "vectors.f16").open("wb") as file:
            for _, vectors, offsets in documents.batches():
                vectors.astype(np.float16).tofile(file)
                encoded += [
                    encode(vectors[offsets[i] : offsets[i + 1]], planes, projections, query=False)
                    for i in range(len(offsets) - 1)
                ]
        np.save(home / "encoded.npy", np.stack(encoded))
        np.save(home / "offsets.npy", documents.offsets)

    def open(self, folder: str, documents: Vectors) -> None:
        """Read what is scanned, map the rest."""
        home = Path(folder)
        with np.load(home / "random.npz") as file:
            self._planes, self._projections = file["planes"], file["projections"]
        self._encoded, self._offsets = np.load(home / "encoded.npy"), np.load(home / "offsets.npy")
        dim = self._planes.shape[1]
        self._vectors = np.memmap(home / "vectors.f16", np.float16, "r").reshape(-1, dim)

    def search(self, query: Any, k: int, rerank: int = 100) -> tuple[list[int], list[float]]:
        """``rerank``: how many documents get their MaxSim, at least ``k``."""
        rough = self._encoded @ encode(query, self._planes, self._projections, query=True)
        rerank = min(max(rerank, k), len(rough))
        chosen = np.argpartition(-rough, rerank - 1)[:rerank]
        chosen = chosen[self._offsets[chosen + 1] > self._offsets[chosen]]
        starts, ends = self._offsets[chosen], self._offsets[chosen + 1]
        rows = [self._vectors[self._offsets[i] : self._offsets[i + 1]] for i in chosen]
        vectors = np.concatenate(rows).astype(np.float32)
        bounds = np.concatenate([[0], np.cumsum(ends - starts)])[:-1]
        scores = np.maximum.reduceat(query @ vectors.T, bounds, axis=1).sum(axis=0)
        best = np.lexsort((chosen, -scores))[:k]
        return chosen[best].tolist(), scores[best].tolist()


def make_random(
    dim: int, seed: int, repetitions: int = 20, bits: int = 4, projected: int = 16
) -> tuple[Any, Any]:
    """Hyperplanes ``[repetitions, dim, bits]`` and projections ``[repetitions, dim, projected]``."""
    rng = np.random.default_rng(seed)
    planes = rng.standard_normal((repetitions, dim, bits)).astype(np.float32)
    signs = rng.choice(np.array([-1, 1], np.float32), (repetitions, dim, projected))
    return planes, (signs / np.sqrt(projected)).astype(np.float32)


def encode(vectors: Any, planes: Any, projections: Any, query: bool) -> Any:
    """The one vector of a text."""
    repetitions, _, bits = planes.shape
    cells = 1 << bits
    encoded: Any = np.zeros((repetitions, cells, projections.shape[2]), np.float32)
    if not len(vectors):
        return encoded.reshape(-1)
    places: Any = ((vectors @ planes) > 0) @ (1 << np.arange(bits))
    projected = vectors @ projections
    numbers = np.arange(cells)
    for repetition in range(repetitions):
        place, rows = places[repetition], projected[repetition]
        member = (place == numbers[:, None]).astype(np.float32)
        encoded[repetition] = member @ rows
        if query:
            continue
        counts = member.sum(axis=1)
        encoded[repetition] /= np.maximum(counts, 1)[:, None]
        empty = np.flatnonzero(counts == 0)
        differing = place ^ empty[:, None]
        distance: Any = sum((differing >> bit) & 1 for bit in range(bits))
        encoded[repetition, empty] = rows[np.argmin(distance, axis=1)]
    return encoded.reshape(-1)

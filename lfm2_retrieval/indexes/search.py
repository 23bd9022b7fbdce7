"""Searching a snapshot: which documents, with which scores.

Segments of fp16 are scanned; of compressed ones a short list is made (`pipeline`), unless the search is to
be exact. Either way the few documents that matter are scored again in float64 on the best vectors stored, so
that a document's score doesn't depend on how it was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datatypes import ScoreKind, SearchParams, TokenEmbeddings
from ..errors import InvalidInputError
from . import maxsim
from .snapshot import Part, Snapshot

__all__ = ["Found", "search"]

_SPARE = 64
"""How many documents beyond k the scan keeps, in case rounding put them on the wrong side."""
_ROUNDING = 1e-4
"""Relative to the k-th score: more than the float32 scan can be wrong by."""
_BLOCK_TOKENS = 1 << 11
"""Decode about so many vectors at once, or one document."""


class Found(NamedTuple):
    """A hit before it has an id."""

    score: float
    key: int
    kind: ScoreKind


class Candidates(NamedTuple):
    """Documents of one query: float32 scores (approximate), int64 keys, part numbers and positions."""

    scores: NDArray[np.float32]
    keys: NDArray[np.int64]
    parts: NDArray[np.int64]
    positions: NDArray[np.int64]

    def best(self, k: int) -> Candidates:
        """The ``k`` best, best first."""
        chosen = maxsim.best(self.scores, self.keys, k)
        return Candidates(*(column[chosen] for column in self))

    def joined(self, other: Candidates) -> Candidates:
        """Those of both."""
        return Candidates(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


_NOTHING = Candidates(np.empty(0, np.float32), *(np.empty(0, np.int64) for _ in range(3)))


def search(snapshot: Snapshot, queries: TokenEmbeddings, params: SearchParams) -> list[list[Found]]:
    """For each query up to ``params.k`` documents, best first, equal scores in order of insertion.

    Raises
    ------
    InvalidInputError
        If the queries' width is wrong, or a vector holds NaN, infinity or a value beyond float16.
    """
    vectors = _check_queries(queries, snapshot.dim)
    asked = np.flatnonzero(queries.lengths)
    found: list[list[Found]] = [[] for _ in range(len(queries))]
    if not len(asked):
        return found
    # Empty queries own no rows, so the others' lanes are where their offsets say.
    lanes = np.append(queries.offsets[asked], len(vectors))
    numbered = list(enumerate(snapshot.parts))
    compressed = [] if params.exact else [number for number, part in numbered if part.compressed]
    scanned = [(number, part) for number, part in numbered if number not in compressed]
    for query, candidates in zip(asked, _scan(scanned, vectors, lanes, params.k), strict=True):
        rows = vectors[queries.offsets[query] : queries.offsets[query + 1]]
        listed = _rerank(snapshot.parts, compressed, rows, params) if compressed else _NOTHING
        found[query] = _settle(
            snapshot.parts, rows, candidates.joined(listed).best(params.k + _SPARE), params.k
        )
    return found


def _check_queries(queries: TokenEmbeddings, dim: int) -> NDArray[np.float32]:
    if queries.dim != dim:
        raise InvalidInputError(f"the queries' vectors are {queries.dim} wide, those of the index {dim}")
    bad = np.flatnonzero(~(np.abs(queries.embeddings) <= np.finfo(np.float16).max).all(axis=1))
    if len(bad):
        query = int(np.searchsorted(queries.offsets, bad[0], "right")) - 1
        raise InvalidInputError(
            f"query {query}: its vector {bad[0] - queries.offsets[query]} holds NaN, infinity or a value "
            "beyond float16 (±65504)"
        )
    return np.ascontiguousarray(queries.embeddings, np.float32)


def _scan(
    parts: Sequence[tuple[int, Part]], vectors: NDArray[np.float32], lanes: NDArray[np.int64], k: int
) -> list[Candidates]:
    """The best ``k`` and some more of each query, from one pass over all documents of some parts."""
    kept = [_NOTHING] * (len(lanes) - 1)
    for number, part in parts:
        segment = part.segment
        for first, chunk in maxsim.scan(segment.decode, segment.offsets, vectors, lanes):
            keys = part.keys[first : first + chunk.shape[1]]
            chunk[:, keys == 0] = -np.inf
            for query, row in enumerate(chunk):
                new = maxsim.best(row, keys, k + _SPARE)
                more = Candidates(row[new], keys[new], np.full(len(new), number), first + new)
                kept[query] = kept[query].joined(more).best(k + _SPARE)
    return kept


def _rerank(
    parts: Sequence[Part], compressed: Sequence[int], query: NDArray[np.float32], params: SearchParams
) -> Candidates:
    """The short list of one query, scored on the best vectors stored."""
    from .pipeline import plan, shortlist

    numbers, positions = shortlist([(n, parts[n]) for n in compressed], query, plan(params))
    keys = np.empty(len(numbers), np.int64)
    for number in compressed:
        mine = numbers == number
        keys[mine] = parts[number].keys[positions[mine]]
    return Candidates(_score_all(parts, query, numbers, positions), keys, numbers, positions)


def _score(part: Part, query: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """MaxSim of some documents of a part, none of them empty, in the precision of the query.

    Documents are decoded some at a time, so that they stay in the cache.
    """
    starts, ends = part.segment.offsets[positions], part.segment.offsets[positions + 1]
    columns = np.ascontiguousarray(query.T)
    bounds = np.concatenate([[0], np.cumsum(ends - starts)])
    scores = np.empty(len(positions), np.float32)
    first = 0
    while first < len(positions):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _BLOCK_TOKENS, "right")) - 1)
        decoded = np.empty((int(bounds[last] - bounds[first]), query.shape[1]), np.float32)
        part.segment.decode(starts[first:last], ends[first:last], decoded)
        similarities = decoded.astype(query.dtype, copy=False) @ columns
        best = np.maximum.reduceat(similarities, bounds[first:last] - bounds[first], axis=0)
        scores[first:last] = best.sum(axis=1)
        first = last
    return scores


def _settle(parts: Sequence[Part], query: NDArray[np.float32], candidates: Candidates, k: int) -> list[Found]:
    """Score the candidates that can be among the best ``k`` in float64, and order them."""
    if len(candidates.scores) > k:
        threshold = candidates.scores[k - 1] - _ROUNDING * max(1.0, abs(float(candidates.scores[k - 1])))
        candidates = Candidates(*(column[candidates.scores >= threshold] for column in candidates))
    scores = _score_all(parts, query.astype(np.float64), candidates.parts, candidates.positions)
    return [
        Found(float(scores[i]), int(candidates.keys[i]), parts[candidates.parts[i]].segment.score_kind)
        for i in maxsim.best(scores, candidates.keys, k)
    ]


def _score_all(
    parts: Sequence[Part], query: NDArray[Any], numbers: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """MaxSim of documents of any parts."""
    scores = np.empty(len(numbers), np.float32)
    for number in set(numbers.tolist()):
        mine = numbers == number
        scores[mine] = _score(parts[number], query, positions[mine])
    return scores

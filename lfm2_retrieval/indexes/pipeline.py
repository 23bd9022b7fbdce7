"""Finding the few documents worth scoring exactly, among many compressed ones.

Probe: each query token's best centroids. Gather: the documents in their lists, each query token giving the
score of the best probed centroid that the document has, or, where it has none, that of the best centroid
not probed: as far as centroids tell, none of its tokens can be nearer. Prune. MaxSim on centroids alone for
those left. Prune. MaxSim on centroids and codes. Prune. What is left goes to exact scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..datatypes import SearchParams
from . import _search_kernels as kernels
from .compressed_segment import CompressedSegment
from .snapshot import Part
from .tables import Tables, tables

__all__ = ["Plan", "plan", "shortlist"]

_GATHERED = 4
"""How many documents are scored by centroids for each that is scored by codes."""

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of parts, and positions in them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`SearchParams` with nothing left open: ``k`` ≤ ``rerank`` ≤ ``candidates``."""

    nprobe: int
    candidates: int
    rerank: int


def plan(params: SearchParams) -> Plan:
    """Fill in the defaults, which were measured: more lists or longer short lists found no more."""
    rerank = max(params.rerank or 20 + 2 * params.k, params.k)
    candidates = max(params.candidates or 256 + 4 * params.k, rerank)
    return Plan(params.nprobe or 8, candidates, rerank)


def shortlist(parts: Sequence[tuple[int, Part]], query: NDArray[np.float32], limits: Plan) -> Places:
    """The most promising documents of some compressed parts.

    Parameters
    ----------
    parts
        Their numbers in the snapshot, and themselves.
    query
        float32 ``[n, dim]``, n ≥ 1.
    limits
        How much to look at.

    Returns
    -------
    Places
        At most ``limits.rerank`` documents, none of them dead or empty.
    """
    lookups: dict[int, list[Tables]] = {}
    segments, gathered, estimates = [], [], []
    for _, part in parts:
        segment = cast(CompressedSegment, part.segment)
        if segment.codec.id not in lookups:
            lookups[segment.codec.id] = list(tables(query, segment.codec))
        positions = _gather(part, segment, lookups[segment.codec.id], limits)
        segments.append(segment)
        gathered.append(positions)
        estimates.append(_estimate(segment, lookups[segment.codec.id], positions, with_codes=False))
    kept = _cut(gathered, estimates, limits.candidates)
    if sum(map(len, kept)) > limits.rerank:
        refined = [
            _estimate(segment, lookups[segment.codec.id], positions, with_codes=True)
            for segment, positions in zip(segments, kept, strict=True)
        ]
        kept = _cut(kept, refined, limits.rerank)
    numbers = np.repeat([number for number, _ in parts], [len(positions) for positions in kept])
    return numbers.astype(np.int64), np.concatenate(kept)


def _gather(
    part: Part, segment: CompressedSegment, groups: Sequence[Tables], limits: Plan
) -> NDArray[np.int64]:
    """The positions of the documents that are worth a look at all their centroids."""
    wanted = limits.candidates * _GATHERED
    alive = part.found
    if np.count_nonzero(alive) <= wanted:
        return np.flatnonzero(alive)
    totals = np.zeros(len(alive), np.float32)
    stamps = np.zeros(len(alive), np.int32)
    touched = np.empty(len(alive), np.int32)
    n_centroids = len(segment.codec.centroids)
    n_probe = min(limits.nprobe, n_centroids)
    n_touched = n_lanes = 0
    for group in groups:
        probed, scores = kernels.probe(group.similarities, group.n_lanes, min(n_probe + 1, n_centroids))
        n_touched = kernels.gather(
            np.ascontiguousarray(probed[:, :n_probe]),
            scores[:, :n_probe] - scores[:, -1:],
            segment.lists,
            segment.documents,
            alive,
            totals,
            stamps,
            touched,
            n_lanes,
            n_touched,
        )
        n_lanes += group.n_lanes
        if n_touched < 0:
            raise segment.damaged("documents.npy")
    positions = touched[:n_touched].astype(np.int64)
    return positions[_largest(totals[positions], wanted)]


def _estimate(
    segment: CompressedSegment, groups: Sequence[Tables], positions: NDArray[np.int64], with_codes: bool
) -> NDArray[np.float32]:
    """MaxSim of some documents by look-up tables."""
    scores = np.zeros(len(positions), np.float32)
    starts, ends = segment.offsets[positions], segment.offsets[positions + 1]
    codes = segment.codes if with_codes else segment.codes[:, :0]
    for group in groups:
        if not kernels.refine(
            group.by_centroid, group.by_code, segment.centroids, codes, starts, ends, group.unit, scores
        ):
            raise segment.damaged("centroids.npy")
    return scores


def _cut(
    positions: Sequence[NDArray[np.int64]], scores: Sequence[NDArray[np.float32]], n: int
) -> list[NDArray[np.int64]]:
    """The ``n`` best over all parts, still part by part."""
    sizes = [len(some) for some in positions]
    if sum(sizes) <= n:
        return list(positions)
    if len(sizes) == 1:
        return [positions[0][_largest(scores[0], n)]]
    chosen = np.zeros(sum(sizes), bool)
    chosen[_largest(np.concatenate(scores), n)] = True
    masks = np.split(chosen, np.cumsum(sizes)[:-1])
    return [some[mask] for some, mask in zip(positions, masks, strict=True)]


def _largest(scores: NDArray[np.float32], n: int) -> NDArray[np.intp]:
    """The indices of the ``n`` largest scores, in no order."""
    if len(scores) <= n:
        return np.arange(len(scores))
    return np.argpartition(scores, len(scores) - n)[len(scores) - n :]

"""Finding the few documents worth scoring exactly, among many compressed ones.

Probe: each query token's best centroids. Gather: the documents in their lists, each query token giving the
score of the best probed centroid that the document has, or, where it has none, that of the best centroid
not probed: as far as centroids tell, none of its tokens can be nearer. Prune. MaxSim on centroids alone for
those left. Prune. MaxSim on centroids and codes. Prune. What is left goes to exact scoring.

All of it is in whole numbers of one unit, so that neither threads nor batches change a bit of the result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..datatypes import SearchParams
from . import _search_kernels as kernels
from ._pool import split
from .codec import Codec
from .compressed_segment import CompressedSegment
from .snapshot import Part
from .tables import Lookup, lookup

__all__ = ["Plan", "plan", "shortlist"]

_GATHERED = 2
"""How many documents are scored by centroids for each that is scored by codes."""
_LEAST = 32
"""So many documents are worth a thread."""

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of parts, and positions in them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`SearchParams` with nothing left open: ``k`` ≤ ``rerank`` ≤ ``candidates``."""

    nprobe: int
    candidates: int
    rerank: int


@dataclass(frozen=True, slots=True)
class _Probed:
    """A query and a codec: the tables, and int32 ``[n_tokens, n_probe]``: centroids, and what their scores are
    above the best not probed."""

    lookup: Lookup
    centroids: NDArray[np.int32]
    gains: NDArray[np.int32]


class _Scratch(threading.local):
    """What `gather` writes to, for each thread, kept between searches: it never has to be cleared."""

    def __init__(self) -> None:
        self.totals = self.stamps = self.touched = np.zeros(0, np.int32)
        self.stamped = 0

    def reserve(self, n_documents: int, n_tokens: int) -> int:
        """Make room; returns the last stamp that was used."""
        if len(self.stamps) < n_documents or self.stamped > 2**31 - 1 - n_tokens:
            n = max(n_documents, len(self.stamps))
            self.totals, self.touched = np.empty(n, np.int32), np.empty(n, np.int32)
            self.stamps, self.stamped = np.zeros(n, np.int32), 0
        before = self.stamped
        self.stamped += n_tokens
        return before


_scratch = _Scratch()


def plan(params: SearchParams) -> Plan:
    """Fill in the defaults, which were measured: more lists or longer short lists found no more."""
    rerank = max(params.rerank or 15 + 3 * params.k // 2, params.k)
    candidates = max(params.candidates or 580 + 7 * params.k, rerank)
    return Plan(params.nprobe or 8, candidates, rerank)


def shortlist(
    parts: Sequence[tuple[int, Part]], query: NDArray[np.float32], limits: Plan, threads: int = 1
) -> Places:
    """The most promising documents of some compressed parts.

    Parameters
    ----------
    parts
        Their numbers in the snapshot, and themselves.
    query
        float32 ``[n, dim]``, n ≥ 1.
    limits
        How much to look at.
    threads
        How many threads may work on it.

    Returns
    -------
    Places
        At most ``limits.rerank`` documents, none of them dead or empty.
    """
    probes: dict[int, _Probed] = {}
    gathered, scores = [], []
    for _, part in parts:
        segment = cast(CompressedSegment, part.segment)
        codec = segment.codec
        if codec.id not in probes:
            used = sum(len(probe.lookup.groups) for probe in probes.values())
            probes[codec.id] = _probe(lookup(query, codec, threads, used), codec, limits.nprobe)
        positions = _gather(part, segment, probes[codec.id], limits.candidates * _GATHERED)
        gathered.append(positions)
        if len(positions) > limits.candidates or len(parts) > 1:
            scores.append(_score(segment, probes[codec.id].lookup, positions, threads, with_codes=False))
        else:
            scores.append(np.zeros(len(positions), np.float32))
    kept = _cut(gathered, scores, limits.candidates)
    if sum(map(len, kept)) > limits.rerank:
        refined = []
        for (_, part), positions in zip(parts, kept, strict=True):
            segment = cast(CompressedSegment, part.segment)
            refined.append(
                _score(segment, probes[segment.codec.id].lookup, positions, threads, with_codes=True)
            )
        kept = _cut(kept, refined, limits.rerank)
    numbers = np.repeat([number for number, _ in parts], [len(positions) for positions in kept])
    return numbers.astype(np.int64), np.concatenate(kept)


def _probe(tables: Lookup, codec: Codec, n_probe: int) -> _Probed:
    n_centroids = len(codec.centroids)
    n_probe = min(n_probe, n_centroids)
    n = min(n_probe + 1, n_centroids)
    n_tokens = sum(group.n_tokens for group in tables.groups)
    centroids, values = np.empty((n_tokens, n), np.int32), np.empty((n_tokens, n), np.int16)
    first = 0
    for group in tables.groups:
        last = first + group.n_tokens
        group.kernels.probe(group.by_centroid, centroids[first:last], values[first:last])
        first = last
    scores = values.astype(np.int32)
    gains = scores[:, :n_probe] - scores[:, -1:]
    return _Probed(tables, np.ascontiguousarray(centroids[:, :n_probe]), gains)


def _gather(part: Part, segment: CompressedSegment, probed: _Probed, wanted: int) -> NDArray[np.int64]:
    """The positions of the documents that are worth a look at all their centroids."""
    alive = part.found
    if np.count_nonzero(alive) <= wanted:
        return np.flatnonzero(alive)
    before = _scratch.reserve(len(alive), len(probed.centroids))
    totals, touched = _scratch.totals, _scratch.touched
    n = kernels.gather(
        probed.centroids,
        probed.gains,
        segment.lists,
        segment.documents,
        alive,
        totals,
        _scratch.stamps,
        touched,
        before,
    )
    if n < 0:
        raise segment.damaged("documents.npy")
    positions = touched[:n].astype(np.int64)
    return positions[_largest(totals[positions], wanted)]


def _score(
    segment: CompressedSegment, tables: Lookup, positions: NDArray[np.int64], threads: int, with_codes: bool
) -> NDArray[np.float32]:
    """MaxSim of some documents by look-up tables."""
    scores = np.zeros(len(positions), np.int32)
    starts, ends = segment.offsets[positions], segment.offsets[positions + 1]
    for group in tables.groups:
        fixed: tuple[Any, ...]
        kernel: Callable[..., bool]
        if with_codes:
            kernel = group.kernels.refine
            fixed = group.by_centroid, group.by_code, group.margins, segment.centroids, segment.codes
        else:
            kernel, fixed = group.kernels.estimate, (group.by_centroid, segment.centroids)

        def work(
            first: int, last: int, kernel: Callable[..., bool] = kernel, fixed: tuple[Any, ...] = fixed
        ) -> None:
            if not kernel(*fixed, starts[first:last], ends[first:last], scores[first:last]):
                raise segment.damaged("centroids.npy")

        split(work, len(positions), threads, _LEAST)
    return scores * np.float32(tables.unit)


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


def _largest(scores: NDArray[Any], n: int) -> NDArray[np.intp]:
    """The indices of the ``n`` largest scores, in no order."""
    if len(scores) <= n:
        return np.arange(len(scores))
    return np.argpartition(scores, len(scores) - n)[len(scores) - n :]

"""Finding the few documents worth scoring exactly, among many compressed ones.

Probe: each query token's best centroids. Gather: the documents in their lists, each query token giving the
score of the best probed centroid that the document has, or, where it has none, that of the best centroid
not probed: as far as centroids tell, none of its tokens can be nearer. Prune. MaxSim on centroids alone for
those left. Of the best of these, of a sample of the others and of those of which the sample says that it may
matter, MaxSim on centroids and codes, of the tokens of each query token's best centroid in the document only.
Prune. The same of all tokens whose centroid comes near that. Prune. What is left goes to exact scoring.

Where the caller doesn't say how many to keep, a step keeps those that may still belong to the best ``k``: a
score is as uncertain as the codec's error makes it, and those within so many standard deviations of the
``k``-th stay. Of scores far apart that is few, and of scores as near each other as their errors it is many.

All of it is in whole numbers of one unit, so that neither threads nor batches change a bit of the result.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...platform.concurrency import split
from ..commits.snapshot import Part
from ..kernels import gather
from ..kernels.speed_check import check_speed
from ..quantization.codec import Codec
from ..segments.compressed import CompressedSegment
from .lookup_tables import ROUGHER, Lookup, Tables, lookup
from .plan import Plan

__all__ = ["Listed", "shortlist"]

_LENGTH, _LONGEST = 180, 7
"""Documents have so many vectors as a rule; of shorter ones as many are scored by centroids as have as many
vectors, up to 7 times as many."""
_SURE = 6.5
"""Standard deviations, as by errors that are independent: two real encoders need 5 to 7, as theirs aren't."""
_ELSEWHERE = 0.45
"""What a score by the tokens of the best centroids alone misses, as others may be nearer: of what centroids
leave open. Made-up vectors need .3; on two real encoders' up to .6 costs nothing, as worse scores leave with
the rest."""
_SAMPLED, _UNLIKELY = 64, 3.0
"""So many documents tell what a closer look changes; so many standard deviations it seldom exceeds."""
_REFINED = 4
"""How many documents are scored by the codes of more tokens for each that is reranked."""
_FURTHER = 4
"""So many times as many lists are looked into when those looked into hold too few documents."""
_LEAST = 32
"""So many documents are worth a thread."""

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of parts, and positions in them."""


@dataclass(frozen=True, slots=True)
class _Probed:
    """A query and a codec: the tables, and int32 ``[n_tokens, n_probe]``: centroids, and by how much
    their scores are better than the best of those not probed."""

    lookup: Lookup
    centroids: NDArray[np.int32]
    gains: NDArray[np.int32]


Margins = Callable[[Tables], NDArray[np.int16] | None]
"""What a step gives ``refine`` as margins; None: it looks at centroids alone."""


class _Step(NamedTuple):
    """Keeps those documents whose scores lie within ``margin`` of the best ``k``."""

    fewest: int
    most: int
    margin: float

    def how_many(self, scores: NDArray[np.float32], k: int) -> int:
        """How many to keep, of which ``fewest`` ≥ k."""
        if self.fewest == self.most:
            return self.fewest
        bar = np.partition(scores, len(scores) - k)[len(scores) - k] - self.margin
        return min(max(self.fewest, int(np.count_nonzero(scores >= bar))), self.most)


class Listed(NamedTuple):
    """Documents of several parts, one part after the other.

    Parameters
    ----------
    positions
        int64 ``[n]``: in their parts.
    bounds
        ``[n_parts + 1]``: where each part's begin.
    """

    positions: NDArray[np.int64]
    bounds: NDArray[np.intp]

    @classmethod
    def of(cls, positions: Sequence[NDArray[np.int64]]) -> Listed:
        """From those of each part."""
        return cls(np.concatenate(positions), np.cumsum([0, *map(len, positions)]))

    def chosen(self, mask: NDArray[np.bool_]) -> Listed:
        """Some of them."""
        which = np.flatnonzero(mask)
        return Listed(self.positions[which], np.searchsorted(which, self.bounds))


class _Scratch(threading.local):
    """What `gather` writes to, for each thread, kept between searches: it never has to be cleared."""

    def __init__(self) -> None:
        self.states, self.sums = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.touched = np.zeros(0, np.int32)
        self.stamped = 0

    def reserve(self, n_documents: int, n_tokens: int) -> int:
        """Make room; returns the last stamp that was used."""
        if len(self.states) < n_documents or self.stamped > 2**31 - 1 - n_tokens:
            n = max(n_documents, len(self.states))
            self.states, self.sums = np.zeros(n, np.int64), np.empty(n + 1, np.int64)
            self.touched, self.stamped = np.empty(n + 1, np.int32), 0
        before = self.stamped
        self.stamped += n_tokens
        return before


_scratch = _Scratch()


def shortlist(
    parts: Sequence[tuple[int, Part]],
    query: NDArray[np.float32],
    limits: Plan,
    threads: int = 1,
    wider: float = 1.0,
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
    wider
        How many times as large as the codecs say their errors may be.

    Returns
    -------
    Places
        At most ``limits.rerank`` documents, none of them dead or empty.
    """
    check_speed()
    probes: dict[int, _Probed] = {}
    segments = [cast(CompressedSegment, part.segment) for _, part in parts]
    for segment in segments:
        codec = segment.codec
        if codec.id not in probes:
            used = sum(len(probe.lookup.groups) for probe in probes.values())
            probes[codec.id] = _probe(lookup(query, codec, threads, used), codec, limits.nprobe)
    kept = _gather([part for _, part in parts], segments, probes, limits)
    errors = [(probes[segment.codec.id].lookup.length, segment.codec.deviations) for segment in segments]
    by_centroid = _SURE * wider * max(length * of.mean_square_to_centroid for length, of in errors)
    by_codes = _SURE * wider * max(length * of.mean_square_error for length, of in errors)
    by_nearest = math.hypot(by_codes, _ELSEWHERE * by_centroid)
    few, most = limits.rerank

    def score(margins: Margins, listed: Listed) -> NDArray[np.float32]:
        scores, units = np.zeros(len(listed.positions), np.int32), np.empty(len(segments), np.float32)
        for i, (first, last) in enumerate(pairwise(listed.bounds.tolist())):
            tables = probes[segments[i].codec.id].lookup
            units[i] = tables.unit
            if first < last:
                some = listed.positions[first:last], scores[first:last]
                _score(segments[i], tables, margins, *some, threads=threads)
        rough = margins(tables.groups[0]) is None
        return scores * (np.repeat(units, np.diff(listed.bounds)) * np.float32(ROUGHER if rough else 1))

    def nearest(listed: Listed) -> NDArray[np.float32]:
        return score(lambda group: group.nearest, listed)

    step = _Step(few * _REFINED, most * _REFINED, by_nearest)
    scores: NDArray[np.float32] | None = None
    if len(kept.positions) > limits.candidates[0]:
        by_centroids = score(lambda group: None, kept)
        if limits.candidates[1] > step.fewest:
            kept, scores = _promising(kept, by_centroids, nearest, limits, step.margin)
        else:
            kept = _cut(kept, by_centroids, limits.candidates[1])
    if len(kept.positions) > step.fewest:
        scores = nearest(kept) if scores is None else scores
        kept = _cut(kept, scores, step.how_many(scores, limits.k))
    step = _Step(few, most, by_codes)
    if len(kept.positions) > step.fewest:
        scores = score(lambda group: group.margins, kept)
        kept = _cut(kept, scores, step.how_many(scores, limits.k))
    numbers = np.repeat([number for number, _ in parts], np.diff(kept.bounds))
    return numbers.astype(np.int64), kept.positions


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


def _gather(
    parts: Sequence[Part],
    segments: Sequence[CompressedSegment],
    probes: Mapping[int, _Probed],
    limits: Plan,
) -> Listed:
    """The documents that are worth a look at all their centroids."""
    n_documents = sum(segment.info.n_documents for segment in segments)
    n_tokens = sum(segment.info.n_tokens for segment in segments)
    longer = min(max(_LENGTH * n_documents / max(n_tokens, 1), 1), _LONGEST)
    wanted = int(limits.gathered * longer)
    n_alive = sum(int(np.count_nonzero(part.found)) for part in parts)
    while True:
        n_listed = sum(gather.listed(probes[s.codec.id].centroids, s.lists) for s in segments)
        if n_alive <= wanted or n_alive * n_tokens <= n_listed * n_documents:
            # To go through the lists would take longer and find less.
            return Listed.of([np.flatnonzero(part.found) for part in parts])
        listed = _through_lists(parts, segments, probes, wanted)
        if 2 * len(listed.positions) >= limits.gathered:
            return listed
        # Of what may be found, little is in these lists: after a filter, or for a query of one token.
        codecs = {segment.codec.id: segment.codec for segment in segments}
        probes = {
            id: _probe(probed.lookup, codecs[id], _FURTHER * probed.centroids.shape[1])
            for id, probed in probes.items()
        }


def _through_lists(
    parts: Sequence[Part],
    segments: Sequence[CompressedSegment],
    probes: Mapping[int, _Probed],
    wanted: int,
) -> Listed:
    """The documents with the largest totals; at most ``wanted``."""
    starts = np.cumsum([0, *(len(part.found) for part in parts)])
    before = _scratch.reserve(int(starts[-1]), max(len(probed.centroids) for probed in probes.values()))
    states, touched = _scratch.states[: starts[-1]], _scratch.touched
    unit = max(probed.lookup.unit for probed in probes.values())
    gains = {  # of one unit, whatever the codec
        id: np.rint(probed.gains * (probed.lookup.unit / unit)).astype(np.int32)
        for id, probed in probes.items()
    }
    n = 0
    for segment, (first, last) in zip(segments, pairwise(starts.tolist()), strict=True):
        id, lists = segment.codec.id, (segment.lists, segment.documents)
        mine = touched[n:]
        reached = gather.gather(probes[id].centroids, gains[id], *lists, states[first:last], mine, before)
        if reached < 0:
            raise segment.damaged("documents.npy")
        mine[:reached] += first
        n += reached
    found = parts[0].found if len(parts) == 1 else np.concatenate([part.found for part in parts])
    places = gather.select(states, touched[:n], found, _scratch.sums, wanted)
    bounds = np.searchsorted(places, starts)  # part by part is all the order that this needs
    return Listed(places - np.repeat(starts[:-1], np.diff(bounds)), bounds)


def _score(
    segment: CompressedSegment,
    tables: Lookup,
    margins: Margins,
    positions: NDArray[np.int64],
    scores: NDArray[np.int32],
    *,
    threads: int,
) -> None:
    """Add MaxSim of some documents by look-up tables, in units of these."""
    starts, ends = segment.offsets[positions], segment.offsets[1:][positions]

    def work(first: int, last: int) -> None:
        for group in tables.groups:
            where = starts[first:last], ends[first:last], scores[first:last]
            margin = margins(group)
            if margin is None:
                sound = group.kernels.by_centroids(group.rough, segment.centroids, *where)
            else:
                looked_up = group.by_centroid, group.by_code, margin, segment.centroids, segment.codes
                sound = group.kernels.refine(*looked_up, *where)
            if not sound:
                raise segment.damaged("centroids.npy")

    split(work, len(positions), threads, _LEAST)


def _promising(
    listed: Listed,
    by_centroids: NDArray[np.float32],
    score: Callable[[Listed], NDArray[np.float32]],
    limits: Plan,
    margin: float,
) -> tuple[Listed, NDArray[np.float32]]:
    """Look more closely at documents that may then be within ``margin`` of the best ``k``.

    The best by centroids are, and some of the others, which tell how much a closer look changes a score;
    then those others that may change by enough.

    Parameters
    ----------
    listed, by_centroids
        Documents, and their scores so far.
    score
        What looks more closely.
    limits
        How many to score, and the ``k`` that counts.
    margin
        How far below the ``k``-th best a score may be.

    Returns
    -------
    tuple
        The documents looked at, and their scores.
    """
    fewest, most = limits.candidates
    n = len(by_centroids)
    after = np.empty(n, np.float32)
    best = _largest(by_centroids, most)
    scored = _mask(best[_largest(by_centroids[best], fewest)], n)
    others = np.flatnonzero(_mask(best, n) & ~scored)
    some = others[:: max(1, -(-len(others) // _SAMPLED))]
    scored[some] = True
    after[scored] = score(listed.chosen(scored))
    if len(others):
        seen = after[scored]
        bar = np.partition(seen, len(seen) - limits.k)[len(seen) - limits.k] - margin
        gains = after[some] - by_centroids[some]
        others = others[~scored[others]]
        more = _mask(others[by_centroids[others] >= bar - (gains.mean() + _UNLIKELY * gains.std())], n)
        after[more] = score(listed.chosen(more))
        scored |= more
    return listed.chosen(scored), after[scored]


def _cut(listed: Listed, scores: NDArray[np.float32], n: int) -> Listed:
    """The ``n`` best."""
    if len(scores) <= n:
        return listed
    return listed.chosen(_mask(_largest(scores, n), len(scores)))


def _largest(scores: NDArray[Any], n: int) -> NDArray[np.intp]:
    """The indices of the ``n`` largest scores, in no order."""
    if len(scores) <= n:
        return np.arange(len(scores))
    return np.argpartition(scores, len(scores) - n)[len(scores) - n :]


def _mask(indices: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    """bool ``[n]``, true at the indices: their order, in less time than sorting takes."""
    mask = np.zeros(n, bool)
    mask[indices] = True
    return mask

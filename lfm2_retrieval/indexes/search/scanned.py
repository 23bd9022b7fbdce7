"""What can be among the best of documents that are all looked at: those of fp16 segments, and of the others
where a search is to be exact.

Where vectors are stored in steps, too, scores are estimated from these first (`by_steps`), and the few
documents that can be among the best are scanned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...platform.concurrency import each
from .scan import Columns, largest_error, lay_out, plausible, scan, score

if TYPE_CHECKING:
    from ..commits.snapshot import Part
    from .by_steps import Asked

__all__ = ["NOTHING", "Candidates", "scanned"]

_FEWEST_DOCUMENTS = 4
"""So many times as many documents as are wanted, at least, are worth an estimate, ..."""
_FEWEST_TOKENS = 1 << 12
"""... and so many vectors: a scan of fewer takes no longer than all that is done about one."""


class Candidates(NamedTuple):
    """Documents of one query: float32 scores (approximate), int64 keys, part numbers and positions."""

    scores: NDArray[np.float32]
    keys: NDArray[np.int64]
    parts: NDArray[np.int64]
    positions: NDArray[np.int64]

    def joined(self, other: Candidates) -> Candidates:
        """Those of both."""
        pairs: Any = zip(self, other, strict=True)
        return Candidates._make(np.concatenate(pair) for pair in pairs)


NOTHING = Candidates(np.empty(0, np.float32), *(np.empty(0, np.int64) for _ in range(3)))


class _Kept:
    """What can be among the best ``k`` of one query, of all that was scanned so far.

    Parameters
    ----------
    vectors
        float32 ``[n, dim]``: the query's.
    k
        How many are wanted.
    """

    def __init__(self, vectors: NDArray[np.float32], k: int) -> None:
        self.vectors = vectors
        self.k = k
        self.candidates = NOTHING
        self._columns: Columns | None = None
        self._errors: dict[bool, tuple[float, float]] = {}
        self._error = 0.0

    @property
    def columns(self) -> Columns:
        """The query as a scan reads it."""
        if self._columns is None:
            self._columns = lay_out(self.vectors, np.array([0, len(self.vectors)]))
        return self._columns

    def add(  # noqa: PLR0917
        self,
        number: int,
        keys: NDArray[np.int64],
        positions: NDArray[np.int64],
        scores: NDArray[np.float32],
        longest: float,
        turned: bool = False,
    ) -> None:
        """Add documents of the part of that number, with their scanned scores; see `largest_error`."""
        if turned not in self._errors:
            lanes = np.array([0, len(self.vectors)])
            at_least, more = (float(largest_error(self.vectors, lanes, n, turned)[0]) for n in (0.0, 1.0))
            self._errors[turned] = at_least, more
        at_least, more = self._errors[turned]
        self._error = max(self._error, at_least + more * longest)
        new = Candidates(scores, keys[positions], np.full(len(positions), number), positions)
        both = self.candidates.joined(new)
        which = plausible(both.scores, self.k, self._error)
        self.candidates = Candidates._make(column[which] for column in both)

    def floor(self) -> float:
        """A score that ``k`` documents are known to reach; -inf of fewer documents."""
        scores = self.candidates.scores
        if len(scores) < self.k:
            return -math.inf
        return float(np.partition(scores, -self.k)[-self.k]) - self._error


def scanned(
    parts: Sequence[tuple[int, Part]],
    vectors: NDArray[np.float32],
    lanes: NDArray[np.int64],
    k: int,
    threads: int,
) -> list[Candidates]:
    """What can be among the best ``k`` of each query, from one pass over all documents of some parts.

    Parameters
    ----------
    parts
        With their numbers.
    vectors
        float32 ``[n, dim]``.
    lanes
        int64 ``[n_queries + 1]``: query ``i`` owns rows ``lanes[i]`` to ``lanes[i + 1]``, at least one.
    k
        How many are wanted.
    threads
        How many threads may work on it; the result doesn't depend on it.
    """
    from .by_steps import ask
    from .rerank import turned_by

    queries, lanes = vectors[lanes[0] : lanes[-1]], lanes - lanes[0]
    kept = [_Kept(queries[first:last], k) for first, last in pairwise(lanes.tolist())]
    asked: Asked | None = None
    for number, part in parts:
        wanted = np.flatnonzero(part.found)
        if _worth_estimating(part, wanted, k):
            asked = asked or ask(queries, lanes)
            _estimate(number, part, wanted, asked, kept, threads)
            continue
        turned = turned_by(part.segment) is not None
        for chunk in scan(part.segment, wanted, queries, lanes, threads):
            for query, row in zip(kept, chunk.scores, strict=True):
                query.add(number, part.keys, chunk.positions, row, chunk.longest, turned)
    return [query.candidates for query in kept]


def _worth_estimating(part: Part, wanted: NDArray[np.int64], k: int) -> bool:
    """Whether it pays: where most documents are scanned anyhow, an estimate would come on top."""
    if part.segment.in_steps is None or len(wanted) < _FEWEST_DOCUMENTS * k:
        return False
    if len(wanted) == part.segment.info.n_documents:
        return part.segment.info.n_tokens >= _FEWEST_TOKENS
    offsets = part.segment.offsets
    return int((offsets[wanted + 1] - offsets[wanted]).sum()) >= _FEWEST_TOKENS


def _estimate(  # noqa: PLR0917
    number: int,
    part: Part,
    wanted: NDArray[np.int64],
    asked: Asked,
    kept: Sequence[_Kept],
    threads: int,
) -> None:
    """Estimate the scores of a part's documents, and scan those that can be among the best."""
    from ..kernels.scan import longest_of
    from .by_steps import estimate, worth_scanning

    segment = part.segment
    if segment.in_steps is None or segment.half is None:
        return
    half, offsets = segment.half, segment.offsets
    inner = 1 if len(kept) > 1 else threads
    for some in estimate(segment.in_steps, offsets, wanted, asked, threads):

        def one(i: int) -> None:
            query, scores, most = kept[i], some.scores[i], some.most[i]  # noqa: B023  (called at once)
            for which in worth_scanning(scores, most, query.k, query.floor):
                positions = some.positions[which]  # noqa: B023
                longest = longest_of(half, offsets[positions], offsets[positions + 1])
                chunk = score(segment, positions, query.columns, longest, inner)
                query.add(number, part.keys, positions, chunk.scores[0], chunk.longest)

        each(one, len(kept), threads if len(kept) > 1 else 1)

"""Finding the cheapest way to search that finds enough.

The three numbers of a search form a grid: each step of a ladder costs up to twice as much as the one before.
A few widely spaced settings are tried for a few queries; then the neighbours of the best, as long as that
helps; then the few that may win, for all queries and several times. What is chosen was measured: nothing
here assumes that more lists or longer short lists find more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from ...datatypes import SearchParams
from ..search.min_score import MinScore
from .recall import Recall, Trials

__all__ = ["Tuning", "find_fastest", "pareto"]

_PROBES = (1, 2, 4, 8, 16, 32, 64)
_CANDIDATES = (1, 2, 4, 8, 16, 32, 64)
_RERANKED = (1, 1.5, 2, 3, 4, 6, 9, 14)
_FEW = 20
"""Queries while searching the grid; the finalists are asked all."""
_STEPS = 5
"""How often the neighbours of the best are tried, at most."""
_FINALISTS = 12
_ROUNDS, _MORE_ROUNDS = 2, 5
_CLOSE = 1.15
"""Settings that take less than so many times the fastest are timed more often."""

_DEAR = 4
"""Settings that take more than so many times the best so far are no finalists."""

Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning tried, and what it chose.

    Parameters
    ----------
    best
        The fastest setting that reached the target, or else the one with the highest recall.
    target_recall
        What was asked for.
    tried
        All settings, fastest first, most of them measured with few queries (`Recall.n_queries`). Empty where
        nothing is compressed, so that there is nothing to tune.
    min_score
        What ``min_score="auto"`` means from now on, where that was learnt.
    """

    best: Recall
    target_recall: float
    tried: tuple[Recall, ...] = ()
    min_score: MinScore | None = None

    @property
    def reached(self) -> bool:
        """Whether the best reaches the target."""
        return self.best.recall >= self.target_recall

    @property
    def finalists(self) -> tuple[Recall, ...]:
        """Those of `tried` that were measured with all queries, fastest first."""
        return tuple(one for one in self.tried if one.n_queries == self.best.n_queries)

    @property
    def front(self) -> tuple[Recall, ...]:
        """The finalists that none beats in both recall and time, fastest first."""
        finalists = self.finalists
        return tuple(finalists[i] for i in pareto([(one.milliseconds, one.recall) for one in finalists]))


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of those (cost, gain) that no other beats in both, cheapest first."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def find_fastest(
    trials: Trials,
    target: float,
    on_progress: Callable[[str], None] = lambda _: None,
) -> SearchParams:
    """Search the grid.

    Parameters
    ----------
    trials
        Asks the queries, and keeps the answers. Its reference is compared with in any case, and has the ``k``
        of all.
    target
        The recall to reach.
    on_progress
        Told what goes on.

    Returns
    -------
    SearchParams
        The fastest setting that reaches the target, or else the one with the highest recall. It and the
        other finalists were asked all queries.
    """
    default = trials.reference
    k, few = default.k, min(_FEW, len(trials))
    corner = (len(_PROBES) - 1, len(_CANDIDATES) - 1, len(_RERANKED) - 1)
    coarse = [_setting(k, place) for place in product((1, 3, 5), (1, 3, 5), (1, 3, 5))]
    on_progress(f"{len(coarse)} settings, {few} queries")
    trials.run(list(dict.fromkeys([default, *coarse, _setting(k, corner)])), few)
    places = _places(k)
    for _ in range(_STEPS):
        best = _best(trials, trials.tried, target, few)
        around = [_setting(k, place) for place in _neighbours(places.get(best, (3, 3, 3)))]
        new = [one for one in dict.fromkeys(around) if one not in trials.tried]
        if not new:
            break
        on_progress(f"{len(new)} more settings")
        trials.run(new, few)
    finalists = _finalists(trials, default, target, few)
    on_progress(f"{len(finalists)} finalists, {len(trials)} queries")
    trials.run(finalists, len(trials), _ROUNDS)
    while not any(trials.recall(one) >= target for one in finalists):
        # The few queries flattered them: go up until it is reached, or nothing is left.
        highest = places.get(_best(trials, finalists, 2.0, None), (3, 3, 3))
        above = [
            tuple(min(at + up, end) for at, up, end in zip(highest, step, corner, strict=True))
            for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))
        ]
        new = [one for one in dict.fromkeys(_setting(k, place) for place in above) if one not in finalists]
        if not new:
            break
        on_progress(f"{len(new)} finalists more")
        trials.run(new, len(trials), _ROUNDS)
        finalists += new
    enough = [one for one in finalists if trials.recall(one) >= target]
    if enough:
        limit = _CLOSE * min(trials.milliseconds(one) for one in enough)
        trials.run([one for one in enough if trials.milliseconds(one) <= limit], len(trials), _MORE_ROUNDS)
    return _best(trials, finalists, target, None)


def _setting(k: int, place: tuple[int, ...]) -> SearchParams:
    """The numbers at a place of the grid; what is reranked grows with ``k``, and candidates are no fewer."""
    probes, candidates, reranked = place
    rerank = round(_RERANKED[reranked] * (k + 10)) - 10 if reranked else k
    return SearchParams(
        k,
        nprobe=_PROBES[probes],
        candidates=max(_CANDIDATES[candidates] * (2 * k + 20), rerank),
        rerank=rerank,
    )


def _places(k: int) -> dict[SearchParams, Place]:
    """Where in the grid settings are."""
    everywhere = product(range(len(_PROBES)), range(len(_CANDIDATES)), range(len(_RERANKED)))
    return {_setting(k, place): place for place in everywhere}


def _neighbours(place: Place) -> list[Place]:
    """The places one step away in any direction, within the grid."""
    everywhere = product(range(len(_PROBES)), range(len(_CANDIDATES)), range(len(_RERANKED)))
    return [one for one in everywhere if max(abs(a - b) for a, b in zip(one, place, strict=True)) == 1]


def _best(trials: Trials, settings: Sequence[SearchParams], target: float, n: int | None) -> SearchParams:
    """The fastest that reaches the target, or else the one that finds most, of the first ``n`` queries."""
    enough = [one for one in settings if trials.recall(one, n) >= target]
    if enough:
        return min(enough, key=lambda one: trials.milliseconds(one, n))
    return max(settings, key=lambda one: (trials.recall(one, n), -trials.milliseconds(one, n)))


def _finalists(trials: Trials, default: SearchParams, target: float, n: int) -> list[SearchParams]:
    """The default, the fastest that reach the target, and the front around them, thinned."""
    tried = trials.tried
    points = [(trials.milliseconds(one, n), trials.recall(one, n)) for one in tried]
    best = points[tried.index(_best(trials, tried, target, n))]
    fast = sorted((i for i, (_, recall) in enumerate(points) if recall >= target), key=lambda i: points[i])
    chosen = dict.fromkeys([default, *(tried[i] for i in fast[: _FINALISTS // 2])])
    front = [i for i in pareto(points) if points[i][0] <= _DEAR * best[0]]
    room = max(1, _FINALISTS - len(chosen))
    step = max(1.0, len(front) / room)
    thinned = [tried[front[int(number * step)]] for number in range(min(room, len(front)))]
    return list(dict.fromkeys([*chosen, *thinned, tried[front[-1]]]))

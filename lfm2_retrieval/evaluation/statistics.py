"""How sure a mean is, and whether two differ: bootstrap intervals, paired tests, Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, MissingExtraError

__all__ = ["Comparison", "compare", "holm", "interval", "intervals"]

Values = Sequence[float] | NDArray[np.float64]

_DRAWS = 10_000
_CHUNK = 2_000_000


def interval(groups: Sequence[Values], *, seed: int = 0, draws: int = _DRAWS) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of the groups' means; see `intervals`."""
    columns = [np.asarray(group, dtype=np.float64)[:, None] for group in groups]
    ((low, high),) = intervals(columns, seed=seed, draws=draws)
    return low, high


def intervals(
    groups: Sequence[NDArray[np.float64]], *, seed: int = 0, draws: int = _DRAWS
) -> list[tuple[float, float]]:
    """95 % percentile bootstrap intervals of several measures' means of the groups' means.

    Queries are drawn anew within each group; the groups, the data sets, stay.

    Parameters
    ----------
    groups
        Values by data set, each ``[n_queries, n_measures]``.
    seed
        Of the draws.

    Returns
    -------
    list of (float, float)
        The ends, a pair a measure.

    Raises
    ------
    InvalidInputError
        If there is no group, or an empty one.
    """
    if not groups or any(not len(group) for group in groups):
        raise InvalidInputError("an interval needs at least one value in every group")
    rng = np.random.default_rng(seed)
    means = np.zeros((draws, groups[0].shape[1]))
    for values in groups:
        step = max(1, _CHUNK // values.size)
        for start in range(0, draws, step):
            count = min(step, draws - start)
            drawn = rng.integers(len(values), size=(count, len(values)))
            means[start : start + count] += values[drawn].mean(axis=1)
    low, high = np.percentile(means / len(groups), [2.5, 97.5], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


@dataclass(frozen=True)
class Comparison:
    """Two systems on one data set: means of the same queries, and how likely such a difference is by chance.

    ``difference`` is B minus A, ``low`` and ``high`` its 95 % interval, ``p_randomisation`` and ``p_t`` the
    two-sided p values; ``changed`` holds the queries that changed most, with the values of A and B.
    """

    n_queries: int
    mean_a: float
    mean_b: float
    low: float
    high: float
    p_randomisation: float
    p_t: float
    changed: Sequence[tuple[str, float, float]]

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.mean_b - self.mean_a


def compare(
    a: Mapping[str, float], b: Mapping[str, float], *, seed: int = 0, draws: int = _DRAWS, most: int = 10
) -> Comparison:
    """Compare the values of the same queries.

    The randomisation test flips the signs of the differences at random (Fisher; for retrieval, Smucker,
    Allan and Carterette, 2007); the t test is Student's, paired.

    Parameters
    ----------
    a, b
        Query id → value.
    most
        How many changed queries to list.

    Raises
    ------
    InvalidInputError
        If the queries differ, or there are none.
    MissingExtraError
        If scipy is not installed.
    """
    try:
        from scipy import stats
    except ImportError:
        raise MissingExtraError("comparing runs", "eval") from None
    if not a or a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())[:1]
        raise InvalidInputError(f"the two have different queries{f', such as {odd[0]!r}' if odd else ''}")
    first = np.array([a[query] for query in a])
    second = np.array([b[query] for query in a])
    differences = second - first
    low, high = interval([differences], seed=seed, draws=draws)
    moved = differences[differences != 0]
    order = sorted(
        (query for query in a if a[query] != b[query]), key=lambda query: -abs(b[query] - a[query])
    )
    return Comparison(
        n_queries=len(a),
        mean_a=float(first.mean()),
        mean_b=float(second.mean()),
        low=low,
        high=high,
        p_randomisation=_randomisation(moved, seed, draws),
        p_t=_t_test(stats, differences) if len(moved) else 1.0,
        changed=[(query, a[query], b[query]) for query in order[:most]],
    )


def _t_test(stats: object, differences: NDArray[np.float64]) -> float:
    if len(differences) < 2 or np.ptp(differences) == 0:
        return float("nan")
    return float(stats.ttest_1samp(differences, 0.0).pvalue)  # type: ignore[attr-defined]


def _randomisation(differences: NDArray[np.float64], seed: int, draws: int) -> float:
    """Two-sided; the observed signs count as one of the draws."""
    if not len(differences):
        return 1.0
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum()) * (1 - 1e-12)
    step = max(1, _CHUNK // len(differences))
    hits = 0
    for start in range(0, draws, step):
        signs = rng.choice((-1.0, 1.0), size=(min(step, draws - start), len(differences)))
        hits += int((np.abs(signs @ differences) >= observed).sum())
    return (hits + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for there being several (Holm, 1979), in their order; NaN stays uncounted."""
    known = [i for i, p in enumerate(p_values) if p == p]  # noqa: PLR0124  NaN differs from itself
    corrected = [float("nan")] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected

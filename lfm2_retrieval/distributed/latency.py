"""How long a search over many shards takes, from how long one of them takes: a model, beside ``eval/scale``.

All shards must answer, so that the slowest of them counts. Assumed is that

- a shard's time is log-normal around its median, and now and then, by chance, many times as long (a stall);
- queries come at random times, each to all shards at once, and a shard's replica answers them one after the
  other. So they wait in all shards alike for the queries before them: in a queue M/G/1, by the formula of
  Pollaczek and Khinchine;
- stalls are each shard's own, and so is the wait of those that come meanwhile;
- a second replica is asked when the first hasn't answered for as long as 95 % of answers take, and the first
  answer counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

__all__ = ["BUSIEST", "HEDGED_AFTER", "Shard", "quantile_of_all"]

BUSIEST = 0.9
"""A replica that is busy for more of its time is asked too much."""
HEDGED_AFTER = 0.95
_STEPS = 1 << 14
_LONGEST = 100.0
"""In medians of a shard."""


@dataclass(frozen=True)
class Shard:
    """How long one shard takes, in milliseconds.

    Parameters
    ----------
    median
        Of a search, without waiting.
    sigma
        The standard deviation of the time's logarithm.
    stalls, stall
        Which share of searches stalls, and how many times as long these take.
    """

    median: float
    sigma: float = 0.2
    stalls: float = 0.001
    stall: float = 10.0

    def busy(self, qps: float) -> float:
        """Which share of its time a replica works that is asked so often a second."""
        mean = self.median * np.exp(self.sigma**2 / 2) * (1 + self.stalls * (self.stall - 1))
        return float(qps * mean / 1e3)

    def draw(self, count: int, dice: np.random.Generator) -> NDArray[np.float64]:
        """Times of some searches, without waiting."""
        times = self.median * np.exp(self.sigma * dice.standard_normal(count))
        drawn: NDArray[np.float64] = np.where(dice.random(count) < self.stalls, times * self.stall, times)
        return drawn


def quantile_of_all(
    shard: Shard, n_shards: int, share: float, *, qps: float = 0.0, replicas: int = 1
) -> float:
    """Until when all shards have answered a share of the queries, in milliseconds.

    Parameters
    ----------
    shard
        How long each takes.
    n_shards, replicas
        How many there are, and how many copies of each.
    share
        .5 for the median, .99 …
    qps
        Queries a second to all replicas together.

    Raises
    ------
    InvalidInputError
        If the replicas are asked more than they can answer.
    """
    each = qps / replicas * (1 + (1 - HEDGED_AFTER) * (replicas > 1))
    busy = shard.busy(each)
    if busy > BUSIEST:
        raise InvalidInputError(
            f"{qps:g} queries a second keep {replicas} replicas busy for {busy:.0%} of their time: take more"
        )
    times = np.linspace(0, _LONGEST * shard.median, _STEPS)
    answered = _own_time(shard, times, each / 1e3)
    if replicas > 1:
        late = 1 - answered
        after = int(np.searchsorted(answered, HEDGED_AFTER))
        late[after:] = late[after:] * late[: len(late) - after]
        answered = 1 - late
    slowest = _after_waiting(np.maximum.accumulate(answered) ** n_shards, shard, times, each)
    return float(times[min(int(np.searchsorted(slowest, share)), _STEPS - 1)])


def _own_time(shard: Shard, times: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The share of answers that are there by some times, of one shard without what all wait for."""
    ordinary = _log_normal(times, shard.median, shard.sigma)
    longest = shard.stall * shard.median
    served = (1 - shard.stalls) * ordinary + shard.stalls * _log_normal(times, longest, shard.sigma)
    met = min(rate * shard.stalls * longest, 1.0)  # by so many queries, which wait for the rest of it
    rest = np.where(times < longest, 1.0, 0.0)
    found: NDArray[np.float64] = (1 - met) * served + met * _both(rest / rest.sum(), served)
    return found


def _after_waiting(
    answered: NDArray[np.float64], shard: Shard, times: NDArray[np.float64], qps: float
) -> NDArray[np.float64]:
    """The same after a wait for the queries before.

    Whoever comes while another is served waits for the rest of that, and again where others wait already.
    """
    busy = min(qps * shard.median * float(np.exp(shard.sigma**2 / 2)) / 1e3, BUSIEST)
    rest = 1 - _log_normal(times, shard.median, shard.sigma)
    size = 4 * len(times)
    waited = (1 - busy) / (1 - busy * np.fft.rfft(rest / rest.sum(), size))
    density = np.fft.rfft(np.diff(answered, prepend=0.0), size)
    return np.cumsum(np.fft.irfft(waited * density, size))[: len(times)]


def _both(density: NDArray[np.float64], answered: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution of one time after the other."""
    size = 2 * len(density)
    found = np.fft.irfft(np.fft.rfft(density, size) * np.fft.rfft(np.diff(answered, prepend=0.0), size), size)
    return np.cumsum(found)[: len(density)]


def _log_normal(times: NDArray[np.float64], median: float, sigma: float) -> NDArray[np.float64]:
    """The distribution function; Abramowitz and Stegun's 7.1.26 for the error function."""
    z = np.log(np.maximum(times, 1e-12) / median) / (sigma * np.sqrt(2))
    t = 1 / (1 + 0.3275911 * np.abs(z))
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(z) * (1 - tail * np.exp(-z * z))
    found: NDArray[np.float64] = (1 + erf) / 2
    return found

"""Queries over many shards, simulated one by one.

Assumed is less than by the model of `lfm2_retrieval.distributed.latency`: times of shards are drawn from the
same distribution, and queries come at random times, but each query goes to all shards at once, and waits in
each for the queries before it. A second replica is asked when the first hasn't answered for so long as 95 %
of answers take; the first one goes on working for nothing.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.distributed.latency import HEDGED_AFTER, Shard

__all__ = ["simulate"]

_WARM_UP = 0.1
"""This share of the queries fills the queues, and isn't counted."""


def simulate(
    shard: Shard, n_shards: int, n_queries: int, *, qps: float, replicas: int = 1, seed: int = 0
) -> NDArray[np.float64]:
    """Milliseconds until all shards have answered, of each query.

    Parameters
    ----------
    shard
        How long each takes.
    n_shards, replicas
        How many there are, and copies of each; queries go to replicas in turn.
    n_queries, qps
        How many queries are asked, and how many a second.
    seed
        Of what is drawn.
    """
    dice = np.random.default_rng(seed)
    arrivals = np.cumsum(dice.exponential(1e3 / qps, n_queries))
    slowest = np.zeros(n_queries)
    for _ in range(n_shards):
        slowest = np.maximum(slowest, _one_shard(shard, arrivals, replicas, dice))
    return slowest[int(_WARM_UP * n_queries) :]


def _one_shard(
    shard: Shard, arrivals: NDArray[np.float64], replicas: int, dice: np.random.Generator
) -> NDArray[np.float64]:
    """How long each query takes in one shard, waiting included."""
    times = shard.draw(len(arrivals), dice)
    if replicas == 1:
        return _queue(arrivals, times)
    lone = np.empty(len(arrivals))
    for number in range(replicas):
        lone[number::replicas] = _queue(arrivals[number::replicas], times[number::replicas])
    after = float(np.quantile(lone, HEDGED_AFTER))
    late = np.flatnonzero(lone > after)
    second = shard.draw(len(late), dice)
    events = [(arrival, i % replicas, i, times[i]) for i, arrival in enumerate(arrivals)]
    events += [(arrivals[i] + after, (i + 1) % replicas, i, second[j]) for j, i in enumerate(late.tolist())]
    heapq.heapify(events)
    free = [0.0] * replicas
    done = np.full(len(arrivals), np.inf)
    while events:
        at, replica, i, took = heapq.heappop(events)
        free[replica] = max(free[replica], at) + took
        done[i] = min(done[i], free[replica])
    return done - arrivals


def _queue(arrivals: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """One after the other: each begins when it comes, or when the one before is done."""
    ends = np.cumsum(times)
    waited = np.maximum.accumulate(arrivals - np.concatenate([[0.0], ends[:-1]]))
    done: NDArray[np.float64] = waited + ends - arrivals
    return done

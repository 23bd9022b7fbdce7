"""The model of latency, beside the simulation and what must hold of it."""

from __future__ import annotations

import numpy as np
import pytest

from eval.scale.simulation import simulate
from lfm2_retrieval.distributed.latency import Shard, quantile_of_all
from lfm2_retrieval.errors import InvalidInputError

SHARD = Shard(20.0, 0.2)


def test_one_shard_alone():
    alone = Shard(20.0, 0.2, stalls=0.0)
    assert quantile_of_all(alone, 1, 0.5) == pytest.approx(20.0, rel=0.01)
    assert quantile_of_all(alone, 1, 0.99) == pytest.approx(20.0 * np.exp(0.2 * 2.326), rel=0.01)
    assert quantile_of_all(alone, 1000, 0.5) == pytest.approx(20.0 * np.exp(0.2 * 3.197), rel=0.01)


def test_the_slowest_counts_and_a_second_replica_helps():
    times = [quantile_of_all(SHARD, count, 0.5) for count in (1, 10, 100, 1000)]
    assert times == sorted(times)
    assert times[3] > 5 * times[0]  # stalls, of a thousand one
    assert quantile_of_all(SHARD, 1000, 0.5, replicas=2) < 0.4 * times[3]


def test_waiting():
    calm, busy = (quantile_of_all(SHARD, 1, 0.9, qps=share / SHARD.busy(1)) for share in (0.01, 0.6))
    assert busy > 1.5 * calm
    with pytest.raises(InvalidInputError, match="take more"):
        quantile_of_all(SHARD, 1, 0.5, qps=1 / SHARD.busy(1))


@pytest.mark.parametrize(
    ("shards", "busy", "replicas", "share", "within"),
    [
        (1, 0.3, 1, 0.5, 0.05),
        (1, 0.3, 1, 0.99, 0.25),
        (50, 0.05, 1, 0.5, 0.05),
        (50, 0.05, 2, 0.5, 0.05),
        (50, 0.3, 1, 0.5, 0.25),
        (50, 0.05, 2, 0.99, 0.25),
    ],
)
def test_it_agrees_with_the_simulation(shards, busy, replicas, share, within):
    qps = busy / SHARD.busy(1) * replicas
    drawn = simulate(SHARD, shards, 4000, qps=qps, replicas=replicas)
    told = quantile_of_all(SHARD, shards, share, qps=qps, replicas=replicas)
    assert told == pytest.approx(np.quantile(drawn, share), rel=within)

"""The benchmarks of shards run, small; what they measure is not a test's to say."""

from __future__ import annotations

from eval.benchmarks.sharding import merging
from eval.benchmarks.sharding_scale import measure


def test_merging_is_timed():
    assert merging(4, 10, 3) >= 0


def test_shards_are_filled_compressed_and_searched():
    told = []
    report = measure(1500, 2, 3, told.append)
    assert report["documents"] == 1500
    assert report["recall@10"] > 0.5
    assert told

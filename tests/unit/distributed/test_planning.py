from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner

from eval.scale.__main__ import command as scale
from lfm2_retrieval import Encoder
from lfm2_retrieval.cli import main
from lfm2_retrieval.distributed import speeds as measuring
from lfm2_retrieval.distributed.planning import Collection, Machine, Speeds, plan
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.indexes import Tier, estimate_size

SPEEDS = Speeds(encode=4000, query_ms=10, base_ms=3, root_ms=4, merge_us=2)


def test_numbers_add_up():
    machine = Machine(cores=8, memory=32e9, disk=1e12, price=2.0)
    found = plan(Collection(1e6, 100, text_bytes=500), SPEEDS, machine, shards=4, replicas=2)
    assert found.vectors == 1e8
    size = estimate_size(25_000_000, 250_000, 128, Tier.BALANCED)
    assert found.disk_bytes == 4 * size.bytes + 5e8
    assert 0 < found.memory_bytes == 4 * size.bytes_searched < 4 * size.bytes
    assert found.build_core_hours == pytest.approx((1e8 / 4000 + 4 * size.seconds) / 3600)
    assert found.build_hours == pytest.approx(found.build_core_hours / (8 * found.machines))
    assert (found.machines, found.hourly_cost) == (1, 2.0)
    assert found.build_cost == pytest.approx(2 * found.build_hours)
    assert found.shard_ms == pytest.approx(3 + 4 * math.sqrt(25))
    assert found.p99_ms > found.p50_ms > found.shard_ms + 10


def test_more_takes_more():
    plans = [plan(Collection(10.0**n, 140), SPEEDS) for n in (3, 5, 7, 9)]
    for name in ("disk_bytes", "memory_bytes", "machines", "shards", "p50_ms"):
        values = [getattr(one, name) for one in plans]
        assert values == sorted(values), name
    assert plans[0].shards == plans[0].replicas == plans[0].machines == 1
    assert plans[3].shards > 100
    assert plans[3].replicas == 2
    smaller = plan(Collection(1e9, 140, tier="compact"), SPEEDS)
    assert smaller.disk_bytes < 0.6 * plans[3].disk_bytes


def test_more_queries_take_more_replicas():
    calm, asked = (plan(Collection(1e7, 140, qps=qps), SPEEDS, latency_ms=200) for qps in (1, 100))
    assert asked.replicas > calm.replicas
    assert asked.busy <= 0.3
    assert asked.machines >= calm.machines


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"documents": 0}, "documents"),
        ({"tokens": float("nan")}, "tokens"),
        ({"qps": -1}, "qps"),
        ({"tier": "small"}, "tier"),
        ({"dim": float("inf")}, "dim"),
    ],
)
def test_bad_collections(options, told):
    with pytest.raises(InvalidInputError, match=told):
        Collection(**{"documents": 10, "tokens": 10, **options})


def test_bad_plans():
    with pytest.raises(InvalidInputError, match="shards"):
        plan(Collection(10, 10), SPEEDS, shards=0)
    with pytest.raises(InvalidInputError, match="take more"):
        plan(Collection(1e8, 140, qps=1e5), SPEEDS, replicas=1)
    with pytest.raises(InvalidInputError, match="encode"):
        replace(SPEEDS, encode=0)
    for values in ({"encode": 1}, {"fast": 2}, {"encode": "quick"}):
        with pytest.raises(InvalidInputError, match="query_ms"):
            Speeds.of(values)


def test_speeds_are_measured(checkpoint, monkeypatch):
    for name, value in (("_SMALL", 1000), ("_LARGE", 2000), ("_QUERIES", 3), ("_ROUNDS", 1)):
        monkeypatch.setattr(measuring, name, value)
    for tier in ("balanced", "exact"):
        found = measuring.measure_speeds(Encoder.load(checkpoint()), tier, tokens=20, seconds=0.1)
        assert found.encode > 0
        assert found.query_ms > 0
        assert found.base_ms + found.root_ms + found.linear_ms > 0
        assert (found.root_ms if tier == "exact" else found.linear_ms) == 0
        assert found.merge_us > 0


def test_the_command(tmp_path):
    file = tmp_path / "speeds.json"
    file.write_text(json.dumps({"speeds": asdict(SPEEDS)}))
    asked = ["plan", "--documents", "1e9", "--speeds", str(file), "--price", "1.5"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "140,000,000,000" in done.output
    assert "ms at p50" in done.output
    done = CliRunner().invoke(main, [*asked, "--encode-speed", "8000", "--json"])
    assert json.loads(done.stdout)["speeds"]["encode"] == 8000
    file.write_text("[")
    done = CliRunner().invoke(main, asked)
    assert (done.exit_code, "is no JSON" in done.output) == (1, True)


def test_the_simulation_s_command():
    few = ["--shards", "1", "--shards", "5", "--queries", "200", "--busy", "0.1"]
    done = CliRunner().invoke(scale, few)
    assert done.exit_code == 0, done.output
    assert done.output.count("\n") == 6

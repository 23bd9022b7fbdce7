import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")

from eval.benchmarks import serving, soak


def test_many_clients_and_one_are_measured():
    report = serving.measure(100, n_clients=3, n_queries=20)
    assert report["many"]["errors"] == {}
    assert report["many"]["searches_per_second"] > 0
    assert {"above_ms", "server_p50_ms", "call_p50_ms"} <= set(report["lone"])


@pytest.mark.campaign
def test_a_soak():
    report = soak.measure(100, n_readers=2, seconds=1.5)
    assert (report["errors"], report["wrong"]) == ({}, [])
    assert report["searches"]
    assert report["changes"]


def test_a_soak_tells_wrong_answers():
    right = [("a", 5.0), ("b", 4.0), ("c", 3.0)]
    assert soak._agree([("a", 5.0001), ("b", 4.0), ("d", 3.0)], right)  # a tie of the last
    assert not soak._agree([("a", 5.0), ("d", 4.0), ("c", 3.0)], right)
    assert not soak._agree([("a", 5.1), ("b", 4.0), ("c", 3.0)], right)
    assert not soak._agree(right[:2], right)

from eval.benchmarks.pinning import measure


def test_both_ways_and_sixteen_threads_are_measured():
    facts = measure(60, 50, 1, 0.05, works=["search exact"])
    assert facts["vectors"]["exact"] > 0
    for where in ("idle", "beside a busy core"):
        assert facts[f"search exact, {where}"]["processor_ratio"] > 0
    assert facts["sixteen threads, exact"]["throughput_ratio"] > 0

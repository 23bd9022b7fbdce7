from eval.benchmarks.scanning import measure
from lfm2_retrieval.indexes.search import scanned


def test_both_ways_are_measured_and_left_as_they_were():
    before = scanned._FEWEST_TOKENS
    facts = measure(60, 3, 2)
    assert before == scanned._FEWEST_TOKENS
    for name in ("one_thread", "as_installed"):
        assert set(facts[name]) == {"float32", "steps", "processor_ratio"}
        assert facts[name]["steps"]["processor_ms"] > 0

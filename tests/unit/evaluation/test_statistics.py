import numpy as np
import pytest

from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import compare, holm, interval
from lfm2_retrieval.evaluation.statistics import intervals

stats = pytest.importorskip("scipy.stats")


def test_an_interval_is_that_of_scipy():
    values = np.random.default_rng(0).beta(2, 2, size=60)
    ours = interval([values], draws=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert ours == pytest.approx(theirs.confidence_interval, abs=0.004)
    assert interval([values], seed=5) == interval([values], seed=5) != interval([values], seed=6)


def test_a_macro_mean_has_the_interval_of_the_mean_of_means():
    rng = np.random.default_rng(1)
    groups = [rng.normal(0.2, 0.1, 400), rng.normal(0.8, 0.1, 20)]
    low, high = interval(groups)
    assert low < np.mean([group.mean() for group in groups]) < high
    width = 2 * 1.96 * np.sqrt(sum(group.var() / len(group) for group in groups)) / 2
    assert high - low == pytest.approx(width, rel=0.1)


def test_several_measures_share_their_draws():
    table = np.random.default_rng(2).random((40, 3))
    for column, ends in enumerate(intervals([table])):
        assert ends == pytest.approx(interval([table[:, column]]), abs=1e-12)


def test_an_interval_needs_values():
    for groups in ([], [[]], [[0.1], []]):
        with pytest.raises(InvalidInputError, match="at least one value"):
            interval(groups)


def test_the_tests_agree_with_scipy():
    rng = np.random.default_rng(4)
    a = {f"q{i}": value for i, value in enumerate(rng.random(30))}
    b = {query: min(1.0, value + rng.normal(0.05, 0.15)) for query, value in a.items()}
    result = compare(a, b, draws=20_000)
    first, second = np.array(list(a.values())), np.array(list(b.values()))
    assert result.p_t == pytest.approx(stats.ttest_rel(second, first).pvalue)
    permuted = stats.permutation_test(
        (second, first), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20_000, rng=0
    )
    assert result.p_randomisation == pytest.approx(permuted.pvalue, abs=0.02)
    assert result.difference == pytest.approx(np.mean(second - first))
    assert result.low < result.difference < result.high
    most = max(a, key=lambda query: abs(b[query] - a[query]))
    assert result.changed[0] == (most, a[most], b[most])
    assert len(result.changed) == 10


def test_equal_systems_differ_by_chance():
    same = {"a": 0.5, "b": 0.7}
    result = compare(same, same)
    assert (result.p_randomisation, result.p_t, result.difference, result.changed) == (1.0, 1.0, 0.0, [])
    assert np.isnan(compare({"a": 0.0}, {"a": 1.0}).p_t)


def test_other_queries_are_refused():
    with pytest.raises(InvalidInputError, match="different queries, such as 'c'"):
        compare({"a": 1.0}, {"a": 1.0, "c": 0.0})
    with pytest.raises(InvalidInputError, match="different queries"):
        compare({}, {})


def test_holm_is_as_in_the_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    corrected = holm([float("nan"), 0.01, 0.04])
    assert np.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.02, 0.04])
    assert holm([]) == []

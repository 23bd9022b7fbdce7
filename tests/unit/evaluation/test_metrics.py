import builtins
import math

import pytest

from lfm2_retrieval.errors import InvalidInputError, MissingExtraError
from lfm2_retrieval.evaluation import evaluate

QRELS = {"a": {"x": 2, "y": 1}, "b": {"z": 1}}


def test_ndcg_is_as_by_hand():
    pytest.importorskip("ir_measures")
    first = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    measured = evaluate(QRELS, {"a": ["y", "x"], "b": ["q", "z"]})
    assert measured == {"nDCG@10": pytest.approx((first + 1 / math.log2(3)) / 2)}


def test_a_query_without_results_counts_zero_and_an_unjudged_one_nothing():
    pytest.importorskip("ir_measures")
    assert evaluate(QRELS, {"a": ["x", "y"], "unjudged": ["z"]}) == {"nDCG@10": pytest.approx(0.5)}
    assert evaluate(QRELS, {"a": ["x", "y"], "b": []}) == {"nDCG@10": pytest.approx(0.5)}
    assert evaluate(QRELS, {}) == {"nDCG@10": 0.0}


def test_order_alone_decides_in_long_rankings():
    pytest.importorskip("ir_measures")
    ranking = {"b": [f"d{i}" for i in range(5000)] + ["z"], "a": []}
    assert evaluate(QRELS, ranking, ["RR"]) == {"RR": pytest.approx(0.5 / 5001)}


def test_wrong_use_is_refused():
    pytest.importorskip("ir_measures")
    for qrels, ranking, measures, message in (
        ({}, {}, ["nDCG@10"], "no judged queries"),
        (QRELS, {"a": ["x", "x"]}, ["nDCG@10"], "'a' holds a document twice"),
        (QRELS, {}, ["best@10"], "does not know the measure"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            evaluate(qrels, ranking, measures)


def test_without_ir_measures_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "ir_measures":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[eval\]"):
        evaluate(QRELS, {})

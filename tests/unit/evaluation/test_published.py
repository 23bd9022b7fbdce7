"""Ours beside what others published."""

import pytest

from lfm2_retrieval.evaluation.published import differences, load_published
from lfm2_retrieval.evaluation.suites import data_folder

FILES = sorted(path.name for path in data_folder("published").glob("*.toml"))


def content(scores, system="exact", tasks=13):
    """Results with means for pairs of languages."""
    means = [
        {
            "documents": documents,
            "queries": queries,
            "system": system,
            "tasks": tasks,
            "complete": True,
            "measures": {"nDCG@10": value},
        }
        for (documents, queries), value in scores.items()
    ]
    return {"cells": [], "means": means}


@pytest.mark.parametrize("name", FILES)
def test_every_table_has_a_source_and_scores(name):
    for one in load_published([name]):
        assert one.source
        values = [one.scores.get("mean", 0.5)]
        for part in one.scores.values():
            if isinstance(part, dict):
                for value in part.values():
                    values += value.values() if isinstance(value, dict) else [value]
        assert all(0 < value < 1 for value in values)


def test_the_published_numbers_are_those_of_the_cards():
    lfm2, gte = load_published(["nanobeir-crosslingual.toml"])
    assert len(lfm2.scores["matrix"]) == len(gte.scores["matrix"]) == 9
    assert lfm2.scores["matrix"]["ar"]["ja"] == 0.357
    assert gte.scores["matrix"]["en"]["de"] == 0.408
    english = load_published(["nanobeir-en.toml"])[0].scores
    assert sum(english["en"].values()) / 13 == pytest.approx(english["mean"])
    models = {one.model: one.scores for one in load_published(["nanobeir-multilingual.toml"])}
    assert models["LFM2.5-ColBERT-350M"]["means"]["ja"] == 0.614
    assert models["LFM2-ColBERT-350M"]["mean"] == 0.540
    for scores in models.values():
        assert sum(scores["means"].values()) / 11 == pytest.approx(scores["mean"], abs=0.0012)


def test_a_matrix_stands_beside_a_matrix():
    measured = content({("en", "de"): 0.5, ("de", "de"): 0.57, ("sv", "sv"): 0.1})
    lfm2, gte = differences(measured, load_published(["nanobeir-crosslingual.toml"]))
    assert lfm2.model == "LFM2-ColBERT-350M"
    assert lfm2.rows == [("en ← de", 0.5, 0.554), ("de ← de", 0.57, 0.563)]
    assert gte.rows[0] == ("en ← de", 0.5, 0.408)


def test_means_of_other_tasks_stand_beside_nothing():
    measured = content({("en", "en"): 0.5}, tasks=2)
    assert differences(measured, load_published(FILES)) == []


def test_a_mean_stands_beside_a_mean():
    found = differences(content({("en", "en"): 0.66}), load_published(["nanobeir-en.toml"]))
    assert [(one.model, one.rows[0][1:]) for one in found][:2] == [
        ("LFM2-ColBERT-350M", (0.66, pytest.approx(0.66123, abs=1e-5))),
        ("LFM2-ColBERT-350M, sentence-transformers", (0.66, 0.6441)),
    ]

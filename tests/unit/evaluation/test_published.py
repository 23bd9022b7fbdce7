"""Ours beside what others published."""

import pytest

from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation.published import Published, differences, load_published
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


def test_other_measures_stand_beside_theirs():
    measured = content({("en", "en"): 0.66})
    measured["means"][0]["measures"] |= {"R@10": 0.6668, "MRR@10": 0.7268}
    rows = {
        one.measure: one
        for one in differences(measured, load_published(["nanobeir-en.toml"]))
        if one.model == "LFM2-ColBERT-350M"
    }
    assert rows["R@10"].rows == [("en", 0.6668, 0.6718)]
    assert rows["R@10"].misses == []  # by no more than .005
    assert rows["MRR@10"].misses == [0]


@pytest.mark.parametrize(
    ("ours", "missed"), [(0.9, False), (0.556, False), (0.5551, False), (0.554, True), (0, True)]
)
def test_a_miss_is_more_than_five_thousandths_below(ours, missed):
    one = Published("X", "here", {"means": {"de": 0.56}})
    (found,) = differences(content({("de", "de"): ours}), [one])
    assert bool(found.misses) == missed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no \[\[systems\]\]"),
        ('[[systems]]\nmodel = "X"', "system 1: needs 'model' and 'source'"),
        (
            '[[systems]]\nmodel = "X"\nsource = "y"\nmeans.de = 56.1',
            "system 1: 56.1 is no score between 0 and 1",
        ),
        ('[[systems]]\nmodel = "X"\nsource = "y"\nmeans.de = ".5"', "system 1: '.5' is no score"),
        (
            'measure = "nDCG@7"\n[[systems]]\nmodel = "X"\nsource = "y"',
            "system 1: 'nDCG@7' is not measured; nDCG@10,",
        ),
    ],
)
def test_what_is_wrong_in_a_published_file_is_named(tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=rf"own\.toml: {message}"):
        load_published([str(tmp_path / "own.toml")])

"""From which score on a hit is an answer: learnt, stored, told and used."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lfm2_retrieval import Index, Retriever, SearchParams, TokenEmbeddings
from lfm2_retrieval.cli import main
from lfm2_retrieval.errors import DamagedIndexError, InvalidInputError
from lfm2_retrieval.indexes.search.min_score import learn_min_score

TEXTS = [
    "Bees dance to tell each other where flowers are.",
    "The lighthouse was built in 1876 on a rock before the coast.",
    "Bread rises because yeast turns sugar into gas.",
    "Glaciers carve valleys in the shape of a letter U.",
    "The printing press spread books in all of Europe.",
    "Volcanoes bring ash and lava from below the crust.",
    "Trains in the mountains climb by a toothed rail.",
    "Salt was once so dear that soldiers were paid with it.",
    "",
    "猫は暖かい場所で静かに眠るのが好きです。",
]
QUESTIONS = [
    "How do bees tell where flowers are?",
    "When was the lighthouse built?",
    "Why does bread rise?",
    "Which shape have valleys of glaciers?",
    "What spread books in Europe?",
    "What do volcanoes bring up?",
    "How do mountain trains climb?",
    "What were soldiers paid with?",
]


@pytest.fixture
def path(tmp_path):
    Retriever.index(TEXTS, tmp_path / "index", model="nano").close()
    return tmp_path / "index"


def test_a_threshold_keeps_the_share_that_was_asked_for():
    scores = np.linspace(0.5, 0.9, 100)
    for keep, lost in ((1.0, 0), (0.98, 2), (0.95, 5), (0.9, 10), (0.5, 50)):
        learnt = learn_min_score(scores, [0.4, 0.95], keep=keep, from_documents=False, n_documents=3)
        assert learnt.kept == pytest.approx(1 - lost / 100)
        assert learnt.nonsense_kept == 0.5
    same = learn_min_score([0.7] * 5, [], keep=0.5, from_documents=False, n_documents=1)
    assert (same.kept, same.nonsense_kept, same.n_nonsense) == (1.0, 0.0, 0)


def test_without_a_threshold_auto_names_what_learns_one(path):
    with Retriever.open(path) as retriever, pytest.raises(InvalidInputError, match=r"Retriever\.tune\(\)"):
        retriever.search("bees", min_score="auto")
    result = CliRunner().invoke(main, ["search", str(path), "bees", "--min-score", "auto"])
    assert result.exit_code == 1
    assert f"lfm2-retrieve tune {path}" in result.stderr


def test_what_is_learnt_from_questions_is_stored_and_used(path):
    with Retriever.open(path) as retriever:
        tuning = retriever.tune(queries=QUESTIONS, keep=1.0)
        learnt = tuning.min_score
        assert (learnt.kept, learnt.n_queries, learnt.from_documents) == (1.0, len(QUESTIONS), False)
        assert retriever.store.settings["min_score"] == learnt.to_json()
    with Retriever.open(path) as retriever:
        for question in QUESTIONS:
            hits = retriever.search(question, min_score="auto")
            assert hits
            assert all(hit.normalized_score >= learnt.value for hit in hits)
        several = retriever.search([*QUESTIONS, "zzz qqq xxx"], min_score="auto")
        alone = [retriever.search(one, min_score="auto") for one in [*QUESTIONS, "zzz qqq xxx"]]
        assert [[hit.id for hit in one] for one in several] == [[hit.id for hit in one] for one in alone]
        assert retriever.search(QUESTIONS[0], mode="hybrid", fusion="rerank", min_score="auto")
        for mode in ({"mode": "lexical"}, {"mode": "hybrid"}, {"mode": "hybrid", "fusion": "weighted"}):
            with pytest.raises(InvalidInputError, match="needs mode='dense'"):
                retriever.search("bees", min_score="auto", **mode)


def test_a_high_threshold_says_that_nothing_was_found(path):
    with Index.open(path) as index, index.writer() as writer:
        writer.set({"min_score": {"value": 0.999}})
    with Retriever.open(path) as retriever:
        assert retriever.search(QUESTIONS, 3, min_score="auto") == [[]] * len(QUESTIONS)
        assert retriever.search("bees", 3)
    result = CliRunner().invoke(main, ["search", str(path), "bees", "--min-score", "auto"])
    assert "nothing found" in result.stdout


@pytest.mark.parametrize("value", [3, {"value": None}, {"value": True}, {"value": "x"}, {}, [], "0.5"])
def test_a_damaged_threshold_is_told(path, value):
    with Index.open(path) as index:
        with index.writer() as writer:
            writer.set({"min_score": value})
        queries = TokenEmbeddings(np.ones((1, index.dim), np.float32), np.array([0, 1]))
        with pytest.raises(DamagedIndexError, match="min_score is damaged"):
            index.search(queries, SearchParams(1, min_score="auto"))


@pytest.mark.parametrize("value", ["often", "AUTO", "", [], True, float("nan")])
def test_other_words_are_refused(path, value):
    with Retriever.open(path) as retriever, pytest.raises(InvalidInputError, match="min_score"):
        retriever.search("bees", min_score=value)


@pytest.mark.parametrize("keep", [0, -1, 1.5])
def test_a_share_that_can_not_be(path, keep):
    with Retriever.open(path) as retriever, pytest.raises(InvalidInputError, match="keep"):
        retriever.tune(queries=QUESTIONS, keep=keep)


def test_on_the_command_line_without_questions(path):
    result = CliRunner().invoke(main, ["tune", str(path)])
    assert result.exit_code == 0, result.output
    assert "--min-score auto: normalized scores from" in result.stdout
    assert "passages of documents, easier than real questions" in result.stdout
    facts = json.loads(CliRunner().invoke(main, ["info", str(path), "--json"]).stdout)["min_score"]
    assert facts["from_documents"] is True
    assert "min score auto" in CliRunner().invoke(main, ["info", str(path)]).stdout
    found = CliRunner().invoke(main, ["search", str(path), TEXTS[0], "--min-score", "auto"])
    assert "Bees dance" in found.stdout


def test_an_index_whose_model_is_gone_is_tuned_all_the_same(path):
    with Index.open(path) as index, index.writer() as writer:
        writer.set({"encoder": {**index.settings["encoder"], "name": "/nowhere/at/all"}})
    result = CliRunner().invoke(main, ["tune", str(path)])
    assert result.exit_code == 0, result.output
    assert "Nothing learnt for --min-score auto" in result.stderr


def test_a_new_content_forgets_it(path):
    with Retriever.open(path) as retriever:
        retriever.tune(queries=QUESTIONS)
    with Retriever.index(TEXTS, path, model="nano", if_exists="overwrite") as retriever:
        assert "min_score" not in retriever.store.settings
        retriever.tune(queries=QUESTIONS)
    with Retriever.reindex(path) as retriever:
        assert "min_score" not in retriever.store.settings

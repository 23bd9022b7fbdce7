import json

import pytest

from lfm2_retrieval.cli._highlight import _whole_word, matched_words
from lfm2_retrieval.encoder import BUNDLED, Encoder
from lfm2_retrieval.errors import MissingExtraError


@pytest.fixture
def random_nano(monkeypatch, checkpoint):
    monkeypatch.setitem(BUNDLED, "nano", checkpoint())


def test_demo_answers_and_measures(run, random_nano):
    pytest.importorskip("ir_measures")
    result = run("demo", "--language", "de", "-k", "1")
    assert result.exit_code == 0
    assert sum(line.startswith("? ") for line in result.stdout.splitlines()) == 4
    assert "Indexed 40 passages" in result.stdout
    assert "Answered 58 questions" in result.stdout
    assert "NDCG@10 over all of them: 0." in result.stdout
    assert "*" in result.stdout


def test_demo_for_machines(run, random_nano):
    pytest.importorskip("ir_measures")
    facts = json.loads(run("demo", "--language", "ja", "--json").stdout)
    assert (facts["collection"], facts["documents"], facts["queries"]) == ("demo-ja", 40, 58)
    assert 0 < facts["ndcg@10"] < 1
    assert len(facts["answers"]) == 4
    assert len(facts["answers"][0]["hits"]) == 2


def test_demo_without_ir_measures_names_the_extra(run, monkeypatch, random_nano):
    def missing(*_):
        raise MissingExtraError("measuring the quality of a search", "eval")

    monkeypatch.setattr("lfm2_retrieval.evaluation.evaluate", missing)
    result = run("demo", "--language", "fr")
    assert result.exit_code == 0
    assert result.stdout.endswith("pip install 'lfm2-retrieval[eval]'\n")


@pytest.mark.skipif(not BUNDLED["nano"].is_dir(), reason="the bundled model is not there yet")
def test_demo_with_the_bundled_model_finds_the_answers(run):
    pytest.importorskip("ir_measures")
    facts = json.loads(run("demo", "--json").stdout)
    assert (facts["documents"], facts["queries"]) == (161, 179)
    assert facts["ndcg@10"] > 0.7


def test_matched_words_are_words_in_order(checkpoint):
    encoder = Encoder.load(checkpoint())
    text = "Old towns, where people sell bread; the quick brown fox 猫は静かに眠る。"
    spans, other, nothing = matched_words(
        encoder, "the quick brown fox", [text, "rain falls on hills", "..."]
    )
    assert 1 <= len(spans) <= 6
    assert spans == sorted(spans)
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    assert not set(spans) & set(other)
    assert nothing == []
    assert matched_words(encoder, "  ", [text]) == [[]]


def test_what_every_text_has_is_not_marked(checkpoint):
    encoder = Encoder.load(checkpoint())
    assert matched_words(encoder, "fox", ["fox", "fox"]) == [[], []]


@pytest.mark.parametrize(
    ("text", "start", "end", "word"),
    [
        ("a quick fox", 3, 5, "quick"),
        ("a quick fox", 1, 4, "quick"),
        ("a, b", 1, 3, None),
        ("don't", 0, 2, "don"),
        ("猫は静かに眠る", 2, 4, "静か"),
        ("x猫", 0, 1, "x"),
        ("كِتَاب", 0, 1, "كِتَاب"),
        ("한국어 문장", 0, 1, "한국어"),
    ],
)
def test_a_token_grows_to_its_word(text, start, end, word):
    span = _whole_word(text, start, end)
    assert word == (None if span is None else text[slice(*span)])

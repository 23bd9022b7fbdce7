import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import Dataset, evaluate, evaluate_queries, make_run, read_run, write_run
from lfm2_retrieval.evaluation.comparison import compare_runs, markdown, read_trec_qrels
from lfm2_retrieval.evaluation.runs import unword, word, write_lines, write_qrels


def test_scores_fall_strictly_and_ties_stay_in_our_order(tmp_path):
    run = make_run({"q": [("b", 1.0), ("a", 1.0), ("c", 1.0), ("d", 0.5)], "empty": []})
    assert [id for id, _ in run["q"]] == ["b", "a", "c", "d"]
    write_run(run, tmp_path / "x.trec", "tag")
    lines = [line.split() for line in (tmp_path / "x.trec").read_text().splitlines()]
    assert [(f[0], f[1], f[2], f[3], f[5]) for f in lines][:2] == [
        ("q", "Q0", "b", "1", "tag"),
        ("q", "Q0", "a", "2", "tag"),
    ]
    scores = np.array([float(fields[4]) for fields in lines], dtype=np.float32)
    assert (np.diff(scores) < 0).all()
    read = read_run(tmp_path / "x.trec")
    assert [(id, np.float32(score)) for id, score in read["q"]] == run["q"]


@given(st.lists(st.floats(-1e6, 1e6), max_size=30).map(lambda values: sorted(values, reverse=True)))
@settings(max_examples=200, deadline=None)
def test_any_scores_keep_their_order_in_single_precision(scores):
    rows = make_run({"q": [(str(i), score) for i, score in enumerate(scores)]})["q"]
    assert [id for id, _ in rows] == [str(i) for i in range(len(scores))]
    read = np.array([float(f"{score:.9g}") for _, score in rows], dtype=np.float32)
    assert (read[1:] < read[:-1]).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("d", math.nan)], "score of document 'd' for query 'q' is nan"),
        ([("d", math.inf)], "is inf"),
        ([("d", 1.0), ("e", 2.0)], "score of 'e' is above that before it"),
        ([("d", 2.0), ("d", 1.0)], "holds 'd' twice"),
    ],
)
def test_what_is_no_ranking_is_refused(rows, message):
    with pytest.raises(InvalidInputError, match=message):
        make_run({"q": rows})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 0.5 t\nq Q0 d 2\n", r"x\.trec:2: a line of a run"),
        ("q Q0 d 1 high t\n", r"x\.trec:1: a line of a run"),
        ("q Q0 d 1 nan t\n", r"x\.trec:1: the score of 'd' for 'q' is nan"),
        ("q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", r"x\.trec:2: the document 'd' comes twice"),
    ],
)
def test_a_bad_run_file_is_named_by_its_line(tmp_path, text, message):
    path = tmp_path / "x.trec"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_run(path)


@given(st.lists(st.text(" \t\n\u00a0\u3000\x1c\\u0059ab%", min_size=1), min_size=1, unique=True))
@settings(max_examples=300, deadline=None)
def test_ids_with_white_space_are_escaped_and_come_back(ids):
    words = [word(id) for id in ids]
    assert [unword(one) for one in words] == ids
    assert len(set(words)) == len(ids)
    assert all(one.split() == [one] for one in words)


def test_files_with_white_space_in_ids_are_read_by_other_tools(tmp_path):
    assert (word("a b"), word("a\\u0020b"), word(r"C:\users")) == (r"a\u0020b", r"a\u005cu0020b", r"C:\users")
    qrels = {"q 1": {"a b": 2, "c": 1}}
    run = make_run({"q 1": [("c", 1.0), ("a b", 0.5)]})
    write_run(run, tmp_path / "x.trec", "t")
    write_qrels(qrels, tmp_path / "x.qrels")
    assert read_run(tmp_path / "x.trec") == run
    assert read_trec_qrels(tmp_path / "x.qrels") == qrels
    theirs = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10],
        list(ir_measures.read_trec_qrels(str(tmp_path / "x.qrels"))),
        list(ir_measures.read_trec_run(str(tmp_path / "x.trec"))),
    )
    ours = evaluate(qrels, {"q 1": ["c", "a b"]})
    assert theirs[ir_measures.nDCG @ 10] == pytest.approx(ours["nDCG@10"])
    with pytest.raises(InvalidInputError, match="an id is empty"):
        write_run({"q": [("", 1.0)]}, tmp_path / "y.trec", "t")
    assert not list(tmp_path.glob("y*"))


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "results.json"
    write_lines(["old"], path)

    def lines():
        yield "new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device; make room.*results\.json"):
        write_lines(lines(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_judgements_survive(tmp_path):
    qrels = {"q": {"a": 2, "b": 0}, "r": {"c": 1}}
    write_qrels(qrels, tmp_path / "x.qrels")
    assert read_trec_qrels(tmp_path / "x.qrels") == qrels
    (tmp_path / "bad.qrels").write_text("q 0 d\n")
    with pytest.raises(InvalidInputError, match=r"bad\.qrels:1: a judgement is expected"):
        read_trec_qrels(tmp_path / "bad.qrels")
    (tmp_path / "bad.qrels").write_text("q 0 d 1\nq 0 d 1\nq 0 d 2\n")
    with pytest.raises(InvalidInputError, match=r"bad\.qrels:3: another grade of 'd' for 'q' than before"):
        read_trec_qrels(tmp_path / "bad.qrels")


def plain(qrels, ranking):
    """The measures by the book, in plain Python; one query."""
    grades = [max(0, qrels.get(id, 0)) for id in ranking]
    ideal = sorted((max(0, grade) for grade in qrels.values()), reverse=True)
    positive = sum(grade > 0 for grade in qrels.values())

    def dcg(values, k):
        return sum(value / math.log2(i + 2) for i, value in enumerate(values[:k]))

    hits = [i for i, grade in enumerate(grades) if grade > 0]
    return {
        "nDCG@10": dcg(grades, 10) / dcg(ideal, 10) if positive else 0.0,
        "nDCG@100": dcg(grades, 100) / dcg(ideal, 100) if positive else 0.0,
        **{f"R@{k}": sum(i < k for i in hits) / positive if positive else 0.0 for k in (10, 20, 100)},
        "MRR@10": next((1 / (i + 1) for i in hits if i < 10), 0.0),
        "MAP": sum((n + 1) / (i + 1) for n, i in enumerate(hits)) / positive if positive else 0.0,
        "Success@1": float(bool(hits) and hits[0] == 0),
    }


def test_all_measures_equal_those_by_the_book():
    pytest.importorskip("ir_measures")
    rng = np.random.default_rng(3)
    ids = [f"d{i}" for i in range(200)]
    qrels, ranking = {}, {}
    for number in range(30):
        judged = rng.choice(ids, size=rng.integers(1, 25), replace=False)
        qrels[f"q{number}"] = {id: int(rng.integers(-3 if number % 3 else 0, 4)) for id in judged}
        ranking[f"q{number}"] = [str(id) for id in rng.permutation(ids)[: rng.integers(0, 101)]]
    found = evaluate_queries(qrels, ranking)
    for query, values in found.items():
        assert values == pytest.approx(plain(qrels[query], ranking[query])), query
    assert evaluate(qrels, ranking)["nDCG@10"] == pytest.approx(
        np.mean([values["nDCG@10"] for values in found.values()])
    )


def test_grades_that_trec_eval_cannot_take(tmp_path):
    pytest.importorskip("ir_measures")
    qrels = {f"q{i}": {f"d{j}": -j for j in range(40)} | {"good": 2} for i in range(50)}
    ranking = {query: [*grades] for query, grades in qrels.items()}
    for values in evaluate_queries(qrels, ranking).values():
        assert values == pytest.approx(plain(qrels["q0"], ranking["q0"]))
    write_qrels(qrels, tmp_path / "x.qrels")
    assert {
        grade for grades in read_trec_qrels(tmp_path / "x.qrels").values() for grade in grades.values()
    } == {*(-1, 0, 2)}
    with pytest.raises(
        InvalidInputError, match="the grade of document 'd' for query 'q' is 1000001; 1,000,000"
    ):
        evaluate({"q": {"d": 1_000_001}}, {"q": ["d"]})
    with pytest.raises(InvalidInputError, match=r"set \[en\].*the grade of 'd' for the query 'q' is"):
        Dataset("set", "en", {"d": "x"}, {"q": "y"}, {"q": {"d": 2**63}})


def test_a_comparison_keeps_its_columns_and_says_what_they_are(tmp_path):
    qrels = {"a|b": {"x": 1}, "c": {"y": 1}}
    write_qrels(qrels, tmp_path / "x.qrels")
    for name, document in (("a", "x"), ("b", "y")):
        write_run({"a|b": [(document, 1.0)]}, tmp_path / f"{name}.trec", "t")
    text = markdown(compare_runs(tmp_path / "a.trec", tmp_path / "b.trec", tmp_path / "x.qrels"))
    assert "| a\\|b | 1.0000 | 0.0000 |" in text
    assert "paired and two-sided, by randomisation (10,000 draws)" in text
    assert "for the 1 row." in text
    assert "documents in X" not in text

"""What a new user types, sees and is told."""

from __future__ import annotations

import inspect
import json
import pydoc
from datetime import date

import numpy as np
import pytest

from lfm2_retrieval import Document, Encoder, Retriever, rerank
from lfm2_retrieval.datatypes import Hit, Hits, Match, SearchOptions
from lfm2_retrieval.errors import InvalidInputError

TEXTS = ["the quick brown fox", "rain falls on quiet hills", "<b>bread</b>, cheese & wine"]


@pytest.fixture(scope="module")
def retriever(checkpoint):
    with Retriever.index(TEXTS, model=checkpoint()) as made:
        yield made


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [("top_k", "k"), ("K", "k"), ("limit", "k"), ("filter", "where"), ("min_scor", "min_score")],
)
def test_unknown_keywords_are_told_apart_by_who_was_called(retriever, keyword, meant):
    with pytest.raises(TypeError, match=rf"Retriever\.search\(\) .*'{keyword}': did you mean {meant}\?"):
        retriever.search("fox", **{keyword: 3})


@pytest.mark.parametrize("unknown", ["top_k", "xyzzy"])
def test_no_call_names_an_inner_class(retriever, checkpoint, tmp_path, unknown):
    encoder = Encoder.load(checkpoint())
    for name, call in {
        "Retriever.search": lambda: retriever.search("fox", **{unknown: 3}),
        "Retriever.index": lambda: Retriever.index(TEXTS, tmp_path / "new", **{unknown: 3}),
        "Retriever.open": lambda: Retriever.open(tmp_path, **{unknown: 3}),
        "rerank": lambda: rerank("fox", TEXTS, **{unknown: 3}),
        "Retriever.rerank": lambda: retriever.rerank("fox", TEXTS, **{unknown: 3}),
        "Encoder.load": lambda: Encoder.load(checkpoint(), **{unknown: 3}),
        "Encoder.encode_documents": lambda: encoder.encode_documents(TEXTS, **{unknown: 3}),
        "Encoder.with_options": lambda: encoder.with_options(**{unknown: 3}),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument '{unknown}'"):
            call()
    with pytest.raises(TypeError, match=r"^Retriever\.search\(\) missing"):
        retriever.search()
    assert not (tmp_path / "new").exists()


@pytest.mark.anyio
async def test_unknown_keywords_of_a_search_that_is_awaited(retriever):
    with pytest.raises(TypeError, match=r"Retriever\.asearch\(\) .*did you mean k\?"):
        await retriever.asearch("fox", top_k=3)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize("method", [Retriever.search, Retriever.asearch])
def test_all_options_of_a_search_show(method):
    shown = inspect.signature(method).parameters
    assert set(shown) >= {"query", "k", "where", "explain", *SearchOptions.__annotations__}
    assert not [one for one in shown.values() if one.kind is one.VAR_KEYWORD]
    assert inspect.iscoroutinefunction(method) is (method is Retriever.asearch)
    text = pydoc.plain(pydoc.render_doc(method))
    for name in SearchOptions.__annotations__:
        assert name in text
    for method in (Retriever.index, Retriever.open, Retriever.rerank, rerank):
        assert not [p for p in inspect.signature(method).parameters.values() if p.kind is p.VAR_KEYWORD]


def test_hits_are_json(retriever):
    hits = retriever.search("fox", 2, explain=True)
    assert isinstance(hits, list)
    [first, second] = json.loads(json.dumps(hits.to_dicts()))
    assert (first["id"], first["rank"], second["rank"]) == (hits[0].id, 1, 2)
    assert first["score_kind"] == "maxsim"
    assert first["matches"][0].keys() == {"query_span", "document_span", "similarity", "pooled_spans"}
    assert "matches" not in retriever.search("fox", 1)[0].to_dict()
    several = retriever.search(["fox", " "], 1)
    assert [json.dumps(one.to_dicts()) != "[]" for one in several] == [True, False]
    assert json.loads(json.dumps(retriever.get("1").to_dict()))["text"] == TEXTS[1]
    assert rerank("fox", TEXTS, model=retriever.encoder).to_dicts()[0]["rank"] == 1


def test_no_value_stops_json():
    odd = {
        "nan": float("nan"),
        "deep": [{"inf": float("-inf")}, (1, np.float32(0.5))],
        "array": np.array([[1, 2]]),
        "whole": np.int64(7),
        "yes": np.bool_(True),
        "day": date(2026, 11, 30),
        3: {"a set of one": {1}},
        "lone": "\ud800",
    }
    hit = Hit("a", float("inf"), 1, metadata=odd, matches=(Match((0, 1), (2, 3), float("nan")),))
    value = json.loads(json.dumps(hit.to_dict(), allow_nan=False))
    assert value["score"] is None
    assert value["matches"] == [
        {"query_span": [0, 1], "document_span": [2, 3], "similarity": None, "pooled_spans": []}
    ]
    assert value["metadata"] == {
        **{"nan": None, "deep": [{"inf": None}, [1, 0.5]], "array": [[1, 2]], "whole": 7, "yes": True},
        **{"day": "2026-11-30", "3": {"a set of one": [1]}, "lone": "\ud800"},
    }
    assert Document("a", "b", odd).to_dict()["metadata"]["whole"] == 7


def test_notebooks_show_tables_in_which_documents_are_text(retriever):
    hits = retriever.search("bread", 3)
    for shown in (hits._repr_html_(), hits[0]._repr_html_()):
        assert shown.startswith("<table>")
    assert "<b>" not in hits._repr_html_()
    assert "&lt;b&gt;bread&lt;/b&gt;" in hits._repr_html_()
    assert "no hits" in Hits()._repr_html_()
    evil = "<script>alert(1)</script>\u202e\ud800"
    shown = Hit(evil, 1.0, 1, text=evil, metadata={evil: evil})._repr_html_()
    assert "<script" not in shown
    shown.encode()
    assert f"<bdi>{len(TEXTS)}</bdi>" in retriever._repr_html_()


def test_a_closed_retriever_shows(checkpoint):
    retriever = Retriever.index(TEXTS, model=checkpoint())
    retriever.close()
    assert "closed" in retriever._repr_html_()


@pytest.mark.parametrize("total", [None, 3])
def test_progress_is_a_bar_for_true(checkpoint, capsys, total):
    documents = TEXTS if total else iter(TEXTS)
    Retriever.index(documents, model=checkpoint(), on_progress=True).close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "indexing" in captured.err
    assert "3/3" in captured.err.replace(" ", "") or total is None
    for quiet in (None, False):
        Retriever.index(TEXTS, model=checkpoint(), on_progress=quiet).close()
        assert capsys.readouterr().err == ""


def test_a_value_that_can_not_be_is_still_told(retriever):
    with pytest.raises(InvalidInputError, match="k must be at least 1"):
        retriever.search("fox", k=0)
    with pytest.raises(InvalidInputError, match="group_by"):
        retriever.search("fox", group_by=3)


@pytest.fixture
def told():
    """What the command says on stderr when it fails."""
    from click.testing import CliRunner

    from lfm2_retrieval.cli import main

    def run(*arguments):
        result = CliRunner().invoke(main, [str(one) for one in arguments])
        assert result.exit_code in (1, 2), result.output
        return result.stderr

    return run


def test_errors_name_what_can_be_done_where_one_is(told, retriever, tmp_path):
    """A command on the command line, a call in Python."""
    file = tmp_path / "a.txt"
    file.write_text("the fox")
    held = retriever.path
    for call, arguments, python, command in (
        (
            lambda: Retriever.open(tmp_path / "no"),
            ["search", tmp_path / "no", "q"],
            "index()",
            "lfm2-retrieve index",
        ),
        (
            lambda: Retriever.index(TEXTS, held),
            ["index", held, "--input", file, "--model", "nano"],
            "if_exists decides: 'append'",
            "--if-exists decides: append",
        ),
        (
            lambda: Encoder.load("no such model"),
            ["rerank", "q", "--input", file, "--model", "no such model"],
            'model="nano"',
            "--model nano",
        ),
        (
            lambda: Encoder.load("nano", document_length=10**6),
            ["index", tmp_path / "new", "--input", file, "--model", "nano", "--document-length", 32768],
            "long_documents='window'",
            None,
        ),
    ):
        with pytest.raises((OSError, ValueError)) as caught:
            call()
        assert python in str(caught.value)
        if command is not None:
            said = told(*arguments)
            assert command in said
            assert python not in said
            with pytest.raises((OSError, ValueError), match=r".") as caught:
                call()  # and Python is Python again
            assert python in str(caught.value)


def test_one_emoji_does_not_halve_a_snippet():
    from rich.cells import cell_len

    from lfm2_retrieval.cli._output import format_document, format_hit
    from lfm2_retrieval.indexes import Entry

    def lines(text):
        shown = format_hit(Hit("a", 1.0, 1, text=text)).splitlines()[1:]
        assert all(cell_len(line) <= 96 for line in shown)
        assert "".join("".join(shown).split()) == "".join(text.split())[:600]
        assert format_document(Entry("a", text)).splitlines()[1:] == shown
        return shown

    plain, smile = lines("word " * 60), lines("🙂 " + "word " * 60)
    assert len(smile) == len(plain)
    assert len(lines("猫" * 200)) == 5  # 45 of them in a line
    assert len(lines("mixed 猫 " + "x" * 300)) == 4
    assert lines("e\u0301" * 150)[0].count("e\u0301") == 91
    assert lines(" ") == []


@pytest.mark.parametrize("command", ["search", "add", "rerank", "tune", "repair", "reindex", "index"])
def test_all_that_loads_a_model_takes_the_same_options(command):
    from click.testing import CliRunner

    from lfm2_retrieval.cli import main

    shown = CliRunner().invoke(main, [command, "--help"]).output
    for option in ("--model", "--device", "--dtype"):
        assert option in shown


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["eval", "demo"], "ir_measures", "eval"),
        (["eval", "demo", "--systems", "exact,bm25s"], "bm25s", "eval"),
        (["eval", "beir", "."], "ir_measures", "eval"),
        (["eval", "compare", ".", "."], "scipy", "eval"),
        (["export", ".", "--embeddings", "a.parquet"], "pyarrow", "eval"),
        (["tune", ".", "--plot", "a.png"], "matplotlib", "bench"),
    ],
)
def test_extras_are_looked_for_before_any_work(told, monkeypatch, arguments, module, extra):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(Encoder, "load", None)
    assert f"pip install 'lfm2-retrieval[{extra}]'" in told(*arguments)

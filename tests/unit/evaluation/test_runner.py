"""Whole evaluations of small families with a random-weight model."""

import copy
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import ir_measures
import numpy as np
import pytest
from small_sets import QRELS, WORDS, queries, write_beir, write_family

from lfm2_retrieval import Encoder
from lfm2_retrieval.errors import IndexWriteError, InvalidInputError
from lfm2_retrieval.evaluation import Dataset, DatasetRef, Settings, from_folder, run_suite, write_reports
from lfm2_retrieval.evaluation.by_words import Lexical
from lfm2_retrieval.evaluation.comparison import compare_folders, compare_runs
from lfm2_retrieval.evaluation.compat import Compat
from lfm2_retrieval.evaluation.results import read_queries, read_results
from lfm2_retrieval.evaluation.systems import SYSTEMS

WITH_WORDS, WITH_TIER = ("exact", "lexical"), ("exact", "balanced")
SUITE = {"name": "small", "title": "Small", "published": []}


def evaluated(refs, encoder, out, *, overwrite=False, **settings):
    lines = []
    content = run_suite(
        refs,
        encoder,
        out,
        Settings(**settings),
        suite=SUITE,
        overwrite=overwrite,
        on_progress=lines.append,
    )
    return content, lines


@pytest.fixture(scope="module")
def evaluated_matrix(encoder, tmp_path_factory):
    home = tmp_path_factory.mktemp("matrix")
    refs = from_folder(write_family(home / "family"))
    return home / "out", *evaluated(refs, encoder, home / "out", cross_lingual=True, systems=WITH_WORDS)


@pytest.fixture
def matrix(evaluated_matrix, tmp_path):
    """Evaluated once; each test has files of its own."""
    out, content, lines = evaluated_matrix
    return shutil.copytree(out, tmp_path / "out"), copy.deepcopy(content), lines


def test_a_matrix_has_every_cell_and_can_be_recomputed(matrix):
    out, content, _ = matrix
    assert len(content["cells"]) == 3 * 3 * 2
    assert content == read_results(out)
    for cell in content["cells"]:
        assert cell["status"] == "done"
        run = list(ir_measures.read_trec_run(str(out / cell["files"]["run"])))
        qrels = list(ir_measures.read_trec_qrels(str(out / f"{cell['task']}.{cell['documents']}.qrels")))
        again = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.R @ 20], qrels, run)
        assert cell["measures"]["nDCG@10"] == pytest.approx(again[ir_measures.nDCG @ 10])
        assert cell["measures"]["R@20"] == pytest.approx(again[ir_measures.R @ 20])
        values = read_queries(out / cell["files"]["queries"])
        assert np.mean([row["MAP"] for row in values.values()]) == pytest.approx(cell["measures"]["MAP"])
        low, high = cell["intervals"]["nDCG@10"]
        assert low <= cell["measures"]["nDCG@10"] <= high
    assert {(mean["documents"], mean["queries"]) for mean in content["means"]} == {
        (d, q) for d in ("de", "en", "fr") for q in ("de", "en", "fr")
    }


def test_everything_to_reproduce_is_written(matrix):
    out, content, _ = matrix
    assert len(content["model"]["fingerprint"]) == 32
    assert content["environment"]["versions"]["torch"]
    assert content["settings"]["seed"] == 0
    assert all(len(digest) == 64 for digest in content["data"]["set.de"]["files"].values())
    facts = content["corpora"]["set.en"]
    assert facts["documents"] == 12
    assert facts["indexes"]["exact"]["bytes_per_token"] > 0
    assert (
        facts["latency"]["exact"]["with_encoding_ms"]["p99"]
        >= facts["latency"]["exact"]["with_encoding_ms"]["p50"]
    )
    assert "NaN" not in (out / "results.json").read_text()


def test_each_corpus_and_each_set_of_queries_is_encoded_once(family, encoder, tmp_path, monkeypatch):
    corpora, asked = [], []
    real = Encoder.encode_documents
    monkeypatch.setattr(
        Encoder,
        "encode_documents",
        lambda self, texts, **k: (corpora.append(len(texts)), real(self, texts, **k))[1],
    )
    real_queries = Encoder.encode_queries
    monkeypatch.setattr(
        Encoder,
        "encode_queries",
        lambda self, texts, **k: (asked.append(len(texts)), real_queries(self, texts, **k))[1],
    )
    monkeypatch.setattr("lfm2_retrieval.evaluation.runner.forecast", lambda *_, **__: "")
    evaluated(from_folder(family), encoder, tmp_path / "out", cross_lingual=True)
    assert corpora == [12, 12, 12]
    assert sorted(asked)[-3:] == [6, 6, 6]
    assert asked.count(6) == 3


def test_finished_cells_are_not_run_again(family, encoder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    refs = from_folder(family)
    first, _ = evaluated(refs[:1], encoder, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.trec")}
    (out / "set.de-de.exact.trec").stat()
    content, lines = evaluated(refs, encoder, out)
    assert "set [de]: done before" in lines
    assert len(content["cells"]) == 3
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert content["cells"][0] == first["cells"][0]
    _, lines = evaluated(refs, encoder, out, overwrite=True)
    assert "set [de]: done before" not in lines
    (family / "set-de/queries.jsonl").write_text(
        (family / "set-de/queries.jsonl").read_text().replace("fox", "train")
    )
    _, lines = evaluated(from_folder(family), encoder, out)
    assert [line for line in lines if "done before" in line] == [
        "set [en]: done before",
        "set [fr]: done before",
    ]


def test_an_interrupted_run_goes_on(family, encoder, tmp_path):
    out = tmp_path / "out"

    def stop(line):
        if "set.en-en" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(from_folder(family), encoder, out, Settings(), suite=SUITE, on_progress=stop)
    done = [cell["name"] for cell in read_results(out)["cells"]]
    assert done == ["set.de-de.exact", "set.en-en.exact"]
    _, lines = evaluated(from_folder(family), encoder, out)
    assert sum("done before" in line for line in lines) == 2
    resumed = read_results(out)
    assert [cell["run"] for cell in resumed["cells"]] == [0, 0, 1]
    assert len(resumed["runs"]) == 2
    assert resumed["runs"][0]["at"] == resumed["made"]


def test_other_settings_do_not_mix(family, encoder, tmp_path, checkpoint):
    evaluated(from_folder(family)[:1], encoder, tmp_path)
    with pytest.raises(InvalidInputError, match="made with depth = 100, not 200: choose another --out"):
        evaluated(from_folder(family)[:1], encoder, tmp_path, depth=200)
    with pytest.raises(InvalidInputError, match="made with model"):
        evaluated(from_folder(family)[:1], Encoder.load(checkpoint(bidirectional=True)), tmp_path)


def test_a_failed_cell_is_noted_and_the_rest_goes_on(family, encoder, tmp_path):
    (family / "set-fr/queries.jsonl").unlink()
    content, lines = evaluated(from_folder(family), encoder, tmp_path / "out", cross_lingual=True)
    failed = {cell["name"]: cell["error"] for cell in content["cells"] if cell["status"] == "failed"}
    assert set(failed) == {
        "set.de-fr.exact",
        "set.en-fr.exact",
        "set.fr-de.exact",
        "set.fr-en.exact",
        "set.fr-fr.exact",
    }
    assert all("queries.jsonl: no such file" in error for error in failed.values())
    assert sum("FAILED" in line for line in lines) == 5
    assert sum(cell["status"] == "done" for cell in content["cells"]) == 4
    write_beir(family / "set-fr", "fr")
    content, _ = evaluated(from_folder(family), encoder, tmp_path / "out", cross_lingual=True)
    assert all(cell["status"] == "done" for cell in content["cells"])


def test_queries_that_a_language_lacks_are_named(family, encoder, tmp_path):
    few = {query: grades for query, grades in QRELS.items() if query != "q3"}
    write_beir(family / "set-fr", "fr", few)
    content, _ = evaluated(from_folder(family), encoder, tmp_path / "out", cross_lingual=True)
    errors = {cell["name"]: cell["error"] for cell in content["cells"] if cell["status"] == "failed"}
    assert set(errors) == {"set.de-fr.exact", "set.en-fr.exact"}
    for error in errors.values():
        assert "the queries in fr lack 1 of the 6 that the documents in" in error
        assert "such as 'q3'; --shared-queries measures on those that all" in error
    shared, _ = evaluated(
        from_folder(family), encoder, tmp_path / "shared", cross_lingual=True, shared_queries=True
    )
    assert {cell["n_queries"] for cell in shared["cells"]} == {5}


def test_a_full_disk_ends_the_run(family, encoder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lfm2_retrieval.evaluation.results.write_run", full)
    with pytest.raises(OSError, match="No space left"):
        evaluated(from_folder(family), encoder, tmp_path / "out")
    assert read_results(tmp_path / "out")["cells"] == []


def test_scores_that_are_no_numbers_fail_the_cell(family, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lfm2_retrieval.evaluation.by_words.Lexical.search",
        lambda self, texts, k: [[("d0", float("nan"))]] * len(texts),
    )
    content, _ = evaluated(from_folder(family)[:1], encoder, tmp_path / "out", systems=WITH_WORDS)
    exact, lexical = content["cells"]
    assert exact["status"] == "done"
    assert lexical["error"] == "the score of document 'd0' for query 'q0' is nan"


def test_words_are_searched_where_no_index_can_be_made(family, encoder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise IndexWriteError("the disk is full")

    monkeypatch.setattr("lfm2_retrieval.evaluation.late_interaction.Index", SimpleNamespace(create=full))
    content, _ = evaluated(from_folder(family)[:1], encoder, tmp_path / "out", systems=WITH_WORDS)
    exact, lexical = content["cells"]
    assert (exact["status"], exact["error"]) == ("failed", "the disk is full")
    assert lexical["status"] == "done"


def test_queries_and_documents_without_text_find_nothing(encoder, tmp_path):
    dataset = Dataset(
        "odd",
        "en",
        {"d0": "fox", "d1": " ", "d2": "dog"},
        {"q0": "fox", "q1": "  "},
        {"q0": {"d0": 1}, "q1": {"d1": 1}},
    )
    content, _ = evaluated(
        [DatasetRef("odd", "en", lambda: dataset)], encoder, tmp_path / "out", systems=WITH_WORDS
    )
    for cell in content["cells"]:
        values = read_queries(tmp_path / "out" / cell["files"]["queries"])
        assert list(values) == ["q0", "q1"]
        assert set(values["q1"].values()) == {0.0}
        assert cell["without_results"] == 1
    assert content["corpora"]["odd.en"]["encoded"] == 2


def test_ids_of_any_kind_are_measured_and_read_by_other_tools(encoder, tmp_path):
    home = tmp_path / "odd-en"
    (home / "qrels").mkdir(parents=True)
    ids = {
        1: "fox",
        "two words": "rain on hills",
        "https://a.example/%20b": "river",
        " ": "dog",
        "ü\u00a0": "boat",
    }
    rows = [{"_id": id, "text": text} for id, text in ids.items()]
    (home / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "qrels/test.tsv").write_text("".join(f"{id}\t{id}\t1\n" for id in ids))
    out = tmp_path / "out"
    content, _ = evaluated([*from_folder(home)], encoder, out, systems=SYSTEMS)
    for cell in content["cells"]:
        assert cell["status"] == "done"
        run = ir_measures.read_trec_run(str(out / cell["files"]["run"]))
        qrels = ir_measures.read_trec_qrels(str(out / cell["files"]["qrels"]))
        again = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)
        assert cell["measures"]["nDCG@10"] == pytest.approx(again[ir_measures.nDCG @ 10])
        assert cell["measures"]["nDCG@10"] > 0.3
        assert set(read_queries(out / cell["files"]["queries"])) == {str(id) for id in ids}
    run = next(out.glob("*.exact.trec"))
    mean = compare_runs(run, run)["sets"][0]["mean_a"]
    assert mean == pytest.approx(content["means"][0]["measures"]["nDCG@10"])


def many():
    rng = np.random.default_rng(0)
    texts = {f"d{i}": " ".join(rng.choice(WORDS, 25)) for i in range(150)}
    asked = {f"q{i}": " ".join(texts[f"d{i}"].split()[:5]) for i in range(20)}
    return Dataset("many", "en", texts, asked, {query: {f"d{query[1:]}": 1} for query in asked})


def test_compression_is_measured_beside_exact(encoder, tmp_path):
    content, _ = evaluated([DatasetRef("many", "en", many)], encoder, tmp_path / "out", systems=WITH_TIER)
    assert content["corpora"]["many.en"]["indexes"]["balanced"]["compressed"] is True
    exact, compressed = (
        next(mean for mean in content["means"] if mean["system"] == name) for name in ("exact", "balanced")
    )
    loss = compressed["against_exact"]
    assert loss["difference"] == pytest.approx(
        compressed["measures"]["nDCG@10"] - exact["measures"]["nDCG@10"]
    )
    assert loss["interval"][0] <= loss["difference"] <= loss["interval"][1]
    assert 0.5 < loss["recall@10"] <= 1
    assert 0.5 < loss["recall@100"] <= 1
    files = {path.name for path in write_reports(tmp_path / "out")}
    assert {"report.md", "report.html", "table.tex", "bytes.png", "latency.svg", "bars.png"} <= files
    assert "What compression costs" in (tmp_path / "out/report.md").read_text()


def test_folders_with_other_queries_are_told_with_the_set(encoder, tmp_path):
    for name, grades in (("a", QRELS), ("b", {"q1": QRELS["q1"]})):
        refs = from_folder(write_beir(tmp_path / name / "set-en", grades=grades))
        evaluated(refs, encoder, tmp_path / f"out-{name}")
    with pytest.raises(InvalidInputError, match=r"set \[en\]: the two have different queries, such as 'q0'"):
        compare_folders(tmp_path / "out-a", tmp_path / "out-b", ("exact", "exact"))


def test_means_over_fewer_tasks_are_marked_wherever_they_stand(encoder, tmp_path):
    for name in ("set-en", "set-de", "other-en"):
        write_beir(tmp_path / "family" / name, name[-2:])
    out = tmp_path / "out"
    refs = from_folder(tmp_path / "family")
    content, _ = evaluated(refs, encoder, out, cross_lingual=True, systems=WITH_TIER)
    whole = {(mean["documents"], mean["queries"]): mean["complete"] for mean in content["means"]}
    assert [pair for pair, complete in whole.items() if complete] == [("en", "en")]
    write_reports(out)
    parts = dict(part.split("\n", 1) for part in (out / "report.md").read_text().split("\n## ")[1:])
    for title in ("Quality", "Across languages: exact", "By task"):
        assert "* Some tasks failed or are not there" in parts[title]
        starred = [line for line in parts[title].splitlines() if line.startswith("|") and " * |" in line]
        assert len(starred) == {"Q": 4, "A": 2, "B": 2}[title[0]], title
    assert (
        "| en | balanced † | 12 |" in parts["Quality"]
    )  # six queries in two tasks; twelve documents stay exact
    assert "MB on disk" in parts["Speed and size"]
    assert "k = 10" in parts["Speed and size"]


def test_reports_show_the_matrix(matrix):
    out, content, _ = matrix
    files = {path.name for path in write_reports(out)}
    assert {"heatmap-exact.png", "heatmap-exact.svg", "heatmap-lexical.png"} <= files
    text = (out / "report.md").read_text()
    assert "| documents \\ queries | de | en | fr |" in text.replace("\\\\", "\\")
    page = (out / "report.html").read_text()
    assert page.count("<svg") == len(list((out / "plots").glob("*.svg")))
    assert "http" not in page.split("<svg")[0]
    assert "\\toprule" in (out / "table.tex").read_text()
    cell = next(mean for mean in content["means"] if (mean["documents"], mean["queries"]) == ("de", "en"))
    assert f"{cell['measures']['nDCG@10']:.3f}" in text


def test_published_scores_stand_beside_ours_and_misses_are_marked(matrix):
    out, _, _ = matrix
    made = json.loads((out / "results.json").read_text())
    made["suite"]["published"] = ["nanobeir-en.toml"]
    for task, value in (("NanoNQ", 0.70), ("NanoSciFact", 0.803)):
        cell = dict(made["cells"][0], task=task, documents="en", queries="en", name=task)
        cell["measures"] = dict(cell["measures"], **{"nDCG@10": value})
        made["cells"].append(cell)
    (out / "results.json").write_text(json.dumps(made))
    write_reports(out)
    text = (out / "report.md").read_text()
    assert "1 of 2 cells, marked, miss the published score by more than 0.005" in text
    assert "| NanoNQ [en] | 0.700 | 0.746 | **-0.046** ✗ |" in text
    assert "| NanoSciFact [en] | 0.803 | 0.804 | -0.001 |" in text
    assert "model card of LiquidAI/LFM2-ColBERT-350M" in text


def test_pylate_drops_what_it_drops(encoder, tmp_path):
    qrels = {"q0": {"d0": 3, "d1": 1}, "q1": {"d2": 0}, "q2": {"d2": 2}}
    texts = {"d0": "fox", "d1": "", "d2": "dog and boat"}
    dataset = Dataset("odd", "en", texts, {"q0": "fox", "q1": "rain", "q2": "dog"}, qrels)
    refs = [DatasetRef("odd", "en", lambda: dataset)]
    plain, _ = evaluated(refs, encoder, tmp_path / "plain")
    pylate, _ = evaluated(refs, encoder, tmp_path / "pylate", compat=Compat.PYLATE)
    assert plain["cells"][0]["n_queries"] == 3
    assert pylate["cells"][0]["n_queries"] == 2
    assert pylate["corpora"]["odd.en"]["encoded"] == 2
    mteb, _ = evaluated(refs, encoder, tmp_path / "mteb", compat=Compat.MTEB)
    assert mteb["corpora"]["odd.en"]["encoded"] == 3
    assert mteb["settings"]["depth"] == 1000


def test_across_languages_needs_several(family, encoder, tmp_path):
    with pytest.raises(InvalidInputError, match="across languages needs a task in several"):
        evaluated(from_folder(family)[:1], encoder, tmp_path, cross_lingual=True)


def test_damaged_results_are_named(family, encoder, tmp_path):
    (tmp_path / "results.json").write_text('{"format": 2, ')
    with pytest.raises(InvalidInputError, match=r"results\.json: is no results"):
        evaluated(from_folder(family), encoder, tmp_path)
    (tmp_path / "results.json").write_text('{"format": 2}')
    with pytest.raises(InvalidInputError, match="has the format 2, this version reads 3; evaluate anew"):
        write_reports(tmp_path)
    (tmp_path / "results.json").write_text('{"format": 99}')
    with pytest.raises(InvalidInputError, match="has the format 99, this version reads 3; upgrade"):
        write_reports(tmp_path)


def test_lexical_is_as_by_hand():
    texts = {"a": "fox fox dog", "b": "dog rain", "c": "rain"}
    with Lexical(texts) as baseline:
        (found, nothing) = baseline.search(["fox dog fox", "猫"], 10)
    assert nothing == []

    def score(document, query):
        mean = np.mean([len(text.split()) for text in texts.values()])
        total = 0.0
        for word in query.split():
            df = sum(word in text.split() for text in texts.values())
            tf = texts[document].split().count(word)
            length = len(texts[document].split())
            weight = np.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            total += weight * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean))
        return total

    assert [id for id, _ in found] == ["a", "b"]
    for id, value in found:
        assert value == pytest.approx(score(id, "fox dog fox"), rel=1e-5)


def test_the_texts_of_the_tests_are_parallel():
    assert list(queries("en")) == list(queries("de"))


WORKER = """
import json, sys
from pathlib import Path
from lfm2_retrieval import Encoder
from lfm2_retrieval.evaluation import Settings, from_folder, run_suite

family, model, out = sys.argv[1:]
run_suite(
    from_folder(family), Encoder.load(model), Path(out),
    Settings(cross_lingual=True, systems=("exact", "lexical")),
    suite={"name": "small", "title": "Small", "published": []},
    on_progress=lambda line: print(line, flush=True),
)
"""


def test_a_killed_run_goes_on_without_doing_anything_twice(
    family, checkpoint, encoder, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    whole, _ = evaluated(
        from_folder(family), encoder, tmp_path / "whole", cross_lingual=True, systems=WITH_WORDS
    )
    for wanted in (2, 5):  # cells to wait for, before the kill
        count = 0
        command = [sys.executable, "-c", WORKER, str(family), str(checkpoint()), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            for line in worker.stdout:
                count += "nDCG@10" in line
                if count == wanted:
                    worker.kill()
                    break
    killed = read_results(out)
    done = [cell["name"] for cell in killed["cells"]]
    assert 7 <= len(done) < 18
    files = {path: path.stat().st_mtime_ns for name in done for path in out.glob(f"{name}.*")}
    (out / "set.en-de.exact.trec.part").write_text("a write that was cut short")
    text = next(path for path in write_reports(out) if path.name == "report.md").read_text()
    assert f"{18 - len(done)} of 18 cells are still to be measured" in text

    encoded = []
    real = Encoder.encode_documents
    monkeypatch.setattr(
        Encoder,
        "encode_documents",
        lambda self, texts, **k: (encoded.append(tuple(texts)), real(self, texts, **k))[1],
    )
    monkeypatch.setattr("lfm2_retrieval.evaluation.runner.forecast", lambda *_, **__: "")
    finished, lines = evaluated(from_folder(family), encoder, out, cross_lingual=True, systems=WITH_WORDS)
    assert all(path.stat().st_mtime_ns == at for path, at in files.items())
    assert sum("nDCG@10" in line for line in lines) == 18 - len(done)
    late = {
        (d, q) for d in ("de", "en", "fr") for q in ("de", "en", "fr") if f"set.{d}-{q}.exact" not in done
    }
    assert len(encoded) == len({documents for documents, _ in late})
    for cell, expected in zip(finished["cells"], whole["cells"], strict=True):
        assert (cell["name"], cell["measures"]) == (expected["name"], expected["measures"])
    assert finished["means"] == whole["means"]
    assert len(finished["runs"]) == 3


def test_nothing_is_encoded_when_all_is_done(family, encoder, tmp_path, monkeypatch):
    evaluated(from_folder(family), encoder, tmp_path / "out", cross_lingual=True)
    monkeypatch.setattr(Encoder, "encode_documents", None)
    monkeypatch.setattr(Encoder, "encode_queries", None)
    _, lines = evaluated(from_folder(family), encoder, tmp_path / "out", cross_lingual=True)
    assert lines == [f"set [{language}]: done before" for language in ("de", "en", "fr")]


@pytest.mark.parametrize("suffix", ["trec", "jsonl", "qrels"])
def test_a_file_that_was_changed_is_measured_anew(family, encoder, tmp_path, suffix):
    out = tmp_path / "out"
    first, _ = evaluated(from_folder(family), encoder, out)
    path = next(out.glob(f"set.de*.{suffix}"))
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    again, lines = evaluated(from_folder(family), encoder, out)
    assert path.read_bytes() == good
    assert sum("done before" in line for line in lines) == 2
    assert again["cells"][0]["measures"] == first["cells"][0]["measures"]


def test_what_is_added_later_leaves_what_is_there(encoder, tmp_path):
    refs = [DatasetRef("many", "en", many)]
    evaluated(refs, encoder, tmp_path)
    before = (tmp_path / "many.en-en.exact.trec").stat().st_mtime_ns
    content, _ = evaluated(refs, encoder, tmp_path, systems=WITH_TIER)
    assert (tmp_path / "many.en-en.exact.trec").stat().st_mtime_ns == before
    facts = content["corpora"]["many.en"]
    assert set(facts["indexes"]) == set(facts["latency"]) == {"exact", "balanced"}
    at_once, _ = evaluated(refs, encoder, tmp_path / "at once", systems=WITH_TIER)
    assert content["means"] == at_once["means"]


def test_two_evaluations_do_not_write_to_one_folder(family, encoder, tmp_path):
    out = tmp_path / "out"
    caught = []

    def meanwhile(line):
        if "nDCG@10" in line and not caught:
            with pytest.raises(
                InvalidInputError, match="another evaluation writes there; wait for it"
            ) as error:
                evaluated(from_folder(family), encoder, out)
            caught.append(error)

    run_suite(from_folder(family), encoder, out, Settings(), suite=SUITE, on_progress=meanwhile)
    assert caught
    evaluated(from_folder(family), encoder, out)


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from lfm2_retrieval.evaluation import results

def small(*names):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    return real(*names)

real, results.write_run = results.write_run, small
"""


def test_a_disk_without_room_ends_the_run_and_what_was_done_stays(family, checkpoint, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", FULL + WORKER, str(family), str(checkpoint()), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "OSError: [Errno 27] File too large" in ended.stderr
    assert not list(out.glob("*.part"))
    assert read_results(out)["cells"] == []


def test_unreadable_data_fail_their_cells_alone(family, encoder, tmp_path):
    def broken():
        raise PermissionError(13, "Permission denied", "corpus.jsonl")

    refs = [DatasetRef("set", "xx", broken), *from_folder(family)]
    content, _ = evaluated(refs, encoder, tmp_path / "out")
    failed = [cell for cell in content["cells"] if cell["status"] == "failed"]
    assert [cell["error"] for cell in failed] == [
        "set [xx]: can't be read: [Errno 13] Permission denied: 'corpus.jsonl'"
    ]
    assert len(content["cells"]) == 4


@pytest.mark.parametrize("missing", ["identity", "cells", "runs", "corpora"])
def test_results_that_lack_something_are_named(family, encoder, tmp_path, missing):
    evaluated(from_folder(family)[:1], encoder, tmp_path)
    made = json.loads((tmp_path / "results.json").read_text())
    del made[missing]
    (tmp_path / "results.json").write_text(json.dumps(made))
    for use in (
        lambda: write_reports(tmp_path),
        lambda: evaluated(from_folder(family)[:1], encoder, tmp_path),
    ):
        with pytest.raises(InvalidInputError, match=f"is no results of an evaluation .lacks '{missing}'"):
            use()


def test_speeds_of_two_machines_are_told_apart(family, encoder, tmp_path):
    refs = from_folder(family)
    evaluated(refs[:1], encoder, tmp_path)
    made = json.loads((tmp_path / "results.json").read_text())
    made["runs"][0]["environment"]["cpu"] = "An Abacus"
    (tmp_path / "results.json").write_text(json.dumps(made))
    evaluated(refs, encoder, tmp_path)
    write_reports(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Run 0: An Abacus, " in text
    assert "| corpus | run | index |" in text

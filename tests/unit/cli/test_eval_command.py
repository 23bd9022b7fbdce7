import json
import shutil

import pytest

pytest.importorskip("ir_measures")
pytest.importorskip("scipy")

from small_sets import write_beir, write_nanobeir


@pytest.fixture
def folders(tmp_path):
    for language in ("en", "de"):
        write_beir(tmp_path / "family" / f"set-{language}", language)
    return tmp_path / "family"


def evaluate(run, folders, model, out):
    options = ("--cross-lingual", "--systems", "exact,lexical", "--no-throughput")
    return run("eval", "beir", folders, "--model", model, "--out", out, *options)


@pytest.fixture
def measured(run, folders, checkpoint, tmp_path):
    out = tmp_path / "out"
    result = evaluate(run, folders, checkpoint(), out)
    return out, result


def test_beir_measures_the_matrix_and_writes_everything(measured):
    out, result = measured
    assert result.exit_code == 0, result.output
    assert "8 cells; 2 corpora, 24 documents to encode" in result.stderr
    assert "## Across languages: exact" in result.stdout
    names = {path.name for path in out.iterdir()}
    assert {"results.json", "report.md", "report.html", "table.tex", "plots"} <= names
    assert {
        "set.de-en.exact.trec",
        "set.de-en.exact.jsonl",
        "set.de.qrels",
        "set.en-de.lexical.trec",
    } <= names


def test_what_is_done_is_not_done_again_and_reports_are_made_anew(run, measured, folders, checkpoint):
    out, _ = measured
    again = evaluate(run, folders, checkpoint(), out)
    assert again.stderr.count("done before") == 2
    (out / "report.md").unlink()
    result = run("eval", "report", out)
    assert f"wrote {out / 'report.md'}" in result.stdout
    assert (out / "report.md").is_file()


def test_throughput_is_measured_beside(run, folders, checkpoint, tmp_path, monkeypatch):
    from lfm2_retrieval.evaluation import throughput

    real = throughput.measure_throughput
    monkeypatch.setattr(
        "lfm2_retrieval.evaluation.runner.measure_throughput", lambda e, t: real(e, t, seconds=0.001)
    )
    monkeypatch.setattr(throughput, "matmul_peak", lambda *_: 1e12)
    out = tmp_path / "out"
    tiny = checkpoint(layers=("conv",), hidden=8, heads=2, kv_heads=2, ffn=8, dim=8)
    chosen = ("--model", tiny, "--out", out, "--json")
    assert "throughput" not in json.loads(run("eval", "beir", folders / "set-en", *chosen).stdout)
    result = run("eval", "beir", folders / "set-en", *chosen, "--speed")
    content = json.loads(result.stdout)
    rows = content["throughput"]["rows"]
    assert {row["what"] for row in rows} == {
        "query, 32 tokens",
        "document, 256 tokens",
        "document, 512 tokens",
        "real documents",
    }
    for row in rows:
        wanted = {"query, 32 tokens": 32, "document, 256 tokens": 256, "document, 512 tokens": 512}.get(
            row["what"]
        )
        if wanted:
            assert 0.9 * wanted <= row["mean_tokens"] <= wanted
        assert row["flops"] > 0
    assert "The encoder's speed" in (out / "report.md").read_text()


def test_nanobeir_takes_local_files(run, checkpoint, tmp_path):
    data = write_nanobeir(tmp_path / "data", "liquid")
    chosen = ("--languages", "de,fr", "--tasks", "nq", "--model", checkpoint())
    result = run("eval", "nanobeir", "--data", data, *chosen, "--out", tmp_path / "out", "--no-throughput")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out/results.json").read_text())
    assert [cell["name"] for cell in content["cells"]] == ["NanoNQ.de-de.exact", "NanoNQ.fr-fr.exact"]


def test_nanobeir_without_a_network_says_where_the_files_go(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "nothing"))
    ir_datasets = pytest.importorskip("ir_datasets")
    monkeypatch.setattr(ir_datasets.util, "home_path", lambda: tmp_path / "nothing")
    chosen = ("--tasks", "NQ", "--model", checkpoint(), "--out", tmp_path / "out")
    result = run("eval", "nanobeir", "--offline", *chosen, "--no-throughput")
    assert result.exit_code == 1
    assert "1 of 1 cells failed" in result.stderr
    assert "nano-beir/nq/corpus.parquet" in result.stderr
    assert "or give --data DIR" in result.stderr


def test_a_failed_cell_ends_with_an_error_after_the_rest(run, folders, checkpoint, tmp_path):
    (folders / "set-de/qrels/test.tsv").write_text("q0\tnowhere\t1\n")
    result = run(
        "eval", "beir", folders, "--model", checkpoint(), "--out", tmp_path / "out", "--no-throughput"
    )
    assert result.exit_code == 1
    assert "set.en-en.exact: nDCG@10" in result.stderr
    assert "Error: 1 of 2 cells failed, such as set.de-de.exact" in result.stderr
    assert "'nowhere' is judged, but not in the corpus" in result.stderr


def test_compare_folders_and_runs(run, measured, checkpoint, folders, tmp_path):
    out, _ = measured
    report = json.loads(run("eval", "compare", out, out, "--system", "exact:lexical", "--json").stdout)
    assert [row["set"] for row in report["sets"]] == [
        "set [de]",
        "set [de ← en]",
        "set [en ← de]",
        "set [en]",
    ]
    for row in report["sets"]:
        assert row["p_randomisation_holm"] >= row["p_randomisation"]
    cell = "set.de-de.{}.trec"
    alone = run("eval", "compare", out / cell.format("exact"), out / cell.format("lexical"), "--json")
    (row,) = json.loads(alone.stdout)["sets"]
    assert row["mean_a"] == pytest.approx(report["sets"][0]["mean_a"])
    assert row["p_t"] == pytest.approx(report["sets"][0]["p_t"])
    text = run("eval", "compare", out, out, "--system", "exact:lexical").stdout
    assert "p randomisation (Holm)" in text
    moved = tmp_path / "elsewhere.trec"
    shutil.copy(out / cell.format("exact"), moved)
    assert "give --qrels" in run("eval", "compare", moved, moved).stderr
    given = run("eval", "compare", moved, moved, "--qrels", folders / "set-de/qrels/test.tsv")
    assert given.exit_code == 0


def test_a_run_of_another_data_set_is_named_by_its_line(run, measured, tmp_path):
    out, _ = measured
    other = tmp_path / "other.trec"
    other.write_text("q0 Q0 d0 1 2.0 x\nz9 Q0 d0 1 1.0 x\n")
    result = run("eval", "compare", out / "set.de-de.exact.trec", other)
    assert result.exit_code == 1
    assert f"{other}:2: the query 'z9' is not judged: the run is of another data set" in result.stderr


def test_wrong_use_is_refused(run, measured, tmp_path, checkpoint):
    out, _ = measured
    assert run("eval", "compare", out, out / "set.de-de.exact.trec").exit_code == 2
    assert run("eval", "beir", tmp_path / "nowhere", "--model", checkpoint()).exit_code == 1
    result = run("eval", "report", tmp_path)
    assert "results.json: no such file; lfm2-retrieve eval" in result.stderr
    assert "share no finished cell" in run("eval", "compare", out, out, "--system", "balanced").stderr


@pytest.mark.parametrize("command", ["", "demo", "nanobeir", "run", "beir", "compare", "report"])
def test_help(run, command):
    result = run("eval", *filter(None, [command]), "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_a_suite_of_ones_own_is_run_and_the_command_line_wins(run, folders, checkpoint, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        f'title = "Mine"\nsource = "folder"\nmodel = "{checkpoint()}"\nfolders = ["family"]\n'
        'cross_lingual = true\n[settings]\nsystems = ["exact", "lexical"]\ndepth = 150\n'
    )
    out = tmp_path / "out"
    result = run("eval", "run", path, "--out", out, "--no-throughput", "--depth", "120")
    assert result.exit_code == 0, result.output
    content = json.loads((out / "results.json").read_text())
    assert (content["suite"]["name"], content["settings"]["depth"]) == ("mine", 120)
    assert len(content["cells"]) == 8
    assert "there are demo, nanobeir" in run("eval", "run", "nothing").stderr
    path.write_text('title = "Mine"\n')
    assert f"Error: {path}: a suite has 'source'" in run("eval", "run", path).stderr


def test_runs_and_folders_of_other_data_are_told(run, measured, folders, checkpoint, tmp_path):
    out, _ = measured
    other = tmp_path / "other.trec"
    other.write_text("q0 Q0 x1 1 2.0 x\nq1 Q0 x2 1 1.0 x\n")
    result = run("eval", "compare", out / "set.de-de.exact.trec", other)
    assert result.exit_code == 1
    assert f"{other}: none of its documents is judged for any query: the run is of" in result.stderr
    queries = folders / "set-de/queries.jsonl"
    queries.write_text(queries.read_text().replace("fox", "train"))
    evaluate(run, folders, checkpoint(), tmp_path / "second")
    text = run("eval", "compare", out, tmp_path / "second").stdout
    assert "Texts or judgements of A and B differ in set [de], set [de ← en], set [en ← de]." in text

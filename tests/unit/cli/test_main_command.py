import os
import re

import pytest
from click.testing import CliRunner

import lfm2_retrieval
from lfm2_retrieval.cli import _COMMANDS, main
from lfm2_retrieval.documents import DocumentFormat

READING = [
    "--text-column",
    "--id-column",
    "--metadata-column",
    "--delimiter",
    "--encoding",
    "--types",
    "--strict",
]
OPTIONS = {
    "add": [*READING, "--input", "--on-conflict", "--format", "--model", "--json"],
    "configure": ["--lexical", "--field"],
    "delete": ["--where", "--missing-ok", "--json"],
    "get": ["--json"],
    "list": ["--where", "--limit", "--json"],
    "merge": ["--memory", "--json"],
    "backup": [],
    "export": ["--output", "--embeddings", "--to", "--name"],
    "reshard": [],
    "plan": ["--documents", "--tokens", "--speeds", "--json"],
    "import": ["--ids", "--vectors", "--tier", "--model"],
    "repair": ["--dry-run", "--model", "--json"],
    "verify": [],
    "bench": [],
    "demo": ["--language", "-k", "--json"],
    "eval": [],
    "index": [
        *READING,
        "--input",
        "--model",
        "--if-exists",
        "--format",
        "--batch-size",
        "--device",
        "--dtype",
        "--json",
    ],
    "info": ["--json"],
    "models": ["--json"],
    "reindex": ["--model", "--dtype", "--batch-size", "--memory", "--json"],
    "rerank": [*READING, "--input", "--query", "-k", "--model", "--json"],
    "search": ["--query", "-k", "--where", "--model", "--json"],
    "mcp": [],
    "serve": [],
    "sync": ["--dry-run", "--watch", "--include", "--exclude", "--strict", "--json"],
    "tune": ["--target-recall", "-k", "--queries", "--sample", "--plot", "--json"],
}


def test_help_lists_every_command_in_whole_sentences(run):
    output = run("--help").output
    assert OPTIONS.keys() == set(_COMMANDS)
    for name in _COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].*[^.]\.$", output, re.MULTILINE), name


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(run, name, flag):
    result = run(name, flag)
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name} ")
    command = main.get_command(None, name)
    named = {option for one in command.params for option in one.opts if option.startswith("-")}
    assert set(OPTIONS[name]) <= named
    for option in named:
        assert option in result.output


def test_index_help_names_every_format(run):
    assert f"[{'|'.join(DocumentFormat)}]" in run("index", "--help").output


def test_version(run):
    assert run("--version").output == f"lfm2-retrieve, version {lfm2_retrieval.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["index"],
        ["index", "path"],
        ["index", "path", "--input"],
        ["index", "path", "--input", "a", "--if-exists", "maybe"],
        ["index", "path", "--input", "a", "--format", "xml"],
        ["index", "path", "--input", "a", "--batch-size", "0"],
        ["search", "path"],
        ["search", "path", "q", "-k", "0"],
        ["search", "path", "q", "-k", "many"],
        ["info"],
        ["demo", "--language", "tlh"],
    ],
)
def test_wrong_use_is_code_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "MemoryError"),
        (lfm2_retrieval.errors.DamagedIndexError("two\nlines"), "two lines"),
    ],
)
def test_expected_errors_are_one_line(monkeypatch, run, made, error, message):
    error.add_note("and a note")

    def fail(path):
        raise error

    monkeypatch.setattr("lfm2_retrieval.indexes.Index.open", fail)
    result = run("info", made)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(f"{message}; and a note\n")
    assert result.stderr.count("\n") == 1


def test_a_defect_keeps_its_traceback(monkeypatch, made):
    monkeypatch.setattr("lfm2_retrieval.indexes.Index.open", lambda path: 1 / 0)
    assert isinstance(CliRunner().invoke(main, ["info", str(made)]).exception, ZeroDivisionError)


def test_interrupted_is_code_130(monkeypatch, run, made):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("lfm2_retrieval.indexes.Index.open", interrupt)
    result = run("info", made)
    assert (result.exit_code, result.stderr) == (130, "Interrupted\n")


def test_a_reader_that_went_away_is_no_crash(spawn, made):
    process = spawn("search", made, *["fox"] * 500, "--trust-model")
    process.stdout.close()
    _, errors = process.communicate(timeout=120)
    assert errors == b""
    assert process.returncode == 1


def test_a_process_without_standard_streams_works(spawn, made):
    def close():
        os.closerange(0, 3)

    process = spawn("search", made, "fox", "--trust-model", preexec_fn=close)
    assert process.wait(timeout=120) == 0
    process.communicate()
    broken = spawn("search", made, "fox", "--trust-model", preexec_fn=lambda: os.close(1))
    assert broken.communicate(timeout=120)[1] == b""
    assert broken.returncode == 0


def test_a_working_directory_that_is_gone_is_said(tmp_path, monkeypatch, run):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = run("info", tmp_path / "index")
    assert result.exit_code == 1
    assert "cd to another" in result.stderr

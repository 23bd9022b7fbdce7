"""Nothing that somebody else wrote steers the terminal, whichever command prints it."""

import ast
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lfm2_retrieval.cli
from lfm2_retrieval import Retriever
from lfm2_retrieval.cli import main
from lfm2_retrieval.cli._terminal import guarded
from lfm2_retrieval.indexes.catalogue import rows

BAD = "a\x1b[31m\x1b]0;t\x07b\x9b2Jc\r\x08d\u202ee\u2066f\u2028g\u200bh\ufefft\x7fz\u200e\u00ad\U000e0041"
STEERS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\u200b\ufeff\u200e\u00ad\U000e0041]"
)
CLI = Path(lfm2_retrieval.cli.__file__).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("terminal") / "index"
    document = {"_id": BAD, "text": f"{BAD} comet {BAD}", "metadata": {BAD: BAD}, "title": BAD}
    with Retriever.index(
        [document, {"_id": "b", "text": "tea"}], path, model="nano", fields=["x" + chr(0x85)]
    ):
        pass
    connection = sqlite3.connect(path / "index.db")
    with connection:
        value = json.dumps(f"{BAD}\nmodel            nano")
        connection.execute(
            "UPDATE settings SET value = ?, crc32 = ? WHERE key = 'created_by'",
            (value, rows.checksum("created_by", value)),
        )
    connection.close()
    return path


COMMANDS = [
    ["info", "{}"],
    ["info", "{}", "--json"],
    ["search", "{}", "comet"],
    ["search", "{}", "comet", "--json"],
    ["search", "{}", f"comet {BAD}", "tea"],
    ["list", "{}"],
    ["list", "{}", "--json"],
    ["get", "{}", BAD],
    ["get", "{}", "missing" + BAD],
    ["get", "{}", BAD, "--json"],
    ["export", "{}"],
    ["export", "{}", "--output", "-"],
    ["configure", "{}"],
    ["verify", "{}"],
    ["repair", "{}", "--dry-run"],
    ["delete", "{}", "missing" + BAD],
    ["search", "{}" + BAD, "comet"],
    ["search", "{}", "comet", "--model", BAD],
    ["search", "{}", "comet", "--where", "{" + BAD],
    ["search", "{}", "comet", "--" + BAD],
    ["index", "{}", "--input", "none" + BAD],
    ["eval", "report", BAD],
    ["eval", "beir", BAD],
    ["eval", "suite" + BAD],
    [BAD],
    ["--" + BAD],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=range(len(COMMANDS)))
def test_no_command_prints_what_steers(made, arguments):
    result = CliRunner().invoke(main, [one.replace("{}", str(made), 1) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.output
    found = STEERS.search(result.output)
    assert not found, ascii(result.output[max(0, found.start() - 40) : found.end() + 40])


def test_a_setting_forges_no_line(made):
    output = CliRunner().invoke(main, ["info", str(made)]).output
    assert len([line for line in output.splitlines() if line.startswith("model ")]) == 1


def test_what_a_model_or_a_damaged_row_is_called_steers_nothing(made, tmp_path):
    folder = tmp_path / "index"
    shutil.copytree(made, folder)
    connection = sqlite3.connect(folder / "index.db")
    with connection:
        (value,) = connection.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        value = json.dumps(json.loads(value) | {"name": f"/{BAD}", "fingerprint": BAD})
        connection.execute(
            "UPDATE settings SET value = ?, crc32 = ? WHERE key = 'encoder'",
            (value, rows.checksum("encoder", value)),
        )
    for arguments in (
        ["info"],
        ["search", "x"],
        ["search", "x", "--trust-model"],
        ["search", "x", "--model", "nano"],
    ):
        result = CliRunner().invoke(main, [arguments[0], str(folder), *arguments[1:]])
        assert not STEERS.search(result.output), ascii(result.output)
        assert "\\x1b[31m" in result.output
    with connection:
        connection.execute("UPDATE segments SET name = ?", (BAD,))
    connection.close()
    for name in ("search", "verify", "repair", "info"):
        result = CliRunner().invoke(main, [name, str(folder), *["x"] * (name == "search")])
        assert not STEERS.search(result.output), ascii(result.output)


def test_json_comes_back_as_it_was(made):
    lines = CliRunner().invoke(main, ["list", str(made), "--json"]).output.splitlines()
    assert [json.loads(line)["_id"] for line in lines] == [BAD, "b"]
    lines = CliRunner().invoke(main, ["export", str(made)]).output.splitlines()
    assert json.loads(lines[0])["metadata"][BAD] == BAD


def test_bold_text_survives_on_a_terminal(made):
    """As a person sees it: the queries and what matched are bold, and nothing else is done."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lfm2_retrieval",
            "search",
            str(made),
            "comet",
            f"tea {BAD}",
            "--mode",
            "lexical",
        ],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(follower)
    output = b""
    while True:
        try:
            some = os.read(leader, 65536)
        except OSError:
            break
        if not some:
            break
        output += some
    os.close(leader)
    assert process.wait() == 0, output
    text = output.decode().replace("\r\n", "\n")
    assert "\x1b[1mcomet\x1b[0m" in text
    assert not STEERS.search(re.sub("\x1b\\[[01]m", "", text)), ascii(text)


def test_a_guarded_stream_keeps_ordinary_text(capsys):
    ordinary = "Grüße, привет, שלום, مرحبا, می‌خواهم, क्‍ष, 日本語, 👩‍👩‍👧 ❤️\n\tindented\n"
    with guarded():
        print(ordinary, end="")
        print("\x1b[1mbold\x1b[0m \x1b[2J", file=sys.stderr)
        sys.stderr.write("\r 10%|\x1b[2J")
        sys.stderr.write("\x1b[A")
        sys.stdout.write("\rover")
    output, errors = capsys.readouterr()
    assert output == ordinary + "\\x0dover"
    assert errors == "\x1b[1mbold\x1b[0m \\x1b[2J\n\r 10%|\\x1b[2J\x1b[A"


def test_no_command_goes_around_the_guard():
    """rich would: its consoles come from `_terminal`. So would bytes, and the streams that Python had."""
    for path in CLI.glob("*.py"):
        if path.name in ("_terminal.py", "mcp.py"):  # what MCP's protocol goes through is no terminal's
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "rich.console", path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("__stdout__", "__stderr__", "buffer"), path
                assert not (node.attr == "write" and ast.unparse(node.value) == "os"), path

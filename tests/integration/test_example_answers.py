"""The examples that answer from a folder, choose tools and act: run as they stand, offline."""

from __future__ import annotations

import json
import re
import runpy
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NANO = EXAMPLES.parent / "lfm2_retrieval/models/nano/model.safetensors"
pytestmark = pytest.mark.skipif(not NANO.is_file(), reason="the bundled model nano is missing")
RAG = {
    "rag.py": "lfm2_retrieval",
    "rag_langchain.py": "langchain_core",
    "rag_llamaindex.py": "llama_index.core",
    "rag_haystack.py": "haystack",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> str:
    """The harbour's index; the first example reads the folder, the others find it in step."""
    pytest.importorskip("kreuzberg")
    return str(tmp_path_factory.mktemp("examples") / "index")


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def ran(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return ran


class Endpoint:
    """Answers like a language model: by turns what it was given, and remembers what it was asked."""

    def __init__(self, *messages):
        asked = self.asked = []
        answers = iter(messages)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((self.path, self.headers.get("Authorization"), body))
                reply = json.dumps({"choices": [{"message": next(answers)}]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize("name", RAG)
def test_an_answer_cites_and_its_citation_opens_the_place(run, index, name):
    pytest.importorskip(RAG[name])
    told, cited = run(name, "--index", index).strip().splitlines()
    assert told == "A boat of up to ten metres pays 18 euros a night, and a longer one 27. [1]"
    assert cited == f"[1] {(EXAMPLES / 'harbour/guide.md').as_uri()}#L14 (lines 14–16, Berths, Fees)"
    assert (EXAMPLES / "harbour/guide.md").read_text().splitlines()[13] == "## Fees"
    out = run(name, "where is the foundation washed out?", "--index", index)
    assert "washed out over a length of six metres. [1]" in out
    assert "survey.pdf#page=" in out


@pytest.mark.parametrize("name", RAG)
def test_a_language_model_is_asked_where_one_is_named(run, index, name, monkeypatch):
    pytest.importorskip(RAG[name])
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Endpoint({"content": "Eighteen [1], not [9]."}) as model:
        out = run(name, "--index", index, "--url", model.url, "--chat-model", "small")
    [(path, key, body)] = model.asked
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "small")
    assert "18 euros a night" in body["messages"][0]["content"]
    told, cited = out.strip().splitlines()
    assert told == "Eighteen [1], not [9]."
    assert cited.startswith("[1] file://")


def test_an_empty_folder_answers_nothing_and_any_model_something(run, tmp_path, checkpoint):
    assert run("rag.py", "--folder", tmp_path).strip() == "Nothing was found."
    (tmp_path / "rain.md").write_text("It falls.\n\nIt stops.\n")
    told, cited = run("rag.py", "--folder", tmp_path, "--model", checkpoint()).splitlines()
    assert told in ("It falls. [1]", "It stops. [1]")
    assert cited == f"[1] {(tmp_path / 'rain.md').as_uri()}#L1 (lines 1–3)"


def test_an_agent_calls_the_tool_and_reads_what_it_finds(run, index):
    assert "18 euros a night" in run("agent_tool.py", "--index", index)
    asked = {"name": "search_harbour", "arguments": '{"query": "fee for a night", "k": 2}'}
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": asked}],
    }
    with Endpoint(call, {"role": "assistant", "content": "18 euros [guide.md]"}) as model:
        out = run("agent_tool.py", "--index", index, "--url", model.url)
    assert out.strip() == "18 euros [guide.md]"
    first, second = (body for _, _, body in model.asked)
    assert first["tools"][0]["function"]["parameters"]["required"] == ["query"]
    assert second["messages"][-1]["role"] == "tool"
    assert "[1] id=guide.md" in second["messages"][-1]["content"]


def test_the_right_tool_is_among_the_five_best(run):
    out = run("tool_selection.py")
    assert "flight_status" in out.splitlines()[0]
    asked, first, _, among = map(int, re.findall(r"\d+", out.splitlines()[-1]))
    assert asked == 40
    assert first >= 0.7 * asked
    assert among >= 0.9 * asked


def test_questions_find_answers_in_other_languages(run):
    pairs = [pair.splitlines() for pair in run("crosslingual.py").strip().split("\n\n")]
    assert [answer.split()[-1] for _, answer in pairs] == [
        "tired.",
        "children.",
        "voice.",
        "frère.",
        "números.",
        "virus.",
    ]
    assert all(question[:2] != answer[:2] for question, answer in pairs)

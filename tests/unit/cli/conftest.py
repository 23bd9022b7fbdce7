from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lfm2_retrieval import Retriever
from lfm2_retrieval.cli import main
from lfm2_retrieval.retriever import recorded

DOCUMENTS = [
    {"_id": "fox", "title": "Foxes", "text": "the quick brown fox jumps over a lazy dog"},
    {"_id": "rain", "text": "rain falls on quiet hills", "lang": "en"},
    {"_id": "town", "text": "old towns where people sell bread, cheese and wine"},
    {"_id": "cat", "text": "猫は静かに眠る。"},
]


@pytest.fixture(autouse=True)
def published(checkpoint, monkeypatch):
    """The checkpoint counts as one of its makers' here, so that its indexes are searched unasked."""
    name = str(checkpoint().resolve())
    monkeypatch.setattr(recorded, "PUBLISHED", (*recorded.PUBLISHED, name))


@pytest.fixture
def run():
    """Runs the command in this process."""

    def invoke(*arguments, input=None):
        result = CliRunner().invoke(main, [str(one) for one in arguments], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    return invoke


@pytest.fixture
def spawn():
    """Starts the command as a process of its own."""

    def start(*arguments, **options):
        # A shell has what it runs in the background ignore Ctrl-C, and children inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "lfm2_retrieval", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )
        finally:
            signal.signal(signal.SIGINT, before)

    return start


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
    return path


@pytest.fixture(scope="session")
def made(checkpoint, tmp_path_factory):
    """An index of the documents, made once: only to be read."""
    path = tmp_path_factory.mktemp("cli") / "index"
    Retriever.index(DOCUMENTS, path, model=checkpoint()).close()
    return path

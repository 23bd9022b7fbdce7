"""Encoding an index anew: nothing but the vectors changes, and nobody meets half of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval import Encoder, Index, Retriever, TokenEmbeddings
from lfm2_retrieval.errors import (
    IndexLockedError,
    InvalidInputError,
    ModelMismatchError,
    ModelNotFoundError,
)
from lfm2_retrieval.indexes.catalogue.lock import WriterLock

DOCUMENTS = [
    {"id": "fox", "title": "Foxes", "text": "the quick brown fox jumps", "year": 2020, "deep": {"a": [1]}},
    {"id": "b", "text": "rain falls on quiet hills", "year": 2021},
    {"id": "none", "text": " "},
    {"id": "a", "text": "old towns where people sell bread", "lang": "de"},
]


@pytest.fixture
def old(checkpoint):
    return Encoder.load(checkpoint())


@pytest.fixture
def new(checkpoint):
    return Encoder.load(checkpoint(hidden=64))


@pytest.fixture
def path(old, tmp_path):
    path = tmp_path / "index"
    options = {"tier": "accurate", "fields": ["year"], "lexical": True}
    with Retriever.index(DOCUMENTS, path, model=old, document_length=16, **options) as made:
        made.update([{"id": "b", "text": "snow falls on quiet hills"}])
        made.delete("a")
        made.add([DOCUMENTS[3]])
    return path


def stored(retriever):
    return [document.to_dict() for document in retriever]


def test_all_but_the_vectors_stays(path, old, new):
    with Retriever.open(path, model=old) as before:
        documents, settings = stored(before), before.store.settings
    with Retriever.reindex(path, new) as made:
        assert stored(made) == documents
        assert made.encoder.fingerprint == new.fingerprint
        assert made.encoder.document_length == 16
        after = made.store.settings
        assert after["encoder"]["fingerprint"] == new.fingerprint
        assert after["encoder"]["document_length"] == settings["encoder"]["document_length"] == 16
        for name in ("tier", "fields", "lexical"):
            assert after[name] == settings[name]
        hits = made.search("quick fox", 3)
        expected = new.with_options(document_length=16).encode_documents([hits[0].text])
        query = new.encode_queries(["quick fox"])
        assert hits[0].score == pytest.approx(float((query[0] @ expected[0].T).max(1).sum()), abs=0.01)
        assert made.search("snow", 1, mode="lexical")[0].id == "b"
        assert made.search("fox", where={"year": 2020})[0].id == "fox"
        made.add(["one more"])
        made.store.verify()
    with Retriever.open(path, model=new) as again:
        assert len(again) == 5
        assert "none" not in [hit.id for hit in again.search("fox", 10)]


def test_an_update_of_the_model_is_told_with_versions_and_the_way_out(path, old, new):
    with Retriever.open(path, model=new) as retriever, pytest.raises(ModelMismatchError) as caught:
        retriever.search("fox")
    message = str(caught.value)
    for part in (old.fingerprint, new.fingerprint, f"Retriever.reindex('{path}')", "model="):
        assert part in message


@pytest.mark.parametrize("revision", [None, "a1b2c3"])
@pytest.mark.parametrize("version", [None, "15"])
def test_what_is_known_of_a_version_is_said(path, old, new, revision, version):
    with Index.open(path) as index, index.writer() as writer:
        known = {"name": "nano", "revision": revision} | ({"version": version} if version else {})
        writer.set({"encoder": {**index.settings["encoder"], **known}})
    with Retriever.open(path, model=new) as retriever, pytest.raises(ModelMismatchError) as caught:
        _ = retriever.encoder
    assert ("nano 15 (" in str(caught.value)) is (version == "15")
    assert ("revision a1b2c3" in str(caught.value)) is (revision is not None)


def test_todays_model_of_the_recorded_name(path, old, new):
    """As after an update of a bundled model: the name is the same, what it stands for isn't."""
    with Index.open(path) as index, index.writer() as writer:
        writer.set({"encoder": {**index.settings["encoder"], "name": "nano", "fingerprint": "0" * 32}})
    with Retriever.open(path) as retriever, pytest.raises(ModelMismatchError, match="made with nano"):
        retriever.search("fox")
    with Retriever.reindex(path) as retriever:
        assert retriever.encoder.name == "nano"
        assert retriever.search("quick brown fox", 1)[0].id == "fox"
    with Retriever.open(path) as retriever:
        assert retriever.search("snow on hills", 1)[0].id == "b"


def test_a_model_that_is_gone_needs_another(path, new):
    with Index.open(path) as index, index.writer() as writer:
        writer.set({"encoder": {**index.settings["encoder"], "name": "/nowhere/at/all"}})
    with pytest.raises((ModelNotFoundError, ModelMismatchError, InvalidInputError)):
        Retriever.reindex(path, trust_model=True)
    with Retriever.open(path, model=new) as retriever:
        assert len(retriever) == 4
    with Retriever.reindex(path, new) as retriever:
        assert len(retriever.search("fox")) == 3


def test_readers_stay_with_the_old_and_go_on_by_refresh(path, old, new):
    with (
        Retriever.open(path, model=old) as reader,
        Retriever.open(path, auto_refresh=True, trust_model=True) as other,
    ):
        before, _ = reader.search("quick fox"), other.search("quick fox")
        Retriever.reindex(path, new).close()
        assert reader.search("quick fox") == before
        with Retriever.open(path, trust_model=True) as fresh:
            now = fresh.search("quick fox")
        assert [hit.score for hit in now] != [hit.score for hit in before]
        assert other.search("quick fox") == now
        assert reader.refresh()
        with pytest.raises(ModelMismatchError, match="reindex"):
            reader.search("quick fox")  # which was given the old model


def test_who_would_write_the_old_models_vectors_is_told(path, old, new):
    with Retriever.open(path, model=old) as writer:
        _ = writer.encoder
        Retriever.reindex(path, new).close()
        with pytest.raises(ModelMismatchError, match="encoded anew"):
            writer.add([{"id": "late", "text": "too late"}])
        with pytest.raises(ModelMismatchError):
            Retriever.index(["x"], path, model=old, if_exists="append")
    with Retriever.open(path) as reader:
        assert "late" not in reader
        reader.store.verify()


def test_others_can_not_write_meanwhile_and_nothing_of_theirs_is_lost(path, old, new):
    with Retriever.open(path, model=old) as other:
        refused = []

        def add(progress):
            if progress.phase == "index" and not refused:
                try:
                    other.add([{"id": "late", "text": "a late one"}], timeout=0.1)
                except IndexLockedError as error:
                    refused.append(error)

        Retriever.reindex(path, new, on_progress=add, batch_size=1).close()
        assert len(refused) == 1
    with WriterLock(Path(path) / "lock", 1), pytest.raises(IndexLockedError):
        Retriever.open(path, model=new).add(["x"], timeout=0.1)


def test_what_came_between_the_opening_and_the_lock_is_encoded_too(path, old, new, monkeypatch):
    import lfm2_retrieval.retriever.reindexing as module

    real = module.encode_anew

    def late(*args, **kwargs):
        with Retriever.open(path, model=old) as other:
            other.add([{"id": "late", "text": "a late one"}])
        real(*args, **kwargs)

    monkeypatch.setattr(module, "encode_anew", late)
    with Retriever.reindex(path, new) as retriever:
        assert "late" in retriever
        assert "late" in [hit.id for hit in retriever.search("late one", 10)]


def test_vectors_without_text_are_refused_before_any_work(path, new):
    with Index.open(path) as index:
        vectors = TokenEmbeddings(np.ones((2, index.dim), np.float32), np.array([0, 2]))
        index.add(["bare"], vectors)
    calls = []
    with pytest.raises(InvalidInputError, match="'bare' has vectors and no text"):
        Retriever.reindex(path, new, on_progress=calls.append)
    assert calls == []


def test_compressed_documents_are_compressed_again(old, new, tmp_path):
    path = tmp_path / "large"
    texts = [f"{i} the fox and the rain of hill {i % 7}" for i in range(600)]
    with Retriever.index(texts, path, model=old) as made:
        made.store.build(force=True)
        assert made.store.codec_facts
        made.store.tune()
    with Retriever.reindex(path, new, memory="64MiB") as again:
        assert again.ids() == [str(i) for i in range(600)]
        assert "tuned" not in again.store.settings
        again.store.verify()
        again.merge()
        again.store.build(force=True)
        assert again.store.codec_facts["n_tokens"] <= again.store.n_tokens


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever a shell had it ignore
from lfm2_retrieval import Retriever
def slow(progress):
    print(progress.documents, flush=True)
    time.sleep(60)
Retriever.reindex(sys.argv[1], sys.argv[2], batch_size=1, on_progress=slow)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_half_way_it_leaves_the_old_one(path, old, checkpoint, how):
    with Retriever.open(path, model=old) as reader:
        before = stored(reader), reader.search("quick fox")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(checkpoint(hidden=64))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().strip() == "1"
    time.sleep(0.1)
    os.kill(process.pid, how)
    process.communicate(timeout=60)
    with Retriever.open(path, model=old) as reader:
        assert (stored(reader), reader.search("quick fox")) == before
        reader.store.verify()
        reader.add([{"id": "after", "text": "after it"}])
        assert "after" in reader


def test_on_the_command_line(path, old, new):
    from click.testing import CliRunner

    from lfm2_retrieval.cli import main

    run = CliRunner().invoke(main, ["search", str(path), "fox", "--model", str(new.folder)])
    assert run.exit_code == 1
    assert f"lfm2-retrieve reindex {path}" in run.stderr
    assert "--model names" in run.stderr
    assert "Retriever" not in run.stderr
    run = CliRunner().invoke(main, ["reindex", str(path), "--model", str(new.folder), "--dtype", "float32"])
    assert run.exit_code == 0, run.output
    assert "Encoded 4 documents anew" in run.stdout
    assert "more on disk" in run.stderr
    run = CliRunner().invoke(main, ["reindex", str(path), "--trust-model", "--json"])
    assert json.loads(run.stdout)["model_fingerprint"] == new.fingerprint
    assert json.loads(run.stdout)["documents"] == 4

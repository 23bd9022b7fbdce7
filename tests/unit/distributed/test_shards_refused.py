"""Shards that don't belong together, are missing or damaged: an error that names the shard and what to do."""

from __future__ import annotations

import json
import shutil

import pytest

from lfm2_retrieval import Index, Retriever
from lfm2_retrieval.distributed import MANIFEST, Manifest, ShardedRetriever, build, is_manifest
from lfm2_retrieval.distributed.manifest import _checksum
from lfm2_retrieval.errors import (
    DamagedIndexError,
    DuplicateIdError,
    IndexClosedError,
    IndexExistsError,
    IndexFormatError,
    IndexNotFoundError,
    InvalidInputError,
    NewerFormatError,
    ShardMismatchError,
)


@pytest.fixture
def folder(collections, tmp_path):
    shutil.copytree(collections[2], tmp_path / "collection")
    return tmp_path / "collection"


def rewrite(folder, signed=True, **changes):
    """Change a manifest by hand, with its checksum or without."""
    values = json.loads((folder / MANIFEST).read_bytes()) | changes
    if signed:
        values["checksum"] = _checksum(values)
    (folder / MANIFEST).write_text(json.dumps(values))


def test_a_collection_is_named_by_folder_or_manifest(folder, nano):
    assert is_manifest(folder)
    assert is_manifest(folder / MANIFEST)
    assert not is_manifest(folder / "shard-00000")
    assert Manifest.read(folder) == Manifest.read(folder / MANIFEST)
    with ShardedRetriever.open(folder / MANIFEST, model=nano) as opened:
        assert opened.search("bread")
        assert repr(opened) == f"ShardedRetriever({str(folder)!r}, 320 documents)"
        assert "320" in opened._repr_html_()
    with pytest.raises(IndexClosedError, match="open it again"):
        opened.search("bread")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"version": 9, "written_by": "9.0"}, NewerFormatError, "lfm2-retrieval 9.0.*pip install -U"),
        ({"routing": "crc32"}, NewerFormatError, "'crc32'"),
        ({"kind": "else"}, IndexFormatError, "no manifest"),
        ({"shards": []}, DamagedIndexError, "shards"),
        (
            {"shards": [{"path": "../x", "uuid": "", "commit": 1, "documents": 1}]},
            DamagedIndexError,
            "leads out",
        ),
        (
            {"shards": [{"path": "/etc", "uuid": "", "commit": 1, "documents": 1}]},
            DamagedIndexError,
            "leads out",
        ),
        ({"encoder": 7}, DamagedIndexError, "can't be"),
    ],
)
def test_a_manifest_that_is_newer_or_made_to_do_harm_is_refused(folder, changes, error, says):
    rewrite(folder, **changes)
    with pytest.raises(error, match=says):
        ShardedRetriever.open(folder)


def test_a_damaged_manifest_is_told_from_none(folder, tmp_path):
    rewrite(folder, signed=False, tier="compact")
    with pytest.raises(DamagedIndexError, match="checksum"):
        ShardedRetriever.open(folder)
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:300])
    with pytest.raises(DamagedIndexError, match="cut off"):
        ShardedRetriever.open(folder)
    with pytest.raises(IndexNotFoundError, match="manifest of a collection"):
        ShardedRetriever.open(tmp_path)


def test_a_missing_or_damaged_shard_is_named(folder, nano):
    (folder / "shard-00001").rename(folder / "away")
    with pytest.raises(IndexNotFoundError, match=r"shard 1 is missing.*shard-00001.*backup"):
        ShardedRetriever.open(folder)
    with ShardedRetriever.open(folder, model=nano, allow_partial=True) as opened:
        assert opened.missing_shards == ("shard-00001",)
        hits = opened.search("bread and butter")
        assert hits.missing_shards == ("shard-00001",)
        assert len(hits) == 10
        assert opened.search("bread", mode="lexical", where="year > 1995").missing_shards == ("shard-00001",)
        assert 0 < opened.count() < 320
    (folder / "away").rename(folder / "shard-00001")
    (folder / "shard-00001" / "index.db").write_bytes(b"nothing" * 900)
    with pytest.raises(IndexFormatError, match=r"shard 1 .*shard-00001"):
        ShardedRetriever.open(folder)


def test_exchanged_old_and_strange_shards_are_refused(folder, nano, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(folder / "shard-00001", kept)
    shutil.rmtree(folder / "shard-00001")
    shutil.copytree(folder / "shard-00000", folder / "shard-00001")
    with pytest.raises(ShardMismatchError, match=r"shard 1 .*another index than the manifest names"):
        ShardedRetriever.open(folder)
    shutil.rmtree(folder / "shard-00001")
    shutil.copytree(kept, folder / "shard-00001")
    entries = json.loads((folder / MANIFEST).read_bytes())["shards"]
    entries[1]["commit"] += 5
    rewrite(folder, shards=entries)
    with pytest.raises(ShardMismatchError, match=r"shard 1 .*old copy.*newer backup"):
        ShardedRetriever.open(folder)
    entries[1]["commit"] -= 5
    rewrite(folder, shards=entries)
    with Index.open(folder / "shard-00001") as index, index.writer() as writer:
        writer.set({"encoder": {**index.settings["encoder"], "fingerprint": "0" * 16}})
    with pytest.raises(ShardMismatchError, match=r"shard 1 .*another model.*fingerprint.*reindex"):
        ShardedRetriever.open(folder)


def test_a_shard_with_a_codec_of_its_own_is_refused(folder, nano):
    rewrite(folder, codec="0" * 32)
    with pytest.raises(ShardMismatchError, match=r"shard 0 .*codec of its own.*reshard"):
        ShardedRetriever.open(folder)


def test_bad_calls_of_a_build_are_refused_before_any_work(folder, tmp_path, nano):
    rows = [{"id": "a", "text": "x"}]
    with pytest.raises(IndexExistsError, match="already holds a collection"):
        build(rows, folder, shards=2, model=nano, workers=0)
    with pytest.raises(IndexExistsError, match="no collection"):
        build(rows, folder / "shard-00000", shards=2, model=nano, workers=0)
    with Retriever.index(rows, tmp_path / "index", model=nano), pytest.raises(IndexExistsError):
        build(rows, tmp_path / "index", shards=2, model=nano, workers=0)
    new = tmp_path / "new"
    for bad in (
        {"shards": 0},
        {"shards": True},
        {"workers": -1},
        {"tier": "tiny"},
        {"memory": "1MB"},
        {"threads": 0},
    ):
        with pytest.raises(InvalidInputError):
            build(rows, new, **{"shards": 2, "workers": 0, "model": nano, **bad})
    with pytest.raises(InvalidInputError, match="no documents"):
        build([], new, shards=2, model=nano, workers=0)
    with pytest.raises(InvalidInputError, match=r"there is no .*nowhere\.jsonl"):
        build(tmp_path / "nowhere.jsonl", new, shards=2, model=nano, workers=0)
    with pytest.raises(DuplicateIdError, match="comes twice"):
        build([*rows, *rows], new, shards=2, model=nano, workers=0)
    with pytest.raises(InvalidInputError, match="address="):
        ShardedRetriever.open(folder, replicas=2)


def test_clocks_decide_nothing(folder, nano, monkeypatch):
    import time

    monkeypatch.setattr(time, "time", lambda: 0.0)
    with ShardedRetriever.open(folder, model=nano) as opened:
        opened.add([{"id": "late", "text": "a storm of bread"}])
        monkeypatch.setattr(time, "time", lambda: 4e9)
        opened.update([{"id": "late", "text": "a storm of snow"}])
        assert opened.get("late").text == "a storm of snow"
        assert opened.refresh() is False

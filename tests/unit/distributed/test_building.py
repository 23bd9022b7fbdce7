"""Builds that are interrupted, repeated or fed from elsewhere make the same shards as one that isn't."""

from __future__ import annotations

import json
import shutil

import pytest
from distributed_support import documents

from lfm2_retrieval import Index
from lfm2_retrieval.distributed import MANIFEST, ShardedRetriever, build, building, sources
from lfm2_retrieval.distributed.stages import Worker
from lfm2_retrieval.errors import (
    DuplicateIdError,
    IndexLockedError,
    InvalidInputError,
    StoredIndexError,
)

N = 120


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(sources, "PART_DOCUMENTS", 30)
    monkeypatch.setattr(building, "_APPENDED_TOKENS", 500)


def contents(folder):
    """All that a collection holds: ids in the order of the shards, and vectors."""
    found = []
    for path in sorted(folder.glob("shard-*")):
        with Index.open(path) as index:
            ids = index.ids()
            found.append((ids, index.embeddings(ids).embeddings.tobytes()))
    return found


@pytest.fixture(scope="module")
def uninterrupted(nano, tmp_path_factory):
    folder = tmp_path_factory.mktemp("build") / "collection"
    build(documents(N), folder, shards=3, model=nano, workers=0, tier="exact")
    return contents(folder)


@pytest.mark.parametrize(
    ("step", "after"), [("encode", 0), ("encode", 2), ("append", 1), ("train", 0), ("compress", 1)]
)
def test_a_build_goes_on_wherever_it_was_interrupted(nano, tmp_path, monkeypatch, uninterrupted, step, after):
    calls = {"encode": 0, "append": 0, "train": 0, "compress": 0}
    method = getattr(Worker, step)

    def interrupted(self, *args):
        calls[step] += 1
        done = method(self, *args)
        if calls[step] == after + 1:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Worker, step, interrupted)
    shown = []
    for attempt in range(2):
        try:
            build(
                documents(N),
                tmp_path / "new",
                shards=3,
                model=nano,
                workers=0,
                tier="exact",
                on_progress=shown.append,
            )
        except KeyboardInterrupt:
            assert attempt == 0
            assert not (tmp_path / "new" / MANIFEST).exists()
        else:
            break
    assert contents(tmp_path / "new") == uninterrupted
    assert not (tmp_path / "new" / "building").exists()
    assert shown[-1].documents == N
    assert attempt == 1
    assert calls["encode"] <= 5


def test_a_source_that_changed_is_refused(nano, tmp_path, monkeypatch):
    def stop(self, *args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            build(documents(N), tmp_path / "new", shards=2, model=nano, workers=0)
    with pytest.raises(StoredIndexError, match=r"source has changed.*part 0"):
        build(documents(N, seed=5), tmp_path / "new", shards=2, model=nano, workers=0)
    with pytest.raises(InvalidInputError, match="begun with tier 'balanced'"):
        build(documents(N), tmp_path / "new", shards=2, model=nano, workers=0, tier="exact")
    manifest = build(documents(N), tmp_path / "new", shards=2, model=nano, workers=0)
    assert sum(entry.documents for entry in manifest.shards) == N


def test_two_builds_of_one_folder_exclude_each_other(nano, tmp_path):
    rows = iter(documents(N))

    def meanwhile():
        yield from (next(rows) for _ in range(50))
        with pytest.raises(IndexLockedError):
            build(documents(N), tmp_path / "new", shards=2, model=nano, workers=0)
        yield from rows

    build(meanwhile(), tmp_path / "new", shards=2, model=nano, workers=0)


def test_an_id_that_comes_twice_is_named_and_can_be_put_right(nano, tmp_path):
    rows = documents(N)
    with pytest.raises(DuplicateIdError, match=r"'d3'.*unique"):
        build([*rows, {"id": "d3", "text": "again"}], tmp_path / "new", shards=2, model=nano, workers=0)
    build(rows, tmp_path / "new", shards=2, model=nano, workers=0)
    with ShardedRetriever.open(tmp_path / "new", model=nano) as opened:
        assert opened.count() == N


def test_files_and_urls_make_the_same_shards_as_their_rows(nano, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra ray is not installed")
    import pyarrow
    from pyarrow import parquet

    rows = documents(50)
    (tmp_path / "rows").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows" / "a.parquet")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = []
    for source in (rows, (tmp_path / "rows").as_uri(), (tmp_path / "rows.jsonl").as_uri(), iter(rows)):
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        build(source, tmp_path / "new", shards=2, model=nano, workers=0)
        made.append(contents(tmp_path / "new"))
    assert made[1:] == made[:1] * 3
    with pytest.raises(InvalidInputError, match="no Parquet or JSON Lines"):
        build((tmp_path / "new").as_uri(), tmp_path / "x", shards=2, model=nano, workers=0)
    build(tmp_path / "rows.jsonl", tmp_path / "files", shards=2, model=nano, workers=0)
    with ShardedRetriever.open(tmp_path / "files", model=nano) as opened:
        assert opened.count() == 50
        assert opened.passages is not None


def test_a_damaged_part_is_encoded_anew_when_the_build_is_repeated(
    nano, tmp_path, monkeypatch, uninterrupted
):
    append = Worker.append

    def damaged(self, shard, first, paths):
        for path in (tmp_path / "new" / "building" / "parts").iterdir():
            (path / "vectors.npy").write_bytes((path / "vectors.npy").read_bytes()[:-9])
        return append(self, shard, first, paths)

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "append", damaged)
        with pytest.raises(StoredIndexError, match="build again"):
            build(documents(N), tmp_path / "new", shards=3, model=nano, workers=0, tier="exact")
    build(documents(N), tmp_path / "new", shards=3, model=nano, workers=0, tier="exact")
    assert contents(tmp_path / "new") == uninterrupted

"""Documents come, change and go; readers keep what they see."""

import gc
import threading
import warnings

import numpy as np
import pytest
from support import DIM, embeddings, naive_search, pairs, start

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.errors import (
    DuplicateIdError,
    IndexClosedError,
    IndexFormatError,
    IndexLockedError,
    InvalidInputError,
    StoredIndexError,
    TransactionError,
    UnknownIdError,
)
from lfm2_retrieval.indexes.catalogue import schema
from lfm2_retrieval.indexes.compaction import policy


@pytest.fixture(params=["exact", "balanced"])
def index(tmp_path, request):
    with Index.create(tmp_path / "index", DIM, tier=request.param) as index:
        yield index


def folders(index):
    return sorted(path.name for path in (index.path / "segments").iterdir())


def expect(index, documents, query=None):
    """``documents``: id → vectors, in order."""
    assert index.ids() == [entry.id for entry in index] == list(documents)
    assert len(index) == index.count() == len(documents)
    query = embeddings([3], seed=9) if query is None else query
    assert pairs(index.search(query, 100)[0]) == naive_search(query[0], list(documents.items()), 100)
    index.verify()


def test_add_error_skip_and_replace(index):
    old, new = embeddings([2, 3, 4]), embeddings([5, 6, 1], seed=1)
    assert index.add(list("abc"), old, ["A", "B", "C"], [{"n": 1}] * 3) == 3
    with pytest.raises(DuplicateIdError, match="'b'"):
        index.add(list("bde"), new)
    assert index.ids() == list("abc")
    assert index.add(list("bde"), new, ["x", "D", "E"], on_conflict="skip") == 2
    assert index.get("b").text == "B"
    expect(index, dict(zip("abcde", [*old, new[1], new[2]], strict=True)))
    assert index.add(list("bf"), new.select([0, 1]), ["B2", "F"], on_conflict="replace") == 2
    assert (index.get("b").text, index.get("b").metadata, index.get("b").n_tokens) == ("B2", {}, 5)
    expect(index, dict(zip("abcdef", [old[0], new[0], old[2], new[1], new[2], new[1]], strict=True)))
    assert index.add([], embeddings([]), on_conflict="replace") == 0
    with pytest.raises(InvalidInputError, match="on_conflict"):
        index.add(["z"], old.select([0]), on_conflict="update")
    with pytest.raises(DuplicateIdError):
        index.add(["z", "z"], old.select([0, 1]), on_conflict="replace")


def test_update_keeps_what_is_not_given_and_the_order(index):
    old, new = embeddings([2, 3, 4]), embeddings([7], seed=1)
    index.add(list("abc"), old, ["A", "B", "C"], [{"n": i} for i in range(3)])
    before = folders(index)
    assert index.update(["b", "a"], metadata=[{"n": 9}, {}]) == 2
    assert folders(index) == before
    assert [(entry.text, entry.metadata) for entry in index] == [("A", {}), ("B", {"n": 9}), ("C", {"n": 2})]
    assert index.update(["a"], texts=["A2"]) == 1
    assert (index.get("a").text, index.get("a").metadata) == ("A2", {})
    expect(index, dict(zip("abc", old, strict=True)))
    assert index.update(["b"], new) == 1
    assert (index.get("b").text, index.get("b").metadata, index.get("b").n_tokens) == ("B", {"n": 9}, 7)
    assert index.update(["a"], texts=[None]) == 1
    assert index.get("a").text is None
    expect(index, dict(zip("abc", [old[0], new[0], old[2]], strict=True)))
    for ids, error in ((["a", "z"], UnknownIdError), (["a", "a"], DuplicateIdError)):
        with pytest.raises(error):
            index.update(ids, metadata=[{"n": 7}] * 2)
    assert index.get("a").metadata == {}
    assert index.update([]) == 0


def test_delete_by_id_and_by_filter(index):
    documents = dict(zip("abcdef", embeddings([2, 3, 0, 4, 1, 2]), strict=True))
    index.add(list("abcdef"), embeddings([2, 3, 0, 4, 1, 2]), metadata=[{"n": i} for i in range(6)])
    with pytest.raises(UnknownIdError, match=r"'z'.*missing_ok"):
        index.delete(["a", "z"])
    assert isinstance(UnknownIdError(), LookupError)
    expect(index, documents)
    assert index.delete(["a", "z", "a"], missing_ok=True) == 1
    assert index.delete("b") == 1
    assert index.delete(where={"n": {"$gte": 4}}) == 2
    assert index.delete(where={"n": 77}) == 0
    assert index.delete([]) == 0
    expect(index, {id: documents[id] for id in "cd"})
    for wrong in ({}, {"ids": ["c"], "where": {}}, {"ids": [3]}, {"where": {"$x": 1}}):
        with pytest.raises(InvalidInputError):
            index.delete(**wrong)
    index.add(["a"], embeddings([1], seed=3))
    assert index.ids() == list("cda")  # a new life, at the end
    assert index.delete(all=True) == 3
    expect(index, {})
    assert index.search(embeddings([2])) == [[]]


def test_a_transaction_is_one_commit_or_none(index):
    vectors = embeddings([2, 3, 4, 5])
    index.add(list("ab"), vectors.select([0, 1]))
    with Index.open(index.path) as reader:
        with index.transaction():
            index.delete("a")
            index.add(["a", "c"], vectors.select([2, 3]), ["again", None])
            index.update(["c"], vectors.select([0]))
            index.update(["c"], vectors.select([1]))
            index.update(["a"], metadata=[{"n": 1}])
            index.add(["d"], vectors.select([0]))
            assert index.delete("d") == 1
            assert index.in_transaction
            assert (index.ids(), index.get("a").text) == (["a", "b"], None)  # what was committed
            with pytest.raises(TransactionError), index.transaction():
                pass
            for refused in (index.merge, getattr(index, "build", index.merge)):
                with pytest.raises(TransactionError):
                    refused()
            with pytest.raises(DuplicateIdError):
                index.add(["e", "b"], vectors.select([0, 1]))  # refused as a whole; the rest goes on
        expect(index, {"b": vectors[1], "a": vectors[2], "c": vectors[1]})
        assert index.get("a").metadata == {"n": 1}
        expect(reader, {"a": vectors[0], "b": vectors[1]})
        with pytest.raises(RuntimeError, match="no"), index.transaction():  # noqa: PT012
            index.add(["e"], vectors.select([0]))
            index.delete("b")
            raise RuntimeError("no")
        expect(index, {"b": vectors[1], "a": vectors[2], "c": vectors[1]})
        reader.refresh()
        expect(reader, {"b": vectors[1], "a": vectors[2], "c": vectors[1]})


def test_a_transaction_belongs_to_its_thread(index):
    with index.transaction():
        index.add(["a"], embeddings([1]))
        errors = []

        def other():
            try:
                index.add(["b"], embeddings([1]), timeout=0)
            except IndexLockedError as error:
                errors.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(errors) == 1
    assert index.ids() == ["a"]


def test_a_failed_transaction_commits_nothing(index, monkeypatch):
    def broken(*arguments):
        raise OSError(5, "Input/output error")

    with pytest.raises(IndexClosedError), index.transaction():  # noqa: PT012
        index.add(["a"], embeddings([1]))
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Input"):  # noqa: PT012
            patch.setattr("lfm2_retrieval.indexes.segments.fp16.SegmentBuilder.append", broken)
            index.add(["b"], embeddings([1]))
    assert index.ids() == []
    assert not index.in_transaction


def test_a_reader_keeps_its_snapshot_until_refresh(index):
    documents = embeddings([3] * 40)
    ids = [f"{i:02d}" for i in range(40)]
    index.add(ids, documents, ids, [{"n": i} for i in range(40)])
    held = dict(zip(ids, documents, strict=True))
    with Index.open(index.path) as reader, Index.open(index.path, auto_refresh=True) as eager:
        stream = iter(reader)
        assert next(stream).id == "00"
        index.delete(ids[:30])
        index.update(["35"], metadata=[{"n": -1}])
        index.add(["31", "new"], embeddings([2, 2], seed=5), on_conflict="replace")
        index.merge()
        index.merge()
        gc.collect()
        expect(reader, held)
        assert [entry.text for entry in reader.get_many(["00", "31", "new"])[:2]] == ["00", "31"]
        assert (reader.get("35").metadata, reader.get("new")) == ({"n": 35}, None)
        assert (reader.count({"n": {"$lt": 30}}), "00" in reader, "new" in reader) == (30, True, False)
        assert np.array_equal(reader.embeddings(["00"])[0], documents[0].astype(np.float16))
        assert len(reader.search(embeddings([2]), 99, where={"n": {"$lt": 5}})[0]) == 5
        assert eager.ids() == index.ids() == [*ids[30:], "new"]
        assert len(folders(index)) > 1
        assert reader.refresh()
        assert not reader.refresh()
        assert reader.ids() == index.ids()
        assert [entry.id for entry in stream] == ids[1:]  # of one commit to its end
        del stream
        index.merge()
        assert len(folders(index)) == 1


def test_snapshots_in_other_processes_are_kept_and_those_of_dead_ones_swept(index):
    index.add(["old"], embeddings([3]), ["text"])
    first, killed = start(READER, index.path), start(READER, index.path)
    assert first.stdout.readline() == killed.stdout.readline() == "ready\n"
    killed.kill()
    killed.wait()
    index.delete("old")
    index.add(["new"], embeddings([3]))
    index.merge()
    assert len(folders(index)) == 2
    for _ in range(2):
        first.stdin.write("\n")
        first.stdin.flush()
        assert first.stdout.readline() == "['old'] text\n"
    first.stdin.write("refresh\n")
    first.stdin.flush()
    assert first.stdout.readline() == "['new'] None\n"
    index.merge()
    assert len(folders(index)) == 1
    assert len(list((index.path / "readers").iterdir())) == 2  # of this process and the other
    first.communicate("", timeout=30)
    index.add(["newer"], embeddings([3]))
    index.verify()


READER = """
import sys
from lfm2_retrieval.indexes import Index
from support import embeddings
with Index.open(sys.argv[1]) as index:
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip():
            index.refresh()
        hits = index.search(embeddings([2]))[0]
        old = index.get("old")
        print([hit.id for hit in hits], old and old.text, flush=True)
"""


def test_a_forked_child_keeps_the_snapshot_that_it_has(index):
    import multiprocessing

    index.add(["old"], embeddings([2]))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def child():
        there.recv()
        there.send([hit.id for hit in index.search(embeddings([1]))[0]])

    process = context.Process(target=child)
    process.start()
    index.delete("old")
    index.add(["new"], embeddings([2]))
    index.merge()
    here.send(None)
    assert here.recv() == ["old"]
    process.join()
    index.merge()
    assert len(folders(index)) == 1


def test_where_no_pin_is_possible_a_swept_snapshot_gives_way(index, monkeypatch):
    index.add(list("ab"), embeddings([2, 2]))

    def refused(folder):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("lfm2_retrieval.indexes.commits.snapshot.Pin", refused)
        reader = Index.open(index.path)
    stream = iter(reader)
    index.delete("a")
    index.merge()
    assert len(folders(index)) == 1
    with pytest.raises(StoredIndexError, match="begin anew"):
        next(stream)
    assert [hit.id for hit in reader.search(embeddings([2]))[0]] == ["b"]
    assert reader.ids() == ["b"]
    reader.close()


def test_small_commits_leave_few_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "SMALLEST_CLASS", 16)
    vectors = embeddings([4] * 100)
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        for i in range(100):
            index.add([str(i)], vectors.select([i]))
            assert len(index._snapshot().parts) <= 7 * 4
        expect(index, {str(i): vectors[i] for i in range(100)})
        index.merge()
        assert len(index._snapshot().parts) == len(folders(index)) == 1
        expect(index, {str(i): vectors[i] for i in range(100)})


def test_what_is_mostly_dead_is_rewritten_and_merge_reclaims_the_rest(index):
    vectors = embeddings([50] * 200)
    ids = [str(i) for i in range(200)]
    index.add(ids, vectors, ["t" * 2000] * 200)
    index.delete(ids[:90])
    assert len(index._snapshot().parts[0].keys) == 200
    index.delete(ids[90:110])
    assert len(index._snapshot().parts[0].keys) == 90
    expect(index, {id: vectors[int(id)] for id in ids[110:]})
    before = sum(index.size_bytes().values())
    index.delete(ids[110:150])
    assert index.merge()
    assert not index.merge()
    assert len(index._snapshot().parts[0].keys) == 50
    assert sum(index.size_bytes().values()) < before * 0.75
    with index._views.catalogue.reading() as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (50,)
        assert connection.execute("SELECT count(*) FROM tombstones").fetchone() == (0,)
    index.delete(ids[150:])
    index.merge()
    assert (index._snapshot().parts, folders(index)) == ((), [])
    expect(index, {})


def test_many_small_deletes_are_few_tombstones(index):
    vectors = embeddings([1] * 100)
    index.add([str(i) for i in range(100)], vectors)
    for i in range(40):
        index.delete(str(i))
    with index._views.catalogue.reading() as connection:
        assert connection.execute("SELECT count(*) FROM tombstones").fetchone()[0] <= 17
    with Index.open(index.path) as again:
        expect(again, {str(i): vectors[i] for i in range(40, 100)})


def test_an_interrupted_merge_loses_nothing(index, monkeypatch):
    vectors = embeddings([3] * 4)
    for i in range(4):
        index.add([str(i)], vectors.select([i]))
    index.delete("1")
    expected = {str(i): vectors[i] for i in (0, 2, 3)}
    for target in (
        "segments.fp16.HalfBuilder.finish",
        "compaction.exchange.Compressor.exchange",
        "compaction.merge.vacuum",
    ):

        def broken(*arguments):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(f"lfm2_retrieval.indexes.{target}", broken)
            with pytest.raises(OSError, match="No space"):
                index.merge()
        expect(index, expected)
        assert not (index.path / "building").exists()
    index.merge()
    expect(index, expected)


def test_a_commit_stands_when_the_merge_after_it_fails(tmp_path, monkeypatch):
    def broken(*arguments):
        raise OSError(28, "No space left on device")

    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        for i in range(7):
            index.add([str(i)], embeddings([1]))
        monkeypatch.setattr("lfm2_retrieval.indexes.compaction.merge._copy_half", broken)
        with pytest.warns(RuntimeWarning, match="is committed, but"):
            index.add(["7"], embeddings([1]))
        monkeypatch.undo()
        assert len(index) == 8
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            index.add(["8"], embeddings([1]))
        assert len(index._snapshot().parts) <= 2
        index.verify()


def test_an_older_format_is_read_as_it_is_and_upgraded_by_steps_by_the_first_to_write(index, monkeypatch):
    index.add(["a"], embeddings([1]))
    index.close()
    made = schema._SCHEMAS[schema.FORMAT]
    monkeypatch.setattr(schema, "FORMAT", 4)
    monkeypatch.setattr(schema, "READABLE", (4,))
    with pytest.raises(IndexFormatError, match="format 2"):
        Index.open(index.path)
    monkeypatch.setattr(schema, "READABLE", (2, 3, 4))
    monkeypatch.setattr(schema, "UPGRADES", {2: "CREATE TABLE a (x)", 3: "CREATE TABLE b (x)"})
    newest = made + "CREATE TABLE a (x); CREATE TABLE b (x);"
    monkeypatch.setattr(schema, "_SCHEMAS", {2: made, 4: newest})
    for number in (2, 4):
        with Index.open(index.path) as again:
            with again._views.catalogue.reading() as connection:
                assert connection.execute("PRAGMA user_version").fetchone() == (number,)
            assert len(again.search(embeddings([1]))[0]) == len(again)
            again.add([f"b{number}"], embeddings([1]))
            with again._views.catalogue.reading() as connection:
                assert connection.execute("SELECT count(*) FROM a, b").fetchone() == (0,)


def test_numbers_for_ids_never_come_back(index):
    assert index.next_number() == 0
    index.add(["x"], embeddings([1]))
    index.delete("x")
    index.merge()
    assert index.next_number() == 1
    with index.transaction():
        index.add(["y"], embeddings([1]))
        assert index.next_number() == 2


def test_recall_does_not_suffer_from_deletes(tmp_path):
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((40, DIM))
    lengths = rng.integers(4, 20, 3000)
    vectors = topics[rng.integers(40, size=lengths.sum())] + 0.4 * rng.standard_normal((lengths.sum(), DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = TokenEmbeddings(vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]))
    queries = documents.select(rng.permutation(3000)[:40])
    with Index.create(tmp_path / "index", DIM) as index:
        index.add([str(i) for i in range(3000)], documents)
        index.build(force=True)
        gone = rng.permutation(3000)[:2700]
        with index.transaction():  # nothing is rewritten inside
            index.delete([str(i) for i in gone])
        snapshot = index._snapshot()
        dead = [part for part in snapshot.parts if len(part.keys) > 2 * part.n_alive]
        for _ in range(2):
            exact = index.search(queries, SearchParams(10, exact=True))
            found = index.search(queries, 10)
            shares = [
                len({hit.id for hit in a} & {hit.id for hit in b}) / 10
                for a, b in zip(exact, found, strict=True)
            ]
            assert np.mean(shares) >= 0.98
            index.merge()
        assert len(dead) <= 1
        assert sum(len(part.keys) for part in index._snapshot().parts) == 300


WRITER = """
import sys, time
from lfm2_retrieval.indexes import Index
from support import embeddings
with Index.open(sys.argv[1]) as index:
    until = time.monotonic() + float(sys.argv[3])
    i = 0
    while time.monotonic() < until:
        # Always both of a pair, and all four vectors: what is torn shows.
        ids = [f"{sys.argv[2]}-{i % 5}-{half}" for half in "ab"]
        index.add(ids, embeddings([2, 2], seed=i), [str(i)] * 2, [{"i": i}] * 2, on_conflict="replace")
        if i % 3 == 0:
            index.delete(ids)
        if i % 11 == 0:
            index.merge()
        i += 1
    print(i)
"""

WATCHER = """
import sys, time
from lfm2_retrieval.indexes import Index
from support import embeddings
query = embeddings([2], seed=77)
with Index.open(sys.argv[1], auto_refresh=sys.argv[3] == "auto") as index:
    until = time.monotonic() + float(sys.argv[2])
    n = 0
    while time.monotonic() < until:
        index.refresh()
        hits = index.search(query, 99)[0]
        by_pair = {}
        for hit in hits:
            by_pair.setdefault(hit.id[:-2], []).append((hit.text, hit.metadata["i"]))
        assert all(len(pair) == 2 and pair[0] == pair[1] for pair in by_pair.values()), by_pair
        if sys.argv[3] != "auto":
            assert sorted(hit.id for hit in hits) == sorted(index.ids())
            assert index.ids() == [entry.id for entry in index]
            assert index.search(query, 99)[0] == hits
        n += 1
    assert n
"""


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.campaign)])
def test_readers_in_processes_see_whole_commits(tmp_path, seconds):
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        readers = [start(WATCHER, index.path, seconds + 1, how) for how in ("auto", "held", "held")]
        writers = [start(WRITER, index.path, name, seconds) for name in "xy"]
        for process in (*readers, *writers):
            _, errors = process.communicate(timeout=seconds + 120)
            assert process.returncode == 0, errors
        index.refresh()
        index.merge()
        index.verify()
        assert len(folders(index)) <= 1
        assert len(list((index.path / "readers").iterdir())) == 1

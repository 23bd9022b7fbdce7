"""Transactions, several writers, killed writers."""

import random
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from support import DIM, embeddings, naive_search, pairs, start

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.errors import (
    DamagedIndexError,
    DuplicateIdError,
    IndexClosedError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidInputError,
    StoredIndexError,
)
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.catalogue import lock
from lfm2_retrieval.indexes.catalogue.lock import WriterLock


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        yield index


def folders(index):
    return sorted(path.name for path in (index.path / "segments").iterdir())


def test_many_adds_make_one_segment_seen_at_the_commit(index):
    documents = embeddings([3] * 50)
    with index.writer() as writer:
        for i in range(25):
            writer.add([f"{i}"], documents.select([i]))
        assert len(index) == 0
        writer.commit()
        writer.commit()
        assert len(index) == 25
        for i in range(25, 50):
            writer.add([f"{i}"], documents.select([i]))
        assert len(index) == 25
    assert len(index) == 50
    assert len(folders(index)) == 2
    query = embeddings([4], seed=1)
    expected = naive_search(query[0], [(str(i), documents[i]) for i in range(50)], 10)
    assert pairs(index.search(query)[0]) == expected
    index.verify()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_drops_what_is_not_committed_and_no_more(index, error):
    with pytest.raises(error), index.writer() as writer:  # noqa: PT012
        writer.add(["a"], embeddings([1]))
        writer.commit()
        writer.add(["b"], embeddings([1]))
        raise error
    assert index.ids() == ["a"]
    assert len(folders(index)) == 1
    index.add(["b"], embeddings([1]))
    index.verify()


def test_a_refused_add_leaves_the_rest_of_the_transaction(index):
    with index.writer() as writer:
        writer.add(["a"], embeddings([1]))
        with pytest.raises(DuplicateIdError, match="'a'"):
            writer.add(["b", "a"], embeddings([1, 1]))
        with pytest.raises(InvalidInputError):
            writer.add(["b"], embeddings([1], dim=3))
        writer.add(["b"], embeddings([2]))
    assert index.ids() == ["a", "b"]
    index.verify()


def test_metadata_that_not_every_sqlite_reads_is_refused(index):
    def nested(depth):
        value = 1
        for _ in range(depth - 1):
            value = [value]
        return {"a": value, "brackets in a string": "[{" * 2000 + '\\"['}

    ids = ["deep", "flat"]
    index.add(ids, embeddings([1, 1]), metadata=[nested(500), {"a": [[]] * 1000}])
    assert index.get("deep").metadata == nested(500)
    assert index.count(where={"a": {"$exists": True}}) == 2
    with pytest.raises(InvalidInputError, match="500 deep"):
        index.add(["deeper"], embeddings([1]), metadata=[nested(501)])
    assert index.ids() == ids


def test_an_error_in_writing_fails_the_writer(index, monkeypatch):
    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    with pytest.raises(IndexClosedError), index.writer() as writer:  # not a silent half commit  # noqa: PT012
        writer.add(["a"], embeddings([1]))
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):  # noqa: PT012
            patch.setattr(writer._builder, "append", full_disk)
            writer.add(["b"], embeddings([1]))
    assert index.ids() == []
    assert folders(index) == []
    index.add(["a"], embeddings([1]))


@pytest.mark.parametrize(
    "name", ["segments.arrays.fsync_folder", "segments.arrays.os.fsync", "segments.fp16.SegmentInfo.columns"]
)
def test_an_error_in_the_commit_leaves_the_last_one(index, monkeypatch, name):
    index.add(["a"], embeddings([1]))

    def broken(*arguments):
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"), index.writer() as writer:  # noqa: PT012
        writer.add(["b"], embeddings([1]))
        monkeypatch.setattr(f"lfm2_retrieval.indexes.{name}", broken)
    monkeypatch.undo()
    assert index.ids() == ["a"]
    index.add(["b"], embeddings([1]))
    assert folders(index) == ["00000001", "00000002"]
    index.verify()


@pytest.mark.parametrize("interrupted", [KeyboardInterrupt, OSError])
def test_a_commit_that_is_durable_when_the_error_comes_is_kept(index, interrupted):
    class Connection:
        """Commits, and then an exception strikes."""

        def __init__(self, real):
            self.real = real

        def execute(self, sql, *values):
            result = self.real.execute(sql, *values)
            if sql == "COMMIT":
                raise interrupted
            return result

        def __getattr__(self, name):
            return getattr(self.real, name)

    with pytest.raises(interrupted), index.writer() as writer:  # noqa: PT012
        writer._connection = Connection(writer._connection)
        writer.add(["a"], embeddings([1]))
    assert index.ids() == ["a"]
    index.add(["b"], embeddings([1]))
    index.verify()


def test_a_full_catalogue_is_our_error(index):
    with pytest.raises(StoredIndexError, match=r"index\.db: .*full"), index.writer() as writer:  # noqa: PT012
        writer._connection.execute("PRAGMA max_page_count = 1")
        writer.add(["a"], embeddings([1]), texts=["x" * 1_000_000])
    assert index.ids() == []


def test_deaths_in_known_segments_are_seen_after_the_commit(index):
    index.add(list("abc"), embeddings([2, 2, 2]))
    index.add(list("de"), embeddings([2, 2]))
    assert len(index) == 5
    with index.writer() as writer:
        assert writer.delete("b") == 1
        assert len(index) == 5
    assert len(index) == 4
    assert index.n_tokens == 8
    assert sorted(hit.id for hit in index.search(embeddings([3]))[0]) == list("acde")
    index.add(["b"], embeddings([1]))
    assert index.ids() == list("acdeb")
    index.verify()


def test_a_writer_works_only_inside_its_with_statement(index):
    writer = index.writer()
    with pytest.raises(IndexClosedError):
        writer.add(["a"], embeddings([1]))
    with writer:
        pass
    with pytest.raises(IndexClosedError):
        writer.commit()


def test_a_second_writer_waits_or_is_told_who_holds_the_lock(index):
    with index.writer() as writer:
        with pytest.raises(IndexLockedError, match="this process"):
            index.add(["b"], embeddings([1]), timeout=0)
        thread = threading.Thread(target=index.add, args=(["b"], embeddings([1])))
        thread.start()
        time.sleep(0.1)
        writer.add(["a"], embeddings([1]))
    thread.join()
    assert index.ids() == ["a", "b"]


HOLD = """
import sys
from lfm2_retrieval.indexes import Index
with Index.open(sys.argv[1]) as index, index.writer():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_the_other_process_and_dies_with_it(index):
    process = start(HOLD, index.path)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(IndexLockedError, match=f"process {process.pid}\\b"):
        index.add(["a"], embeddings([1]), timeout=0.1)
    process.kill()
    process.communicate()
    index.add(["a"], embeddings([1]), timeout=5)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with pytest.raises(StoredIndexError, match="no locks"), WriterLock(tmp_path / "lock", 0):
        pass


def test_a_link_in_the_place_of_the_lock_is_refused(index):
    (index.path / "lock").unlink(missing_ok=True)
    victim = index.path.parent / "victim"
    victim.write_text("precious")
    (index.path / "lock").symlink_to(victim)
    with pytest.raises(StoredIndexError, match="lock"):
        index.add(["a"], embeddings([1]))
    assert victim.read_text() == "precious"


def test_orphans_are_swept_and_foreign_files_left_alone(index):
    segments = index.path / "segments"
    (segments / "00000007").mkdir(parents=True)
    (segments / "00000009.tmp").mkdir()
    (segments / "00000009.tmp" / "vectors.npy").write_bytes(b"x")
    (segments / "notes").mkdir()
    elsewhere = index.path.parent / "elsewhere"
    elsewhere.mkdir()
    (segments / "00000008").symlink_to(elsewhere)
    index.add(["a"], embeddings([1]))
    assert folders(index) == ["00000001", "00000008", "notes"]
    assert elsewhere.is_dir()


def test_a_link_in_the_place_of_segments_is_not_written_through(index, tmp_path):
    (tmp_path / "elsewhere" / "00000001").mkdir(parents=True)
    (index.path / "segments").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedIndexError, match="segments"):
        index.add(["a"], embeddings([1]))
    assert (tmp_path / "elsewhere" / "00000001").is_dir()


def test_a_killed_create_can_be_repeated(tmp_path):
    """Killed before any of its system calls that change the folder."""
    for count in range(1, 30):
        process = start(KILLED_CREATE, tmp_path / str(count), count)
        process.communicate()
        try:
            Index.open(tmp_path / str(count)).close()
        except IndexNotFoundError:
            Index.create(tmp_path / str(count), DIM, tier="exact").close()
        with Index.open(tmp_path / str(count)) as index:
            index.add(["a"], embeddings([1]))
        if process.returncode == 0:
            break
    assert process.returncode == 0


KILLED_CREATE = """
import os, signal, sys
left = int(sys.argv[2])
def watch(event, arguments):
    global left
    changes = ("os.mkdir", "os.rename", "sqlite3.connect", "open", "os.remove")
    if event in changes and sys.argv[1] in str(arguments):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from lfm2_retrieval.indexes import Index
sys.addaudithook(watch)
Index.create(sys.argv[1], 16).close()
"""


def test_a_reader_keeps_what_it_reads_from_being_swept(index):
    index.add(["old"], embeddings([3]), ["text"])
    with Index.open(index.path) as reader:
        with index.writer(replace={"dim": DIM}) as writer:
            writer.add(["new"], embeddings([3]))
        with index.writer():
            pass
        assert folders(index) == ["00000001", "00000002"]
        for _ in range(2):
            assert [(hit.id, hit.text) for hit in reader.search(embeddings([2]))[0]] == [("old", "text")]
        assert reader.refresh()
        assert not reader.refresh()
        assert [hit.id for hit in reader.search(embeddings([2]))[0]] == ["new"]
        with index.writer():
            pass
        assert folders(index) == ["00000002"]


def test_threads_search_while_one_adds(index):
    documents, query = embeddings([4] * 300), embeddings([3], seed=1)
    errors, done = [], threading.Event()

    def search():
        try:
            last = 0
            while not done.is_set():
                hits = index.search(query, 300)[0]
                # One commit adds ten documents; a snapshot has whole commits, and never fewer than before.
                assert len(hits) % 10 == 0
                assert len(hits) >= last
                last = len(hits)
                expected = naive_search(query[0], [(str(i), documents[i]) for i in range(last)], 300)
                assert pairs(hits) == expected
                assert index.get("0") is None or index.get("0").n_tokens == 4
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for i in range(0, 300, 10):
        index.add([str(j) for j in range(i, i + 10)], documents.select(np.arange(i, i + 10)))
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(index) == 300


ADD = """
import sys
from support import embeddings
from lfm2_retrieval.indexes import Index
with Index.open(sys.argv[1]) as index:
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(10):
        index.add([f"{sys.argv[2]}-{i}"], embeddings([3], seed=i))
"""


def test_processes_write_in_turn(index):
    processes = [start(ADD, index.path, name) for name in "xyz"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    index.refresh()
    assert sorted(index.ids()) == sorted(f"{name}-{i}" for name in "xyz" for i in range(10))
    index.verify()


CREATE = """
import sys
from lfm2_retrieval.errors import IndexExistsError
from lfm2_retrieval.indexes import Index
print("ready", flush=True)
sys.stdin.readline()
try:
    Index.create(sys.argv[1], 16).close()
    print("made")
except IndexExistsError:
    print("exists")
"""


def test_one_of_two_that_create_wins(tmp_path):
    processes = [start(CREATE, tmp_path / "new") for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(process.communicate()[0] for process in processes) == ["exists\n", "made\n"]


STREAM = """
import sys
from support import embeddings
from lfm2_retrieval.indexes import Index
with Index.open(sys.argv[1]) as index, index.writer() as writer:
    i = len(index)
    print(i, flush=True)
    while True:
        writer.add([f"{j}" for j in range(i, i + 5)], embeddings([40] * 5, seed=i), texts=["t" * 500] * 5)
        i += 5
        if i % 20 == 0:
            writer.commit()
            print(i, flush=True)
"""


def test_a_killed_writer_leaves_its_last_commit(index):
    """Nothing that was reported as committed is lost, and nothing is half there."""
    rng = random.Random(0)
    for _ in range(6):
        before = len(index)
        process = start(STREAM, index.path)
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        reported = [int(line) for line in process.communicate()[0].splitlines() if line]
        index.refresh()
        count = len(index)
        assert count >= max([before, *reported])
        assert count % 20 == 0
        assert index.ids() == [str(i) for i in range(count)]
        index.verify()
        with Index.open(index.path) as again:
            assert again.ids() == index.ids()
    index.add(["last"], embeddings([1]))
    assert folders(index) == sorted(part.segment.info.name for part in index._snapshot().parts)


def test_a_forked_child_can_search(index):
    import multiprocessing

    index.add(["a"], embeddings([2]))
    index.search(embeddings([1]))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=lambda: queue.put(index.search(embeddings([1]))[0][0].id))
    process.start()
    assert queue.get(timeout=30) == "a"
    process.join()
    assert index.search(embeddings([1]))[0][0].id == "a"


def test_a_replaced_folder_is_noticed(index, tmp_path):
    with Index.create(tmp_path / "other", DIM, tier="exact") as other:
        other.add(["b"], TokenEmbeddings(np.ones((1, DIM), np.float32), np.array([0, 1])))
    index._views.catalogue._idle.pop().close()
    shutil.rmtree(index.path)
    shutil.copytree(tmp_path / "other", index.path)
    with pytest.raises(IndexClosedError, match="replaced"):
        index.search(embeddings([1]))

"""Places where an index can't be written, or only so far: an error of ours, and the last commit intact."""

import errno
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from model import check, columns

from lfm2_retrieval.errors import IndexWriteError, RetrievalError, StoredIndexError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.catalogue import lock

STATE = [(f"long{i}", i) for i in range(66)]
NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    with Index.create(tmp_path / "index", 16) as index:
        index.add(*columns(STATE))
    return tmp_path / "index"


def as_nobody(function):
    """What a function returns, or the error it raises, in a child that is an ordinary user."""
    if os.getuid() != 0:
        pytest.skip("becoming an ordinary user needs root")
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = {"found": function()}
        except BaseException as error:  # noqa: BLE001
            answer = {"error": type(error).__name__, "message": str(error)}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = json.loads(stream.read())
    os.waitpid(pid, 0)
    return answer


def reachable(path):
    """Let others pass through the folders above."""
    for parent in path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            with_others = parent.stat().st_mode | 0o055
            if with_others != parent.stat().st_mode:
                parent.chmod(with_others & 0o7777)
        if parent.name.startswith("pytest-of-") or parent.name == "tmp":
            break


def read_all(folder):
    with Index.open(folder) as index:
        return len(check(index, [STATE]))


def write_one(folder):
    with Index.open(folder) as index:
        index.add(*columns([("new", 1)]))


def test_an_ordinary_user_reads_what_only_another_may_write(folder):
    reachable(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert as_nobody(lambda: read_all(folder)) == {"found": len(STATE)}
    answer = as_nobody(lambda: write_one(folder))
    assert answer["error"] in ("StoredIndexError", "IndexWriteError"), answer
    assert str(folder) in answer["message"]
    assert sorted(path.name for path in folder.iterdir()) == before
    with Index.open(folder) as index:
        index.add(*columns([("new", 1)]))


def test_an_ordinary_user_reads_while_the_owner_has_it_open(folder):
    """The journal then holds commits that only its reader can see."""
    reachable(folder)
    with Index.open(folder) as index:
        index.add(*columns([("new", 1)]))
        answer = as_nobody(lambda: Index.open(folder).ids()[-1:])
    assert answer == {"found": ["new"]} or answer["error"] in ("StoredIndexError", "DamagedIndexError")
    if "message" in answer:
        assert "can't be written" in answer["message"] or "read" in answer["message"], answer


def test_an_ordinary_user_is_told_that_nothing_may_be_read(folder):
    reachable(folder)
    folder.chmod(0o700)
    answer = as_nobody(lambda: read_all(folder))
    assert issubclass(getattr(__import__("lfm2_retrieval").errors, answer["error"], int), RetrievalError), (
        answer
    )


@contextmanager
def mounted(folder, *options):
    """A mount that the test takes down again, or a skip."""
    made = subprocess.run(["mount", *options, folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_read_only_media(folder, tmp_path):
    place = tmp_path / "media"
    place.mkdir()
    with mounted(place, "--bind", folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        assert read_all(place) == len(STATE)
        with pytest.raises(StoredIndexError):
            write_one(place)
        with Index.open(place) as index:
            index.verify()
            assert index.get("long3").metadata["version"] == 3
            with pytest.raises(StoredIndexError):
                index.delete(["long3"])
            with pytest.raises(StoredIndexError):
                index.build(force=True)


@pytest.mark.parametrize("room", [60, 150, 300, 600])
def test_a_disk_that_fills_up(folder, tmp_path, room):
    """During adds, a build and a merge: an error, the last commit, and reading goes on."""
    place = tmp_path / "small"
    place.mkdir()
    used = sum(path.stat().st_size // 4096 + 1 for path in folder.rglob("*")) * 4
    with mounted(place, "-t", "tmpfs", "-o", f"size={used + room}k", "tmpfs"):
        shutil.copytree(folder, place / "index")
        state, full = list(STATE), 0
        with Index.open(place / "index") as index:
            for number in range(60):
                new = [(f"long-{number}", number)]
                try:
                    index.add(*columns(new))
                    state += new
                except IndexWriteError:
                    full += 1
                    index.refresh()
                    state += new if new[0][0] in index else []  # what failed may have come after the commit
                for work in (lambda: index.build(force=True), index.merge) if number % 5 == 0 else ():
                    try:
                        work()
                    except IndexWriteError:
                        full += 1
                index.refresh()
                if number % 5 == 0:
                    check(index, [state])
        assert full
        with Index.open(place / "index") as index:
            check(index, [state])


def test_a_moved_index_is_the_same(folder, tmp_path):
    moved = tmp_path / "other" / "name with spaces and ümlauts?#%"
    moved.parent.mkdir()
    folder.rename(moved)
    with Index.open(moved) as index:
        check(index, [STATE])
        index.add(*columns([("new", 1)]))
        check(index, [[*STATE, ("new", 1)]])


def test_an_index_moved_while_it_is_open(folder, tmp_path):
    """Reading goes on or ends in an error of ours; nothing is written to either place."""
    with Index.open(folder) as index:
        folder.rename(tmp_path / "moved")
        try:
            assert len(index.ids()) == len(STATE)
            index.add(*columns([("new", 1)]))
        except (RetrievalError, FileNotFoundError):
            pass
    assert not folder.exists()
    with Index.open(tmp_path / "moved") as index:
        index.verify()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(folder, monkeypatch, number):
    """Network file systems may have none: nothing is written, and the error says so. Reading goes on."""

    def none(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with Index.open(folder) as index:
        check(index, [STATE])
        with pytest.raises(StoredIndexError, match="no locks"):
            index.add(*columns([("new", 1)]))
        with pytest.raises(StoredIndexError, match="no locks"):
            index.build(force=True)

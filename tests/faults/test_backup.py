"""Backups are one commit, whole or not there, whatever is written meanwhile."""

import shutil
import threading

import pytest
from model import check, columns

from lfm2_retrieval.errors import DamagedIndexError, IndexExistsError, IndexWriteError, InvalidInputError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.recovery import staging

STATE = [(f"long{i}", i) for i in range(66)]


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", 16) as made:
        made.add(*columns(STATE))
        made.build(force=True)
        made.add(*columns([("a", 1), ("b", 2)]))
        made.delete(["a"])
        yield made


def test_a_backup_is_the_same_index(index, tmp_path):
    index.backup(tmp_path / "deep" / "copy")
    with Index.open(tmp_path / "deep" / "copy") as copy:
        state = check(copy, [[*STATE, ("b", 2)]])
        copy.add(*columns([("c", 3)]))
        check(copy, [[*state, ("c", 3)]])
    check(index, [state])
    index.backup(tmp_path / "again")
    sources = {path.stat().st_ino for path in index.path.rglob("*.npy")}
    assert sources
    assert not sources & {path.stat().st_ino for path in (tmp_path / "again").rglob("*.npy")}


def test_a_destination_that_holds_something_is_left_alone(index, tmp_path):
    for name, path in (("folder", tmp_path / "folder" / "x"), ("file", tmp_path / "file")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
        with pytest.raises(IndexExistsError, match=name):
            index.backup(tmp_path / name)
        assert path.read_text() == "precious"
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "mine").write_text("precious")
    with pytest.raises(IndexExistsError, match="partial"):
        index.backup(tmp_path / "new")
    assert (tmp_path / "new.partial" / "mine").read_text() == "precious"
    for inside in (index.path, index.path / "copy", index.path / "segments" / "x"):
        with pytest.raises((InvalidInputError, IndexExistsError)):
            index.backup(inside)


def test_what_an_interrupted_backup_left_is_replaced(index, tmp_path):
    index.backup(tmp_path / "copy")
    (tmp_path / "copy" / "index.db").rename(tmp_path / "copy" / "index.db.new")
    (tmp_path / "copy").rename(tmp_path / "copy.partial")
    with pytest.raises(DamagedIndexError):
        Index.open(tmp_path / "copy.partial")
    index.backup(tmp_path / "copy")
    assert not (tmp_path / "copy.partial").exists()
    with Index.open(tmp_path / "copy") as copy:
        check(copy, [[*STATE, ("b", 2)]])


def test_a_damaged_index_has_no_backup(index, tmp_path):
    path = max(index.path.rglob("codes.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedIndexError, match=r"codes\.npy"):
        index.backup(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_a_full_disk_leaves_nothing(index, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging.os, "fsync", full)
    with pytest.raises(IndexWriteError, match="No space"):
        index.backup(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_backups_while_others_write(index, tmp_path):
    """Every one of them is a whole commit, though segments are merged away meanwhile."""
    done, errors = threading.Event(), []

    def write():
        try:
            number = 0
            with Index.open(index.path) as writer:
                while not done.is_set():
                    with writer.transaction():
                        writer.add(*columns([(f"w{number}-{i}", i) for i in range(3)]))
                        if number:
                            writer.delete([f"w{number - 1}-{i}" for i in range(3)])
                    number += 1
                    if number % 4 == 0:
                        writer.merge()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    try:
        for _ in range(8):
            index.backup(tmp_path / "copy")
            with Index.open(tmp_path / "copy") as copy:
                copy.verify()
                new = [id for id in copy.ids() if id.startswith("w")]
                assert len({id.split("-")[0] for id in new}) <= 1
                assert len(new) in (0, 3)
                seen.update(new)
            shutil.rmtree(tmp_path / "copy")
    finally:
        done.set()
        thread.join()
    assert not errors
    assert seen

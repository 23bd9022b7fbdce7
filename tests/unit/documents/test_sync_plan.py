"""What a sync finds to do, without an index: files by content, ids, renames, tables, what can't be read."""

import os
import shutil
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lfm2_retrieval.documents import reach, sync_plan, sync_reading
from lfm2_retrieval.documents.rows import ReadOptions
from lfm2_retrieval.documents.sync_plan import SyncPlan
from lfm2_retrieval.documents.sync_reading import SyncReading
from lfm2_retrieval.documents.sync_tables import SyncTables
from lfm2_retrieval.errors import InvalidInputError

OPTIONS = ReadOptions(text=None)


class Folder:
    """A folder, and a pretended index of what was synced from it."""

    def __init__(self, path):
        self.path = path
        self.held = {}
        self.refused = {}
        path.mkdir()

    def write(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def sync(self, *folders, options=OPTIONS, **keywords):
        """Sync, and say what was done: states, ids deleted, ids renamed, ids put."""
        paths = folders or (self.path,)
        with closing(SyncPlan(paths, options, self.held.items(), self.refused, **keywords)) as plan:
            reading = SyncReading(plan, options)
            states = {name: plan.count(name) for name in ("new", "changed", "renamed", "unchanged")}
            deleted, renamed = list(reading.deletes()), reading.renames()
            facts = reading.renamed_facts()
            for id in deleted:
                del self.held[id]
            moved = {new: {**self.held.pop(old), **facts[new]} for old, new in renamed.items()}
            self.held |= moved
            put = {}
            for document in reading.documents():
                assert document.id not in put
                put[document.id] = document
                self.held[document.id] = {"source": document.source, **document.facts}
            self.refused = reading.refused
            self.report = reading.report
        return {name: n for name, n in states.items() if n}, deleted, renamed, put


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "docs")


def test_new_changed_gone_and_unchanged(folder):
    folder.write("a.md", "one")
    folder.write("sub/b.txt", "two")
    states, _, _, put = folder.sync()
    assert (states, set(put)) == ({"new": 2}, {"a.md", "sub/b.txt"})
    assert folder.sync()[0] == {"unchanged": 2}
    folder.write("a.md", "three")
    (folder.path / "sub/b.txt").unlink()
    folder.write("c.md", "four")
    states, deleted, _, put = folder.sync()
    assert states == {"changed": 1, "new": 1}
    assert (deleted, set(put)) == (["sub/b.txt"], {"a.md", "c.md"})


def test_content_decides_not_dates(folder):
    path = folder.write("a.md", "one")
    folder.sync()
    os.utime(path, (2e9, 2e9))
    assert folder.sync()[0] == {"unchanged": 1}
    path.write_text("two")
    os.utime(path, (2e9, 2e9))
    assert folder.sync()[0] == {"changed": 1}


def test_renamed_files_and_equal_ones(folder):
    for name in ("a.md", "b.md", "x/README.md", "y/README.md"):
        folder.write(name, "the same" if "README" in name else name)
    folder.sync()
    (folder.path / "a.md").rename(folder.path / "sub.md")
    (folder.path / "x").rename(folder.path / "z")
    states, deleted, renamed, _ = folder.sync()
    assert states == {"renamed": 2, "unchanged": 2}
    assert (deleted, renamed) == ([], {"a.md": "sub.md", "x/README.md": "z/README.md"})
    (folder.path / "b.md").rename(folder.path / "b.txt")  # read in another way now
    states, deleted, renamed, put = folder.sync()
    assert (states, deleted, renamed, set(put)) == ({"new": 1, "unchanged": 3}, ["b.md"], {}, {"b.txt"})


def test_tables_give_rows(folder):
    path = folder.write("t.csv", "text,n\none two three four,1\nfive six seven eight,2\n")
    assert set(folder.sync()[3]) == {"t.csv:2", "t.csv:3"}
    path.write_text("text,n\none two three four,1\n")
    states, deleted, _, put = folder.sync()
    assert (states, deleted, set(put)) == ({"changed": 1}, ["t.csv:3"], {"t.csv:2"})
    path.rename(folder.path / "u.csv")
    assert folder.sync()[2] == {"t.csv:2": "u.csv:2"}
    folder.write("u.csv", "text,n\n")
    states, deleted, _, _ = folder.sync()
    assert deleted == ["u.csv:2"]
    assert folder.held == {}


def test_a_table_that_breaks_keeps_what_the_index_has_and_is_not_read_again(folder, monkeypatch):
    folder.write("t.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    folder.sync()
    folder.write("t.jsonl", '{"text": "a"}\n{"text": \n')
    folder.write("b.md", "sound")
    _, deleted, _, put = folder.sync()
    assert (deleted, set(put)) == ([], {"b.md"})
    assert set(folder.held) == {"t.jsonl:1", "t.jsonl:2", "b.md"}
    assert "2: not valid JSON" in str(folder.report.to_dict()["left_out"]["reasons"]["malformed"]["names"])
    monkeypatch.setattr(sync_reading, "Reading", None)  # would be an error
    with closing(SyncPlan([folder.path], OPTIONS, folder.held.items(), folder.refused)) as plan:
        assert (plan.count("unchanged"), list(plan.changes())) == (1, [])
        assert plan.report.missed == 1


def test_ids_of_rows_that_others_have(folder):
    folder.write("a.jsonl", '{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n')
    folder.write("b.jsonl", '{"id": "2", "text": "a"}\n')
    folder.write("c.jsonl", '{"id": "2", "text": "c"}\n')
    folder.held["3"] = {}
    folder.write("d.jsonl", '{"id": "3", "text": "d"}\n')
    assert [put.text for put in folder.sync()[3].values()] == ["a"]
    assert folder.report.missed == 3


def test_two_folders_of_one_name_and_one_by_another_path(folder, tmp_path, monkeypatch):
    folder.write("a.md", "one")
    folder.sync()
    other = tmp_path / "other/docs"
    other.mkdir(parents=True)
    (other / "a.md").write_text("two")
    states, _, _, put = folder.sync(folder.path, other)
    assert (states, set(put)) == ({"unchanged": 1, "new": 1}, {"other/docs/a.md"})
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(other)
    for same in ("docs", "./docs/../docs", str(link)):
        assert folder.sync(same)[0] == {"unchanged": 1}
    folder.write("other/docs/a.md", "three")  # would be called as the other folder's
    assert set(folder.sync()[3]) == {"other/docs/a.md~2"}
    assert folder.sync(folder.path, other)[0] == {"unchanged": 3}


def test_documents_that_were_added_otherwise(folder):
    folder.held = {"free": {}, "elsewhere": {"source": "/nowhere/a.md"}, "b": {"source": "relative.md"}}
    folder.write("free", "a file of that name")
    folder.held["notes/a.md"] = {"source": str(folder.path / "a.md"), "format": "markdown"}
    folder.write("a.md", "indexed before, without a digest")
    states, deleted, _, put = folder.sync()
    assert (states, deleted) == ({"changed": 1, "new": 1}, [])
    assert set(put) == {"notes/a.md", "notes/free"}
    assert set(folder.held) == {"free", "elsewhere", "b", "notes/a.md", "notes/free"}


def test_what_is_left_out_by_now_goes(folder):
    for name in ("a.md", "b.md", "c.md", "d.md"):
        folder.write(name, name)
    folder.sync()
    folder.write(".gitignore", "a.md\n")
    folder.write("b.md", " \n")
    states, deleted, _, _ = folder.sync(options=ReadOptions(text=None, exclude=("c.md",)))
    assert (states, sorted(deleted)) == ({"unchanged": 1}, ["a.md", "b.md", "c.md"])


def test_what_cannot_be_read_keeps_what_the_index_has(folder, monkeypatch):
    for name in ("a.md", "sub/b.md", "big.md", "c.md"):
        folder.write(name, name)
    folder.sync()
    folder.write("a.md", b"\0 binary by now")
    folder.write("big.md", "x" * 100)
    monkeypatch.setattr("lfm2_retrieval.documents.digests.MAX_BYTES", 50 - (1 << 20))
    real = os.listdir
    denied = str(folder.path / "sub")

    def listdir(path):
        if path == denied:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(sync_plan, "is_listable", lambda path: path != denied)
    (folder.path / "c.md").unlink()
    _, deleted, _, put = folder.sync()
    assert (deleted, put) == (["c.md"], {})
    assert set(folder.held) == {"a.md", "sub/b.md", "big.md"}
    assert {"binary", "too long", "unreadable"} <= set(folder.report.to_dict()["left_out"]["reasons"])


def test_a_folder_that_vanished_or_is_empty_deletes_nothing(folder, tmp_path):
    path = folder.write("a.md", "one")
    folder.sync()
    path.unlink()
    with pytest.raises(InvalidInputError, match="mounted"):
        folder.sync()
    assert folder.sync(allow_empty=True)[1] == ["a.md"]
    folder.path.rmdir()
    with pytest.raises(InvalidInputError, match="no such folder"):
        folder.sync()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInputError, match="is no folder"):
        folder.sync(tmp_path / "file")
    with pytest.raises(InvalidInputError, match="at least one"):
        SyncPlan([], OPTIONS, (), {})


def test_a_disk_that_is_not_mounted_any_more_deletes_nothing(folder, monkeypatch):
    disk = str(folder.path / "archive/disk")
    mounted = [disk]
    monkeypatch.setattr(reach, "is_mounted", lambda path: path in mounted)
    monkeypatch.setattr(sync_plan, "is_mounted", lambda path: path in mounted)
    folder.write("a.md", "one")
    for number in range(3):
        folder.write(f"archive/disk/deep/{number}.md", f"text {number}")
    folder.sync()
    assert folder.held["archive/disk/deep/1.md"]["disk"] == disk
    assert "disk" not in folder.held["a.md"]
    shutil.move(folder.path / "archive/disk/deep/0.md", folder.path / "0.md")
    assert folder.sync()[2] == {"archive/disk/deep/0.md": "0.md"}
    assert "disk" not in folder.held["0.md"]

    mounted.clear()
    away = folder.path.parent / "away"
    shutil.move(disk, away)
    for there in (True, False):  # an empty folder is left, or none
        if there:
            Path(disk).mkdir()
        assert folder.sync()[0] == {"unchanged": 2}
        assert "on a disk that isn't mounted" in folder.report.summary()
        shutil.rmtree(Path(disk).parent, ignore_errors=True)
    Path(disk).parent.mkdir()
    shutil.move(away, disk)  # the same files by another way: one of them is really gone now
    (Path(disk) / "deep/1.md").unlink()
    assert folder.sync()[1] == ["archive/disk/deep/1.md"]
    shutil.rmtree(disk)
    assert folder.sync()[1] == []
    assert folder.sync(allow_empty=True)[1] == ["archive/disk/deep/2.md"]


def test_a_real_disk_is_told_from_its_folder(tmp_path):
    (tmp_path / "disk/deep").mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "none", tmp_path / "disk"], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can't be mounted here")
    try:
        (tmp_path / "disk/deep").mkdir()
        disks = reach.Disks(str(tmp_path))
        assert disks.of(str(tmp_path / "disk/deep")) == str(tmp_path / "disk")
        assert disks.of(str(tmp_path)) is None
    finally:
        subprocess.run(["umount", tmp_path / "disk"], check=True)
    assert reach.Disks(str(tmp_path)).of(str(tmp_path / "disk/deep")) is None


def test_most_of_a_folder_is_not_deleted_unasked(folder):
    for number in range(210):
        folder.write(f"{number % 7}/{number:03d}.md", f"text {number}")
    folder.sync()
    for number in range(2, 7):
        shutil.rmtree(folder.path / str(number))
    with pytest.raises(InvalidInputError, match="150 of the 210 documents"):
        folder.sync()
    assert folder.sync(deletes=False)[0] == {"unchanged": 60}  # here they go, as Folder deletes them


def test_moving_everything_deletes_nothing(folder):
    for number in range(120):
        folder.write(f"old/{number:03d}.md", "the same text in all of them")
    folder.sync()
    for path in (folder.path / "old").iterdir():
        path.rename(path.with_name(f"new{path.name}"))
    queries = []
    real = SyncTables.one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncTables, "one", lambda self, *one: queries.append(one) or real(self, *one))
        states, deleted, renamed, _ = folder.sync()
    assert (states, deleted, len(renamed)) == ({"renamed": 120}, [], 120)
    assert len(queries) < 20 * 120  # in proportion to the files, not to their pairs


def test_names_that_are_not_utf8(folder):
    name = os.fsdecode(b"\xff\xfe.md")
    folder.write(name, "one")
    folder.write("\\xff\\xfe.md", "two")
    _, _, _, put = folder.sync()
    assert set(put) == {"\\xff\\xfe.md", "\\xff\\xfe.md~2"}
    assert folder.sync()[0] == {"unchanged": 2}
    (folder.path / name).unlink()
    assert len(folder.sync()[1]) == 1


def test_loops_pipes_and_links(folder, tmp_path):
    folder.write("a.md", "one")
    (tmp_path / "secret.md").write_text("outside")
    (folder.path / "loop").symlink_to(folder.path)
    (folder.path / "self.md").symlink_to("self.md")
    (folder.path / "out.md").symlink_to(tmp_path / "secret.md")
    os.mkfifo(folder.path / "pipe.md")
    assert set(folder.sync()[3]) == {"a.md"}
    (folder.path / "a.md").unlink()
    (folder.path / "a.md").symlink_to(tmp_path / "secret.md")  # must not be followed, nor kept
    folder.write("b.md", "two")
    assert folder.sync()[1] == ["a.md"]


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_time(folder, monkeypatch):
    path = folder.write("a.md", "one")
    real = sync_plan.digest_file
    monkeypatch.setattr(sync_plan, "digest_file", lambda p, f: (real(p, f), Path(p).write_text("two"))[0])
    assert folder.sync()[3] == {}
    assert "changed while it was read" in folder.report.summary()
    assert folder.refused == {}
    monkeypatch.undo()
    assert path.read_text() == "two"
    assert set(folder.sync()[3]) == {"a.md"}


def test_other_options_read_a_table_anew(folder):
    folder.write("t.csv", "one,two\nfirst words of it,second words of it\n")
    for column in ("one", "two"):
        states, _, _, put = folder.sync(options=ReadOptions(text=column))
        assert put["t.csv:2"].text == {"one": "first words of it", "two": "second words of it"}[column]
    assert states == {"changed": 1}


def test_what_a_strange_index_says_is_harmless(folder):
    folder.write("a.md", "one")
    folder.held = {
        "\ud800": {"source": "/\ud800", "root": 7, "name": [], "version": {}},
        "nul": {"source": "/a\0b"},
        "up": {"source": f"{folder.path}/../../etc/passwd", "root": str(folder.path), "name": "up"},
    }
    states, _, _, put = folder.sync()
    assert states == {"new": 1}
    assert len(put) == 1


def test_threads_are_gone_when_reading_is_given_up(folder):
    for number in range(600):
        folder.write(f"{number}.md", str(number))
    before = threading.active_count()
    with closing(SyncPlan([folder.path], OPTIONS, (), {})) as plan:
        documents = SyncReading(plan, OPTIONS).documents()
        next(documents)
        documents.close()
        assert threading.active_count() == before

"""What the system refuses is no damage: an error of its own, with its remedy; and damage stays damage."""

import errno
import os
import re
import resource
import shutil
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.errors import (
    DamagedIndexError,
    IndexAccessError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    IndexWriteError,
    StoredIndexError,
)
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.access import is_damage, of_sqlite, refused_to_write, unreadable
from lfm2_retrieval.indexes.catalogue import connections
from lfm2_retrieval.indexes.catalogue.catalogue import Catalogue
from lfm2_retrieval.indexes.catalogue.location import is_index
from lfm2_retrieval.indexes.recovery.repair import repair

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")

N = 90
REFUSALS = {
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "too many files",
    errno.ENOMEM: "free some memory",
    errno.EACCES: "permissions",
    errno.EPERM: "permissions",
    errno.EIO: "see to the disk",
    errno.ESTALE: "open the index again",
}


def vectors(n=N, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n * 3, 16)).astype(np.float32)
    data /= np.linalg.norm(data, axis=1, keepdims=True)
    return TokenEmbeddings(data, np.arange(0, n * 3 + 1, 3))


def fill(index):
    texts = [f"text number {i}" for i in range(N)]
    index.add([f"d{i}" for i in range(N)], vectors(), texts, [{"n": i} for i in range(N)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "index"
    with Index.create(folder, 16) as index:
        fill(index)
        index.delete(["d3"])
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "index"))


def use(folder, destination):
    """All that reads an index."""
    with Index.open(folder) as index:
        assert len(index.search(vectors(2), 5)[0]) == 5
        assert index.get("d1").text == "text number 1"
        index.verify()
        index.refresh()
        index.backup(destination)
        shutil.rmtree(destination)
        index.add([f"new{len(index)}"], vectors(1))
        index.merge()
    assert not repair(folder, dry_run=True).problems


@contextmanager
def limit_of_files(more):
    """So many more files than are open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(path.name) for path in list(Path("/proc/self/fd").iterdir()) if path.is_symlink()}
    free = [number for number in range(max(used) + more + 2) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[more], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_no_damage(folder, tmp_path):
    use(folder, tmp_path / "copy")  # imports what it needs
    errors = []
    for more in range(40):
        try:
            with limit_of_files(more):
                use(folder, tmp_path / "copy")
        except StoredIndexError as error:
            errors.append(error)
    assert len(errors) > 5
    assert {type(error) for error in errors} == {IndexAccessError}
    assert all("ulimit -n" in str(error) for error in errors)
    assert all("damaged:" not in str(error) and "repair" not in str(error) for error in errors)
    use(folder, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("where", ["open", "map"])
def test_a_refusal_at_opening_is_no_damage(folder, monkeypatch, number, where):
    def refuse(path, *rest, **named):
        name = str(path) if where == "open" else str(Path(f"/proc/self/fd/{path.name}").readlink())
        if "segments" in name:
            raise OSError(number, os.strerror(number), name)
        return real(path, *rest, **named)

    module, name = (os, "open") if where == "open" else (np, "memmap")
    real = getattr(module, name)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, refuse)
        with pytest.raises(IndexAccessError, match=REFUSALS[number]) as caught:
            Index.open(folder)
    assert caught.value.errno == number
    assert not isinstance(caught.value, DamagedIndexError)
    Index.open(folder).close()


def failing_reads(patch, number, matching):
    """Files of segments, and of the catalogue where it is read by hand, can be opened and not read."""
    for home in (Path, os):
        real = home.open

        def opened(path, *rest, real=real, **named):
            if re.search(matching, str(path)):
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *rest, **named)

        patch.setattr(home, "open", opened)


@pytest.mark.parametrize("number", REFUSALS)
def test_verify_calls_nothing_damaged_that_it_cannot_read(folder, monkeypatch, number):
    with Index.open(folder) as index:
        with monkeypatch.context() as patch:
            failing_reads(patch, number, "vectors.npy")
            with pytest.raises(IndexAccessError, match=REFUSALS[number]):
                index.verify()
        index.verify()
        [damaged] = folder.glob("segments/*/token_ids.npy")
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
        with monkeypatch.context() as patch:
            failing_reads(patch, number, "vectors.npy")
            with pytest.raises(DamagedIndexError, match=r"token_ids\.npy"):
                index.verify()


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("matching", ["vectors.npy", "keys.npy", r"index\.db$"])
def test_repair_loses_nothing_that_it_cannot_read(folder, tmp_path, monkeypatch, number, matching):
    """Not even of an index that is damaged elsewhere."""
    [damaged] = folder.glob("segments/*/token_ids.npy")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for dry_run in (True, False):
        with monkeypatch.context() as patch:
            failing_reads(patch, number, matching)
            with pytest.raises(IndexAccessError, match=REFUSALS[number]):
                repair(folder, dry_run=dry_run)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"
    }
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert repair(folder).kept == N - 1


def test_a_copy_of_the_catalogue_that_sqlite_cannot_open_is_no_damage(folder, monkeypatch):
    """A repair reads it by SQLite, and page by page only if it is damaged."""
    from lfm2_retrieval.indexes.recovery import catalogue_rows

    class Failing(sqlite3.Connection):
        def execute(self, *arguments):
            if "integrity" in arguments[0]:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
                raise error
            return super().execute(*arguments)

    real = sqlite3.connect
    monkeypatch.setattr(
        catalogue_rows.sqlite3, "connect", lambda *rest, **named: real(*rest, factory=Failing, **named)
    )
    with pytest.raises(IndexAccessError, match="see to the disk"):
        repair(folder, dry_run=True)


def test_a_backup_says_which_side_fails(folder, tmp_path, monkeypatch):
    real = os.open

    def refuse(path, *rest, **named):
        if str(path).endswith("vectors.npy"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, *rest, **named)

    with Index.open(folder) as index:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(IndexAccessError, match=r"vectors\.npy.*see to the disk"):
                index.backup(tmp_path / "copy")
        next(folder.glob("segments/*/vectors.npy")).unlink()
        with pytest.raises(DamagedIndexError, match=r"vectors\.npy is missing"):
            index.backup(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_what_can_be_no_index_is_not_said_of_one_that_cannot_be_read(folder, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(Path, "is_symlink", refuse)
    for make in (Index.create, Index.open):
        with pytest.raises(StoredIndexError) as caught:
            make(folder)
        assert not isinstance(caught.value, (IndexExistsError, DamagedIndexError))


# Damage, and folders that aren't there


@pytest.mark.parametrize("name", ["vectors.npy", "keys.npy", "token_ids.npy"])
def test_a_missing_file_is_damage(folder, name):
    [path] = folder.glob(f"segments/*/{name}")
    with Index.open(folder) as index:
        path.unlink()
        with pytest.raises(DamagedIndexError, match=f"{name} is missing"):
            index.verify()
    with pytest.raises(DamagedIndexError, match=f"{name} is missing; repair"):
        Index.open(folder)
    assert repair(folder, dry_run=True).problems


def test_a_missing_segment_or_a_link_is_damage(folder):
    [segment] = (folder / "segments").iterdir()
    segment.rename(folder / "elsewhere")
    with pytest.raises(DamagedIndexError, match="is missing"):
        Index.open(folder)
    (folder / "elsewhere").rename(segment)
    (segment / "keys.npy").rename(folder / "keys.npy")
    (segment / "keys.npy").symlink_to(folder / "keys.npy")
    with pytest.raises(DamagedIndexError, match="plain file"):
        Index.open(folder)


def test_a_file_that_becomes_shorter_while_it_is_opened_is_damage(folder, monkeypatch):
    def cut(file, *rest, **named):
        name = str(Path(f"/proc/self/fd/{file.name}").readlink())
        if name.endswith("vectors.npy"):
            os.truncate(name, 200)
        return real(file, *rest, **named)

    real = np.memmap
    monkeypatch.setattr(np, "memmap", cut)
    with pytest.raises(DamagedIndexError, match=r"vectors\.npy"):
        Index.open(folder)


def test_a_moved_folder_is_not_damaged(folder, tmp_path):
    """What is open goes on reading; all else says that the folder is gone, and makes nothing in its place."""
    with Index.open(folder) as index:
        folder.rename(tmp_path / "moved")
        assert len(index.ids()) == N - 1
        assert len(index.search(vectors(1), 5)[0]) == 5
        for call in (
            index.refresh,
            index.merge,
            index.verify,
            lambda: index.add(["new"], vectors(1)),
            lambda: index.delete(["d1"]),
            lambda: index.backup(tmp_path / "copy"),
        ):
            with pytest.raises(IndexNotFoundError, match="was moved or deleted"):
                call()
        assert [path.name for path in tmp_path.iterdir()] == ["moved"]
        (tmp_path / "moved").rename(folder)
        index.add(["new"], vectors(1))
        assert len(index) == N


def test_a_moved_folder_can_still_be_opened_where_it_is(folder, tmp_path):
    shutil.rmtree(folder)
    with pytest.raises(IndexNotFoundError):
        Index.open(folder)


# SQLite


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        (sqlite3.SQLITE_CORRUPT, DamagedIndexError, "backup"),
        (sqlite3.SQLITE_CORRUPT_VTAB, DamagedIndexError, "backup"),
        (sqlite3.SQLITE_NOTADB, DamagedIndexError, "backup"),
        (sqlite3.SQLITE_ERROR, DamagedIndexError, "backup"),
        (sqlite3.SQLITE_IOERR_SHORT_READ, DamagedIndexError, "backup"),
        (sqlite3.SQLITE_IOERR_READ, IndexAccessError, "see to the disk"),
        (sqlite3.SQLITE_IOERR, IndexAccessError, "see to the disk"),
        (sqlite3.SQLITE_IOERR_NOMEM, IndexAccessError, "free some memory"),
        (sqlite3.SQLITE_IOERR_SHMMAP, IndexAccessError, "free some memory"),
        (sqlite3.SQLITE_NOMEM, IndexAccessError, "free some memory"),
        (sqlite3.SQLITE_CANTOPEN, IndexAccessError, "ulimit -n"),
        (sqlite3.SQLITE_PERM, IndexAccessError, "permissions"),
        (sqlite3.SQLITE_AUTH, IndexAccessError, "permissions"),
        (sqlite3.SQLITE_READONLY, IndexAccessError, "permissions"),
        (sqlite3.SQLITE_READONLY_RECOVERY, IndexAccessError, "permissions"),
        (sqlite3.SQLITE_BUSY, IndexLockedError, "another process"),
        (sqlite3.SQLITE_BUSY_RECOVERY, IndexLockedError, "another process"),
        (sqlite3.SQLITE_LOCKED, IndexLockedError, "another process"),
        (sqlite3.SQLITE_FULL, IndexWriteError, "make room"),
        (sqlite3.SQLITE_IOERR_WRITE, IndexWriteError, "make room"),
        (sqlite3.SQLITE_IOERR_FSYNC, IndexWriteError, "make room"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, IndexWriteError, "make room"),
    ],
)
def test_sqlite_errors_while_reading(folder, code, kind, remedy):
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorcode = code
    found = of_sqlite(folder / "index.db", error, writing=False)
    assert type(found) is kind
    assert remedy in str(found)
    assert is_damage(error) == (kind is DamagedIndexError)


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        (sqlite3.SQLITE_IOERR, IndexWriteError, "make room"),
        (sqlite3.SQLITE_IOERR_READ, IndexWriteError, "see to the disk"),
        (sqlite3.SQLITE_READONLY, IndexWriteError, "permissions"),
        (sqlite3.SQLITE_PERM, IndexWriteError, "permissions"),
        (sqlite3.SQLITE_CORRUPT, DamagedIndexError, "backup"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, IndexLockedError, "repeat"),
        (sqlite3.SQLITE_NOMEM, IndexAccessError, "free some memory"),
    ],
)
def test_sqlite_errors_while_writing(folder, code, kind, remedy):
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorcode = code
    found = of_sqlite(folder / "index.db", error, writing=True)
    assert type(found) is kind
    assert remedy in str(found)


def test_wrong_use_of_sqlite_is_no_damage(folder):
    error = sqlite3.ProgrammingError("Cannot operate on a closed database.")
    assert type(of_sqlite(folder / "index.db", error, writing=False)) is StoredIndexError


def test_why_sqlite_cannot_open(folder, tmp_path):
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    with limit_of_files(1):
        found = of_sqlite(folder / "index.db", error, writing=True)
    assert (type(found), found.errno) == (IndexAccessError, errno.EMFILE)
    (folder / "index.db").unlink()
    assert type(of_sqlite(folder / "index.db", error, writing=False)) is DamagedIndexError
    folder.rename(tmp_path / "moved")
    assert type(of_sqlite(folder / "index.db", error, writing=False)) is IndexNotFoundError


def test_a_database_that_another_process_holds_is_locked(folder, monkeypatch):
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Index.open(folder) as index, pytest.raises(IndexLockedError, match="another process"):
            index.add(["new"], vectors(1))


@pytest.mark.parametrize(
    ("raised", "said"), [(sqlite3.SQLITE_IOERR_READ, "it can't be read"), (None, "not enough memory")]
)
def test_errors_while_the_catalogue_is_read(folder, raised, said):
    """Python's sqlite3 raises MemoryError for SQLITE_NOMEM."""

    def read(catalogue):
        with catalogue.reading():
            error = MemoryError() if raised is None else sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = raised
            raise error

    with closing(Catalogue(folder)) as catalogue, pytest.raises(IndexAccessError, match=said):
        read(catalogue)


def test_a_catalogue_that_cannot_be_opened_is_still_one(folder, monkeypatch):
    def refuse(*_):
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr("lfm2_retrieval.indexes.catalogue.location.connect", refuse)
    with pytest.raises(IndexAccessError):
        is_index(folder)


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, IndexWriteError, "make room"),
        (errno.EDQUOT, IndexWriteError, "make room"),
        (errno.EIO, IndexWriteError, "see to the disk"),
        (errno.EROFS, IndexWriteError, "read-only"),
        (errno.EACCES, IndexWriteError, "permissions"),
        (errno.EMFILE, IndexAccessError, "ulimit -n"),
        (errno.ENOMEM, IndexAccessError, "memory"),
    ],
)
def test_what_cannot_be_written(folder, number, kind, remedy):
    found = refused_to_write(folder, OSError(number, os.strerror(number)))
    assert (type(found), found.errno) == (kind, number)
    assert remedy in str(found)
    if kind is IndexWriteError and number in (errno.ENOSPC, errno.EDQUOT):
        assert type(unreadable(folder, OSError(number, os.strerror(number)), folder)) is kind

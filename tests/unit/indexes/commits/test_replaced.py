"""Another index in the place of the one that is open: by renaming, by a link, by a repair, built anew."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.errors import (
    DamagedIndexError,
    IndexClosedError,
    IndexNotFoundError,
    IndexReplacedError,
    InvalidInputError,
    StoredIndexError,
)
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.commits import snapshot
from lfm2_retrieval.indexes.recovery.repair import repair

N = 40


def vectors(n=N, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n * 2, dim)).astype(np.float32)
    data /= np.linalg.norm(data, axis=1, keepdims=True)
    return TokenEmbeddings(data, np.arange(0, n * 2 + 1, 2))


def make(folder, name, n=N, dim=16, seed=0, **options):
    """An index whose every document says which index it is of."""
    with Index.create(folder, dim, **options) as index:
        ids = [f"{name}{i}" for i in range(n)]
        index.add(ids, vectors(n, dim, seed), [f"text of {name}"] * n, [{"of": name}] * n)
    return folder


def by_renaming(folder, other):
    folder.rename(folder.with_name("moved away"))
    other.rename(folder)


def by_a_link(folder, other):
    """The usual deploy: a link is exchanged in one step."""
    link = folder.with_name("new link")
    link.symlink_to(other)
    link.rename(folder)


def by_deleting(folder, other):
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def by_exchanging_the_catalogue_first(folder, other):
    """File by file, into the folder that is there."""
    for path in list(folder.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in other.iterdir():
        path.rename(folder / path.name)


WAYS = [by_renaming, by_a_link, by_deleting, by_exchanging_the_catalogue_first]


@pytest.fixture(params=WAYS)
def exchange(request, tmp_path):
    """The path of an index, and what puts another, made elsewhere, in its place."""
    path = tmp_path / "index"
    if request.param is by_a_link:
        path.symlink_to(make(tmp_path / "v1", "old"))
    else:
        make(path, "old")
    return path, lambda other: request.param(path, other)


def of(index):
    """The names of the indexes that documents are of, by each way to read them."""
    found = [hit.metadata["of"] for hits in index.search(vectors(3, index.dim), 5) for hit in hits]
    listed = [entry.metadata["of"] for entry in index.documents()]
    words = [hit.metadata["of"] for hit in index.search(None, _lexical(), texts=["text"])[0]]
    assert len(listed) == len(index)
    return {*found, *listed, *words, *(id.rstrip("0123456789") for id in index.ids())}


def _lexical():
    from lfm2_retrieval.datatypes import SearchParams

    return SearchParams(5, mode="lexical")


def test_a_reader_that_looks_by_itself_goes_on_to_the_other(exchange, tmp_path):
    path, put = exchange
    with Index.open(path, auto_refresh=True) as index:
        assert of(index) == {"old"}
        put(make(tmp_path / "other", "new", n=30, dim=8))
        assert (len(index), index.dim) == (30, 8)
        assert of(index) == {"new"}
        index.verify()
        index.add(["new99"], vectors(1, 8), ["text of new"], [{"of": "new"}])
        assert len(index) == 31
    with Index.open(path) as again:
        assert len(again) == 31


def test_refresh_goes_on_to_the_other(exchange, tmp_path):
    path, put = exchange
    with Index.open(path) as index:
        put(make(tmp_path / "other", "new", n=30, dim=8))
        assert of(index) == {"old"}  # what was open is read on
        assert index.refresh()
        assert of(index) == {"new"}
        assert not index.refresh()


def test_a_copy_with_more_commits_is_another(exchange, tmp_path):
    """It has the identity of the index that it was made from, and numbers of commits that mean other ones."""
    path, put = exchange
    shutil.copytree(path, tmp_path / "copy")
    with Index.open(path) as index, Index.open(tmp_path / "copy") as copy:
        index.add(["old98"], vectors(1), ["text of old"], [{"of": "old"}])
        for number in range(3):
            copy.add([f"copy{number}"], vectors(1), ["text of old"], [{"of": "old"}])
        copy.close()
        put(tmp_path / "copy")
        assert "copy0" not in index
        with pytest.raises(IndexReplacedError):
            index.add(["lost"], vectors(1))
        index.refresh()
        assert "copy2" in index
        assert "old98" not in index
        index.verify()


def test_an_add_never_goes_to_the_wrong_place(exchange, tmp_path):
    path, put = exchange
    with Index.open(path) as index:
        put(make(tmp_path / "other", "new"))
        before = {str(file) for file in tmp_path.rglob("*")}
        for change in (
            lambda: index.add(["lost"], vectors(1)),
            lambda: index.delete(["old1"]),
            lambda: index.configure(lexical=False),
            lambda: index.backup(tmp_path / "backup"),
        ):
            with pytest.raises(IndexReplacedError, match=r"refresh\(\)"):
                change()
        assert [
            name for name in sorted(str(file) for file in tmp_path.rglob("*")) if name not in before
        ] == []
        index.refresh()
        index.add(["new99"], vectors(1))
        assert "new99" in index


@pytest.mark.parametrize("moment", ["begun", "written", "at the end"])
def test_a_transaction_does_not_end_in_a_folder_that_was_moved(exchange, tmp_path, moment):
    path, put = exchange
    other = make(tmp_path / "other", "new")

    def change(index):
        with index.writer() as writer:
            if moment == "begun":
                put(other)
            writer.add(["lost"], vectors(1))
            if moment == "written":
                put(other)
            if moment == "at the end":
                finish = writer._builder.finish

                def finished():
                    put(other)
                    return finish()

                writer._builder.finish = finished

    with Index.open(path) as index:
        # Files may have gone to the place of the other one, or had none to go to.
        with pytest.raises(IndexReplacedError):
            change(index)
        with Index.open(path) as again:
            again.verify()
            assert of(again) == {"new"}
            again.add(["new99"], vectors(1), ["text of new"], [{"of": "new"}])
            again.verify()
        for place in ("moved away", "v1"):
            if (tmp_path / place).exists():
                with Index.open(tmp_path / place) as moved:
                    assert of(moved) == {"old"}
                    moved.verify()


def test_a_change_that_went_to_a_moved_folder_is_told(tmp_path):
    """Moved in the moment between the last look and the commit."""
    path, other = make(tmp_path / "index", "old"), make(tmp_path / "other", "new")
    with Index.open(path) as index:
        with pytest.raises(IndexReplacedError), index.writer() as writer:  # noqa: PT012
            writer.add(["late"], vectors(1))
            end = writer._end

            def moved():
                look, index._views.catalogue.check_place = index._views.catalogue.check_place, lambda: None

                class Connection:
                    def __init__(self, real):
                        self._real = real

                    def execute(self, *arguments):
                        by_renaming(path, other)
                        index._views.catalogue.check_place = look
                        return self._real.execute(*arguments)

                real, writer._connection = writer._connection, Connection(writer._connection)
                try:
                    end()
                finally:
                    writer._connection = real

            writer._end = moved
        index.refresh()
        assert of(index) == {"new"}
    with Index.open(tmp_path / "moved away") as moved:
        assert "late" in moved


def test_a_repair_by_somebody_else_is_noticed(tmp_path):
    path = make(tmp_path / "index", "old")
    [damaged] = path.glob("segments/*/token_ids.npy")
    with Index.open(path, auto_refresh=True) as looking, Index.open(path) as staying:
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
        assert repair(path).original is not None
        looking.verify()
        assert of(looking) == {"old"}
        with pytest.raises(IndexReplacedError):
            staying.verify()
        assert staying.refresh()
        staying.verify()
        staying.add(["old99"], vectors(1), ["text of old"], [{"of": "old"}])
        assert len(looking) == N + 1


def test_an_index_that_is_gone_is_said_to_be(tmp_path):
    path = make(tmp_path / "index", "old")
    with Index.open(path, auto_refresh=True) as index:
        shutil.rmtree(path)
        for _ in range(2):
            with pytest.raises(IndexNotFoundError, match="moved or deleted"):
                index.ids()
        make(path, "new")
        assert of(index) == {"new"}


def test_a_catalogue_that_is_gone_is_damage(tmp_path):
    path = make(tmp_path / "index", "old")
    with Index.open(path, auto_refresh=True) as index:
        (path / "index.db").unlink()
        with pytest.raises(DamagedIndexError, match=r"index\.db is missing"):
            index.ids()


def test_something_else_in_the_place_of_an_index(tmp_path):
    path = make(tmp_path / "index", "old")
    with Index.open(path) as index:
        path.rename(tmp_path / "moved away")
        path.mkdir()
        (path / "notes.txt").write_text("mine")
        with pytest.raises(IndexReplacedError):
            index.add(["lost"], vectors(1))
        assert [file.name for file in path.iterdir()] == ["notes.txt"]
        with pytest.raises(StoredIndexError):
            index.refresh()
        assert len(index.ids()) == N


def test_a_gap_between_two_renames_is_waited_for(tmp_path):
    path, other = make(tmp_path / "index", "old"), make(tmp_path / "other", "new")
    with Index.open(path, auto_refresh=True) as index:
        path.rename(tmp_path / "moved away")
        timer = threading.Timer(0.1, lambda: other.rename(path))
        timer.start()
        assert of(index) == {"new"}
        timer.join()


def test_an_iteration_ends_as_it_began(exchange, tmp_path):
    path, put = exchange
    with Index.open(path, auto_refresh=True) as index:
        stream = index.documents()
        first = next(stream)
        put(make(tmp_path / "other", "new"))
        assert of(index) == {"new"}
        assert {entry.metadata["of"] for entry in [first, *stream]} == {"old"}


def test_files_are_not_taken_from_one_and_rows_from_the_other(exchange, tmp_path, monkeypatch):
    """Replaced between the reading of the rows and the opening of the files that they name."""
    path, put = exchange
    other = make(tmp_path / "other", "new", seed=1)  # files of the same names and sizes
    real, waiting = snapshot._open, [other]

    def opened(*arguments):
        if waiting:
            put(waiting.pop())
        return real(*arguments)

    monkeypatch.setattr(snapshot, "_open", opened)
    with Index.open(path) as index:
        assert of(index) == {"new"}
        index.verify()


def test_more_threads_than_before_read_on_without_a_new_connection(exchange, tmp_path):
    """One that doesn't look for newer commits: no new connection can be made to what was moved away."""
    path, put = exchange
    with Index.open(path) as index:
        put(make(tmp_path / "other", "new"))
        gate = threading.Barrier(8)

        def ask(_):
            gate.wait(30)
            return of(index)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [{"old"}] * 8


def test_a_closed_index_stays_closed(exchange, tmp_path):
    path, put = exchange
    index = Index.open(path)
    put(make(tmp_path / "other", "new"))
    index.close()
    for call in (index.refresh, index.ids, lambda: index.add(["x"], vectors(1))):
        with pytest.raises(IndexClosedError, match="is closed"):
            call()


def test_at_once_is_of_one_commit(tmp_path):
    path = make(tmp_path / "index", "old")
    with Index.open(path, auto_refresh=True) as index, Index.open(path) as writer:

        def read(held):
            first = held.ids()
            writer.delete(["old1"])
            writer.add(["old1"], vectors(1, seed=5))
            assert held.at_once(lambda again: again.ids()) == first == held.ids()
            return held.embeddings(["old1"])

        assert len(index.at_once(read)) == 1
        assert index.ids()[-1] == "old1"
        with pytest.raises(InvalidInputError):
            index.at_once(lambda held: held.embeddings(["nope"]))


def test_at_once_begins_anew_where_what_it_reads_was_swept(tmp_path, monkeypatch):
    """A reader that can't pin."""

    def refuse(*_):
        raise PermissionError

    path = make(tmp_path / "index", "old")
    with Index.open(path) as writer:
        with monkeypatch.context() as patch:
            patch.setattr("lfm2_retrieval.indexes.commits.snapshot.Pin", refuse)
            index = Index.open(path)
        tries = []

        def read(held):
            tries.append(held.ids())
            if len(tries) == 1:
                writer.update(["old1"], metadata=[{"of": "changed"}])
                writer._current_view = writer.refresh()
                writer.merge()
            return [entry.metadata["of"] for entry in held.get_many(["old1"])], list(held.documents())

        with index:
            names, entries = index.at_once(read)
            assert names == ["changed"]
            assert len(entries) == N
            assert len(tries) == 2


@pytest.mark.campaign
@pytest.mark.parametrize("way", [by_renaming, by_a_link])
def test_searches_in_threads_during_exchanges(tmp_path, way):
    """Each answers wholly from one index, and later ones never from an older one."""
    path = tmp_path / "index"
    first = make(tmp_path / "v0", "v0x")
    path.symlink_to(first) if way is by_a_link else first.rename(path)
    ends = threading.Event()
    answers, errors = [], []

    def ask(index):
        while not ends.is_set():
            try:
                hits = index.search(vectors(2), 5)
                answers.append({hit.metadata["of"] for some in hits for hit in some})
                index.add([f"{threading.get_ident()}-{len(answers)}"], vectors(1), None, [{"of": "added"}])
            except (IndexReplacedError, DamagedIndexError) as error:  # an add says it
                errors.append(error)

    with Index.open(path, auto_refresh=True) as index:
        threads = [threading.Thread(target=ask, args=(index,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(1, 60):
            other = make(tmp_path / f"v{number}", f"v{number}x")
            if way is by_a_link:
                by_a_link(path, other)
            else:
                path.rename(tmp_path / f"away{number}")
                other.rename(path)
        ends.set()
        for thread in threads:
            thread.join()
        assert not [error for error in errors if isinstance(error, DamagedIndexError)]
        assert all(len(found - {"added"}) == 1 for found in answers)
        seen = [int(name[1:-1]) for found in answers for name in found - {"added"}]
        assert len(set(seen)) > 3
        assert {hit.metadata["of"] for hit in index.search(vectors(1), 5)[0]} <= {"v59x", "added"}
        index.verify()
    for folder in tmp_path.iterdir():
        if Path(folder, "index.db").exists():
            with Index.open(folder) as one:
                one.verify()

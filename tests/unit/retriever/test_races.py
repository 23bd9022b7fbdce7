"""What others do between two steps of a call: nothing that was decided before the lock is used after it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lfm2_retrieval import Document, Encoder, Index, Retriever
from lfm2_retrieval.errors import (
    DuplicateIdError,
    IndexExistsError,
    InvalidInputError,
    ModelMismatchError,
    StoredIndexError,
)
from lfm2_retrieval.indexes.catalogue.catalogue import Catalogue
from lfm2_retrieval.indexes.transactions import Transactions
from lfm2_retrieval.retriever import ingest

TEXTS = ["rain falls on quiet hills", "the quick brown fox", "bread, cheese and wine"]


@pytest.fixture(scope="module")
def model(checkpoint):
    return Encoder.load(checkpoint())


@pytest.fixture(scope="module")
def other(checkpoint):
    return Encoder.load(checkpoint(dense_bias=True))


@pytest.fixture
def path(model, tmp_path):
    Retriever.index(TEXTS, tmp_path / "index", model=model).close()
    return tmp_path / "index"


@pytest.fixture
def meanwhile(monkeypatch):
    """Has something happen once, before the next call of a method."""

    def have(kind, name, happen):
        def first(*arguments, **options):
            monkeypatch.undo()
            happen()
            return getattr(kind, name)(*arguments, **options)

        monkeypatch.setattr(kind, name, first)

    return have


def texts(path):
    with Index.open(path) as index:
        index.verify()
        return sorted(entry.text for entry in index)


@pytest.mark.parametrize("how", ["error", "replace", "skip"])
def test_strings_of_many_threads_are_all_there(model, path, how):
    n_threads, each = 4, 5
    start = threading.Barrier(n_threads)

    def add(thread):
        for number in range(each):
            start.wait(60)
            assert retriever.add([f"text {thread} {number}"], on_conflict=how).added == 1

    with Retriever.open(path, model=model) as retriever, ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(add, range(n_threads)))
        assert len(set(retriever.ids())) == len(retriever)
    added = [f"text {thread} {number}" for thread in range(n_threads) for number in range(each)]
    assert texts(path) == sorted([*TEXTS, *added])


@pytest.mark.parametrize("how", ["error", "replace", "skip"])
def test_strings_that_others_add_after_ours_are_encoded(model, path, meanwhile, how):
    def add():
        with Retriever.open(path, model=model) as another:
            another.add(["theirs", Document("5", "their own"), "theirs, too"])

    with Retriever.open(path, model=model) as retriever:
        meanwhile(Transactions, "begin", add)
        assert retriever.add(["ours", "and ours"], on_conflict=how).added == 2
        assert len(retriever) == 8
    assert {"ours", "and ours", "theirs", "theirs, too", "their own"} < set(texts(path))


def test_an_append_numbers_after_what_others_added(model, path, meanwhile):
    def add():
        with Retriever.open(path, model=model) as another:
            another.add(["theirs"] * 3)

    meanwhile(ingest.Ingest, "_write", add)
    Retriever.index(["ours"] * 3, path, model=model, if_exists="append", batch_size=2).close()
    assert texts(path) == sorted([*TEXTS, *["ours"] * 3, *["theirs"] * 3])


@pytest.mark.parametrize("how", ["replace", "skip", "error"])
def test_documents_that_others_add_meanwhile_are_known(model, path, meanwhile, how):
    def add():
        with Retriever.open(path, model=model) as another:
            another.add([Document("x", "theirs", {"by": "them"}), Document("y", "the same")])

    with Retriever.open(path, model=model) as retriever:
        meanwhile(Transactions, "begin", add)
        given = [Document("x", "ours"), Document("y", "the same"), Document("z", "ours")]
        if how == "error":
            with pytest.raises(DuplicateIdError, match="'x', 'y'"):
                retriever.add(given)
            assert "z" not in retriever
        else:
            counts = retriever.add(given, on_conflict=how).to_dict()
            changed = {"changed": 1, "unchanged": 1} if how == "replace" else {"skipped": 2}
            assert counts == {"added": 1, "changed": 0, "unchanged": 0, "skipped": 0} | changed
            assert retriever.get("x").text == ("ours" if how == "replace" else "theirs")


def test_an_update_goes_by_what_is_there_under_the_lock(model, path, meanwhile):
    with Retriever.open(path, model=model) as retriever:
        retriever.add([{"id": "t", "title": "Old", "text": "words", "n": 1}])

        def update():
            with Retriever.open(path, model=model) as another:
                another.update([{"id": "t", "text": "their words", "n": 2}])

        meanwhile(Transactions, "begin", update)
        retriever.update([{"id": "t", "title": "New"}])
        assert retriever.get("t") == Document("t", "New their words", {"title": "New", "n": 2})


def test_vectors_of_another_model_are_never_added(model, other, path, meanwhile):
    def overwrite():
        Retriever.index(["theirs"], path, model=other, if_exists="overwrite").close()

    with Retriever.open(path, model=model) as retriever:
        meanwhile(Transactions, "begin", overwrite)
        with pytest.raises(ModelMismatchError, match="open it again"):
            retriever.add(["ours"])
    assert texts(path) == ["theirs"]
    Retriever.index(TEXTS, path, model=model, if_exists="overwrite").close()
    meanwhile(ingest.Ingest, "_write", overwrite)
    with pytest.raises(ModelMismatchError):
        Retriever.index(["ours"], path, model=model, if_exists="append")
    assert texts(path) == ["theirs"]


@pytest.mark.parametrize("options", [{"pool_factor": 2}, {"document_length": 40}])
def test_vectors_made_with_other_options_are_never_added(model, path, meanwhile, options):
    def overwrite():
        Retriever.index(["theirs"], path, model=model, if_exists="overwrite", **options).close()

    with Retriever.open(path, model=model) as retriever:
        meanwhile(Transactions, "begin", overwrite)
        with pytest.raises(ModelMismatchError, match=next(iter(options))):
            retriever.add(["ours"])
    assert texts(path) == ["theirs"]


def test_what_an_append_asks_for_holds_under_the_lock(model, path, meanwhile):
    def overwrite():
        Retriever.index(["theirs"], path, model=model, if_exists="overwrite", tier="compact").close()

    meanwhile(ingest.Ingest, "_write", overwrite)
    with pytest.raises(InvalidInputError, match="tier='compact'"):
        Retriever.index(["ours"], path, model=model, if_exists="append", tier="balanced")
    meanwhile(ingest.Ingest, "_write", overwrite)
    with Retriever.index(["ours"], path, model=model, if_exists="append", fields=["year"]) as retriever:
        assert retriever.store.settings["fields"] == ["year"]
    assert texts(path) == ["ours", "theirs"]


@pytest.mark.parametrize("if_exists", ["append", "overwrite", "error"])
@pytest.mark.parametrize("lazily", [False, True])
def test_another_makes_the_index_first(model, tmp_path, meanwhile, if_exists, lazily):
    path = tmp_path / "deep" / "index"
    how = "append" if if_exists == "error" else if_exists

    def index():
        Retriever.index(["theirs"] * 2, path, model=model, if_exists=how).close()

    ours = ["ours"] * 3
    meanwhile(Index, "create", index)
    if if_exists == "error":
        with pytest.raises(IndexExistsError):
            Retriever.index(ours, path, model=model)
        assert texts(path) == ["theirs"] * 2
        return
    with Retriever.index(iter(ours) if lazily else ours, path, model=model, if_exists=if_exists) as retriever:
        assert len(retriever.search("ours", k=9)) == len(retriever)
    assert texts(path) == ours + (["theirs"] * 2 if if_exists == "append" else [])


@pytest.mark.parametrize("if_exists", ["append", "overwrite"])
def test_another_writes_first_to_what_we_made(model, other, tmp_path, meanwhile, if_exists):
    path = tmp_path / "index"

    def index():
        Retriever.index(["theirs"] * 2, path, model=model, if_exists=if_exists).close()

    meanwhile(ingest.Ingest, "_write", index)
    Retriever.index(["ours"] * 3, path, model=model, if_exists=if_exists).close()
    assert texts(path) == ["ours"] * 3 + (["theirs"] * 2 if if_exists == "append" else [])

    def overwrite():
        Retriever.index(["theirs"], tmp_path / "b", model=other, if_exists="overwrite").close()

    meanwhile(ingest.Ingest, "_write", overwrite)
    Retriever.index(["ours"], tmp_path / "b", model=model, if_exists="overwrite").close()
    assert texts(tmp_path / "b") == ["ours"]


@pytest.mark.parametrize("if_exists", ["append", "overwrite", "error"])
def test_an_overwrite_between_two_commits_is_never_mixed(model, tmp_path, monkeypatch, if_exists):
    path = tmp_path / "index"
    monkeypatch.setattr(ingest, "_COMMIT_TOKENS", 1)
    writes = []
    write = ingest.Ingest._write

    def second(self, *arguments):
        writes.append(1)
        if len(writes) == 2:
            Retriever.index(["theirs"], path, model=model, if_exists="overwrite").close()
        return write(self, *arguments)

    monkeypatch.setattr(ingest.Ingest, "_write", second)
    if if_exists == "overwrite":
        with pytest.warns(RuntimeWarning, match="overwritten"):
            Retriever.index(TEXTS, path, model=model, if_exists=if_exists, batch_size=1).close()
    else:
        with pytest.raises(StoredIndexError, match="1 documents that were in it by then are gone"):
            Retriever.index(TEXTS, path, model=model, if_exists=if_exists, batch_size=1)
    assert texts(path) == ["theirs"]


def leave(path, kind):
    """What a path may hold that counts as nothing."""
    if kind != "nothing":
        path.mkdir()
    if kind in ("lock", "half"):
        (path / "lock").touch()
    if kind == "half":
        Catalogue.create(path, {"dim": 16, "lexical": True, "fields": []})
        (path / "index.db").rename(path / "index.db.new")
        (path / "index.db.new-wal").write_bytes(b"half")


@pytest.mark.parametrize("kind", ["nothing", "empty", "lock", "half"])
@pytest.mark.parametrize("if_exists", ["append", "overwrite", "error"])
def test_places_that_count_as_empty(model, tmp_path, kind, if_exists):
    path = tmp_path / "index"
    leave(path, kind)
    Retriever.index(TEXTS, path, model=model, if_exists=if_exists).close()
    assert texts(path) == sorted(TEXTS)


def test_a_measurement_of_what_was_overwritten_is_not_stored(model, path, meanwhile):
    def overwrite():
        Retriever.index(["theirs"], path, model=model, if_exists="overwrite").close()

    with Index.open(path) as index:
        for measure in (lambda: index.tune(0.9, sample=2), lambda: index.measure_recall(sample=2)):
            index.refresh()
            meanwhile(Transactions, "begin", overwrite)
            with pytest.raises(StoredIndexError, match="measure again"):
                measure()
            index.refresh()
            assert "recall" not in index.settings
        index.measure_recall(sample=1)
        assert "recall" in index.settings


def test_overwriting_inherits_what_is_there_under_the_lock(path):
    with Index.open(path) as index, Index.open(path) as another:
        writer = index.writer(replace={"dim": 16})
        with another.writer(replace={"dim": 8, "tier": "compact", "lexical": False}):
            pass
        with writer:
            pass
        assert (index.tier, index.dim, index.settings["lexical"]) == ("compact", 16, False)


def test_opening_while_another_makes_it(tmp_path, meanwhile):
    from lfm2_retrieval.indexes.catalogue import location

    path = tmp_path / "index"
    path.mkdir()
    meanwhile(location, "is_vacant", lambda: Index.create(path, 4, tier="exact").close())
    with Index.open(path) as index:
        assert len(index) == 0

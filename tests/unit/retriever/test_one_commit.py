"""One call, one commit, and one model: of searches that are explained, beside writers and exchanges."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.errors import ModelMismatchError
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.export import export_documents, export_embeddings

SHORT, LONG = "rain falls", "rain falls on the quiet hills, and the trains leave at seven in the evening"


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture(scope="module")
def other_model(checkpoint: Callable[..., Path]) -> Encoder:
    return Encoder.load(checkpoint(ffn=96))


def documents(text: str, n: int = 12) -> list[dict[str, str]]:
    return [{"id": f"d{i}", "text": f"{text} {'again ' * (i % 3)}".strip()} for i in range(n)]


@pytest.fixture
def path(model: Encoder, tmp_path: Path) -> Path:
    Retriever.index(documents(SHORT), tmp_path / "index", model=model).close()
    return tmp_path / "index"


class Meddling:
    """What happens between the steps of a call, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, work: Callable[[], object]) -> None:
        self.done = False
        real = getattr(Index, step)

        def meddle(index: Index, *rest: object, **named: object) -> object:
            found = real(index, *rest, **named)
            if not self.done:
                self.done = True
                work()
            return found

        monkeypatch.setattr(Index, step, meddle)


@pytest.fixture
def change(model: Encoder, path: Path) -> Iterator[Callable[[], object]]:
    """Replaces all documents, by another process as it were."""
    with Retriever.open(path, model=model) as other:
        yield lambda: (
            other.delete(["d3"]),
            other.add(documents(LONG), on_conflict="replace"),
            other.merge(),
        )


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_an_explained_search_is_of_one_commit(
    model: Encoder, path: Path, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with Retriever.open(path, model=model, auto_refresh=True) as retriever:
        expected = retriever.search("rain on hills", explain=True, mode=mode)
        meddling = Meddling(monkeypatch, "search", change)
        assert retriever.search("rain on hills", explain=True, mode=mode) == expected
        assert meddling.done
        hits = retriever.search("rain on hills", explain=True, mode=mode)
        assert all(hit.text and hit.text.startswith(LONG) and hit.matches for hit in hits)


def test_several_explained_queries_are_of_one_commit(
    model: Encoder, path: Path, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Retriever.open(path, model=model, auto_refresh=True) as retriever:
        queries = ["rain on hills", "trains", " ", "seven"]
        expected = retriever.search(queries, explain=True)
        Meddling(monkeypatch, "embeddings", change)
        assert retriever.search(queries, explain=True) == expected


def test_pooled_vectors_are_explained_by_one_commit(
    model: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Retriever.index(documents(LONG), tmp_path / "pooled", model=model, pool_factor=2) as writer,
        Retriever.open(tmp_path / "pooled", model=model, auto_refresh=True) as retriever,
    ):
        expected = retriever.search("rain on hills", explain=True)
        Meddling(monkeypatch, "search", lambda: writer.add(documents(SHORT), on_conflict="replace"))
        assert retriever.search("rain on hills", explain=True) == expected


def test_a_rerank_is_of_one_commit(
    model: Encoder, path: Path, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Retriever.open(path, model=model, auto_refresh=True) as retriever:
        ids = ["d1", "d2", "d3"]
        expected = retriever.rerank("rain on hills", ids=ids, explain=True)
        Meddling(monkeypatch, "rerank", change)
        assert retriever.rerank("rain on hills", ids=ids, explain=True) == expected


@pytest.mark.parametrize("step", ["embeddings", "__len__"])
def test_an_export_is_of_one_commit(
    path: Path, tmp_path: Path, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with Index.open(path, auto_refresh=True) as index:
        monkeypatch.setattr("lfm2_retrieval.indexes.export._AT_ONCE", 5)
        expected = index.embeddings(index.ids())
        Meddling(monkeypatch, step, change)
        assert export_embeddings(index, tmp_path / "vectors.npy") == len(expected.embeddings)
        assert np.array_equal(np.load(tmp_path / "vectors.npy"), expected.embeddings)
        assert np.array_equal(np.load(tmp_path / "vectors.offsets.npy"), expected.offsets)
        assert export_documents(index, tmp_path / "documents.jsonl") == 12


def test_a_measurement_is_of_one_commit(
    path: Path, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.open(path, auto_refresh=True) as index:
        n_tokens = index.n_tokens
        Meddling(monkeypatch, "_measurement", change)
        assert index.measure_recall(k=3, sample=4, store=False).n_tokens == n_tokens < index.n_tokens


def test_another_model_at_the_path_is_refused(
    model: Encoder, other_model: Encoder, path: Path, tmp_path: Path
) -> None:
    Retriever.index(documents(LONG), tmp_path / "other", model=other_model).close()
    with Retriever.open(path, model=model, auto_refresh=True) as retriever:
        assert len(retriever.search("rain", k=3)) == 3
        path.rename(tmp_path / "moved away")
        (tmp_path / "other").rename(path)
        for call in (
            lambda: retriever.search("rain"),
            lambda: retriever.search("rain", mode="lexical", explain=True),
            lambda: retriever.rerank("rain", ids=["d1"]),
            lambda: retriever.add(["more"]),
            lambda: retriever.encoder,
        ):
            with pytest.raises(ModelMismatchError, match="made with"):
                call()
        assert len(retriever.search("rain", mode="lexical", k=3)) == 3
        assert [found.text[: len(LONG)] for found in retriever.get_many(["d1"]) if found] == [LONG]


def test_an_index_overwritten_with_another_model_is_refused(
    model: Encoder, other_model: Encoder, path: Path
) -> None:
    with Retriever.open(path, model=model, auto_refresh=True) as retriever:
        retriever.search("rain")
        Retriever.index(documents(LONG), path, model=other_model, if_exists="overwrite").close()
        with pytest.raises(ModelMismatchError, match="made with"):
            retriever.search("rain")
        with pytest.raises(ModelMismatchError):
            retriever.add(["more"])
        Retriever.index(documents(LONG), path, model=model, if_exists="overwrite").close()
        assert len(retriever.search("rain", k=3, explain=True)) == 3


def test_other_options_of_the_same_model_are_followed(model: Encoder, path: Path, tmp_path: Path) -> None:
    Retriever.index(documents(LONG), tmp_path / "other", model=model, pool_factor=2).close()
    with Retriever.open(path, model=model, auto_refresh=True) as retriever:
        retriever.search("rain")
        path.rename(tmp_path / "moved away")
        (tmp_path / "other").rename(path)
        assert all(hit.matches for hit in retriever.search("rain", explain=True))
        assert retriever.encoder.options.pool_factor == 2
        retriever.add([{"id": "more", "text": LONG}])
        stored = retriever.store.embeddings(["d0", "more"])
        assert stored.lengths[0] == stored.lengths[1]


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["same process", "other handle"])
def test_explained_searches_beside_a_writer(model: Encoder, path: Path, kind: str) -> None:
    """Documents are replaced in a loop, by others of other lengths."""
    ends = time.monotonic() + 15
    errors, n_asked = [], [0]
    with (
        Retriever.open(path, model=model, auto_refresh=kind == "other handle") as retriever,
        Retriever.open(path, model=model) as other,
    ):
        writer = other if kind == "other handle" else retriever

        def write() -> None:
            number = 0
            while time.monotonic() < ends:
                number += 1
                writer.add(documents((SHORT, LONG)[number % 2]), on_conflict="replace")
                if number % 7 == 0:
                    writer.delete([f"d{number % 12}"])

        def ask() -> None:
            while time.monotonic() < ends:
                try:
                    hits = retriever.search("rain on hills", k=12, explain=True)
                    assert len({"quiet" in (hit.text or "") for hit in hits}) <= 1
                    n_asked[0] += 1
                except Exception as error:  # noqa: BLE001
                    errors.append(error)

        threads = [threading.Thread(target=work) for work in (write, ask, ask, ask)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    assert n_asked[0] > 20

"""The facade on long documents, pooled vectors and streams that fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.encoder.reading import DocumentEncoder
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.retriever.ingest import Progress

Make = Callable[..., Path]
LONG = " ".join(f"rain falls on quiet hills {i} and rivers carry boats" for i in range(60))
TEXTS = [f"{LONG} the quick brown fox", LONG, "bread, cheese and wine", ""]
OPTIONS = [
    {},
    {"document_length": 40},
    {"long_documents": "window", "document_length": 64},
    {"long_documents": "full"},
    {"pool_factor": 3, "protected_tokens": 1},
    {"long_documents": "window", "document_length": 64, "pool_factor": 2},
]


@pytest.fixture(scope="module", params=[False, True], ids=["causal", "bidirectional"])
def model(request: pytest.FixtureRequest, checkpoint: Make) -> Encoder:
    return Encoder.load(checkpoint(bidirectional=request.param))


@pytest.mark.parametrize("options", OPTIONS)
def test_an_index_holds_what_the_encoder_gives_and_explains_it(
    model: Encoder, tmp_path: Path, options: dict
) -> None:
    path = tmp_path / "index"
    Retriever.index(TEXTS, path, model=model, on_progress=lambda done: None, **options).close()
    with Retriever.open(path, model=model) as retriever:  # it knows how documents were read
        expected = model.encode_documents(TEXTS[:3], output="float16", on_cut=lambda count: None, **options)
        stored = retriever.store.embeddings(["0", "1", "2"])
        for one, other in zip(stored, expected, strict=True):
            np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=2e-3)
        for hit in retriever.search("quick brown fox", k=3, explain=True):
            i = int(hit.id)
            assert sum(match.similarity for match in hit.matches) == pytest.approx(hit.score, abs=1e-4)
            spans = set(map(tuple, expected.spans[expected.offsets[i] : expected.offsets[i + 1]].tolist()))
            for match in hit.matches:
                assert match.document_span in spans
                assert not match.pooled_spans or match.document_span in match.pooled_spans
                assert "pool_factor" in options or not match.pooled_spans


def test_windows_find_what_a_cut_loses() -> None:
    """With nano, which knows what words mean."""
    filler = "The harbour was quiet, and nobody came to the market that day. " * 80
    texts = [f"{filler} {end}" for end in ("Yeast makes dough rise.", "The Moon causes the tides.")]
    nano = Encoder.load("nano")
    for question, answer in (("why do the tides come?", "1"), ("what makes bread rise?", "0")):
        with Retriever.index(texts, model=nano, long_documents="window") as retriever:
            [hit] = retriever.search(question, k=1, explain=True)
        assert hit.id == answer
        start = max(match.document_span[0] for match in hit.matches)
        assert start >= len(filler)


def test_an_index_is_appended_to_as_it_was_made(model: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "index"
    Retriever.index(TEXTS[:1], path, model=model, long_documents="window", document_length=64).close()
    with Retriever.index([LONG], path, model=model, if_exists="append") as retriever:
        one = model.encode_documents([LONG], long_documents="window", document_length=64)
        assert len(retriever.store.embeddings(["1"])[0]) == len(one.embeddings)
        assert retriever.encoder.options.long_documents == "window"
    for options, says in (
        ({"long_documents": "truncate"}, "long_documents='window'"),
        ({"document_length": 32}, "document_length=64"),
        ({"pool_factor": 2}, "pool_factor=1"),
    ):
        reader = model.with_options(**options)
        for chosen, given in ((model, options), (reader, {})):
            if chosen is model and given == {}:
                continue  # an encoder that reads as all do asks for nothing
            with pytest.raises(InvalidInputError, match=f"{says}.*leave .* out"):
                Retriever.index([LONG], path, model=chosen, if_exists="append", **given)
    same = {"long_documents": "window", "document_length": 64}
    Retriever.index(["fox"], path, model=model.with_options(**same), if_exists="append", **same).close()
    with Retriever.index([LONG], path, model=model, if_exists="overwrite", pool_factor=4) as retriever:
        assert retriever.encoder.options.pool_factor == 4
        assert len(retriever) == 1
    with Retriever.open(path, model=model) as retriever:
        recorded = retriever.store.settings["encoder"]
        assert (recorded["long_documents"], recorded["pool_factor"]) == ("truncate", 4)


@pytest.mark.parametrize(
    "options", [{"long_documents": "half"}, {"document_length": 99_999}, {"pool_factor": 9}]
)
def test_bad_options_leave_nothing_behind(model: Encoder, tmp_path: Path, options: dict) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        Retriever.index(TEXTS, tmp_path / "index", model=model, **options)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("error", [ConnectionError, KeyboardInterrupt])
@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_what_came_before_an_error_of_the_stream_is_indexed(
    model: Encoder, tmp_path: Path, error: type[BaseException], batch_size: int
) -> None:
    def stream() -> Iterator[str]:
        yield from (f"fox {i}" for i in range(10))
        raise error("gone")

    with pytest.raises(error, match="gone") as caught:
        Retriever.index(stream(), tmp_path / "index", model=model, batch_size=batch_size)
    assert caught.value.__notes__ == [
        "raised at document 10, counted from 0",
        "the 10 documents before it are in the index",
    ]
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        assert retriever.store.ids() == [str(i) for i in range(10)]
        retriever.store.verify()
        assert len(retriever.search("fox 3", k=10)) == 10


def test_an_error_of_the_encoder_leaves_what_came_before(
    model: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DocumentEncoder.embed
    calls = 0

    def fail(self: DocumentEncoder, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise MemoryError("no more")
        return real(self, *arguments)

    monkeypatch.setattr(DocumentEncoder, "embed", fail)
    with pytest.raises(MemoryError):
        Retriever.index(["fox"] * 9, tmp_path / "index", model=model, batch_size=1)
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        assert retriever.store.ids() == ["0", "1", "2"]


def test_documents_are_drawn_in_the_thread_of_the_call(model: Encoder) -> None:
    threads: set[int] = set()

    def stream() -> Iterator[str]:
        for i in range(20):
            threads.add(threading.get_ident())
            yield f"fox {i}"

    with Retriever.index(stream(), model=model, batch_size=2) as retriever:
        assert len(retriever) == 20
    assert threads == {threading.get_ident()}
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


def test_progress_knows_how_long_it_will_take(model: Encoder) -> None:
    seen: list[Progress] = []
    Retriever.index(
        [f"fox {i}" for i in range(6)], model=model, batch_size=2, on_progress=seen.append
    ).close()
    assert [(one.documents, one.total) for one in seen[:3]] == [(2, 6), (4, 6), (6, 6)]
    assert seen[0].seconds_left == pytest.approx(2 * seen[0].seconds)
    assert seen[2].seconds_left == 0
    assert Progress(0, 0, 0.0, 0, total=5).seconds_left is None
    assert Progress(3, 9, 1.0, 0).seconds_left is None

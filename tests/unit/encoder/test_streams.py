"""Streams of documents: in order, in bounded memory, and what an error leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfm2_retrieval import Encoder, TokenEmbeddings
from lfm2_retrieval.encoder import TruncationWarning, streams
from lfm2_retrieval.encoder.streams import batched, in_order
from lfm2_retrieval.errors import InvalidInputError, InvalidTypeError

Make = Callable[..., Path]
TEXTS = [f"{'old towns sell bread ' * (i * 7 % 5)} {i}" for i in range(40)]


@pytest.fixture(scope="module")
def model(checkpoint: Make) -> Encoder:
    return Encoder.load(checkpoint())


@settings(deadline=None)
@given(st.lists(st.integers(0, 12)), st.integers(1, 5))
def test_batches_hold_everything_and_keep_to_their_limits(sizes: list[int], most: int) -> None:
    patch = pytest.MonkeyPatch()
    with patch.context() as changed:
        changed.setattr(streams, "_CHARACTERS", 20)
        found = list(batched(iter(sizes), most, lambda size: size))
    assert [size for batch in found for size in batch] == sizes
    for batch in found:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(batch) <= 20


@pytest.mark.parametrize(
    "options", [{}, {"long_documents": "window", "document_length": 20, "pool_factor": 2}]
)
def test_a_stream_gives_what_a_list_gives(model: Encoder, options: dict) -> None:
    together = model.encode_documents(TEXTS, output="float16", **options, on_cut=lambda count: None)
    found = list(
        model.iter_documents(
            iter(TEXTS), output="float16", batch_size=7, **options, on_cut=lambda count: None
        )
    )
    assert all(isinstance(one, TokenEmbeddings) and len(one) == 1 for one in found)
    stream = TokenEmbeddings.concatenate(found)
    np.testing.assert_array_equal(stream.offsets, together.offsets)
    np.testing.assert_array_equal(stream.token_ids, together.token_ids)
    np.testing.assert_array_equal(stream.spans, together.spans)
    np.testing.assert_allclose(stream.embeddings, together.embeddings, atol=2e-3)


def test_a_stream_is_read_a_few_batches_ahead_in_the_thread_that_asks(model: Encoder) -> None:
    read: list[int] = []

    def texts() -> Iterator[str]:
        for i in range(1000):
            read.append(threading.get_ident())
            yield f"fox {i}"

    stream = model.iter_documents(texts(), batch_size=5)
    assert not read
    for number, _ in zip(range(50), stream, strict=False):
        assert len(read) <= number + 25
    stream.close()
    assert len(read) < 100
    assert set(read) == {threading.get_ident()}


def test_an_empty_stream_is_empty(model: Encoder) -> None:
    assert list(model.iter_documents(iter(()))) == []


@pytest.mark.parametrize("before", [0, 1, 6, 7, 20])
def test_what_came_before_an_error_is_given(model: Encoder, before: int) -> None:
    def texts() -> Iterator[str]:
        yield from TEXTS[:before]
        raise ConnectionError("gone")

    stream = model.iter_documents(texts(), batch_size=3)
    collected = [next(stream) for _ in range(before)]
    with pytest.raises(ConnectionError, match="gone") as caught:
        next(stream)
    assert caught.value.__notes__ == [f"raised at document {before}, counted from 0"]
    for one, text in zip(collected, TEXTS, strict=False):
        np.testing.assert_allclose(one[0], model.encode_documents([text])[0], atol=1e-5)


def test_what_is_no_text_is_refused_by_its_position(model: Encoder) -> None:
    stream = model.iter_documents(iter(["fox", "wine", 3]))
    assert [len(next(stream)), len(next(stream))] == [1, 1]
    with pytest.raises(InvalidTypeError, match=r"texts\[2\] is a int"):
        next(stream)
    with pytest.raises(InvalidTypeError, match="one text"):
        model.iter_documents("fox")
    with pytest.raises(InvalidInputError, match="batch_size"):
        model.iter_documents(["fox"], batch_size=0)


def test_cut_texts_are_counted_as_they_come_or_reported_at_the_end(model: Encoder) -> None:
    texts = ["fox " * 600, "fox", "wine " * 600]
    counts: list[int] = []
    assert len(list(model.iter_documents(texts, batch_size=1, on_cut=counts.append))) == 3
    assert counts == [1, 1]
    with pytest.warns(TruncationWarning, match="2 of 3 document texts") as caught:
        list(model.iter_documents(texts, batch_size=1))
    assert len(caught) == 1


def test_who_stops_asking_stops_the_work() -> None:
    stopped: list[bool] = []

    def work(item: int, stop: threading.Event) -> int:
        if item:
            stopped.append(stop.wait(300))
        return item

    stream = in_order(range(100), lambda item: item, work)
    assert next(stream) == 0
    stream.close()
    assert all(stopped)
    assert len(stopped) <= 3


def test_an_error_of_a_stage_comes_in_its_turn() -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise RuntimeError("three")
        return item

    stream = in_order(range(9), fail, lambda item, stop: item)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="three"):
        next(stream)


def test_an_interrupt_stops_the_work() -> None:
    stopped: list[bool] = []

    def work(item: int, stop: threading.Event) -> None:
        stopped.append(stop.wait(300))

    threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(in_order(range(100), lambda item: item, work))
    assert all(stopped)


def test_the_forward_pass_ends_between_steps(model: Encoder) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        model._documents.embed(model._documents.sequences(TEXTS), "float32", stop)

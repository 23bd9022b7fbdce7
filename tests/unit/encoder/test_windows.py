"""Long documents: cut, read in windows, or read whole."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import forward

from lfm2_retrieval import Encoder
from lfm2_retrieval.encoder import DocumentOptions, TruncationWarning
from lfm2_retrieval.encoder.pieces import pieces
from lfm2_retrieval.encoder.windows import windows
from lfm2_retrieval.errors import InvalidInputError

Make = Callable[..., Path]
WORDS = ["rain", "falls", "on", "quiet", "hills,", "where", "people", "sell", "bread", "wine;", "猫は静か"]
LONG = " ".join(WORDS[i * i % len(WORDS)] for i in range(150))
SHAPES = [
    {},
    {"bidirectional": True},
    {"layout": "sentence-transformers"},
    {"settings": {"document_prefix": "passage: "}},
]


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 50), st.booleans())
def test_each_token_is_kept_once_from_the_window_with_most_context(n: int, room: int, causal: bool) -> None:
    found = windows(n, room, causal=causal)
    assert found[0].start == found[0].first == 0
    assert found[-1].stop == found[-1].last == n
    for window in found:
        assert window.stop - window.start <= room
        assert window.start <= window.first < max(window.last, 1) <= max(window.stop, 1)
    for one, two in pairwise(found):
        assert one.last == two.first
        assert one.stop - two.start >= room // 4

    def context(token: int, window: object) -> int:
        before, after = token - window.start, window.stop - 1 - token
        return before if causal else min(before, after)

    for window in found:
        for token in range(window.first, window.last):
            having = [other for other in found if other.start <= token < other.stop]
            assert context(token, window) == max(context(token, other) for other in having)


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_keep_every_token_once_in_order(checkpoint: Make, shape: dict) -> None:
    encoder = Encoder.load(checkpoint(**shape))
    whole = encoder.encode_documents([LONG], long_documents="full")
    for length in (20, 64, 500):
        encoded = encoder.encode_documents([LONG, "fox"], long_documents="window", document_length=length)
        n = encoded.lengths[0]
        np.testing.assert_array_equal(encoded.token_ids[:n], whole.token_ids)
        np.testing.assert_array_equal(encoded.spans[:n], whole.spans)
        np.testing.assert_allclose(np.linalg.norm(encoded.embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_window_is_a_sequence_of_its_own(checkpoint: Make, bidirectional: bool) -> None:
    """BOS, prefix and the window's tokens, from position 0: held to the naive forward pass."""
    folder = checkpoint(bidirectional=bidirectional, settings={"skiplist_words": []})
    encoder = Encoder.load(folder, long_documents="window", document_length=40)
    encoded = encoder.encode_documents([LONG])
    assert encoder.document_length == 40
    [bos, prefix, *tokens] = encoded.token_ids.tolist()
    expected = []
    for window in windows(len(tokens), 38, causal=not bidirectional):
        ids = [bos, prefix, *tokens[window.start : window.stop]]
        vectors = forward(folder, ids, len(ids)).numpy()
        first = 2 + window.first - window.start if window.first else 0
        expected.append(vectors[first : 2 + window.last - window.start])
    np.testing.assert_allclose(encoded[0], np.concatenate(expected), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["truncate", "window", "full"])
def test_spans_without_encoding_are_those_of_the_vectors(checkpoint: Make, shape: dict, mode: str) -> None:
    encoder = Encoder.load(checkpoint(**shape))
    reader = encoder.with_options(long_documents=mode, document_length=33)
    encoded = reader.encode_documents([f"  {LONG}"], on_cut=lambda count: None)
    np.testing.assert_array_equal(reader.document_spans(f"  {LONG}"), encoded.spans)
    if mode == "window":
        text = f"  {LONG}"
        covered = {at for a, b in encoded.spans for at in range(a, b)}
        assert {i for i, c in enumerate(text) if c.isalnum()} <= covered


def test_modes_differ_only_on_long_documents(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint(settings={"document_length": 50}))
    texts = ["", "fox", LONG]
    cut, windowed, full = (
        encoder.encode_documents(texts, long_documents=mode, on_cut=lambda count: None)
        for mode in ("truncate", "window", "full")
    )
    for one in (windowed, full):
        for i in range(2):
            np.testing.assert_allclose(one[i], cut[i], atol=1e-5)
        assert one.lengths[2] > cut.lengths[2]
    np.testing.assert_allclose(full[2], encoder.encode_documents([LONG], document_length=4096)[0], atol=1e-5)


def test_cut_documents_are_counted_where_there_are_any(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint())
    texts = ["fox " * 3000, "fox"]
    with pytest.warns(TruncationWarning, match=r"1 of 2 .* 100 tokens .*window"):
        encoder.encode_documents(texts, document_length=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encoder.encode_documents(texts, long_documents="window").lengths[0] > 3000
        encoder.encode_documents(texts, long_documents="full")
    counts: list[int] = []
    encoder.encode_documents(["fox " * 9000], long_documents="full", on_cut=counts.append)
    assert counts == [1]  # of 4,096 positions


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"long_documents": "windows"}, "'truncate', 'window' or 'full'"),
        ({"document_length": 4097}, "at most 4096"),
        ({"document_length": 0}, "at least 1"),
        ({"document_length": 2}, "at least 3"),
        ({"document_length": 1e3}, "whole number"),
        ({"document_length": True}, "whole number"),
        ({"pool_factor": 5}, "at most 4"),
        ({"pool_factor": 0}, "at least 1"),
        ({"pool_factor": 1.5}, "whole number"),
        ({"protected_tokens": -1}, "at least 0"),
    ],
)
def test_bad_options_are_refused_before_any_work(checkpoint: Make, options: dict, says: str) -> None:
    encoder = Encoder.load(checkpoint())
    for ask in (
        lambda: encoder.encode_documents(["fox"], **options),
        lambda: encoder.iter_documents(["fox"], **options),
        lambda: encoder.with_options(**options),
        lambda: Encoder.load(checkpoint(), **options),
    ):
        with pytest.raises(InvalidInputError, match=says):
            ask()


def test_an_unknown_option_is_a_type_error(checkpoint: Make) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'windows'"):
        Encoder.load(checkpoint()).encode_documents(["fox"], windows=True)


def test_no_more_positions_than_the_family_was_trained_on() -> None:
    assert Encoder.load("nano", long_documents="full").document_length == 32_768
    with pytest.raises(InvalidInputError, match="at most 32768"):
        Encoder.load("nano", document_length=32_769)


def test_other_options_leave_an_encoder_as_it_is(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint())
    reader = encoder.with_options(long_documents="window", pool_factor=2, protected_tokens=None)
    assert (encoder.options, encoder.document_length) == (DocumentOptions(), 512)
    assert reader.options == DocumentOptions("window", None, 2)
    assert reader.identity == encoder.identity | {"long_documents": "window", "pool_factor": 2}
    assert DocumentOptions.recorded(reader.identity) == DocumentOptions("window", 512, 2)
    assert reader.with_options() is reader


@pytest.fixture(scope="module")
def nano() -> Encoder:
    return Encoder.load("nano")


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(1, 40))
def test_pieces_are_the_text(text: str, most: int) -> None:
    found = list(pieces(text, most))
    assert "".join(piece for _, piece in found) == text
    assert all(len(piece) <= most and text.startswith(piece, at) for at, piece in found)
    assert len(found) == 1 or all(piece for _, piece in found)


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from(["old", "towns", "1984", "naïve", "sell.", "\n\n", "\t", "bread,", "'s"]))
)
def test_pieces_have_the_tokens_of_the_text(nano: Encoder, words: list[str]) -> None:
    text = " ".join(f"{word} end" for word in [*words, "the"] * 3)
    tokenizer = nano._tokenizer._document._tokenizer
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    split = [
        id
        for _, piece in pieces(text, max(20, len(text) // 3))
        for id in tokenizer.encode(piece, add_special_tokens=False).ids
    ]
    assert split == whole


@pytest.mark.parametrize("unit", ["hills and rivers ", "猫は静かに眠る。", "x", "\n"])
def test_a_huge_text_is_tokenized_in_pieces(checkpoint: Make, unit: str) -> None:
    encoder = Encoder.load(checkpoint(layers=("conv",), hidden=8, heads=2, kv_heads=2))
    text = f"a{unit * (300_000 // len(unit))}z"
    spans = encoder.with_options(long_documents="window").document_spans(text)
    seen = np.zeros(len(text), bool)
    for a, b in spans:
        seen[a:b] = True
    assert seen[[i for i, c in enumerate(text) if c.isalnum()]].all()
    encoded = encoder.encode_documents([text], on_cut=lambda count: None)
    np.testing.assert_array_equal(encoded.spans, encoder.document_spans(text))
    assert len(encoded[0]) <= 512

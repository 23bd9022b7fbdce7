"""Texts that nobody would write on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval import Encoder
from lfm2_retrieval.errors import InvalidInputError, InvalidTypeError

Make = Callable[..., Path]
HOSTILE = [
    "",
    "   \n\t ",
    "\ud800 lone \udfff surrogates",
    "👍🏽👩‍👩‍👧 emoji",
    "كان الجو جميلا في الصباح",
    "nul \0 characters \0",
    "\u202eright to left\u202c",
    "e\u0301 combining",
    "x" * 5000,
    "<|im_end|> [D] <|pad|>",
    "\ufeffbom",
    "İstanbul ŞİŞLİ",
]


@pytest.mark.parametrize("shape", [{}, {"bidirectional": True, "layout": "sentence-transformers"}])
def test_hostile_texts_have_finite_unit_vectors_and_true_spans(checkpoint: Make, shape: dict) -> None:
    encoder = Encoder.load(checkpoint(**shape))
    encoded = encoder.encode_documents(HOSTILE, on_cut=lambda count: None)
    assert len(encoded) == len(HOSTILE)
    assert encoded.lengths.min() >= 2  # BOS and the prefix
    np.testing.assert_allclose(np.linalg.norm(encoded.embeddings, axis=1), 1, atol=1e-5)
    for i, text in enumerate(HOSTILE):
        spans = encoded.spans[encoded.offsets[i] : encoded.offsets[i + 1]]
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert spans.max() <= len(text)
    queries = encoder.encode_queries(HOSTILE, on_cut=lambda count: None)
    assert queries.lengths.tolist() == [32] * len(HOSTILE)


def test_spans_name_the_characters_of_each_token(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint(settings={"skiplist_words": []}))
    text = "  The quick brown fox: 👍 猫"
    encoded = encoder.encode_documents([text])
    pieces = [text[a:b] for a, b in encoded.spans]
    assert pieces[:2] == ["", ""]
    covered = {at for a, b in encoded.spans for at in range(a, b)}
    assert "".join(text[at] for at in sorted(covered)).replace(" ", "") == "Thequickbrownfox:👍猫"


def test_the_skiplist_drops_document_tokens_only(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint())
    text = "bread, cheese! (wine)"
    documents, queries = encoder.encode_documents([text]), encoder.encode_queries([text])
    marks = {encoder._tokenizer._document._tokenizer.token_to_id(mark) for mark in ",!()"}
    assert not marks & set(documents.token_ids.tolist())
    assert marks & set(queries.token_ids.tolist())


def test_ten_thousand_texts_of_one_word(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint(layers=("conv", "full_attention"), hidden=16, heads=2))
    encoded = encoder.encode_documents(["fox"] * 10_000, output="float16")
    assert encoded.embeddings.dtype == np.float16
    assert len(encoded) == 10_000
    assert np.ptp(encoded.embeddings.reshape(10_000, -1).astype(np.float32), axis=0).max() < 1e-3


@pytest.mark.parametrize(
    "texts", ["one string", b"bytes", {"text": "a"}, None, 3, [b"bytes"], [None], [["nested"]], [1]]
)
def test_what_is_no_text_is_refused(checkpoint: Make, texts: object) -> None:
    encoder = Encoder.load(checkpoint())
    with pytest.raises(InvalidTypeError):
        encoder.encode_documents(texts)
    with pytest.raises(InvalidTypeError):
        encoder.encode_queries(texts)


def test_a_prefix_that_is_no_token_is_read_as_text(checkpoint: Make) -> None:
    from sentence_transformers import MultiVectorEncoder

    folder = checkpoint(settings={"document_prefix": "passage: ", "query_prefix": ""})
    encoder = Encoder.load(folder)
    encoded = encoder.encode_documents(["old towns"])
    oracle = MultiVectorEncoder(str(folder), device="cpu")
    theirs = oracle.encode_document(["old towns"], convert_to_numpy=True, show_progress_bar=False)[0]
    np.testing.assert_allclose(encoded[0], theirs, atol=1e-4)
    assert encoded.spans.max() == len("old towns")
    theirs = oracle.encode_query(["old towns"], convert_to_numpy=True, show_progress_bar=False)[0]
    assert len(encoder.encode_queries(["old towns"])[0]) == len(theirs)


@pytest.mark.parametrize("output", ["float64", "bfloat16", "int8", None])
def test_an_output_that_is_not_to_be_had(checkpoint: Make, output: object) -> None:
    encoder = Encoder.load(checkpoint())
    for encode in (encoder.encode_documents, encoder.encode_queries, encoder.iter_documents):
        with pytest.raises(InvalidInputError, match="output must be"):
            list(encode(["fox"], output=output))
    with pytest.raises(InvalidInputError, match="output must be"):
        encoder.encode_documents(["fox"], output=output, pool_factor=2)

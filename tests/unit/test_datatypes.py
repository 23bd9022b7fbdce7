import numpy as np
import pytest

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError, InvalidTypeError


def make(lengths, dim=3, columns=True):
    n = sum(lengths)
    return TokenEmbeddings(
        np.arange(n * dim, dtype=np.float32).reshape(n, dim),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.arange(n) if columns else None,
        np.stack([np.arange(n), np.arange(n) + 1], axis=1) if columns else None,
    )


def test_texts_are_views_of_the_whole():
    batch = make([2, 0, 3])
    assert (len(batch), batch.dim, batch.lengths.tolist()) == (3, 3, [2, 0, 3])
    assert [text.shape for text in batch] == [(2, 3), (0, 3), (3, 3)]
    assert np.shares_memory(batch[2], batch.embeddings)
    np.testing.assert_array_equal(batch[-1], batch[2])
    for index in (3, -4):
        with pytest.raises(IndexError):
            batch[index]


def test_columns_are_int32_and_offsets_int64():
    batch = make([1, 2])
    assert (batch.token_ids.dtype, batch.spans.dtype, batch.offsets.dtype) == (np.int32, np.int32, np.int64)
    assert TokenEmbeddings([[1.0, 2.0]], np.array([0, 1], np.uint8)).offsets.dtype == np.int64


@pytest.mark.parametrize(
    ("embeddings", "offsets", "error"),
    [
        (np.zeros(3), [0, 3], InvalidInputError),
        (np.zeros((3, 2), int), [0, 3], InvalidTypeError),
        (np.zeros((3, 2)), [0, 2], InvalidInputError),
        (np.zeros((3, 2)), [1, 3], InvalidInputError),
        (np.zeros((3, 2)), [0, 2, 1, 3], InvalidInputError),
        (np.zeros((3, 2)), [0.0, 3.0], InvalidInputError),
        (np.zeros((3, 2)), [[0, 3]], InvalidInputError),
        (np.zeros((0, 2)), np.zeros(0, int), InvalidInputError),
        (np.zeros((3, 2)), np.array([0, 2, 1, 3], np.uint64), InvalidInputError),
    ],
)
def test_shapes_that_do_not_fit_are_refused(embeddings, offsets, error):
    with pytest.raises(error):
        TokenEmbeddings(embeddings, np.asarray(offsets))


def test_columns_of_another_length_are_refused():
    with pytest.raises(InvalidInputError, match="token_ids"):
        TokenEmbeddings(np.zeros((3, 2)), np.array([0, 3]), np.zeros(2, int))
    with pytest.raises(InvalidInputError, match="spans"):
        TokenEmbeddings(np.zeros((3, 2)), np.array([0, 3]), None, np.zeros((3, 1), int))


@pytest.mark.parametrize("chosen", [[2, 0], [1], [], [0, 0, 2], [-1], np.array([1, 2])])
def test_select_takes_texts_with_their_columns(chosen):
    batch = make([2, 0, 3])
    selected = batch.select(chosen)
    assert len(selected) == len(chosen)
    for text, index in zip(selected, chosen, strict=True):
        np.testing.assert_array_equal(text, batch[index])
    np.testing.assert_array_equal(selected.token_ids * 3, selected.embeddings[:, 0])
    np.testing.assert_array_equal(selected.spans[:, 0], selected.token_ids)


def test_concatenate_undoes_select():
    batch = make([2, 0, 3])
    whole = TokenEmbeddings.concatenate([batch.select([0]), batch.select([1, 2])])
    for name in ("embeddings", "offsets", "token_ids", "spans"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(batch, name))


def test_concatenate_drops_columns_that_one_lacks_and_refuses_other_widths():
    assert TokenEmbeddings.concatenate([make([1]), make([1], columns=False)]).token_ids is None
    with pytest.raises(InvalidInputError, match="widths"):
        TokenEmbeddings.concatenate([make([1]), make([1], dim=2)])
    with pytest.raises(InvalidInputError, match="at least one"):
        TokenEmbeddings.concatenate([])

import math
from types import SimpleNamespace

import numpy as np
import pytest
from support import embeddings, naive_maxsim

from lfm2_retrieval.indexes.kernels import reference
from lfm2_retrieval.indexes.kernels import scan as kernels
from lfm2_retrieval.indexes.search import scan


def vectors_of(documents, stored=True):
    """Something to scan: float16 as stored, or only decoded."""
    half = documents.embeddings.view(np.uint16)

    def decode(starts, ends, decoded):
        rows = [documents.embeddings[start:end] for start, end in zip(starts, ends, strict=True)]
        decoded[:] = np.concatenate(rows)

    longest = kernels.longest(half) if stored else math.inf
    return SimpleNamespace(offsets=documents.offsets, half=half, longest=longest, decode=decode)


def scan_all(vectors, wanted, queries, threads=1):
    chunks = list(scan.scan(vectors, wanted, queries.embeddings, queries.offsets, threads))
    np.testing.assert_array_equal(np.concatenate([chunk.positions for chunk in chunks]), wanted)
    return np.concatenate([chunk.scores for chunk in chunks], axis=1), max(chunk.longest for chunk in chunks)


def test_widen_converts_every_finite_float16():
    half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)].reshape(1, -1)
    results = []
    for convert in (kernels.to_single, reference.to_single_numpy):
        single = np.empty(half.shape, np.float32)
        convert(half.view(np.uint16), single.view(np.uint32), single)
        results.append(single.view(np.uint32))
        np.testing.assert_array_equal(single, half.astype(np.float32))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("documents_per_chunk", [4096, 3, 1])
@pytest.mark.parametrize("block_tokens", [1024, 64])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_scan_scores_every_document_whatever_the_blocks(
    monkeypatch, documents_per_chunk, block_tokens, threads, stored
):
    monkeypatch.setattr(scan, "_DOCUMENTS_PER_CHUNK", documents_per_chunk)
    monkeypatch.setattr(scan, "_BLOCK_TOKENS", block_tokens)
    monkeypatch.setattr(scan, "_LEAST", 1)
    documents = embeddings([0, 3, 200, 1, 0, 0, 64, 63, 1, 500, 0], dtype=np.float16)
    queries = embeddings([2, 7, 1], seed=1)
    wanted = np.flatnonzero(documents.lengths)
    scores, longest = scan_all(vectors_of(documents, stored), wanted, queries, threads)
    assert longest == pytest.approx(np.linalg.norm(documents.embeddings.astype(float), axis=1).max())
    for q, query in enumerate(queries):
        for d, document in enumerate(wanted):
            assert scores[q, d] == pytest.approx(naive_maxsim(query, documents[document]), abs=1e-5)


def test_scan_reads_only_what_is_wanted_and_says_the_same_of_it():
    documents = embeddings([5, 3, 90, 1, 7, 64, 13, 8], dtype=np.float16)
    queries = embeddings([2, 17], seed=1)
    vectors = vectors_of(documents)
    everything, _ = scan_all(vectors, np.arange(8), queries)
    documents.embeddings[documents.offsets[2] : documents.offsets[3]] = np.nan
    for wanted in ([0], [7], [0, 1, 3, 4, 5, 6, 7], [1, 4, 6]):
        scores, _ = scan_all(vectors, np.array(wanted), queries)
        np.testing.assert_array_equal(scores, everything[:, wanted])


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00])
def test_infinity_in_a_damaged_file_is_decoded_as_ever(bits):
    documents = embeddings([2, 3, 4], dtype=np.float16)
    documents.embeddings.view(np.uint16)[3, 2] = bits
    vectors = vectors_of(documents)
    assert vectors.longest == math.inf

    def decode(starts, ends, decoded):
        start, end = starts[0], ends[-1]
        kernels.to_single(vectors.half[start:end], decoded.view(np.uint32), decoded)

    vectors.decode = decode
    scores, longest = scan_all(vectors, np.arange(3), embeddings([4], seed=1))
    assert np.isfinite(scores).all()
    assert 65504 < longest < math.inf


@pytest.mark.parametrize("dim", [1, 7, 8, 48, 96, 127, 128, 130])
@pytest.mark.parametrize("kind", ["unit", "subnormal", "largest", "mixed"])
@pytest.mark.parametrize("turned", [False, True])
def test_scores_are_wrong_by_less_than_the_bound(dim, kind, turned):
    rng = np.random.default_rng(dim)
    numbers = rng.standard_normal((400, dim))
    if kind == "unit":
        numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    elif kind == "subnormal":
        numbers *= 2.0**-23
    elif kind == "largest":
        numbers = 65504 * np.sign(numbers)
    else:
        numbers = np.clip(numbers * 10.0 ** rng.integers(-6, 5, numbers.shape), -65504, 65504)
    stored = numbers.astype(np.float16)
    ends = np.append(np.sort(rng.integers(1, 400, 30)), 400)
    starts = np.concatenate([[0], ends[:-1]])
    starts, ends = starts[starts < ends], ends[starts < ends]
    for n in (1, 15, 16, 17, 32, 33):
        queries = stored[rng.permutation(400)[:n]].astype(np.float32)
        lanes = np.unique([0, n // 3, n])
        columns = scan.lay_out(queries, lanes).columns
        expected = reference.score_rows(stored, starts, ends, queries, lanes)
        longest = reference.longest(stored)
        errors = scan.largest_error(queries, lanes, longest, turned)
        half = stored.view(np.uint16)
        assert kernels.longest(half) == pytest.approx(longest, rel=1e-5)
        for vectors in (half, stored.astype(np.float32)):
            scores = np.full(expected.shape, 7, np.float32)
            kernels.score_rows(vectors, starts, ends, columns, lanes, scores)
            assert (np.abs(scores.astype(float) - expected) <= errors).all()


def test_many_short_documents_and_empty_ones_between_them():
    """Documents of less than a tile, and more of them than are listed at a time."""
    rng = np.random.default_rng(0)
    lengths = rng.choice([0, 1, 2, 3, 5, 6, 7, 11], 3000)
    documents = embeddings(lengths.tolist(), dtype=np.float16)
    queries = embeddings([16, 1, 20], seed=1)
    ends, starts = documents.offsets[1:], documents.offsets[:-1]
    scores = np.full((3000, 3), 7, np.float32)
    asked = scan.lay_out(queries.embeddings, queries.offsets)[:2]
    kernels.score_rows(documents.embeddings.view(np.uint16), starts, ends, *asked, scores)
    full = lengths > 0
    assert (scores[~full] == 7).all()
    expected = reference.score_rows(
        documents.embeddings, starts[full], ends[full], queries.embeddings, queries.offsets
    )
    np.testing.assert_allclose(scores[full], expected, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 5, 6, 7, 383, 384, 385, 389, 390, 391, 768, 769])
def test_one_document_of_any_length(n):
    document = embeddings([n], dtype=np.float16)
    queries = embeddings([3], seed=1)
    scores = np.full((1, 1), 7, np.float32)
    given = document.embeddings.view(np.uint16), document.offsets[:1], document.offsets[1:]
    kernels.score_rows(*given, *scan.lay_out(queries.embeddings, queries.offsets)[:2], scores)
    assert scores[0, 0] == (pytest.approx(naive_maxsim(queries[0], document[0]), abs=1e-5) if n else 7)


def test_no_documents():
    none = np.empty(0, np.int64)
    queries = embeddings([3], seed=1)
    columns = scan.lay_out(queries.embeddings, queries.offsets).columns
    given = np.empty((0, queries.dim), np.uint16), none, none
    kernels.score_rows(*given, columns, queries.offsets, np.empty((0, 1), np.float32))
    assert kernels.longest(given[0]) == 0
    vectors = vectors_of(embeddings([0], dtype=np.float16))
    assert list(scan.scan(vectors, none, queries.embeddings, queries.offsets)) == []


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 5, 9])
def test_longest_says_so_if_a_number_is_not_finite(number, at):
    single = np.ones((7, 10), np.float32)
    single[4, at] = number
    assert kernels.longest(single) == reference.longest(single) == math.inf
    assert kernels.longest(np.delete(single, 4, axis=0)) == pytest.approx(math.sqrt(10))


def test_passes_take_as_many_queries_as_stay_in_the_cache():
    assert list(scan.passes(np.array([0]))) == []
    assert list(scan.passes(np.array([0, 3]))) == [(0, 1)]
    assert list(scan.passes(np.array([0, 500, 512, 513]))) == [(0, 2), (2, 3)]
    assert list(scan.passes(np.array([0, 2000, 2001, 4000]))) == [(0, 1), (1, 2), (2, 3)]


def test_best_orders_by_score_then_key_and_leaves_out_the_impossible():
    scores = np.array([1, 3, -np.inf, 3, 2, 3], np.float32)
    keys = np.array([1, 9, 3, 4, 5, 6])
    assert scan.best(scores, keys, 2).tolist() == [3, 5]
    assert scan.best(scores, keys, 10).tolist() == [3, 5, 1, 4, 0]
    assert scan.best(scores[:0], keys[:0], 3).tolist() == []


def test_plausible_is_whatever_rounding_could_have_put_on_the_wrong_side():
    scores = np.array([20.0, 5.0, 19.9999, -np.inf, 19.99, 20.0001], np.float32)
    assert scan.plausible(scores, 1, 1e-3).tolist() == [0, 2, 5]
    assert scan.plausible(scores, 1, 1e-5).tolist() == [5]
    assert scan.plausible(scores, 4, 1e-3).tolist() == [0, 2, 4, 5]
    assert scan.plausible(scores, 9, 1e-3).tolist() == [0, 1, 2, 4, 5]
    assert scan.plausible(scores[:0], 3, 1e-3).tolist() == []

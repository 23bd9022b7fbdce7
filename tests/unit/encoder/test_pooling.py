"""Token pooling, held to SciPy's Ward clustering."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from lfm2_retrieval import Encoder, TokenEmbeddings
from lfm2_retrieval.encoder import pooling
from lfm2_retrieval.encoder.pooling import Clusters, ward_labels

Make = Callable[..., Path]
TEXTS = ["rain falls on quiet hills and rivers carry boats past old towns", "", "fox", "bread and wine " * 40]


def unit(rng: np.random.Generator, n: int, dim: int = 12) -> np.ndarray:
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 120), st.integers(1, 4))
def test_clusters_are_scipys(seed: int, n: int, factor: int) -> None:
    vectors = unit(np.random.default_rng(seed), n)
    k = max(1, n // factor)
    theirs = fcluster(linkage(vectors.astype(np.float64), "ward"), k, "maxclust")
    assert partition(ward_labels(vectors, k)) == partition(theirs)


def test_a_cluster_is_called_by_its_first_vector() -> None:
    labels = ward_labels(unit(np.random.default_rng(0), 50), 20)
    for label in set(labels.tolist()):
        assert np.flatnonzero(labels == label)[0] == label


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan, np.inf])
def test_vectors_that_are_all_alike_or_no_numbers_end(value: float) -> None:
    labels = ward_labels(np.full((64, 4), value, np.float32), 16)
    assert len(set(labels.tolist())) == 16


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("protected", [0, 2, 1000])
def test_every_row_is_in_one_cluster_of_its_text(factor: int, protected: int) -> None:
    lengths = [0, 1, 2, 3, 40, 0, 101]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    embeddings = TokenEmbeddings(unit(np.random.default_rng(1), offsets[-1]), offsets)
    clusters = Clusters.find(embeddings, factor, protected)
    assert sorted(clusters.order.tolist()) == list(range(offsets[-1]))
    free = [max(0, n - protected) for n in lengths]
    expected = [n - f + (max(1, f // factor) if f else 0) for n, f in zip(lengths, free, strict=True)]
    assert np.diff(clusters.offsets).tolist() == expected
    rows = [clusters.order[a:b] for a, b in pairwise(clusters.starts)]
    assert [group[0] for group in rows] == sorted(group[0] for group in rows)
    for text, (a, b) in enumerate(pairwise(clusters.offsets)):
        members = sorted(np.concatenate(rows[a:b]).tolist()) if b > a else []
        assert members == list(range(offsets[text], offsets[text + 1]))
        for kept in range(min(protected, lengths[text])):
            assert rows[a + kept].tolist() == [offsets[text] + kept]


def test_pooled_vectors_are_means_scaled_to_one() -> None:
    vectors = unit(np.random.default_rng(2), 30)
    embeddings = TokenEmbeddings(vectors, np.array([0, 30]), np.arange(30), np.arange(60).reshape(30, 2))
    clusters = Clusters.find(embeddings, 3, 2)
    pooled = clusters.pooled(embeddings, "float32", normalize=True)
    raw = clusters.pooled(embeddings, "float16", normalize=False)
    assert len(pooled.embeddings) == 2 + 28 // 3
    assert raw.embeddings.dtype == np.float16
    for i, members in enumerate(clusters.members(vectors)):
        mean = vectors[members].mean(axis=0)
        np.testing.assert_allclose(pooled[0][i], mean / np.linalg.norm(mean), atol=1e-6)
        np.testing.assert_allclose(raw[0][i], mean, atol=1e-3)
        assert (vectors[members] @ mean)[0] >= (vectors[members] @ mean).max() - 1e-4
        assert pooled.token_ids[i] == members[0]
        assert pooled.spans[i].tolist() == [2 * members[0], 2 * members[0] + 1]


def test_long_texts_are_pooled_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "_TOGETHER", 64)
    vectors = unit(np.random.default_rng(3), 200)
    clusters = Clusters.find(TokenEmbeddings(vectors, np.array([0, 200])), 2, 0)
    assert len(clusters.starts) - 1 == 100
    for a, b in pairwise(clusters.starts):
        assert len({row // 50 for row in clusters.order[a:b].tolist()}) == 1


@pytest.mark.parametrize("shape", [{}, {"bidirectional": True}, {"layout": "sentence-transformers"}])
@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_pooling_in_the_encoder(checkpoint: Make, shape: dict, mode: str) -> None:
    encoder = Encoder.load(checkpoint(**shape), long_documents=mode, document_length=40)
    plain = encoder.encode_documents(TEXTS, on_cut=lambda count: None)
    reader = encoder.with_options(pool_factor=3)
    pooled = reader.encode_documents(TEXTS, output="float16", on_cut=lambda count: None)
    assert pooled.embeddings.dtype == np.float16
    expected = [2 + (max(1, (n - 2) // 3) if n > 2 else 0) for n in plain.lengths.tolist()]
    assert pooled.lengths.tolist() == expected
    for i, text in enumerate(TEXTS):
        members = reader.document_members(text)
        a, b = pooled.offsets[i : i + 2]
        assert [spans[0].tolist() for spans in members] == pooled.spans[a:b].tolist()
        np.testing.assert_array_equal(reader.document_spans(text), pooled.spans[a:b])
        everything = sorted(tuple(span) for spans in members for span in spans.tolist())
        a, b = plain.offsets[i : i + 2]
        assert everything == sorted(map(tuple, plain.spans[a:b].tolist()))
        np.testing.assert_array_equal(pooled[i][:2], plain[i][:2].astype(np.float16))  # BOS and prefix


def test_vectors_made_elsewhere_get_the_members_they_are_most_like(checkpoint: Make) -> None:
    reader = Encoder.load(checkpoint(), pool_factor=2)
    text = TEXTS[0]
    [vectors] = reader.encode_documents([text])
    own = reader.document_members(text)
    order = np.random.default_rng(0).permutation(len(vectors))
    found = reader.document_members(text, vectors[order])
    for i, members in zip(order, found, strict=True):
        same = int(np.argmax(vectors[i] @ vectors.T))
        np.testing.assert_array_equal(members, own[same])
    for stored in (vectors.astype(np.float16), vectors[:-1]):
        for members, expected in zip(reader.document_members(text, stored), own, strict=False):
            np.testing.assert_array_equal(members, expected)

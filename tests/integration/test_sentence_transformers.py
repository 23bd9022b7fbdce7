"""An index of what sentence-transformers' MultiVectorEncoder gives, and of lists of vectors in any form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError

TEXTS = [
    "the quick brown fox jumps over a lazy dog",
    "rain falls on quiet hills",
    "rivers carry boats past old towns",
    "people sell bread, cheese and wine",
    "every morning trains leave for the coast at seven",
]
IDS = list("abcde")


@pytest.fixture(scope="module")
def model(checkpoint):
    sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.0")
    folder = checkpoint(layout="sentence-transformers")
    return sentence_transformers.MultiVectorEncoder(str(folder), device="cpu")


def found(results):
    return [[(hit.id, hit.score) for hit in hits] for hits in results]


@pytest.mark.parametrize("tier", ["exact", "balanced"])
def test_it_ranks_as_maxsim_of_the_model_does(model, tier):
    documents = model.encode_document(TEXTS)
    queries = model.encode_query(["rain falls", "where do boats go?"])
    with Index.create(None, model.get_embedding_dimension(), tier=tier) as index:
        assert index.add(IDS, documents, TEXTS) == 5
        results = index.search(queries, k=5)
        scores = [[sum((query @ one.T).max(1).values).item() for one in documents] for query in queries]
        for hits, expected in zip(results, scores, strict=True):
            assert [IDS.index(hit.id) for hit in hits] == np.argsort(-np.array(expected)).tolist()
            assert [hit.score for hit in hits] == pytest.approx(sorted(expected, reverse=True), abs=0.02)
        assert results[0][0].text in TEXTS
        single = index.search(model.encode_query("rain falls"), k=5)
        assert found(single) == found(results[:1])
        hybrid = index.search(queries[:1], SearchParams(mode="hybrid"), texts=["rain falls"])
        assert hybrid[0][0].id == "b"
        assert found(index.rerank(queries, [IDS, IDS])) == found(results)


def test_every_form_of_the_same_vectors_is_the_same(model):
    as_arrays = model.encode_document(TEXTS, convert_to_numpy=True)
    as_tensors = model.encode_document(TEXTS)
    together = TokenEmbeddings(np.concatenate(as_arrays), np.cumsum([0, *map(len, as_arrays)]))
    query = model.encode_query("rain")
    results = []
    for form in (as_arrays, as_tensors, tuple(as_arrays), [one.tolist() for one in as_arrays], together):
        with Index.create(None, model.get_embedding_dimension()) as index:
            with index.writer() as writer:
                writer.add(IDS, form)
            results.append(found(index.search([query.numpy()])))
            index.update(["a"], form[:1] if form is not together else together.select([0]))
            assert found(index.search(query)) == results[-1]
    assert all(one == results[0] for one in results)


def test_types_and_shapes():
    vectors = torch.randn(3, 4, 8, requires_grad=True)
    assert TokenEmbeddings.of(vectors).offsets.tolist() == [0, 4, 8, 12]
    assert TokenEmbeddings.of(vectors.bfloat16()).embeddings.dtype == np.float32
    assert TokenEmbeddings.of(vectors[0].half()).offsets.tolist() == [0, 4]
    assert TokenEmbeddings.of([np.ones((2, 3), int)]).embeddings.dtype == np.float32
    assert len(TokenEmbeddings.of([np.ones((0, 3)), np.ones((2, 3))])) == 2
    assert TokenEmbeddings.of([], 5).dim == 5


@pytest.mark.parametrize(
    "given",
    [
        [np.ones((2, 3)), np.ones((2, 4))],
        [np.ones(3)],
        np.ones(3),
        ["rain"],
        "rain",
        None,
        [{"a": 1}],
        [[1.0, 2.0], [3.0]],
    ],
)
def test_what_is_no_vectors(given):
    with Index.create(None, 3) as index:
        with pytest.raises(InvalidInputError):
            index.add(["a"] if not isinstance(given, list) else list("ab")[: len(given)], given)
        assert len(index) == 0


def test_widths_and_numbers_that_differ():
    with Index.create(None, 8) as index:
        index.add([], [])
        with pytest.raises(InvalidInputError, match="3 wide, the index takes 8"):
            index.add(["a"], [np.ones((2, 3))])
        with pytest.raises(InvalidInputError):
            index.add(["a", "b"], [np.ones((2, 8))])
        with pytest.raises(InvalidInputError):
            index.search(np.ones((2, 3)))
        assert index.search([]) == []

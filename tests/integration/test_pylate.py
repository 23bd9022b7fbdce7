"""The index behind PyLate's interfaces; most of it without PyLate, the rest where that is installed."""

import inspect

import numpy as np
import pytest
import torch

from lfm2_retrieval import Index, SearchParams
from lfm2_retrieval.errors import DuplicateIdError, InvalidInputError, StoredIndexError
from lfm2_retrieval.integrations.pylate import ColBERT, LFM2Index

DIM = 8


def texts(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    vectors = [rng.standard_normal((length, DIM)) for length in lengths]
    return [
        (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float16).astype(np.float32) for v in vectors
    ]


DOCUMENTS, QUERIES = texts(5, 9, 1, 7, 3), texts(4, 6, seed=1)
IDS = list("abcde")


def maxsim(query, document):
    return float((query @ document.T).max(axis=1).sum())


def expected(query, ids=IDS, k=10):
    scored = [(id, maxsim(query, document)) for id, document in zip(IDS, DOCUMENTS, strict=True) if id in ids]
    return sorted(scored, key=lambda pair: -pair[1])[:k]


def check(results, *rankings):
    assert len(results) == len(rankings)
    for result, ranking in zip(results, rankings, strict=True):
        assert [one["id"] for one in result] == [id for id, _ in ranking]
        assert [one["score"] for one in result] == pytest.approx([score for _, score in ranking], rel=1e-5)


@pytest.fixture
def index(tmp_path):
    index = LFM2Index(str(tmp_path), "colbert")
    yield index.add_documents(documents_ids=IDS, documents_embeddings=DOCUMENTS)
    index.close()


def test_it_ranks_by_maxsim(index):
    check(index(QUERIES), *map(expected, QUERIES))
    check(index(queries_embeddings=QUERIES, k=2), *(expected(query, k=2) for query in QUERIES))
    assert len(index) == 5


def test_retrieve(index):
    check(
        ColBERT(index=index).retrieve(queries_embeddings=QUERIES, k=3), *(expected(q, k=3) for q in QUERIES)
    )
    found = ColBERT(index).retrieve(QUERIES, 3, device="cpu", batch_size=1, subset=["b", "d"])
    check(found, *(expected(query, "bd") for query in QUERIES))


@pytest.mark.parametrize(
    "queries",
    [
        QUERIES[0],
        [QUERIES[0]],
        QUERIES[0][None],
        QUERIES[0].tolist() and [QUERIES[0].tolist()],
        torch.from_numpy(QUERIES[0]),
        [torch.from_numpy(QUERIES[0])],
        torch.from_numpy(QUERIES[0])[None],
        torch.from_numpy(QUERIES[0]).half().requires_grad_(),
        QUERIES[0].astype(np.float64),
    ],
)
def test_every_form_of_a_query(index, queries):
    check(index(queries), expected(QUERIES[0]))


def test_bfloat16_tensors(tmp_path):
    document = torch.eye(DIM, dtype=torch.bfloat16)
    index = LFM2Index(str(tmp_path)).add_documents("only", document)
    check(index(document[:3]), [("only", 3.0)])


def test_subsets(index):
    check(index(QUERIES, subset=["a", "c", "unknown"]), *(expected(query, "ac") for query in QUERIES))
    check(
        index(QUERIES, k=1, subset=[["a", "e"], ["b"]]),
        expected(QUERIES[0], "ae", 1),
        expected(QUERIES[1], "b"),
    )
    assert index(QUERIES, subset=[]) == index(QUERIES, subset=[[], []]) == [[], []]
    with pytest.raises(InvalidInputError, match="3 lists of ids for 2 queries"):
        index(QUERIES, subset=[["a"], ["b"], ["c"]])


def test_numbers_come_back_as_numbers(tmp_path):
    index = LFM2Index(str(tmp_path)).add_documents(range(5), DOCUMENTS)
    found = index(QUERIES)[0]
    assert sorted(one["id"] for one in found) == list(range(5))
    assert [one["id"] for one in index(QUERIES[0], subset=[3])[0]] == [3]
    index.add_documents(np.arange(5, 7), DOCUMENTS[:2])
    index.add_documents(7, DOCUMENTS[0])
    assert len(index) == 8
    with pytest.raises(DuplicateIdError):
        index.add_documents(["3"], DOCUMENTS[:1])


def test_it_is_kept_and_opened(index, tmp_path):
    index.close()
    again = LFM2Index(str(tmp_path), "colbert", params=SearchParams(exact=True))
    check(again(QUERIES), *map(expected, QUERIES))
    again.add_documents(["f"], DOCUMENTS[:1])
    with Index.open(tmp_path / "colbert") as plain:
        assert plain.ids() == [*IDS, "f"]


def test_override_begins_anew(index, tmp_path):
    fresh = LFM2Index(str(tmp_path), "colbert", override=True)
    assert len(fresh) == 0
    assert fresh(QUERIES) == [[], []]
    fresh.add_documents(["x"], DOCUMENTS[:1]).add_documents(["y"], DOCUMENTS[1:2])
    assert len(fresh) == 2


def test_two_that_begin_at_the_same_place(tmp_path):
    (tmp_path / "colbert").mkdir()  # an empty folder is no index
    first, second = (LFM2Index(str(tmp_path), "colbert") for _ in range(2))
    first.add_documents(["a"], texts(3))
    second.add_documents(["b"], texts(2))
    assert len(second) == 2
    first.close()
    second.close()


def test_nothing_added_nothing_found(tmp_path):
    index = LFM2Index(str(tmp_path))
    assert index.add_documents([], []) is index
    assert index(QUERIES) == [[], []]
    assert index([]) == []


@pytest.mark.parametrize(
    "bad", [[np.zeros(DIM)], [np.zeros((2, DIM)), np.zeros((2, 3))], [np.zeros((1, 2, DIM))]]
)
def test_wrong_shapes(index, bad):
    with pytest.raises(InvalidInputError, match=r"must be \[n_tokens, dim\]"):
        index(bad)


def test_wrong_input(index, tmp_path):
    with pytest.raises(InvalidInputError):
        index.add_documents(["f", "g"], DOCUMENTS[:1])
    with pytest.raises(DuplicateIdError):
        index.add_documents(["a"], DOCUMENTS[:1])
    with pytest.raises(InvalidInputError):
        index(QUERIES, k=0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(StoredIndexError):
        LFM2Index(str(tmp_path), "other")


def test_what_it_cannot_do_it_says(index):
    with pytest.raises(NotImplementedError, match="later version"):
        index.remove_documents(["a"])
    with pytest.raises(NotImplementedError, match="ranks documents itself"):
        index.get_documents_embeddings([["a"]])
    assert len(index) == 5


@pytest.fixture(scope="module")
def pylate():
    return pytest.importorskip("pylate", reason="PyLate is not installed: see the extra 'pylate'")


@pytest.mark.peer
def test_pylates_retriever_takes_it(pylate, index):
    from pylate.retrieve import ColBERT as Theirs

    for subset in (None, ["a", "e"]):
        theirs = Theirs(index=index).retrieve([torch.from_numpy(q) for q in QUERIES], k=3, subset=subset)
        assert theirs == ColBERT(index).retrieve(QUERIES, k=3, subset=subset)


@pytest.mark.peer
def test_scores_are_those_of_pylates_reranking(pylate, tmp_path):
    from pylate.rank import rerank

    # PyLate pads documents with zeros, so there a maximum is never negative: no vector here gives one.
    documents, queries = ([np.abs(text) for text in some] for some in (DOCUMENTS, QUERIES))
    theirs = rerank(
        documents_ids=[IDS, IDS],
        queries_embeddings=[torch.from_numpy(query) for query in queries],
        documents_embeddings=[[torch.from_numpy(document) for document in documents]] * 2,
    )
    index = LFM2Index(str(tmp_path)).add_documents(IDS, documents)
    check(index(queries), *[[(one["id"], one["score"]) for one in ranking] for ranking in theirs])


@pytest.mark.peer
def test_calls_that_fit_pylates_interfaces_fit_ours(pylate):
    from pylate.indexes.base import Base
    from pylate.retrieve import ColBERT as Theirs

    abstract = Base.__abstractmethods__ - {"__init__"}
    assert all(hasattr(LFM2Index, name) for name in abstract)
    for method in ("__init__", "retrieve"):
        wanted, ours = (inspect.signature(getattr(kind, method)).parameters for kind in (Theirs, ColBERT))
        assert list(ours)[: len(wanted)] == list(wanted)
        assert all(ours[name].kind == one.kind for name, one in wanted.items())

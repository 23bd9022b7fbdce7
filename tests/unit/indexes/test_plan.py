"""How much a search looks at: what the caller said, or as much as the codec's error leaves open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import embeddings

from lfm2_retrieval import CompressedIndex, SearchParams
from lfm2_retrieval.indexes.pipeline import plan

COUNTS = st.none() | st.integers(1, 50_000)


@given(st.integers(1, 10_000), COUNTS, COUNTS, COUNTS, st.booleans(), st.integers(0, 10**8))
def test_plans_are_in_order_and_keep_to_what_was_said(k, nprobe, candidates, rerank, precise, n_documents):
    limits = plan(SearchParams(k, nprobe=nprobe, candidates=candidates, rerank=rerank), precise, n_documents)
    assert limits.nprobe == (nprobe or 16)
    for fewest, most in (limits.candidates, limits.rerank):
        assert k <= fewest <= most
    assert limits.rerank[0] <= limits.candidates[0]
    assert limits.rerank[1] <= limits.candidates[1] <= 8 * limits.gathered
    if rerank:
        assert limits.rerank == (max(rerank, k),) * 2
    if candidates:
        assert limits.candidates == (max(candidates, limits.rerank[0]),) * 2


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Vectors in no clusters: nothing compresses worse, and the best documents' scores lie close together."""
    with CompressedIndex.create(tmp_path_factory.mktemp("plan") / "index", 128) as index:
        vectors = embeddings([20] * 1500, dim=128, seed=1)
        index.add([str(i) for i in range(1500)], vectors)
        assert index.build(force=True)
        yield index


def test_scores_that_are_uncertain_are_looked_at_more_closely(index):
    queries = embeddings([8] * 40, dim=128, seed=2)
    exact = index.search(queries, SearchParams(10, exact=True))

    def recall(params):
        found = index.search(queries, params)
        shared = [len({h.id for h in a} & {h.id for h in b}) for a, b in zip(found, exact, strict=True)]
        return np.mean(shared) / 10

    fewest = plan(SearchParams(10))
    fixed = SearchParams(10, candidates=fewest.candidates[0], rerank=fewest.rerank[0])
    assert recall(fixed) < 0.6
    assert recall(SearchParams(10, candidates=1500)) > 0.9
    assert recall(SearchParams(10)) > recall(fixed) + 0.2

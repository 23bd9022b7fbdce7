"""Nine tenths of the documents deleted: the others are found as in an index that never had any but them."""

import numpy as np
import pytest
from report import report

from eval.benchmarks.synthetic import SyntheticCorpus, draw_queries
from lfm2_retrieval import Index, TokenEmbeddings

K = 10


def add(index, documents, numbers):
    index.add([str(number) for number in numbers], documents.select(np.array(numbers)))


def ids(index, queries):
    return [{hit.id for hit in hits} for hits in index.search(queries, K)]


def choose(which, n, rng):
    """The tenth that stays: some here and there, or the newest."""
    left = rng.permutation(n)[: n // 10] if which == "random" else np.arange(n - n // 10, n)
    return sorted(left.tolist())


def survive(folder, tier, which, corpus, n_queries):
    """Recall of each query, against MaxSim of the vectors as given: before a merge, after it, with none dead.

    Half of the queries were made from survivors, half from any document.
    """
    documents, rng = corpus.documents(), np.random.default_rng(1)
    n = len(documents)
    left = choose(which, n, rng)
    queries = TokenEmbeddings.concatenate(
        [draw_queries(some, n_queries // 2, 12, rng) for some in (documents.select(left), documents)]
    )
    with Index.create(folder / "exact", corpus.dim, tier="exact") as index:
        add(index, documents, left)
        exact = ids(index, queries)

    def recall(index):
        pairs = zip(ids(index, queries), exact, strict=True)
        return np.array([len(found & best) / K for found, best in pairs])

    with Index.create(folder / "alone", corpus.dim, tier=tier) as index:
        add(index, documents, left)
        index.build(force=True)
        alone = recall(index)
    with Index.create(folder / "index", corpus.dim, tier=tier) as index:
        add(index, documents, range(n))
        index.build(force=True)
        with index.writer() as writer:  # which doesn't merge in passing
            writer.delete([str(number) for number in sorted(set(range(n)) - set(left))])
        assert index.ids() == [str(number) for number in left]
        assert sum(segment.n_documents for segment in index.segments) == n
        before, size = recall(index), sum(index.size_bytes().values())
        assert index.merge()
        index.verify()
        assert sum(segment.n_documents for segment in index.segments) == len(left)
        assert sum(index.size_bytes().values()) < size / 2
        after = recall(index)
    return {"before the merge": before, "after the merge": after, "survivors alone": alone}


def check(recalls):
    """Not below that of the survivors alone, by more than two standard errors of the mean difference."""
    alone = recalls["survivors alone"]
    for when in ("before the merge", "after the merge"):
        less = alone - recalls[when]
        noise = less.std(ddof=1) / np.sqrt(len(less))
        assert less.mean() <= 2 * noise, (when, less.mean(), noise)


@pytest.mark.parametrize("tier", ["balanced", "compact"])
@pytest.mark.parametrize("which", ["random", "newest"])
def test_few_survivors_are_found(tmp_path, tier, which):
    check(survive(tmp_path, tier, which, SyntheticCorpus(3000, dim=32, length=16), 40))


@pytest.mark.campaign
def test_survivors_among_twenty_thousand(tmp_path):
    corpus, n_queries = SyntheticCorpus(20_000, length=30), 300
    figures = {"documents": 20_000, "vectors": len(corpus.documents().embeddings), "queries": n_queries}
    for tier in ("balanced", "compact"):
        for which in ("random", "newest"):
            folder = tmp_path / f"{tier}-{which}"
            folder.mkdir()
            recalls = survive(folder, tier, which, corpus, n_queries)
            check(recalls)
            figures[f"{tier}, {which} tenth left"] = {
                when: round(float(values.mean()), 4) for when, values in recalls.items()
            }
    report("deleted", figures)

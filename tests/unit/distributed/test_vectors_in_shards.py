"""Vectors in shards: hits and scores are those of one index; and other numbers of shards."""

from __future__ import annotations

import numpy as np
import pytest

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.distributed import MANIFEST, Manifest, ShardedRetriever, reshard, resharding
from lfm2_retrieval.errors import IndexExistsError, InvalidInputError
from lfm2_retrieval.indexes import sharing

N, DIM = 1400, 32


def embeddings(n: int, seed: int, length: tuple[int, int] = (6, 14)) -> TokenEmbeddings:
    """Vectors about common centres, as token vectors lie; every fourth text comes twice."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(120, DIM))
    texts = []
    for i in range(n):
        if i % 4 == 3:
            texts.append(texts[i // 2])
            continue
        some = centres[rng.integers(0, 120, rng.integers(*length))] + rng.normal(size=(1, DIM)) * 0.4
        some = some + rng.normal(size=some.shape) * 0.3
        texts.append((some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float32))
    return TokenEmbeddings.of(texts)


def make(path, tier: str, n: int = N) -> Index:
    index = Index.create(path, DIM, tier=tier, fields=["third"])
    ids = [f"v{i}" for i in range(n)]
    texts = [f"word{i % 50} common" for i in range(n)]
    index.add(ids, embeddings(n, 1), texts, [{"third": i % 3} for i in range(n)])
    return index


QUERIES = embeddings(30, 7, (8, 20))


def seen(found):
    return [[(hit.id, hit.score, hit.score_kind) for hit in hits] for hits in found]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    with make(tmp_path_factory.mktemp("exact") / "index", "exact") as index:
        yield index


@pytest.fixture(scope="module")
def exact_shards(exact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact-shards")
    for n in (2, 4, 8):
        reshard(exact.path, folder / str(n), shards=n)
    return folder


@pytest.mark.parametrize("n_shards", [2, 4, 8])
def test_exact_shards_equal_one_index_bit_for_bit(exact, exact_shards, n_shards):
    with ShardedRetriever.open(exact_shards / str(n_shards)) as opened:
        for params, where in (
            (SearchParams(10), None),
            (SearchParams(300), None),
            (SearchParams(10), {"third": 1}),
            (SearchParams(8, group_by="third", group_size=3), None),
        ):
            assert seen(opened.store.search(QUERIES, params, where=where)) == seen(
                exact.search(QUERIES, params, where=where)
            )
        assert np.array_equal(
            opened.store.embeddings(["v9", "v4", "v9"]).embeddings,
            exact.embeddings(["v9", "v4", "v9"]).embeddings,
        )
        assert opened.store.sources.ids() == exact.sources.ids()


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    with make(tmp_path_factory.mktemp("balanced") / "index", "balanced") as index:
        index.build(force=True)
        assert index.codec_facts is not None
        yield index


def recall(found, expected) -> float:
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len({h.id for h in a} & {h.id for h in b}) / len(b) for a, b in pairs]))


@pytest.mark.parametrize("n_shards", [2, 4])
def test_compressed_shards_have_the_codec_of_the_index_and_find_as_much(balanced, tmp_path, n_shards):
    manifest = reshard(balanced.path, tmp_path / "shards", shards=n_shards)
    assert manifest.codec == sharing.digest_of(sharing.codec_of(balanced))
    exactly = balanced.search(QUERIES, SearchParams(10, exact=True))
    with ShardedRetriever.open(tmp_path / "shards") as opened:
        assert seen(opened.store.search(QUERIES, SearchParams(10, exact=True))) == seen(exactly)
        one, several = balanced.search(QUERIES), opened.store.search(QUERIES)
        assert recall(several, exactly) >= recall(one, exactly) - 0.005
        everything = {hit.id: hit.score for hits in exactly[:1] for hit in hits}
        assert all(everything.get(hit.id, hit.score) == hit.score for hit in several[0])
        opened.store.merge()
        assert opened.store.refresh() is False


def test_other_numbers_of_shards_copy_all_there_is(exact, exact_shards, tmp_path):
    shown = []
    manifest = reshard(exact_shards / "4" / MANIFEST, tmp_path / "three", shards=3, on_progress=shown.append)
    assert sum(entry.documents for entry in manifest.shards) == N == shown[-1].documents
    assert Manifest.read(tmp_path / "three") == manifest
    assert not (tmp_path / "three" / "building").exists()
    with ShardedRetriever.open(tmp_path / "three") as opened:
        assert seen(opened.store.search(QUERIES)) == seen(exact.search(QUERIES))
        assert opened.store.sources.ids() == exact.sources.ids()
    with pytest.raises(IndexExistsError, match="already holds a collection"):
        reshard(exact.path, tmp_path / "three", shards=3)


def test_an_interrupted_copy_goes_on_where_it_was(exact, tmp_path, monkeypatch):
    monkeypatch.setattr(resharding, "_COMMIT_TOKENS", 2000)
    shown = []

    def stop(progress):
        shown.append(progress)
        if progress.documents > N // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reshard(exact.path, tmp_path / "shards", shards=3, on_progress=stop)
    with pytest.raises(InvalidInputError, match="begun with n_shards 3"):
        reshard(exact.path, tmp_path / "shards", shards=4)
    reshard(exact.path, tmp_path / "shards", shards=3, on_progress=shown.append)
    assert shown[-1].tokens < exact.n_tokens  # the rest alone was copied
    with ShardedRetriever.open(tmp_path / "shards") as opened:
        assert seen(opened.store.search(QUERIES)) == seen(exact.search(QUERIES))
        assert opened.count() == N


def test_a_codec_is_trained_for_all_where_the_source_has_none(exact, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "TRAIN_TOKENS", 1 << 13)
    with make(tmp_path / "loose", "balanced") as loose:
        manifest = reshard(loose.path, tmp_path / "shards", shards=2)
        assert manifest.codec is not None
        with ShardedRetriever.open(tmp_path / "shards") as opened:
            found = opened.store.search(QUERIES)
            assert recall(found, loose.search(QUERIES)) > 0.9


def test_compact_shards_are_refused(tmp_path):
    with make(tmp_path / "index", "compact", 900) as index:
        index.build(force=True)
    with pytest.raises(InvalidInputError, match="keeps no vectors to copy"):
        reshard(tmp_path / "index", tmp_path / "shards", shards=2)

"""The compressed index, from its first document on, held to the exact one."""

import mmap
import shutil
import signal
import sqlite3
import threading
import time

import numpy as np
import pytest
from support import DIM, embeddings, naive_search, pairs, start

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.datatypes import ScoreKind
from lfm2_retrieval.errors import DamagedIndexError, InvalidInputError, InvalidTypeError
from lfm2_retrieval.indexes import Tier
from lfm2_retrieval.indexes.commits import transaction
from lfm2_retrieval.indexes.compaction import policy
from lfm2_retrieval.indexes.segments import arrays, compressed

TIERS = ["compact", "balanced", "accurate"]
N = 700


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """FAISS's threads wait for each other by spinning, which takes seconds on a busy machine."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def clustered(n=N, seed=0, dim=DIM, longest=20):
    """Unit vectors around a hundred directions; a document draws from a few of them. Some are empty."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest, n)
    topics = np.random.default_rng(99).standard_normal((100, dim))
    of_document = rng.integers(0, 100, (n, 4))
    owners = np.repeat(np.arange(n), lengths)
    vectors = topics[of_document[owners, rng.integers(0, 4, len(owners))]]
    vectors = vectors + 0.6 * rng.standard_normal(vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings(
        vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    )


def names(n=N, first=0):
    return [f"dök{i}\x00😀" for i in range(first, first + n)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folders = {}
    for tier in TIERS:
        folders[tier] = tmp_path_factory.mktemp("built") / tier
        with Index.create(folders[tier], DIM, tier=tier) as index:
            index.add(names(), clustered(), [f"text {i}" for i in range(N)])
            assert index.size_bytes().keys() >= {"vectors"}
            assert index.build(force=True)
            assert not index.build(force=True)
    return folders


@pytest.fixture(params=TIERS)
def index(request, built, tmp_path):
    shutil.copytree(built[request.param], tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        yield index


@pytest.fixture
def balanced(built, tmp_path):
    shutil.copytree(built["balanced"], tmp_path / "index")
    return tmp_path / "index"


def recall(found, exact):
    return np.mean(
        [
            len({h.id for h in a} & {id for id, _ in b}) / len(b)
            for a, b in zip(found, exact, strict=True)
            if b
        ]
    )


def documents_of(batch, first=0):
    return list(zip(names(len(batch), first), batch, strict=True))


def test_hits_are_nearly_the_exact_ones(index):
    queries = clustered(40, seed=1)
    exact = [naive_search(query, documents_of(clustered()), 10) for query in queries]
    hits = index.search(queries, 10)
    assert recall(hits, exact) >= (0.85 if index.tier is Tier.COMPACT else 0.98)
    kind = ScoreKind.ESTIMATE if index.tier is Tier.COMPACT else ScoreKind.MAXSIM
    assert {hit.score_kind for some in hits for hit in some} == {kind}
    scores = {id: score for some in exact for id, score in some}
    error = 0.2 if index.tier is Tier.COMPACT else 0.02
    for hit, (_, score) in ((some[0], best[0]) for some, best in zip(hits, exact, strict=True) if best):
        assert hit.score == pytest.approx(score, rel=error)
        assert index.get(hit.id).text == hit.text
    assert scores
    empty = {name for name, document in documents_of(clustered()) if not len(document)}
    assert not {hit.id for some in index.search(queries, N) for hit in some} & empty


def test_a_score_does_not_depend_on_how_the_document_was_found(index):
    queries = clustered(20, seed=2)
    exact = index.search(queries, SearchParams(N, exact=True))
    with Index.open(index.path) as plain:
        assert plain.search(queries, N) == exact
    for some, best in zip(index.search(queries, 10), exact, strict=True):
        scores = {hit.id: hit.score for hit in best}
        assert [hit.score for hit in some] == [scores[hit.id] for hit in some]
        assert [hit.rank for hit in some] == list(range(1, len(some) + 1))
    everything = SearchParams(10, nprobe=10_000, candidates=N, rerank=N)
    assert index.search(queries, everything) == [some[:10] for some in exact]


def test_k_beyond_the_collection_returns_all_that_can_be_found(index):
    hits = index.search(clustered(2, seed=5), 10 * N)
    assert [len(some) for some in hits] == [np.count_nonzero(clustered().lengths)] * 2


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 33, 200])
def test_any_number_of_query_vectors(index, n):
    query = embeddings([n, 0], seed=n)
    exact = index.search(query, SearchParams(10, exact=True))
    hits = index.search(query, SearchParams(10, nprobe=64))
    assert [len(some) for some in hits] == [10 * (n > 0), 0]
    assert recall(hits, [pairs(some) for some in exact]) >= 0.7 if n else hits == [[], []]


def test_reopening_gives_the_same(index):
    queries = clustered(10, seed=3)
    with Index.open(index.path) as again:
        assert again.search(queries) == index.search(queries)
        assert (again.tier, again.settings) == (index.tier, index.settings)
        again.verify()


def test_few_bytes(index):
    sizes = index.size_bytes()
    width = 2 if index.tier is Tier.ACCURATE else 4
    assert sizes["codes"] == 128 + index.n_tokens * DIM // width
    assert ("int8" in sizes) == (index.tier is not Tier.COMPACT)
    assert not {"vectors", "scales"} & set(sizes)
    with index.writer():  # sweeps what was compressed
        pass
    assert [path.name for path in (index.path / "segments").iterdir()] == ["00000002"]


def test_later_documents_are_found_at_once_and_folded_in(index, monkeypatch):
    later = clustered(60, seed=7)
    index.add(names(60, N), later)
    assert [part.compressed for part in index._snapshot().parts] == [True, False]
    queries = TokenEmbeddings.concatenate([later.select(np.flatnonzero(later.lengths)[:5])])
    before = index.search(queries, 3)
    assert [some[0].id for some in before] == [names(60, N)[i] for i in np.flatnonzero(later.lengths)[:5]]
    assert {some[0].score_kind for some in before} == {ScoreKind.MAXSIM}
    monkeypatch.setattr(policy, "FOLD_TOKENS", 1)
    monkeypatch.setattr(policy, "FOLD_SHARE", 2)
    assert not index.build()  # less than its share
    monkeypatch.setattr(policy, "FOLD_SHARE", 1000)
    assert index.build()
    assert [part.compressed for part in index._snapshot().parts] == [True, True]
    assert [some[0].id for some in index.search(queries, 3)] == [some[0].id for some in before]
    index.add(names(90, N + 60), clustered(90, seed=8))  # merges the small one too
    assert [part.segment.info.n_documents for part in index._snapshot().parts] == [N, 150]
    assert index.ids() == names(N + 150)
    index.verify()


def test_small_collections_stay_exact(tmp_path):
    for tier in TIERS:
        for n in (0, 1, 2, 10):
            with Index.create(tmp_path / f"{tier}{n}", DIM, tier=tier) as index:
                batch = embeddings([600] * n)
                index.add(names(n), batch)
                assert not index.build(force=True)
                query = embeddings([5], seed=1)
                assert pairs(index.search(query)[0]) == naive_search(query[0], documents_of(batch), 10)
                index.verify()


def test_a_tier_of_exact_is_never_compressed(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "TRAIN_TOKENS", 1)
    with Index.create(tmp_path / "index", DIM, tier="exact") as index:
        index.add(names(), clustered())
        assert not index.build(force=True)
        parts = {"vectors", "offsets", "keys", "checksums", "token_ids", "catalogue"}
        parts |= {"steps", "step_sizes", "step_errors"}
        assert set(index.size_bytes()) == parts


def test_enough_vectors_are_compressed_without_asking(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "TRAIN_TOKENS", 4096)
    monkeypatch.setattr(policy, "SEGMENT_TOKENS", 2000)
    monkeypatch.setattr(transaction, "SEGMENT_TOKENS", 500)
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(100), clustered().select(np.arange(100)))
        assert not index._snapshot().codecs
        index.add(names(N - 100, 100), clustered().select(np.arange(100, N)))
        parts = index._snapshot().parts
        assert [part.compressed for part in parts] == [True] * 4
        assert index.ids() == names()
        hits = index.search(clustered(20, seed=1), 10)
        exact = [naive_search(query, documents_of(clustered()), 10) for query in clustered(20, seed=1)]
        assert recall(hits, exact) >= 0.95
        index.verify()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda rng: np.tile([1.0] + [0.0] * (DIM - 1), (5000, 1)),
        lambda rng: np.zeros((5000, DIM)),
        lambda rng: rng.standard_normal((5000, DIM)) * np.exp(rng.uniform(-8, 8, (5000, 1))),
        lambda rng: rng.choice([65504.0, -65504.0], (5000, DIM)),
        lambda rng: np.repeat(rng.standard_normal((50, DIM)), 100, axis=0),
    ],
    ids=["equal", "zero", "any length", "largest", "repeated"],
)
def test_odd_vectors(tmp_path, tier, make):
    vectors = make(np.random.default_rng(0)).astype(np.float64)
    batch = TokenEmbeddings(vectors, np.arange(0, 5001, 50))
    query = embeddings([4], seed=3)
    with Index.create(tmp_path / "index", DIM, tier=tier) as index:
        index.add(names(100), batch)
        assert index.build(force=True)
        index.verify()
        hits = index.search(query, 10)[0]
        exact = naive_search(query[0], documents_of(batch), 10)
        if tier != "compact":
            assert [hit.score for hit in hits] == pytest.approx(
                [score for _, score in exact], rel=0.02, abs=1e-6
            )
        assert len(hits) == 10
        assert np.isfinite([hit.score for hit in hits]).all()


def test_one_very_long_document(tmp_path):
    lengths = [32_768, *[10] * 80, 0]
    batch = embeddings(lengths)
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(82), batch)
        index.build(force=True)
        query = batch.select([0]).embeddings[20_000:20_020]
        hits = index.search(TokenEmbeddings(query, np.array([0, 20])), 100)[0]
        assert hits[0].id == names(1)[0]
        assert hits[0].score == pytest.approx(20, rel=0.01)
        assert len(hits) == 81


def test_a_width_that_no_byte_divides(tmp_path):
    batch = clustered(dim=7)
    for tier in TIERS:
        with Index.create(tmp_path / tier, 7, tier=tier) as index:
            index.add(names(), batch)
            assert index.build(force=True)
            queries = clustered(20, seed=1, dim=7)
            exact = [naive_search(query, documents_of(batch), 10) for query in queries]
            assert recall(index.search(queries), exact) >= (0.6 if tier == "compact" else 0.95)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    contents = []
    for seed in (1, 1, 2):
        path = tmp_path / f"{len(contents)}"
        with Index.create(path, DIM, seed=seed) as index:
            index.add(names(), clustered())
            index.build(force=True)
        files = sorted([*path.glob("codecs/*/*"), *path.glob("segments/00000002/*")])
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("wrong", [{"tier": "tiny"}, {"tier": None}, {"seed": -1}, {"seed": 1.5}])
def test_wrong_settings_are_refused(tmp_path, wrong):
    with pytest.raises(InvalidInputError):
        Index.create(tmp_path / "index", DIM, **wrong)
    assert not (tmp_path / "index").exists()


def test_search_parameters_are_checked():
    for wrong in ({"nprobe": 0}, {"candidates": -1}, {"rerank": 0}):
        with pytest.raises(InvalidInputError):
            SearchParams(**wrong)
    with pytest.raises(InvalidTypeError):
        SearchParams(nprobe=1.5)


def test_overwriting_retires_the_codec_and_keeps_the_tier(balanced):
    with Index.open(balanced) as index:
        with index.writer(replace={"dim": DIM}) as writer:
            writer.add(["new"], embeddings([3]))
        assert (index.tier, index.ids()) == (Tier.BALANCED, ["new"])
        assert index.search(embeddings([2]))[0][0].id == "new"
        with index.writer():
            pass
        assert list((balanced / "codecs").iterdir()) == []
        index.verify()


def test_readers_go_on_while_it_is_compressed(tmp_path):
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(), clustered())
        queries, errors, done = clustered(3, seed=6), [], threading.Event()
        best = [some[0].id for some in index.search(queries, 3) if some]

        def search():
            try:
                while not done.is_set():
                    assert [some[0].id for some in index.search(queries, 3) if some] == best
                    time.sleep(0.001)
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        index.build(force=True)
        with index.writer():
            pass
        index.search(queries)
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []


FILES = ["centroids.npy", "codes.npy", "documents.npy", "int8.npy", "lists.npy", "offsets.npy"]


@pytest.mark.parametrize("name", FILES)
def test_damage_is_named(balanced, name):
    path = balanced / "segments" / "00000002" / name
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-1])
    with pytest.raises(DamagedIndexError, match=name):
        Index.open(balanced)
    data[-1] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(DamagedIndexError, match=name), Index.open(balanced) as index:
        index.verify()


@pytest.mark.parametrize("name", ["centroids.npy", "documents.npy"])
def test_numbers_that_point_nowhere_are_not_followed(balanced, name):
    path = balanced / "segments" / "00000002" / name
    data = path.read_bytes()
    path.write_bytes(data[:128] + b"\xff" * (len(data) - 128))
    with Index.open(balanced) as index, pytest.raises(DamagedIndexError, match=name):
        index.search(embeddings([3]), SearchParams(1, candidates=1, rerank=1))


@pytest.mark.parametrize("name", ["rotation.npy", "centroids.npy", "codebooks.npy"])
def test_a_damaged_codec_is_named(balanced, name):
    path = balanced / "codecs" / "00000001" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedIndexError, match=name), Index.open(balanced) as index:
        index.verify()
    path.unlink()
    with pytest.raises(DamagedIndexError, match=name):
        Index.open(balanced)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE codecs SET facts = '{}'",
        "UPDATE codecs SET facts = 'x'",
        "UPDATE codecs SET files = '{}'",
        "UPDATE codecs SET name = '../x'",
        """UPDATE codecs SET facts = '{"n_centroids": 99999999, "n_codes": 4, "width": 4}'""",
        "UPDATE segments SET codec_id = 7 WHERE died IS NULL",
        "UPDATE segments SET codec = 'pq2-int8-unit' WHERE died IS NULL",
        "UPDATE segments SET codec = 'pq4-int8' WHERE died IS NULL",
    ],
)
def test_impossible_rows_are_refused(balanced, change):
    connection = sqlite3.connect(balanced / "index.db")
    with connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(DamagedIndexError):
        Index.open(balanced)


KILLED = """
import os, signal, sys
import faiss
faiss.omp_set_num_threads(1)
from lfm2_retrieval.indexes import Index
left = int(sys.argv[2])
def watch(event, arguments):
    global left
    if event in ("os.mkdir", "os.rename", "open") and "index" in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
with Index.open(sys.argv[1]) as index:
    sys.addaudithook(watch)
    index.build(force=True)
"""


@pytest.mark.parametrize("count", [1, 3, 5, 8, 12, 15])
def test_a_kill_while_compressing_leaves_the_old_commit(tmp_path, count):
    folder = tmp_path / "index"
    with Index.create(folder, DIM) as index:
        index.add(names(), clustered())
        before = index.search(clustered(3, seed=1))
    process = start(KILLED, folder, count)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), errors
    with Index.open(folder) as index:
        assert index.ids() == names()
        if process.returncode:
            assert index.search(clustered(3, seed=1)) == before
        index.verify()
        index.build(force=True)
        with index.writer():
            pass
        assert all(part.compressed for part in index._snapshot().parts)
        assert len(list((folder / "codecs").iterdir())) == len(index._snapshot().codecs) == 1
        index.verify()


@pytest.mark.parametrize("left", [0, 1, 9, 100, N])
def test_a_filter_holds_before_anything_is_scored(tmp_path, left):
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(), clustered(longest=12), metadata=[{"n": i} for i in range(N)])
        index.build(force=True)
        queries = clustered(8, seed=5)
        where = {"n": {"$lt": left}}
        params = SearchParams(10, candidates=60, rerank=30)
        found = index.search(queries, params, where=where)
        exact = [pairs(hits) for hits in index.search(queries, SearchParams(10, exact=True), where=where)]
        assert all(hit.metadata["n"] < left for hits in found for hit in hits)
        assert [len(hits) for hits in found] == [len(hits) for hits in exact]
        assert not left or recall(found, exact) > 0.9
        assert len(index.search(queries, params)[-1]) == len(index.search(queries, params, where="TRUE")[-1])


def test_stored_vectors_come_in_the_order_asked_for(index):
    some = [names()[5], names()[3], names()[5]]
    found = index.embeddings(some)
    assert found.lengths.tolist() == clustered().select([5, 3, 5]).lengths.tolist()
    assert np.abs(found.embeddings - clustered().select([5, 3, 5]).embeddings).max() < 0.5
    with pytest.raises(InvalidInputError, match="not in the index"):
        index.embeddings(["nobody"])


@pytest.mark.parametrize("where", [None, {"n": {"$gte": N // 2}}])
def test_as_many_as_asked_for_are_found_whatever_the_lists_hold(tmp_path, where):
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(), clustered(longest=12), metadata=[{"n": i} for i in range(N)])
        index.build(force=True)
        query = clustered(20, seed=5)
        short = TokenEmbeddings(query.embeddings[:1], np.array([0, 1]))
        few = SearchParams(60, nprobe=1, candidates=60, rerank=60)
        assert len(index.search(short, few, where=where)[0]) == 60


def test_vectors_that_memory_may_lack_are_called_for_before_they_are_read(index, monkeypatch):
    queries, called = clustered(6, seed=4), []
    before = index.search(queries)

    class Map:
        def madvise(self, advice, start, length):
            assert advice == mmap.MADV_WILLNEED
            assert start % mmap.PAGESIZE == 0
            called.append((start, start + length))

    monkeypatch.setattr(arrays, "_map_of", lambda array: Map())
    assert index.search(queries) == before  # the file is small
    assert called == []
    monkeypatch.setattr(compressed, "CALLED_FOR", 1)
    assert index.search(queries) == before
    assert bool(called) == (index.tier is not Tier.COMPACT)
    if called:
        [part] = index._snapshot().parts
        keys = {entry.id: number for number, entry in enumerate(index.documents())}
        for hit in before[0]:
            rows = part.segment.offsets[keys[hit.id] : keys[hit.id] + 2]
            first, last = arrays.HEADER_BYTES + rows * DIM
            assert any(start <= first and last <= end for start, end in called)


def test_calling_for_all_of_a_file_is_within_it(index):
    for part in index._snapshot().parts:
        n = np.array([part.segment.info.n_tokens])
        for name in compressed.token_files(part.segment.layout):
            part.segment.prefetch(name, n * 0, n)  # beyond the file, this would raise a ValueError
            part.segment.prefetch(name, n, n)

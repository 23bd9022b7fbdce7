"""Building: what is committed when, in how much memory, from what input, and what survives a kill."""

import json
import random
import signal
import threading
import time

import numpy as np
import pytest
from support import DIM, embeddings, naive_search, pairs, start
from test_compressed import TIERS, N, clustered, documents_of, names, recall

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.errors import (
    IndexLockedError,
    IndexWriteError,
    InvalidInputError,
    InvalidTypeError,
)
from lfm2_retrieval.indexes import DriftWarning, Tier
from lfm2_retrieval.indexes.catalogue.lock import WriterLock
from lfm2_retrieval.indexes.commits import transaction
from lfm2_retrieval.indexes.compaction import policy
from lfm2_retrieval.indexes.compaction.exchange import Compressor
from lfm2_retrieval.indexes.compaction.policy import parse_memory
from lfm2_retrieval.indexes.kernels import encode
from lfm2_retrieval.indexes.quantization import codec, kmeans, threads, training
from lfm2_retrieval.indexes.segments import compressed
from lfm2_retrieval.indexes.segments.arrays import document_checksums


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture
def loose(tmp_path):
    """Documents in several fp16 segments."""
    with Index.create(tmp_path / "index", DIM) as index:
        for first in range(0, N, 100):
            batch = clustered().select(np.arange(first, first + 100))
            index.add(names(100, first), batch, [f"text {i}" for i in range(first, first + 100)])
        yield index


@pytest.fixture
def several(loose, monkeypatch):
    """The same, to become several compressed segments."""
    monkeypatch.setattr(policy, "SEGMENT_TOKENS", 2000)
    return loose


def kinds(index):
    return [part.compressed for part in index._snapshot().parts]


def best(index, k=5):
    queries = clustered(12, seed=4)
    return [[hit.id for hit in hits] for hits in index.search(queries, SearchParams(k, exact=True))]


def test_each_segment_is_committed_on_its_own(several, monkeypatch):
    seen, ids = [], several.ids()
    exchange = Compressor.exchange

    def watched(self, *arguments):
        seen.append((kinds(several), several.ids(), several.n_tokens))
        return exchange(self, *arguments)

    monkeypatch.setattr(Compressor, "exchange", watched)
    n_tokens = several.n_tokens
    assert several.build(force=True)
    assert len(seen) > 2
    assert [sum(compressed) for compressed, _, _ in seen] == list(range(len(seen)))
    assert all(some == ids and n == n_tokens for _, some, n in seen)
    assert kinds(several) == [True] * len(seen)
    assert several.ids() == ids
    several.verify()
    # What was replaced is gone from the disk, and so is the folder for building.
    assert len(list((several.path / "segments").iterdir())) == len(seen)
    assert not (several.path / "building").exists()


def test_a_build_that_failed_goes_on_and_does_not_train_again(several, monkeypatch):
    exchange, calls = Compressor.exchange, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return exchange(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Compressor, "exchange", failing)
        with pytest.raises(OSError, match="No space"):
            several.build(force=True)
    assert sum(kinds(several)) == 2
    several.verify()
    assert best(several)
    monkeypatch.setattr(training, "cluster", None)
    phases = []
    assert several.build(force=True, progress=lambda phase, done, total: phases.append((phase, done, total)))
    assert {phase for phase, _, _ in phases} == {"encode"}
    assert phases[-1][1] == phases[-1][2]
    assert all(kinds(several))
    assert len(several._snapshot().codecs) == 1
    several.verify()


@pytest.mark.parametrize("function", ["append", "finish", "place"])
def test_a_full_disk_is_our_error_and_leaves_the_last_commit(several, monkeypatch, function):
    from lfm2_retrieval.indexes.segments.compressed import CompressedBuilder

    ids, before = several.ids(), best(several)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CompressedBuilder, function, full)
        with pytest.raises(IndexWriteError, match=r"No space.*make room") as caught:
            several.build(force=True)
    assert isinstance(caught.value, OSError)
    assert (several.ids(), best(several)) == (ids, before)
    several.verify()
    assert not (several.path / "building").exists()
    assert several.build(force=True)
    several.verify()


def test_others_add_while_a_build_runs(several):
    added = []

    def progress(phase, done, total):
        if len(added) < 4:
            several.add([f"new{len(added)}"], embeddings([3], seed=len(added)), timeout=0)
            added.append(phase)

    assert several.build(force=True, progress=progress)
    assert set(added) == {"train", "encode"}
    assert several.ids() == [*names(), "new0", "new1", "new2", "new3"]
    assert sum(not compressed for compressed in kinds(several)) >= 1
    several.verify()
    for i in range(4):
        assert several.search(embeddings([3], seed=i), 1)[0][0].id == f"new{i}"


def test_an_index_that_is_emptied_meanwhile_stays_empty(several):
    def progress(phase, done, total):
        if phase == "encode" and len(several) == N:
            with several.writer(replace={"dim": DIM}) as other:
                other.add(["new"], embeddings([3]))

    assert not several.build(force=True, progress=progress)
    assert several.ids() == ["new"]
    several.verify()


def test_a_document_that_dies_meanwhile_stays_dead(several):
    def progress(phase, done, total):
        if phase == "encode" and len(several) == N:
            several.delete(names()[5])

    assert several.build(force=True, progress=progress)
    assert several.ids() == [name for name in names() if name != names()[5]]
    several.verify()
    several.add([names()[5]], embeddings([2]))


def test_a_second_build_waits_or_leaves_it_to_the_first(loose, monkeypatch):
    monkeypatch.setattr(policy, "TRAIN_TOKENS", 4096)
    with WriterLock(loose.path / "build.lock", 0):
        assert not loose.build()
        with pytest.raises(IndexLockedError):
            loose.build(force=True, timeout=0)
        loose.add(["new"], embeddings([3]))
    assert loose.build()


def test_readers_see_every_document_throughout(several):
    expected, errors, done = best(several, 1), [], threading.Event()

    def search():
        try:
            while not done.is_set():
                assert best(several, 1) == expected
                assert len(several) == N
                time.sleep(0.001)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    several.build(force=True)
    done.set()
    thread.join()
    assert errors == []


def test_a_small_addition_rewrites_little(several, monkeypatch):
    several.build(force=True)
    before = {part.segment.info.id for part in several._snapshot().parts}
    several.add(["new"], embeddings([3]))
    assert before < {part.segment.info.id for part in several._snapshot().parts}
    several.build(force=True)
    left = before & {part.segment.info.id for part in several._snapshot().parts}
    assert len(left) >= len(before) - 1


def test_fp16_segments_end(tmp_path, monkeypatch):
    monkeypatch.setattr(transaction, "SEGMENT_TOKENS", 1000)
    batch = clustered()
    with Index.create(tmp_path / "index", DIM) as index:
        with index.writer() as some:
            some.add(names(300), batch.select(np.arange(300)))
            some.add(names(N - 300, 300), batch.select(np.arange(300, N)))
        sizes = [part.segment.info.n_tokens for part in index._snapshot().parts]
        assert len(sizes) > 5
        assert all(1000 <= size < 1020 for size in sizes[:-1])
        assert index.ids() == names()
        queries = clustered(5, seed=1)
        assert [pairs(hits) for hits in index.search(queries)] == [
            naive_search(query, documents_of(batch), 10) for query in queries
        ]
        index.verify()


@pytest.mark.parametrize("tier", TIERS)
def test_wide_centroid_numbers(tmp_path, monkeypatch, tier):
    queries = clustered(20, seed=1)
    with Index.create(tmp_path / "narrow", DIM, tier=tier) as index:
        index.add(names(), clustered())
        index.build(force=True)
        expected = index.search(queries)
    monkeypatch.setattr(codec, "NARROW_CENTROIDS", 100)
    with Index.create(tmp_path / "wide", DIM, tier=tier) as index:
        index.add(names(), clustered())
        index.build(force=True)
        assert index._snapshot().parts[0].segment.centroids.dtype == np.uint32
        assert index.search(queries) == expected
        index.add(names(60, N), clustered(60, seed=7))
        monkeypatch.setattr(policy, "FOLD_TOKENS", 1)
        assert index.build(force=True)
        index.verify()


def test_a_codec_is_trained_anew(tmp_path):
    other = clustered(300, seed=5)
    turned = TokenEmbeddings(np.roll(other.embeddings, 5, axis=1) * np.float32(-1), other.offsets)
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(), clustered())
        index.build(force=True)
        first = index.codec_facts
        index.add(names(300, N), turned)
        with pytest.warns(DriftWarning, match=r"merge\(\)"):
            index.build(force=True)
        drifted = index.settings["errors"]
        assert index.build(retrain=True)
        assert index.codec_facts["n_tokens"] == index.n_tokens > first["n_tokens"]
        errors = index.settings["errors"]
        assert errors["codec"] == 2
        assert errors["mean_square_error"] < drifted["mean_square_error"]
        assert len(index._snapshot().codecs) == 1
        assert len(list((index.path / "codecs").iterdir())) == 1
        assert index.ids() == names(N + 300)
        index.verify()
        queries = clustered(20, seed=1)
        exact = [
            naive_search(query, [*documents_of(clustered()), *documents_of(turned, N)], 10)
            for query in queries
        ]
        assert recall(index.search(queries), exact) >= 0.95


def on_disk(index):
    """Bytes in segments."""
    return sum(file.stat().st_size for file in (index.path / "segments").rglob("*.npy"))


@pytest.mark.parametrize("how", ["first", "retrain", "merge"])
def test_what_is_replaced_leaves_the_disk_by_and_by(several, monkeypatch, how):
    if how != "first":
        several.build(force=True)
    if how == "merge":  # of several groups
        several.delete(names(N)[::3])
    most, before = [], on_disk(several)
    exchange = Compressor.exchange

    def watched(self, segments, built, settings):
        most.append(on_disk(several) + sum(facts["bytes"] for facts in built.info.files.values()))
        return exchange(self, segments, built, settings)

    monkeypatch.setattr(Compressor, "exchange", watched)
    if how == "merge":
        several.merge(retrain=False)
    else:
        several.build(force=True, retrain=how == "retrain")
    assert len(most) >= 3
    # Beside what was there, at most what two portions became.
    assert max(most) <= before * 1.35
    several.verify()


def test_a_merge_trains_anew_what_was_outgrown(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "OUTGROWN", 1.2)
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(500), clustered().select(np.arange(500)))
        index.build(force=True)
        made_for = index.codec_facts["n_tokens"]
        index.add(names(N - 500, 500), clustered().select(np.arange(500, N)))
        index.build(force=True)
        assert index.codec_facts["n_tokens"] == made_for
        index.merge()
        assert index.codec_facts["n_tokens"] == index.n_tokens > made_for
        assert index.ids() == names()
        index.verify()


def test_an_interrupted_change_of_codec_is_taken_up(several, monkeypatch):
    several.build(force=True)
    exchange, calls = Compressor.exchange, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return exchange(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Compressor, "exchange", failing)
        with pytest.raises(KeyboardInterrupt):
            several.build(retrain=True)
    assert [opened.codec.id for opened in several._snapshot().codecs] == [1, 2]
    several.verify()
    assert (
        recall(several.search(clustered(12, seed=4), 5), [[(id, 0) for id in ids] for ids in best(several)])
        > 0.9
    )
    with monkeypatch.context() as patch:
        patch.setattr(training, "cluster", None)
        assert several.build(retrain=True)
    assert [opened.codec.id for opened in several._snapshot().codecs] == [2]
    several.verify()


def test_codes_are_never_encoded_again(tmp_path):
    with Index.create(tmp_path / "index", DIM, tier="compact") as index:
        index.add(names(), clustered())
        assert index.build(retrain=True)  # there was nothing yet
        with pytest.raises(InvalidInputError, match=r"compact.*anew"):
            index.build(retrain=True)


def test_the_number_of_threads_changes_no_byte(tmp_path):
    import faiss

    contents = []
    for n in (1, 3):
        faiss.omp_set_num_threads(n)
        try:
            with Index.create(tmp_path / f"{n}", DIM) as index:
                index.add(names(), clustered())
                index.build(force=True)
        finally:
            faiss.omp_set_num_threads(1)
        files = sorted([*index.path.glob("codecs/*/*"), *index.path.glob("segments/*/*")])
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


@pytest.mark.filterwarnings("error")
def test_nothing_to_train_from_is_an_error_that_says_so(loose):
    nothing = TokenEmbeddings(np.empty((0, DIM), np.float32), np.array([0, 0]))
    loose.add(["before"], nothing)
    loose.build(force=True)
    loose.delete(names(N))
    loose.add(["after"], nothing)
    with pytest.raises(InvalidInputError, match="at least 256 vectors"):
        loose.build(force=True, retrain=True)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_checksums_are_taken_piece_by_piece(loose, monkeypatch, piece):
    """Of a large segment no more than a piece is read again at a time."""
    monkeypatch.setattr(compressed, "_PIECE", piece)
    loose.build(force=True)
    loose.verify()
    (segment,) = (part.segment for part in loose._snapshot().parts)
    tokens = [segment.arrays[name] for name in ("centroids.npy", "codes.npy", "int8.npy")]
    starts, ends = segment.offsets[:-1], segment.offsets[1:]
    expected = document_checksums(segment.arrays["keys.npy"], starts, ends, tokens)
    assert np.array_equal(segment.arrays["checksums.npy"], expected)


def test_results_come_in_order_and_errors_through():
    import faiss

    faiss.omp_set_num_threads(3)
    try:
        assert list(threads.on_threads(lambda x: time.sleep(0.01 * (x % 3)) or x, range(20))) == list(
            range(20)
        )
        with pytest.raises(ZeroDivisionError):
            list(threads.on_threads(lambda x: 1 // (5 - x), range(20)))
    finally:
        faiss.omp_set_num_threads(1)


def test_centroids_by_way_of_cells_are_nearly_the_nearest():
    vectors = np.ascontiguousarray(clustered(3000).embeddings)
    found = kmeans.cluster(vectors, 1024, 0)
    assert found.shape == (1024, DIM)
    nearest, squares = kmeans.nearest(vectors, found)
    ids, distances = kmeans.Clusters(found).assign(vectors)
    assert np.mean(ids == nearest) > 0.95
    assert distances.mean() < 1.01 * squares.mean()
    np.testing.assert_allclose(distances, np.square(vectors - found[ids]).sum(1), rtol=1e-3, atol=1e-4)
    flat = kmeans.nearest(vectors, kmeans.k_means(vectors, 1024, 8, 0))[1]
    assert squares.mean() < 1.05 * flat.mean()


def test_cells_of_vectors_that_are_much_alike():
    few = np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float32)
    vectors = np.repeat(few, 2000, axis=0)
    found = kmeans.cluster(vectors, 1024, 0)
    assert np.isfinite(found).all()
    assert kmeans.Clusters(found).assign(vectors)[1].max() < 1e-3


def test_build_kernels_equal_numpy():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, DIM)).astype(np.float32) * np.exp(rng.uniform(-9, 9, (500, 1)))
    vectors = vectors.astype(np.float32)
    vectors[3] = 0
    steps, scales, unit = codec.to_int8(vectors)
    assert not unit
    np.testing.assert_allclose(scales, np.abs(vectors).max(1) / 127, rtol=1e-6)
    expected = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None])
    assert np.abs(steps - expected).max() <= 1
    assert np.mean(steps != expected) < 0.001
    assert codec.to_int8(steps.astype(np.float32) * scales[:, None])[0].tolist() == steps.tolist()
    lengths = np.empty(500, np.float32)
    encode.int8_scales(steps, lengths)
    norms = np.linalg.norm(steps.astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1 / np.maximum(norms, 1), rtol=1e-6)
    ids, rotation = rng.integers(0, 9, 500), rng.standard_normal((DIM, DIM + 3))
    turned = codec.turn(vectors.astype(np.float64), rotation)
    np.testing.assert_allclose(turned, vectors.astype(np.float64) @ rotation, rtol=1e-12, atol=1e-6)
    assert codec.turn(vectors[7:8].astype(np.float64), rotation).tolist() == turned[7:8].tolist()
    totals, counts = np.zeros((9, DIM), np.float32), np.zeros(9, np.int64)
    encode.add_up(vectors, ids, totals, counts)
    np.testing.assert_allclose(
        totals, [vectors[ids == i].astype(np.float64).sum(0) for i in range(9)], rtol=1e-3, atol=1
    )
    assert counts.tolist() == np.bincount(ids, minlength=9).tolist()


@pytest.mark.parametrize(
    ("memory", "n_bytes"),
    [("2GB", 2 * 10**9), ("500MB", 5 * 10**8), ("1.5 gib", 3 << 29), ("64MiB", 1 << 26), (1 << 30, 1 << 30)],
)
def test_amounts_of_memory(memory, n_bytes):
    assert parse_memory(memory) == n_bytes


@pytest.mark.parametrize("memory", ["", "much", "2XB", "1.2.3GB", -1, "10MB", 0, None])
def test_wrong_amounts_of_memory_are_refused(loose, memory):
    with pytest.raises(InvalidInputError, match="memory"):
        loose.build(memory=memory)


def test_estimates(tmp_path):
    for tier in Tier:
        with Index.create(tmp_path / tier, DIM, tier=tier) as index:
            index.add(names(), clustered())
            index.build(force=True)
            arrays = sum(size for kind, size in index.size_bytes().items() if kind != "catalogue")
            told = index.estimate(index.n_tokens, N)
            assert 0.9 * arrays < told.bytes - 130 * N < 1.1 * arrays
            assert told.bytes <= told.bytes_meanwhile
            assert (told.seconds > 0) == (tier is not Tier.EXACT)


def test_a_codec_for_more_than_there_is(tmp_path, monkeypatch):
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(names(), clustered())
        assert not index.build(expected_tokens=10**9)
        monkeypatch.setattr(policy, "TRAIN_TOKENS", 4096)
        assert not index.build(expected_tokens=10**6)
        assert index.build(force=True, expected_tokens=10**6)
        assert index.codec_facts["n_tokens"] == 10**6
        assert not index.outgrown
        assert json.dumps(index.codec_facts)


# Input


@pytest.fixture(params=TIERS)
def full(request, tmp_path):
    with Index.create(tmp_path / "full", DIM, tier=request.param) as index:
        index.add(names(), clustered())
        index.build(force=True)
        yield index


def one(vectors):
    return TokenEmbeddings(vectors, np.array([0, len(vectors)]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_numbers_that_are_none_are_refused(full, value):
    vectors = np.ones((3, DIM))
    vectors[1, 2] = value
    with pytest.raises(InvalidInputError, match="vector 1"):
        full.add(["bad"], one(vectors))
    with pytest.raises(InvalidInputError, match="vector 1"):
        full.search(one(vectors))
    assert "bad" not in full


def test_another_width_is_refused(full):
    for act in (lambda batch: full.add(["bad"], batch), full.search):
        with pytest.raises(InvalidInputError, match="wide"):
            act(embeddings([3], dim=DIM + 1))
    with pytest.raises(InvalidTypeError):
        one(np.ones((3, DIM), np.int64))
    full.verify()


@pytest.mark.parametrize(
    "change",
    [
        lambda vectors: vectors.astype(np.float64),
        lambda vectors: np.repeat(vectors, 2, axis=1)[:, ::2],
        np.asfortranarray,
        lambda vectors: vectors[::-1][::-1],
    ],
    ids=["float64", "strided", "fortran", "reversed"],
)
def test_arrays_of_any_layout(full, tmp_path, change):
    batch = clustered()
    with Index.create(tmp_path / "index", DIM, tier=full.tier) as index:
        index.add(names(), TokenEmbeddings(change(batch.embeddings), batch.offsets))
        index.build(force=True)
        queries = clustered(5, seed=1)
        other = TokenEmbeddings(change(queries.embeddings), queries.offsets)
        assert index.search(other) == full.search(queries)


@pytest.mark.parametrize("tier", TIERS)
def test_fewer_vectors_than_centroids_or_codewords(tmp_path, monkeypatch, tier):
    monkeypatch.setattr(policy, "FEWEST_TOKENS", 256)
    monkeypatch.setattr(policy, "FEWEST_DOCUMENTS", 1)
    batch = clustered(30, longest=20)
    with Index.create(tmp_path / "index", DIM, tier=tier) as index:
        index.add(names(30), batch)
        assert index.build(force=True, expected_tokens=10**9)
        exact = [naive_search(query, documents_of(batch), 5) for query in clustered(9, seed=1)]
        assert recall(index.search(clustered(9, seed=1), 5), exact) >= 0.8
        index.verify()


def test_ids_of_any_kind(tmp_path):
    ids = [*names(N - 5), "x" * 70_000, "\ud800", "\x00", " ", "Ω≈ç√∫˜µ𝕏"]
    with Index.create(tmp_path / "index", DIM) as index:
        index.add(ids, clustered(), ids)
        index.build(force=True)
        assert index.ids() == ids
        assert index.get("x" * 70_000).text == "x" * 70_000
        index.verify()
        found = {hit.id for hits in index.search(clustered(3, seed=1), N) for hit in hits}
        assert found == {id for id, length in zip(ids, clustered().lengths, strict=True) if length}


def test_identical_documents_come_in_order_of_insertion(full):
    copy = embeddings([6], seed=11)
    for i in range(70):
        full.add([f"copy{i}"], copy)
    full.build(force=True)
    hits = full.search(copy, SearchParams(70, nprobe=1000, candidates=2000, rerank=500))[0]
    assert [hit.id for hit in hits] == [f"copy{i}" for i in range(70)]


@pytest.mark.parametrize("tier", TIERS)
def test_only_empty_documents(tmp_path, tier):
    with Index.create(tmp_path / "index", DIM, tier=tier) as index:
        index.add(names(100), TokenEmbeddings(np.empty((0, DIM), np.float32), np.zeros(101, np.int64)))
        assert not index.build(force=True)
        index.add(names(N, 100), clustered())
        assert index.build(force=True)
        index.add(
            names(100, N + 100), TokenEmbeddings(np.empty((0, DIM), np.float32), np.zeros(101, np.int64))
        )
        index.build(force=True)
        assert len(index) == N + 200
        assert len(index.search(embeddings([3]), 10**4)[0]) == np.count_nonzero(clustered().lengths)
        index.verify()


# Kills

WORK = """
import random, sys
import faiss
faiss.omp_set_num_threads(1)
from support import DIM
from test_compressed import clustered
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.commits import transaction
from lfm2_retrieval.indexes.compaction import policy
policy.SEGMENT_TOKENS, policy.FOLD_TOKENS, transaction.SEGMENT_TOKENS = 3000, 500, 700
with Index.open(sys.argv[1]) as index:
    rng = random.Random(int(sys.argv[2]))
    print("ready", flush=True)
    index.build(force=True, retrain=rng.random() < 0.5)
    while True:
        first = len(index)
        numbers = range(first, first + 25)
        index.add([f"{i}" for i in numbers], clustered(25, seed=first), [f"t{i}" for i in numbers])
        print(first + 25, flush=True)
        index.build(force=rng.random() < 0.5, retrain=rng.random() < 0.2)
"""


def killed_again_and_again(folder, rounds, longest, seed=0):
    """Whatever was reported as added is there, whole, and found as the vectors say."""
    rng = random.Random(seed)
    with Index.create(folder, DIM) as index:
        for first in range(0, 400, 25):
            index.add(
                [f"{i}" for i in range(first, first + 25)],
                clustered(25, seed=first),
                [f"t{i}" for i in range(first, first + 25)],
            )
    everything = []
    for turn in range(rounds):
        process = start(WORK, folder, seed + turn)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, longest))
        process.send_signal(signal.SIGKILL)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, errors
        reported = [int(line) for line in output.splitlines() if line]
        with Index.open(folder) as index:
            assert len(index) >= max([400, len(everything), *reported])
            assert len(index) % 25 == 0
            assert index.ids() == [f"{i}" for i in range(len(index))]
            index.verify()
            for first in range(len(everything), len(index), 25):
                everything += clustered(25, seed=first)
            assert index.get(str(len(index) - 1)).text == f"t{len(index) - 1}"
            for i in rng.sample([i for i, document in enumerate(everything) if len(document) > 4], 5):
                hits = index.search(one(everything[i]), SearchParams(3, exact=True))[0]
                exact = naive_search(everything[i], [(str(j), d) for j, d in enumerate(everything)], 3)
                assert [hit.score for hit in hits] == pytest.approx([score for _, score in exact], rel=0.02)
                assert hits[0].id == str(i)
    with Index.open(folder) as index:
        index.build(force=True)
        index.verify()
        assert all(kinds(index))
        with index.writer():
            pass  # what a commit retires, the next writer sweeps
        named = {part.segment.info.name for part in index._snapshot().parts}
        assert {path.name for path in (index.path / "segments").iterdir()} == named
        assert not (index.path / "building").exists()


def test_kills_at_random_points(tmp_path):
    killed_again_and_again(tmp_path / "index", 3, 1.5)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
def test_kills_at_many_random_points(tmp_path, seed):
    killed_again_and_again(tmp_path / "index", 30, 3.0, 1000 * seed)

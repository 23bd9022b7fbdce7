"""Documents of another kind than the codec was trained on: told, measured, and put right by `merge`."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.indexes import DriftWarning
from lfm2_retrieval.indexes.compaction.drift import Tally, has_drifted, misfits
from lfm2_retrieval.indexes.search.plan import error_growth

DIM, LENGTH = 32, 12
K = 10


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def documents(count, seed, kind, spread):
    """Vectors around some topics; these and the mean that all of them lean to are a kind's own."""
    of_kind, rng = np.random.default_rng([kind, 1]), np.random.default_rng([kind, seed])
    mean, topics = unit(of_kind.standard_normal((1, DIM))), unit(of_kind.standard_normal((64, DIM)))
    mine = rng.integers(0, len(topics), (count, 4))
    chosen = np.take_along_axis(mine, rng.integers(0, 4, (count, LENGTH)), axis=1).ravel()
    vectors = topics[chosen] + 0.9 * unit(rng.standard_normal((count * LENGTH, DIM)))
    return TokenEmbeddings(unit(mean + spread * vectors).astype(np.float32), np.arange(count + 1) * LENGTH)


def recall(index, embeddings, seed=0, count=50):
    """Of queries made from these documents: how many of the exact hits are found."""
    rng = np.random.default_rng(seed)
    asked = [
        unit(embeddings[number][rng.choice(LENGTH, 8, replace=False)] + 0.05 * rng.standard_normal((8, DIM)))
        for number in rng.choice(len(embeddings), count, replace=False).tolist()
    ]
    queries = TokenEmbeddings(np.concatenate(asked).astype(np.float32), np.arange(count + 1) * 8)
    found, exact = index.search(queries, K), index.search(queries, SearchParams(K, exact=True))
    return np.mean(
        [len({hit.id for hit in a} & {hit.id for hit in b}) / K for a, b in zip(found, exact, strict=True)]
    )


def fill(index, embeddings, name):
    index.add([f"{name}{number}" for number in range(len(embeddings))], embeddings)
    index.build(force=True)


def test_merge_trains_anew_where_drift_cost_recall(tmp_path):
    """A fifth of the documents suffer: in the mean of all, neither error nor recall would tell."""
    first, later = documents(5000, 0, 1, 5.0), documents(1250, 0, 2, 0.3)
    with Index.create(tmp_path / "index", DIM) as index:
        fill(index, first, "a")
        assert recall(index, first) > 0.95
        before = index.codec_facts
        with pytest.warns(DriftWarning, match="found less well"):
            fill(index, later, "b")
        assert has_drifted(index.codec_facts, index.settings["errors"])
        lost = recall(index, later)
        assert lost < 0.8
        assert recall(index, first) > 0.95

        assert index.merge()
        assert index.codec_facts["n_tokens"] == index.n_tokens > before["n_tokens"]
        assert not has_drifted(index.codec_facts, index.settings["errors"])
        assert recall(index, later) > max(0.9, lost + 0.2)
        assert recall(index, first) > 0.95
        index.verify()

        after = index.codec_facts
        index.merge()
        assert index.codec_facts == after


def test_merge_keeps_the_codec_without_drift(tmp_path):
    with Index.create(tmp_path / "index", DIM) as index:
        fill(index, documents(1500, 0, 1, 5.0), "a")
        before = index.codec_facts
        later = documents(500, 1, 1, 5.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", DriftWarning)
            fill(index, later, "b")
        assert not has_drifted(index.codec_facts, index.settings["errors"])
        assert recall(index, later) > 0.95
        assert index.merge()  # two segments become one
        assert index.codec_facts == before


def in_tens(count, seed=3):
    """Ten much like each other, and unlike all else: what is best is plain whatever the codes say."""
    rng = np.random.default_rng(seed)
    vectors = np.tile(rng.standard_normal((count // 10, LENGTH, DIM)), (10, 1, 1)).reshape(-1, DIM)
    vectors = unit(vectors) + 0.05 * unit(rng.standard_normal(vectors.shape))
    return TokenEmbeddings(unit(vectors).astype(np.float32), np.arange(count + 1) * LENGTH)


def test_merge_keeps_the_codec_where_drift_cost_nothing(tmp_path):
    with Index.create(tmp_path / "index", DIM) as index:
        fill(index, documents(1500, 0, 1, 5.0), "a")
        before, later = index.codec_facts, in_tens(150)
        with pytest.warns(DriftWarning):
            fill(index, later, "b")
        assert has_drifted(index.codec_facts, index.settings["errors"])
        assert recall(index, later) > 0.95
        assert index.merge()
        assert index.codec_facts == before
        index.verify()


def test_misfits_are_the_documents_of_the_other_kind(tmp_path):
    rng = np.random.default_rng(0)
    with Index.create(tmp_path / "index", DIM) as index:
        fill(index, documents(1500, 0, 1, 5.0), "a")
        assert misfits(index._snapshot(), rng) is None
        index.add([f"b{number}" for number in range(20)], documents(20, 0, 2, 0.5))
        index.build(force=True)
        assert misfits(index._snapshot(), rng) is None  # a hundredth
        index.add([f"c{number}" for number in range(50)], documents(50, 1, 2, 0.5))
        index.delete("c7")
        odd = misfits(index._snapshot(), rng)  # which doesn't mind vectors that aren't compressed
        assert odd is not None
        keys = np.concatenate([part.keys[part.keys > 0] for part in odd.parts])
        newest = index._views.catalogue.fetch(odd.commit, "key", keys.tolist())
        others = [entry.id for entry in newest.values() if entry.id.startswith("a")]
        assert len(newest) == odd.count
        assert len(others) < 5
        assert 60 <= odd.count - len(others) <= 69
        assert "c7" not in {entry.id for entry in newest.values()}


@pytest.mark.parametrize(
    ("errors", "drifted"),
    [
        ({"mean_square_error": 0.1, "worst": 0.1}, False),
        ({"mean_square_error": 0.1, "worst": 0.149}, False),
        ({"mean_square_error": 0.1, "worst": 0.151}, True),
        ({"mean_square_error": 0.2}, True),  # as earlier versions wrote it
        ({"mean_square_error": 0.1}, False),
        ({"mean_square_error": 0.0, "worst": 0.0}, False),
    ],
)
def test_the_worst_segment_decides(errors, drifted):
    assert has_drifted({"mean_square_error": 0.1}, errors) is drifted


def test_a_lossless_codec_drifts_with_the_first_loss():
    assert not has_drifted({"mean_square_error": 0.0}, {"mean_square_error": 1e-7})
    assert has_drifted({"mean_square_error": 0.0}, {"mean_square_error": 1e-3})


class OfCodec:
    """What a tally asks of a codec."""

    def __init__(self, id):
        self.id, self.facts = id, {"mean_square_error": 0.1}


def tally(n, error):
    found = Tally()
    found.add(np.array([2 * n * error, n * error]), n)
    return found


def test_errors_are_added_up_by_codec():
    once = tally(300, 0.1).added_to(None, OfCodec(1))
    assert once == {
        "codec": 1,
        "measured": 300,
        "mean_square_to_centroid": 0.2,
        "mean_square_error": 0.1,
        "worst": 0.1,
    }
    twice = tally(100, 0.5).added_to(once, OfCodec(1))
    assert (twice["measured"], twice["mean_square_error"], twice["worst"]) == (400, 0.2, 0.5)
    assert tally(300, 0.1).added_to(twice, OfCodec(1))["worst"] == 0.5
    assert tally(300, 0.1).added_to(twice, OfCodec(2))["worst"] == 0.1
    few = tally(3, 0.9).added_to(once, OfCodec(1))
    assert (few["measured"], few["worst"]) == (303, 0.1)
    assert tally(0, 0.0).added_to(once, OfCodec(1)) == once


def test_short_lists_are_as_wide_as_the_worst_segment_needs(tmp_path):
    with Index.create(tmp_path / "index", DIM) as index:
        fill(index, documents(5000, 0, 1, 5.0), "a")
        assert error_growth(index._snapshot()) < 1.1
        with pytest.warns(DriftWarning):
            fill(index, documents(1250, 0, 2, 0.3), "b")
        snapshot = index._snapshot()
        errors, trained = index.settings["errors"], index.codec_facts["mean_square_error"]
        assert error_growth(snapshot) == pytest.approx(np.sqrt(errors["worst"] / trained))
        assert error_growth(snapshot) > 1.5
        half_way = SimpleNamespace(codec=SimpleNamespace(id=99, facts=snapshot.codecs[0].codec.facts))
        assert error_growth(replace(snapshot, codecs=(*snapshot.codecs, half_way))) == error_growth(snapshot)


@pytest.mark.parametrize("errors", [None, [], {}, {"codec": 1}, {"codec": 1, "worst": "much"}])
def test_without_a_measurement_nothing_is_wider(tmp_path, errors):
    with Index.create(tmp_path / "index", DIM) as index:
        fill(index, documents(500, 0, 1, 5.0), "a")
        snapshot = index._snapshot()
        assert error_growth(replace(snapshot, settings={**snapshot.settings, "errors": errors})) == 1


def test_what_comes_with_the_codecs_own_data_is_no_drift_and_is_measured(tmp_path):
    """As in one run of indexing: the codec saw what came first, and what follows suffers."""
    first, later = documents(5000, 0, 1, 5.0), documents(1250, 0, 2, 0.3)
    with Index.create(tmp_path / "index", DIM) as index, warnings.catch_warnings():
        warnings.simplefilter("error", DriftWarning)
        fill(index, first, "a")
        index.add([f"b{number}" for number in range(len(later))], later)
        index._upkeep.compress(force=True, own=True)
        lost = recall(index, later)
        assert lost < 0.8
        assert index._upkeep.renew_codec()
        assert recall(index, later) > max(0.9, lost + 0.2)
        assert not index._upkeep.renew_codec()


@pytest.mark.parametrize(
    ("tier", "advice"), [("balanced", r"merge\(\) measures"), ("compact", r"Retriever\.reindex\(\) encodes")]
)
def test_the_advice_is_what_a_tier_allows(tmp_path, tier, advice):
    with Index.create(tmp_path / "index", DIM, tier=tier) as index:
        fill(index, documents(1500, 0, 1, 5.0), "a")
        with pytest.warns(DriftWarning, match=advice):
            fill(index, documents(400, 0, 2, 0.3), "b")
        before = index.codec_facts
        if tier == "compact":
            with pytest.raises(InvalidInputError, match="compact"):
                index.merge(retrain=True)
        else:
            assert index.merge(retrain=True)
            assert index.codec_facts != before

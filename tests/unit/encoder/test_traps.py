"""One test for each trap that these checkpoints and their other readers are known to hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference import forward

from lfm2_retrieval import Encoder
from lfm2_retrieval.encoder import TruncationWarning
from lfm2_retrieval.errors import CheckpointError

Make = Callable[..., Path]


def test_expansion_positions_are_not_zeroed_in_the_convolution(checkpoint: Make) -> None:
    """Trap 1: newer transformers zero them; the checkpoints were trained without that."""
    folder = checkpoint()
    encoder = Encoder.load(folder)
    [tokens] = encoder._tokenizer.queries(["a quiet river"])
    trained = forward(folder, tokens.ids.tolist(), tokens.real).numpy()
    np.testing.assert_allclose(encoder.encode_queries(["a quiet river"])[0], trained, atol=1e-4)

    from sentence_transformers import MultiVectorEncoder

    zeroed = MultiVectorEncoder(str(folder), device="cpu").encode_query(
        ["a quiet river"], convert_to_numpy=True, show_progress_bar=False
    )[0]
    assert np.abs(zeroed[tokens.real :] - trained[tokens.real :]).max() > 0.01  # the trap is real


def test_a_query_alone_equals_the_query_in_a_batch(checkpoint: Make) -> None:
    """Trap 1: transformers 5.0 to 5.14 differ."""
    encoder = Encoder.load(checkpoint(bidirectional=True))
    batch = encoder.encode_queries(["a", "bread, cheese and wine", "trains leave for the coast"])
    np.testing.assert_allclose(encoder.encode_queries(["a"])[0], batch[0], atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_neighbours_in_a_batch_do_not_leak(checkpoint: Make, bidirectional: bool) -> None:
    """Traps 2 and 5: the convolution stops at boundaries, whatever lies beyond them."""
    encoder = Encoder.load(checkpoint(bidirectional=bidirectional))
    one = encoder.encode_documents(["rain falls", "old towns"])
    other = encoder.encode_documents(["people sell bread", "old towns", "猫"])
    np.testing.assert_allclose(one[1], other[1], atol=1e-5)


def test_the_prefix_stands_at_position_one(checkpoint: Make) -> None:
    """Trap 3."""
    encoder = Encoder.load(checkpoint())
    documents, queries = encoder.encode_documents(["fox"]), encoder.encode_queries(["fox"])
    assert documents.token_ids[:2].tolist() == [1, 5]
    assert queries.token_ids[:2].tolist() == [1, 4]
    assert documents.spans[:2].tolist() == [[0, 0], [0, 0]]
    assert (documents.spans[2].tolist()[0], documents.spans[-1].tolist()[1]) == (0, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["BertModel"]},
        {"architectures": ["Lfm2Model"], "auto_map": {"AutoModel": "modeling.Lfm2BidirectionalModel"}},
        {"architectures": ["Lfm2Model"], "auto_map": {"AutoModel": "modeling.Lfm2Other"}},
        {"architectures": ["Lfm2Model"], "is_causal": False},
        {"architectures": [], "model_type": "lfm2_vl"},
    ],
)
def test_an_unclear_architecture_is_refused(checkpoint: Make, tmp_path: Path, change: dict) -> None:
    """Trap 4: a bidirectional model loaded as a causal one gives plausible, wrong vectors."""
    folder = shutil.copytree(checkpoint(), tmp_path / "model")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | change))
    with pytest.raises(CheckpointError, match="wrong vectors"):
        Encoder.load(folder)


def test_remote_code_is_not_needed_for_the_bidirectional_family(checkpoint: Make, tmp_path: Path) -> None:
    """Trap 4: the architecture's name selects our own backbone; a checkpoint's Python files are never run."""
    folder = shutil.copytree(checkpoint(bidirectional=True), tmp_path / "model")
    raw = json.loads((folder / "config.json").read_text())
    raw["auto_map"] = {"AutoModel": "modeling_lfm2_bidirectional.Lfm2BidirectionalModel"}
    (folder / "config.json").write_text(json.dumps(raw))
    (folder / "modeling_lfm2_bidirectional.py").write_text("raise SystemExit('remote code ran')")
    one, two = Encoder.load(folder), Encoder.load(checkpoint(bidirectional=True))
    np.testing.assert_array_equal(one.encode_documents(["fox"])[0], two.encode_documents(["fox"])[0])


def test_the_two_families_differ(checkpoint: Make) -> None:
    causal, both = Encoder.load(checkpoint()), Encoder.load(checkpoint(bidirectional=True))
    texts = ["the quick brown fox jumps over a lazy dog"]
    assert np.abs(causal.encode_documents(texts)[0] - both.encode_documents(texts)[0]).max() > 0.01


@pytest.mark.parametrize(("layout", "strips"), [("pylate", True), ("sentence-transformers", False)])
def test_white_space_is_stripped_as_the_trainer_does(checkpoint: Make, layout: str, strips: bool) -> None:
    """Trap 6: PyLate strips before tokenizing, sentence-transformers does not."""
    encoder = Encoder.load(checkpoint(layout=layout))
    bare, padded = encoder.encode_documents(["fox", " \n fox \t"])
    assert (len(bare) == len(padded)) is strips
    spans = encoder.encode_documents(["  fox "]).spans
    assert spans.max() == (5 if strips else 6)


def test_an_empty_list_gives_an_empty_result(checkpoint: Make) -> None:
    """Trap 7."""
    encoder = Encoder.load(checkpoint())
    for encoded in (encoder.encode_documents([]), encoder.encode_queries([])):
        assert len(encoded) == 0
        assert encoded.embeddings.shape == (0, encoder.dim)
        assert encoded.spans.shape == (0, 2)


def test_long_texts_are_cut_counted_and_reported_once(checkpoint: Make) -> None:
    """Trap 7."""
    encoder = Encoder.load(checkpoint())
    texts = ["fox " * 3000, "fox", "wine " * 3000]
    with pytest.warns(TruncationWarning, match=r"2 of 3 document texts.*512 tokens") as caught:
        encoded = encoder.encode_documents(texts)
    assert len(caught) == 1
    assert encoded.lengths.tolist()[0] == 512
    counts: list[int] = []
    assert len(encoder.encode_queries(texts, on_cut=counts.append)[0]) == 32
    assert counts == [2]


@pytest.mark.parametrize("length", [31, 32, 33])
def test_the_cut_is_where_sentence_transformers_cuts(checkpoint: Make, length: int) -> None:
    from sentence_transformers import MultiVectorEncoder

    folder = checkpoint(settings={"document_length": length})
    text = "trains leave for the coast at seven and people sell bread and wine past old towns on hills"
    ours = Encoder.load(folder).encode_documents([text], on_cut=lambda count: None)[0]
    oracle = MultiVectorEncoder(str(folder), device="cpu")
    theirs = oracle.encode_document([text], convert_to_numpy=True, show_progress_bar=False)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)

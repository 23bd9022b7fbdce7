"""The bundled model: that it is what its card says, and that it searches well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import forward

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.evaluation import evaluate, load_collection

COLLECTIONS = Path(__file__).parents[2] / "lfm2_retrieval/collections"
TEXTS = [
    "Why does bread dough rise?",
    "The Moon's gravity pulls on the sea (tides); twice a day the water comes and goes.",
    "Wie entstehen die Gezeiten? 潮の満ち引きはなぜ起こるのか。",
    "",
]


@pytest.fixture(scope="module")
def nano() -> Encoder:
    return Encoder.load("nano")


def score(nano: Encoder, folder: Path) -> float:
    collection = load_collection(folder)
    with Retriever.index(collection.corpus(), model=nano, on_progress=lambda progress: None) as retriever:
        found = retriever.search(list(collection.queries.values()), k=10)
    ranking = {id: [hit.id for hit in hits] for id, hits in zip(collection.queries, found, strict=True)}
    return evaluate(collection.qrels, ranking)["nDCG@10"]


def test_it_has_the_architecture_and_fits_in_25_megabytes(nano: Encoder) -> None:
    assert nano.config.bidirectional
    assert set(nano.config.layer_types) == {"conv", "full_attention"}
    assert nano.dim == 128
    assert sum(file.stat().st_size for file in nano.folder.rglob("*") if file.is_file()) <= 25_000_000


@pytest.mark.parametrize("role", ["documents", "queries"])
def test_it_equals_the_reference(nano: Encoder, role: str) -> None:
    tokenizer = nano._tokenizer
    skiplist = tokenizer.query_skiplist if role == "queries" else tokenizer.document_skiplist
    tokens = getattr(tokenizer, role)(TEXTS)
    encoded = getattr(nano, f"encode_{role}")(TEXTS)
    for ours, token in zip(encoded, tokens, strict=True):
        expected = forward(nano.folder, token.ids.tolist(), token.real).numpy()
        expected = expected[~np.isin(token.ids, skiplist)]
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_sentence_transformers_gives_its_vectors(nano: Encoder) -> None:
    """By the code beside its weights; without leave to run it, it is refused and not read as causal."""
    from sentence_transformers import MultiVectorEncoder

    folder = str(nano.folder)
    with pytest.raises(ValueError, match="trust_remote_code"):
        MultiVectorEncoder(folder, device="cpu")
    oracle = MultiVectorEncoder(
        folder, device="cpu", trust_remote_code=True, model_kwargs={"dtype": torch.float32}
    )
    texts = [*TEXTS, "[a] ^ {b}", " ".join(["long"] * 1100)]
    for role, encode in (("document", nano.encode_documents), ("query", nano.encode_queries)):
        theirs = getattr(oracle, f"encode_{role}")(texts, convert_to_numpy=True, show_progress_bar=False)
        for ours, vectors in zip(encode(texts, on_cut=lambda count: None), theirs, strict=True):
            np.testing.assert_allclose(ours, vectors, atol=1e-4)


def test_alone_equals_in_a_batch(nano: Encoder) -> None:
    together = nano.encode_documents(TEXTS * 8)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(nano.encode_documents([text])[0], together[i], atol=1e-5)


def test_spans_follow_normalisation(nano: Encoder) -> None:
    """Its tokenizer lower-cases and composes; spans are of the text as given."""
    text = "ＦＵＬＬ Ｗｉｄｔｈ, Cafe\u0301 and ÉTÉ"
    encoded = nano.encode_documents([text])
    pieces = [text[a:b] for a, b in encoded.spans]
    assert any(piece.startswith("Ｆ") for piece in pieces)
    assert encoded.spans.max() == len(text)


@pytest.mark.parametrize(
    ("text", "latin"),
    [("Владимир Кремль", "vladimir kreml"), ("Αθήνα", "athina"), ("दिल्ली", "dilli"), ("مصر", "msr")],
)
def test_alphabets_outside_the_vocabulary_are_read_in_latin_letters(
    nano: Encoder, text: str, latin: str
) -> None:
    ours, theirs = nano._tokenizer.queries([text, latin])
    assert ours.ids.tolist() == theirs.ids.tolist()


def test_a_letter_that_is_read_as_several_is_in_the_span_of_each(nano: Encoder) -> None:
    text = "борщ и щука"
    spans = nano.encode_queries([text]).spans
    assert spans is not None
    pieces = [text[a:b] for a, b in spans if b > a]
    assert "".join(dict.fromkeys("".join(pieces))) == "".join(dict.fromkeys(text.replace(" ", "")))
    assert all(piece.strip() for piece in pieces)


@pytest.mark.parametrize(("language", "least"), [("en", 0.82), ("ar", 0.5)])
def test_it_answers_the_demo_collection(nano: Encoder, language: str, least: float) -> None:
    assert score(nano, COLLECTIONS / f"demo-{language}") >= least


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("xquad-en", 0.97), ("cranfield-en", 0.32)])
def test_it_reaches_its_card(nano: Encoder, data: Path, name: str, least: float) -> None:
    assert score(nano, data / "eval" / name) >= least


@pytest.mark.data
@pytest.mark.campaign
def test_it_reaches_its_card_on_scifact(nano: Encoder, data: Path) -> None:
    assert score(nano, data / "eval" / "scifact-en") >= 0.68


def test_it_has_a_version_which_its_indexes_remember(nano: Encoder) -> None:
    version = nano.config.version
    assert version
    assert nano.identity["version"] == version
    assert f"# nano {version}\n" in (nano.folder / "README.md").read_text(encoding="utf-8")
    with Retriever.index(["The Moon pulls the sea up."], model=nano) as retriever:
        assert retriever.store.settings["encoder"]["version"] == version

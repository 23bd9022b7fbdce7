"""The encoder held to transformers, sentence-transformers and a simple forward pass of the tests' own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import forward
from safetensors.torch import load_file
from transformers import Lfm2Model

from lfm2_retrieval import Encoder

TEXTS = [
    "The quick brown fox, jumps!",
    "a",
    "",
    "rain falls on hills (old towns); people sell bread." * 6,
    "猫は静かに眠る 👍🏽 x",
    "كان الجو جميلا",
    "tab\tnul\0 and\nlines",
]
SHAPES = [
    {},
    {"dense_bias": True, "conv_bias": True, "sharded": True, "kv_heads": 1},
    {"dtype": torch.bfloat16, "kv_heads": 4},
    {"dtype": torch.float16, "layers": ("full_attention", "conv"), "hidden": 48, "heads": 6, "kv_heads": 3},
    {"kernel": 4, "layers": ("conv",) * 3, "vocabulary": 700, "dim": 24},
]
BIDIRECTIONAL = [
    {"bidirectional": True},
    {"bidirectional": True, "conv_bias": True, "kernel": 5, "kv_heads": 1, "sharded": True},
]
Make = Callable[..., Path]


@pytest.mark.parametrize("shape", SHAPES)
def test_documents_equal_transformers(checkpoint: Make, shape: dict) -> None:
    folder = checkpoint(**shape, settings={"skiplist_words": []})
    encoder = Encoder.load(folder)
    model = Lfm2Model.from_pretrained(folder, dtype=torch.float32)
    dense = {k: v.float() for k, v in load_file(folder / "1_Dense/model.safetensors").items()}
    encoded = encoder.encode_documents(TEXTS)
    for i, ours in enumerate(encoded):
        ids = encoded.token_ids[encoded.offsets[i] : encoded.offsets[i + 1]]
        with torch.no_grad():
            hidden = model(torch.from_numpy(ids).long()[None], use_cache=False).last_hidden_state[0]
        vectors = hidden @ dense["linear.weight"].T + dense.get("linear.bias", 0)
        np.testing.assert_allclose(ours, torch.nn.functional.normalize(vectors, dim=-1), atol=1e-4)


@pytest.mark.parametrize("layout", ["pylate", "sentence-transformers"])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_sentence_transformers_agrees(checkpoint: Make, layout: str, shape: dict) -> None:
    from sentence_transformers import MultiVectorEncoder

    folder = checkpoint(**shape, layout=layout)
    encoder = Encoder.load(folder)
    oracle = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    for ours, text in zip(encoder.encode_documents(TEXTS), TEXTS, strict=True):
        theirs = oracle.encode_document([text], convert_to_numpy=True, show_progress_bar=False)[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    tokens = encoder._tokenizer.queries(TEXTS[:3])
    for ours, text, token in zip(encoder.encode_queries(TEXTS[:3]), TEXTS, tokens, strict=False):
        theirs = oracle.encode_query([text], convert_to_numpy=True, show_progress_bar=False)[0]
        assert ours.shape == theirs.shape == (32, encoder.dim)
        np.testing.assert_allclose(ours[: token.real], theirs[: token.real], atol=1e-4)


MIN = {"strategy": "min", "attend": True, "token": "<|pad|>", "length": 12}


@pytest.mark.parametrize(
    ("settings", "tokenizer"),
    [
        ({"query_expansion": MIN, "query_length": 20}, {}),
        ({"query_expansion": MIN, "max_seq_length": 40, "document_length": None}, {}),
        ({"query_expansion": MIN, "max_seq_length": 8}, {}),
        ({"query_expansion": None, "document_length": None}, {"model_max_length": 50}),
        ({"query_expansion": None, "query_length": 9}, {"model_max_length": 1e30}),
        ({"query_expansion": None, "do_lower_case": True}, {}),
    ],
)
def test_lengths_and_case_are_those_of_sentence_transformers(
    checkpoint: Make, tmp_path: Path, settings: dict, tokenizer: dict
) -> None:
    """A length may stand in three places; lower-casing leaves special tokens in the text alone."""
    from sentence_transformers import MultiVectorEncoder

    made = checkpoint(layout="sentence-transformers", settings=settings)
    folder = shutil.copytree(made, tmp_path / "model")
    raw = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(raw | tokenizer))
    encoder, oracle = Encoder.load(folder), MultiVectorEncoder(str(folder), device="cpu")
    for text in (*TEXTS, "[D] Special TOKENS <|im_end|> İ ß"):
        ours = encoder.encode_documents([text], on_cut=lambda count: None)[0]
        theirs = oracle.encode_document([text], convert_to_numpy=True, show_progress_bar=False)[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        ours = encoder.encode_queries([text], on_cut=lambda count: None)[0]
        theirs = oracle.encode_query([text], convert_to_numpy=True, show_progress_bar=False)[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "masks",
    [
        [],
        [(["."], None)],
        [(["."], ["query"])],
        [(["."], "query")],
        [(["."], ["query", "document"])],
        [([".", "Ġthe"], ["document"]), (["Ġthe", "Ġa"], ["query"])],
        [(["."], ["query", "document"]), (["Ġthe"], ["document"]), (["e"], ["query"])],
    ],
)
@pytest.mark.parametrize("expansion", [None, {"strategy": "min", "attend": True, "length": 12}])
def test_skiplists_are_those_of_sentence_transformers(
    checkpoint: Make, tmp_path: Path, masks: list, expansion: dict | None
) -> None:
    """Each side may have its own: a checkpoint may hold several masks, each for some tasks."""
    from sentence_transformers import MultiVectorEncoder

    made = checkpoint(layout="sentence-transformers", settings={"query_expansion": expansion})
    folder = shutil.copytree(made, tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    [mask] = [module for module in modules if module["type"].endswith("MultiVectorMask")]
    modules.remove(mask)
    for number, (words, tasks) in enumerate(masks):
        path = f"mask_{number}"
        (folder / path).mkdir()
        config = {"skiplist_words": words} | ({} if tasks is None else {"skiplist_tasks": tasks})
        (folder / path / "config.json").write_text(json.dumps(config))
        modules.append(mask | {"idx": len(modules), "name": path, "path": path})
    (folder / "modules.json").write_text(json.dumps(modules))
    encoder, oracle = Encoder.load(folder), MultiVectorEncoder(str(folder), device="cpu")
    for text in (*TEXTS, "the end. A theme, then a street. The", "."):
        theirs = oracle.encode_document([text], convert_to_numpy=True, show_progress_bar=False)[0]
        np.testing.assert_allclose(encoder.encode_documents([text])[0], theirs, atol=1e-4)
        theirs = oracle.encode_query([text], convert_to_numpy=True, show_progress_bar=False)[0]
        ours = encoder.encode_queries([text], on_cut=lambda count: None)[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("shape", SHAPES + BIDIRECTIONAL)
def test_queries_equal_the_reference(checkpoint: Make, shape: dict, attend: bool) -> None:
    """Expansion positions take part in the convolution and are no keys, unless the checkpoint says so."""
    folder = checkpoint(**shape, settings={"attend_to_expansion_tokens": attend})
    encoder = Encoder.load(folder)
    texts = [*TEXTS[:3], *TEXTS[4:]]
    for ours, token in zip(encoder.encode_queries(texts), encoder._tokenizer.queries(texts), strict=True):
        assert len(token.ids) == 32
        assert set(token.ids[token.real :]) == {3}  # EOS: the tokenizer has no mask token
        expected = forward(folder, token.ids.tolist(), token.real, attend)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES + BIDIRECTIONAL)
def test_documents_equal_the_reference(checkpoint: Make, shape: dict) -> None:
    folder = checkpoint(**shape, settings={"skiplist_words": []})
    encoder = Encoder.load(folder)
    for ours, token in zip(encoder.encode_documents(TEXTS), encoder._tokenizer.documents(TEXTS), strict=True):
        np.testing.assert_allclose(ours, forward(folder, token.ids.tolist(), token.real), atol=1e-4)


@pytest.mark.parametrize("shape", [{}, {"bidirectional": True}])
def test_alone_equals_in_a_batch(checkpoint: Make, shape: dict) -> None:
    encoder = Encoder.load(checkpoint(**shape))
    texts = [*TEXTS, *(f"{t} {i}" for i in range(15) for t in TEXTS)]
    for encode in (encoder.encode_documents, encoder.encode_queries):
        together = encode(texts, on_cut=lambda count: None)
        backwards = encode(texts[::-1], on_cut=lambda count: None)
        for i, text in enumerate(texts[:20]):
            alone = encode([text], on_cut=lambda count: None)
            np.testing.assert_allclose(together[i], alone[0], atol=1e-5)
            np.testing.assert_allclose(backwards[-1 - i], alone[0], atol=1e-5)


def test_effective_ffn_width_is_adjusted(checkpoint: Make) -> None:
    from lfm2_retrieval.encoder.config import BackboneConfig

    raw = json.loads((checkpoint() / "config.json").read_text())
    raw |= {"block_auto_adjust_ff_dim": True, "intermediate_size": 6656, "block_multiple_of": 256}
    assert BackboneConfig.from_dict(raw).ffn_size == 4608
    assert BackboneConfig.from_dict(raw | {"block_ff_dim": 1152}).ffn_size == 768

"""Finding and reading checkpoints, and refusing what can't be read."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lfm2_retrieval import Encoder
from lfm2_retrieval.encoder.checkpoint import find_checkpoint
from lfm2_retrieval.errors import CheckpointError, InvalidInputError, InvalidTypeError, ModelNotFoundError

Make = Callable[..., Path]


@pytest.fixture
def copied(checkpoint: Make, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint(), tmp_path / "model")


def test_missing_settings_take_the_family_defaults_and_the_log_says_so(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copied / "config_sentence_transformers.json").write_text('{"document_length": 100}')
    with caplog.at_level(logging.INFO, "lfm2_retrieval"):
        settings = Encoder.load(copied).settings
    assert (settings.query_prefix, settings.query_length, settings.document_length) == ("[Q] ", 32, 100)
    assert settings.expand_queries
    assert len(settings.document_skiplist) == 32
    assert "query_prefix, document_prefix, query_length" in caplog.text
    assert "document_length" not in caplog.text


def test_a_missing_document_length_comes_from_the_sequence_length(copied: Path) -> None:
    (copied / "config_sentence_transformers.json").write_text("{}")
    (copied / "sentence_bert_config.json").write_text('{"max_seq_length": 299}')
    assert Encoder.load(copied).settings.document_length == 300


@pytest.mark.parametrize("attend", [True, False])
def test_sentence_transformers_expansion_settings_are_read(checkpoint: Make, attend: bool) -> None:
    expansion = {"strategy": "min", "attend": attend, "token": "<|pad|>", "length": 12}
    folder = checkpoint(layout="sentence-transformers", settings={"query_expansion": expansion})
    encoder = Encoder.load(folder)
    encoded = encoder.encode_queries(["fox", "trains leave for the coast " * 5])
    assert encoded.lengths[0] == 12
    assert encoded.lengths[1] > 20
    assert encoded.token_ids[11] == 0
    assert encoder.settings.attend_to_expansion is attend


def test_without_expansion_queries_keep_their_length(checkpoint: Make) -> None:
    encoder = Encoder.load(checkpoint(settings={"do_query_expansion": False}))
    lengths = encoder.encode_queries(["fox", "fox fox", "fox " * 100], on_cut=lambda count: None).lengths
    assert lengths[0] < lengths[1] < lengths[2] == 32


def test_checkpoints_in_lower_precision_and_shards_give_the_same(checkpoint: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = shutil.copytree(checkpoint(), tmp_path / "whole")
    tensors = load_file(whole / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, whole / shard)
    (whole / "model.safetensors").unlink()
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    (whole / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    one, two = Encoder.load(checkpoint()), Encoder.load(whole)
    np.testing.assert_array_equal(one.encode_documents(["fox"])[0], two.encode_documents(["fox"])[0])


def test_the_fingerprint_follows_weights_tokenizer_and_settings(checkpoint: Make, copied: Path) -> None:
    first = Encoder.load(checkpoint()).fingerprint
    assert Encoder.load(copied).fingerprint == first
    raw = json.loads((copied / "config_sentence_transformers.json").read_text())
    (copied / "config_sentence_transformers.json").write_text(json.dumps(raw | {"query_length": 16}))
    assert Encoder.load(copied).fingerprint != first


def test_the_backbone_may_have_a_folder_of_its_own(checkpoint: Make, copied: Path) -> None:
    home = copied / "0_Transformer"
    home.mkdir()
    stays = ("modules.json", "config_sentence_transformers.json")
    for file in [path for path in copied.iterdir() if path.is_file() and path.name not in stays]:
        file.rename(home / file.name)
    modules = json.loads((copied / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (copied / "modules.json").write_text(json.dumps(modules))
    one, two = Encoder.load(checkpoint()), Encoder.load(copied)
    np.testing.assert_array_equal(one.encode_queries(["fox"])[0], two.encode_queries(["fox"])[0])
    assert two.fingerprint != one.fingerprint


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "a/b/c", "nowhere", "", "x" * 5000, "~nobody/model", "a\0b"]
)
def test_an_unknown_model_names_the_remedies(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="nano"):
        Encoder.load(name)


@pytest.mark.parametrize("name", [None, 3, b"nano"])
def test_a_model_that_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidTypeError, match="a name or a path"):
        Encoder.load(name)  # type: ignore[arg-type]


def test_a_hub_model_that_cannot_be_had_names_the_remedies() -> None:
    with pytest.raises(ModelNotFoundError, match=r'model="nano".*local folder'):
        find_checkpoint("LiquidAI/there-is-no-such-model")


def _damage(file: str, content: bytes | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        if content is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(content)

    return damage


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", b"{not json", "not valid JSON"),
        ("config.json", b'{"architectures": ["Lfm2Model"]}', "lacks"),
        ("modules.json", None, "modules.json is missing"),
        ("modules.json", b'[{"path": "../../etc", "type": "x.Transformer"}]', "outside"),
        ("modules.json", b'[{"path": "", "type": "evil.Code"}]', "evil.Code"),
        ("model.safetensors", None, "no model.safetensors"),
        ("model.safetensors", b"not safetensors", "can't be read"),
        ("tokenizer.json", b"{}", "not a tokenizer"),
        ("1_Dense/config.json", b'{"in_features": 7, "out_features": 3}', "takes 7 features"),
        ("1_Dense/model.safetensors", None, "no model.safetensors"),
    ],
)
def test_damaged_checkpoints_are_refused(copied: Path, file: str, content: bytes | None, says: str) -> None:
    _damage(file, content)(copied)
    with pytest.raises(CheckpointError, match=says):
        Encoder.load(copied)


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b'["x"]', b"[" * 100_000, b"\xff\xfe"])
@pytest.mark.parametrize(
    "file",
    [
        *("config.json", "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
        *("1_Dense/config.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"),
    ],
)
def test_files_of_another_kind_are_named(copied: Path, file: str, content: bytes) -> None:
    (copied / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file):
        Encoder.load(copied)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"hidden_size": "32"}),
        ("config.json", {"hidden_size": -32}),
        ("config.json", {"vocab_size": 400.0}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"num_key_value_heads": None}),
        ("config.json", {"num_key_value_heads": 3}),
        ("config.json", {"conv_L_cache": "3"}),
        ("config.json", {"norm_eps": "1e-5"}),
        ("config.json", {"rope_parameters": {"rope_theta": "large"}}),
        ("config.json", {"block_auto_adjust_ff_dim": True, "block_multiple_of": 0}),
        ("config_sentence_transformers.json", {"query_prefix": 3}),
        ("config_sentence_transformers.json", {"query_length": "32"}),
        ("config_sentence_transformers.json", {"document_length": True}),
        ("config_sentence_transformers.json", {"do_query_expansion": "no"}),
        ("config_sentence_transformers.json", {"skiplist_words": [1]}),
        ("1_Dense/config.json", {"out_features": -3}),
        ("tokenizer_config.json", {"mask_token": 7}),
    ],
)
def test_values_of_another_kind_are_named(copied: Path, file: str, values: dict) -> None:
    raw = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps(raw | values))
    with pytest.raises(CheckpointError, match=file):
        Encoder.load(copied)


@pytest.mark.parametrize(
    ("expansion", "says"),
    [
        ({"strategy": "fixed", "length": 8, "token": "nope"}, "nope"),
        ({"strategy": "other", "length": 8}, "strategy 'other'"),
        ({"strategy": "fixed"}, "lacks 'length'"),
        (True, "must be an object"),
    ],
)
def test_an_expansion_that_nobody_knows_is_refused(checkpoint: Make, expansion: object, says: str) -> None:
    folder = checkpoint(layout="sentence-transformers", settings={"query_expansion": expansion})
    with pytest.raises(CheckpointError, match=says):
        Encoder.load(folder)


def test_pickled_weights_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        Encoder.load(copied)


def test_weights_that_do_not_fit_are_refused(copied: Path) -> None:
    raw = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(raw | {"intermediate_size": 96}))
    with pytest.raises(CheckpointError, match="shape"):
        Encoder.load(copied)


@pytest.mark.parametrize("module", ["", "1_Dense"])
@pytest.mark.parametrize("dtype", ["int8", "bool"])
def test_quantized_weights_are_refused(copied: Path, module: str, dtype: str) -> None:
    from safetensors.torch import load_file, save_file

    file = copied / module / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if tensors[name].ndim == 2)
    save_file(tensors | {name: tensors[name].to(getattr(torch, dtype))}, file)
    with pytest.raises(CheckpointError, match=f"{name}.*{dtype}"):
        Encoder.load(copied)


def test_a_tokenizer_of_another_model_is_refused(checkpoint: Make, copied: Path) -> None:
    shutil.copy(checkpoint(vocabulary=700) / "tokenizer.json", copied)
    with pytest.raises(CheckpointError, match="do not belong together"):
        Encoder.load(copied).encode_documents(["the quick brown fox jumps over a lazy dog while rain falls"])


@pytest.mark.parametrize(
    "kwargs",
    [
        *({"device": "tpu9"}, {"device": "meta"}, {"device": "cuda:99"}, {"device": None}),
        *({"dtype": "int3"}, {"dtype": None}, {"query_cache": -1}, {"query_cache": "many"}),
    ],
)
def test_a_device_or_dtype_that_is_not_there(checkpoint: Make, kwargs: dict) -> None:
    with pytest.raises(InvalidInputError, match=r"device|dtype|query_cache"):
        Encoder.load(checkpoint(), **kwargs)


def test_bfloat16_is_close_to_float32(checkpoint: Make) -> None:
    text = ["the quick brown fox jumps over a lazy dog"]
    full = Encoder.load(checkpoint()).encode_documents(text)[0]
    half = Encoder.load(checkpoint(), dtype="bfloat16").encode_documents(text)[0]
    assert (full * half).sum(axis=1).min() > 0.98

"""Somebody else's checkpoint: odd values in its files, odd files in its folder.

Whatever they are, loading it and encoding with it ends well or in an error of ours, soon, in little memory.
"""

import base64
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys

import pytest
from test_strangers import sample, users  # noqa: F401  (a fixture)

from lfm2_retrieval.encoder import Encoder
from lfm2_retrieval.encoder.checkpoint import read_tensors
from lfm2_retrieval.errors import CheckpointError

HUGE = 1 << 40
ODD = [None, True, -1, 0, HUGE, 1 << 70, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "\ud800"]
ODD += ["\x1b[31m", "a\0b", [], [1], ["x"] * 1000, {}, {"a": 1}, {"content": {"content": {"content": 1}}}]
VALUES = {
    "config.json": (
        *(
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "block_ff_dim",
            "num_hidden_layers",
            "layer_types",
        ),
        *(
            "full_attn_idxs",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "conv_L_cache",
            "conv_bias",
        ),
        *(
            "norm_eps",
            "rope_theta",
            "rope_parameters",
            "max_position_embeddings",
            "architectures",
            "model_type",
        ),
        *(
            "auto_map",
            "block_auto_adjust_ff_dim",
            "block_ffn_dim_multiplier",
            "block_multiple_of",
            "is_causal",
        ),
    ),
    "config_sentence_transformers.json": (
        *("query_prefix", "document_prefix", "query_length", "document_length", "do_query_expansion"),
        *("attend_to_expansion_tokens", "skiplist_words", "model_type", "prompts"),
    ),
    "sentence_bert_config.json": ("max_seq_length", "do_lower_case", "query_expansion", "query_length"),
    "tokenizer_config.json": ("model_max_length", "mask_token", "eos_token", "pad_token"),
    "special_tokens_map.json": ("mask_token", "eos_token", "pad_token"),
    "1_Dense/config.json": ("in_features", "out_features", "bias", "activation_function", "use_residual"),
    "tokenizer.json": ("normalizer", "pre_tokenizer", "post_processor", "model", "added_tokens", "decoder"),
}
CASES = [(file, name, value) for file, names in VALUES.items() for name in names for value in ODD]


@pytest.fixture
def folder(checkpoint, tmp_path):
    shutil.copytree(checkpoint(), tmp_path / "model")
    return tmp_path / "model"


def change(folder, file, **values):
    path = folder / file
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **values}))


@pytest.mark.parametrize(("file", "name", "value"), sample(CASES, 120))
def test_odd_values_are_errors_of_ours(folder, users, file, name, value):  # noqa: F811
    change(folder, file, **{name: value})
    users().use(folder)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"num_hidden_layers": 10**6, "layer_types": None}),
        ("config.json", {"layer_types": ["conv"] * 10**6}),
        ("config.json", {"hidden_size": HUGE}),
        ("config.json", {"vocab_size": HUGE}),
        ("config.json", {"vocab_size": 10}),
        ("config.json", {"num_attention_heads": HUGE, "num_key_value_heads": HUGE}),
        ("config.json", {"conv_L_cache": HUGE}),
        ("config.json", {"max_position_embeddings": 1 << 62}),
        ("config.json", {"block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1e308}),
        ("config.json", {"rope_parameters": {"rope_type": "default", "rope_theta": 0}}),
        ("config_sentence_transformers.json", {"query_length": HUGE}),
        ("config_sentence_transformers.json", {"query_length": 1 << 30}),
        ("config_sentence_transformers.json", {"query_prefix": "x " * 10**6}),
        ("1_Dense/config.json", {"out_features": HUGE}),
        ("1_Dense/config.json", {"out_features": 1 << 20}),
    ],
)
def test_sizes_without_end_are_refused(folder, users, file, values):  # noqa: F811
    change(folder, file, **values)
    assert users().use(folder)["load"].startswith("CheckpointError")


TEXTS = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"\xff\xfe",
    b"\0" * 100,
]
TEXTS += [b"9" * 10_000, b"NaN", b'{"modules": ' + b"[" * 900 + b"]" * 900 + b"}", b"{}" + b" " * (1 << 24)]
FILES = [*VALUES, "modules.json", "model.safetensors", "1_Dense/model.safetensors", "other.json"]
CONTENTS = sample(itertools.product(FILES, TEXTS), 40)


@pytest.mark.parametrize(("file", "content"), CONTENTS)
def test_odd_contents_are_errors_of_ours(folder, users, file, content):  # noqa: F811
    (folder / file).write_bytes(content)
    users().use(folder)


PLACES = [*FILES, "model.safetensors.index.json", "1_Dense", "vocab.txt", "tokenizer.model"]


@pytest.mark.parametrize(
    ("file", "kind"), sample(itertools.product(PLACES, ["pipe", "zero", "folder", "loop", "dangling"]), 40)
)
def test_odd_files_are_never_waited_for(folder, users, file, kind):  # noqa: F811
    path = folder / file
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"zero": "/dev/zero", "loop": path, "dangling": "nowhere"}[kind])
    users().use(folder)


def test_a_hub_cache_of_links_is_read(folder, tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        blob = blobs / f"{number:040x}"
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    Encoder.load(folder).encode_queries(["fox"])


def multiplying():
    yield "one", {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 10**6}
    yield "regex", {"type": "Replace", "pattern": {"Regex": ""}, "content": "ab" * 1000}
    twice = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
    yield "again", {"type": "Sequence", "normalizers": [twice] * 40}
    yield (
        "nested",
        {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [twice] * 20}] * 3},
    )
    yield "prepended", {"type": "Prepend", "prepend": "x" * 10**6}
    table = struct.pack("<I", 0) + b"x" * 10**6 + b"\0"
    yield "table", {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


@pytest.mark.parametrize("normalizer", [pytest.param(one, id=name) for name, one in multiplying()])
def test_a_normaliser_that_multiplies_text_is_refused(folder, users, normalizer):  # noqa: F811
    change(folder, "tokenizer.json", normalizer=normalizer)
    assert users().use(folder)["load"].startswith("CheckpointError")


def test_a_pre_tokenizer_that_multiplies_text_is_refused(folder, users):  # noqa: F811
    inner = {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 10**6}
    change(folder, "tokenizer.json", pre_tokenizer={"type": "Sequence", "pretokenizers": [inner]})
    assert users().use(folder)["load"].startswith("CheckpointError")


def test_ordinary_normalisers_are_none(folder):
    steps = [
        {"type": "NFKC"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        {"type": "Prepend", "prepend": "▁"},
    ]
    change(folder, "tokenizer.json", normalizer={"type": "Sequence", "normalizers": steps})
    Encoder.load(folder).encode_documents(["the fox"])


def test_tokens_around_a_text_are_few(folder, users):  # noqa: F811
    single = [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {"x": {"id": "x", "ids": [1] * 10**5, "tokens": ["<|startoftext|>"] * 10**5}}
    processor = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}
    change(folder, "tokenizer.json", post_processor=processor)
    assert users().use(folder)["load"].startswith("CheckpointError")


def test_a_panic_is_an_error_of_ours(folder, users):  # noqa: F811
    """A charsmap that is no charsmap makes the tokenizers library panic, which is no `Exception`."""
    for data in (b"", b"\xff" * 3, b"\xff" * 64, struct.pack("<I", 1 << 30)):
        step = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}
        change(folder, "tokenizer.json", normalizer=step)
        users().use(folder)


def safetensors(header, data=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


WEIGHTS = [
    safetensors({"a": tensor([1 << 62], 0, 1 << 62)}),
    safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    safetensors({"a": tensor([1 << 40, 1 << 40], 0, 8)}, bytes(8)),
    safetensors({"a": tensor([-1], 0, 8)}, bytes(8)),
    safetensors({"a": tensor([2], 8, 0)}, bytes(8)),
    safetensors({"a": tensor([2], 0, 8, "F99")}, bytes(8)),
    safetensors({"a\x1b[31m": tensor([1], 0, 8, "I64")}, bytes(8)),
    safetensors({"embed_tokens.weight": tensor([0], 0, 0)}),
    safetensors(b"{" * 10_000),
    safetensors(b" " * 1000),
    struct.pack("<Q", 1 << 62),
    struct.pack("<Q", 100_000_000) + b" " * 1000,
    b"\x80\x04.",
]


@pytest.mark.parametrize("content", WEIGHTS, ids=range(len(WEIGHTS)))
@pytest.mark.parametrize("file", ["model.safetensors", "1_Dense/model.safetensors"])
def test_odd_weights_are_errors_of_ours(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        Encoder.load(folder)
    assert "\x1b" not in str(raised.value)


def test_weights_that_are_a_hole_are_never_read(folder):
    head = safetensors({"a": tensor([1 << 38], 0, 1 << 40)})
    with (folder / "model.safetensors").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + (1 << 40))
    with pytest.raises(CheckpointError, match="hole"):
        read_tensors(folder)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/outside.safetensors", "a/b", "..", "", "a\0b", "x" * 5000]
)
def test_shards_lie_beside_their_index(folder, tmp_path, name):
    shutil.copy(folder / "model.safetensors", tmp_path / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError):
        Encoder.load(folder)


def test_a_tokenizer_of_a_gigabyte_is_not_read(folder):
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 30)
    code = f"""
import resource
from lfm2_retrieval.encoder import Encoder
from lfm2_retrieval.errors import CheckpointError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Encoder.load({str(folder)!r})
except CheckpointError as error:
    assert "bytes" in str(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 500

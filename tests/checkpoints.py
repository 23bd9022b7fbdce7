"""Random-weight checkpoints with the real layout, for tests: written by transformers, not by this library."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Lfm2Config, Lfm2Model

WORDS = (
    "the quick brown fox jumps over a lazy dog while rain falls on quiet hills and rivers carry boats past "
    "old towns where people sell bread, cheese and wine; every morning trains leave for the coast at seven. "
    "Wer früh kommt, mahlt zuerst. 猫は静かに眠る。 كان الجو جميلا"
)
SPECIALS = ["<|pad|>", "<|startoftext|>", "<|unused|>", "<|im_end|>", "[Q] ", "[D] "]


@dataclass
class Shape:
    """What to vary between checkpoints."""

    hidden: int = 32
    layers: tuple[str, ...] = ("conv", "full_attention", "conv")
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 64
    vocabulary: int = 400
    dim: int = 16
    dense_bias: bool = False
    conv_bias: bool = False
    kernel: int = 3
    bidirectional: bool = False
    dtype: torch.dtype = torch.float32
    sharded: bool = False
    layout: str = "pylate"
    settings: dict[str, Any] = field(default_factory=dict)


def tokenizer(vocabulary: int) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([WORDS] * 3, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A", special_tokens=[("<|startoftext|>", 1)]
    )
    return made


def write(folder: Path, shape: Shape, seed: int = 0) -> Path:
    """Write a checkpoint; returns its folder."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer(shape.vocabulary)
    config = Lfm2Config(
        vocab_size=max(shape.vocabulary, words.get_vocab_size()),
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=len(shape.layers),
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        layer_types=list(shape.layers),
        full_attn_idxs=[i for i, kind in enumerate(shape.layers) if kind == "full_attention"],
        conv_bias=shape.conv_bias,
        conv_L_cache=shape.kernel,
        initializer_range=0.2,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=3,
    )
    model = Lfm2Model(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    size = "20KB" if shape.sharded else "5GB"
    model.to(shape.dtype).save_pretrained(folder, max_shard_size=size)
    if shape.bidirectional:
        raw = json.loads((folder / "config.json").read_text())
        raw["architectures"] = ["Lfm2BidirectionalModel"]
        _json(folder / "config.json", raw)
    words.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    _json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    _json(folder / "special_tokens_map.json", special)
    _write_dense(folder / "1_Dense", shape)
    _LAYOUTS[shape.layout](folder, shape)
    return folder


def _write_dense(folder: Path, shape: Shape) -> None:
    folder.mkdir(exist_ok=True)
    weights = {"linear.weight": torch.randn(shape.dim, shape.hidden, dtype=shape.dtype)}
    if shape.dense_bias:
        weights["linear.bias"] = torch.randn(shape.dim, dtype=shape.dtype)
    save_file(weights, folder / "model.safetensors")
    _json(
        folder / "config.json",
        {
            "in_features": shape.hidden,
            "out_features": shape.dim,
            "bias": shape.dense_bias,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )


def _pylate(folder: Path, shape: Shape) -> None:
    _json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
    )
    settings = {
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 32,
        "document_length": 512,
        "do_query_expansion": True,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "model_type": "ColBERT",
    } | shape.settings
    _json(folder / "config_sentence_transformers.json", {k: v for k, v in settings.items() if v is not None})
    _json(folder / "sentence_bert_config.json", {"max_seq_length": settings["document_length"] - 1})


def _sentence_transformers(folder: Path, shape: Shape) -> None:
    base = "sentence_transformers"
    entries = [
        ("", f"{base}.base.modules.transformer.Transformer"),
        ("1_Dense", f"{base}.base.modules.dense.Dense"),
        ("2_MultiVectorMask", f"{base}.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"),
        ("3_Normalize", f"{base}.base.modules.normalize.Normalize"),
    ]
    modules = [{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(entries)]
    _json(folder / "modules.json", modules)
    _json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "MultiVectorEncoder",
            "prompts": {"query": "[Q] ", "document": "[D] "},
            "similarity_fn_name": "maxsim",
        },
    )
    text = {
        "document_length": 512,
        "query_expansion": {"strategy": "fixed", "attend": False, "token": None, "length": 32},
        "module_output_name": "token_embeddings",
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    } | shape.settings
    _json(folder / "sentence_bert_config.json", text)
    raw = json.loads((folder / "1_Dense/config.json").read_text())
    _json(
        folder / "1_Dense/config.json",
        raw | {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"},
    )
    for name, config in (
        ("2_MultiVectorMask", {"skiplist_words": list(string.punctuation), "skiplist_tasks": ["document"]}),
        ("3_Normalize", {"module_input_name": "token_embeddings"}),
    ):
        (folder / name).mkdir(exist_ok=True)
        _json(folder / name / "config.json", config)


_LAYOUTS = {"pylate": _pylate, "sentence-transformers": _sentence_transformers}


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")

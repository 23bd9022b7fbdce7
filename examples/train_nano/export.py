"""Write a trained student as a checkpoint in the layout of LFM2.5-ColBERT, in float16.

python examples/train_nano/export.py WORK lfm2_retrieval/models/nano
"""

from __future__ import annotations

import argparse
import json
import shutil
import string
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from student import BOS, EOS, PAD, Student
from tokenizers import Tokenizer

from lfm2_retrieval.encoder.config import BackboneConfig
from lfm2_retrieval.encoder.weights import split_weights

VERSION = "0.15"
QUERY_LENGTH, DOCUMENT_LENGTH = 256, 1024
CODE = Path(__file__).parents[2] / "lfm2_retrieval/models/nano/modeling_lfm2_bidirectional.py"
"""How transformers and sentence-transformers run it."""
SPECIALS = {"pad_token": "<|pad|>", "bos_token": "<|startoftext|>", "eos_token": "<|im_end|>"}
UNKNOWN = "<|unk|>"
"""Of a vocabulary that ``widen_tokenizer.py`` made."""


def config(shape: BackboneConfig) -> dict[str, Any]:
    return {
        "architectures": ["Lfm2BidirectionalModel"],
        "auto_map": {
            "AutoConfig": "modeling_lfm2_bidirectional.Lfm2BidirectionalConfig",
            "AutoModel": "modeling_lfm2_bidirectional.Lfm2BidirectionalModel",
        },
        # A type of its own: transformers would take "lfm2" for its causal model, without a word.
        "model_type": "lfm2_bidirectional",
        "version": VERSION,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.ffn_size,
        "block_auto_adjust_ff_dim": False,
        "num_hidden_layers": len(shape.layer_types),
        "layer_types": list(shape.layer_types),
        "full_attn_idxs": [i for i, kind in enumerate(shape.layer_types) if kind == "full_attention"],
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "conv_L_cache": shape.conv_kernel,
        "conv_bias": shape.conv_bias,
        "norm_eps": shape.norm_eps,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "max_position_embeddings": 32_768,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "dtype": "float16",
    }


def skiplist(tokenizer: Path) -> list[str]:
    """Punctuation, with and without a space before it, as far as the tokenizer has an entry for it.

    sentence-transformers fails on words that a tokenizer without an unknown token lacks.
    """
    known = Tokenizer.from_file(str(tokenizer)).get_vocab()
    marks = list(string.punctuation)
    return [word for word in ("Ġ", *marks, *(f"Ġ{mark}" for mark in marks)) if word in known]


def export(work: Path, folder: Path, *, share: float, last: bool, other: Path | None, weight: float) -> None:
    """Write what both stages at once gave, or else stage 1 moved by ``share`` towards stage 2.

    With an ``other`` checkpoint, the mean of the two, in which that one has this ``weight``. Of both stages
    at once the running mean of the weights is taken, or the ``last`` ones.
    """
    student = Student(work)
    if (work / "study.pt").exists():
        weights = torch.load(work / "study.pt", weights_only=True)["last" if last else "model"]
        weights.pop("scale", None)
    else:
        first, second = (
            torch.load(work / f"{stage}.pt", weights_only=True)["model"] for stage in ("distil", "refine")
        )
        weights = {name: value.lerp(second[name], share) for name, value in first.items()}
    if other is not None:
        student.load(other)
        earlier = student.state_dict()
        weights = {name: value.lerp(earlier[name], weight) for name, value in weights.items()}
    student.load_state_dict(weights)
    dense = folder / "1_Dense"
    dense.mkdir(parents=True, exist_ok=True)
    halves = {
        name: value.half()
        for name, value in split_weights(student.backbone.state_dict(), student.shape).items()
    }
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"linear.weight": student.dense.weight.detach().half()}, dense / "model.safetensors")
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)
    shutil.copyfile(work / "tokenizer.json", folder / "tokenizer.json")
    if not (folder / CODE.name).exists():
        shutil.copyfile(CODE, folder / CODE.name)
    unknown = {"unk_token": UNKNOWN} if student.tokenizer.token_to_id(UNKNOWN) is not None else {}
    files: dict[str, Any] = {
        "config.json": config(student.shape),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": DOCUMENT_LENGTH,
            **SPECIALS,
            **unknown,
        },
        "special_tokens_map.json": SPECIALS | unknown,
        "sentence_bert_config.json": {"max_seq_length": DOCUMENT_LENGTH - 1, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "ColBERT",
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": QUERY_LENGTH,
            "document_length": DOCUMENT_LENGTH,
            "do_query_expansion": False,
            "attend_to_expansion_tokens": False,
            "skiplist_words": skiplist(folder / "tokenizer.json"),
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
        "1_Dense/config.json": {
            "in_features": student.shape.hidden_size,
            "out_features": 128,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--mean-with", type=Path, help="a checkpoint of an earlier student")
    parser.add_argument("--weight", type=float, default=0.5, help="of that one in the mean")
    parser.add_argument("--last", action="store_true", help="the last weights of study.py, not their mean")
    arguments = parser.parse_args()
    export(
        arguments.work,
        arguments.folder,
        share=arguments.share,
        last=arguments.last,
        other=arguments.mean_with,
        weight=arguments.weight,
    )

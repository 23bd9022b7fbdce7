"""Checkpoints with random weights in real shapes: speed does not depend on what the weights are."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["SHAPES", "write_random"]

_ATTENTION = (2, 5, 8, 10, 12, 14)
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "350m": {
        "architectures": ["Lfm2Model"],
        "model_type": "lfm2",
        "vocab_size": 64_402,
        "hidden_size": 1024,
        "intermediate_size": 6656,
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "num_hidden_layers": 16,
        "layer_types": ["full_attention" if i in _ATTENTION else "conv" for i in range(16)],
        "full_attn_idxs": list(_ATTENTION),
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "conv_L_cache": 3,
        "conv_bias": False,
        "norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
        "max_position_embeddings": 32_768,
    },
}
"""``config.json`` of LFM2-ColBERT, by size."""
_DIM = 128
_LENGTH = 1024  # positions of a document
_STD = 0.02  # as transformers draws linears, convolutions and embeddings


def write_random(folder: Path, shape: str, seed: int = 0) -> Path:
    """Write a checkpoint of ``SHAPES[shape]`` with the bundled model's tokenizer and 32-token queries.

    Parameters
    ----------
    folder
        Made if missing; what it holds is overwritten.
    seed
        Of the weights.

    Returns
    -------
    Path
        ``folder``.
    """
    import torch
    from safetensors.torch import save_file

    from ..encoder.backbone import Backbone
    from ..encoder.checkpoint import BUNDLED
    from ..encoder.config import BackboneConfig
    from ..encoder.weights import split_weights

    config = SHAPES[shape]
    draw = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        parameters = Backbone(BackboneConfig.from_dict(config)).state_dict()
    for name, meta in parameters.items():
        if "norm" in name:
            parameters[name] = torch.ones(meta.shape)
        else:
            parameters[name] = torch.randn(meta.shape, generator=draw) * _STD
    dense = torch.randn(_DIM, config["hidden_size"], generator=draw) * _STD
    (folder / "1_Dense").mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(BUNDLED["nano"] / name, folder)
    save_file(split_weights(parameters, BackboneConfig.from_dict(config)), folder / "model.safetensors")
    save_file({"linear.weight": dense}, folder / "1_Dense/model.safetensors")
    files = {
        "config.json": dict(config),
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
        "sentence_bert_config.json": {"max_seq_length": _LENGTH - 1, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "ColBERT",
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": 32,
            "document_length": _LENGTH,
            "do_query_expansion": True,
            "attend_to_expansion_tokens": False,
            "skiplist_words": list(string.punctuation),
        },
        "1_Dense/config.json": {
            "in_features": config["hidden_size"],
            "out_features": _DIM,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return folder

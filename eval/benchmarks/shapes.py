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

    from lfm2_retrieval.encoder.backbone import Backbone
    from lfm2_retrieval.encoder.checkpoint import BUNDLED
    from lfm2_retrieval.encoder.config import BackboneConfig
    from lfm2_retrieval.encoder.weights import split_weights

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
    folder.mkdir(parents=True, exist_ok=True)
    settings_only = shutil.ignore_patterns("*.safetensors", "README.md")
    shutil.copytree(BUNDLED["nano"], folder, dirs_exist_ok=True, ignore=settings_only)
    save_file(split_weights(parameters, BackboneConfig.from_dict(config)), folder / "model.safetensors")
    save_file({"linear.weight": dense}, folder / "1_Dense/model.safetensors")
    _change(folder / "config.json", dict(config), whole=True)
    _change(folder / "1_Dense/config.json", {"in_features": config["hidden_size"], "out_features": _DIM})
    settings = {"query_length": 32, "do_query_expansion": True, "skiplist_words": list(string.punctuation)}
    _change(folder / "config_sentence_transformers.json", settings)
    return folder


def _change(file: Path, values: dict[str, Any], *, whole: bool = False) -> None:
    kept = {} if whole else json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(kept | values, indent=1) + "\n", encoding="utf-8")

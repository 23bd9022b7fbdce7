"""Weights between the published layout and the backbone's own, where neighbouring matrices are fused.

Published names are those of transformers' ``Lfm2Model`` (``layers.0.self_attn.q_proj.weight``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError
from .config import BackboneConfig

__all__ = ["fuse_weights", "split_weights"]

_PREFIXES = ("model.", "auto_model.", "backbone.")
_IGNORED = re.compile(r"lm_head\.|.*rotary_emb\.")


def fuse_weights(published: Mapping[str, Tensor], config: BackboneConfig) -> dict[str, Tensor]:
    """Turn published weights into the state dict of :class:`Backbone`.

    Raises
    ------
    CheckpointError
        If a tensor is missing, left over or of another shape than ``config`` says.
    """
    left = {_strip(name): tensor for name, tensor in published.items() if not _IGNORED.match(_strip(name))}
    fused: dict[str, Tensor] = {}
    for name, parts, shapes in _plan(config):
        tensors = []
        for part, shape in zip(parts, shapes, strict=True):
            tensor = left.pop(part, None)
            if tensor is None:
                raise CheckpointError(f"the weights lack {part!r}, which config.json calls for")
            if tuple(tensor.shape) != shape:
                raise CheckpointError(
                    f"the weight {part!r} has shape {list(tensor.shape)}; config.json calls for {list(shape)}"
                )
            tensors.append(tensor)
        joined = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        fused[name] = joined[:, 0].T.contiguous() if name.endswith("conv_weight") else joined
    if left:
        raise CheckpointError(f"the weights hold {sorted(left)[:3]}, which no part of an LFM2 backbone takes")
    return fused


def split_weights(fused: Mapping[str, Tensor], config: BackboneConfig) -> dict[str, Tensor]:
    """The inverse of :func:`fuse_weights`: the state dict of :class:`Backbone` under published names."""
    published: dict[str, Tensor] = {}
    for name, parts, shapes in _plan(config):
        tensor = fused[name]
        if name.endswith("conv_weight"):
            tensor = tensor.T[:, None]
        pieces = torch.split(tensor, [shape[0] for shape in shapes])
        published.update({part: piece.contiguous() for part, piece in zip(parts, pieces, strict=True)})
    return published


def _plan(config: BackboneConfig) -> Iterable[tuple[str, list[str], list[tuple[int, ...]]]]:
    """Every parameter of the backbone, the published tensors it is made of, and their shapes."""
    h, f = config.hidden_size, config.ffn_size
    q, kv, d = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim, config.head_dim
    yield "embed_tokens.weight", ["embed_tokens.weight"], [(config.vocab_size, h)]
    for i, kind in enumerate(config.layer_types):
        at = f"layers.{i}."
        if kind == "full_attention":
            ours, theirs = at + "operator.", at + "self_attn."
            parts = [theirs + f"{x}_proj.weight" for x in "qkv"]
            yield ours + "qkv_proj.weight", parts, [(q, h), (kv, h), (kv, h)]
            yield ours + "q_norm.weight", [theirs + "q_layernorm.weight"], [(d,)]
            yield ours + "k_norm.weight", [theirs + "k_layernorm.weight"], [(d,)]
            yield ours + "out_proj.weight", [theirs + "out_proj.weight"], [(h, q)]
        else:
            ours, theirs = at + "operator.", at + "conv."
            yield ours + "in_proj.weight", [theirs + "in_proj.weight"], [(3 * h, h)]
            yield ours + "conv_weight", [theirs + "conv.weight"], [(h, 1, config.conv_kernel)]
            yield ours + "out_proj.weight", [theirs + "out_proj.weight"], [(h, h)]
            if config.conv_bias:
                yield ours + "in_proj.bias", [theirs + "in_proj.bias"], [(3 * h,)]
                yield ours + "conv_bias", [theirs + "conv.bias"], [(h,)]
                yield ours + "out_proj.bias", [theirs + "out_proj.bias"], [(h,)]
        yield at + "operator_norm.weight", [at + "operator_norm.weight"], [(h,)]
        yield at + "ffn_norm.weight", [at + "ffn_norm.weight"], [(h,)]
        ffn = at + "feed_forward."
        yield ffn + "gate.weight", [ffn + "w1.weight"], [(f, h)]
        yield ffn + "up.weight", [ffn + "w3.weight"], [(f, h)]
        yield ffn + "down.weight", [ffn + "w2.weight"], [(h, f)]
    yield "embedding_norm.weight", ["embedding_norm.weight"], [(h,)]


def _strip(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name

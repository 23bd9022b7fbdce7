"""What a checkpoint says about itself: the shape of its backbone and how it encodes text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError
from ..printable import quoted
from .values import Values

__all__ = ["BackboneConfig"]

_WIDEST, _WIDEST_KERNEL, _DEEPEST = 1 << 16, 256, 1024
"""Of features, taps of a convolution and layers: far more than any model of the family has."""
_LOG = logging.getLogger(__name__)
CAUSAL = ("Lfm2Model", "Lfm2ForCausalLM")
BIDIRECTIONAL = ("Lfm2BidirectionalModel",)
_LONGEST_VERSION = 64


@dataclass(frozen=True)
class BackboneConfig:
    """The shape of an LFM2 backbone, as ``config.json`` gives it.

    ``layer_types`` holds ``"conv"`` or ``"full_attention"`` per layer; ``ffn_size`` is the effective
    width of SwiGLU, after LFM2's automatic adjustment; ``version`` is what the model's makers call it,
    where the file says so.
    """

    vocab_size: int
    hidden_size: int
    ffn_size: int
    layer_types: tuple[str, ...]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    conv_kernel: int = 3
    conv_bias: bool = False
    norm_eps: float = 1e-5
    rope_theta: float = 1e6
    max_positions: int = 128_000
    bidirectional: bool = False
    version: str | None = None

    @property
    def conv_shifts(self) -> tuple[int, ...]:
        """Which neighbour each tap of the convolution reads: 0 is the token itself, -1 the one before."""
        last = self.conv_kernel // 2 if self.bidirectional else 0
        return tuple(range(last - self.conv_kernel + 1, last + 1))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> BackboneConfig:
        """Read the contents of a ``config.json``.

        Raises
        ------
        CheckpointError
            If the architecture is not LFM2 or a value is missing or unsupported.
        """
        values = Values(raw, "config.json")
        hidden = values.whole("hidden_size", most=_WIDEST)
        heads = values.whole("num_attention_heads", most=_WIDEST)
        kv_heads = values.whole("num_key_value_heads", most=_WIDEST)
        if heads % kv_heads:
            raise CheckpointError(
                f"config.json has {heads} heads, which {kv_heads} key-value heads don't divide"
            )
        return cls(
            vocab_size=values.whole("vocab_size", most=1 << 24),
            hidden_size=hidden,
            ffn_size=_ffn_size(values),
            layer_types=_layer_types(values),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=values.whole("head_dim", hidden // heads, most=_WIDEST),
            conv_kernel=values.whole("conv_L_cache", 3, most=_WIDEST_KERNEL),
            conv_bias=values.flag("conv_bias", default=False),
            norm_eps=values.number("norm_eps", 1e-5),
            rope_theta=_rope_theta(values),
            max_positions=values.whole("max_position_embeddings", 128_000),
            bidirectional=_is_bidirectional(values),
            version=values.string("version", "")[:_LONGEST_VERSION] or None,
        )


def _is_bidirectional(values: Values) -> bool:
    names = set(values.array("architectures", str, ()))
    remote = values.object("auto_map").string("AutoModel", "").rsplit(".", 1)[-1]
    if not names and not remote and values.string("model_type", "") == "lfm2":
        _LOG.info("config.json names no architecture: taking Lfm2Model, the causal default of the family")
        names = {"Lfm2Model"}
    if remote:
        names.add(remote)
    if names and names <= set(BIDIRECTIONAL):
        return True
    if names and names <= set(CAUSAL) and values.flag("is_causal", default=True):
        return False
    raise CheckpointError(
        f"config.json names the architecture {quoted(sorted(names))}; this library runs one of "
        f"{', '.join(CAUSAL + BIDIRECTIONAL)}. Loading another as one of these would give plausible but "
        "wrong vectors, so it is refused."
    )


def _layer_types(values: Values) -> tuple[str, ...]:
    if "layer_types" not in values:
        layers = range(values.whole("num_hidden_layers", most=_DEEPEST))
        attention = set(values.array("full_attn_idxs", int))
        return tuple("full_attention" if i in attention else "conv" for i in layers)
    kinds = values.array("layer_types", str)
    if len(kinds) > _DEEPEST:
        raise CheckpointError(f"config.json has {len(kinds):,} layers; at most {_DEEPEST:,} are run")
    unknown = set(kinds) - {"conv", "full_attention"}
    if unknown:
        raise CheckpointError(
            f"config.json has layer types {quoted(sorted(unknown))}; LFM2 has conv and full_attention"
        )
    return kinds


def _ffn_size(values: Values) -> int:
    size = values.whole("block_ff_dim" if "block_ff_dim" in values else "intermediate_size")
    if not values.flag("block_auto_adjust_ff_dim", default=True):
        return size
    multiplier = values.number("block_ffn_dim_multiplier", 1.0)
    multiple = values.whole("block_multiple_of", 256, most=64 * _WIDEST)
    if not 0 < multiplier * size <= 64 * _WIDEST:
        raise CheckpointError(f"config.json has layers {multiplier * size:g} wide")
    return multiple * -(-int(multiplier * int(2 * size / 3)) // multiple)


def _rope_theta(values: Values) -> float:
    rope = values.object("rope_parameters" if "rope_parameters" in values else "rope_scaling")
    kind = rope.string("rope_type", rope.string("type", "default"))
    if kind != "default":
        raise CheckpointError(f"config.json asks for rope type {quoted(kind)}; only 'default' is supported")
    theta = float(rope.number("rope_theta", values.number("rope_theta", 1e6)))
    if not 0 < theta < 1e30:
        raise CheckpointError(
            f"config.json has a rope_theta of {theta:g}, which can't be; fetch the model again"
        )
    return theta

"""What a checkpoint says about itself: the shape of its backbone and how it encodes text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError

__all__ = ["BackboneConfig"]

_LOG = logging.getLogger(__name__)
CAUSAL = ("Lfm2Model", "Lfm2ForCausalLM")
BIDIRECTIONAL = ("Lfm2BidirectionalModel",)


@dataclass(frozen=True)
class BackboneConfig:
    """The shape of an LFM2 backbone, as ``config.json`` gives it.

    ``layer_types`` holds ``"conv"`` or ``"full_attention"`` per layer; ``ffn_size`` is the effective
    width of SwiGLU, after LFM2's automatic adjustment.
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
        try:
            return cls(
                vocab_size=raw["vocab_size"],
                hidden_size=raw["hidden_size"],
                ffn_size=_ffn_size(raw),
                layer_types=_layer_types(raw),
                num_heads=raw["num_attention_heads"],
                num_kv_heads=raw["num_key_value_heads"],
                head_dim=raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"],
                conv_kernel=raw.get("conv_L_cache", 3),
                conv_bias=raw.get("conv_bias", False),
                norm_eps=raw.get("norm_eps", 1e-5),
                rope_theta=_rope_theta(raw),
                max_positions=raw.get("max_position_embeddings", 128_000),
                bidirectional=_is_bidirectional(raw),
            )
        except KeyError as error:
            raise CheckpointError(f"config.json lacks {error.args[0]!r}: not an LFM2 checkpoint") from None


def _is_bidirectional(raw: Mapping[str, Any]) -> bool:
    names = set(raw.get("architectures") or ())
    remote = str((raw.get("auto_map") or {}).get("AutoModel", "")).rsplit(".", 1)[-1]
    if not names and not remote and raw.get("model_type") == "lfm2":
        _LOG.info("config.json names no architecture: taking Lfm2Model, the causal default of the family")
        names = {"Lfm2Model"}
    if remote:
        names.add(remote)
    if names and names <= set(BIDIRECTIONAL):
        return True
    if names and names <= set(CAUSAL) and raw.get("is_causal", True):
        return False
    raise CheckpointError(
        f"config.json names the architecture {sorted(names)}; this library runs one of "
        f"{', '.join(CAUSAL + BIDIRECTIONAL)}. Loading another as one of these would give plausible but "
        "wrong vectors, so it is refused."
    )


def _layer_types(raw: Mapping[str, Any]) -> tuple[str, ...]:
    kinds = raw.get("layer_types")
    if kinds is None:
        attention = raw["full_attn_idxs"]
        kinds = ["full_attention" if i in attention else "conv" for i in range(raw["num_hidden_layers"])]
    unknown = set(kinds) - {"conv", "full_attention"}
    if unknown:
        raise CheckpointError(
            f"config.json has layer types {sorted(unknown)}; LFM2 has conv and full_attention"
        )
    return tuple(kinds)


def _ffn_size(raw: Mapping[str, Any]) -> int:
    size = raw["block_ff_dim"] if "block_ff_dim" in raw else raw["intermediate_size"]
    if not raw.get("block_auto_adjust_ff_dim", True):
        return int(size)
    size = int(raw.get("block_ffn_dim_multiplier", 1.0) * int(2 * size / 3))
    multiple = raw.get("block_multiple_of", 256)
    return int(multiple * -(-size // multiple))


def _rope_theta(raw: Mapping[str, Any]) -> float:
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise CheckpointError(f"config.json asks for rope type {kind!r}; only 'default' is supported")
    return float(rope.get("rope_theta") or raw.get("rope_theta") or 1e6)

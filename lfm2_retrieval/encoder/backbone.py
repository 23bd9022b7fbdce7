"""The LFM2 backbone on packed (padding-free) batches, in plain PyTorch.

Sequences lie end to end in one ``[n_tokens, hidden]`` matrix. Linears and norms never see a
boundary; the short convolution is a sum of shifted products, masked where a shift would cross one;
attention runs on runs of sequences of one length. No sequence can see another, so a vector does not
depend on what shares its batch.

The architecture is LFM2's (Liquid AI, "LFM2 Technical Report", 2025): pre-norm blocks of a gated
short convolution or grouped-query attention, each followed by SwiGLU. One switch,
``BackboneConfig.bidirectional``, selects the causal kind (LFM2-ColBERT) or the bidirectional kind
with a centred convolution (LFM2.5-ColBERT).

A **query** may end in expansion positions. They take part in the convolution and count on in RoPE;
unless ``attend_to_expansion`` they are no attention keys. This is how the published checkpoints were
trained, and what transformers before 5.0 computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..platform.forks import cached_property
from .attention import Sequences, attend
from .config import BackboneConfig
from .linear import silu_linear
from .shares import by_rows

__all__ = ["Backbone", "PackedBatch", "ShortConv"]


@dataclass(frozen=True)
class PackedBatch:
    """Token sequences laid end to end.

    Parameters
    ----------
    input_ids
        int64 ``[n_tokens]``.
    lengths
        Positions of each sequence; they sum to ``n_tokens``.
    key_lengths
        How many leading positions of each sequence are attention keys; ``None`` means all.
    """

    input_ids: Tensor
    lengths: tuple[int, ...]
    key_lengths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Layout:
    """What every layer needs to know about a batch, computed once."""

    cos: Tensor  # [n_tokens, 1, head_dim]
    sin: Tensor
    borders: tuple[Tensor, ...]  # per kernel tap, the rows that have no neighbour there
    sequences: Sequences

    @cached_property
    def inside(self) -> Tensor:
        """bool ``[taps, n_tokens]``: whether a row has that neighbour."""
        inside = torch.ones(len(self.borders), len(self.cos), dtype=torch.bool)
        for tap, rows in enumerate(self.borders):
            inside[tap, rows] = False
        return inside


class Backbone(nn.Module):
    """Token ids to hidden states, ``[n_tokens, hidden_size]``, after the final norm."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        # Not drawn at random: on the meta device that would import torch's compiler, a second's work.
        words = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=words)
        self.layers = nn.ModuleList(_Layer(config, kind) for kind in config.layer_types)
        self.embedding_norm = _norm(config.hidden_size, config)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states of every position, in the order of ``batch.input_ids``.

        The residual stream has the norms' dtype, which may be wider than that of the linears.
        """
        x = self.embed_tokens(batch.input_ids).to(self.embedding_norm.weight.dtype)
        layout = self._layout(batch, x)
        for layer in self.layers:
            x = layer(x, layout)
        hidden: Tensor = self.embedding_norm(x)
        return hidden

    def _layout(self, batch: PackedBatch, x: Tensor) -> _Layout:
        config, device = self.config, x.device
        lengths = torch.tensor(batch.lengths, device=device)
        ends = torch.repeat_interleave(lengths.cumsum(0), lengths, output_size=len(x))
        whole = torch.repeat_interleave(lengths, lengths, output_size=len(x))
        after = ends - 1 - torch.arange(len(x), device=device)
        positions = whole - 1 - after

        exponents = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
        angles = positions[:, None].float() / config.rope_theta**exponents
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return _Layout(
            cos=angles.cos(),
            sin=angles.sin(),
            borders=tuple(
                (positions < -shift if shift < 0 else after < shift).nonzero().squeeze(1)
                for shift in config.conv_shifts
            ),
            sequences=Sequences.of(batch.lengths, batch.key_lengths or batch.lengths, x),
        )


class _Layer(nn.Module):
    def __init__(self, config: BackboneConfig, kind: str) -> None:
        super().__init__()
        self.operator_norm = _norm(config.hidden_size, config)
        self.operator = _Attention(config) if kind == "full_attention" else ShortConv(config)
        self.ffn_norm = _norm(config.hidden_size, config)
        self.feed_forward = _SwiGLU(config)

    def forward(self, x: Tensor, layout: _Layout) -> Tensor:
        x = x + self.operator(self.operator_norm(x), layout)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return out


class ShortConv(nn.Module):
    """``out(C * conv(B * x))``: a depthwise convolution between two gates, in the dtype of the norms."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.shifts = config.conv_shifts
        hidden, bias = config.hidden_size, config.conv_bias
        self.in_proj = nn.Linear(hidden, 3 * hidden, bias=bias)
        self.conv_weight = nn.Parameter(torch.empty(config.conv_kernel, hidden))
        self.conv_bias = nn.Parameter(torch.zeros(hidden)) if bias else None
        self.out_proj = nn.Linear(hidden, hidden, bias=bias)

    def forward(self, x: Tensor, layout: _Layout) -> Tensor:
        """Normed ``x`` ``[n_tokens, hidden]`` to what is added to the stream."""
        gate_in, gate_out, value = self.in_proj(x).to(x.dtype).chunk(3, dim=-1)
        u = gate_in * value
        weights = self.conv_weight.to(u.dtype)
        mixed = u * weights[self.shifts.index(0)]
        if self.conv_bias is not None:
            mixed += self.conv_bias.to(u.dtype)
        for shift, rows, weight in zip(self.shifts, layout.borders, weights, strict=True):
            if shift:
                kept = mixed[rows]
                reads, writes = (u[:shift], mixed[-shift:]) if shift < 0 else (u[shift:], mixed[:-shift])
                writes.addcmul_(reads, weight)
                mixed[rows] = kept
        out: Tensor = self.out_proj(mixed.mul_(gate_out))
        return out


class _Attention(nn.Module):
    """Grouped-query attention with per-head RMSNorm on queries and keys before RoPE."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.causal = not config.bidirectional
        self.heads, self.kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.q_norm = _norm(self.head_dim, config)
        self.k_norm = _norm(self.head_dim, config)
        self.out_proj = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=False)

    def forward(self, x: Tensor, layout: _Layout) -> Tensor:
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        q, k, v = self.qkv_proj(x).unflatten(1, (-1, self.head_dim)).split(sizes, dim=1)
        q, k = (_rotate(norm(t), layout, v.dtype) for norm, t in ((self.q_norm, q), (self.k_norm, k)))
        mixed = attend(q, k, v, layout.sequences, causal=self.causal)
        out: Tensor = self.out_proj(mixed.flatten(1))
        return out


class _SwiGLU(nn.Module):
    """``down(silu(gate) * up)``. Gate and up are not fused: the output of one alone stays in the cache."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.ffn_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.ffn_size, bias=False)
        self.down = nn.Linear(config.ffn_size, config.hidden_size, bias=False)
        self.n_weights = 3 * config.hidden_size * config.ffn_size

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(self._some, x, self.n_weights)

    def _some(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(silu_linear(self.gate, x).mul_(self.up(x)))
        return out


class _Norm(nn.RMSNorm):
    """RMSNorm in the dtype of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


def _norm(size: int, config: BackboneConfig) -> _Norm:
    return _Norm(size, eps=config.norm_eps)


def _rotate(x: Tensor, layout: _Layout, dtype: torch.dtype) -> Tensor:
    """Rotary position embedding (Su et al., 2021), halves convention; ``x`` [n_tokens, heads, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return (x * layout.cos).addcmul_(torch.cat((-second, first), dim=-1), layout.sin).to(dtype)

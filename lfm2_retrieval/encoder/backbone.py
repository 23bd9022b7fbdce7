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
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import BackboneConfig

__all__ = ["Backbone", "PackedBatch"]


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
    shifts: tuple[Tensor, ...]  # per kernel tap, [n_tokens, 1]: 1 where the neighbour exists
    runs: tuple[tuple[int, int, int], ...]  # (sequences, length, keys) of neighbours alike


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
        """Hidden states of every position, in the order of ``batch.input_ids``."""
        x = self.embed_tokens(batch.input_ids)
        layout = self._layout(batch, x)
        for layer in self.layers:
            x = layer(x, layout)
        hidden: Tensor = self.embedding_norm(x)
        return hidden

    def _layout(self, batch: PackedBatch, x: Tensor) -> _Layout:
        config, device = self.config, x.device
        lengths = torch.tensor(batch.lengths, device=device)
        starts = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        positions = torch.arange(len(batch.input_ids), device=device) - starts
        after = torch.repeat_interleave(lengths, lengths) - 1 - positions

        exponents = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
        angles = positions[:, None].float() / config.rope_theta**exponents
        angles = torch.cat((angles, angles), dim=-1)[:, None]

        keys = batch.key_lengths if batch.key_lengths is not None else batch.lengths
        pairs = zip(batch.lengths, keys, strict=True)
        return _Layout(
            cos=angles.cos().to(x.dtype),
            sin=angles.sin().to(x.dtype),
            shifts=tuple(
                ((positions >= -shift) & (after >= shift))[:, None].to(x.dtype)
                for shift in config.conv_shifts
            ),
            runs=tuple((len(list(run)), *pair) for pair, run in groupby(pairs)),
        )


class _Layer(nn.Module):
    def __init__(self, config: BackboneConfig, kind: str) -> None:
        super().__init__()
        self.operator_norm = _norm(config.hidden_size, config)
        self.operator = _Attention(config) if kind == "full_attention" else _ShortConv(config)
        self.ffn_norm = _norm(config.hidden_size, config)
        self.feed_forward = _SwiGLU(config)

    def forward(self, x: Tensor, layout: _Layout) -> Tensor:
        x = x + self.operator(self.operator_norm(x), layout)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return out


class _ShortConv(nn.Module):
    """``out(C * conv(B * x))``: a depthwise convolution between two gates."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.shifts = config.conv_shifts
        hidden, bias = config.hidden_size, config.conv_bias
        self.in_proj = nn.Linear(hidden, 3 * hidden, bias=bias)
        self.conv_weight = nn.Parameter(torch.empty(config.conv_kernel, hidden))
        self.conv_bias = nn.Parameter(torch.zeros(hidden)) if bias else None
        self.out_proj = nn.Linear(hidden, hidden, bias=bias)

    def forward(self, x: Tensor, layout: _Layout) -> Tensor:
        gate_in, gate_out, value = self.in_proj(x).chunk(3, dim=-1)
        u = gate_in * value
        mixed = torch.zeros_like(u) if self.conv_bias is None else self.conv_bias.expand_as(u)
        for shift, exists, weight in zip(self.shifts, layout.shifts, self.conv_weight, strict=True):
            neighbour = u if shift == 0 else torch.roll(u, -shift, dims=0) * exists
            mixed = torch.addcmul(mixed, neighbour, weight)
        out: Tensor = self.out_proj(gate_out * mixed)
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
        q, k, v = self.qkv_proj(x).view(len(x), -1, self.head_dim).split(sizes, dim=1)
        q = _rotate(self.q_norm(q), layout)
        k = _rotate(self.k_norm(k), layout)
        groups = self.heads // self.kv_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        out, start = [], 0
        for sequences, length, keys in layout.runs:
            span = slice(start, start + sequences * length)
            start = span.stop
            out.append(self._attend(q[span], k[span], v[span], sequences, keys))
        joined: Tensor = self.out_proj(torch.cat(out).flatten(1))
        return joined

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, sequences: int, keys: int) -> Tensor:
        length = len(q) // sequences
        q, k, v = (t.view(sequences, length, -1, self.head_dim).transpose(1, 2) for t in (q, k, v))
        mask = None
        if self.causal and keys < length:
            rows = torch.arange(length, device=q.device)
            mask = rows[:, None] >= rows[None, :keys]
        is_causal = self.causal and mask is None
        out = F.scaled_dot_product_attention(
            q, k[:, :, :keys], v[:, :, :keys], attn_mask=mask, is_causal=is_causal
        )
        return out.transpose(1, 2).flatten(0, 1)


class _SwiGLU(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.ffn_size, bias=False)
        self.down = nn.Linear(config.ffn_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


def _norm(size: int, config: BackboneConfig) -> nn.RMSNorm:
    return nn.RMSNorm(size, eps=config.norm_eps)


def _rotate(x: Tensor, layout: _Layout) -> Tensor:
    """Rotary position embedding (Su et al., 2021), halves convention; ``x`` [n_tokens, heads, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * layout.cos + torch.cat((-second, first), dim=-1) * layout.sin

"""Layers that take one pass over each row between their products.

Those of int8 linears begin with the norm before them, so that a row of activations is rounded once, by
whatever kernel has made it. Those of float32 differ from the backbone's own in the last bits only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..platform.concurrency import split
from .attention import attend
from .backbone import Backbone, ShortConv
from .shares import n_sharing, shared

__all__ = [
    "FusedAttention",
    "FusedNorm",
    "FusedShortConv",
    "Int8Attention",
    "Int8Linear",
    "Int8ShortConv",
    "Int8SwiGLU",
    "fuse",
    "round_rows",
]

_FFN_ROWS = 256
"""Tokens that a feed-forward layer takes at once: what its products give then stays in a cache."""
_LEAST = 1024
"""Rows that a thread takes at least, beside which waking it costs nothing."""


class Int8Linear(Protocol):
    """A linear without bias that takes rounded rows and leaves their scale to whoever takes its result."""

    def product(self, rows: Tensor) -> Tensor:
        """uint8 ``[n, in]`` around 128 to float32 ``[n, out]``."""
        ...


class _Rounding:
    """RMSNorm, of which rounded rows come out."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        self.weight, self.eps = norm.weight.detach(), _epsilon(norm)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float32 ``[n, width]`` to uint8 around 128, and a scale ``[n, 1]``."""
        return _rounded(_kernels().normalize, x.shape, x.contiguous(), self.weight, self.eps)


class FusedNorm(nn.Module):
    """RMSNorm of float32."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight.detach(), _epsilon(norm)

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``[n, width]``."""
        out = torch.empty_like(x)
        _each_row(_kernels().norm, x.contiguous(), self.weight, self.eps, out)
        return out


class _Heads(nn.Module):
    """Attention among what the projection to queries, keys and values gives.

    Parameters
    ----------
    attention
        The backbone's own: its norms of heads and how many there are.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.sizes = [attention.heads, attention.kv_heads, attention.kv_heads]
        norms = zip((attention.q_norm, attention.k_norm), self.sizes, strict=False)
        self.weights = torch.cat([norm.weight.detach().expand(count, -1) for norm, count in norms])
        self.eps, self.causal = _epsilon(attention.q_norm), attention.causal

    def forward(self, projected: Tensor, factors: Tensor, layout: Any) -> Tensor:
        """float32 ``[n, width]``, to be multiplied by ``factors`` ``[n]``, to ``[n, hidden]``."""
        heads = projected.view(len(projected), sum(self.sizes), -1)
        angles = (layout.cos.squeeze(1), layout.sin.squeeze(1))
        _each_row(_kernels().rotate, heads, factors, self.weights, *angles, self.eps)
        q, k, v = torch.split(heads, self.sizes, dim=1)
        return attend(q, k, v, layout.sequences, causal=self.causal).flatten(1)


class FusedAttention(nn.Module):
    """Grouped-query attention, with RMSNorm and RoPE on each head of queries and keys.

    Parameters
    ----------
    attention
        The backbone's own, with linears that give float32.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.qkv_proj, self.out_proj = attention.qkv_proj, attention.out_proj
        self.heads = _Heads(attention)

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        """Normed ``x`` ``[n_tokens, hidden]``; ``layout`` has ``cos``, ``sin`` and ``sequences``."""
        mixed = self.heads(self.qkv_proj(x).contiguous(), torch.ones(len(x)), layout)
        out: Tensor = self.out_proj(mixed)
        return out


class FusedShortConv(nn.Module):
    """``out(C * conv(B * x))``.

    Parameters
    ----------
    conv
        The backbone's own, with linears that give float32, and no bias in its convolution.
    """

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.in_proj, self.out_proj = conv.in_proj, conv.out_proj
        self.weights, self.shifts = conv.conv_weight.detach(), torch.tensor(conv.shifts)

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        """Normed ``x`` ``[n_tokens, hidden]``; ``layout.inside`` says which rows have which neighbours."""
        projected, mixed = self.in_proj(x).contiguous(), torch.empty_like(x)
        given = (projected, torch.ones(len(x)), self.weights, self.shifts, layout.inside)
        _each_row(_kernels().mix, *given, mixed)
        out: Tensor = self.out_proj(mixed)
        return out


class Int8Attention(nn.Module):
    """Grouped-query attention of the norm, with RMSNorm and RoPE on each head of queries and keys.

    Parameters
    ----------
    attention
        The backbone's own, with linears of int8.
    """

    def __init__(self, norm: nn.RMSNorm, attention: Any) -> None:
        super().__init__()
        self.qkv_proj: Int8Linear = attention.qkv_proj
        self.out_proj: Int8Linear = attention.out_proj
        self.round, self.heads = _Rounding(norm), _Heads(attention)

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        """float32 ``[n_tokens, hidden]``; ``layout`` has ``cos``, ``sin`` and ``sequences``."""
        rows, factors = self.round(x)
        rows, scale = round_rows(self.heads(self.qkv_proj.product(rows), factors.view(-1), layout))
        return self.out_proj.product(rows).mul_(scale)


class Int8SwiGLU(nn.Module):
    """``down(silu(gate) * up)`` of the norm."""

    def __init__(self, norm: nn.RMSNorm, gate: Int8Linear, up: Int8Linear, down: Int8Linear) -> None:
        super().__init__()
        self.round, self.gate, self.up, self.down = _Rounding(norm), gate, up, down

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``[n_tokens, hidden]``."""
        parts = shared(self._some, torch.split(x, _FFN_ROWS))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _some(self, x: Tensor) -> Tensor:
        rows, factors = self.round(x)
        gates, values = self.gate.product(rows), self.up.product(rows)
        inner, scale = _rounded(_kernels().gate, gates.shape, gates, values, factors.view(-1))
        return self.down.product(inner).mul_(scale)


class Int8ShortConv(nn.Module):
    """``out(C * conv(B * x))`` of the norm.

    Parameters
    ----------
    conv
        The backbone's own, with linears of int8, and no bias in its convolution.
    """

    def __init__(self, norm: nn.RMSNorm, conv: Any) -> None:
        super().__init__()
        self.in_proj: Int8Linear = conv.in_proj
        self.out_proj: Int8Linear = conv.out_proj
        self.round = _Rounding(norm)
        self.weights, self.shifts = conv.conv_weight.detach(), torch.tensor(conv.shifts)

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        """float32 ``[n_tokens, hidden]``; ``layout.inside`` says which rows have which neighbours."""
        rows, factors = self.round(x)
        projected = self.in_proj.product(rows)
        given = (projected, factors.view(-1), self.weights, self.shifts, layout.inside)
        mixed, scale = _rounded(_kernels().convolve, x.shape, *given)
        return self.out_proj.product(mixed).mul_(scale)


def fuse(backbone: Backbone) -> None:
    """Exchange norms and operators of a float32 backbone on a CPU for those of one pass, in place."""
    whole: Any = backbone
    for layer in whole.layers:
        layer.operator_norm, layer.ffn_norm = FusedNorm(layer.operator_norm), FusedNorm(layer.ffn_norm)
        if not isinstance(layer.operator, ShortConv):
            layer.operator = FusedAttention(layer.operator)
        elif layer.operator.conv_bias is None:
            layer.operator = FusedShortConv(layer.operator)
    whole.embedding_norm = FusedNorm(whole.embedding_norm)


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Float ``[n, width]`` to uint8 around 128, and a scale ``[n, 1]``."""
    return _rounded(_kernels().quantize, x.shape, x.float().contiguous())


def _epsilon(norm: nn.RMSNorm) -> Tensor:
    assert norm.eps is not None
    return torch.tensor([norm.eps], dtype=torch.float32)


def _rounded(kernel: Callable[..., None], shape: torch.Size, *given: Tensor) -> tuple[Tensor, Tensor]:
    """What ``kernel`` makes of its rows."""
    rows, scale = torch.empty(shape, dtype=torch.uint8), torch.empty(len(given[0]), 1)
    _each_row(kernel, *given, rows, scale.view(-1))
    return rows, scale


def _each_row(kernel: Callable[..., None], *given: Tensor) -> None:
    """Call ``kernel`` on the rows of the first tensor, by all threads that work on this step."""
    arrays = [tensor.numpy() for tensor in given]
    split(lambda first, last: kernel(*arrays, first, last), len(arrays[0]), n_sharing(), _LEAST)


@cache
def _kernels() -> ModuleType:
    """Loaded when they are needed: importing numba takes a while."""
    from . import _rows

    return _rows

"""Layers of int8 linears, where a row of activations is rounded once, by whatever kernel has made it.

Each begins with the norm before it.
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
from .shares import n_sharing, shared

__all__ = ["Int8Attention", "Int8Linear", "Int8ShortConv", "Int8SwiGLU", "round_rows"]

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
        assert norm.eps is not None
        self.weight, self.eps = norm.weight.detach(), torch.tensor([norm.eps], dtype=torch.float32)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float32 ``[n, width]`` to uint8 around 128, and a scale ``[n, 1]``."""
        return _rounded(_kernels().normalize, x.shape, x.contiguous(), self.weight, self.eps)


class Int8Attention(nn.Module):
    """Grouped-query attention of the norm, with RMSNorm and RoPE on each head of queries and keys.

    Parameters
    ----------
    q_norm, k_norm
        Those of one head.
    heads, kv_heads
        How many there are.
    """

    def __init__(
        self,
        norm: nn.RMSNorm,
        qkv_proj: Int8Linear,
        out_proj: Int8Linear,
        *,
        q_norm: nn.RMSNorm,
        k_norm: nn.RMSNorm,
        heads: int,
        kv_heads: int,
        causal: bool,
    ) -> None:
        super().__init__()
        self.round, self.qkv_proj, self.out_proj = _Rounding(norm), qkv_proj, out_proj
        parts = [q_norm.weight.detach().expand(heads, -1), k_norm.weight.detach().expand(kv_heads, -1)]
        self.weights, self.eps = torch.cat(parts), torch.tensor([q_norm.eps], dtype=torch.float32)
        self.sizes, self.causal = [heads, kv_heads, kv_heads], causal

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        """float32 ``[n_tokens, hidden]``; ``layout`` has ``cos``, ``sin`` and ``sequences``."""
        rows, factors = self.round(x)
        heads = self.qkv_proj.product(rows).view(len(x), sum(self.sizes), -1)
        angles = (layout.cos.squeeze(1), layout.sin.squeeze(1))
        _each_row(_kernels().rotate, heads, factors.view(-1), self.weights, *angles, self.eps)
        q, k, v = torch.split(heads, self.sizes, dim=1)
        mixed = attend(q, k, v, layout.sequences, causal=self.causal)
        rows, scale = round_rows(mixed.flatten(1))
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
    weights
        float32 ``[taps, hidden]``, of the rows at ``shifts`` from the one computed.
    """

    def __init__(
        self,
        norm: nn.RMSNorm,
        in_proj: Int8Linear,
        out_proj: Int8Linear,
        weights: Tensor,
        shifts: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.round, self.in_proj, self.out_proj = _Rounding(norm), in_proj, out_proj
        self.weights, self.shifts = weights.detach(), torch.tensor(shifts)

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        """float32 ``[n_tokens, hidden]``; ``layout.inside`` says which rows have which neighbours."""
        rows, factors = self.round(x)
        projected = self.in_proj.product(rows)
        given = (projected, factors.view(-1), self.weights, self.shifts, layout.inside)
        mixed, scale = _rounded(_kernels().convolve, x.shape, *given)
        return self.out_proj.product(mixed).mul_(scale)


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Float ``[n, width]`` to uint8 around 128, and a scale ``[n, 1]``."""
    return _rounded(_kernels().quantize, x.shape, x.float().contiguous())


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

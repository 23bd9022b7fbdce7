"""Linear layers, each packed for one kernel; `linear` tells what they are, and chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shares import by_rows

__all__ = ["FEW", "KERNELS", "LANES", "Narrow", "OneDNN", "Packed", "Plain", "narrow_dtype"]

FEW = 32
"""Rows up to which ``narrow`` takes over from another kernel."""
LANES = 16
"""Outputs of a panel of ``narrow``."""


class Packed(nn.Module):
    """A linear layer that was packed for a kernel: takes ``[n, in]`` in any float dtype."""

    def silu(self, x: Tensor) -> Tensor:
        """``silu(self(x))``."""
        out: Tensor = F.silu(self(x), inplace=True)
        return out


class Plain(Packed):
    """By torch's ``F.linear``."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """``[n, in]`` to ``[n, out]``."""
        return by_rows(self._multiply, x, self.weight.numel())

    def _multiply(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class OneDNN(Packed):
    """By oneDNN, with the weight reordered once."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.dtype = weight.dtype
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """``[n, in]`` to ``[n, out]``."""
        return by_rows(partial(self._run, activation="none"), x, self.weight.numel())

    def silu(self, x: Tensor) -> Tensor:
        """``silu(self(x))``."""
        return by_rows(partial(self._run, activation="swish"), x, self.weight.numel())

    def _run(self, x: Tensor, activation: str) -> Tensor:
        x = x.to(self.dtype)
        if not len(x):  # an empty product is none to oneDNN
            return x.new_empty(0, self.weight.shape[0])
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], "")
        return out


class Narrow(Packed):
    """A weight of 16 bits, in the panels that `_products` reads.

    Parameters
    ----------
    many
        Takes more rows than `FEW`; None: this does, too.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, many: Packed | None = None) -> None:
        super().__init__()
        kind = narrow_dtype(weight)
        if kind is None:
            raise ValueError("the weights need more than 16 bits, or are float16 or bfloat16 to compute in")
        if len(weight) % LANES:
            raise ValueError(f"it takes a multiple of {LANES} outputs")
        panels = (
            weight.to(kind).view(torch.int16).view(-1, LANES, weight.shape[1]).transpose(1, 2).contiguous()
        )
        self._panels = panels.numpy().view(np.uint16 if kind == torch.float16 else np.int16)
        self.weight, self.bias, self.many = panels, bias, many
        self._n_out = len(weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, in]`` to ``[n, out]``."""
        if self.many is not None and x.shape[0] > FEW:
            out: Tensor = self.many(x)
            return out
        return by_rows(self._multiply, x, self.weight.numel())

    def silu(self, x: Tensor) -> Tensor:
        """``silu(self(x))``."""
        return self.many.silu(x) if self.many is not None and x.shape[0] > FEW else super().silu(x)

    def _multiply(self, x: Tensor) -> Tensor:
        out = torch.empty(x.shape[0], self._n_out)
        _products().multiply(x.float().contiguous().numpy(), self._panels, out.numpy())
        return out if self.bias is None else out.add_(self.bias)


@cache
def _products() -> ModuleType:
    """Loaded when it is needed: importing numba takes a while."""
    from . import _products as found

    return found


def narrow_dtype(weight: Tensor) -> torch.dtype | None:
    """That of 16 bits in which all of a float32 weight is exact; None if there is none."""
    if weight.dtype != torch.float32:
        return None
    for part in (weight[:1], weight):  # one row tells of most that have none
        fitting = [
            kind for kind in (torch.float16, torch.bfloat16) if torch.equal(part.to(kind).float(), part)
        ]
        if not fitting:
            return None
    return fitting[0]


KERNELS: Mapping[str, Callable[[Tensor, Tensor | None], Packed]] = {
    "plain": Plain,
    "onednn": OneDNN,
    "narrow": Narrow,
}

"""Attention over packed sequences: run by run, or in one call where the GPU has a kernel for that."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .shares import shared

__all__ = ["Sequences", "attend"]

_TOGETHER = 1024
"""Up to so many positions all heads are one call; of longer texts they are shared among threads."""


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a packed batch lie.

    ``runs`` holds (sequences, length, keys) of neighbours alike. ``bounds``, int32 ``[n_sequences + 1]``, is
    there where one kernel can take the whole batch; ``longest`` goes with it.
    """

    runs: tuple[tuple[int, int, int], ...]
    bounds: Tensor | None = None
    longest: int = 0

    @classmethod
    def of(cls, lengths: tuple[int, ...], keys: tuple[int, ...], like: Tensor) -> Sequences:
        """Those of a batch whose activations have the device and dtype of ``like``."""
        runs = tuple((len(list(run)), *pair) for pair, run in groupby(zip(lengths, keys, strict=True)))
        if (
            lengths != keys
            or like.dtype not in (torch.bfloat16, torch.float16)
            or not _has_varlen(like.device)
        ):
            return cls(runs)
        bounds = torch.tensor((0, *lengths), device=like.device).cumsum(0).to(torch.int32)
        return cls(runs, bounds, max(lengths))


def attend(q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
    """Grouped-query attention within each sequence.

    Parameters
    ----------
    q
        ``[n_tokens, heads, head_dim]``.
    k, v
        ``[n_tokens, kv_heads, head_dim]``.

    Returns
    -------
    Tensor
        As ``q``.
    """
    if sequences.bounds is not None:
        return _varlen(q, k, v, sequences.bounds, sequences.longest, causal=causal)
    out, start = [], 0
    for count, length, keys in sequences.runs:
        span = slice(start, start + count * length)
        start = span.stop
        out.append(_attend_run(q[span], k[span], v[span], count, keys, causal=causal))
    return out[0] if len(out) == 1 else torch.cat(out)


def _attend_run(q: Tensor, k: Tensor, v: Tensor, count: int, keys: int, *, causal: bool) -> Tensor:
    length = len(q) // count
    grouped = q.shape[1] != k.shape[1]
    q, k, v = (t.view(count, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
    mask = None
    if causal and keys < length:
        rows = torch.arange(length, device=q.device)
        mask = rows[:, None] >= rows[None, :keys]
    kv_heads, groups = k.shape[1], q.shape[1] // k.shape[1]

    def some(first: int, last: int) -> Tensor:
        return F.scaled_dot_product_attention(
            q[:, first * groups : last * groups],
            k[:, first:last, :keys],
            v[:, first:last, :keys],
            attn_mask=mask,
            is_causal=causal and mask is None,
            enable_gqa=grouped,
        )

    if q.device.type != "cpu" or length <= _TOGETHER:
        out = some(0, kv_heads)
    else:
        out = torch.cat(shared(lambda i: some(i, i + 1), range(kv_heads)), dim=1)
    return out.transpose(1, 2).flatten(0, 1)


def _varlen(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, *, causal: bool) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    window = (-1, 0 if causal else -1)
    out: Tensor = _varlen_kernel()(q, k, v, bounds, bounds, longest, longest, window_size=window)
    return out


def _varlen_kernel() -> Callable[..., Tensor]:
    """torch's own, or flash-attn's where torch has none.

    Raises
    ------
    ImportError
        If there is neither.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn

        if "window_size" in inspect.signature(varlen_attn).parameters:
            return cast("Callable[..., Tensor]", varlen_attn)
    except ImportError:
        pass
    from flash_attn import flash_attn_varlen_func

    return cast("Callable[..., Tensor]", flash_attn_varlen_func)


@cache
def _has_varlen(device: torch.device) -> bool:
    """Whether the kernel is there and gives what attention run by run gives. Not tested on a GPU so far."""
    if device.type != "cuda":
        return False
    lengths = (3, 5)
    bounds = torch.tensor((0, 3, 8), device=device, dtype=torch.int32)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(8, heads, 64, generator=draw).to(device, torch.bfloat16) for heads in (4, 2, 2))
    try:
        ours = _varlen(q, k, v, bounds, 5, causal=True)
    except Exception:  # noqa: BLE001 - whatever the kernel dislikes here, the other way works
        return False
    runs = Sequences(tuple((1, length, length) for length in lengths))
    return torch.allclose(ours, attend(q, k, v, runs, causal=True), atol=0.03)

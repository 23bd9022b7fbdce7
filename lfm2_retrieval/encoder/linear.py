"""Linear layers, each by the kernel that is fastest on this machine.

``plain``
    torch's public ``F.linear``.
``onednn``
    oneDNN with the weight reordered once, by operators that torch has for its own compiler and doesn't
    document. On AMD processors float32 is up to twice as fast, since torch gives that to MKL otherwise; few
    rows gain in every dtype.

The choice is made at load for each shape of weight: a kernel that is missing, fails or gives other numbers
than ``F.linear`` is out, the fastest of the others is in. It never changes the dtype. Weights are held once,
in the form that their kernel reads.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInputError
from .shares import by_rows

__all__ = [
    "Choice",
    "Kernels",
    "Packed",
    "fastest_milliseconds",
    "fix_kernels",
    "once",
    "pack",
    "pack_linear",
    "resolve_kernels",
    "select",
    "silu_linear",
    "time_layers",
]

_LOG = logging.getLogger(__name__)
_ROWS = 128  # of the timing: between a query and a step of documents
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 0.01}
"""The greatest error allowed, as a share of the greatest output."""
_VARIABLE = "LFM2_RETRIEVAL_KERNELS"

Kernels = Literal["auto", "plain", "onednn"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Which kernel a shape of weight got, and why.

    ``milliseconds`` are of 128 rows, for each kernel that works and was timed; ``refused`` tells why others
    are out. ``dtype`` is that of the products: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``.
    """

    shape: tuple[int, int]
    dtype: str
    kernel: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Packed(nn.Module):
    """A linear layer that was packed for a kernel: takes ``[n, in]`` in any float dtype."""

    def silu(self, x: Tensor) -> Tensor:
        """``silu(self(x))``."""
        out: Tensor = F.silu(self(x), inplace=True)
        return out


class _Plain(Packed):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(self._multiply, x, self.weight.numel())

    def _multiply(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class _OneDNN(Packed):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.dtype = weight.dtype
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(partial(self._run, activation="none"), x, self.weight.numel())

    def silu(self, x: Tensor) -> Tensor:
        return by_rows(partial(self._run, activation="swish"), x, self.weight.numel())

    def _run(self, x: Tensor, activation: str) -> Tensor:
        x = x.to(self.dtype)
        if not len(x):  # an empty product is none to oneDNN
            return x.new_empty(0, self.weight.shape[0])
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], "")
        return out


_KERNELS: Mapping[str, Callable[[Tensor, Tensor | None], Packed]] = {"plain": _Plain, "onednn": _OneDNN}


_CHOSEN: dict[tuple[object, ...], Choice] = {}
_FIXED: dict[tuple[int, int, str], str] = {}
"""Kernels that another process has chosen, by shape and dtype of the product."""


def fix_kernels(chosen: Iterable[tuple[int, int, str, str]]) -> None:
    """Have the encoders that are loaded from now on take the kernels that another process has chosen.

    Then both give equal bits, on processors of one kind. A kernel that doesn't work here isn't taken.

    Parameters
    ----------
    chosen
        Outputs, inputs, dtype and kernel of each shape, as :attr:`Encoder.kernels` tells them.
    """
    _FIXED.update(((n_out, n_in, dtype), kernel) for n_out, n_in, dtype, kernel in chosen)
    _CHOSEN.clear()


def silu_linear(linear: nn.Module, x: Tensor) -> Tensor:
    """``silu(linear(x))``, in one pass where the kernel can."""
    return linear.silu(x) if isinstance(linear, Packed) else F.silu(linear(x))


def resolve_kernels(kernels: str) -> Kernels:
    """The kernels asked for: the argument, or for ``"auto"`` what the environment says.

    Raises
    ------
    InvalidInputError
        If they have no such name.
    """
    named = kernels if kernels != "auto" else os.environ.get(_VARIABLE, "").strip() or "auto"
    for known in get_args(Kernels):
        if named == known:
            chosen: Kernels = known
            return chosen
    raise InvalidInputError(
        f"kernels (or ${_VARIABLE}) must be one of {', '.join(map(repr, get_args(Kernels)))}, not {named!r}"
    )


def pack(model: nn.Module, dtype: torch.dtype, kernels: Kernels) -> list[Choice]:
    """Exchange every ``nn.Linear`` below ``model`` for a packed one, one by one.

    Returns
    -------
    list of Choice
        One for each shape of weight.

    Raises
    ------
    InvalidInputError
        If ``kernels`` names one that does not work here.
    """
    choices: dict[Choice, None] = {}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                packed, choice = pack_linear(child, dtype, kernels)
                choices[choice] = None
                setattr(parent, name, packed)
    return list(choices)


def pack_linear(linear: nn.Linear, dtype: torch.dtype, kernels: Kernels) -> tuple[Packed, Choice]:
    """One linear, packed for the kernel that its shape has got."""
    weight = linear.weight.detach().to(dtype).contiguous()
    bias = None if linear.bias is None else linear.bias.detach().to(dtype)
    key = (*weight.shape, bias is not None, dtype, kernels, torch.get_num_threads())
    choice = once(key, lambda: _choose(weight, bias, kernels))
    return _KERNELS[choice.kernel](weight, bias), choice


def once(key: tuple[object, ...], choose: Callable[[], Choice]) -> Choice:
    """What was chosen for ``key`` in this process before: equal encoders then give equal bits.

    Of threads that choose at once, all take what the first to be done has chosen. None waits for another: a
    lock would have to survive a fork.
    """
    known = _CHOSEN.get(key)
    return _CHOSEN.setdefault(key, choose()) if known is None else known


def _choose(weight: Tensor, bias: Tensor | None, kernels: Kernels) -> Choice:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, weight.shape[1], generator=draw).to(weight.dtype)
    exact = F.linear(x, weight, bias).float()
    makers = {name: partial(make, weight, bias) for name, make in _KERNELS.items()}
    if not _onednn_pays(weight.dtype):
        del makers["onednn"]
    shape = (weight.shape[0], weight.shape[1])
    tolerance = _TOLERANCE[weight.dtype]
    return select(makers, x, exact=exact, tolerance=tolerance, kernels=kernels, shape=shape)


def select(
    makers: Mapping[str, Callable[[], Packed]],
    x: Tensor,
    *,
    exact: Tensor,
    tolerance: float,
    kernels: Kernels,
    shape: tuple[int, int],
    dtype: str | None = None,
) -> Choice:
    """Try kernels on ``x``: those that are right to ``tolerance`` are timed, the fastest is chosen.

    Parameters
    ----------
    makers
        Kernel → a packed layer. ``"plain"`` is among them, and beyond doubt.
    exact
        What each should give.
    tolerance
        The greatest error allowed, as a share of the greatest output.
    """
    working, refused = {}, {}
    for name in makers if kernels == "auto" else [kernels]:
        fault = "torch has no such operator for this dtype here"
        if name in makers:
            layer, fault = _try(makers[name], x, exact, tolerance)
        if name in makers and layer is not None and (name == "plain" or not fault):
            working[name] = layer
        else:
            refused[name] = fault
    if not working:
        raise InvalidInputError(
            f"kernels={kernels!r} does not work here ({refused[kernels]}); use 'auto' or 'plain'"
        )
    calls = {name: partial(layer, x) for name, layer in working.items()}
    times = time_layers(calls) if len(calls) > 1 else {}
    chosen = min(times, key=times.__getitem__) if times else next(iter(working))
    name = dtype or str(x.dtype).removeprefix("torch.")
    if kernels == "auto" and (fixed := _FIXED.get((*shape, name))) in working:
        chosen = fixed
    _LOG.info("linear %s in %s: %s %s %s", shape, name, chosen, times, refused or "")
    return Choice(shape, name, chosen, times, refused)


def _try(make: Callable[[], Packed], x: Tensor, exact: Tensor, tolerance: float) -> tuple[Packed | None, str]:
    """A layer, and what is wrong with it."""
    try:
        with torch.inference_mode():
            layer = make()
            out, gated = layer(x).float(), layer.silu(x).float()
    except Exception as error:  # noqa: BLE001 - undocumented operators may fail in any way
        return None, (str(error).strip() or type(error).__name__).splitlines()[0]
    limit = tolerance * float(exact.abs().max()) + 1e-30
    for got, wanted in ((out, exact), (gated, F.silu(exact))):
        off = float((got - wanted).abs().max()) if got.shape == wanted.shape else float("inf")
        if not off <= limit:
            return layer, f"it is off by {off:.2g}, where {limit:.2g} is allowed"
    return layer, ""


@torch.inference_mode()
def fastest_milliseconds(weight: Tensor, rows: int) -> float:
    """What one product with a weight ``[out, in]`` takes, of its dtype's kernels the best, at its best."""
    x = torch.randn(rows, weight.shape[1]).to(weight.dtype)
    makers = _KERNELS if _onednn_pays(weight.dtype) else {"plain": _Plain}
    layers = {name: make(weight, None) for name, make in makers.items()}
    return min(time_layers({name: partial(layer, x) for name, layer in layers.items()}).values())


@torch.inference_mode()
def time_layers(calls: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Least milliseconds of each call, asked in turns; this thread's own time, whatever else is running."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            best[name] = min(best[name], 1e3 * (time.thread_time() - start))
    return {name: round(value, 4) for name, value in best.items()}


@cache
def _onednn_pays(dtype: torch.dtype) -> bool:
    """Whether oneDNN may be tried: float16 would be emulated nearly everywhere, and Arm has its own way."""
    return (
        dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and platform.machine().lower() in ("x86_64", "amd64")
    )

"""Linear layers, each by the kernel that is fastest on this machine.

``plain``
    torch's public ``F.linear``.
``onednn``
    oneDNN with the weight reordered once, by operators that torch has for its own compiler and doesn't
    document. On AMD processors float32 is up to twice as fast, since torch gives that to MKL otherwise; few
    rows gain in every dtype.
``narrow``
    Our own, of float32 whose weights are all float16 or bfloat16, as most checkpoints store them: they are
    kept, and read, in these 16 bits. What a query takes is mostly the time to read the weights.

The choice is made at load for each shape of weight: a kernel that is missing, fails or gives other numbers
than ``F.linear`` is out, the fastest of the others is in. Where ``narrow`` is the faster one of a query's few
rows and another of many, both are: ``narrow+onednn``. It never changes the dtype of products. Weights are
held once, in the form that their kernel reads, or in those of both.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInputError
from .packed import FEW, KERNELS, LANES, Narrow, Packed, narrow_dtype

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
_GAIN = 0.9
"""``narrow`` takes few rows over from another kernel if it needs less than this of that one's time."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 0.01}
"""The greatest error allowed, as a share of the greatest output."""
_VARIABLE = "LFM2_RETRIEVAL_KERNELS"

Kernels = Literal["auto", "plain", "onednn", "narrow"]


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
    linears = [one for one in model.modules() if isinstance(one, nn.Linear)]
    single = dtype == torch.float32  # a shape has one kernel, so all of its weights are narrow, or none is
    wide = {one.weight.shape for one in linears if single and narrow_dtype(one.weight.float()) is None}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                narrow = single and child.weight.shape not in wide
                packed, choice = pack_linear(child, dtype, kernels, narrow=narrow)
                choices[choice] = None
                setattr(parent, name, packed)
    return list(choices)


def pack_linear(
    linear: nn.Linear, dtype: torch.dtype, kernels: Kernels, *, narrow: bool | None = None
) -> tuple[Packed, Choice]:
    """One linear, packed for the kernel that its shape has got; ``narrow``: whether that may be ``"narrow"``,
    and where nobody knows, the weight is looked at."""
    weight = linear.weight.detach().to(dtype).contiguous()
    bias = None if linear.bias is None else linear.bias.detach().to(dtype)
    narrow = narrow_dtype(weight) is not None if narrow is None else narrow
    key = (*weight.shape, bias is not None, dtype, narrow, kernels, torch.get_num_threads())
    choice = once(key, lambda: _choose(weight, bias, kernels, narrow=narrow))
    return _make(choice.kernel, weight, bias), choice


def _make(kernel: str, weight: Tensor, bias: Tensor | None) -> Packed:
    """A layer by the name of its kernel, or by those of two."""
    few, _, many = kernel.partition("+")
    return Narrow(weight, bias, KERNELS[many](weight, bias)) if many else KERNELS[few](weight, bias)


def once(key: tuple[object, ...], choose: Callable[[], Choice]) -> Choice:
    """What was chosen for ``key`` in this process before: equal encoders then give equal bits.

    Of threads that choose at once, all take what the first to be done has chosen. None waits for another: a
    lock would have to survive a fork.
    """
    known = _CHOSEN.get(key)
    return _CHOSEN.setdefault(key, choose()) if known is None else known


def _choose(weight: Tensor, bias: Tensor | None, kernels: Kernels, *, narrow: bool = False) -> Choice:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, weight.shape[1], generator=draw).to(weight.dtype)
    exact = F.linear(x, weight, bias).float()
    makers = {name: partial(make, weight, bias) for name, make in KERNELS.items()}
    if not _onednn_pays(weight.dtype):
        del makers["onednn"]
    if not narrow and kernels != "narrow":  # which then is told why not
        makers.pop("narrow", None)
    shape = (weight.shape[0], weight.shape[1])
    tolerance = _TOLERANCE[weight.dtype]
    choice = select(makers, x, exact=exact, tolerance=tolerance, kernels=kernels, shape=shape)
    is_fixed = (*shape, choice.dtype) in _FIXED
    if choice.kernel in ("plain", "onednn") and "narrow" in choice.milliseconds and not is_fixed:
        some = x[: FEW // 2]
        times = time_layers({name: partial(makers[name](), some) for name in (choice.kernel, "narrow")})
        if times["narrow"] < _GAIN * times[choice.kernel]:
            return replace(choice, kernel=f"narrow+{choice.kernel}")
    return choice


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
    fixed = _FIXED.get((*shape, name), "") if kernels == "auto" else ""
    if set(fixed.split("+")) <= working.keys():
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
    is_narrow = narrow_dtype(weight) is not None and weight.shape[0] % LANES == 0
    pays = {"plain": True, "onednn": _onednn_pays(weight.dtype), "narrow": is_narrow}
    layers = {name: make(weight, None) for name, make in KERNELS.items() if pays[name]}
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

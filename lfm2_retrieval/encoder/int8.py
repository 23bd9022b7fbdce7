"""Linear layers in int8: a scale for each row of activations, one for each row of the weight.

Real activations have channels far larger than the rest, which would take the whole range of a row. Two things
are done about them at load, on the inputs that a few sentences give each layer:

- **Smoothing** (Xiao et al., "SmoothQuant", 2023): a channel is divided by a factor where it is made (in a
  norm's weight, or the rows of the linear before) and its column of the weight multiplied by it. The model
  stays the same function, and it costs nothing when it runs.
- A layer whose int8 output is still far off keeps bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone, PackedBatch, ShortConv
from .fused import Int8Attention, Int8ShortConv, Int8SwiGLU, round_rows
from .linear import Choice, Kernels, once, pack_linear, select, time_layers
from .packed import Packed
from .shares import by_rows

__all__ = ["SAMPLE", "fastest_milliseconds", "quantize"]

_ERROR_LIMIT = 0.05  # of a layer's output, in the norm; int8 without outliers is at about 0.01
_SAMPLED_ROWS = 32
_CHECKED_ROWS = 64
_ZERO = 128  # activations are uint8 around it, which is what the processors' dot products take
SAMPLE = (
    "The harbour froze in January, so the ferry of 07:40 did not sail; 312 passengers waited in the hall.",
    'How do I reset a password? Open Settings > Account, choose "Forgotten", follow the link (valid 24 h).',
    "Die Messung ergab 3,7 % weniger Druck als erwartet, was die Forscher auf das Ventil zurückführten.",
    "La biblioteca cierra los lunes; los libros prestados se devuelven en la entrada principal.",
    "Le médecin a prescrit deux comprimés par jour pendant une semaine, puis un seul.",
    "水は零度で凍り、百度で沸騰する。気圧が低い山の上では、もっと低い温度で沸く。",
    "서울에서 부산까지 기차로 두 시간 반이 걸린다.",
    "قرأ الطلاب الكتاب كله قبل نهاية الفصل الدراسي.",
    "def area(r): return 3.14159 * r ** 2  # square metres",
)
"""Sentences of several languages, by which layers are fitted."""


@dataclass
class _Seen:
    """What came into a linear: the greatest magnitude of each channel, and some rows."""

    peaks: Tensor
    rows: Tensor


class _Int8(Packed):
    """int8 ``[out, in]`` and float32 scales ``[out]``; float32 comes out."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.scale, self.bias = weight, scale, bias

    def forward(self, x: Tensor) -> Tensor:
        rows, scale = self.round(x)
        out = self.product(rows).mul_(scale)
        return out if self.bias is None else out.add_(self.bias)

    def round(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Float ``[n, in]`` to uint8 around 128, and a scale ``[n, 1]``."""
        return _quantize_rows(x.float())

    def product(self, rows: Tensor) -> Tensor:
        """Rounded rows to float32 ``[n, out]``, to be multiplied by their scale."""
        raise NotImplementedError


class _PlainInt8(_Int8):
    """The weight becomes float32 for the time of a product: public operators, small memory, no speed."""

    def product(self, rows: Tensor) -> Tensor:
        weight = self.weight.float()
        return by_rows(lambda some: F.linear(some.float() - _ZERO, weight) * self.scale, rows, weight.numel())


class _OneDNNInt8(_Int8):
    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__(torch.ops.onednn.qlinear_prepack(weight, None), scale, bias)
        self._zeros = torch.zeros(len(scale), dtype=torch.int32)
        self._n_weights = weight.numel()

    def round(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return round_rows(x)

    def product(self, rows: Tensor) -> Tensor:
        return by_rows(self._multiply, rows, self._n_weights)

    def _multiply(self, rows: Tensor) -> Tensor:
        if not len(rows):
            return torch.empty(0, len(self.scale))
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows,
            1.0,
            _ZERO,
            self.weight,
            self.scale,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return out


_KERNELS: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], _Int8]] = {
    "plain": _PlainInt8,
    "onednn": _OneDNNInt8,
}


@torch.inference_mode()
def quantize(backbone: Backbone, batch: PackedBatch, kernels: Kernels) -> list[Choice]:
    """Exchange the linears of a float32 backbone for int8 ones, in place.

    Parameters
    ----------
    batch
        A few sentences, for what comes into each linear.

    Returns
    -------
    list of Choice
        One for each shape of weight, and where layers kept bfloat16 one more for that.
    """
    seen = _inputs(backbone, batch)
    _smooth_all(backbone, seen)
    choices: dict[Choice, None] = {}
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                packed, choice = _pack(child, seen.pop(child).rows, kernels)
                choices[choice] = None
                setattr(parent, name, packed)
    _fuse_all(backbone)
    return list(choices)


def _fuse_all(backbone: Backbone) -> None:
    """Exchange what has int8 linears only, without bias, for layers that take one pass between products."""
    layers: Iterable[Any] = backbone.layers
    for layer in layers:
        ffn, norm = layer.feed_forward, layer.operator_norm
        if _all_int8(ffn.gate, ffn.up, ffn.down):
            layer.feed_forward = Int8SwiGLU(layer.ffn_norm, ffn.gate, ffn.up, ffn.down)
            layer.ffn_norm = nn.Identity()
        fused = _fused_operator(layer.operator, norm)
        if fused is not None:
            layer.operator, layer.operator_norm = fused, nn.Identity()


def _fused_operator(operator: Any, norm: nn.RMSNorm) -> nn.Module | None:
    if isinstance(operator, ShortConv):
        conv: Any = operator
        if conv.conv_bias is None and _all_int8(conv.in_proj, conv.out_proj):
            return Int8ShortConv(norm, conv)
    elif _all_int8(operator.qkv_proj, operator.out_proj):
        return Int8Attention(norm, operator)
    return None


def _all_int8(*linears: nn.Module) -> bool:
    return all(isinstance(linear, _OneDNNInt8) and linear.bias is None for linear in linears)


def _pack(linear: nn.Linear, rows: Tensor, kernels: Kernels) -> tuple[Packed, Choice]:
    weight, scale = _quantize_weight(linear.weight)
    bias = None if linear.bias is None else linear.bias.detach().clone()
    exact = F.linear(rows, linear.weight)
    error = _PlainInt8(weight, scale, None)(rows) - exact
    if float(error.norm()) > _ERROR_LIMIT * float(exact.norm()):
        return pack_linear(linear, torch.bfloat16, kernels)
    key = (*weight.shape, "int8", kernels, torch.get_num_threads())
    choice = once(key, lambda: _choose(weight, scale, kernels))
    return _KERNELS[choice.kernel](weight, scale, bias), choice


def _choose(weight: Tensor, scale: Tensor, kernels: Kernels) -> Choice:
    """Kernels must be exact but for rounding to float32, at the ends of the range, too.

    There oneDNN's products overflow on processors without dot products of int8.
    """
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(_CHECKED_ROWS, weight.shape[1], generator=draw).clamp_(-1, 1)
    x[::2] = x[::2].sign()
    reference = _PlainInt8(weight, scale, None)(x)
    makers = {name: partial(make, weight, scale, None) for name, make in _KERNELS.items()}
    shape = (weight.shape[0], weight.shape[1])
    return select(makers, x, exact=reference, tolerance=1e-4, kernels=kernels, shape=shape, dtype="int8")


@torch.inference_mode()
def fastest_milliseconds(weight: Tensor, rows: int) -> float:
    """What one product of int8 with a weight ``[out, in]`` takes, without quantizing rows, at its best."""
    some = torch.randint(1, 255, (rows, weight.shape[1]), dtype=torch.uint8)
    calls = {}
    for name, make in _KERNELS.items():
        with suppress(Exception):  # missing here
            layer = make(*_quantize_weight(weight), None)
            calls[name] = partial(layer.product, some)
    return min(time_layers(calls).values())


def _quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """float32 ``[n, in]`` to uint8 around 128, and a scale ``[n, 1]``."""
    scale = torch.maximum(x.amax(1, keepdim=True), -x.amin(1, keepdim=True)).div_(127).clamp_(min=1e-30)
    return (x * scale.reciprocal()).add_(_ZERO + 0.5).to(torch.uint8), scale


def _quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = (weight.abs().amax(1) / 127).clamp_(min=1e-30)
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def _inputs(backbone: Backbone, batch: PackedBatch) -> dict[nn.Module, _Seen]:
    """What comes into each linear when the backbone reads a batch."""
    seen: dict[nn.Module, _Seen] = {}

    def note(linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        [x] = inputs
        some = torch.linspace(0, len(x) - 1, min(len(x), _SAMPLED_ROWS)).long()
        seen[linear] = _Seen(x.abs().amax(0), x[some])

    hooks = [m.register_forward_pre_hook(note) for m in backbone.modules() if isinstance(m, nn.Linear)]
    try:
        backbone(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _smooth_all(backbone: Backbone, seen: Mapping[nn.Module, _Seen]) -> None:
    layers: Iterable[Any] = backbone.layers
    for layer in layers:
        operator, ffn = layer.operator, layer.feed_forward
        head_dim = 1
        if isinstance(operator, ShortConv):
            first, width = operator.in_proj, operator.out_proj.in_features
            made = [part[width : 2 * width] for part in (first.weight, first.bias) if part is not None]
        else:
            first, head_dim = operator.qkv_proj, operator.head_dim
            made = [first.weight[-operator.kv_heads * head_dim :]]
        _smooth(made, [operator.out_proj], seen, head_dim)
        _smooth([layer.operator_norm.weight], [first], seen)
        _smooth([ffn.up.weight], [ffn.down], seen)
        _smooth([layer.ffn_norm.weight], [ffn.gate, ffn.up], seen)


def _smooth(
    made: list[Tensor], linears: list[nn.Linear], seen: Mapping[nn.Module, _Seen], head_dim: int = 1
) -> None:
    """Even out input channels and weight columns, half and half, by factors of at most 100.

    Parameters
    ----------
    made
        What makes the channels; their first axis. Where there are fewer than ``linears`` read, heads of
        ``head_dim`` channels are read by several heads, one after the other.
    linears
        Those that read the channels.
    """
    columns = torch.stack([linear.weight.abs().amax(0) for linear in linears]).amax(0)
    factors = (seen[linears[0]].peaks.clamp(min=1e-5) / columns.clamp(min=1e-5)).sqrt_()
    factors = factors.div_(factors.log().mean().exp()).clamp_(0.01, 100)
    groups = len(factors) // len(made[0])
    shared = factors.view(-1, groups, head_dim).amax(1, keepdim=True)
    for part in made:
        part.div_(shared.view(-1, *[1] * (part.ndim - 1)))
    spread = shared.expand(-1, groups, -1).flatten()
    for linear in linears:
        linear.weight.mul_(spread)
        seen[linear].rows.div_(spread)

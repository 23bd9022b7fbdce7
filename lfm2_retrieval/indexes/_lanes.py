"""Sixteen int16 in one register, for kernels compiled by numba.

A loop over query tokens is worth its name only if it becomes one instruction. Left to LLVM's vectorisers that
hangs on flags and versions (measured: 27 times slower where they don't see it), so the kernels say it: these
intrinsics emit LLVM's own vector type, which every processor with vectors has instructions for.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

__all__ = ["LANES", "add", "larger", "load", "store"]

LANES = 16
"""How many query tokens a register holds."""

_VECTOR = ir.VectorType(ir.IntType(16), LANES)


class _LanesType(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _VECTOR)


_lanes = _LanesType()


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """The address of ``array.flat[at]``, as one of sixteen int16."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


@intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """Sixteen int16 of a C-contiguous array, from its flat index ``at`` (intp) on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_place(context, builder, signature.args[0], *arguments))
        value.align = 2
        return value

    return _lanes(array, types.intp), generate


@intrinsic
def store(typing: Any, value: Any, array: Any, at: Any) -> Any:
    """Put sixteen int16 into a C-contiguous array, from its flat index ``at`` (intp) on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[1], *arguments[1:])
        builder.store(arguments[0], place).align = 2
        return context.get_dummy_value()

    return types.none(_lanes, array, types.intp), generate


@intrinsic
def add(typing: Any, left: Any, right: Any) -> Any:
    """Lane by lane; overflow wraps."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.add(*arguments)

    return _lanes(_lanes, _lanes), generate


@intrinsic
def larger(typing: Any, left: Any, right: Any) -> Any:
    """The larger of the two, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *arguments), *arguments)

    return _lanes(_lanes, _lanes), generate

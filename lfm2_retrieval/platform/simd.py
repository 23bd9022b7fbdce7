"""Vectors in registers, for kernels compiled by numba.

A loop over query tokens is worth its name only if it becomes one instruction. Left to LLVM's vectorisers that
hangs on flags and versions (measured: 27 times slower where they don't see it), so the kernels say it: these
intrinsics emit LLVM's own vector types, for which every processor with vectors has instructions; one with
narrower registers takes two or four. How many elements a vector has is a constant where it is compiled.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

__all__ = [
    "add",
    "add_pairs",
    "any_above",
    "as_single",
    "dot_quads",
    "has_dot",
    "larger",
    "load",
    "multiply",
    "multiply_add",
    "multiply_add_bytes",
    "multiply_add_pairs",
    "narrow",
    "nearest",
    "prefetch",
    "splat",
    "splat_at",
    "splat_pair_at",
    "splat_quad_at",
    "store",
    "subtract",
    "to_single",
    "total",
    "widen",
]

_NATIVE = 32
"""So many bytes are one vector for the instructions that are named here."""


class _Vector(types.Type):
    def __init__(self, element: Any, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(name=f"Vector({element} x {count})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        element = manager.lookup(numba_type.element).get_value_type()
        super().__init__(manager, numba_type, ir.VectorType(element, numba_type.count))


def _address(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """That of ``array.flat[at]``."""
    if array_type.layout != "C":
        raise TypeError("vectors are loaded from C-contiguous arrays")
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """One of LLVM's functions, named without the type of its first argument."""
    vector = arguments[0].type
    element = {"i16": "i16", "i32": "i32", "float": "f32", "double": "f64"}[str(vector.element)]
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = get_or_insert_function(builder.module, kind, f"{name}.v{vector.count}{element}")
    return builder.call(function, arguments)


def _spread(builder: Any, value: Any, count: int) -> Any:
    nothing = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), count), None))


def _has(context: Any, *features: str) -> bool:
    """Whether code is made for a processor that has all of these, by LLVM's names."""
    there = context.codegen().magic_tuple()[2].split(",")
    return all(f"+{feature}" in there for feature in features)


def _fast_dots(context: Any) -> bool:
    return _has(context, "avxvnni") or _has(context, "avx512vnni", "avx512vl")


@cache
def has_dot() -> bool:
    """Whether this processor has an instruction for `dot_quads`."""
    return _fast_dots(cpu_target.target_context)


def _by_native(builder: Any, name: str, result: Any, *vectors: Any) -> Any:
    """Call one of the processor's own instructions, by LLVM's name, on pieces of its width, and join them.

    ``result`` is the type of it all.
    """
    number = ir.IntType(32)
    sizes = [vector.type.element.width // 8 * vector.type.count for vector in vectors]
    n = max(sizes) // _NATIVE

    def pick(vector: Any, first: int, count: int) -> Any:
        places = ir.Constant(
            ir.VectorType(number, count), [ir.Constant(number, first + i) for i in range(count)]
        )
        return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)

    pieces = []
    for i in range(n):
        some = [pick(vector, i * vector.type.count // n, vector.type.count // n) for vector in vectors]
        piece = ir.VectorType(result.element, result.count // n)
        kind = ir.FunctionType(piece, [one.type for one in some])
        pieces.append(builder.call(get_or_insert_function(builder.module, kind, name), some))
    while len(pieces) > 1:
        count = 2 * pieces[0].type.count
        places = ir.Constant(ir.VectorType(number, count), [ir.Constant(number, i) for i in range(count)])
        pieces = [
            builder.shuffle_vector(left, right, places)
            for left, right in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    return pieces[0]


def _pair_sums(builder: Any, values: Any) -> Any:
    """Neighbours added up: half as many elements."""
    number, count = ir.IntType(32), values.type.count // 2
    halves = (
        builder.shuffle_vector(
            values,
            values,
            ir.Constant(
                ir.VectorType(number, count), [ir.Constant(number, 2 * i + odd) for i in range(count)]
            ),
        )
        for odd in (0, 1)
    )
    return builder.add(*halves)


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, at: Any, count: Any) -> Any:
    """``count`` elements of a C-contiguous array, from its flat index ``at`` on."""
    vector = _Vector(array.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[0], *arguments[:2])
        value = builder.load(builder.bitcast(place, context.get_value_type(vector).as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp, count), generate


@intrinsic
def store(typing: Any, value: Any, array: Any, at: Any) -> Any:
    """Put a vector into a C-contiguous array, from its flat index ``at`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[1], *arguments[1:])
        place = builder.bitcast(place, context.get_value_type(value).as_pointer())
        builder.store(arguments[0], place).align = value.element.bitwidth // 8
        return context.get_dummy_value()

    return types.none(value, array, types.intp), generate


@intrinsic
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Have ``array.flat[at]`` of a C-contiguous array brought into the cache; it need not exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[0], *arguments)
        place = builder.bitcast(place, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(number, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic(prefer_literal=True)
def splat(typing: Any, value: Any, count: Any) -> Any:
    """A number, ``count`` times."""
    number = types.unliteral(value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0], count.literal_value)

    return _Vector(number, count.literal_value)(number, count), generate


@intrinsic(prefer_literal=True)
def splat_at(typing: Any, array: Any, at: Any, count: Any) -> Any:
    """``array.flat[at]`` of a C-contiguous array, ``count`` times."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[0], *arguments[:2])
        return _spread(builder, builder.load(place), count.literal_value)

    return _Vector(array.dtype, count.literal_value)(array, types.intp, count), generate


@intrinsic(prefer_literal=True)
def splat_pair_at(typing: Any, array: Any, at: Any, count: Any) -> Any:
    """``array.flat[at]`` and the next int16 of a C-contiguous array, ``count`` times each in turn."""
    vector = _Vector(array.dtype, 2 * count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[0], *arguments[:2])
        pair = builder.load(builder.bitcast(place, ir.IntType(32).as_pointer()))
        pair.align = 2
        spread = _spread(builder, pair, count.literal_value)
        return builder.bitcast(spread, context.get_value_type(vector))

    return vector(array, types.intp, count), generate


@intrinsic(prefer_literal=True)
def splat_quad_at(typing: Any, array: Any, at: Any, count: Any) -> Any:
    """``array.flat[at]`` and the next three bytes of a C-contiguous array, ``count`` times in turn."""
    vector = _Vector(array.dtype, 4 * count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[0], *arguments[:2])
        quad = builder.load(builder.bitcast(place, ir.IntType(32).as_pointer()))
        quad.align = 1
        spread = _spread(builder, quad, count.literal_value)
        return builder.bitcast(spread, context.get_value_type(vector))

    return vector(array, types.intp, count), generate


@intrinsic
def add(typing: Any, left: Any, right: Any) -> Any:
    """Of floats, or of int16, where overflow wraps."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return (builder.fadd if isinstance(left.element, types.Float) else builder.add)(*arguments)

    return left(left, right), generate


@intrinsic
def subtract(typing: Any, left: Any, right: Any) -> Any:
    """Of int16; what would overflow stays at the limit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.ssub.sat", arguments[0].type, *arguments)

    return left(left, right), generate


@intrinsic
def multiply(typing: Any, left: Any, right: Any) -> Any:
    """Of floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments)

    return left(left, right), generate


@intrinsic
def multiply_add(typing: Any, left: Any, right: Any, addend: Any) -> Any:
    """``left * right + addend`` of floats, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.fmuladd", arguments[0].type, *arguments)

    return left(left, right, addend), generate


@intrinsic
def multiply_add_pairs(typing: Any, left: Any, right: Any, addend: Any) -> Any:
    """int16, whose products are added up in pairs, to int32: half as many elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, number = addend.count, ir.IntType(32)
        wide = ir.VectorType(number, 2 * count)
        products = builder.mul(builder.sext(arguments[0], wide), builder.sext(arguments[1], wide))
        every_other = ir.VectorType(number, count)
        first, second = (
            builder.shuffle_vector(
                products,
                products,
                ir.Constant(every_other, [ir.Constant(number, 2 * i + odd) for i in range(count)]),
            )
            for odd in (0, 1)
        )
        return builder.add(arguments[2], builder.add(first, second))

    return addend(left, right, addend), generate


@intrinsic
def multiply_add_bytes(typing: Any, left: Any, right: Any, addend: Any) -> Any:
    """uint8 times int8, added up in pairs, to int16: half as many elements, where overflow wraps.

    No sum of two products may be beyond int16: there, processors differ.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bytes, steps, sums = arguments
        if _has(context, "avx2"):
            products = _by_native(builder, "llvm.x86.avx2.pmadd.ub.sw", sums.type, bytes, steps)
        else:
            wide = ir.VectorType(ir.IntType(16), left.count)
            products = _pair_sums(builder, builder.mul(builder.zext(bytes, wide), builder.sext(steps, wide)))
        return builder.add(sums, products)

    return addend(left, right, addend), generate


@intrinsic
def add_pairs(typing: Any, value: Any, addend: Any) -> Any:
    """int16, added up in pairs, to int32: half as many elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pairs, sums = arguments
        if _has(context, "avx2"):
            ones = ir.Constant(pairs.type, [ir.Constant(pairs.type.element, 1)] * value.count)
            found = _by_native(builder, "llvm.x86.avx2.pmadd.wd", sums.type, pairs, ones)
        else:
            found = _pair_sums(builder, builder.sext(pairs, ir.VectorType(ir.IntType(32), value.count)))
        return builder.add(sums, found)

    return addend(value, addend), generate


@intrinsic
def dot_quads(typing: Any, left: Any, right: Any, addend: Any) -> Any:
    """uint8 times int8, added up in fours, to int32: a quarter as many elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bytes, steps, sums = arguments
        if _fast_dots(context):
            by_four = [builder.bitcast(some, sums.type) for some in (bytes, steps)]
            return _by_native(builder, "llvm.x86.avx512.vpdpbusd.256", sums.type, sums, *by_four)
        wide = ir.VectorType(ir.IntType(32), left.count)
        products = builder.mul(builder.zext(bytes, wide), builder.sext(steps, wide))
        return builder.add(sums, _pair_sums(builder, _pair_sums(builder, products)))

    return addend(left, right, addend), generate


@intrinsic
def to_single(typing: Any, value: Any) -> Any:
    """int32 as float32, rounded."""
    vector = _Vector(types.float32, value.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], context.get_value_type(vector))

    return vector(value), generate


@intrinsic
def larger(typing: Any, left: Any, right: Any) -> Any:
    """The larger of the two, element by element."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        compare = builder.fcmp_ordered if isinstance(left.element, types.Float) else builder.icmp_signed
        return builder.select(compare(">", *arguments), *arguments)

    return left(left, right), generate


@intrinsic
def as_single(typing: Any, value: Any) -> Any:
    """As float32: float32 as it is, float16, given as the uint16 of its bits, or bfloat16, as their int16.

    Where the processor has instructions for float16, infinity and NaN stay what they are. Elsewhere exponent
    and fraction move to their places in a float32, where the exponent is then short by 112; one exact
    multiplication corrects that, subnormal numbers included. Infinity and NaN become 65536 and more.
    """
    vector = _Vector(types.float32, value.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (bits,) = arguments
        if isinstance(value.element, types.Float):
            return bits
        single = context.get_value_type(vector)
        if value.element.signed:
            wide = ir.VectorType(ir.IntType(32), value.count)
            places = ir.Constant(wide, [ir.Constant(wide.element, 16)] * value.count)
            return builder.bitcast(builder.shl(builder.zext(bits, wide), places), single)
        if "+f16c" in context.codegen().magic_tuple()[2].split(","):
            half = ir.VectorType(ir.HalfType(), value.count)
            return builder.fpext(builder.bitcast(bits, half), single)
        wide = ir.VectorType(ir.IntType(32), value.count)

        def constant(kind: Any, number: float) -> Any:
            return ir.Constant(kind, [ir.Constant(kind.element, number)] * value.count)

        bits = builder.zext(bits, wide)
        sign = builder.shl(builder.and_(bits, constant(wide, 0x8000)), constant(wide, 16))
        rest = builder.shl(builder.and_(bits, constant(wide, 0x7FFF)), constant(wide, 13))
        return builder.fmul(builder.bitcast(builder.or_(sign, rest), single), constant(single, 2.0**112))

    return vector(value), generate


@intrinsic
def any_above(typing: Any, left: Any, right: Any) -> Any:
    """Whether any int16 is larger than its counterpart."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = ir.IntType(left.count)
        above = builder.bitcast(builder.icmp_signed(">", *arguments), bits)
        return builder.icmp_unsigned("!=", above, ir.Constant(bits, 0))

    return types.boolean(left, right), generate


@intrinsic
def nearest(typing: Any, value: Any, factor: Any) -> Any:
    """int32 times a float32, to the nearest int16, which the product must not lie beyond."""
    vector = _Vector(types.int16, value.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real = ir.VectorType(ir.FloatType(), value.count)
        factors = _spread(builder, arguments[1], value.count)
        product = builder.fmul(builder.sitofp(arguments[0], real), factors)
        whole = _call(builder, "llvm.rint", real, product)
        wide = builder.fptosi(whole, arguments[0].type)
        return builder.trunc(wide, context.get_value_type(vector))

    return vector(value, types.float32), generate


@intrinsic
def narrow(typing: Any, value: Any) -> Any:
    """int16 → int8: a 256th, rounded."""
    vector = _Vector(types.int8, value.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        half, bits = (ir.Constant(kind, [ir.Constant(kind.element, n)] * value.count) for n in (128, 8))
        rounded = builder.ashr(_call(builder, "llvm.sadd.sat", kind, arguments[0], half), bits)
        return builder.trunc(rounded, context.get_value_type(vector))

    return vector(value), generate


@intrinsic
def widen(typing: Any, value: Any) -> Any:
    """float32 as float64."""
    vector = _Vector(types.float64, value.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(arguments[0], context.get_value_type(vector))

    return vector(value), generate


@intrinsic
def total(typing: Any, value: Any) -> Any:
    """The sum of int8 or int16, as int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.sext(arguments[0], ir.VectorType(ir.IntType(32), value.count))
        return _call(builder, "llvm.vector.reduce.add", ir.IntType(32), wide)

    return types.int32(value), generate

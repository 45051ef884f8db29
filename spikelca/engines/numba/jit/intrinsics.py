"""Numbers side by side, as many as fill a line of the cache: sums that stay in registers.

Left to itself the compiler makes vectors of the innermost loop alone. A sum over active neurons,
for many silent ones at once, then goes to memory and back at each summand. With `load` and `store`
the loop over summands is written inside the one over neurons, and its sums wait in registers.

A product is added in one rounding where the processor can.

Arrays without a count of their holders.

Numba counts who holds an array, with an instruction that locks a line of the cache. A kernel that
takes an array out of a tuple, or a row out of a matrix, counts up and down each time: where loops
are short this took four tenths of all the time. What a kernel is handed belongs to its caller and
lives until it returns, so that there is nothing to count: an entry borrows its arguments.

Never borrow what the kernel has made itself: nothing would hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

CACHE_LINE = 64
"""Bytes of a line of the cache."""


class SimdVector(types.Type):
    """The type of numbers side by side."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.count = 8 * CACHE_LINE // real.bitwidth
        super().__init__(f"lanes({real})")


@register_model(SimdVector)
class _SimdVectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: SimdVector) -> None:
        super().__init__(
            manager, kind, ir.VectorType(manager[kind.real].get_value_type(), kind.count)
        )


def simd_intrinsic(function: Callable[..., Any]) -> Any:
    """Decorate what gives the types and the code of an operation on lanes."""
    return intrinsic(function)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, first: Any) -> Any:
    lanes = context.get_value_type(SimdVector(kind.dtype))
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, first), lanes.as_pointer())


@simd_intrinsic
def load(typingctx: Any, array: Any, first: Any) -> Any:
    """The numbers from a place on, counted in the order of memory."""
    size = array.dtype.bitwidth // 8

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, array, *args), align=size)

    return SimdVector(array.dtype)(array, types.intp), build


@simd_intrinsic
def vector_width(typingctx: Any, array: Any) -> Any:
    """How many numbers of an array stand side by side."""
    count = SimdVector(array.dtype).count

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.IntType(64)(count)

    return types.intp(array), build


@simd_intrinsic
def store(typingctx: Any, array: Any, first: Any, values: Any) -> Any:
    """Write numbers to a place and what follows."""
    size = array.dtype.bitwidth // 8

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, array, *args[:2]), align=size)
        return context.get_dummy_value()

    return types.void(array, types.intp, values), build


def _fmuladd(builder: Any, x: Any, y: Any, z: Any) -> Any:
    kind = x.type
    name = f"llvm.fmuladd.v{kind.count}{'f32' if kind.element == ir.FloatType() else 'f64'}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), name
    )
    return builder.call(function, [x, y, z])


def _splat(builder: Any, kind: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), everywhere)


@simd_intrinsic
def fma(typingctx: Any, x: Any, a: Any, y: Any) -> Any:
    """``x + a y`` for a number a."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, a, y = args
        return _fmuladd(builder, _splat(builder, x.type, a), y, x)

    return x(x, x.real, x), build


@simd_intrinsic
def broadcast(typingctx: Any, array: Any, value: Any) -> Any:
    """A number at every place; the array tells how many places there are."""
    kind = SimdVector(array.dtype)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, context.get_value_type(kind), args[1])

    return kind(array, array.dtype), build


@simd_intrinsic
def sub(typingctx: Any, x: Any, y: Any) -> Any:
    """``x - y``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args)

    return x(x, x), build


@simd_intrinsic
def euler_step(typingctx: Any, u: Any, k: Any, c: Any) -> Any:
    """``k (c - u) + u`` for a number k."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u, k, c = args
        return _fmuladd(builder, builder.fsub(c, u), _splat(builder, u.type, k), u)

    return u(u, u.real, u), build


@simd_intrinsic
def maximum(typingctx: Any, x: Any, y: Any) -> Any:
    """The larger number of each pair."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return x(x, x), build


@simd_intrinsic
def neg(typingctx: Any, x: Any) -> Any:
    """``-x``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    return x(x), build


@simd_intrinsic
def hmax(typingctx: Any, x: Any) -> Any:
    """The largest of the numbers."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,), half = args, args[0].type.count
        while half > 1:
            half //= 2
            places = ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(half)))
            others = ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(half, 2 * half)))
            lower = builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), places)
            upper = builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), others)
            x = builder.select(builder.fcmp_ordered(">", lower, upper), lower, upper)
        return builder.extract_element(x, ir.IntType(32)(0))

    return x.real(x), build


def _mask_to_int(builder: Any, truths: Any) -> Any:
    return builder.bitcast(truths, ir.IntType(truths.type.count))


@simd_intrinsic
def any_gt(typingctx: Any, x: Any, y: Any) -> Any:
    """Whether some number of x is above that of y."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = _mask_to_int(builder, builder.fcmp_ordered(">", *args))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(x, x), build


@simd_intrinsic
def mask_ge(typingctx: Any, x: Any, y: Any) -> Any:
    """Where a number of x is at least that of y: a bit for each, the first one lowest."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(
            _mask_to_int(builder, builder.fcmp_ordered(">=", *args)), ir.IntType(64)
        )

    return types.int64(x, x), build


@simd_intrinsic
def mask_ne(typingctx: Any, x: Any, y: Any) -> Any:
    """Where a number of x is not that of y, as bits."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(
            _mask_to_int(builder, builder.fcmp_unordered("!=", *args)), ir.IntType(64)
        )

    return types.int64(x, x), build


@simd_intrinsic
def ctz(typingctx: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; there must be one."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), build


def _drop_meminfo(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = array.meminfo.type(None), array.parent.type(None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for place, part in enumerate(kind.types):  # type: ignore[attr-defined]
            inner = _drop_meminfo(context, builder, part, builder.extract_value(value, place))
            value = builder.insert_value(value, inner, place)
    return value


@simd_intrinsic
def skip_refcount(typingctx: Any, value: Any) -> Any:
    """The same array, or the same tuple of arrays, uncounted."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _drop_meminfo(context, builder, value, args[0])

    return value(value), build

"""Numbers side by side, as many as fill a line of the cache: sums that stay in registers.

Left to itself the compiler makes vectors of the innermost loop alone. A sum over active neurons,
for many silent ones at once, then goes to memory and back at each summand. With `take` and `put`
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

LINE = 64
"""Bytes of a line of the cache."""


class Lanes(types.Type):
    """The type of numbers side by side."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.count = 8 * LINE // real.bitwidth
        super().__init__(f"lanes({real})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(
            manager, kind, ir.VectorType(manager[kind.real].get_value_type(), kind.count)
        )


def operation(function: Callable[..., Any]) -> Any:
    """Decorate what gives the types and the code of an operation on lanes."""
    return intrinsic(function)


def _place(context: Any, builder: Any, kind: Any, array: Any, first: Any) -> Any:
    lanes = context.get_value_type(Lanes(kind.dtype))
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, first), lanes.as_pointer())


@operation
def take(typingctx: Any, array: Any, first: Any) -> Any:
    """The numbers from a place on, counted in the order of memory."""
    size = array.dtype.bitwidth // 8

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, array, *args), align=size)

    return Lanes(array.dtype)(array, types.intp), build


@operation
def width_of(typingctx: Any, array: Any) -> Any:
    """How many numbers of an array stand side by side."""
    count = Lanes(array.dtype).count

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.IntType(64)(count)

    return types.intp(array), build


@operation
def put(typingctx: Any, array: Any, first: Any, values: Any) -> Any:
    """Write numbers to a place and what follows."""
    size = array.dtype.bitwidth // 8

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, array, *args[:2]), align=size)
        return context.get_dummy_value()

    return types.void(array, types.intp, values), build


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    kind = x.type
    name = f"llvm.fmuladd.v{kind.count}{'f32' if kind.element == ir.FloatType() else 'f64'}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), name
    )
    return builder.call(function, [x, y, z])


def _spread(builder: Any, kind: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), everywhere)


@operation
def more(typingctx: Any, x: Any, a: Any, y: Any) -> Any:
    """``x + a y`` for a number a."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, a, y = args
        return _multiply_add(builder, _spread(builder, x.type, a), y, x)

    return x(x, x.real, x), build


@operation
def alike(typingctx: Any, array: Any, value: Any) -> Any:
    """A number at every place; the array tells how many places there are."""
    kind = Lanes(array.dtype)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, context.get_value_type(kind), args[1])

    return kind(array, array.dtype), build


@operation
def beyond(typingctx: Any, x: Any, y: Any) -> Any:
    """``x - y``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args)

    return x(x, x), build


@operation
def nearer(typingctx: Any, u: Any, k: Any, c: Any) -> Any:
    """``k (c - u) + u`` for a number k."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u, k, c = args
        return _multiply_add(builder, builder.fsub(c, u), _spread(builder, u.type, k), u)

    return u(u, u.real, u), build


@operation
def higher(typingctx: Any, x: Any, y: Any) -> Any:
    """The larger number of each pair."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return x(x, x), build


@operation
def opposite(typingctx: Any, x: Any) -> Any:
    """``-x``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    return x(x), build


@operation
def highest(typingctx: Any, x: Any) -> Any:
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


def _bits(builder: Any, truths: Any) -> Any:
    return builder.bitcast(truths, ir.IntType(truths.type.count))


@operation
def any_above(typingctx: Any, x: Any, y: Any) -> Any:
    """Whether some number of x is above that of y."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = _bits(builder, builder.fcmp_ordered(">", *args))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(x, x), build


@operation
def which_reach(typingctx: Any, x: Any, y: Any) -> Any:
    """Where a number of x is at least that of y: a bit for each, the first one lowest."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(_bits(builder, builder.fcmp_ordered(">=", *args)), ir.IntType(64))

    return types.int64(x, x), build


@operation
def which_differ(typingctx: Any, x: Any, y: Any) -> Any:
    """Where a number of x is not that of y, as bits."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(_bits(builder, builder.fcmp_unordered("!=", *args)), ir.IntType(64))

    return types.int64(x, x), build


@operation
def lowest_bit(typingctx: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; there must be one."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), build


def _uncounted(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = array.meminfo.type(None), array.parent.type(None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for place, part in enumerate(kind.types):  # type: ignore[attr-defined]
            inner = _uncounted(context, builder, part, builder.extract_value(value, place))
            value = builder.insert_value(value, inner, place)
    return value


@operation
def borrowed(typingctx: Any, value: Any) -> Any:
    """The same array, or the same tuple of arrays, uncounted."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _uncounted(context, builder, value, args[0])

    return value(value), build

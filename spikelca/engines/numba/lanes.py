"""Numbers side by side, as many as fill a line of the cache: sums that stay in registers.

Left to itself the compiler makes vectors of the innermost loop alone. A sum over active neurons,
for many silent ones at once, then goes to memory and back at each summand. With `take` and `put`
the loop over summands is written inside the one over neurons, and its sums wait in registers.

A product is added in one rounding where the processor can.
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
def any_above(typingctx: Any, x: Any, y: Any) -> Any:
    """Whether some number of x is above that of y."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", *args)
        bits = ir.IntType(above.type.count)
        return builder.icmp_unsigned("!=", builder.bitcast(above, bits), bits(0))

    return types.boolean(x, x), build

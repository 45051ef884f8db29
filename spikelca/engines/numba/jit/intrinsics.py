"""SIMD operations on vectors of one cache line, and arrays without reference counting.

**SIMD vectors.** The compiler vectorises innermost loops only. A sum over active neurons, for many
inactive ones at a time, would then write each partial sum to memory and read it again. With `load`
and `store`, the loop over summands is the inner one, and the sums stay in vector registers. A
product is added with a single rounding (`fma`) where the processor supports it.

**Reference counts.** Numba counts the references to an array with an atomic instruction, which
locks a cache line. Taking an array out of a tuple, or a row out of a matrix, changes the count
twice, which took 40 % of the run time where loops are short. The arguments of a kernel belong to
its caller and exist until the kernel returns, so that no count is needed: `skip_refcount` removes
it.

Safety
------
These functions do not check their arguments:

* `load` and `store` do not check bounds. The index counts elements in memory order, and a whole
  vector from there on must lie in the array. Arrays are therefore padded (`layout.py`).
* `load` and `store` assume C-contiguous arrays, but no alignment.
* `skip_refcount` must be applied to arguments only. An array that the kernel itself allocates would
  be freed while in use.
* `ctz` is undefined for zero.

They use internals of Numba (`numba.core.cgutils`, models of types), and are tested with its
versions from `TESTED_NUMBA[0]` up to, but not including, `TESTED_NUMBA[1]`. With another version,
or if the environment variable SPIKELCA_SIMD is 0, `plain_loops.py` is compiled instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

CACHE_LINE = 64
"""Bytes of a cache line, and of a vector."""

TESTED_NUMBA = (0, 62), (0, 69)
"""The first tested version of Numba, and the first version that was not tested."""

SIMD_VARIABLE = "SPIKELCA_SIMD"


def is_simd_supported(version: str, setting: str) -> bool:
    """Whether to use the intrinsics with a version of Numba and a value of SPIKELCA_SIMD."""
    release = tuple(int(part) for part in version.split(".")[:2])
    return setting != "0" and TESTED_NUMBA[0] <= release < TESTED_NUMBA[1]


USE_SIMD = is_simd_supported(numba.__version__, os.environ.get(SIMD_VARIABLE, ""))
"""Whether kernels are compiled with SIMD intrinsics, or as plain loops."""


class SimdVector(types.Type):
    """Numba type of a vector of numbers that fills one cache line."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.count = 8 * CACHE_LINE // real.bitwidth
        super().__init__(f"SimdVector({real})")


@register_model(SimdVector)
class _SimdVectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: SimdVector) -> None:
        super().__init__(
            manager, kind, ir.VectorType(manager[kind.real].get_value_type(), kind.count)
        )


def simd_intrinsic(function: Callable[..., Any]) -> Any:
    """Decorate a function that returns the types and the code generator of an operation."""
    return intrinsic(function)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, start: Any) -> Any:
    vector = context.get_value_type(SimdVector(kind.dtype))
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, start), vector.as_pointer())


@simd_intrinsic
def load(typingctx: Any, array: Any, start: Any) -> Any:
    """Load the vector that starts at an element, counted in memory order."""
    size = array.dtype.bitwidth // 8

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, array, *args), align=size)

    return SimdVector(array.dtype)(array, types.intp), build


@simd_intrinsic
def vector_width(typingctx: Any, array: Any) -> Any:
    """Return the number of elements of a vector with the precision of an array."""
    count = SimdVector(array.dtype).count

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.IntType(64)(count)

    return types.intp(array), build


@simd_intrinsic
def store(typingctx: Any, array: Any, start: Any, values: Any) -> Any:
    """Store a vector from an element on, counted in memory order."""
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
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), zeros)


@simd_intrinsic
def fma(typingctx: Any, x: Any, a: Any, y: Any) -> Any:
    """Compute ``x + a y`` for a scalar a."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, a, y = args
        return _fmuladd(builder, _splat(builder, x.type, a), y, x)

    return x(x, x.real, x), build


@simd_intrinsic
def broadcast(typingctx: Any, array: Any, value: Any) -> Any:
    """Return a vector with equal elements and the precision of an array."""
    kind = SimdVector(array.dtype)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, context.get_value_type(kind), args[1])

    return kind(array, array.dtype), build


@simd_intrinsic
def sub(typingctx: Any, x: Any, y: Any) -> Any:
    """Compute ``x - y``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args)

    return x(x, x), build


@simd_intrinsic
def euler_step(typingctx: Any, u: Any, k: Any, c: Any) -> Any:
    """Compute ``k (c - u) + u`` for a scalar k."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u, k, c = args
        return _fmuladd(builder, builder.fsub(c, u), _splat(builder, u.type, k), u)

    return u(u, u.real, u), build


@simd_intrinsic
def maximum(typingctx: Any, x: Any, y: Any) -> Any:
    """Compute the element-wise maximum."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return x(x, x), build


@simd_intrinsic
def neg(typingctx: Any, x: Any) -> Any:
    """Compute ``-x``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    return x(x), build


@simd_intrinsic
def hmax(typingctx: Any, x: Any) -> Any:
    """Compute the largest element."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,), half = args, args[0].type.count
        while half > 1:
            half //= 2
            index = ir.VectorType(ir.IntType(32), half)
            first_half = ir.Constant(index, list(range(half)))
            second_half = ir.Constant(index, list(range(half, 2 * half)))
            lower = builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), first_half)
            upper = builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), second_half)
            x = builder.select(builder.fcmp_ordered(">", lower, upper), lower, upper)
        return builder.extract_element(x, ir.IntType(32)(0))

    return x.real(x), build


def _mask_to_int(builder: Any, mask: Any) -> Any:
    return builder.bitcast(mask, ir.IntType(mask.type.count))


@simd_intrinsic
def any_gt(typingctx: Any, x: Any, y: Any) -> Any:
    """Whether ``x > y`` for any element."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        mask = _mask_to_int(builder, builder.fcmp_ordered(">", *args))
        return builder.icmp_unsigned("!=", mask, mask.type(0))

    return types.boolean(x, x), build


@simd_intrinsic
def mask_ge(typingctx: Any, x: Any, y: Any) -> Any:
    """Compute the mask of ``x >= y``: one bit per element, the first in the lowest bit."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(
            _mask_to_int(builder, builder.fcmp_ordered(">=", *args)), ir.IntType(64)
        )

    return types.int64(x, x), build


@simd_intrinsic
def mask_ne(typingctx: Any, x: Any, y: Any) -> Any:
    """Compute the mask of ``x != y``, as in `mask_ge`."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(
            _mask_to_int(builder, builder.fcmp_unordered("!=", *args)), ir.IntType(64)
        )

    return types.int64(x, x), build


@simd_intrinsic
def ctz(typingctx: Any, mask: Any) -> Any:
    """Count the trailing zeros of a mask: the index of its lowest set bit. It must have one."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), build


def _drop_meminfo(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = array.meminfo.type(None), array.parent.type(None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for index, item in enumerate(kind.types):  # type: ignore[attr-defined]
            inner = _drop_meminfo(context, builder, item, builder.extract_value(value, index))
            value = builder.insert_value(value, inner, index)
    return value


@simd_intrinsic
def skip_refcount(typingctx: Any, value: Any) -> Any:
    """Return the same array or tuple of arrays, without reference counting if `USE_SIMD`."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not USE_SIMD:
            context.nrt.incref(builder, value, args[0])
            return args[0]
        return _drop_meminfo(context, builder, value, args[0])

    return value(value), build

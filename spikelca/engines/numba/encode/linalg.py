"""Linear algebra of the active neurons: the inverse of their Gram block, and the duality gap.

The symmetric ``Q = (Phi_S^T Phi_S)^-1`` is updated when one neuron is added (`append_to_inverse`)
or removed (`remove_from_inverse`), which takes a time quadratic in its size. Loops run over rows
padded to a multiple of `MAX_LANES`, that is, over whole vectors; the padding has no effect on the
results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.jit import plain_loops
from spikelca.engines.numba.jit.compile import jit
from spikelca.engines.numba.jit.intrinsics import (
    broadcast,
    fma,
    hmax,
    load,
    maximum,
    neg,
    store,
    sub,
    vector_width,
)
from spikelca.utils.validation import FloatArray

INDEX_0: Any = np.intp(0)
NO_INDEX: Any = np.intp(-1)
"""No neuron. Both constants have the type of an index: from a literal 0 or -1 Numba would infer a
second type, and compile the code that depends on it twice."""

GAP, RESIDUAL, ROUNDS = 0, 1, 2
"""Columns of the report of a sample: relative duality gap, fixed-point residual, rounds or
steps."""

MAX_LANES = 16
"""Elements of the longest vector; rows of Q and vectors of active neurons are padded to it."""


@jit("fast", inline="llvm")
def padded_lanes(n: int) -> int:
    """Round n up to a multiple of `MAX_LANES`."""
    return (n + MAX_LANES - 1) // MAX_LANES * MAX_LANES


@jit("fast", inline="llvm", plain=plain_loops.matvec)
def matvec(rows: FloatArray, x: FloatArray, n: int, width: int, y: FloatArray) -> None:
    """Compute ``y = sum_q x_q rows_q`` over n rows of a width: ``Q x`` for a symmetric Q.

    Each vector of y is the sum of four independent partial sums, so that an addition need not wait
    for the previous one. Sums run over rows, never across the elements of a vector.
    """
    zero, one = broadcast(rows, y.dtype.type(0)), y.dtype.type(1)
    stride, full = rows.shape[1], n - n % 4
    for start in range(0, padded_lanes(width), vector_width(rows)):
        y0 = y1 = y2 = y3 = zero
        for q in range(0, full, 4):
            offset = q * stride + start
            y0 = fma(y0, x[q], load(rows, offset))
            y1 = fma(y1, x[q + 1], load(rows, offset + stride))
            y2 = fma(y2, x[q + 2], load(rows, offset + 2 * stride))
            y3 = fma(y3, x[q + 3], load(rows, offset + 3 * stride))
        for q in range(full, n):
            y0 = fma(y0, x[q], load(rows, q * stride + start))
        store(y, start, fma(fma(y0, one, y1), one, fma(y2, one, y3)))


@jit("fast", inline="llvm", plain=plain_loops.rank_one_update)
def rank_one_update(Q: FloatArray, t: FloatArray, scale: Any, n: int) -> None:
    """Compute ``Q += scale t t'``."""
    stride = Q.shape[1]
    for start in range(0, padded_lanes(n), vector_width(Q)):
        vector = load(t, start)
        for p in range(n):
            offset = p * stride + start
            store(Q, offset, fma(load(Q, offset), scale * t[p], vector))


@jit("fast", inline="llvm", plain=plain_loops.copy_row)
def copy_row(source: FloatArray, target: FloatArray, n: int) -> None:
    """Copy n elements, in whole vectors."""
    for start in range(0, padded_lanes(n), vector_width(source)):
        store(target, start, load(source, start))


@jit("fast", inline="llvm")
def schur_complement(
    gram: FloatArray, Q: FloatArray, active: Any, n: int, j: int, w: FloatArray, t: FloatArray
) -> Any:
    """Compute ``w = G_Sj``, ``t = Q w`` and the Schur complement ``G_jj - w' Q w`` of atom j.

    The Schur complement is the squared distance of atom j from the span of the active atoms.
    """
    for p in range(n):
        w[p] = gram[active[p], j]
    matvec(Q, w, n, n, t)
    schur = gram[j, j]
    for p in range(n):
        schur -= t[p] * w[p]
    return schur


@jit("fast", inline="llvm")
def append_to_inverse(
    Q: FloatArray, active: Any, n: int, j: int, schur: Any, t: FloatArray
) -> None:
    """Add neuron j as active neuron n; t and schur are results of `schur_complement`."""
    # Inverse of a block matrix: with t = Q w and the Schur complement s,
    # [[G_SS, w], [w', G_jj]]^-1 = [[Q + t t' / s, -t / s], [-t' / s, 1 / s]].
    inverse = t.dtype.type(1) / schur
    rank_one_update(Q, t, inverse, n)
    row = Q[n]
    for p in range(n):
        row[p] = -t[p] * inverse
        Q[p, n] = row[p]
    row[n] = inverse
    active[n] = j


@jit("fast", inline="llvm")
def remove_from_inverse(Q: FloatArray, active: Any, n: int, p: int, t: FloatArray) -> None:
    """Remove active neuron p; the last active neuron moves to its index."""
    last, row = n - 1, Q[p]
    copy_row(row, t, n)
    # The formula of `append_to_inverse` in reverse: with column p of Q as t, the inverse of the
    # block without neuron p is Q - t t' / t_p. Row and column p become zero, and the last ones are
    # moved there.
    rank_one_update(Q, t, t.dtype.type(-1) / t[p], n)
    if p != last:
        end = Q[last]
        copy_row(end, row, n)
        for q in range(n):
            Q[q, p] = row[q]
        row[p] = end[last]
        active[p] = active[last]


@jit("fast", inline="llvm", plain=plain_loops.compute_excess)
def compute_excess(c: FloatArray, upper: FloatArray, lower: FloatArray, excess: FloatArray) -> None:
    """Compute ``max(c - upper, -c - lower)``: the amount by which c is beyond a threshold."""
    for start in range(0, c.shape[0], vector_width(c)):
        vector = load(c, start)
        above, below = sub(vector, load(upper, start)), sub(neg(vector), load(lower, start))
        store(excess, start, maximum(above, below))


@jit("fast", inline="llvm", plain=plain_loops.max_element)
def max_element(values: FloatArray) -> Any:
    """Compute the largest of values that fill whole groups of four vectors.

    Four independent running maxima are faster than one, because each comparison depends on the
    previous one of its chain.
    """
    width = vector_width(values)
    x0, x1 = load(values, 0), load(values, width)
    x2, x3 = load(values, 2 * width), load(values, 3 * width)
    for start in range(4 * width, values.shape[0], 4 * width):
        x0, x1 = maximum(x0, load(values, start)), maximum(x1, load(values, start + width))
        x2 = maximum(x2, load(values, start + 2 * width))
        x3 = maximum(x3, load(values, start + 3 * width))
    return hmax(maximum(maximum(x0, x1), maximum(x2, x3)))


@jit("fast", inline="llvm")
def gap_from_products(x2: float, ab: float, ac: float, cost: float, dual_norm: float) -> float:
    """Compute the relative duality gap from inner products; see `spikelca.metrics`.

    Parameters
    ----------
    x2, ab, ac : float
        ``|x|^2``, ``a.b`` and ``a.c`` with ``c = b - G a``.
    cost : float
        ``sum_j t_j |a_j|``, with the threshold t_j of neuron j.
    dual_norm : float
        Largest ratio of ``|c_j|`` to the threshold, by which the residual is scaled to be dual
        feasible.
    """
    r2, xr = max(x2 - ab - ac, 0.0), x2 - ab
    primal = 0.5 * r2 + cost
    if primal <= 0.0:
        return 0.0
    # A negative scale would require lower bounds on c, which one-sided codes do not have.
    scale = max(xr / r2, 0.0) if r2 > 0.0 else 0.0
    if dual_norm > 0.0:
        scale = min(scale, 1.0 / dual_norm)
    return max((primal - scale * xr + 0.5 * scale * scale * r2) / primal, 0.0)


@jit("fast", inline="llvm", plain=plain_loops.compute_residual_correlation)
def compute_residual_correlation(
    b: FloatArray, gram: FloatArray, active: Any, a: FloatArray, n: int, c: FloatArray
) -> None:
    """Compute ``c = b - G a`` for a sparse a with n active neurons; G in padded rows."""
    width, stride = vector_width(b), gram.shape[1]
    for start in range(0, b.shape[0], 4 * width):
        p, q, r = start + width, start + 2 * width, start + 3 * width
        # Four vectors of neurons at a time: their sums stay in registers over all active neurons.
        c0, c1, c2, c3 = load(b, start), load(b, p), load(b, q), load(b, r)
        for m in range(n):
            offset, less = active[m] * stride, -a[m]
            c0 = fma(c0, less, load(gram, offset + start))
            c1 = fma(c1, less, load(gram, offset + p))
            c2 = fma(c2, less, load(gram, offset + q))
            c3 = fma(c3, less, load(gram, offset + r))
        store(c, start, c0)
        store(c, p, c1)
        store(c, q, c2)
        store(c, r, c3)

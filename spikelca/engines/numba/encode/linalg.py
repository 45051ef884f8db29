"""The block of the active neurons: its inverse, kept up to date neuron by neuron.

The symmetric ``Q = (Phi_S^T Phi_S)^-1`` grows by one neuron (`append_to_inverse`) and shrinks by one
(`remove_from_inverse`), both in the square of its size. Loops run over rows padded to a multiple of `MAX_LANES`, so
that they are whole vectors; what lies in the padding is never read.

When a code is done: how far neurons lie beyond their thresholds, and the gap that follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.jit.compile import kernel
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
"""Typed: for a bare 0 or -1 Numba would compile everything behind it once more."""

MAX_LANES = 16
"""Numbers of the longest vector register; rows of Q and scratch vectors are padded to it."""


@kernel
def padded_lanes(n: int) -> int:
    """The smallest multiple of `MAX_LANES` that holds n numbers."""
    return (n + MAX_LANES - 1) // MAX_LANES * MAX_LANES


@kernel
def matvec(rows: FloatArray, x: FloatArray, n: int, width: int, y: FloatArray) -> None:
    """``y = sum_q x_q rows_q`` over n rows of a width: ``Q x`` for a symmetric Q.

    No sum runs across a vector; four run side by side, so that none waits for the one before.
    """
    zero, one = broadcast(rows, y.dtype.type(0)), y.dtype.type(1)
    stride, full = rows.shape[1], n - n % 4
    for first in range(0, padded_lanes(width), vector_width(rows)):
        y0 = y1 = y2 = y3 = zero
        for q in range(0, full, 4):
            place = q * stride + first
            y0 = fma(y0, x[q], load(rows, place))
            y1 = fma(y1, x[q + 1], load(rows, place + stride))
            y2 = fma(y2, x[q + 2], load(rows, place + 2 * stride))
            y3 = fma(y3, x[q + 3], load(rows, place + 3 * stride))
        for q in range(full, n):
            y0 = fma(y0, x[q], load(rows, q * stride + first))
        store(y, first, fma(fma(y0, one, y1), one, fma(y2, one, y3)))


@kernel
def rank_one_update(Q: FloatArray, t: FloatArray, scale: Any, n: int) -> None:
    """``Q += scale t t'``."""
    stride = Q.shape[1]
    for first in range(0, padded_lanes(n), vector_width(Q)):
        part = load(t, first)
        for p in range(n):
            place = p * stride + first
            store(Q, place, fma(load(Q, place), scale * t[p], part))


@kernel
def schur_complement(
    gram: FloatArray, Q: FloatArray, members: Any, n: int, j: int, w: FloatArray, t: FloatArray
) -> Any:
    """``w = G_Sj``, ``t = Q w``, and what of atom j lies outside the span of the active ones.

    That part is the Schur complement ``G_jj - w' Q w``: zero for an atom inside the span.
    """
    for p in range(n):
        w[p] = gram[members[p], j]
    matvec(Q, w, n, n, t)
    schur = gram[j, j]
    for p in range(n):
        schur -= t[p] * w[p]
    return schur


@kernel
def append_to_inverse(
    Q: FloatArray, members: Any, n: int, j: int, schur: Any, t: FloatArray
) -> None:
    """Let neuron j in as member n; t and schur are those of `schur_complement`."""
    inverse = t.dtype.type(1) / schur
    rank_one_update(Q, t, inverse, n)
    row = Q[n]
    for p in range(n):
        row[p] = -t[p] * inverse
        Q[p, n] = row[p]
    row[n] = inverse
    members[n] = j


@kernel
def remove_from_inverse(Q: FloatArray, members: Any, n: int, p: int, t: FloatArray) -> None:
    """Take member p out; the last member takes its place."""
    last, row = n - 1, Q[p]
    for first in range(0, padded_lanes(n), vector_width(Q)):
        store(t, first, load(row, first))
    rank_one_update(Q, t, t.dtype.type(-1) / t[p], n)
    if p != last:
        end = Q[last]
        for first in range(0, padded_lanes(n), vector_width(Q)):
            store(row, first, load(end, first))
        for q in range(n):
            Q[q, p] = row[q]
        row[p] = end[last]
        members[p] = members[last]


@kernel
def compute_excess(c: FloatArray, up: FloatArray, down: FloatArray, excess: FloatArray) -> None:
    """How far each neuron is driven beyond one of its two thresholds; negative for none."""
    for first in range(0, c.shape[0], vector_width(c)):
        now = load(c, first)
        above, below = sub(now, load(up, first)), sub(neg(now), load(down, first))
        store(excess, first, maximum(above, below))


@kernel
def max_element(values: FloatArray) -> Any:
    """The largest of values that fill whole groups of four lines of the cache.

    A running maximum would be one long chain of comparisons; here there are four short ones.
    """
    width = vector_width(values)
    x0, x1 = load(values, 0), load(values, width)
    x2, x3 = load(values, 2 * width), load(values, 3 * width)
    for first in range(4 * width, values.shape[0], 4 * width):
        x0, x1 = maximum(x0, load(values, first)), maximum(x1, load(values, first + width))
        x2 = maximum(x2, load(values, first + 2 * width))
        x3 = maximum(x3, load(values, first + 3 * width))
    return hmax(maximum(maximum(x0, x1), maximum(x2, x3)))


@kernel
def gap_from_products(x2: float, ab: float, ac: float, cost: float, reach: float) -> float:
    """The relative duality gap from inner products; see `spikelca.certificate.gap_from_products`."""
    r2, xr = max(x2 - ab - ac, 0.0), x2 - ab
    primal = 0.5 * r2 + cost
    if primal <= 0.0:
        return 0.0
    # A negative step would need bounds on c from below, which one-sided codes do not have.
    scale = max(xr / r2, 0.0) if r2 > 0.0 else 0.0
    if reach > 0.0:
        scale = min(scale, 1.0 / reach)
    return max((primal - scale * xr + 0.5 * scale * scale * r2) / primal, 0.0)


@kernel
def compute_residual_correlation(
    b: FloatArray, gram: FloatArray, members: Any, a: FloatArray, n: int, c: FloatArray
) -> None:
    """``c = b - G a`` for a sparse a with n active members; G in padded rows."""
    width, stride = vector_width(b), gram.shape[1]
    for first in range(0, b.shape[0], 4 * width):
        p, q, r = first + width, first + 2 * width, first + 3 * width
        c0, c1, c2, c3 = load(b, first), load(b, p), load(b, q), load(b, r)
        for m in range(n):
            place, less = members[m] * stride, -a[m]
            c0 = fma(c0, less, load(gram, place + first))
            c1 = fma(c1, less, load(gram, place + p))
            c2 = fma(c2, less, load(gram, place + q))
            c3 = fma(c3, less, load(gram, place + r))
        store(c, first, c0)
        store(c, p, c1)
        store(c, q, c2)
        store(c, r, c3)

"""The block of the active neurons: its inverse, kept up to date neuron by neuron.

The symmetric ``Q = (Phi_S^T Phi_S)^-1`` grows by one neuron (`border`) and shrinks by one
(`dismiss`), both in the square of its size. Loops run over rows padded to a multiple of `LANES`, so
that they are whole vectors; what lies in the padding is never read.

When a code is done: how far neurons lie beyond their thresholds, and the gap that follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.jit.compile import kernel
from spikelca.engines.numba.jit.intrinsics import (
    alike,
    beyond,
    higher,
    highest,
    more,
    opposite,
    put,
    take,
    width_of,
)
from spikelca.utils.validation import FloatArray

ZERO: Any = np.intp(0)
NOBODY: Any = np.intp(-1)
"""Typed: for a bare 0 or -1 Numba would compile everything behind it once more."""

LANES = 16
"""Numbers of the longest vector register; rows of Q and scratch vectors are padded to it."""


@kernel
def padded(n: int) -> int:
    """The smallest multiple of `LANES` that holds n numbers."""
    return (n + LANES - 1) // LANES * LANES


@kernel
def times(rows: FloatArray, x: FloatArray, n: int, width: int, y: FloatArray) -> None:
    """``y = sum_q x_q rows_q`` over n rows of a width: ``Q x`` for a symmetric Q.

    No sum runs across a vector; four run side by side, so that none waits for the one before.
    """
    zero, one = alike(rows, y.dtype.type(0)), y.dtype.type(1)
    stride, full = rows.shape[1], n - n % 4
    for first in range(0, padded(width), width_of(rows)):
        y0 = y1 = y2 = y3 = zero
        for q in range(0, full, 4):
            place = q * stride + first
            y0 = more(y0, x[q], take(rows, place))
            y1 = more(y1, x[q + 1], take(rows, place + stride))
            y2 = more(y2, x[q + 2], take(rows, place + 2 * stride))
            y3 = more(y3, x[q + 3], take(rows, place + 3 * stride))
        for q in range(full, n):
            y0 = more(y0, x[q], take(rows, q * stride + first))
        put(y, first, more(more(y0, one, y1), one, more(y2, one, y3)))


@kernel
def add_outer(Q: FloatArray, t: FloatArray, scale: Any, n: int) -> None:
    """``Q += scale t t'``."""
    stride = Q.shape[1]
    for first in range(0, padded(n), width_of(Q)):
        part = take(t, first)
        for p in range(n):
            place = p * stride + first
            put(Q, place, more(take(Q, place), scale * t[p], part))


@kernel
def project(
    gram: FloatArray, Q: FloatArray, members: Any, n: int, j: int, w: FloatArray, t: FloatArray
) -> Any:
    """``w = G_Sj``, ``t = Q w``, and what of atom j lies outside the span of the active ones.

    That part is the Schur complement ``G_jj - w' Q w``: zero for an atom inside the span.
    """
    for p in range(n):
        w[p] = gram[members[p], j]
    times(Q, w, n, n, t)
    schur = gram[j, j]
    for p in range(n):
        schur -= t[p] * w[p]
    return schur


@kernel
def border(Q: FloatArray, members: Any, n: int, j: int, schur: Any, t: FloatArray) -> None:
    """Let neuron j in as member n; t and schur are those of `project`."""
    inverse = t.dtype.type(1) / schur
    add_outer(Q, t, inverse, n)
    row = Q[n]
    for p in range(n):
        row[p] = -t[p] * inverse
        Q[p, n] = row[p]
    row[n] = inverse
    members[n] = j


@kernel
def dismiss(Q: FloatArray, members: Any, n: int, p: int, t: FloatArray) -> None:
    """Take member p out; the last member takes its place."""
    last, row = n - 1, Q[p]
    for first in range(0, padded(n), width_of(Q)):
        put(t, first, take(row, first))
    add_outer(Q, t, t.dtype.type(-1) / t[p], n)
    if p != last:
        end = Q[last]
        for first in range(0, padded(n), width_of(Q)):
            put(row, first, take(end, first))
        for q in range(n):
            Q[q, p] = row[q]
        row[p] = end[last]
        members[p] = members[last]


@kernel
def excesses(c: FloatArray, up: FloatArray, down: FloatArray, excess: FloatArray) -> None:
    """How far each neuron is driven beyond one of its two thresholds; negative for none."""
    for first in range(0, c.shape[0], width_of(c)):
        now = take(c, first)
        above, below = beyond(now, take(up, first)), beyond(opposite(now), take(down, first))
        put(excess, first, higher(above, below))


@kernel
def largest(values: FloatArray) -> Any:
    """The largest of values that fill whole groups of four lines of the cache.

    A running maximum would be one long chain of comparisons; here there are four short ones.
    """
    width = width_of(values)
    x0, x1 = take(values, 0), take(values, width)
    x2, x3 = take(values, 2 * width), take(values, 3 * width)
    for first in range(4 * width, values.shape[0], 4 * width):
        x0, x1 = higher(x0, take(values, first)), higher(x1, take(values, first + width))
        x2 = higher(x2, take(values, first + 2 * width))
        x3 = higher(x3, take(values, first + 3 * width))
    return highest(higher(higher(x0, x1), higher(x2, x3)))


@kernel
def relative_gap(x2: float, ab: float, ac: float, cost: float, reach: float) -> float:
    """The relative duality gap from inner products; see `spikelca.certificate.relative_gap`."""
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
def excess_drive(
    b: FloatArray, gram: FloatArray, members: Any, a: FloatArray, n: int, c: FloatArray
) -> None:
    """``c = b - G a`` for a sparse a with n active members; G in padded rows."""
    width, stride = width_of(b), gram.shape[1]
    for first in range(0, b.shape[0], 4 * width):
        p, q, r = first + width, first + 2 * width, first + 3 * width
        c0, c1, c2, c3 = take(b, first), take(b, p), take(b, q), take(b, r)
        for m in range(n):
            place, less = members[m] * stride, -a[m]
            c0 = more(c0, less, take(gram, place + first))
            c1 = more(c1, less, take(gram, place + p))
            c2 = more(c2, less, take(gram, place + q))
            c3 = more(c3, less, take(gram, place + r))
        put(c, first, c0)
        put(c, p, c1)
        put(c, q, c2)
        put(c, r, c3)

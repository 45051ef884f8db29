"""The block of the active neurons: its inverse, kept up to date neuron by neuron.

The symmetric ``Q = (Phi_S^T Phi_S)^-1`` grows by one neuron (`border`) and shrinks by one
(`dismiss`), both in the square of its size. Loops run over rows padded to a multiple of `LANES`, so
that they are whole vectors; what lies in the padding is never read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.compile import kernel
from spikelca.engines.numba.lanes import alike, more, put, take, width_of
from spikelca.validation import FloatArray

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

"""The block of the active neurons: its inverse, kept up to date neuron by neuron.

The symmetric ``Q = (Phi_S^T Phi_S)^-1`` grows by one neuron (`border`) and shrinks by one
(`dismiss`), both in the square of its size. Loops run over rows padded to a multiple of `LANES`, so
that they are whole vectors; what lies in the padding is never read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.compile import kernel
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

    No sum runs across a vector.
    """
    m = padded(width)
    for p in range(m):
        y[p] = 0
    full = n - n % 4
    for q in range(0, full, 4):
        x0, x1, x2, x3 = x[q], x[q + 1], x[q + 2], x[q + 3]
        r0, r1, r2, r3 = rows[q], rows[q + 1], rows[q + 2], rows[q + 3]
        for p in range(m):
            y[p] += x0 * r0[p] + x1 * r1[p] + x2 * r2[p] + x3 * r3[p]
    for q in range(full, n):
        x0, r0 = x[q], rows[q]
        for p in range(m):
            y[p] += x0 * r0[p]


@kernel
def add_outer(Q: FloatArray, t: FloatArray, scale: Any, n: int) -> None:
    """``Q += scale t t'``."""
    m = padded(n)
    for p in range(n):
        row, scaled = Q[p], scale * t[p]
        for q in range(m):
            row[q] += scaled * t[q]


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
    for q in range(n):
        t[q] = row[q]
    add_outer(Q, t, t.dtype.type(-1) / t[p], n)
    if p != last:
        end = Q[last]
        for q in range(n):
            row[q] = end[q]
        for q in range(n):
            Q[q, p] = row[q]
        row[p] = end[last]
        members[p] = members[last]

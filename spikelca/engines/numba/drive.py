"""The feed-forward drive ``b = sum_i w_i Phi_i^T x_i``, row by row, and what is left of it.

Inputs that are zero are skipped, and what is left is added four inputs at a time. Each row is
summed in one fixed order that does not depend on its neighbours: a code is the same to the last bit
whatever the batch, the chunk or the number of threads.

With many neurons the synapses outgrow the cache next to the core. Then all rows pass by one tile of
neurons after the other, and the synapses of a tile are first laid side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from spikelca.engines.numba.compile import entry, filled, given, kernel, routine
from spikelca.validation import FloatArray

TILE = 256
"""Neurons of one tile."""

WORTH = 32
"""Rows from which on it is worth to lay the synapses of a tile side by side."""


@routine
def pass_by(
    X: FloatArray, phi: FloatArray, first: int, weight: Any, live: Any, b: FloatArray
) -> None:
    """Add the drive of the neurons from ``first`` on, as many as phi has columns."""
    last = first + phi.shape[1]
    for row in range(X.shape[0]):
        x, out, n_live = X[row], b[row, first:last], 0
        for k in range(X.shape[1]):
            live[n_live] = k
            n_live += x[k] != 0
        full = n_live - n_live % 4
        for m in range(0, full, 4):
            k0, k1, k2, k3 = live[m], live[m + 1], live[m + 2], live[m + 3]
            x0, x1, x2, x3 = weight * x[k0], weight * x[k1], weight * x[k2], weight * x[k3]
            p0, p1, p2, p3 = phi[k0], phi[k1], phi[k2], phi[k3]
            for j in range(phi.shape[1]):
                out[j] += x0 * p0[j] + x1 * p1[j] + x2 * p2[j] + x3 * p3[j]
        for m in range(full, n_live):
            x0, p0 = weight * x[live[m]], phi[live[m]]
            for j in range(phi.shape[1]):
                out[j] += x0 * p0[j]


def _signature(real: Any) -> tuple[Any, ...]:
    matrix = given(real, 2)
    return matrix, matrix, real, filled(real, 2), filled(types.float64, 1)


@entry(_signature)
def add_drive(
    X: FloatArray, synapses: FloatArray, weight: Any, b: FloatArray, x2: FloatArray
) -> None:
    """Add ``weight * X @ synapses`` to b and ``weight * |X|^2`` to x2, for each row.

    Parameters
    ----------
    X : (n_samples, n_inputs)
    synapses : (n_inputs, n_neurons)
        Phi, one column a neuron.
    weight : scalar of the dtype of X
    b : (n_samples, n_neurons)
    x2 : (n_samples,) float64
    """
    n_inputs, n_neurons = synapses.shape
    live = np.empty(n_inputs + 4, np.int64)
    for row in range(X.shape[0]):
        total = 0.0
        for k in range(n_inputs):
            total += np.float64(X[row, k]) * np.float64(X[row, k])
        x2[row] += np.float64(weight) * total
    if n_neurons <= 2 * TILE or X.shape[0] < WORTH:
        pass_by(X, synapses, 0, weight, live, b)
        return
    tile = np.empty((n_inputs, TILE), X.dtype)
    for first in range(0, n_neurons, TILE):
        last = min(first + TILE, n_neurons)
        phi = tile if last - first == TILE else np.empty((n_inputs, last - first), X.dtype)
        for k in range(n_inputs):
            for j in range(last - first):
                phi[k, j] = synapses[k, first + j]
        pass_by(X, phi, first, weight, live, b)


@kernel
def excess_drive(
    b: FloatArray, gram: FloatArray, members: Any, a: FloatArray, n: int, c: FloatArray
) -> None:
    """``c = b - G a`` for a sparse a with n active members."""
    n_neurons = b.shape[0]
    for j in range(n_neurons):
        c[j] = b[j]
    full = n - n % 4
    for m in range(0, full, 4):
        a0, a1, a2, a3 = a[m], a[m + 1], a[m + 2], a[m + 3]
        g0, g1 = gram[members[m]], gram[members[m + 1]]
        g2, g3 = gram[members[m + 2]], gram[members[m + 3]]
        for j in range(n_neurons):
            c[j] -= a0 * g0[j] + a1 * g1[j] + a2 * g2[j] + a3 * g3[j]
    for m in range(full, n):
        a0, g0 = a[m], gram[members[m]]
        for j in range(n_neurons):
            c[j] -= a0 * g0[j]

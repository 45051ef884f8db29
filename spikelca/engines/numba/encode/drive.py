"""The feed-forward drive ``b = sum_i w_i Phi_i^T x_i``, row by row, and what is left of it.

Inputs that are zero are skipped: first those that are not are listed for each row (`list_nonzero`).
Then all rows pass by one tile of neurons after the other, so that the synapses of a tile stay near
the core, and the sums of a row wait in registers until all its inputs were added (`accumulate_tile`).

Each row is summed in one fixed order that does not depend on its neighbours: a code is the same to
the last bit whatever the batch, the chunk or the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from spikelca.engines.numba.jit.compile import (
    dispatch_precision,
    readonly_array,
    routine,
    writable_array,
)
from spikelca.engines.numba.jit.intrinsics import (
    broadcast,
    ctz,
    fma,
    load,
    mask_ne,
    skip_refcount,
    store,
    vector_width,
)
from spikelca.engines.numba.jit.layout import allocate_aligned
from spikelca.utils.validation import FloatArray


@routine
def list_nonzero(X: FloatArray, row: int, weight: Any, live: Any, values: FloatArray) -> int:
    """List the inputs of a row that are not zero, and their weighed values; returns how many."""
    n, n_inputs, width, x = 0, X.shape[1], vector_width(X), X[row]
    zero, whole = broadcast(X, X.dtype.type(0)), n_inputs - n_inputs % width
    for first in range(0, whole, width):
        bits = mask_ne(load(x, first), zero)
        while bits != 0:
            k = first + ctz(bits)
            live[n], values[n] = k, weight * x[k]
            bits &= bits - 1
            n += 1
    for k in range(whole, n_inputs):
        live[n], values[n] = k, weight * x[k]
        n += x[k] != 0
    return n


@routine
def accumulate_tile(tile: FloatArray, counts: Any, live: Any, values: FloatArray, b: FloatArray,
            first: int) -> None:  # fmt: skip
    """Add the drive of the neurons of one tile, the first of which has this number, to all rows."""
    width, stride, wide = vector_width(b), tile.shape[1], b.shape[1]
    for row in range(counts.shape[0]):
        place = row * wide + first
        c0, c1 = load(b, place), load(b, place + width)
        c2, c3 = load(b, place + 2 * width), load(b, place + 3 * width)
        inputs, x = live[row], values[row]
        for m in range(counts[row]):
            at = np.int64(inputs[m]) * stride
            c0 = fma(c0, x[m], load(tile, at))
            c1 = fma(c1, x[m], load(tile, at + width))
            c2 = fma(c2, x[m], load(tile, at + 2 * width))
            c3 = fma(c3, x[m], load(tile, at + 3 * width))
        store(b, place, c0)
        store(b, place + width, c1)
        store(b, place + 2 * width, c2)
        store(b, place + 3 * width, c3)


class DriveWorkspace(NamedTuple):
    """Scratch of one thread: b, the values that are not zero, and their inputs."""

    b: FloatArray
    values: FloatArray
    live: NDArray[np.int32]


def make_drive_workspace(
    n_rows: int, n_places: int, n_inputs: int, dtype: np.dtype[Any]
) -> DriveWorkspace:
    """Scratch for so many rows, neurons (in whole lines) and inputs."""
    b, values = allocate_aligned([(n_rows, n_places), (n_rows, n_inputs + 1)], dtype)
    return DriveWorkspace(b, values, np.empty((n_rows, n_inputs + 1), np.int32))


def _signature(real: Any) -> tuple[Any, ...]:
    return (
        readonly_array(real, 2),
        readonly_array(real, 3),
        real,
        writable_array(real, 2),
        writable_array(types.float64, 1),
        writable_array(types.int32, 2),
        writable_array(real, 2),
    )


@dispatch_precision(_signature)
def add_drive(
    X: FloatArray,
    tiles: FloatArray,
    weight: Any,
    b: FloatArray,
    x2: FloatArray,
    live: Any,
    values: FloatArray,
) -> None:
    """Add ``weight * X @ synapses`` to b and ``weight * |X|^2`` to x2, for each row.

    Parameters
    ----------
    X : (n_samples, n_inputs)
    tiles : (n_tiles, n_inputs, width)
        The synapses, see `layout.synapses_in_tiles`.
    weight : scalar of the dtype of X
    b : (n_samples, n_tiles * width)
    x2 : (n_samples,) float64
    live, values : (n_samples or more, n_inputs + 1)
        Scratch.
    """
    X, tiles, b, x2 = skip_refcount(X), skip_refcount(tiles), skip_refcount(b), skip_refcount(x2)
    live, values = skip_refcount(live), skip_refcount(values)
    counts = np.empty(X.shape[0], np.int64)
    for row in range(X.shape[0]):
        counts[row] = list_nonzero(X, row, weight, live[row], values[row])
        total = 0.0
        for m in range(counts[row]):
            x = np.float64(X[row, np.int64(live[row, m])])
            total += x * x
        x2[row] += np.float64(weight) * total
    for tile in range(tiles.shape[0]):
        accumulate_tile(tiles[tile], counts, live, values, b, tile * tiles.shape[2])

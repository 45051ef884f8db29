"""The feed-forward drive ``b = sum_i w_i Phi_i^T x_i`` of many samples, row by row.

Inputs that are zero are skipped: the others are listed first, for each row (`list_nonzero`). The
outer loop runs over tiles of neurons, the inner one over rows, so that the synapses of a tile
remain in the cache. The sums of a row remain in registers until all its inputs have been added
(`accumulate_tile`).

Each row is summed in a fixed order that does not depend on other rows, so that the codes are
bit-identical for any batch, chunk or number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from spikelca.engines.numba.jit import plain_loops
from spikelca.engines.numba.jit.compile import (
    dispatch_precision,
    jit,
    readonly_array,
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


@jit("fast", plain=plain_loops.list_nonzero)
def list_nonzero(X: FloatArray, row: int, weight: Any, nonzero: Any, values: FloatArray) -> int:
    """List the nonzero inputs of a row and their weighted values; return their number."""
    n, n_inputs, width, x = 0, X.shape[1], vector_width(X), X[row]
    zero, n_whole = broadcast(X, X.dtype.type(0)), n_inputs - n_inputs % width
    for start in range(0, n_whole, width):
        mask = mask_ne(load(x, start), zero)
        while mask != 0:
            k = start + ctz(mask)
            nonzero[n], values[n] = k, weight * x[k]
            mask &= mask - 1
            n += 1
    # Each remaining input is written; if it is zero, the next one overwrites it.
    for k in range(n_whole, n_inputs):
        nonzero[n], values[n] = k, weight * x[k]
        n += x[k] != 0
    return n


@jit("fast", plain=plain_loops.accumulate_tile)
def accumulate_tile(
    tile: FloatArray, counts: Any, nonzero: Any, values: FloatArray, b: FloatArray, start: int
) -> None:
    """Add the drive of the neurons of one tile, from neuron `start` on, to all rows."""
    width, stride, row_stride = vector_width(b), tile.shape[1], b.shape[1]
    for row in range(counts.shape[0]):
        offset = row * row_stride + start
        c0, c1 = load(b, offset), load(b, offset + width)
        c2, c3 = load(b, offset + 2 * width), load(b, offset + 3 * width)
        inputs, x = nonzero[row], values[row]
        for m in range(counts[row]):
            synapses = np.int64(inputs[m]) * stride
            c0 = fma(c0, x[m], load(tile, synapses))
            c1 = fma(c1, x[m], load(tile, synapses + width))
            c2 = fma(c2, x[m], load(tile, synapses + 2 * width))
            c3 = fma(c3, x[m], load(tile, synapses + 3 * width))
        store(b, offset, c0)
        store(b, offset + width, c1)
        store(b, offset + 2 * width, c2)
        store(b, offset + 3 * width, c3)


class DriveWorkspace(NamedTuple):
    """Workspace of one thread: b, the nonzero values, and the indices of their inputs."""

    b: FloatArray
    values: FloatArray
    nonzero: NDArray[np.int32]


def make_drive_workspace(
    n_rows: int, n_padded: int, n_inputs: int, dtype: np.dtype[Any]
) -> DriveWorkspace:
    """Allocate the workspace for a number of rows, neurons (`padded_neurons`) and inputs."""
    b, values = allocate_aligned([(n_rows, n_padded), (n_rows, n_inputs + 1)], dtype)
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
    nonzero: Any,
    values: FloatArray,
) -> None:
    """Add ``weight * X @ synapses`` to b and ``weight * |X|^2`` to x2, for each row.

    Parameters
    ----------
    X : (n_samples, n_inputs)
    tiles : (n_tiles, n_inputs, width)
        The synapses, see `layout.tile_synapses`.
    weight : scalar of the dtype of X
    b : (n_samples, n_tiles * width)
    x2 : (n_samples,) float64
    nonzero, values : (n_samples or more, n_inputs + 1)
        Workspace.
    """
    X, tiles, b, x2 = skip_refcount(X), skip_refcount(tiles), skip_refcount(b), skip_refcount(x2)
    nonzero, values = skip_refcount(nonzero), skip_refcount(values)
    counts = np.empty(X.shape[0], np.int64)
    for row in range(X.shape[0]):
        counts[row] = list_nonzero(X, row, weight, nonzero[row], values[row])
        total = 0.0
        for m in range(counts[row]):
            x = np.float64(X[row, np.int64(nonzero[row, m])])
            total += x * x
        x2[row] += np.float64(weight) * total
    for tile in range(tiles.shape[0]):
        accumulate_tile(tiles[tile], counts, nonzero, values, b, tile * tiles.shape[2])

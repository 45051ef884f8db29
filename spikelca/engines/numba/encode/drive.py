"""The feed-forward drive ``b = sum_i w_i Phi_i^T x_i``, row by row, and what is left of it.

Inputs that are zero are skipped: first those that are not are listed for each row (`list_live`).
Then all rows pass by one tile of neurons after the other, so that the synapses of a tile stay near
the core, and the sums of a row wait in registers until all its inputs were added (`pass_by`).

Each row is summed in one fixed order that does not depend on its neighbours: a code is the same to
the last bit whatever the batch, the chunk or the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from spikelca.engines.numba.jit.compile import entry, filled, given, routine
from spikelca.engines.numba.jit.intrinsics import (
    alike,
    borrowed,
    lowest_bit,
    more,
    put,
    take,
    which_differ,
    width_of,
)
from spikelca.engines.numba.jit.layout import side_by_side
from spikelca.utils.validation import FloatArray


@routine
def list_live(X: FloatArray, row: int, weight: Any, live: Any, values: FloatArray) -> int:
    """List the inputs of a row that are not zero, and their weighed values; returns how many."""
    n, n_inputs, width, x = 0, X.shape[1], width_of(X), X[row]
    zero, whole = alike(X, X.dtype.type(0)), n_inputs - n_inputs % width
    for first in range(0, whole, width):
        bits = which_differ(take(x, first), zero)
        while bits != 0:
            k = first + lowest_bit(bits)
            live[n], values[n] = k, weight * x[k]
            bits &= bits - 1
            n += 1
    for k in range(whole, n_inputs):
        live[n], values[n] = k, weight * x[k]
        n += x[k] != 0
    return n


@routine
def pass_by(tile: FloatArray, counts: Any, live: Any, values: FloatArray, b: FloatArray,
            first: int) -> None:  # fmt: skip
    """Add the drive of the neurons of one tile, the first of which has this number, to all rows."""
    width, stride, wide = width_of(b), tile.shape[1], b.shape[1]
    for row in range(counts.shape[0]):
        place = row * wide + first
        c0, c1 = take(b, place), take(b, place + width)
        c2, c3 = take(b, place + 2 * width), take(b, place + 3 * width)
        inputs, x = live[row], values[row]
        for m in range(counts[row]):
            at = np.int64(inputs[m]) * stride
            c0 = more(c0, x[m], take(tile, at))
            c1 = more(c1, x[m], take(tile, at + width))
            c2 = more(c2, x[m], take(tile, at + 2 * width))
            c3 = more(c3, x[m], take(tile, at + 3 * width))
        put(b, place, c0)
        put(b, place + width, c1)
        put(b, place + 2 * width, c2)
        put(b, place + 3 * width, c3)


class DriveRoom(NamedTuple):
    """Scratch of one thread: b, the values that are not zero, and their inputs."""

    b: FloatArray
    values: FloatArray
    live: NDArray[np.int32]


def make_drive_room(n_rows: int, n_places: int, n_inputs: int, dtype: np.dtype[Any]) -> DriveRoom:
    """Scratch for so many rows, neurons (in whole lines) and inputs."""
    b, values = side_by_side([(n_rows, n_places), (n_rows, n_inputs + 1)], dtype)
    return DriveRoom(b, values, np.empty((n_rows, n_inputs + 1), np.int32))


def _signature(real: Any) -> tuple[Any, ...]:
    return (
        given(real, 2),
        given(real, 3),
        real,
        filled(real, 2),
        filled(types.float64, 1),
        filled(types.int32, 2),
        filled(real, 2),
    )


@entry(_signature)
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
    X, tiles, b, x2 = borrowed(X), borrowed(tiles), borrowed(b), borrowed(x2)
    live, values = borrowed(live), borrowed(values)
    counts = np.empty(X.shape[0], np.int64)
    for row in range(X.shape[0]):
        counts[row] = list_live(X, row, weight, live[row], values[row])
        total = 0.0
        for m in range(counts[row]):
            x = np.float64(X[row, np.int64(live[row, m])])
            total += x * x
        x2[row] += np.float64(weight) * total
    for tile in range(tiles.shape[0]):
        pass_by(tiles[tile], counts, live, values, b, tile * tiles.shape[2])

"""Arrays as the kernels want them: whole lines of the cache, whole groups of lines.

What is made here depends on a circuit alone, and is kept with it (`spikelca.layouts`). Neurons
behind the last one have no synapses and never fire.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelca.engines.numba.jit.intrinsics import LINE
from spikelca.utils.validation import FloatArray


def padded(n_neurons: int) -> int:
    """Places for n neurons in whole groups of four lines, whatever the precision."""
    return -(-n_neurons // LINE) * LINE


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    """Zeros that begin with a line of the cache, so that no vector lies across two of them."""
    (values,) = side_by_side([shape], dtype)
    values[:] = 0
    return values


def side_by_side(shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> list[FloatArray]:
    """Arrays of one piece of memory, each of which begins with a line of the cache; not set."""
    line = LINE // dtype.itemsize
    sizes = [-(-math.prod(shape) // line) * line for shape in shapes]
    raw = np.empty(sum(sizes) + line, dtype)
    first = -raw.__array_interface__["data"][0] % LINE // dtype.itemsize
    found = []
    for shape, size in zip(shapes, sizes, strict=True):
        found.append(raw[first : first + math.prod(shape)].reshape(shape))
        first += size
    return found


def gram_in_rows(gram: FloatArray) -> FloatArray:
    """The Gram matrix with rows of an odd number of lines: (n_neurons, padded and one line more).

    With rows of a round length one place of all of them would fall on one place of the cache.
    """
    n, line = len(gram), LINE // gram.itemsize
    rows = aligned((n, padded(n) + line), gram.dtype)
    rows[:, :n] = gram
    return rows


def lateral_in_tiles(gram: FloatArray) -> FloatArray:
    """-L as (n_tiles, n_rows, width): what all neurons say to a few lies together.

    There is an odd number of rows, so that the parts of one do not fall on one place of the cache.
    """
    n, width = len(gram), LINE // gram.itemsize
    tiles = aligned((padded(n) // width, n | 1, width), gram.dtype)
    for tile, part in enumerate(tiles):
        columns = gram[:, tile * width : (tile + 1) * width]
        np.negative(columns, out=part[:n, : columns.shape[1]])
    own = np.arange(n)
    tiles[own // width, own, own % width] += 1
    return tiles


def synapses_in_tiles(atoms: FloatArray) -> FloatArray:
    """Phi as (n_tiles, n_inputs, width): the synapses onto as many neurons as fill four lines."""
    n, width = len(atoms), 4 * LINE // atoms.itemsize
    tiles = aligned((padded(n) // width, atoms.shape[1], width), atoms.dtype)
    for tile, part in enumerate(tiles):
        own = atoms[tile * width : (tile + 1) * width]
        part[:, : len(own)] = own.T
    return tiles

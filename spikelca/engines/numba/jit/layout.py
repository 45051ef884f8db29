"""Arrays as the kernels want them: whole lines of the cache, whole groups of lines.

What is made here depends on a circuit alone, and is kept with it (`spikelca.derived`). Neurons
behind the last one have no synapses and never fire.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelca.engines.numba.jit.intrinsics import CACHE_LINE
from spikelca.utils.validation import FloatArray


def padded_neurons(n_neurons: int) -> int:
    """Places for n neurons in whole groups of four lines, whatever the precision."""
    return -(-n_neurons // CACHE_LINE) * CACHE_LINE


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    """Zeros that begin with a line of the cache, so that no vector lies across two of them."""
    (values,) = allocate_aligned([shape], dtype)
    values[:] = 0
    return values


def allocate_aligned(shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> list[FloatArray]:
    """Arrays of one piece of memory, each of which begins with a line of the cache; not set."""
    line = CACHE_LINE // dtype.itemsize
    sizes = [-(-math.prod(shape) // line) * line for shape in shapes]
    raw = np.empty(sum(sizes) + line, dtype)
    first = -raw.__array_interface__["data"][0] % CACHE_LINE // dtype.itemsize
    found = []
    for shape, size in zip(shapes, sizes, strict=True):
        found.append(raw[first : first + math.prod(shape)].reshape(shape))
        first += size
    return found


def pad_gram_rows(gram: FloatArray) -> FloatArray:
    """The Gram matrix with rows of an odd number of lines: (n_neurons, padded and one line more).

    With rows of a round length one place of all of them would fall on one place of the cache.
    """
    n, line = len(gram), CACHE_LINE // gram.itemsize
    rows = aligned_zeros((n, padded_neurons(n) + line), gram.dtype)
    rows[:, :n] = gram
    return rows


def tile_lateral(gram: FloatArray) -> FloatArray:
    """-L as (n_tiles, n_rows, width): what all neurons say to a few lies together.

    There is an odd number of rows, so that the parts of one do not fall on one place of the cache.
    """
    n, width = len(gram), CACHE_LINE // gram.itemsize
    tiles = aligned_zeros((padded_neurons(n) // width, n | 1, width), gram.dtype)
    for tile, part in enumerate(tiles):
        columns = gram[:, tile * width : (tile + 1) * width]
        np.negative(columns, out=part[:n, : columns.shape[1]])
    own = np.arange(n)
    tiles[own // width, own, own % width] += 1
    return tiles


def tile_synapses(atoms: FloatArray) -> FloatArray:
    """Phi as (n_tiles, n_inputs, width): the synapses onto as many neurons as fill four lines."""
    n, width = len(atoms), 4 * CACHE_LINE // atoms.itemsize
    tiles = aligned_zeros((padded_neurons(n) // width, atoms.shape[1], width), atoms.dtype)
    for tile, part in enumerate(tiles):
        own = atoms[tile * width : (tile + 1) * width]
        part[:, : len(own)] = own.T
    return tiles

"""Memory layouts of the kernels: rows and tiles of whole cache lines.

These arrays depend on the circuit alone and are cached with it (`DerivedArrays`). The padding after
the last neuron has no synapses and never becomes active.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelca.engines.numba.jit.intrinsics import CACHE_LINE
from spikelca.utils.validation import FloatArray


def padded_neurons(n_neurons: int) -> int:
    """Round up to whole groups of four cache lines of float32 (eight of float64)."""
    return -(-n_neurons // CACHE_LINE) * CACHE_LINE


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    """Allocate zeros aligned to a cache line, so that no vector crosses a line."""
    (values,) = allocate_aligned([shape], dtype)
    values[:] = 0
    return values


def allocate_aligned(shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> list[FloatArray]:
    """Allocate arrays in one block of memory, each aligned to a cache line; not initialised."""
    line = CACHE_LINE // dtype.itemsize
    sizes = [-(-math.prod(shape) // line) * line for shape in shapes]
    raw = np.empty(sum(sizes) + line, dtype)
    offset = -raw.__array_interface__["data"][0] % CACHE_LINE // dtype.itemsize
    arrays = []
    for shape, size in zip(shapes, sizes, strict=True):
        arrays.append(raw[offset : offset + math.prod(shape)].reshape(shape))
        offset += size
    return arrays


def pad_gram_rows(gram: FloatArray) -> FloatArray:
    """Pad the rows of the Gram matrix to an odd number of cache lines.

    If the length were a power of two, the elements of one column would compete for the same set
    of the cache.

    Returns
    -------
    rows : (n_neurons, padded_neurons(n_neurons) plus one line)
    """
    n, line = len(gram), CACHE_LINE // gram.itemsize
    rows = aligned_zeros((n, padded_neurons(n) + line), gram.dtype)
    rows[:, :n] = gram
    return rows


def tile_lateral(gram: FloatArray) -> FloatArray:
    """Store -L as tiles, one for as many postsynaptic neurons as fill a cache line.

    A tile contains their weights from all presynaptic neurons, one row for each. The number of
    rows is odd, for the reason given in `pad_gram_rows`.

    Returns
    -------
    tiles : (n_tiles, n_rows, width)
    """
    n, width = len(gram), CACHE_LINE // gram.itemsize
    tiles = aligned_zeros((padded_neurons(n) // width, n | 1, width), gram.dtype)
    for index, tile in enumerate(tiles):
        columns = gram[:, index * width : (index + 1) * width]
        np.negative(columns, out=tile[:n, : columns.shape[1]])
    j = np.arange(n)
    tiles[j // width, j, j % width] += 1
    return tiles


def tile_synapses(atoms: FloatArray) -> FloatArray:
    """Store Phi as tiles, one for as many neurons as fill four cache lines.

    A tile contains their synapses from all inputs, one row for each input.

    Returns
    -------
    tiles : (n_tiles, n_inputs, width)
    """
    n, width = len(atoms), 4 * CACHE_LINE // atoms.itemsize
    tiles = aligned_zeros((padded_neurons(n) // width, atoms.shape[1], width), atoms.dtype)
    for index, tile in enumerate(tiles):
        columns = atoms[index * width : (index + 1) * width].T
        tile[:, : columns.shape[1]] = columns
    return tiles

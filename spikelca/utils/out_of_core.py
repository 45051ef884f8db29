"""Samples that lie outside memory, on a disk: looked at chunk by chunk, never as a whole.

Three kinds of array are meant: a memory map, a `spikelca.datasets.RowFile`, and whatever hands out
rows when asked, such as a data set of h5py or an array of Zarr.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import (
    FLOAT_DTYPES,
    FloatArray,
    as_float,
    check_matrix,
    check_shape,
)

if TYPE_CHECKING:
    pass


class LazyColumns:
    """Some columns of an array outside memory, whose rows come as floats when they are asked for.

    Parameters
    ----------
    source : (n_samples, n_inputs) array of numbers
    first, last : int
        The columns from ``first`` on, to before ``last``.
    """

    ndim = 2

    def __init__(self, source: Any, first: int, last: int) -> None:
        self.source, self.first, self.last = source, first, last
        self.shape = (source.shape[0], last - first)
        self.dtype = np.dtype(np.float32 if source.dtype == np.float32 else np.float64)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        """Rows as floats; ``[:, first:last]`` gives columns that still lie outside."""
        if isinstance(key, tuple):
            first, last, _ = key[1].indices(self.shape[1])
            return LazyColumns(self.source, self.first + first, self.first + last)
        if isinstance(key, slice):
            found = self.source[key]
        else:  # HDF5 hands out rows in their own order only, and each once
            rows, back = np.unique(key, return_inverse=True)
            found = np.asarray(self.source[rows])[back]
        return as_float(np.asarray(found)[:, self.first : self.last], "X", self.dtype)


def as_lazy(X: Any) -> NDArray[Any]:
    """X as rows of floats that stay where they are."""
    X = check_shape(X, "X")
    as_it_is = isinstance(X, np.memmap) and X.dtype in FLOAT_DTYPES
    return X if as_it_is else LazyColumns(X, 0, X.shape[1])  # type: ignore[return-value]


def check_lazy(X: FloatArray) -> None:
    """Raise ValueError with the place of the first value that is no finite number."""
    for first in range(0, len(X), CHUNK_SAMPLES):
        rows = slice(first, first + CHUNK_SAMPLES)
        check_matrix(X[rows], "X", first_row=first)
        release_pages(X, slice(first, min(first + CHUNK_SAMPLES, len(X))))


CHUNK_SAMPLES = 16_384
"""Samples compiled into one Problem: large enough to keep the cores busy, small in memory."""


def release_pages(X: NDArray[Any], rows: slice) -> None:
    """Let go of the pages of a memory map that will not be read again.

    They stay in the cache of the system, which may take them back at any time; without this they
    would count as memory of this process. Nothing is done for other arrays.
    """
    X = getattr(X, "source", X)
    owner: Any = X if isinstance(X, np.ndarray) else None
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    file = getattr(owner, "_mmap", None)
    # A private map ("c") may hold changes that live nowhere else.
    if (
        owner is None
        or file is None
        or owner.mode not in ("r", "r+")
        or not hasattr(file, "madvise")
    ):
        return
    behind = X.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data
    page = mmap.PAGESIZE
    first, last = (
        (behind + edge * X.strides[0]) // page * page for edge in (rows.start, rows.stop)
    )
    if 0 <= first < last <= len(file):
        file.madvise(mmap.MADV_DONTNEED, first, last - first)

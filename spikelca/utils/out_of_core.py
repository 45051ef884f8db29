"""Out-of-core samples, read chunk by chunk and never as a whole.

These are memory maps, `spikelca.datasets.RowFile`, and arrays that read their rows on demand, such
as a data set of h5py or an array of Zarr.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import (
    FLOAT_DTYPES,
    FloatArray,
    as_float,
    check_matrix,
    check_shape,
)


class LazyColumns:
    """Columns of an out-of-core array, whose rows are read on demand and converted to floats.

    Parameters
    ----------
    source : (n_samples, n_inputs) array of numbers
    start, stop : int
        Range of columns.
    """

    ndim = 2

    def __init__(self, source: Any, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop
        self.shape = (source.shape[0], stop - start)
        self.dtype = np.dtype(np.float32 if source.dtype == np.float32 else np.float64)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        """Read rows as floats; ``[:, start:stop]`` returns `LazyColumns` and reads nothing."""
        if isinstance(key, tuple):
            start, stop, _ = key[1].indices(self.shape[1])
            return LazyColumns(self.source, self.start + start, self.start + stop)
        if isinstance(key, slice):
            values = self.source[key]
        else:  # HDF5 accepts increasing indices without repetition only
            rows, inverse_order = np.unique(key, return_inverse=True)
            values = np.asarray(self.source[rows])[inverse_order]
        return as_float(np.asarray(values)[:, self.start : self.stop], "X", self.dtype)


def as_lazy(X: Any) -> NDArray[Any]:
    """Wrap X so that its rows are read as floats on demand."""
    X = check_shape(X, "X")
    is_float_map = isinstance(X, np.memmap) and X.dtype in FLOAT_DTYPES
    return X if is_float_map else LazyColumns(X, 0, X.shape[1])  # type: ignore[return-value]


def check_lazy(X: FloatArray) -> None:
    """Raise ValueError with the index of the first value that is not a finite number."""
    for start in range(0, len(X), CHUNK_SAMPLES):
        rows = slice(start, min(start + CHUNK_SAMPLES, len(X)))
        check_matrix(X[rows], "X", first_row=start)
        release_pages(X, rows)


CHUNK_SAMPLES = 16_384
"""Samples per `Problem`: enough work for all cores, and little memory."""


def release_pages(X: NDArray[Any], rows: slice) -> None:
    """Release the pages of a memory map that will not be read again; other arrays are ignored.

    Pages that are not released count as memory of this process. Released pages stay in the file
    cache of the system, which may drop them at any time.
    """
    X = getattr(X, "source", X)
    owner: Any = X if isinstance(X, np.ndarray) else None
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    file = getattr(owner, "_mmap", None)
    # A private map ("c") may contain changes that are not in the file.
    if (
        owner is None
        or file is None
        or owner.mode not in ("r", "r+")
        or not hasattr(file, "madvise")
    ):
        return
    offset = X.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data
    page = mmap.PAGESIZE
    start, stop = ((offset + row * X.strides[0]) // page * page for row in (rows.start, rows.stop))
    if 0 <= start < stop <= len(file):
        file.madvise(mmap.MADV_DONTNEED, start, stop - start)

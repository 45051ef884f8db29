"""Samples that lie outside memory, on a disk: looked at chunk by chunk, never as a whole.

Three kinds of array are meant: a memory map, a `spikelca.datasets.RowFile`, and whatever hands out
rows when asked, such as a data set of h5py or an array of Zarr.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.encoding import CHUNK, release
from spikelca.validation import (
    FLOATS,
    FloatArray,
    as_float,
    check_matrix,
    check_shape,
    lies_outside,
)


class Outside:
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
            return Outside(self.source, self.first + first, self.first + last)
        if isinstance(key, slice):
            found = self.source[key]
        else:  # HDF5 hands out rows in their own order only, and each once
            rows, back = np.unique(key, return_inverse=True)
            found = np.asarray(self.source[rows])[back]
        return as_float(np.asarray(found)[:, self.first : self.last], "X", self.dtype)


def is_outside(X: Any) -> bool:
    """Whether X holds numbers outside memory."""
    if not isinstance(X, np.memmap) and not lies_outside(X):
        return False
    return getattr(X.dtype, "kind", "none") in "fiub"


def outside(X: Any) -> NDArray[Any]:
    """X as rows of floats that stay where they are."""
    X = check_shape(X, "X")
    as_it_is = isinstance(X, np.memmap) and X.dtype in FLOATS
    return X if as_it_is else Outside(X, 0, X.shape[1])  # type: ignore[return-value]


def check_outside(X: FloatArray) -> None:
    """Raise ValueError with the place of the first value that is no finite number."""
    for first in range(0, len(X), CHUNK):
        rows = slice(first, first + CHUNK)
        check_matrix(X[rows], "X", first_row=first)
        release(X, slice(first, min(first + CHUNK, len(X))))

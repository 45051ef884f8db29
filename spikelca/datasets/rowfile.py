"""Rows of a file that are read when they are asked for: more data than memory, or than addresses.

A memory map (``np.load(path, mmap_mode="r")``) takes no memory either, but it takes addresses for
the whole file, which a limit on them (``ulimit -v``, a job scheduler) may forbid, and what it has
read counts as memory of the process until it is let go. A `RowFile` reads a window into an array of
its own and forgets it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError
from spikelca.datasets.numpyfile import one_error, read_header


class RowFile:
    """The samples of a ``.npy`` file, one a row; images are laid flat.

    It stands for an array wherever rows are read in pieces: `Circuit.encode`, and ``fit``,
    ``partial_fit`` and ``transform`` of the estimators.

    Parameters
    ----------
    path : path
        A file that ``np.save`` has written.

    Attributes
    ----------
    shape : (n_samples, n_inputs)
    dtype : dtype
    ndim : int
        2.

    Raises
    ------
    DataError
        If the file is anything but one complete array of real numbers with two dimensions or more,
        the last index fastest.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from spikelca.datasets import RowFile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pixels.npy"
    >>> np.save(path, np.arange(24, dtype=np.uint8).reshape(4, 2, 3))
    >>> rows = RowFile(path)
    >>> rows.shape, rows[1:3]
    ((4, 6), array([[ 6,  7,  8,  9, 10, 11],
           [12, 13, 14, 15, 16, 17]], dtype=uint8))
    """

    ndim = 2

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        advice = "save rows, or images, with np.save(path, np.ascontiguousarray(X))"
        with one_error(path, advice), open(path, "rb") as file:
            shape, fortran, self._stored = read_header(file, os.fstat(file.fileno()).st_size)
            if len(shape) < 2 or fortran:
                order = "the first index fastest" if fortran else "no rows"
                raise ValueError(f"an array of shape {shape} with {order}")
            self._start = file.tell()
        self.shape = (shape[0], math.prod(shape[1:]))
        self.dtype = self._stored.newbyteorder("=")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read rows: a slice, a list of whole numbers, or a mask; and of these some columns."""
        if isinstance(key, tuple):
            return self[key[0]][(slice(None), *key[1:])]
        if isinstance(key, (int, np.integer)):
            return self[[key]][0]
        rows: Any = range(len(self))[key] if isinstance(key, slice) else self._indices(key)
        if isinstance(rows, range) and rows.step == 1:
            return self._read([(rows.start, len(rows))])
        return self._read([(int(row), 1) for row in rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def _indices(self, key: Any) -> NDArray[np.int64]:
        found = np.asarray(key)
        if found.dtype == bool and found.shape == (len(self),):
            return np.flatnonzero(found)
        if found.dtype.kind not in "iu" or found.ndim != 1:
            raise IndexError(f"rows are {key!r}; a slice, whole numbers or a mask were awaited.")
        if found.size and not -len(self) <= found.min() <= found.max() < len(self):
            raise IndexError(
                f"rows run from {found.min()} to {found.max()}; {len(self)} are there."
            )
        return cast(NDArray[np.int64], found % max(len(self), 1))

    def _read(self, runs: list[tuple[int, int]]) -> NDArray[Any]:
        """Read runs of rows, each given by its first row and its length, one behind the other."""
        width, place = self.shape[1], 0
        out = np.empty((sum(length for _, length in runs), width), self._stored)
        with open(self.path, "rb") as file:
            for first, length in runs:
                file.seek(self._start + first * width * self._stored.itemsize)
                piece = np.fromfile(file, self._stored, length * width)
                if piece.size != length * width:
                    raise DataError(f"{self.path}: it ended while it was read; it has been cut.")
                out[place : place + length] = piece.reshape(length, width)
                place += length
        return out.astype(self.dtype, copy=False)

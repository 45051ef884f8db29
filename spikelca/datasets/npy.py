"""``.npy`` and ``.npz`` files, validated on reading, and rows of files larger than memory.

NumPy allocates memory for the shape that a header declares, and raises many types of errors for
damaged files. Here, the declared size is compared with the size of the file before memory is
allocated, compressed members are read at most to their declared end, object arrays (pickles) are
rejected, and every error is a `DataError`.

`RowFile` reads rows on demand, for data larger than memory. A memory map
(``np.load(path, mmap_mode="r")``) is an alternative, but it reserves addresses for the complete
file, which may exceed a limit (``ulimit -v``, job schedulers), and its pages count as memory of the
process until they are released.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError

DEFLATE_LIMIT = 1032  # maximum compression ratio of deflate
KINDS = "fiub"
TEXT_KINDS = "fiubU"
_STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ERRORS = (
    *(ValueError, TypeError, KeyError, IndexError, OverflowError, NotImplementedError),
    *(EOFError, OSError, RuntimeError, SyntaxError, RecursionError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


def read_npy(path: str | os.PathLike[str], text: bool = False) -> NDArray[Any]:
    """Read an array of numbers from a ``.npy`` file.

    Parameters
    ----------
    path : path
        File to read.
    text : bool, default=False
        Whether strings are accepted, too, as labels.

    Returns
    -------
    ndarray
        Read-only array.

    Raises
    ------
    DataError
        If the file is not one complete array of real numbers.
    OSError
        If the file does not exist or cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, [1.0, 2.0])
    >>> read_npy(path)
    array([1., 2.])
    """
    with data_errors(path, "save numbers with np.save"), open(path, "rb") as file:
        return _parse(file, os.fstat(file.fileno()).st_size, TEXT_KINDS if text else KINDS)


def read_npz(path: str | os.PathLike[str], key: str = "", text: bool = False) -> NDArray[Any]:
    """Read an array of numbers from a ``.npz`` file.

    Parameters
    ----------
    path : path
        File to read.
    key : str, default=""
        Name of the array; may be omitted if there is only one.
    text : bool, default=False
        Whether strings are accepted, too, as labels.

    Returns
    -------
    ndarray
        Read-only array.

    Raises
    ------
    DataError
        If there is no such array, or the file is damaged.
    OSError
        If the file does not exist or cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, left=[1.0], right=[2.0])
    >>> read_npz(path, "right")
    array([2.])
    """
    with data_errors(path, "save numbers with np.savez"), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if names.count(key) != 1 if key else len(names) != 1:
            reason = f"no array {key!r}" if key else f"{len(names)} arrays"
            raise DataError(
                f"{path}: {reason} in the file. Name one of {names[:20]}, as {path}:{names[0]}"
            )
        member = archive.infolist()[names.index(key) if key else 0]
        return _read_member(archive, member, TEXT_KINDS if text else KINDS)


def list_npz(path: str | os.PathLike[str]) -> list[str]:
    """List the names of the arrays in a ``.npz`` file."""
    with data_errors(path, "save numbers with np.savez"), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str) -> NDArray[Any]:
    if member.compress_type not in _STORED_OR_DEFLATED or member.flag_bits & 1:
        raise ValueError("a member is encrypted or not compressed by deflate")
    if member.file_size > DEFLATE_LIMIT * max(member.compress_size, 1):
        raise ValueError(f"a member cannot decompress to {member.file_size} bytes")
    with archive.open(member) as stream:
        return _parse(stream, member.file_size, kinds)


@contextmanager
def data_errors(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """Convert the errors of damaged files to a DataError with the name of the file."""
    try:
        yield
    except (DataError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except _ERRORS as error:
        reason = str(error)[:200] or type(error).__name__
        raise DataError(
            f"{Path(path)}: not a NumPy file of numbers ({reason}). To make one, {advice}."
        ) from error


Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""Shape, whether the order is Fortran's, and dtype."""


def read_header(stream: IO[bytes], size: int, kinds: str = KINDS) -> Header:
    """Read the header of an array of numbers in a stream of ``size`` bytes.

    Raises
    ------
    ValueError
        If it does not declare values of these kinds that end with the stream.
    """
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    readers: dict[Any, Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[version](stream)
    if dtype.kind not in kinds or dtype.hasobject or not all(n >= 0 for n in shape):
        words = " or strings" if "U" in kinds else ""
        raise ValueError(f"must be real numbers{words}, got shape {shape} of {dtype}")
    declared, remaining = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared != remaining:
        raise ValueError(f"the header declares {declared} bytes, got {remaining}")
    return shape, fortran, dtype


def _parse(stream: IO[bytes], size: int, kinds: str) -> NDArray[Any]:
    """Read header and values of a read-only array in a stream of ``size`` bytes."""
    shape, fortran, dtype = read_header(stream, size, kinds)
    declared = math.prod(shape) * dtype.itemsize
    payload = stream.read(declared + 1)
    if len(payload) != declared:
        raise ValueError(f"the header declares {declared} bytes, got {len(payload)}")
    array = np.frombuffer(payload, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


class RowFile:
    """Samples of a ``.npy`` file, one per row, read on demand; images are flattened.

    It can be used in place of an array where rows are read in chunks: `Circuit.encode`, and
    ``fit``, ``partial_fit`` and ``transform`` of the estimators.

    Parameters
    ----------
    path : path
        File written by ``np.save``.

    Attributes
    ----------
    shape : tuple of int
        Numbers of samples and inputs.
    dtype : dtype
        Dtype of the numbers.
    ndim : int
        Number of dimensions, always 2.

    Raises
    ------
    DataError
        If the file is not one complete array of real numbers in C order with at least two
        dimensions.
    OSError
        If the file does not exist or cannot be opened.

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
        with data_errors(path, advice), open(path, "rb") as file:
            shape, fortran, self._stored = read_header(file, os.fstat(file.fileno()).st_size)
            if len(shape) < 2 or fortran:
                reason = "Fortran order" if fortran else "no rows"
                raise ValueError(f"an array of shape {shape} with {reason}")
            self._start = file.tell()
        self.shape = (shape[0], math.prod(shape[1:]))
        self.dtype = self._stored.newbyteorder("=")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read rows given by a slice, integers or a mask, and optionally some of their columns."""
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
        rows = np.asarray(key)
        if rows.dtype == bool and rows.shape == (len(self),):
            return np.flatnonzero(rows)
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            raise IndexError(f"Rows must be a slice, integers or a mask, got {key!r}.")
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"Rows must be below {len(self)}, got {rows.min()} to {rows.max()}.")
        return cast(NDArray[np.int64], rows % max(len(self), 1))

    def _read(self, runs: list[tuple[int, int]]) -> NDArray[Any]:
        """Read runs of rows, each given by its first row and its length."""
        width, n_read = self.shape[1], 0
        out = np.empty((sum(length for _, length in runs), width), self._stored)
        with open(self.path, "rb") as file:
            for first, length in runs:
                file.seek(self._start + first * width * self._stored.itemsize)
                chunk = np.fromfile(file, self._stored, length * width)
                if chunk.size != length * width:
                    raise DataError(f"{self.path}: the file was truncated after it was opened.")
                out[n_read : n_read + length] = chunk.reshape(length, width)
                n_read += length
        return out.astype(self.dtype, copy=False)

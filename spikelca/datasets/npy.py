"""NumPy's ``.npy`` and ``.npz`` files, read with suspicion.

NumPy itself believes a header: 240 bytes that declare a shape of two billion numbers take memory
for them at once, and a damaged file ends in any of half a dozen exceptions. Here the declared size
is compared with the bytes at hand before memory is taken, a compressed member is unpacked no
further than its declared end, objects (which are pickles) are refused, and there is one error.

Rows of a file that are read when they are asked for: more data than memory, or than addresses.

A memory map (``np.load(path, mmap_mode="r")``) takes no memory either, but it takes addresses for
the whole file, which a limit on them (``ulimit -v``, a job scheduler) may forbid, and what it has
read counts as memory of the process until it is let go. A `RowFile` reads a window into an array of
its own and forgets it.
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

DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than this many times its own length
KINDS = "fiub"
_STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ERRORS = (
    *(ValueError, TypeError, KeyError, IndexError, OverflowError, NotImplementedError),
    *(EOFError, OSError, RuntimeError, SyntaxError, RecursionError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one array of numbers from a ``.npy`` file.

    Parameters
    ----------
    path : path

    Returns
    -------
    array, read-only

    Raises
    ------
    DataError
        If the file is anything but one complete array of real numbers.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, [1.0, 2.0])
    >>> read_npy(path)
    array([1., 2.])
    """
    with data_errors(path, "save it with np.save"), open(path, "rb") as file:
        return _parse(file, os.fstat(file.fileno()).st_size)


def read_npz(path: str | os.PathLike[str], key: str = "") -> NDArray[Any]:
    """Read one array of numbers from a ``.npz`` file.

    Parameters
    ----------
    path : path
    key : str, default=""
        Its name; may be left out if there is only one array.

    Returns
    -------
    array, read-only

    Raises
    ------
    DataError
        If there is no such array, or the file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, left=[1.0], right=[2.0])
    >>> read_npz(path, "right")
    array([2.])
    """
    with data_errors(path, "save it with np.savez"), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if names.count(key) != 1 if key else len(names) != 1:
            wanted = f"no array {key!r}" if key else f"{len(names)} arrays"
            raise DataError(
                f"{path}: found {wanted} among {names[:20]}; name one of them: {path}:{names[0]}"
            )
        return _read_member(archive, archive.infolist()[names.index(key) if key else 0])


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type not in _STORED_OR_DEFLATED or member.flag_bits & 1:
        raise ValueError("an encrypted member, or one of another compression than deflate")
    if member.file_size > DEFLATE_LIMIT * max(member.compress_size, 1):
        raise ValueError(f"a member that cannot unpack to {member.file_size} bytes")
    with archive.open(member) as stream:
        return _parse(stream, member.file_size)


@contextmanager
def data_errors(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """Turn whatever a damaged file raises into a DataError that names it."""
    try:
        yield
    except (DataError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except _ERRORS as error:
        found = str(error)[:200] or type(error).__name__
        raise DataError(
            f"{Path(path)}: found no NumPy file of numbers ({found}); {advice}."
        ) from error


Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""Shape, whether the first index runs fastest, and the kind of number."""


def read_header(stream: IO[bytes], size: int) -> Header:
    """Read the header of an array of numbers in a stream of ``size`` bytes.

    Raises
    ------
    ValueError
        If it declares anything but real numbers that fill the stream to its end.
    """
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    readers: dict[Any, Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[version](stream)
    if dtype.kind not in KINDS or dtype.hasobject or not all(n >= 0 for n in shape):
        raise ValueError(f"shape {shape} of {dtype}; real numbers were awaited")
    declared, left = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared != left:
        raise ValueError(f"{left} bytes behind a header that declares {declared}")
    return shape, fortran, dtype


def _parse(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read header and numbers of an array, read-only, in a stream of ``size`` bytes."""
    shape, fortran, dtype = read_header(stream, size)
    declared = math.prod(shape) * dtype.itemsize
    payload = stream.read(declared + 1)
    if len(payload) != declared:
        raise ValueError(f"{len(payload)} bytes where {declared} were declared")
    array = np.frombuffer(payload, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


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
        with data_errors(path, advice), open(path, "rb") as file:
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

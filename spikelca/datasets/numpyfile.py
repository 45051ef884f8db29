"""NumPy's ``.npy`` and ``.npz`` files, read with suspicion.

NumPy itself believes a header: 240 bytes that declare a shape of two billion numbers take memory
for them at once, and a damaged file ends in any of half a dozen exceptions. Here the declared size
is compared with the bytes at hand before memory is taken, a compressed member is unpacked no
further than its declared end, objects (which are pickles) are refused, and there is one error.
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
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError

DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than this many times its own length
KINDS = "fiub"
_STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FAULTS = (
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
    with one_error(path, "save it with np.save"), open(path, "rb") as file:
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
    with one_error(path, "save it with np.savez"), zipfile.ZipFile(path) as archive:
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
def one_error(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """Turn whatever a damaged file raises into a DataError that names it."""
    try:
        yield
    except (DataError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except _FAULTS as error:
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

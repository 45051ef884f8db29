"""Bytes around the arrays: zip headers, npy headers, and the list of arrays in the manifest.

They follow from names, dtypes, shapes and digests. Numbers of a zip are little-endian; see PKWARE's
APPNOTE, sections 4.3.7 (local header), 4.3.12 (directory) and 4.3.16 (end of the directory).
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
MAX_FILE = (1 << 32) - 1
MAX_ARRAYS = 1000
MAX_NDIM = 4

DTYPES: Mapping[str, np.dtype[Any]] = {
    "<f4": np.dtype("<f4"),
    "<f8": np.dtype("<f8"),
    "<i8": np.dtype("<i8"),
    "|b1": np.dtype("|b1"),
}
"""Supported dtypes."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_VERSION, _STORED, _FIRST_DAY = 20, 0, 0x21  # zip 2.0; no compression; 1 January 1980


@dataclass(frozen=True)
class ArrayEntry:
    """Entry of an array in the manifest.

    Attributes
    ----------
    name : str
        Words of lower-case letters, digits and underscores, separated by dots.
    dtype : dtype
        Dtype of the numbers.
    shape : tuple of int
        Shape of the array.
    sha256 : str
        SHA-256 of the bytes of the numbers.
    offset : int
        Position of the numbers in the file, in bytes.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    sha256: str
    offset: int = 0

    @classmethod
    def from_array(cls, name: str, array: NDArray[Any]) -> ArrayEntry:
        """Make the entry of a C-contiguous array."""
        digest = hashlib.sha256(memoryview(array.reshape(-1).view(np.uint8))).hexdigest()
        return cls(name, array.dtype, array.shape, digest)

    @property
    def file_name(self) -> str:
        """Name of the member in the zip."""
        return f"{self.name}.npy"

    @property
    def n_bytes(self) -> int:
        """Number of bytes of the numbers, as a Python integer, which does not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def npy(self) -> bytes:
        """Header of the .npy file: version 1.0, padded with blanks to a multiple of 64."""
        text = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': {self.shape}, }}"
        n_blanks = -(len(text) + 11) % 64
        return b"\x93NUMPY\x01\x00" + struct.pack(
            f"<H{len(text) + n_blanks + 1}s",
            len(text) + n_blanks + 1,
            (text + " " * n_blanks + "\n").encode("ascii"),
        )

    @property
    def size(self) -> int:
        """Number of bytes of the member, header and numbers."""
        return len(self.npy) + self.n_bytes


@dataclass(frozen=True)
class WrittenEntry:
    """Entry of a member in the directory of the zip."""

    name: str
    size: int
    crc: int
    offset: int


def header(name: str, size: int, crc: int) -> bytes:
    """Make the header of a member (4.3.7)."""
    numbers = (_VERSION, 0, _STORED, 0, _FIRST_DAY, crc, size, size, len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", *numbers) + name.encode("ascii")


def directory(members: Sequence[WrittenEntry], comment: str) -> bytes:
    """Make the directory after the members (4.3.12, 4.3.16)."""
    entries = b"".join(_make_entry(member) for member in members)
    last = members[-1]
    start = last.offset + len(header(last.name, 0, 0)) + last.size
    count = len(members)
    end = (0, 0, count, count, len(entries), start & 0xFFFFFFFF, len(comment))
    return entries + struct.pack("<4s4H2IH", b"PK\x05\x06", *end) + comment.encode("ascii")


def _make_entry(member: WrittenEntry) -> bytes:
    size = member.size & 0xFFFFFFFF
    numbers = (_VERSION, _VERSION, 0, _STORED, 0, _FIRST_DAY, member.crc, size, size)
    tail = (len(member.name), 0, 0, 0, 0, 0, member.offset)
    return struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *numbers, *tail) + member.name.encode("ascii")


def list_entries(members: Sequence[ArrayEntry]) -> list[dict[str, Any]]:
    """List the arrays in the form of the manifest."""
    return [
        {"name": m.name, "dtype": m.dtype.str, "shape": list(m.shape), "sha256": m.sha256}
        for m in members
    ]


def parse_entries(entries: Any, start: int) -> list[ArrayEntry]:
    """Check the list of arrays in the manifest and compute their offsets.

    Parameters
    ----------
    entries : list of dict
        Entries of the manifest.
    start : int
        Position of the first member in the file, in bytes.

    Returns
    -------
    list of ArrayEntry

    Raises
    ------
    ValueError
        If an entry is invalid, or a name is not unique.
    """
    if not isinstance(entries, list) or len(entries) > MAX_ARRAYS:
        raise ValueError(f"The arrays in the manifest must be a list of at most {MAX_ARRAYS}.")
    members: list[ArrayEntry] = []
    for entry in entries:
        member = _parse_entry(entry)
        offset = start + len(header(member.file_name, 0, 0)) + len(member.npy)
        members.append(ArrayEntry(member.name, member.dtype, member.shape, member.sha256, offset))
        start = offset + member.n_bytes
    if len({m.name for m in members}) != len(members):
        raise ValueError("Names of arrays must be unique, got two arrays of one name.")
    return members


def _parse_entry(entry: Any) -> ArrayEntry:
    if not isinstance(entry, dict) or set(entry) != {"name", "dtype", "shape", "sha256"}:
        raise ValueError("Each array must have exactly name, dtype, shape and sha256.")
    name, dtype, shape, digest = (entry[key] for key in ("name", "dtype", "shape", "sha256"))
    if not (isinstance(name, str) and len(name) <= 200 and _NAME.fullmatch(name)):
        raise ValueError(
            f"An array must be named by words separated by dots, got {str(name)[:40]!r}."
        )
    if not (isinstance(dtype, str) and dtype in DTYPES):
        raise ValueError(
            f"The dtype of {name!r} must be one of {list(DTYPES)}, got {str(dtype)[:20]!r}."
        )
    is_valid = isinstance(shape, list) and all(type(n) is int and n >= 1 for n in shape)
    if not is_valid or not 1 <= len(shape) <= MAX_NDIM or math.prod(shape) > MAX_FILE:
        raise ValueError(
            f"The shape of {name!r} must have 1 to {MAX_NDIM} sizes >= 1 and a product of at most "
            f"{MAX_FILE}, got {str(shape)[:80]}."
        )
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError(
            f"The SHA-256 of {name!r} must have 64 hexadecimal digits, got {str(digest)[:80]!r}."
        )
    return ArrayEntry(name, DTYPES[dtype], tuple(shape), digest)

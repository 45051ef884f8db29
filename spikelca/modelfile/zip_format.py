"""The bytes around the arrays: zip headers, npy headers, and the list of arrays in the manifest.

All of it follows from names, dtypes, shapes and digests. Numbers of a zip are little-endian; what
they mean stands in PKWARE's APPNOTE, sections 4.3.7 (local header), 4.3.12 (directory) and 4.3.16
(end of the directory).
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
"""The only kinds of number in a model file."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_VERSION, _STORED, _FIRST_DAY = 20, 0, 0x21  # zip 2.0; no compression; 1 January 1980


@dataclass(frozen=True)
class ArrayEntry:
    """One array: what the manifest says of it.

    Attributes
    ----------
    name : str
        Words of small letters, digits and underscores between dots.
    dtype : dtype
    shape : tuple of int
    sha256 : str
        Of the bytes of the numbers.
    offset : int
        Where its numbers begin in the file.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    sha256: str
    offset: int = 0

    @classmethod
    def from_array(cls, name: str, array: NDArray[Any]) -> ArrayEntry:
        """The entry of a C-contiguous array."""
        digest = hashlib.sha256(memoryview(array.reshape(-1).view(np.uint8))).hexdigest()
        return cls(name, array.dtype, array.shape, digest)

    @property
    def file_name(self) -> str:
        """Its name in the zip."""
        return f"{self.name}.npy"

    @property
    def n_bytes(self) -> int:
        """Bytes of the numbers; a Python integer, which does not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def npy(self) -> bytes:
        """The header of the .npy file: version 1.0, padded with blanks to a multiple of 64."""
        told = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': {self.shape}, }}"
        blanks = -(len(told) + 11) % 64
        return b"\x93NUMPY\x01\x00" + struct.pack(
            f"<H{len(told) + blanks + 1}s",
            len(told) + blanks + 1,
            (told + " " * blanks + "\n").encode("ascii"),
        )

    @property
    def size(self) -> int:
        """Bytes of the member: header and numbers."""
        return len(self.npy) + self.n_bytes


@dataclass(frozen=True)
class WrittenEntry:
    """One member as the directory of the zip tells it."""

    name: str
    size: int
    crc: int
    offset: int


def header(name: str, size: int, crc: int) -> bytes:
    """What stands before a member (4.3.7)."""
    numbers = (_VERSION, 0, _STORED, 0, _FIRST_DAY, crc, size, size, len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", *numbers) + name.encode("ascii")


def directory(members: Sequence[WrittenEntry], comment: str) -> bytes:
    """What stands behind all members (4.3.12, 4.3.16)."""
    entries = b"".join(_entry(member) for member in members)
    last = members[-1]
    start = last.offset + len(header(last.name, 0, 0)) + last.size
    count = len(members)
    end = (0, 0, count, count, len(entries), start & 0xFFFFFFFF, len(comment))
    return entries + struct.pack("<4s4H2IH", b"PK\x05\x06", *end) + comment.encode("ascii")


def _entry(member: WrittenEntry) -> bytes:
    size = member.size & 0xFFFFFFFF
    numbers = (_VERSION, _VERSION, 0, _STORED, 0, _FIRST_DAY, member.crc, size, size)
    tail = (len(member.name), 0, 0, 0, 0, 0, member.offset)
    return struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *numbers, *tail) + member.name.encode("ascii")


def list_entries(members: Sequence[ArrayEntry]) -> list[dict[str, Any]]:
    """The list of arrays, as it stands in the manifest."""
    return [
        {"name": m.name, "dtype": m.dtype.str, "shape": list(m.shape), "sha256": m.sha256}
        for m in members
    ]


def parse_entries(found: Any, first: int) -> list[ArrayEntry]:
    """The list of arrays, checked entry by entry; the first header stands at byte ``first``.

    Raises
    ------
    ValueError
        If an entry is not what was awaited, or a name comes twice.
    """
    if not isinstance(found, list) or len(found) > MAX_ARRAYS:
        raise ValueError(f"found no list of at most {MAX_ARRAYS} arrays in the manifest.")
    members: list[ArrayEntry] = []
    for entry in found:
        member = _read_entry(entry)
        start = first + len(header(member.file_name, 0, 0)) + len(member.npy)
        members.append(ArrayEntry(member.name, member.dtype, member.shape, member.sha256, start))
        first = start + member.n_bytes
    if len({m.name for m in members}) != len(members):
        raise ValueError("found two arrays of one name in the manifest.")
    return members


def _read_entry(entry: Any) -> ArrayEntry:
    if not isinstance(entry, dict) or set(entry) != {"name", "dtype", "shape", "sha256"}:
        raise ValueError("found an array without name, dtype, shape or SHA-256, or with more.")
    name, dtype, shape, digest = (entry[key] for key in ("name", "dtype", "shape", "sha256"))
    if not (isinstance(name, str) and len(name) <= 200 and _NAME.fullmatch(name)):
        raise ValueError(f"found an array named {str(name)[:40]!r}; words between dots awaited.")
    if not (isinstance(dtype, str) and dtype in DTYPES):
        raise ValueError(f"{name!r} has the dtype {str(dtype)[:20]!r}; one of {list(DTYPES)}.")
    sizes = isinstance(shape, list) and all(type(n) is int and n >= 1 for n in shape)
    if not sizes or not 1 <= len(shape) <= MAX_NDIM or math.prod(shape) > MAX_FILE:
        raise ValueError(
            f"{name!r} has the shape {str(shape)[:80]}; 1 to {MAX_NDIM} sizes of 1 or more, and a "
            f"product of at most {MAX_FILE}, were awaited."
        )
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError(f"{name!r} has no SHA-256; 64 hexadecimal digits were awaited.")
    return ArrayEntry(name, DTYPES[dtype], tuple(shape), digest)

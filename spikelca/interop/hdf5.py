"""A look at an HDF5 file before somebody reads it: its links stay inside, and it fits into memory.

An HDF5 file can name other files, and a few of its bytes can declare a huge array. NIR's reader
follows and reads all of it.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

from spikelca.utils.optional import require
from spikelca.utils.system import available_bytes, format_bytes


def check_hdf5(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a file is no HDF5 file, points outside of itself or is too large to read.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    h5py = require("h5py", "nir")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("found a folder, a pipe or a device; a regular file was awaited.")
    Path(path).open("rb").close()
    try:
        with h5py.File(path, "r") as file:
            needed_bytes = _total_bytes(h5py, file, set())
    except (OSError, RuntimeError, KeyError, UnicodeError) as error:
        raise ValueError(f"found no whole HDF5 file ({error}).") from error
    free = available_bytes()
    if needed_bytes > free:
        raise ValueError(
            f"found arrays that take {format_bytes(needed_bytes)}, and {format_bytes(free)} are free."
        )


def _total_bytes(h5py: Any, group: Any, seen: set[int]) -> int:
    """Bytes of all arrays in a group; nothing is found twice, so that the way down has an end."""
    total = 0
    for name in group:
        place = f"{group.name}/{name}"[-80:]
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"found a link at {place!r}; all in one file was awaited.")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise ValueError(f"found {place!r} elsewhere in the file; everything once was awaited.")
        seen.add(address)
        if isinstance(item, h5py.Group):
            total += _total_bytes(h5py, item, seen)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"found {place!r} kept in another file; awaited in this one.")
            total += math.prod(item.shape or ()) * item.dtype.itemsize
    return total

"""Validation of HDF5 files before they are read.

An HDF5 file can refer to other files, and a few of its bytes can declare a huge array. The reader
of NIR follows all references and reads all arrays.
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
    """Check that a file is HDF5, without external references, and fits into memory.

    Raises
    ------
    ValueError
        If it is not such a file.
    OSError
        If the file cannot be opened.
    """
    h5py = require("h5py", "nir")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a regular file (a folder, pipe or device).")
    Path(path).open("rb").close()
    try:
        with h5py.File(path, "r") as file:
            n_bytes = _total_bytes(h5py, file, set())
    except (OSError, RuntimeError, KeyError, UnicodeError) as error:
        raise ValueError(f"not a complete HDF5 file ({error}).") from error
    available = available_bytes()
    if n_bytes > available:
        raise ValueError(
            f"the arrays must fit into the available {format_bytes(available)} of memory, got "
            f"{format_bytes(n_bytes)}."
        )


def _total_bytes(h5py: Any, group: Any, addresses: set[int]) -> int:
    """Sum the bytes of all arrays in a group; repeated objects are rejected, so cycles are too."""
    total = 0
    for name in group:
        path = f"{group.name}/{name}"[-80:]
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"soft and external links are not supported (got a link at {path!r}).")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in addresses:
            raise ValueError(f"objects must have one path each ({path!r} has several).")
        addresses.add(address)
        if isinstance(item, h5py.Group):
            total += _total_bytes(h5py, item, addresses)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"arrays must be in the file itself ({path!r} is in another).")
            total += math.prod(item.shape or ()) * item.dtype.itemsize
    return total

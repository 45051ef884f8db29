"""Samples from Zarr and from stacks of ``.npy`` files, and codes into Zarr: nothing is held whole.

Every worker reads its own chunks and writes its own codes, so that the files must lie where all of
them can reach them, under one name.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.distributed.cluster import compute
from spikelca.utils import out_of_core
from spikelca.utils.optional import require

_ZARR = ("zarr.json", ".zarray", ".zgroup")


def read_lazily(source: str | os.PathLike[str]) -> Any:
    """Samples, one a row, of which each chunk is read by whoever needs it.

    Parameters
    ----------
    source : path
        A Zarr array; a folder of ``.npy`` files, whose rows follow each other in the order of the
        numbers in their names (``dask.array.to_npy_stack`` writes such); or one ``.npy`` file.

    Returns
    -------
    dask.array.Array
        In chunks of about `CHUNK` rows.

    Raises
    ------
    ValueError
        If the files hold no numbers, or rows of different shapes.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rows.npy"
    >>> np.save(path, np.ones((6, 2)))
    >>> read_lazily(path).shape
    (6, 2)
    """
    path = Path(os.path.abspath(source))
    if any((path / name).is_file() for name in _ZARR):
        return _from_zarr(path)
    files = sorted(path.glob("*.npy"), key=_file_number) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(
            f"{path}: found neither a Zarr array nor .npy files in it; one of them was awaited."
        )
    return _from_files(files)


def _from_zarr(path: Path) -> Any:
    zarr = require("zarr", "dask")
    found = zarr.open(path, mode="r")
    if not hasattr(found, "shape"):
        raise ValueError(
            f"{path} is a Zarr group of {sorted(found)[:9]}; name one array: {path}/NAME"
        )
    if found.dtype.kind not in "fiub" or "pickle" in str(found.metadata.to_dict()):
        raise ValueError(f"{path} holds pickled objects or {found.dtype}; numbers were awaited.")
    own = found.chunks[0]
    rows = own * -(-out_of_core.CHUNK_SAMPLES // own)
    return require("dask.array", "dask").from_array(
        found, chunks=(rows, *found.shape[1:]), name=False
    )


def _file_number(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else -1, path.name)


def _from_files(files: list[Path]) -> Any:
    array, delayed = require("dask.array", "dask"), require("dask", "dask").delayed(_read_rows)
    shapes = {path: _header(path) for path in files}
    if len({(shape[1:], dtype) for shape, dtype in shapes.values()}) > 1:
        raise ValueError(
            f"{files[0].parent} holds {[str(s) for s in shapes.values()][:5]}; rows of one shape "
            "and type were awaited in all .npy files of a stack."
        )
    pieces = [
        array.from_delayed(
            delayed(str(path), first, min(out_of_core.CHUNK_SAMPLES, len_ - first)),
            (min(out_of_core.CHUNK_SAMPLES, len_ - first), *shape),
            dtype,
        )
        for path, ((len_, *shape), dtype) in shapes.items()
        for first in range(0, len_, out_of_core.CHUNK_SAMPLES)
    ]
    return array.concatenate(pieces)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path}: found no array of numbers that is whole ({error}).") from None
    return found.shape, found.dtype


def _read_rows(path: str, first: int, n_rows: int) -> NDArray[Any]:
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[first : first + n_rows])


def to_memory(arrays: Mapping[str, Any], progress: bool = False) -> dict[str, NDArray[Any]]:
    """Compute arrays in one go and bring them here."""
    return dict(zip(arrays, compute(list(arrays.values()), progress), strict=True))


def write_zarr(
    path: str | os.PathLike[str], arrays: Mapping[str, Any], progress: bool = False
) -> None:
    """Compute arrays into a Zarr group; it takes the place of the old one when all is written.

    Parameters
    ----------
    path : path
        A folder that does not exist, or an older Zarr group.
    arrays : mapping of name to dask.array.Array
        Chunks of equal length, the last one aside.
    progress : bool, default=False
        Show on a terminal how far it is.

    Raises
    ------
    FileExistsError
        If something else is there.

    Examples
    --------
    >>> import tempfile
    >>> import dask.array
    >>> path = Path(tempfile.mkdtemp()) / "codes.zarr"
    >>> write_zarr(path, {"code": dask.array.ones((6, 2), chunks=(3, 2))})
    >>> path.is_dir()
    True
    """
    target = Path(os.path.abspath(path))
    check_target(target)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.spikelca-part")
    try:
        _write_arrays(part, arrays, progress)
        _replace_store(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_target(target: Path) -> None:
    """Raise FileExistsError if something other than a Zarr store is there."""
    if target.exists() and not any((target / name).is_file() for name in _ZARR):
        raise FileExistsError(f"{target} is there and no Zarr store; name another one.")


def _write_arrays(part: Path, arrays: Mapping[str, Any], progress: bool) -> None:
    group = require("zarr", "dask").open_group(part, mode="w")
    targets = [
        group.create_array(
            name, shape=X.shape, dtype=X.dtype, chunks=tuple(max(sizes[0], 1) for sizes in X.chunks)
        )
        for name, X in arrays.items()
    ]
    sources = list(arrays.values())
    # Chunks of the store are those of the arrays: no two tasks ever write into the same one.
    compute(
        [require("dask.array", "dask").store(sources, targets, lock=False, compute=False)], progress
    )


def _replace_store(part: Path, target: Path) -> None:
    if target.exists():
        old = part.with_suffix(".spikelca-old")
        os.rename(target, old)
        os.rename(part, target)
        shutil.rmtree(old)
    else:
        os.rename(part, target)

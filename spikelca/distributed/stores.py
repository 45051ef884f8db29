"""Samples from Zarr and stacks of ``.npy`` files, and codes into Zarr, chunk by chunk.

Every worker reads its chunks and writes its codes, so all workers must have access to the files
under the same path.
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
    """Read samples lazily, one per row; each worker reads the chunks that it processes.

    Parameters
    ----------
    source : path
        A Zarr array; a folder of ``.npy`` files, concatenated in the order of the numbers in their
        names (as written by ``dask.array.to_npy_stack``); or one ``.npy`` file.

    Returns
    -------
    dask.array.Array
        In chunks of about ``CHUNK_SAMPLES`` rows.

    Raises
    ------
    ValueError
        If the files do not contain numbers, or have rows of different shapes.
    OSError
        If the file does not exist.

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
            f"{path}: must be a Zarr array or a folder with .npy files, got neither"
        )
    return _from_files(files)


def _from_zarr(path: Path) -> Any:
    zarr = require("zarr", "dask")
    store = zarr.open(path, mode="r")
    if not hasattr(store, "shape"):
        raise ValueError(
            f"{path}: must be a Zarr array, got a group of {sorted(store)[:9]}. Use {path}/NAME."
        )
    if store.dtype.kind not in "fiub" or "pickle" in str(store.metadata.to_dict()):
        raise ValueError(
            f"{path}: must contain numbers, got dtype {store.dtype} or pickled objects"
        )
    chunk = store.chunks[0]
    rows = chunk * -(-out_of_core.CHUNK_SAMPLES // chunk)
    return require("dask.array", "dask").from_array(
        store, chunks=(rows, *store.shape[1:]), name=False
    )


def _file_number(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else -1, path.name)


def _from_files(files: list[Path]) -> Any:
    array, delayed = require("dask.array", "dask"), require("dask", "dask").delayed(_read_rows)
    shapes = {path: _header(path) for path in files}
    if len({(shape[1:], dtype) for shape, dtype in shapes.values()}) > 1:
        raise ValueError(
            f"{files[0].parent}: all .npy files of a stack must have rows of the same shape and "
            f"dtype, got {[str(s) for s in shapes.values()][:5]}"
        )
    chunks = [
        array.from_delayed(
            delayed(str(path), start, min(out_of_core.CHUNK_SAMPLES, n_rows - start)),
            (min(out_of_core.CHUNK_SAMPLES, n_rows - start), *shape),
            dtype,
        )
        for path, ((n_rows, *shape), dtype) in shapes.items()
        for start in range(0, n_rows, out_of_core.CHUNK_SAMPLES)
    ]
    return array.concatenate(chunks)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path}: not a complete array of numbers ({error})") from None
    return array.shape, array.dtype


def _read_rows(path: str, start: int, n_rows: int) -> NDArray[Any]:
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[start : start + n_rows])


def to_memory(arrays: Mapping[str, Any], progress: bool = False) -> dict[str, NDArray[Any]]:
    """Compute arrays together and return them in memory."""
    return dict(zip(arrays, compute(list(arrays.values()), progress), strict=True))


def write_zarr(
    path: str | os.PathLike[str], arrays: Mapping[str, Any], progress: bool = False
) -> None:
    """Compute arrays into a Zarr group that replaces an old one when all is written.

    Parameters
    ----------
    path : path
        A folder that does not exist, or an older Zarr group.
    arrays : mapping of name to dask.array.Array
        With chunks of equal length, except the last one.
    progress : bool, default=False
        Show a progress bar on a terminal.

    Raises
    ------
    FileExistsError
        If the path exists and is not a Zarr store.

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
    """Raise FileExistsError if the path exists and is not a Zarr store."""
    if target.exists() and not any((target / name).is_file() for name in _ZARR):
        raise FileExistsError(f"{target} exists and is not a Zarr store. Use another path.")


def _write_arrays(part: Path, arrays: Mapping[str, Any], progress: bool) -> None:
    group = require("zarr", "dask").open_group(part, mode="w")
    targets = [
        group.create_array(
            name, shape=X.shape, dtype=X.dtype, chunks=tuple(max(sizes[0], 1) for sizes in X.chunks)
        )
        for name, X in arrays.items()
    ]
    sources = list(arrays.values())
    # The store has the chunks of the arrays, so no two tasks write into the same chunk.
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

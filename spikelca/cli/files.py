"""Arrays in and out of files, by their ending; what has no known ending is read as IDX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 4096
"""Rows of one piece of what is sent to workers."""

BUILT_IN_DATA = ("digits", "mnist")
"""Words that name data of the library."""


def read_rows(source: str, scale: bool = True) -> NDArray[Any]:
    """Read samples, one a row; images are laid flat, bytes become numbers from 0 to 1.

    Parameters
    ----------
    source : str
        A file, ``FILE.npz:KEY``, or a word for the handwritten test images of a data set.
    scale : bool, default=True
        Bring each row to unit norm (blank rows stay blank).

    Returns
    -------
    (n_samples, n_inputs) float32 or float64

    Raises
    ------
    ValueError
        If there are no numbers in it, or no rows.
    OSError
        If the file cannot be read.
    """
    found = _test_images(source) if source in BUILT_IN_DATA else read_array(source)
    return to_rows(found, source, scale)


def to_rows(found: NDArray[Any], source: str, scale: bool) -> NDArray[Any]:
    """Images laid flat, bytes as numbers from 0 to 1, rows of unit norm if asked."""
    if found.dtype == np.uint8:
        found = found.astype(np.float32) / np.float32(255)
    if found.ndim < 2 or found.dtype.kind not in "fiub":
        raise ValueError(
            f"{source} holds an array of shape {found.shape} and type {found.dtype}; rows of "
            "numbers, or images, were awaited."
        )
    rows = found.reshape(len(found), -1)
    rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
    return normalise_rows(rows) if scale else rows


def read_rows_lazily(source: str, scale: bool = True) -> Any:
    """The same as a Dask array; what is no Zarr and no ``.npy`` is read here and sent."""
    from spikelca.distributed import read_lazily, require

    array = require("dask.array")
    if not is_chunked(source):
        rows = read_rows(source, scale)
        return array.from_array(rows, chunks=(CHUNK_ROWS, -1))
    images = read_lazily(source)
    sample = to_rows(np.ones((1, *images.shape[1:]), images.dtype), source, scale)
    flat = images.reshape((images.shape[0], -1)) if images.ndim > 2 else images
    return flat.map_blocks(
        to_rows, source, scale, dtype=sample.dtype, meta=np.empty((0, 0), sample.dtype)
    )


def is_chunked(source: str) -> bool:
    """Whether samples may be read piece by piece: a Zarr array, a folder, an ``.npy`` file."""
    return source not in BUILT_IN_DATA and (Path(source).is_dir() or Path(source).suffix == ".npy")


def normalise_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Each row divided by its norm."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _test_images(source: str) -> NDArray[Any]:
    from spikelca.datasets import load_images

    return load_images(source).X_test


def read_array(source: str) -> NDArray[Any]:
    """Read one array from ``.npy``, ``.npz`` (``FILE.npz:KEY``), ``.csv`` or an IDX file."""
    name, _, key = source.partition(".npz:")
    path = Path(f"{name}.npz" if key else source)
    if not path.is_file():
        raise FileNotFoundError(
            f"{source}: found no such file; awaited a file of images (.npy, .npz, .csv, IDX) or "
            f"one of {', '.join(BUILT_IN_DATA)}."
        )
    if path.suffix == ".csv":
        return _from_csv(path)
    from spikelca.datasets import read_idx, read_npy, read_npz

    if path.suffix == ".npz":
        return read_npz(path, key)
    if path.suffix == ".npy":
        return read_npy(path)
    return read_idx(path)


def _from_csv(path: Path) -> NDArray[Any]:
    """Numbers separated by commas, with or without one line of names."""
    with path.open() as file:
        first = file.readline()
    named = any(letter.isalpha() for letter in first.replace("e", "").replace("nan", ""))
    return np.loadtxt(path, delimiter=",", skiprows=int(named), ndmin=2)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], table: str) -> None:
    """Write arrays as ``.npz``, or one of them as ``.csv`` with a line of names; whole or not.

    Parameters
    ----------
    path : Path
    arrays : mapping of name to array
    table : str
        The array that a ``.csv`` file gets; its columns are named after it.

    Raises
    ------
    ValueError
        If the ending is another one.
    """
    from spikelca.utils.atomic_write import write_atomic

    check_suffix(path, (".npz", ".csv"))
    with write_atomic(path) as file:
        if path.suffix == ".npz":
            named: dict[str, Any] = dict(arrays)
            np.savez_compressed(file, **named)
        else:
            rows = arrays[table]
            header = ",".join(f"{table}{j}" for j in range(rows.shape[1]))
            np.savetxt(file, rows, "%.9g", delimiter=",", header=header, comments="")


def check_suffix(path: Path, endings: tuple[str, ...]) -> Path:
    """Raise ValueError unless a file that is to be written has one of these endings and a folder.

    Called before anything is computed, so that nothing is computed in vain.
    """
    if path.suffix not in endings:
        raise ValueError(f"{path} ends in {path.suffix!r}; one of {list(endings)} was awaited.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: found no such folder; make it first.")
    return path

"""Read arrays from files and write them, by suffix; other suffixes are read as IDX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 4096
"""Rows per chunk of arrays that are sent to workers."""

BUILT_IN_DATA = ("digits", "mnist")
"""Names of the data sets of the library."""


def read_rows(source: str, scale: bool = True) -> NDArray[Any]:
    """Read samples, one per row; images are flattened and bytes scaled to 0 to 1.

    Parameters
    ----------
    source : str
        File, ``FILE.npz:KEY``, or the name of a data set (its handwritten test images).
    scale : bool, default=True
        Whether to scale each row to unit norm (blank rows stay blank).

    Returns
    -------
    (n_samples, n_inputs) float32 or float64

    Raises
    ------
    ValueError
        If the array does not contain rows of numbers.
    OSError
        If the file cannot be read.
    """
    array = _test_images(source) if source in BUILT_IN_DATA else read_array(source)
    return to_rows(array, source, scale)


def to_rows(array: NDArray[Any], source: str, scale: bool) -> NDArray[Any]:
    """Flatten images, scale bytes to 0 to 1 and, with ``scale``, rows to unit norm."""
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / np.float32(255)
    if array.ndim < 2 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{source} must contain rows of numbers or images, got an array of shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    rows = array.reshape(len(array), -1)
    rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
    return normalise_rows(rows) if scale else rows


def read_rows_lazily(source: str, scale: bool = True) -> Any:
    """Read samples as a Dask array.

    Workers read Zarr arrays and ``.npy`` files. Other files are read here and sent.
    """
    from spikelca.distributed import read_lazily
    from spikelca.utils.optional import require

    dask_array = require("dask.array", "dask")
    if not is_chunked(source):
        rows = read_rows(source, scale)
        return dask_array.from_array(rows, chunks=(CHUNK_ROWS, -1))
    images = read_lazily(source)
    sample = to_rows(np.ones((1, *images.shape[1:]), images.dtype), source, scale)
    flat = images.reshape((images.shape[0], -1)) if images.ndim > 2 else images
    return flat.map_blocks(
        to_rows, source, scale, dtype=sample.dtype, meta=np.empty((0, 0), sample.dtype)
    )


def is_chunked(source: str) -> bool:
    """Whether samples can be read in chunks (a Zarr array, a folder, an ``.npy`` file)."""
    return source not in BUILT_IN_DATA and (Path(source).is_dir() or Path(source).suffix == ".npy")


def normalise_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Divide each row by its norm."""
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
            f"{source}: no such file. DATA must be a file of images (.npy, .npz, .csv, IDX) or "
            f"one of {', '.join(BUILT_IN_DATA)}."
        )
    if path.suffix == ".csv":
        return _read_csv(path)
    from spikelca.datasets import read_idx, read_npy, read_npz

    if path.suffix == ".npz":
        return read_npz(path, key)
    if path.suffix == ".npy":
        return read_npy(path)
    return read_idx(path)


def _read_csv(path: Path) -> NDArray[Any]:
    """Read numbers separated by commas, with or without a header line."""
    with path.open() as file:
        line = file.readline()
    has_header = any(letter.isalpha() for letter in line.replace("e", "").replace("nan", ""))
    return np.loadtxt(path, delimiter=",", skiprows=int(has_header), ndmin=2)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], table: str) -> None:
    """Write arrays as ``.npz``, or one of them as ``.csv`` with a header line, atomically.

    Parameters
    ----------
    path : Path
        File to write.
    arrays : mapping of name to array
        Arrays to write.
    table : str
        Name of the array that is written to a ``.csv`` file, and of its columns.

    Raises
    ------
    ValueError
        If the suffix is neither ``.npz`` nor ``.csv``.
    """
    from spikelca.utils.atomic_write import write_atomic

    check_suffix(path, (".npz", ".csv"))
    with write_atomic(path) as file:
        if path.suffix == ".npz":
            named_arrays: dict[str, Any] = dict(arrays)
            np.savez_compressed(file, **named_arrays)
        else:
            rows = arrays[table]
            header = ",".join(f"{table}{j}" for j in range(rows.shape[1]))
            np.savetxt(file, rows, "%.9g", delimiter=",", header=header, comments="")


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> Path:
    """Raise an error unless a file can be written with one of these suffixes.

    Commands call it before they compute, so that no result is lost.
    """
    if path.suffix not in suffixes:
        raise ValueError(
            f"The suffix of {path} must be one of {list(suffixes)}, got {path.suffix!r}."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder. Create it first.")
    return path

"""Read arrays from files and write them, by suffix; other suffixes are read as IDX."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import check_finite

CHUNK_ROWS = 4096
"""Rows per chunk of arrays that are sent to workers."""

BUILT_IN_DATA = ("digits", "mnist")
"""Names of the data sets of the library."""

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
"""Suffixes of files that are read by `spikelca.datasets.read_csv`."""

IN_MEMORY_BYTES = 1 << 26
"""Size from which ``.npy`` and text files are read by rows and not as a whole."""


class Rows:
    """Samples of one or several files, side by side, converted and scaled when they are read.

    Parameters
    ----------
    sources : sequence of (str, array)
        Name and array of each file, in memory or read by rows, with equal numbers of rows.
    scale : bool
        Whether to scale the rows of each file to unit norm (blank rows stay blank).

    Raises
    ------
    ValueError
        If an array does not contain rows of numbers.
    """

    ndim = 2

    def __init__(self, sources: Sequence[tuple[str, Any]], scale: bool) -> None:
        self.sources, self.scale = sources, scale
        samples = [to_rows(_one_row(X, name)) for name, X in sources]
        self.dtype = np.result_type(*samples)
        self.shape = (len(sources[0][1]), sum(X.shape[1] for X in samples))
        if not self.shape[0]:
            raise ValueError(f"{sources[0][0]} must have at least one row, got none.")

    @property
    def is_in_memory(self) -> bool:
        """Whether all arrays are in memory."""
        return all(type(X) is np.ndarray for _, X in self.sources)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read rows given by a slice or by indices.

        Raises
        ------
        ValueError
            If a value is NaN, infinite or too large.
        """
        first = (key.start or 0) if isinstance(key, slice) else 0
        arrays = []
        for name, source in self.sources:
            rows = to_rows(np.asarray(source[key]))
            check_finite(rows, name, first)  # scaling would make blank rows of NaN
            arrays.append(normalise_rows(rows) if self.scale else rows)
        return arrays[0] if len(arrays) == 1 else np.hstack(arrays)


def read_rows(source: str, scale: bool = True, **table: Any) -> NDArray[Any]:
    """Read all samples of a file, one per row, as `open_rows` does."""
    return open_rows(source, scale, **table)[:]


def open_rows(source: str, scale: bool = True, **table: Any) -> Rows:
    """Open samples, one per row; images are flattened and bytes scaled to 0 to 1.

    Parameters
    ----------
    source : str
        File, ``FILE.npz:KEY``, or the name of a data set (its handwritten test images).
    scale : bool, default=True
        Whether to scale each row to unit norm (blank rows stay blank).
    **table
        ``header`` and ``index`` of text files, see `spikelca.datasets.read_csv`.

    Returns
    -------
    Rows

    Raises
    ------
    ValueError
        If the array does not contain rows of numbers.
    OSError
        If the file cannot be read.
    """
    if source in BUILT_IN_DATA:
        return Rows([(source, _test_images(source))], scale)
    path = file_of(source)
    is_large = path.is_file() and path.stat().st_size > IN_MEMORY_BYTES
    if is_large and path.suffix.lower() == ".npy":
        from spikelca.datasets import RowFile

        return Rows([(source, RowFile(path))], scale)
    if is_large and path.suffix.lower() in TABLE_SUFFIXES:
        return Rows([(source, _parse_to_disk(path, **table))], scale)
    return Rows([(source, read_array(source, **table))], scale)


def _parse_to_disk(path: Path, **table: Any) -> NDArray[Any]:
    """Parse a large text file block by block into a temporary file, and map it."""
    from spikelca.datasets.csv_table import iter_csv

    with tempfile.TemporaryFile() as file:
        width = n_rows = 0
        for block in iter_csv(path, **table):
            block.tofile(file)
            n_rows, width = n_rows + len(block), block.shape[1]
        file.flush()
        return np.memmap(file, np.float64, "r+", shape=(n_rows, width))


def _one_row(X: Any, source: str) -> NDArray[Any]:
    """Return a blank row of the shape and dtype of X, which must contain rows of numbers."""
    if X.ndim < 2 or X.dtype.kind not in "fiub":
        raise ValueError(
            f"{source} must contain rows of numbers or images, got an array of shape {X.shape} and "
            f"dtype {X.dtype}."
        )
    return np.zeros((1, *X.shape[1:]), X.dtype)


def to_rows(array: NDArray[Any]) -> NDArray[Any]:
    """Flatten images, scale bytes to 0 to 1 and convert other numbers to floats."""
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / np.float32(255)
    rows = array.reshape(len(array), -1)
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def read_rows_lazily(source: str, scale: bool = True, **table: Any) -> Any:
    """Read samples as a Dask array.

    Workers read Zarr arrays and ``.npy`` files. Other files are read here and sent.
    """
    from spikelca.distributed import check_dask, read_lazily
    from spikelca.utils.optional import require

    dask_array = require("dask.array", "dask")
    if not is_chunked(source):
        rows = read_rows(source, scale, **table)
        return dask_array.from_array(rows, chunks=(CHUNK_ROWS, -1))
    images = read_lazily(source)
    meta = to_rows(_one_row(images, source))[:0]
    flat = images.reshape((images.shape[0], -1)) if images.ndim > 2 else images
    rows = check_dask(flat.map_blocks(to_rows, dtype=meta.dtype, meta=meta), source)
    return rows.map_blocks(normalise_rows, dtype=meta.dtype, meta=meta) if scale else rows


def is_chunked(source: str) -> bool:
    """Whether samples can be read in chunks (a Zarr array, a folder, an ``.npy`` file)."""
    return source not in BUILT_IN_DATA and (Path(source).is_dir() or Path(source).suffix == ".npy")


def normalise_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Divide each row by its norm."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    # The squares of very small values are zero or inexact.
    is_tiny = (norms[:, 0] < 1e3 * np.sqrt(np.finfo(rows.dtype).tiny)) & rows.any(axis=1)
    if is_tiny.any():
        rows = rows.copy()
        rows[is_tiny] /= np.abs(rows[is_tiny]).max(axis=1, keepdims=True)
        norms[is_tiny] = np.linalg.norm(rows[is_tiny], axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _test_images(source: str) -> NDArray[Any]:
    from spikelca.datasets import load_images

    return load_images(source).X_test


def file_of(source: str) -> Path:
    """Return the path of a file, without the name of an array in it."""
    name, _, key = source.partition(".npz:")
    return Path(f"{name}.npz" if key else source)


def read_array(source: str, *, text: bool = False, **table: Any) -> NDArray[Any]:
    """Read one array from ``.npy``, ``.npz`` (``FILE.npz:KEY``), a text file or an IDX file.

    With ``text``, the array has one label per sample, which may be strings.
    """
    path = file_of(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"{source}: no such file. DATA must be a file of images (.npy, .npz, .csv, IDX) or "
            f"one of {', '.join(BUILT_IN_DATA)}."
        )
    from spikelca.datasets import csv_table, read_idx, read_npy, read_npz

    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        read = csv_table.read_csv_labels if text else csv_table.read_csv
        return read(path, **table)
    if suffix == ".npz":
        return read_npz(path, source.partition(".npz:")[2], text)
    if suffix == ".npy":
        return read_npy(path, text)
    return read_idx(path)


def read_labels(source: str, n_samples: int, **table: Any) -> NDArray[Any]:
    """Read one label per sample: numbers or words, without white space around them.

    Raises
    ------
    ValueError
        If the number of labels is not that of the samples.
    """
    labels = read_array(source, text=True, **table)
    if labels.ndim > 2 or labels.size != len(labels) or len(labels) != n_samples:
        raise ValueError(
            f"{source} must have one label for each of the {n_samples} samples, got an array of "
            f"shape {labels.shape}. If the first line of a text file is a header, give --header."
        )
    labels = labels.ravel()
    return np.char.strip(labels) if labels.dtype.kind == "U" else labels


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], table: str) -> None:
    """Write arrays as ``.npz``, or one of them as ``.npy`` or ``.csv``, atomically.

    Parameters
    ----------
    path : Path
        File to write.
    arrays : mapping of name to array
        Arrays to write.
    table : str
        Name of the array that is written to a ``.npy`` or ``.csv`` file, and of the columns in the
        header line of the latter.

    Raises
    ------
    ValueError
        If the suffix is none of these.
    """
    from spikelca.utils.atomic_write import write_atomic

    check_suffix(path, (".npz", ".npy", ".csv"))
    with write_atomic(path) as file:
        if path.suffix == ".npz":
            named_arrays: dict[str, Any] = dict(arrays)
            np.savez_compressed(file, **named_arrays)
        elif path.suffix == ".npy":
            np.save(file, arrays[table])
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


def check_output(path: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise an error if an output is one of the inputs, under any path, or a store with one.

    Commands call it before they compute. Names of data sets and None are skipped.
    """
    for file in [file_of(str(name)) for name in inputs if name not in (None, *BUILT_IN_DATA)]:
        # A Zarr store is replaced as a whole, with all arrays in it.
        parents = file.resolve().parents if path.suffix == ".zarr" else ()
        if any(_is_same_file(path, other) for other in (file, *parents)):
            raise ValueError(
                f"The output {path} must not be an input, got the input {file}, which would be "
                "overwritten. Use another file."
            )


def _is_same_file(path: Path, other: Path) -> bool:
    both_exist = path.exists() and other.exists()
    return path.samefile(other) if both_exist else path.resolve() == other.resolve()

"""The border guard: every array and every time that a user hands in passes here once.

An error says three things: what was found, what was awaited, what to do. Nothing is changed before
all has been checked, so bad input leaves every value as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[Any]
"""A NumPy array of float32 or float64."""

SMALL_SIZE = 4096
"""Values that are so few that calls cost more than looking at each."""

FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

MAX_ABS = {dtype: 1e-3 * float(np.sqrt(np.finfo(dtype).max)) for dtype in FLOAT_DTYPES}
"""What overflows neither once it is squared nor once many such squares are summed."""


def to_seconds(value: Any, name: str) -> float:
    """Turn a time into seconds: a plain number, or a Brian2 quantity such as ``10*ms``.

    Raises
    ------
    ValueError
        If the quantity is not a time, or is not finite.
    """
    dimension = getattr(value, "dim", None)
    if dimension is not None and str(dimension) not in ("s", "second", "1"):
        raise ValueError(f"{name} has the dimension {dimension}; a time in seconds was awaited.")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; a finite time in seconds was awaited.")
    return number


def to_positive_seconds(value: Any, name: str) -> float:
    """A time that must be above zero, in seconds."""
    number = to_seconds(value, name)
    if number <= 0:
        raise ValueError(f"{name} is {number} s; a time above zero was awaited.")
    return number


def check_positive(value: Any, name: str) -> float:
    """A finite number above zero.

    Raises
    ------
    ValueError
        If the value is NaN, infinite, zero or negative.
    """
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {number}; a finite number above zero was awaited.")
    return number


def as_float(X: ArrayLike, name: str, dtype: np.dtype[Any] | None = None) -> FloatArray:
    """Turn real numbers of any kind into a float32 or float64 array.

    Integers, booleans and float16 are converted; float32 and float64 pass without a copy.

    Raises
    ------
    TypeError
        If X is sparse.
    ValueError
        If X is complex, or holds objects that are no numbers.
    """
    if hasattr(X, "tocsr") or hasattr(X, "todense"):
        raise TypeError(
            f"{name} is a sparse matrix; a dense array was awaited. Use {name}.toarray()."
        )
    if np.ma.is_masked(X):
        raise ValueError(f"{name} has masked values; none were awaited. Fill or drop them first.")
    X = np.asarray(X)
    if X.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} is {X.dtype}; real numbers awaited.")
    if X.dtype.kind in "USMmV":
        raise ValueError(f"{name} holds {X.dtype} values; real numbers were awaited.")
    if X.dtype.kind == "O":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} holds {X.dtype} values that are no numbers: {error}"
            ) from None
    if dtype is None:
        single = X.dtype.kind == "f" and X.dtype.itemsize <= 4
        dtype = np.dtype(np.float32 if single else np.float64)
    if X.dtype == dtype:
        return X
    # What is too large for the precision becomes infinity, and is told by `check_finite`.
    with np.errstate(over="ignore"):
        return X.astype(dtype, copy=False)


def check_finite(X: FloatArray, name: str, first_row: int = 0) -> None:
    """Raise ValueError with the place of the first NaN, infinity or overlarge value.

    Overlarge is what overflows once it is squared and summed, as energies do. ``first_row`` is the
    place of X in a larger array of which it is a part.
    """
    largest = MAX_ABS[X.dtype]
    # Of few values the sum of squares tells at once that none is large, infinite or no number.
    if X.size <= SMALL_SIZE and X.flags.c_contiguous and np.vdot(X, X) <= largest * largest:
        return
    # Smallest and largest are two fast passes; only if they tell do we look for the culprit.
    if X.size == 0 or (X.min() >= -largest and X.max() <= largest):
        return
    bad = ~(np.abs(X) <= largest)
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    kind = "NaN" if np.isnan(X[place]) else "infinity" if np.isinf(X[place]) else str(X[place])
    index = (place[0] + first_row, *place[1:])
    raise ValueError(
        f"{name} contains {kind} at index {index} ({int(bad.sum())} such values"
        f"{f' in rows {first_row} to {first_row + len(X) - 1}' if first_row else ''}); "
        f"finite numbers of at most {largest:.0e} ({X.dtype}) were awaited. "
        "Clean, impute or scale the data first."
    )


def is_file_backed(X: Any) -> bool:
    """Whether X is an array that hands out its rows when asked: of HDF5, Zarr or a `RowFile`."""
    return (
        not isinstance(X, (np.ndarray, np.generic))
        and all(hasattr(X, name) for name in ("shape", "dtype", "ndim", "__getitem__"))
        and not hasattr(X, "iloc")  # a column of a table
    )


def check_shape(X: ArrayLike, name: str, n_columns: int | None = None) -> NDArray[Any]:
    """Check that X is a dense (n_samples, n_columns) array; its values are not looked at.

    An array outside memory stays there, see `is_file_backed`.

    Raises
    ------
    TypeError
        If X is sparse.
    ValueError
        If X is not 2D, is empty, or has another width.
    """
    if hasattr(X, "tocsr") or hasattr(X, "todense"):
        raise TypeError(
            f"{name} is a sparse matrix; a dense array was awaited. Use {name}.toarray()."
        )
    X = cast(NDArray[Any], X) if is_file_backed(X) else np.asanyarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"{name} has shape {X.shape}; a 2D array (n_samples, n_inputs) was awaited. "
            "Reshape one sample with .reshape(1, -1)."
        )
    if X.shape[0] == 0:
        raise ValueError(
            f"{name} is empty: found 0 sample(s), shape {X.shape}; at least 1 awaited."
        )
    if n_columns is not None and X.shape[1] != n_columns:
        raise ValueError(f"{name} has {X.shape[1]} columns; {n_columns} were awaited.")
    return X


def check_matrix(
    X: ArrayLike,
    name: str,
    n_columns: int | None = None,
    dtype: np.dtype[Any] | None = None,
    first_row: int = 0,
) -> FloatArray:
    """Check one (n_samples, n_columns) array of finite real numbers and return it as floats."""
    X = check_shape(as_float(X, name, dtype), name, n_columns)
    check_finite(X, name, first_row)
    return X


def check_shapes(
    stimuli: Mapping[str, ArrayLike], widths: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Check one array per modality without a look at its values: names, widths, number of rows.

    Nothing is copied or converted, so that a memory map stays on disk.

    Parameters
    ----------
    stimuli : mapping of name to (n_samples, n_inputs) array
        What is presented.
    widths : mapping of name to int
        What the circuit can see.
    """
    if not isinstance(stimuli, Mapping):
        raise TypeError(
            f"stimuli is {type(stimuli).__name__}; a mapping from modality to array was awaited, "
            f"with names out of {list(widths)}."
        )
    unknown = [name for name in stimuli if name not in widths]
    if unknown or not stimuli:
        raise ValueError(
            f"Found the modalities {list(stimuli)}; at least one out of {list(widths)} was awaited"
            + (f", and {unknown} is unknown." if unknown else ".")
        )
    arrays = {
        name: check_shape(X, f"modality {name!r}", widths[name]) for name, X in stimuli.items()
    }
    rows = {name: X.shape[0] for name, X in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(
            f"The modalities have different numbers of samples: {rows}; one was awaited."
        )
    return arrays


def check_values(
    arrays: Mapping[str, NDArray[Any]], dtype: np.dtype[Any], first_row: int = 0
) -> dict[str, FloatArray]:
    """Turn arrays of the right shapes into finite numbers of one precision.

    ``first_row`` is the place of these rows among all, for the message.
    """
    return {
        name: check_matrix(X, f"modality {name!r}", None, dtype, first_row)
        for name, X in arrays.items()
    }


def check_stimuli(
    stimuli: Mapping[str, ArrayLike], widths: Mapping[str, int], dtype: np.dtype[Any]
) -> dict[str, FloatArray]:
    """Check one array per modality, shapes and values, and turn them into one precision."""
    return check_values(check_shapes(stimuli, widths), dtype)


def check_code(code: ArrayLike, n_samples: int, n_neurons: int, dtype: np.dtype[Any]) -> FloatArray:
    """Check one code for each sample: (n_samples, n_neurons)."""
    checked = check_matrix(code, "code", n_neurons, dtype)
    if len(checked) != n_samples:
        raise ValueError(
            f"code has {len(checked)} rows; {n_samples} were awaited, one for each sample."
        )
    return checked


def check_indices(chosen: ArrayLike | None, n: int, what: str) -> NDArray[np.int64]:
    """Indices of chosen neurons or samples; all of them for None.

    Raises
    ------
    ValueError
        If an index is outside 0 .. n - 1.
    """
    if chosen is None:
        return np.arange(n)
    found = np.atleast_1d(np.asarray(chosen))
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise ValueError(f"{what} are {chosen!r}; a list of whole numbers was awaited.")
    if found.min() < 0 or found.max() >= n:
        raise ValueError(f"{what} run from {found.min()} to {found.max()}; 0 to {n - 1} awaited.")
    return found.astype(np.int64)


def check_labels(labels: ArrayLike, n_samples: int, n_classes: int) -> NDArray[np.int64]:
    """Check class numbers 0 .. n_classes - 1, one per sample.

    Raises
    ------
    ValueError
        If the number of labels is not n_samples, or a label names no class.
    """
    found = as_float(labels, "labels")
    if found.shape != (n_samples,):
        raise ValueError(f"labels has shape {found.shape}; ({n_samples},) was awaited.")
    with np.errstate(invalid="ignore"):
        numbers = found.astype(np.int64)
    if not np.array_equal(numbers, found) or numbers.min() < 0 or numbers.max() >= n_classes:
        raise ValueError(
            f"labels holds {np.unique(found)[:12]}; "
            f"class numbers 0 to {n_classes - 1} were awaited."
        )
    return numbers


def readonly_copy(X: FloatArray) -> FloatArray:
    """A read-only, C-contiguous copy: what a frozen value may hold."""
    X = np.array(X, order="C", copy=True)
    X.setflags(write=False)
    return X


def is_out_of_core(X: Any) -> bool:
    """Whether X holds numbers outside memory."""
    if not isinstance(X, np.memmap) and not is_file_backed(X):
        return False
    return getattr(X.dtype, "kind", "none") in "fiub"

"""Validation of user-supplied arrays and times.

An error names the argument, what it must be, what was given and, where there is one, the remedy.
Everything is checked before anything changes, so invalid input leaves every value as it was.
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
"""Up to this number of values, a single product is faster than two passes."""

FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

MAX_ABS = {dtype: 1e-3 * float(np.sqrt(np.finfo(dtype).max)) for dtype in FLOAT_DTYPES}
"""Largest absolute value whose square, and a sum of many such squares, cannot overflow."""


def find_dimension(value: Any) -> str | None:
    """Return the physical dimension of a quantity, None for a number without one.

    Quantities are those of Brian2 (attribute ``dim``), quantities or pint (``dimensionality``). Of
    a list, the first value is examined.
    """
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    for attribute in ("dim", "dimensionality"):
        dimension = getattr(value, attribute, None)
        if dimension is not None and not callable(dimension):
            text = str(dimension)
            return None if text in ("1", "dimensionless") else text
    return None


def reject_dimension(value: Any, name: str) -> None:
    """Raise ValueError for a quantity where a number without a unit is required."""
    dimension = find_dimension(value)
    if dimension is not None:
        raise ValueError(
            f"{name} must be dimensionless, got a quantity with the dimension {dimension}. Divide "
            "it by its unit."
        )


def reject_masked(value: Any, name: str) -> None:
    """Raise ValueError for a masked array with masked values."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} must not have masked values. Fill or drop them first.")


def check_type(value: Any, name: str, kind: Any, expected: str) -> None:
    """Raise TypeError if a value is not an instance of a type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {expected}, got {value!r:.200}.")


def check_bool(value: Any, name: str) -> bool:
    """Check a truth value of any type (True, 1, ``np.bool_``) and return it as a bool.

    Raises
    ------
    TypeError
        For anything else, such as a text, which Python would take for True.
    """
    reject_dimension(value, name)
    if np.ndim(value) or value not in (False, True):
        raise TypeError(f"{name} must be True or False, got {value!r:.200}.")
    return bool(value)


def _to_number(value: Any, name: str) -> float:
    """Convert a number to a float; strings, None and arrays are rejected."""
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {value!r}.") from None


def _magnitude(value: Any, name: str, unit: str, dimension: str) -> float:
    """Convert a plain number or a quantity of a dimension to a number of its unit."""
    found = find_dimension(value)
    if hasattr(value, "rescale") or hasattr(value, "to_base_units"):  # quantities, pint
        convert = value.rescale if hasattr(value, "rescale") else value.to
        try:
            return float(convert(unit).magnitude) if found else float(value)
        except Exception:  # each package has its own error
            raise ValueError(f"{name} must be in {unit}, got the dimension {found}.") from None
    if found not in (None, dimension):
        raise ValueError(f"{name} must be in {unit}, got the dimension {found}.")
    return _to_number(value, name)


def to_hertz(value: Any, name: str) -> float:
    """Convert a plain number or a quantity such as ``20*Hz`` to hertz.

    Raises
    ------
    ValueError
        If the quantity is not a frequency, or is not finite.
    """
    return check_number(_magnitude(value, name, "Hz", "s^-1"), name)


def to_seconds(value: Any, name: str) -> float:
    """Convert a plain number or a quantity such as ``10*ms`` to seconds.

    Raises
    ------
    ValueError
        If the quantity is not a time, or is not finite.
    """
    number = _magnitude(value, name, "s", "s")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite time in seconds, got {number}.")
    return number


def to_positive_seconds(value: Any, name: str) -> float:
    """Convert a time > 0 to seconds."""
    number = to_seconds(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be a time > 0, got {number} s.")
    return number


def check_positive(value: Any, name: str) -> float:
    """Check a finite number > 0 and return it as a float.

    Raises
    ------
    ValueError
        If the value is NaN, infinite, zero or negative, or has a dimension.
    """
    reject_dimension(value, name)
    number = _to_number(value, name)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a finite number > 0, got {number}.")
    return number


def check_number(value: Any, name: str) -> float:
    """Check a finite number and return it as a float.

    Raises
    ------
    ValueError
        If the value is NaN or infinite, or has a dimension.
    """
    reject_dimension(value, name)
    number = _to_number(value, name)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {number}.")
    return number


def check_integer(value: Any, name: str, minimum: int) -> int:
    """Check a whole number of any type and return it as an int.

    Raises
    ------
    ValueError
        If the value is not a whole number, or is below the minimum.
    """
    try:
        number = value if isinstance(value, (int, np.integer)) else check_number(value, name)
    except TypeError:
        number = minimum - 1  # not a number
    if number < minimum or number != int(number):
        raise ValueError(f"{name} must be a whole number >= {minimum}, got {value!r}.")
    return int(number)


def as_float(X: ArrayLike, name: str, dtype: np.dtype[Any] | None = None) -> FloatArray:
    """Convert real numbers of any dtype to a float32 or float64 array.

    Integers, booleans and float16 are converted; float32 and float64 pass without a copy.

    Raises
    ------
    TypeError
        If X is sparse.
    ValueError
        If X is complex, masked, has a dimension, or contains objects that are not numbers.
    """
    _reject_sparse(X, name)
    reject_dimension(X, name)
    reject_masked(X, name)
    X = np.asarray(X)
    if X.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} must contain real numbers, got dtype {X.dtype}."
        )
    if X.dtype.kind in "USMmV":
        raise ValueError(f"{name} must contain real numbers, got dtype {X.dtype}.")
    if X.dtype.kind == "O":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} must contain real numbers, got dtype {X.dtype} ({error})."
            ) from None
    if dtype is None:
        single = X.dtype.kind == "f" and X.dtype.itemsize <= 4
        dtype = np.dtype(np.float32 if single else np.float64)
    if X.dtype == dtype:
        return X
    # A value too large for the precision becomes infinite, which `check_finite` reports.
    with np.errstate(over="ignore"):
        return X.astype(dtype, copy=False)


def _reject_sparse(X: ArrayLike, name: str) -> None:
    if hasattr(X, "tocsr") or hasattr(X, "todense"):
        raise TypeError(f"{name} must be a dense array, got a sparse matrix. Use {name}.toarray().")


def check_finite(X: FloatArray, name: str, first_row: int = 0) -> None:
    """Raise ValueError with the index of the first NaN, infinite or too large value.

    Too large is a value whose square could overflow a sum, as in an energy. ``first_row`` is the
    index of the first row of X in the larger array from which X is taken.
    """
    largest = MAX_ABS[X.dtype]
    # For few values, one sum of squares shows that none is NaN, infinite or too large.
    if X.size <= SMALL_SIZE and X.flags.c_contiguous and np.vdot(X, X) <= largest * largest:
        return
    # Minimum and maximum are two fast passes; the invalid value is located only if they fail.
    if X.size == 0 or (X.min() >= -largest and X.max() <= largest):
        return
    invalid = ~(np.abs(X) <= largest)
    first = tuple(int(i) for i in np.argwhere(invalid)[0])
    kind = "NaN" if np.isnan(X[first]) else "infinity" if np.isinf(X[first]) else str(X[first])
    index = (first[0] + first_row, *first[1:])
    rows = f" in rows {first_row} to {first_row + len(X) - 1}" if first_row else ""
    raise ValueError(
        f"{name} must contain finite numbers of at most {largest:.0e} ({X.dtype}), got {kind} "
        f"at index {index} ({int(invalid.sum())} such values{rows}). "
        "Clean, impute or scale the data first."
    )


def is_file_backed(X: Any) -> bool:
    """Whether X is an array that reads its rows on demand: of HDF5, Zarr or a `RowFile`."""
    return (
        not isinstance(X, (np.ndarray, np.generic))
        and all(hasattr(X, name) for name in ("shape", "dtype", "ndim", "__getitem__"))
        and not hasattr(X, "iloc")  # a column of a table
    )


def check_shape(X: ArrayLike, name: str, n_columns: int | None = None) -> NDArray[Any]:
    """Check that X is a dense (n_samples, n_columns) array without reading its values.

    An out-of-core array is not loaded, see `is_file_backed`.

    Raises
    ------
    TypeError
        If X is sparse.
    ValueError
        If X is not 2D, is empty, has another width, or has a dimension.
    """
    _reject_sparse(X, name)
    reject_dimension(X, name)
    given = type(X).__name__
    X = cast(NDArray[Any], X) if is_file_backed(X) else np.asanyarray(X)
    if X.ndim != 2:
        advice = {
            0: "Pass one row per sample.",
            1: "Reshape a single row with .reshape(1, -1).",
        }.get(X.ndim, "Reshape images with .reshape(len(X), -1).")
        raise ValueError(f"{name} must be a 2D array, got {given} of shape {X.shape}. {advice}")
    if X.shape[0] == 0:
        raise ValueError(f"{name} must have at least 1 sample, got 0 sample(s) (shape {X.shape}).")
    if n_columns is not None and X.shape[1] != n_columns:
        raise ValueError(f"{name} must have {n_columns} columns, got {X.shape[1]}.")
    return X


def check_matrix(
    X: ArrayLike,
    name: str,
    n_columns: int | None = None,
    dtype: np.dtype[Any] | None = None,
    first_row: int = 0,
) -> FloatArray:
    """Check an (n_samples, n_columns) array of finite real numbers and return it as floats."""
    X = check_shape(as_float(X, name, dtype), name, n_columns)
    check_finite(X, name, first_row)
    return X


def check_shapes(
    stimuli: Mapping[str, ArrayLike], widths: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Check names, widths and number of rows of one array per modality, not their values.

    Nothing is copied or converted, so a memory map is not loaded.

    Parameters
    ----------
    stimuli : mapping of name to (n_samples, n_inputs) array
    widths : mapping of name to int
        Number of inputs of each modality of the circuit.
    """
    if not isinstance(stimuli, Mapping):
        raise TypeError(
            f"stimuli must be a mapping from modality to array with names from {list(widths)}, "
            f"got {type(stimuli).__name__}."
        )
    unknown = [name for name in stimuli if name not in widths]
    if unknown or not stimuli:
        raise ValueError(
            f"stimuli must have at least one modality from {list(widths)}, got {list(stimuli)}"
            + (f", of which {unknown} is unknown." if unknown else ".")
        )
    arrays = {
        name: check_shape(X, f"modality {name!r}", widths[name]) for name, X in stimuli.items()
    }
    rows = {name: X.shape[0] for name, X in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(
            f"stimuli must have the same number of samples in all modalities, got {rows}."
        )
    return arrays


def check_values(
    arrays: Mapping[str, NDArray[Any]], dtype: np.dtype[Any], first_row: int = 0
) -> dict[str, FloatArray]:
    """Convert arrays of checked shapes to one precision and check that their values are finite.

    ``first_row`` is the index of the first row in the whole array, for the message.
    """
    return {
        name: check_matrix(X, f"modality {name!r}", None, dtype, first_row)
        for name, X in arrays.items()
    }


def check_stimuli(
    stimuli: Mapping[str, ArrayLike], widths: Mapping[str, int], dtype: np.dtype[Any]
) -> dict[str, FloatArray]:
    """Check shapes and values of one array per modality and convert them to one precision."""
    return check_values(check_shapes(stimuli, widths), dtype)


def check_code(code: ArrayLike, n_samples: int, n_neurons: int, dtype: np.dtype[Any]) -> FloatArray:
    """Check a code of shape (n_samples, n_neurons)."""
    checked = check_matrix(code, "code", n_neurons, dtype)
    if len(checked) != n_samples:
        raise ValueError(
            f"code must have {n_samples} rows, one for each sample, got {len(checked)}."
        )
    return checked


def check_indices(indices: ArrayLike | None, n: int, name: str) -> NDArray[np.int64]:
    """Check indices of neurons or samples, or a Boolean mask; None means all of them.

    Raises
    ------
    ValueError
        If the indices are not whole numbers, there are none, or one is outside 0 .. n - 1.
    """
    if indices is None:
        return np.arange(n)
    array = np.atleast_1d(np.asarray(indices))
    if array.dtype == bool and array.shape == (n,):
        array = np.flatnonzero(array)
    if array.dtype.kind not in "iu" or array.ndim != 1 or not len(array):
        raise ValueError(
            f"{name} must be whole numbers, at least one, or a Boolean mask of length {n}, got "
            f"{np.asarray(indices).tolist()}. Use None for all of them."
        )
    if array.min() < 0 or array.max() >= n:
        raise ValueError(
            f"{name} must be from 0 to {n - 1}, got values from {array.min()} to {array.max()}."
        )
    return array.astype(np.int64)


def check_labels(labels: ArrayLike, n_samples: int, n_classes: int) -> NDArray[np.int64]:
    """Check class numbers 0 .. n_classes - 1, one per sample.

    Raises
    ------
    ValueError
        If the number of labels is not n_samples, or a label is not a class number.
    """
    values = as_float(labels, "labels")
    if values.shape != (n_samples,):
        raise ValueError(f"labels must have shape ({n_samples},), got {values.shape}.")
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    if not np.array_equal(numbers, values) or numbers.min() < 0 or numbers.max() >= n_classes:
        raise ValueError(
            f"labels must be class numbers from 0 to {n_classes - 1}, got {np.unique(values)[:12]}."
        )
    return numbers


def readonly_copy(X: FloatArray) -> FloatArray:
    """Copy an array, read-only and C-contiguous, for a field of a frozen value."""
    X = np.array(X, order="C", copy=True)
    X.setflags(write=False)
    return X


def is_out_of_core(X: Any) -> bool:
    """Whether X is an out-of-core array of numbers (memory map, HDF5, Zarr, `RowFile`)."""
    if not isinstance(X, np.memmap) and not is_file_backed(X):
        return False
    return getattr(X.dtype, "kind", "none") in "fiub"

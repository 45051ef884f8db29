"""Labels of samples: from y to class numbers, in the order of the blocks of a driver."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import DataConversionWarning

from spikelca.learning.loop import UNLABELLED
from spikelca.model.drivers import Driver, OrdinalDriver
from spikelca.utils.validation import reject_masked


def encode_labels(
    driver: Driver | None,
    y: ArrayLike | None,
    n_samples: int,
    classes: ArrayLike | None,
    learned: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """Return the class numbers for the driver and the labels in the order of its blocks.

    A label -1 that is not among the classes has the number `UNLABELLED`.

    Parameters
    ----------
    driver : Driver, optional
        Without a driver, labels are not used.
    y : (n_samples,), optional
    n_samples : int
    classes : (n_classes,), optional
        All classes (default: those learned, or those in y).
    learned : (n_classes,), optional
        Classes of an earlier call, which must not change.

    Raises
    ------
    ValueError
        If a label is missing or unknown, or the classes do not fit the driver.
    """
    if driver is None:
        return None, None
    if y is None:
        raise ValueError(
            "LinkedLCA with a driver requires y to be passed, but the target y is None: "
            "the driver requires the class of every sample."
        )
    labels = as_labels(y, "y")
    if labels.shape != (n_samples,):
        raise ValueError(f"y must have shape ({n_samples},), got {labels.shape}.")
    names = learned if classes is None else np.unique(as_labels(classes, "classes"))
    if names is not None and learned is not None and not np.array_equal(names, learned):
        raise ValueError(
            f"classes must be those of the first call, {learned[:20]}, got {names[:20]}. Use fit "
            "to start again."
        )
    unlabelled = np.zeros(n_samples, dtype=np.bool_)
    if labels.dtype.kind in "if" and (names is None or -1 not in names.tolist()):
        unlabelled = labels == -1
    if names is None:
        names = np.unique(labels[~unlabelled])
    unknown = sorted(set(labels[~unlabelled].tolist()) - set(names.tolist()), key=str)
    if unknown:
        raise ValueError(f"y must have labels from the classes {names[:20]}, got {unknown[:5]}.")
    expected = getattr(driver, "n_classes", names.size)
    if names.size != expected:
        raise ValueError(
            f"y must have {expected} classes, as the driver has, got {names.size} classes "
            f"{names[:20]} (-1 means unlabelled). Change n_classes of the driver, or pass all "
            "labels with classes=."
        )
    numbers = np.full(n_samples, UNLABELLED)
    numbers[~unlabelled] = np.searchsorted(names, labels[~unlabelled])
    return numbers, names


def as_labels(values: ArrayLike, name: str) -> NDArray[Any]:
    """Convert labels to a 1D array of numbers or of strings, without missing values.

    An array of objects that are numbers becomes an array of numbers. A column becomes 1D with a
    DataConversionWarning, as in scikit-learn.

    Raises
    ------
    ValueError
        If labels are missing or of several kinds, or end in a line break.
    """
    reject_masked(values, name)
    # A list is not converted as a whole: numpy makes strings of numbers next to strings.
    labels = np.asarray(values, dtype=None if hasattr(values, "dtype") else object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            f"{name} must be 1D, got a column of shape {labels.shape}. Use {name}.ravel().",
            DataConversionWarning,
            stacklevel=4,
        )
        labels = labels.ravel()
    if labels.dtype.kind in "biu" or labels.ndim != 1:
        return labels
    items = labels.tolist()
    kinds = {_kind_of(label) for label in items}
    if kinds not in ({"number"}, {"string"}, set()):
        raise ValueError(
            f"{name} must have labels that are all numbers or all strings, got {sorted(kinds)}. "
            "Drop samples without a label, or give them the label -1 (among strings, a string and "
            "classes=)."
        )
    broken = [label for label in items if isinstance(label, str) and label[-1:] in ("\r", "\n")]
    if broken:
        raise ValueError(
            f"{name} must not have labels that end in a line break, got {broken[0]!r}. Use "
            "label.strip()."
        )
    is_array_of_strings = hasattr(values, "dtype") and kinds == {"string"}
    return labels if is_array_of_strings else np.array(items)


def _kind_of(label: Any) -> str:
    """Return "number", "string", "missing value", or the name of another type."""
    if isinstance(label, str):
        return "string"
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return "missing value"
    if isinstance(label, (int, float, np.number, np.bool_)):
        return "number" if np.isfinite(label) else "missing value"
    return type(label).__name__


def block_feature_names(
    names: NDArray[np.object_], driver: OrdinalDriver, classes: NDArray[Any]
) -> NDArray[np.object_]:
    """Return the names of neurons, those in a block named after its class."""
    labels = np.asarray(classes).tolist()
    word = "digit" if labels == list(range(10)) else "class"
    prefixes = [label if isinstance(label, str) else f"{word}{label}" for label in labels]
    block, block_names = driver.block_size(len(names)), names.copy()
    for neuron, class_number in enumerate(driver.neuron_classes(len(names))):
        if class_number >= 0:
            block_names[neuron] = f"{prefixes[class_number]}_{neuron % block + 1}"
    return block_names

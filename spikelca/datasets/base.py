"""What every set of labelled pictures looks like, and the one door to all of them.

A picture of ``h`` by ``w`` pixels is one row of ``h * w`` numbers between 0 (background) and 1
(full ink); a set of them is a matrix, its labels are a vector. Training and test parts come
already divided, always in the same way, so that two results can be compared.

A source is named by a word or a folder. :func:`load_images` turns that name into a loader once,
here, and nothing behind it looks at the word again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FOLDER_VARIABLE = "SPIKELCA_DATA"

Array = TypeVar("Array", bound=NDArray[np.generic])


class DataError(ValueError):
    """Data that cannot be had or cannot be trusted.

    The message says what was found, what was awaited and what to do.

    Examples
    --------
    >>> from spikelca.datasets import load_images
    >>> try:
    ...     load_images("/no/such/folder")
    ... except DataError:
    ...     print("refused")
    refused
    """


def readonly(array: Array) -> Array:
    """Return a view of `array` that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled pictures, divided into a training and a test part.

    Parameters
    ----------
    name : str
        What the data are, in words fit for a figure's caption.
    X_train, X_test : ndarray of shape (n, h * w), float32
        Ink per pixel, from 0 (background) to 1; read-only.
    y_train, y_test : ndarray of shape (n,), int64
        The class of each picture; read-only.
    image_shape : tuple of int
        ``(h, w)`` in pixels.

    Examples
    --------
    >>> from spikelca.datasets import load_images
    >>> digits = load_images("digits")
    >>> digits.X_train.shape, digits.image_shape
    ((1297, 64), (8, 8))
    """

    name: str
    X_train: NDArray[np.float32] = field(repr=False)
    y_train: NDArray[np.int64] = field(repr=False)
    X_test: NDArray[np.float32] = field(repr=False)
    y_test: NDArray[np.int64] = field(repr=False)
    image_shape: tuple[int, int]

    def __post_init__(self) -> None:
        for part in ("X_train", "y_train", "X_test", "y_test"):
            object.__setattr__(self, part, readonly(getattr(self, part)))


def load_images(source: str | os.PathLike[str] = "digits") -> ImageData:
    """Load labelled pictures by the name of their source.

    Parameters
    ----------
    source : {"digits", "mnist"} or path, default="digits"
        ``"digits"``: the 8x8 digits that scikit-learn carries, no network needed.
        ``"mnist"``: MNIST from the folder that the environment variable ``SPIKELCA_DATA`` names;
        when that variable is not set, from OpenML's server or scikit-learn's cache of it.
        Anything else is a folder with MNIST's four IDX files, gzipped or not.

    Returns
    -------
    ImageData
        Its ``name`` says which source it really is.

    Raises
    ------
    DataError
        If the source does not exist, cannot be reached or is not what it claims to be.

    Examples
    --------
    >>> from spikelca.datasets import load_images
    >>> load_images("digits").name
    'digits (scikit-learn, 8x8)'
    """
    return _loader(source)()


def _loader(source: str | os.PathLike[str]) -> Callable[[], ImageData]:
    """Turn the name of a source into the function that loads it."""
    from spikelca.datasets.digits import load_digits_images
    from spikelca.datasets.idx import load_mnist_folder
    from spikelca.datasets.openml import download_mnist

    if source == "digits":
        return load_digits_images
    if source != "mnist":
        folder = _existing_folder(source)
    elif os.environ.get(FOLDER_VARIABLE):
        folder = _folder_of_variable()
    else:
        return download_mnist
    return lambda: load_mnist_folder(folder)


def _existing_folder(source: str | os.PathLike[str]) -> Path:
    folder = Path(source).expanduser()
    if os.fspath(source) and folder.is_dir():
        return folder
    raise DataError(
        f"found no folder {os.fspath(source)!r}; awaited 'digits', 'mnist' or a folder that "
        "holds MNIST's four IDX files. Check the spelling, or use 'digits', which is always here."
    )


def _folder_of_variable() -> Path:
    named = os.environ[FOLDER_VARIABLE]
    folder = Path(named).expanduser()
    if folder.is_dir():
        return folder
    raise DataError(
        f"{FOLDER_VARIABLE} is set to {named!r}, where no folder is; awaited a folder that holds "
        f"MNIST's four IDX files. Correct {FOLDER_VARIABLE}, or unset it to download MNIST."
    )

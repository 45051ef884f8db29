"""Labelled images with a fixed split into training and test images, and the error of all loaders.

An image of ``h`` by ``w`` pixels is one row of ``h * w`` numbers between 0 (background) and 1 (full
ink).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array", bound=NDArray[np.generic])


class DataError(ValueError):
    """Raised if data cannot be loaded or are invalid.

    The message names the source, the reason and a remedy.

    Examples
    --------
    >>> from spikelca.datasets import load_images
    >>> try:
    ...     load_images("/no/such/folder")
    ... except DataError:
    ...     print("no data")
    no data
    """


def readonly_view(array: Array) -> Array:
    """Return a read-only view of `array`."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, split into training and test images.

    Parameters
    ----------
    name : str
        Description of the source, for captions.
    X_train, X_test : ndarray of shape (n_images, h * w), float32
        Pixels from 0 (background) to 1 (full ink); read-only.
    y_train, y_test : ndarray of shape (n_images,), int64
        Class of each image; read-only.
    image_shape : tuple of int
        Height and width in pixels.

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
        for name in ("X_train", "y_train", "X_test", "y_test"):
            object.__setattr__(self, name, readonly_view(getattr(self, name)))

"""What every set of labelled pictures looks like, and the one door to all of them.

A picture of ``h`` by ``w`` pixels is one row of ``h * w`` numbers between 0 (background) and 1
(full ink); a set of them is a matrix, its labels are a vector. Training and test parts come
already divided, always in the same way, so that two results can be compared.

A source is named by a word or a folder. :func:`load_images` turns that name into a loader once,
here, and nothing behind it looks at the word again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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


def readonly_view(array: Array) -> Array:
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
            object.__setattr__(self, part, readonly_view(getattr(self, part)))

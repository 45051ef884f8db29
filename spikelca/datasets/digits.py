"""The 1,797 handwritten digits of scikit-learn, with 8x8 pixels, available offline.

They are not MNIST: they were written by other people, have 17 grey levels (0 to 16), and are easier
to classify. With them, every experiment runs without a download.
"""

from __future__ import annotations

import numpy as np

from spikelca.datasets.base import ImageData

N_TEST = 500
FULL_INK = 16.0


def load_digits_images() -> ImageData:
    """Load the digits of scikit-learn with a fixed, stratified split.

    Returns
    -------
    ImageData
        1,297 training and 500 test images of 8x8 pixels.

    Examples
    --------
    >>> from spikelca.datasets import load_digits_images
    >>> data = load_digits_images()
    >>> data.X_test.shape, float(data.X_test.max())
    ((500, 64), 1.0)
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X = (X / FULL_INK).astype(np.float32)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y.astype(np.int64), test_size=N_TEST, stratify=y, random_state=0
    )
    return ImageData("digits (scikit-learn, 8x8)", X_train, y_train, X_test, y_test, (8, 8))

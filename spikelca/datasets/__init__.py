"""Data to learn from: pictures of digits, printed digits, and a small world with a known answer.

The experiments couple two views of one cause. A *handwritten* digit comes from :func:`load_images`
(scikit-learn's small digits, which need no network, or MNIST from a folder or a download); the
*printed* digit of the same label comes from :func:`printed_digits` and :func:`glyphs_for`. Where a
test must know the true dictionary and the true code, :func:`linked_bars` draws both and then the
data, so that recovery can be measured and not only admired.

Each loader returns a frozen value whose arrays are read-only, and each value says in words what it
is (``ImageData.name``, ``PrintedDigits.font``): a result can always name the data and the face
that made it. Nothing is ever replaced silently by something similar.
"""

from __future__ import annotations

from spikelca.datasets.bars import LinkedBars, linked_bars
from spikelca.datasets.base import DataError, ImageData
from spikelca.datasets.digits import load_digits_images
from spikelca.datasets.glyphs import PrintedDigits, glyphs_for, printed_digits
from spikelca.datasets.idx import load_mnist_folder, read_idx
from spikelca.datasets.load import load_images
from spikelca.datasets.npy import RowFile, read_npy, read_npz
from spikelca.datasets.openml import download_mnist

__all__ = [
    "DataError",
    "ImageData",
    "LinkedBars",
    "PrintedDigits",
    "RowFile",
    "download_mnist",
    "glyphs_for",
    "linked_bars",
    "load_digits_images",
    "load_images",
    "load_mnist_folder",
    "printed_digits",
    "read_idx",
    "read_npy",
    "read_npz",
]

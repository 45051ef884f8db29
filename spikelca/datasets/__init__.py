"""Data sets: handwritten digits, printed digits, and synthetic data with known dictionaries.

The experiments link two modalities. Handwritten digits come from `load_images` (the small digits of
scikit-learn, offline, or MNIST from a folder or a download); the printed digit of the same label
comes from `printed_digits` and `glyphs_for`. `linked_bars` draws true dictionaries, true codes and
the data, so that recovery can be measured.

Each loader returns a frozen value with read-only arrays and a description of its source
(``ImageData.name``, ``PrintedDigits.font``). Missing data or fonts are never replaced by others.
"""

from __future__ import annotations

from spikelca.datasets.bars import LinkedBars, linked_bars
from spikelca.datasets.base import DataError, ImageData
from spikelca.datasets.csv_table import read_csv
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
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
]

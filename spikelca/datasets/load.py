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
from pathlib import Path

from spikelca.datasets.base import DataError, ImageData

FOLDER_VARIABLE = "SPIKELCA_DATA"


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
    return _find_loader(source)()


def _find_loader(source: str | os.PathLike[str]) -> Callable[[], ImageData]:
    """Turn the name of a source into the function that loads it."""
    from spikelca.datasets.digits import load_digits_images
    from spikelca.datasets.idx import load_mnist_folder
    from spikelca.datasets.openml import download_mnist

    if source == "digits":
        return load_digits_images
    if source != "mnist":
        folder = _existing_folder(source)
    elif os.environ.get(FOLDER_VARIABLE):
        folder = _folder_from_variable()
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


def _folder_from_variable() -> Path:
    named = os.environ[FOLDER_VARIABLE]
    folder = Path(named).expanduser()
    if folder.is_dir():
        return folder
    raise DataError(
        f"{FOLDER_VARIABLE} is set to {named!r}, where no folder is; awaited a folder that holds "
        f"MNIST's four IDX files. Correct {FOLDER_VARIABLE}, or unset it to download MNIST."
    )

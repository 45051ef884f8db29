"""Labelled images by the name of their source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from spikelca.datasets.base import DataError, ImageData

FOLDER_VARIABLE = "SPIKELCA_DATA"


def load_images(source: str | os.PathLike[str] = "digits", verify: bool = True) -> ImageData:
    """Load labelled images by the name of their source.

    Parameters
    ----------
    source : {"digits", "mnist"} or path, default="digits"
        ``"digits"`` for the 8x8 digits of scikit-learn, available offline; ``"mnist"`` for MNIST
        from the folder in the environment variable ``SPIKELCA_DATA`` or, if it is not set, from the
        cache of scikit-learn or OpenML; otherwise a folder with the four IDX files of MNIST, with
        or without gzip.
    verify : bool, default=True
        Whether the files of a folder must be those of MNIST, see `load_mnist_folder`.

    Returns
    -------
    ImageData
        Images, and a description of the source in ``name``.

    Raises
    ------
    DataError
        If the source does not exist, cannot be reached or is invalid.

    Examples
    --------
    >>> from spikelca.datasets import load_images
    >>> load_images("digits").name
    'digits (scikit-learn, 8x8)'
    """
    return _find_loader(source, verify)()


def _find_loader(source: str | os.PathLike[str], verify: bool) -> Callable[[], ImageData]:
    """Find the function that loads a source."""
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
    return lambda: load_mnist_folder(folder, verify)


def _existing_folder(source: str | os.PathLike[str]) -> Path:
    folder = Path(source).expanduser()
    if os.fspath(source) and folder.is_dir():
        return folder
    raise DataError(
        "The source must be 'digits', 'mnist' or a folder with the four IDX files of MNIST, got "
        f"{os.fspath(source)!r}. Check the spelling, or use 'digits', which is always available."
    )


def _folder_from_variable() -> Path:
    value = os.environ[FOLDER_VARIABLE]
    folder = Path(value).expanduser()
    if folder.is_dir():
        return folder
    raise DataError(
        f"{FOLDER_VARIABLE} must be a folder with the four IDX files of MNIST, got {value!r}, "
        f"which does not exist. Correct {FOLDER_VARIABLE}, or unset it to download MNIST."
    )

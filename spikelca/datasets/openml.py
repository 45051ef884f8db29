"""MNIST from the network, for those who ask for it.

scikit-learn's ``fetch_openml`` fetches the table ``mnist_784`` and keeps it in its cache
(``~/scikit_learn_data`` unless told otherwise). Three things are added here. Without a network it
would retry for a quarter of a minute and end in an exception from deep below; we ask first whether
the server answers at all, and say within seconds how else to go on. The table arrives as numbers in
text; we turn it back into the bytes of the four original files and compare their digests. And the
first 60,000 rows, which are MNIST's training part, stay the training part.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import threading
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError, ImageData
from spikelca.datasets.idx import check_digest, make_image_data

SERVER = "https://www.openml.org/"
TIMEOUT = 3.0  # seconds that the server has to give a first sign
N_TRAIN = 60_000
SHAPE = (28, 28)
ALTERNATIVES = (
    "Ways on: name a folder that holds MNIST's four IDX files (--data DIR, or the environment "
    "variable SPIKELCA_DATA), or take the digits that need no network (--data digits)."
)


def download_mnist(data_home: str | os.PathLike[str] | None = None) -> ImageData:
    """Load MNIST from scikit-learn's cache, or download it from OpenML into that cache.

    Parameters
    ----------
    data_home : path, optional
        The folder of scikit-learn's cache; its own default when not given.

    Returns
    -------
    ImageData
        60,000 training and 10,000 test pictures, equal byte for byte to the published files.

    Raises
    ------
    DataError
        If there is no network, the server does not answer or fails, or what came is not MNIST.

    Examples
    --------
    >>> from spikelca.datasets import download_mnist
    >>> download_mnist().X_train.shape                                  # doctest: +SKIP
    (60000, 784)
    """
    try:
        table, labels = _fetch(data_home)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zlib.error, HTTPException) as error:
        raise DataError(
            f"MNIST could not be downloaded from {SERVER}: found {type(error).__name__}: {error}; "
            f"awaited the table mnist_784. {ALTERNATIVES}"
        ) from error
    return _verify(table, labels)


def _fetch(data_home: str | os.PathLike[str] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import fetch_openml, get_data_home

    home = Path(get_data_home(data_home))
    if not _is_cached(home):
        _require_server()
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    bunch = fetch_openml(
        "mnist_784", version=1, as_frame=False, parser=parser, data_home=str(home), n_retries=0
    )
    return bunch.data, bunch.target


def _is_cached(home: Path) -> bool:
    return any(file.is_file() for file in (home / "openml.org").rglob("mnist_784*"))


def _require_server() -> None:
    silence = connection_error(SERVER, TIMEOUT)
    if silence:
        raise DataError(
            f"MNIST is not in scikit-learn's cache, and {SERVER} cannot be reached: found "
            f"{silence}; awaited an answer. {ALTERNATIVES}"
        )


def connection_error(url: str, patience: float) -> str:
    """Say why `url` gives no sign within `patience` seconds, or return an empty string.

    The question is asked in a thread of its own, because looking up a name cannot be timed out.
    Any answer counts, even a refusal: it proves that there is a network, directly or by proxy.
    """
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=patience).close()
            answers.put("")
        except HTTPError:
            answers.put("")
        except (OSError, ValueError, HTTPException) as error:
            answers.put(str(getattr(error, "reason", error)) or type(error).__name__)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=patience)
    except queue.Empty:
        return f"no sign within {patience:g} s"


def _verify(table: NDArray[Any], labels: NDArray[Any]) -> ImageData:
    if table.shape != (70_000, 784) or labels.shape != (70_000,):
        raise DataError(
            f"OpenML's mnist_784: found {table.shape} numbers and {labels.shape} labels; awaited "
            f"(70000, 784) and (70000,). {ALTERNATIVES}"
        )
    images = table.astype(np.uint8).reshape(-1, *SHAPE)
    classes = labels.astype(np.uint8)
    parts = {
        "train-images": images[:N_TRAIN],
        "train-labels": classes[:N_TRAIN],
        "t10k-images": images[N_TRAIN:],
        "t10k-labels": classes[N_TRAIN:],
    }
    for role, block in parts.items():
        check_digest(block, role, "OpenML's mnist_784")
    return make_image_data("MNIST (OpenML, SHA-256 verified)", parts, "OpenML's mnist_784")

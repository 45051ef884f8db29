"""MNIST from OpenML, downloaded on request.

``fetch_openml`` of scikit-learn downloads the table ``mnist_784`` and stores it in its cache
(default: ``~/scikit_learn_data``). Three steps are added here. The connection is checked first,
because without a network ``fetch_openml`` retries for about 15 seconds. The table is converted to
the bytes of the four original files, whose digests are checked. The first 60,000 rows are the
training images, as in MNIST.
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
TIMEOUT = 3.0  # seconds until the server must respond
N_TRAIN = 60_000
SHAPE = (28, 28)
ALTERNATIVES = (
    "Alternatives: give a folder with the four IDX files of MNIST (--data DIR, or the environment "
    "variable SPIKELCA_DATA), or use the digits of scikit-learn (--data digits)."
)


def download_mnist(data_home: str | os.PathLike[str] | None = None) -> ImageData:
    """Load MNIST from the cache of scikit-learn, or download it from OpenML into the cache.

    Parameters
    ----------
    data_home : path, optional
        Folder of the cache (default: that of scikit-learn).

    Returns
    -------
    ImageData
        60,000 training and 10,000 test images, verified by SHA-256.

    Raises
    ------
    DataError
        If the server cannot be reached, the download fails, or the data are not MNIST.

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
            f"MNIST could not be downloaded from {SERVER} ({type(error).__name__}: {error}). "
            f"{ALTERNATIVES}"
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
    error = connection_error(SERVER, TIMEOUT)
    if error:
        raise DataError(
            f"MNIST is not in the cache of scikit-learn, and {SERVER} cannot be reached ({error}). "
            f"{ALTERNATIVES}"
        )


def connection_error(url: str, timeout: float) -> str:
    """Describe why `url` does not respond within `timeout` seconds; "" if it responds.

    The request runs in a separate thread, because the name lookup has no timeout. An HTTP error
    counts as a response, because it shows that there is a network, directly or by proxy.
    """
    results: queue.SimpleQueue[str] = queue.SimpleQueue()

    def request() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=timeout).close()
            results.put("")
        except HTTPError:
            results.put("")
        except (OSError, ValueError, HTTPException) as error:
            results.put(str(getattr(error, "reason", error)) or type(error).__name__)

    threading.Thread(target=request, daemon=True).start()
    try:
        return results.get(timeout=timeout)
    except queue.Empty:
        return f"no response within {timeout:g} s"


def _verify(table: NDArray[Any], labels: NDArray[Any]) -> ImageData:
    if table.shape != (70_000, 784) or labels.shape != (70_000,):
        raise DataError(
            "mnist_784 of OpenML must have (70000, 784) numbers and (70000,) labels, got "
            f"{table.shape} and {labels.shape}. {ALTERNATIVES}"
        )
    images = table.astype(np.uint8).reshape(-1, *SHAPE)
    classes = labels.astype(np.uint8)
    arrays = {
        "train-images": images[:N_TRAIN],
        "train-labels": classes[:N_TRAIN],
        "t10k-images": images[N_TRAIN:],
        "t10k-labels": classes[N_TRAIN:],
    }
    for role, array in arrays.items():
        check_digest(array, role, "mnist_784 of OpenML")
    return make_image_data("MNIST (OpenML, SHA-256 verified)", arrays, "mnist_784 of OpenML")

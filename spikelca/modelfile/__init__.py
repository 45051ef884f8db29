"""The model file: arrays and one manifest in a zip, harmless whoever wrote it.

``container``
    bytes: a stored zip of ``.npy`` arrays and a JSON manifest, of which there is exactly one way to
    be written. Knows nothing of circuits.
``layout``
    the bytes around the arrays, and the list of arrays in the manifest.
``arrays``
    arrays by their place in the model.
``values``
    parameters: numbers, words, arrays and the frozen values of this library, by an explicit table.
    No name from a file is ever imported or evaluated.
``circuits``
    circuits, and the state of random generators.

What a *model* is, circuit or estimator, is said above the estimators, in `spikelca.persistence`.
"""

from __future__ import annotations

from spikelca.modelfile.archive import (
    ModelFileError,
    model_file_errors,
    read_archive,
    write_archive,
)
from spikelca.modelfile.circuits import (
    circuit_from_json,
    circuit_to_json,
    rng_from_json,
    rng_to_json,
)
from spikelca.modelfile.values import ArrayStore, from_json, to_json, unpack

__all__ = [
    "ArrayStore",
    "ModelFileError",
    "circuit_from_json",
    "circuit_to_json",
    "from_json",
    "model_file_errors",
    "read_archive",
    "rng_from_json",
    "rng_to_json",
    "to_json",
    "unpack",
    "write_archive",
]

"""Model files: arrays and a JSON manifest in an uncompressed zip, safe to read if untrusted.

``archive``
    Write, validate and read the file. Independent of circuits.
``zip_format``
    Bytes around the arrays, and the list of arrays in the manifest.
``values``
    Parameters (numbers, strings, arrays and the frozen values of this library) as JSON, by an
    explicit table. Names in a file are neither imported nor evaluated.
``circuits``
    Circuits, and the state of random generators, as JSON.

Models (circuits and estimators) are defined in `spikelca.persistence`, which imports estimators.
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
from spikelca.modelfile.values import (
    ArrayStore,
    from_json,
    to_json,
    unpack,
    update_old_fields,
)

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
    "update_old_fields",
    "write_archive",
]

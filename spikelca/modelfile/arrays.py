"""The arrays of a model, each under the name of its place: what is put in, and what is taken out.

A model file knows float32, float64, int64 and bool. Other kinds of number are kept in the one of
these that holds them, beside the name of what they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_STORED_AS = {
    **dict.fromkeys(_INTEGERS, np.dtype(np.int64)),
    "bool": np.dtype(np.bool_),
    "float16": np.dtype(np.float32),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


@dataclass
class Arrays:
    """Arrays by their place in the model; reading takes them out, so that none is left over.

    A place is made of field names and numbers: ``circuit.dictionaries.0.atoms``.
    """

    held: dict[str, NDArray[Any]] = field(default_factory=dict)

    def put(self, place: str, array: NDArray[Any]) -> str:
        """Keep an array; returns the name of its dtype.

        Raises
        ------
        TypeError
            If a model file has no room for such numbers.
        """
        name = array.dtype.newbyteorder("=").name
        if name not in _STORED_AS:
            raise TypeError(
                f"{place} holds {array.dtype} values, which a model file does not; real numbers, "
                "booleans or words were awaited."
            )
        stored = array.astype(_STORED_AS[name])
        if array.dtype.kind == "u" and stored.min(initial=0) < 0:
            raise TypeError(f"{place} holds {name} values beyond int64; smaller ones were awaited.")
        self.held[place] = stored
        return name

    def take(self, place: str, dtype: Any) -> NDArray[Any]:
        """The array of a place, in its own dtype.

        Raises
        ------
        ValueError
            If it is not there, or is stored in another way than its dtype asks for.
        """
        array = self.held.pop(place, None)
        if array is None or dtype not in _STORED_AS or array.dtype != _STORED_AS[dtype]:
            raise ValueError(f"{place}: found no array for {str(dtype)[:40]!r} in the file.")
        if array.dtype.name == dtype:
            return array
        narrow = array.astype(dtype)
        if not np.array_equal(narrow, array):
            raise ValueError(f"{place}: found numbers that {dtype} does not hold.")
        return narrow

    def none_left(self) -> None:
        """Raise ValueError if an array of the file belongs to nothing."""
        if self.held:
            raise ValueError(f"found arrays that belong to nothing: {sorted(self.held)[:5]}.")

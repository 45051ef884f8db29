"""Parameters as JSON and back: numbers, words, arrays, and the frozen values of this library.

=====================================  ==========================================================
value                                  JSON
=====================================  ==========================================================
None, bool, int, float, str            themselves (an infinite or NaN float: ``{"float": "inf"}``)
tuple, list                            ``{"tuple": [..]}``, ``{"list": [..]}``
mapping of str                         ``{"map": [[key, value], ..]}``, in order
array of numbers                       ``{"array": dtype}``; the array is named after its path
array of words                         ``{"words": [..], "dtype": "U" or "O"}``
RandomState                            ``{"mt19937": {..}}``
a frozen value                         ``{"value": "SoftThreshold", "fields": {..}}``
=====================================  ==========================================================

A name in a file chooses a row of the table `SERIALISABLE` or is refused; nothing is imported, evaluated or
looked up elsewhere. The fields of a value are checked against the table, then by the value itself.

The arrays of a model, each under the name of its path: what is put in, and what is taken out.

A model file knows float32, float64, int64 and bool. Other kinds of number are kept in the one of
these that holds them, beside the name of what they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.model import waveforms
from spikelca.model.drivers import CurrentDriver, Fade, OrdinalDriver
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms
from spikelca.model.transfer import HardThreshold, SoftThreshold
from spikelca.model.waveforms import Waveform

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_STORED_AS = {
    **dict.fromkeys(_INTEGERS, np.dtype(np.int64)),
    "bool": np.dtype(np.bool_),
    "float16": np.dtype(np.float32),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


@dataclass
class ArrayStore:
    """Arrays by their path in the model; reading takes them out, so that none is left over.

    A path is made of field names and numbers: ``circuit.dictionaries.0.atoms``.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(self, path: str, array: NDArray[Any]) -> str:
        """Keep an array; returns the name of its dtype.

        Raises
        ------
        TypeError
            If a model file has no room for such numbers.
        """
        name = array.dtype.newbyteorder("=").name
        if name not in _STORED_AS:
            raise TypeError(
                f"{path} holds {array.dtype} values, which a model file does not; real numbers, "
                "booleans or words were awaited."
            )
        stored = array.astype(_STORED_AS[name])
        if not np.array_equal(stored.astype(name), array, equal_nan=array.dtype.kind == "f"):
            raise TypeError(f"{path} holds {name} values beyond int64; smaller ones were awaited.")
        self.arrays[path] = stored
        return name

    def pop(self, path: str, dtype: Any) -> NDArray[Any]:
        """The array of a path, in its own dtype.

        Raises
        ------
        ValueError
            If it is not there, or is stored in another way than its dtype asks for.
        """
        array = self.arrays.pop(path, None)
        if array is None or dtype not in _STORED_AS or array.dtype != _STORED_AS[dtype]:
            raise ValueError(f"{path}: found no array for {str(dtype)[:40]!r} in the file.")
        if array.dtype.name == dtype:
            return array
        narrow = array.astype(dtype)
        if not np.array_equal(narrow, array):
            raise ValueError(f"{path}: found numbers that {dtype} does not hold.")
        return narrow

    def check_all_used(self) -> None:
        """Raise ValueError if an array of the file belongs to nothing."""
        if self.arrays:
            raise ValueError(f"found arrays that belong to nothing: {sorted(self.arrays)[:5]}.")


Types = tuple[type, ...]

_INT: Types = (int,)
_NUMBER: Types = (int, float)
_OPTIONAL_INT: Types = (int, NoneType)
_OPTIONAL_TUPLE: Types = (tuple, NoneType)
_WAVEFORM: Types = (Waveform,)

SERIALISABLE: Mapping[type, Mapping[str, Types]] = {
    RateNeuron: {"tau": _NUMBER},
    SpikingNeuron: {"tau": _NUMBER, "quantum": _NUMBER, "floor": _NUMBER},
    SoftThreshold: {"threshold": _NUMBER, "two_sided": (bool,)},
    HardThreshold: {"threshold": _NUMBER, "two_sided": (bool,)},
    AnalogInput: {},
    PoissonInput: {"quantum": _NUMBER, "seed": _INT},
    SpikingResidual: {"threshold": _NUMBER},
    Hebbian: {"rate": _NUMBER, "memory": _NUMBER},
    Contrast: {"amount": _NUMBER, "share": _NUMBER, "rate": _NUMBER, "recall": _NUMBER},
    IdleAtoms: {"source": (str,), "patience": _NUMBER},
    Fade: {"floor": _NUMBER, "until": _NUMBER},
    OrdinalDriver: {
        "n_classes": _INT,
        "block": _OPTIONAL_INT,
        "reading": (str,),
        "excitation": _NUMBER,
        "inhibition": _NUMBER,
        "gain": _NUMBER,
        "fade": (Fade, NoneType),
    },
    CurrentDriver: {"waveform": _WAVEFORM, "neurons": _OPTIONAL_TUPLE, "samples": _OPTIONAL_TUPLE},
    waveforms.Constant: {"level": _NUMBER},
    waveforms.Pulse: {"height": _NUMBER, "start": _NUMBER, "stop": _NUMBER},
    waveforms.Ramp: {"height": _NUMBER, "start": _NUMBER, "stop": _NUMBER},
    waveforms.Sine: {"amplitude": _NUMBER, "frequency": _NUMBER, "phase": _NUMBER},
    waveforms.Noise: {"sd": _NUMBER, "seed": _INT, "hold": _NUMBER},
    waveforms.Array: {"array": (np.ndarray,), "dt": _NUMBER},
    waveforms.Sum: {"first": _WAVEFORM, "second": _WAVEFORM},
}
"""Every frozen value that a model file can hold, and the types of its fields."""

_BY_NAME = {cls.__name__: cls for cls in SERIALISABLE}


def unpack(found: Any, path: str, *names: str) -> list[Any]:
    """The values of a JSON object that has exactly these names.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not isinstance(found, dict) or set(found) != set(names):
        raise ValueError(f"{path}: found {str(found)[:80]}; the entries {names} were awaited.")
    return [found[name] for name in names]


def to_json(value: Any, path: str, arrays: ArrayStore) -> Any:
    """A value as JSON; its arrays go to ``arrays``.

    Raises
    ------
    TypeError
        If a model file cannot hold it: it is a function, or of a class that is not in the table.
    """
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, (list, tuple)):
        items = [to_json(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, Mapping):
        return {"map": _pairs_to_json(value, path, arrays)}
    if isinstance(value, np.ndarray):
        return _array_to_json(value, path, arrays)
    if isinstance(value, np.random.RandomState):
        return {"mt19937": _random_state_to_json(value, path, arrays)}
    return _known_to_json(value, path, arrays)


def _pairs_to_json(value: Mapping[Any, Any], path: str, arrays: ArrayStore) -> list[list[Any]]:
    strange = [key for key in value if not isinstance(key, str)]
    if strange:
        raise TypeError(f"{path} has the keys {strange[:5]}; words were awaited.")
    return [
        [str(key), to_json(item, f"{path}.{i}", arrays)]
        for i, (key, item) in enumerate(value.items())
    ]


def _array_to_json(value: NDArray[Any], path: str, arrays: ArrayStore) -> dict[str, Any]:
    if value.dtype.kind not in "UO":
        return {"array": arrays.add(path, value)}
    words = value.tolist()
    if value.ndim != 1 or not all(isinstance(word, str) for word in words):
        raise TypeError(f"{path} holds objects; numbers, or a list of words, were awaited.")
    return {"words": words, "dtype": value.dtype.kind}


def _random_state_to_json(
    value: np.random.RandomState, path: str, arrays: ArrayStore
) -> dict[str, Any]:
    name, key, position, has_gauss, gauss = value.get_state()
    if name != "MT19937":
        raise TypeError(f"{path} is a RandomState over {name}; MT19937 was awaited.")
    return {
        "key": arrays.add(f"{path}.key", np.asarray(key)),
        "position": int(position),
        "has_gauss": int(has_gauss),
        "gauss": float(gauss),
    }


def _known_to_json(value: Any, path: str, arrays: ArrayStore) -> dict[str, Any]:
    cls = type(value)
    if cls in SERIALISABLE:
        told = {n: to_json(getattr(value, n), f"{path}.{n}", arrays) for n in SERIALISABLE[cls]}
        return {"value": cls.__name__, "fields": told}
    function = callable(value) or isinstance(value, waveforms.Callable)
    raise TypeError(
        f"{path} is {_describe(value)}, a function, which a model file cannot hold: a file that "
        "carried code would have to be trusted. Put numbers in its path."
        if function
        else f"{path} is {_describe(value)}, which a model file cannot hold; numbers, words, arrays "
        f"and values of {', '.join(_BY_NAME)} were awaited."
    )


def _describe(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def from_json(found: Any, path: str, arrays: ArrayStore) -> Any:
    """The value that `to_json` turned into JSON.

    Raises
    ------
    ValueError
        If it is nothing that `to_json` writes.
    """
    if found is None or isinstance(found, (bool, int, str)):
        return found
    if isinstance(found, float):
        if not math.isfinite(found):
            raise ValueError(f"{path}: found a number beyond float64.")
        return found
    if isinstance(found, dict):
        for key, (names, read) in _READERS.items():
            if key in found:
                return read(*unpack(found, path, *names), path, arrays)
    raise ValueError(f"{path}: found {str(found)[:80]}, which no value is written as.")


def _float_from_json(word: Any, path: str, arrays: ArrayStore) -> float:
    if word not in ("inf", "-inf", "nan"):
        raise ValueError(f"{path}: found the float {str(word)[:40]!r}; inf, -inf or nan awaited.")
    return float(word)


def _list_from_json(items: Any, path: str, arrays: ArrayStore) -> list[Any]:
    if not isinstance(items, list):
        raise ValueError(f"{path}: found {str(items)[:80]}; a list was awaited.")
    return [from_json(item, f"{path}.{i}", arrays) for i, item in enumerate(items)]


def _tuple_from_json(items: Any, path: str, arrays: ArrayStore) -> tuple[Any, ...]:
    return tuple(_list_from_json(items, path, arrays))


def _map_from_json(pairs: Any, path: str, arrays: ArrayStore) -> dict[str, Any]:
    sound = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    )
    if not sound or len({key for key, _ in pairs}) != len(pairs):
        raise ValueError(f"{path}: found {str(pairs)[:80]}; pairs of a word and a value awaited.")
    return {key: from_json(v, f"{path}.{i}", arrays) for i, (key, v) in enumerate(pairs)}


def _array_from_json(dtype: Any, path: str, arrays: ArrayStore) -> NDArray[Any]:
    return arrays.pop(path, dtype if isinstance(dtype, str) else None)


def _words_from_json(words: Any, dtype: Any, path: str, arrays: ArrayStore) -> NDArray[Any]:
    sound = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not sound or dtype not in ("U", "O"):
        raise ValueError(f"{path}: found {str(words)[:80]}; a list of words was awaited.")
    # An array of words takes as much for each as for the longest.
    if dtype == "U" and 4 * len(words) * max(map(len, words), default=0) > 1 << 24:
        raise ValueError(f"{path}: found words that would take more than 16 MB.")
    return np.array(words, dtype=object if dtype == "O" else np.str_)


def _random_state_from_json(state: Any, path: str, arrays: ArrayStore) -> np.random.RandomState:
    key, position, has_gauss, gauss = unpack(state, path, "key", "position", "has_gauss", "gauss")
    words = _array_from_json(key, f"{path}.key", arrays)
    whole = type(position) is int and 0 <= position <= 624 and has_gauss in (0, 1)
    if key != "uint32" or words.shape != (624,) or not whole or not isinstance(gauss, float):
        raise ValueError(f"{path}: found no state of a Mersenne twister.")
    made = np.random.RandomState()
    made.set_state(("MT19937", words, position, int(has_gauss), gauss))
    return made


def _known_from_json(name: Any, told: Any, path: str, arrays: ArrayStore) -> Any:
    cls = _BY_NAME.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"{path}: found a value of {str(name)[:40]!r}; one of {list(_BY_NAME)}.")
    awaited = SERIALISABLE[cls]
    found = dict(zip(awaited, unpack(told, path, *awaited), strict=True))
    made = {n: from_json(item, f"{path}.{n}", arrays) for n, item in found.items()}
    for n, types in awaited.items():
        if not isinstance(made[n], types) or (isinstance(made[n], bool) and bool not in types):
            names = " or ".join(t.__name__ for t in types)
            raise ValueError(f"{path}.{n}: found {str(made[n])[:60]}; {names} was awaited.")
    return cls(**made)


_READERS: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "float": (("float",), _float_from_json),
    "list": (("list",), _list_from_json),
    "tuple": (("tuple",), _tuple_from_json),
    "map": (("map",), _map_from_json),
    "array": (("array",), _array_from_json),
    "words": (("words", "dtype"), _words_from_json),
    "mt19937": (("mt19937",), _random_state_from_json),
    "value": (("value", "fields"), _known_from_json),
}

"""Parameters as JSON: numbers, strings, arrays and the frozen values of this library.

=====================================  ==========================================================
value                                  JSON
=====================================  ==========================================================
None, bool, int, float, str            themselves (an infinite or NaN float: ``{"float": "inf"}``)
tuple, list                            ``{"tuple": [..]}``, ``{"list": [..]}``
mapping of str                         ``{"map": [[key, value], ..]}``, in order
array of numbers                       ``{"array": dtype}``; the array is named after its path
array of strings                       ``{"words": [..], "dtype": "U" or "O"}``
RandomState                            ``{"mt19937": {..}}``
frozen value                           ``{"value": "SoftThreshold", "fields": {..}}``
=====================================  ==========================================================

A name in a file selects a row of the table `SERIALISABLE` or is rejected; nothing is imported or
evaluated. The fields of a value are checked with the table, then by the value itself.

Arrays are stored as float32, float64, int64 or bool. Arrays of other dtypes are stored in the one
of these that represents their numbers exactly, with the name of their dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    """Arrays by their path in the model; reading removes them, so that unused ones are detected.

    A path consists of field names and indices, as ``circuit.dictionaries.0.atoms``.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(self, path: str, array: NDArray[Any]) -> str:
        """Add an array and return the name of its dtype.

        Raises
        ------
        TypeError
            If the dtype is not supported.
        """
        name = array.dtype.newbyteorder("=").name
        if name not in _STORED_AS:
            raise TypeError(
                f"{path} must contain real numbers, booleans or strings, got dtype {array.dtype}, "
                "which a model file cannot hold."
            )
        stored = array.astype(_STORED_AS[name])
        if array.dtype.kind == "u" and stored.min(initial=0) < 0:
            raise TypeError(f"{path} must contain values that fit into int64, got larger {name}.")
        self.arrays[path] = stored
        return name

    def pop(self, path: str, dtype: Any) -> NDArray[Any]:
        """Remove and return the array of a path, in its original dtype.

        Raises
        ------
        ValueError
            If it is missing, or is not stored in the dtype that is prescribed for the original.
        """
        array = self.arrays.pop(path, None)
        if array is None or dtype not in _STORED_AS or array.dtype != _STORED_AS[dtype]:
            raise ValueError(f"{path}: no array of dtype {str(dtype)[:40]!r} in the file.")
        if array.dtype.name == dtype:
            return array
        narrow = array.astype(dtype)
        if not np.array_equal(narrow, array):
            raise ValueError(f"{path} must contain numbers that {dtype} can represent.")
        return narrow

    def check_all_used(self) -> None:
        """Raise ValueError if there are unused arrays."""
        if self.arrays:
            raise ValueError(f"unused arrays in the file: {sorted(self.arrays)[:5]}.")


Types = tuple[type, ...]

_INT: Types = (int,)
_NUMBER: Types = (int, float)
_OPTIONAL_INT: Types = (int, NoneType)
_OPTIONAL_NUMBER: Types = (int, float, NoneType)
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
    Hebbian: {"rate": _NUMBER, "decay": _NUMBER, "non_negative": (bool,)},
    Contrast: {"kappa": _NUMBER, "fraction": _NUMBER, "rate": _NUMBER, "recall_rate": _NUMBER},
    IdleAtoms: {"source": (str,), "patience": _NUMBER},
    Fade: {"floor": _NUMBER, "until": _NUMBER},
    OrdinalDriver: {
        "n_classes": _INT,
        "block": _OPTIONAL_INT,
        "mode": (str,),
        "excitation": _NUMBER,
        "inhibition": _NUMBER,
        "gain": _NUMBER,
        "fade": (Fade, NoneType),
    },
    CurrentDriver: {
        "waveform": _WAVEFORM,
        "neurons": _OPTIONAL_TUPLE,
        "samples": _OPTIONAL_TUPLE,
        "shared": (bool,),
    },
    waveforms.Constant: {"level": _NUMBER},
    waveforms.Pulse: {"height": _NUMBER, "start": _NUMBER, "stop": _NUMBER},
    waveforms.PulseTrain: {
        "height": _NUMBER,
        "width": _NUMBER,
        "period": _NUMBER,
        "start": _NUMBER,
        "stop": _OPTIONAL_NUMBER,
    },
    waveforms.Ramp: {"height": _NUMBER, "start": _NUMBER, "stop": _NUMBER},
    waveforms.Sine: {"amplitude": _NUMBER, "frequency": _NUMBER, "phase": _NUMBER},
    waveforms.Chirp: {
        "amplitude": _NUMBER,
        "first": _NUMBER,
        "last": _NUMBER,
        "duration": _NUMBER,
    },
    waveforms.WhiteNoise: {"intensity": _NUMBER, "seed": _INT},
    waveforms.OrnsteinUhlenbeck: {"sd": _NUMBER, "tau": _NUMBER, "seed": _INT, "hold": _NUMBER},
    waveforms.Noise: {"sd": _NUMBER, "seed": _INT, "hold": _NUMBER},
    waveforms.Array: {"array": (np.ndarray,), "dt": _NUMBER},
    waveforms.Sum: {"first": _WAVEFORM, "second": _WAVEFORM},
    waveforms.Scaled: {"waveform": _WAVEFORM, "factor": _NUMBER},
}
"""Frozen values that a model file can contain, and the types of their fields."""

_BY_NAME = {cls.__name__: cls for cls in SERIALISABLE}

OLD_FIELDS: Mapping[type, Mapping[str, str]] = {
    OrdinalDriver: {"reading": "mode"},
    Hebbian: {"memory": "decay"},
    Contrast: {"amount": "kappa", "share": "fraction", "recall": "recall_rate"},
}
"""Names of fields in files up to schema 2, and their present names."""

# Noise of a driver without `samples` was the same in all samples.
ADDED_FIELDS: Mapping[type, Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    CurrentDriver: {"shared": lambda fields: fields.get("samples") is None},
    Hebbian: {"non_negative": lambda fields: False},
}
"""Fields that older files do not have, and their values there."""


def unpack(data: Any, path: str, *names: str) -> list[Any]:
    """Return the values of a JSON object that has exactly these names.

    Raises
    ------
    ValueError
        If it has other names, or is not an object.
    """
    if not isinstance(data, dict) or set(data) != set(names):
        raise ValueError(f"{path} must have the entries {names}, got {str(data)[:80]}.")
    return [data[name] for name in names]


def to_json(value: Any, path: str, arrays: ArrayStore) -> Any:
    """Convert a value to JSON and add its arrays to ``arrays``.

    Raises
    ------
    TypeError
        If it is a function, or of a class that is not in the table.
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
    return _value_to_json(value, path, arrays)


def _pairs_to_json(value: Mapping[Any, Any], path: str, arrays: ArrayStore) -> list[list[Any]]:
    invalid = [key for key in value if not isinstance(key, str)]
    if invalid:
        raise TypeError(f"The keys of {path} must be strings, got {invalid[:5]}.")
    return [
        [str(key), to_json(item, f"{path}.{i}", arrays)]
        for i, (key, item) in enumerate(value.items())
    ]


def _array_to_json(value: NDArray[Any], path: str, arrays: ArrayStore) -> dict[str, Any]:
    if value.dtype.kind not in "UO":
        return {"array": arrays.add(path, value)}
    words = value.tolist()
    if value.ndim != 1 or not all(isinstance(word, str) for word in words):
        raise TypeError(f"{path} must contain numbers or a list of strings, got objects.")
    return {"words": words, "dtype": value.dtype.kind}


def _random_state_to_json(
    value: np.random.RandomState, path: str, arrays: ArrayStore
) -> dict[str, Any]:
    state = value.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise TypeError(
            f"{path} must be a RandomState over MT19937, got {state['bit_generator']}. Take "
            "numpy.random.RandomState(seed)."
        )
    return {
        "key": arrays.add(f"{path}.key", np.asarray(state["state"]["key"])),
        "position": int(state["state"]["pos"]),
        "has_gauss": int(state["has_gauss"]),
        "gauss": float(state["gauss"]),
    }


def _value_to_json(value: Any, path: str, arrays: ArrayStore) -> dict[str, Any]:
    cls = type(value)
    if cls in SERIALISABLE:
        fields = {n: to_json(getattr(value, n), f"{path}.{n}", arrays) for n in SERIALISABLE[cls]}
        return {"value": cls.__name__, "fields": fields}
    if callable(value) or isinstance(value, waveforms.Callable):
        raise TypeError(
            f"{path} must not be a function, got {_describe(value)}. A model file cannot hold "
            "code, because code from a file is unsafe. Use numbers instead."
        )
    raise TypeError(
        f"{path} must be a number, string, array or a value of {', '.join(_BY_NAME)}, got "
        f"{_describe(value)}, which a model file cannot hold."
    )


def _describe(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def from_json(data: Any, path: str, arrays: ArrayStore) -> Any:
    """Restore a value from the JSON of `to_json`.

    Raises
    ------
    ValueError
        If `to_json` does not write such JSON.
    """
    if data is None or isinstance(data, (bool, int, str)):
        return data
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ValueError(f"{path} must be a number in the range of float64.")
        return data
    if isinstance(data, dict):
        for key, (names, read) in _READERS.items():
            if key in data:
                return read(*unpack(data, path, *names), path, arrays)
    raise ValueError(f"{path} must be a value in the form of this file, got {str(data)[:80]}.")


def _float_from_json(word: Any, path: str, arrays: ArrayStore) -> float:
    if word not in ("inf", "-inf", "nan"):
        raise ValueError(f"{path} must be the float inf, -inf or nan, got {str(word)[:40]!r}.")
    return float(word)


def _list_from_json(items: Any, path: str, arrays: ArrayStore) -> list[Any]:
    if not isinstance(items, list):
        raise ValueError(f"{path} must be a list, got {str(items)[:80]}.")
    return [from_json(item, f"{path}.{i}", arrays) for i, item in enumerate(items)]


def _tuple_from_json(items: Any, path: str, arrays: ArrayStore) -> tuple[Any, ...]:
    return tuple(_list_from_json(items, path, arrays))


def _map_from_json(pairs: Any, path: str, arrays: ArrayStore) -> dict[str, Any]:
    is_valid = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    )
    if not is_valid or len({key for key, _ in pairs}) != len(pairs):
        raise ValueError(f"{path} must be pairs of a string and a value, got {str(pairs)[:80]}.")
    return {key: from_json(v, f"{path}.{i}", arrays) for i, (key, v) in enumerate(pairs)}


def _array_from_json(dtype: Any, path: str, arrays: ArrayStore) -> NDArray[Any]:
    return arrays.pop(path, dtype if isinstance(dtype, str) else None)


def _words_from_json(words: Any, dtype: Any, path: str, arrays: ArrayStore) -> NDArray[Any]:
    is_valid = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not is_valid or dtype not in ("U", "O"):
        raise ValueError(f"{path} must be a list of strings, got {str(words)[:80]}.")
    # Each element of a string array takes the memory of the longest string.
    if dtype == "U" and 4 * len(words) * max(map(len, words), default=0) > 1 << 24:
        raise ValueError(f"{path} must be strings that take at most 16 MB of memory.")
    return np.array(words, dtype=object if dtype == "O" else np.str_)


def _random_state_from_json(state: Any, path: str, arrays: ArrayStore) -> np.random.RandomState:
    key, position, has_gauss, gauss = unpack(state, path, "key", "position", "has_gauss", "gauss")
    words = _array_from_json(key, f"{path}.key", arrays)
    is_valid = type(position) is int and 0 <= position <= 624 and has_gauss in (0, 1)
    if key != "uint32" or words.shape != (624,) or not is_valid or not isinstance(gauss, float):
        raise ValueError(f"{path} must be a state of MT19937.")
    random_state = np.random.RandomState()
    random_state.set_state(("MT19937", words, position, int(has_gauss), gauss))
    return random_state


def update_old_fields(data: dict[str, Any]) -> dict[str, Any]:
    """Replace old names of fields in the JSON of a value, and add fields of later versions."""
    cls, fields = _BY_NAME.get(str(data.get("value"))), data.get("fields")
    if cls is None or not isinstance(fields, dict):
        return data
    new_names = OLD_FIELDS.get(cls, {})
    if not set(fields) & set(new_names.values()):
        fields = {new_names.get(key, key): value for key, value in fields.items()}
    added = {k: v(fields) for k, v in ADDED_FIELDS.get(cls, {}).items() if k not in fields}
    return {**data, "fields": fields | added}


def _value_from_json(name: Any, fields: Any, path: str, arrays: ArrayStore) -> Any:
    cls = _BY_NAME.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(
            f"{path} must be a value of one of {list(_BY_NAME)}, got {str(name)[:40]!r}."
        )
    types = SERIALISABLE[cls]
    items = unpack(update_old_fields({"value": name, "fields": fields})["fields"], path, *types)
    values = {
        field_name: from_json(item, f"{path}.{field_name}", arrays)
        for field_name, item in zip(types, items, strict=True)
    }
    for field_name, allowed in types.items():
        value = values[field_name]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            names = " or ".join(t.__name__ for t in allowed)
            raise ValueError(f"{path}.{field_name} must be {names}, got {str(value)[:60]}.")
    return cls(**values)


_READERS: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "float": (("float",), _float_from_json),
    "list": (("list",), _list_from_json),
    "tuple": (("tuple",), _tuple_from_json),
    "map": (("map",), _map_from_json),
    "array": (("array",), _array_from_json),
    "words": (("words", "dtype"), _words_from_json),
    "mt19937": (("mt19937",), _random_state_from_json),
    "value": (("value", "fields"), _value_from_json),
}

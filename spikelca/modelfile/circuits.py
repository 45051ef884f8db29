"""Circuits as JSON and arrays, and the state of random generators.

A learned circuit is restored bit-identically. Atoms that became equal during learning are accepted,
although a new circuit rejects equal atoms. Shapes, precisions, drivers, the state of the learning
rule and the finiteness of all numbers are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.circuit import Circuit
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import Driver
from spikelca.model.inputs import AnalogInput, Inputs
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.plasticity import Hebbian, IdleAtoms, PlasticityState
from spikelca.model.transfer import Transfer
from spikelca.modelfile.values import ArrayStore, from_json, to_json, unpack
from spikelca.utils.validation import FLOAT_DTYPES, check_finite

_FIELDS = ("neuron", "transfer", "dictionaries", "drivers", "wiring", "idle", "plasticity")
_DICTIONARY_FIELDS = ("name", "atoms", "weight", "plasticity", "inputs")
_KINDS: Mapping[str, Any] = {
    "neuron": (RateNeuron, SpikingNeuron),
    "transfer": Transfer,
    "idle": IdleAtoms,
}


def circuit_to_json(circuit: Circuit, path: str, arrays: ArrayStore) -> dict[str, Any]:
    """Convert a circuit to JSON and add its arrays to ``arrays``.

    Raises
    ------
    TypeError
        If a driver is of a class that is not in the table of values, or contains a function.
    """
    data = {
        name: to_json(getattr(circuit, name), f"{path}.{name}", arrays)
        for name in ("neuron", "transfer", "drivers", "wiring", "idle")
    }
    data["dictionaries"] = [
        _dictionary_to_json(d, f"{path}.dictionaries.{i}", arrays)
        for i, d in enumerate(circuit.dictionaries)
    ]
    assert circuit.plasticity is not None
    data["plasticity"] = _state_to_json(circuit.plasticity, f"{path}.plasticity", arrays)
    return data


def _dictionary_to_json(d: Dictionary, path: str, arrays: ArrayStore) -> dict[str, Any]:
    names = _DICTIONARY_FIELDS
    return {name: to_json(getattr(d, name), f"{path}.{name}", arrays) for name in names}


def _state_to_json(state: PlasticityState, path: str, arrays: ArrayStore) -> dict[str, Any]:
    names = ("usage", "silent", "redrawn")
    return {name: to_json(getattr(state, name), f"{path}.{name}", arrays) for name in names}


def circuit_from_json(data: Any, path: str, arrays: ArrayStore) -> Circuit:
    """Restore a circuit from the JSON of `circuit_to_json`.

    Raises
    ------
    ValueError
        If a field is missing or of the wrong type, or fields do not match each other.
    """
    fields = dict(zip(_FIELDS, unpack(data, path, *_FIELDS), strict=True))
    neuron, transfer, idle = (
        _check_type(kind, from_json(fields[name], f"{path}.{name}", arrays), f"{path}.{name}")
        for name, kind in _KINDS.items()
    )
    dictionaries = _dictionaries_from_json(fields["dictionaries"], f"{path}.dictionaries", arrays)
    n_neurons = dictionaries[0].n_neurons
    drivers = _drivers_from_json(fields["drivers"], f"{path}.drivers", arrays)
    for driver in drivers:
        driver.check(n_neurons, transfer)
    state = _state_from_json(fields["plasticity"], f"{path}.plasticity", arrays, n_neurons)
    # The constructor rejects equal atoms, so a circuit of one neuron checks the other fields.
    template = Circuit(neuron, transfer, [Dictionary("one", np.eye(1))], (), fields["wiring"], idle)
    return template._replace(dictionaries=dictionaries, drivers=drivers, plasticity=state)


def _check_type(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(k.__name__ for k in kinds)
        raise ValueError(f"{path} must be {names}, got {str(value)[:80]}.")
    return value


def _drivers_from_json(data: Any, path: str, arrays: ArrayStore) -> tuple[Driver, ...]:
    drivers = _check_type(tuple, from_json(data, path, arrays), path)
    return tuple(_check_type(Driver, driver, path) for driver in drivers)


def _dictionaries_from_json(data: Any, path: str, arrays: ArrayStore) -> tuple[Dictionary, ...]:
    if not isinstance(data, list) or not data:
        raise ValueError(f"{path} must have at least one dictionary, got {str(data)[:80]}.")
    dictionaries = tuple(
        _dictionary_from_json(d, f"{path}.{i}", arrays) for i, d in enumerate(data)
    )
    kinds = {(d.n_neurons, d.atoms.dtype) for d in dictionaries}
    names = [d.name for d in dictionaries]
    if len(kinds) > 1 or len(set(names)) < len(names):
        raise ValueError(
            f"{path} must have one number of neurons, one precision and different names, got "
            f"{sorted(map(str, kinds))[:4]} and names {str(names)[:80]}."
        )
    return dictionaries


def _dictionary_from_json(data: Any, path: str, arrays: ArrayStore) -> Dictionary:
    if isinstance(data, dict):  # schema 1 has analog inputs only, and no field for them
        data = {"inputs": to_json(AnalogInput(), path, arrays), **data}
    items = unpack(data, path, *_DICTIONARY_FIELDS)
    name, atoms, weight, rule, inputs = (
        from_json(item, f"{path}.{key}", arrays)
        for key, item in zip(_DICTIONARY_FIELDS, items, strict=True)
    )
    _check_type(str, name, path)
    _check_type(float, weight, path)
    _check_type((Hebbian, type(None)), rule, path)
    _check_type(Inputs, inputs, path)
    _check_type(np.ndarray, atoms, path)
    if atoms.ndim != 2 or atoms.dtype not in FLOAT_DTYPES:
        raise ValueError(
            f"The atoms of {path} must be a 2D array of floats, got shape {atoms.shape} and dtype "
            f"{atoms.dtype}."
        )
    check_finite(atoms, path)
    return Dictionary(name, np.ones((1, 1), atoms.dtype), weight, rule, inputs)._with_atoms(atoms)


def _state_from_json(data: Any, path: str, arrays: ArrayStore, n_neurons: int) -> PlasticityState:
    usage, silent, redrawn = unpack(data, path, "usage", "silent", "redrawn")
    h: NDArray[Any] = from_json(usage, f"{path}.usage", arrays)
    n_silent: NDArray[Any] = from_json(silent, f"{path}.silent", arrays)
    for array, dtype in ((h, np.float64), (n_silent, np.int64)):
        _check_type(np.ndarray, array, path)
        if array.shape != (n_neurons,) or array.dtype != dtype or not (array >= 0).all():
            raise ValueError(
                f"The arrays of {path} must have {n_neurons} numbers >= 0 of dtype "
                f"{np.dtype(dtype)}, got shape {array.shape} and dtype {array.dtype}."
            )
    if type(redrawn) is not int or redrawn < 0 or not np.isfinite(h).all():
        raise ValueError(f"{path} must have finite usage and a count >= 0 of redrawn atoms.")
    return PlasticityState(h, n_silent, redrawn)


def rng_to_json(state: Any) -> dict[str, Any]:
    """Convert the state of a PCG64 generator (``rng.bit_generator.state``) to JSON."""
    integers = state["state"]
    return {
        "state": str(integers["state"]),
        "inc": str(integers["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def rng_from_json(data: Any, path: str) -> dict[str, Any]:
    """Restore a state from the JSON of `rng_to_json`.

    Raises
    ------
    ValueError
        If it is not a valid state.
    """
    names = ("state", "inc", "has_uint32", "uinteger")
    state, inc, has_uint32, uinteger = unpack(data, path, *names)
    digits = [w for w in (state, inc) if isinstance(w, str) and w.isdecimal() and len(w) < 40]
    large = [int(word) for word in digits]
    large_valid = len(large) == 2 and all(n < 1 << 128 for n in large) and large[1] % 2 == 1
    small_valid = all(type(n) is int and 0 <= n < 1 << 32 for n in (has_uint32, uinteger))
    if not (large_valid and small_valid and has_uint32 <= 1):
        raise ValueError(f"{path} must be a state of PCG64, got {str(data)[:80]}.")
    return {
        "bit_generator": "PCG64",
        "state": dict(zip(("state", "inc"), large, strict=True)),
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }

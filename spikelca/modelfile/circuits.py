"""Circuits as JSON and arrays, and the state of random generators.

A learned circuit is read back as it was, to the last bit: atoms are not brought to unit norm again,
and two atoms that learning has made equal stay equal. What must fit together is checked: shapes,
precisions, the drivers, the memory of the learning rule, finite numbers throughout.
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

_PARTS = ("neuron", "transfer", "dictionaries", "drivers", "wiring", "idle", "plasticity")
_DICTIONARY_FIELDS = ("name", "atoms", "weight", "plasticity", "inputs")
_KINDS: Mapping[str, Any] = {
    "neuron": (RateNeuron, SpikingNeuron),
    "transfer": Transfer,
    "idle": IdleAtoms,
}


def circuit_to_json(circuit: Circuit, path: str, arrays: ArrayStore) -> dict[str, Any]:
    """A circuit as JSON; its arrays go to ``arrays``.

    Raises
    ------
    TypeError
        If a driver is of a class that a model file does not know, or holds a function.
    """
    at = f"{path}.dictionaries"
    told = {
        name: to_json(getattr(circuit, name), f"{path}.{name}", arrays)
        for name in ("neuron", "transfer", "drivers", "wiring", "idle")
    }
    told["dictionaries"] = [
        _dictionary_to_json(d, f"{at}.{i}", arrays) for i, d in enumerate(circuit.dictionaries)
    ]
    assert circuit.plasticity is not None
    told["plasticity"] = _state_to_json(circuit.plasticity, f"{path}.plasticity", arrays)
    return told


def _dictionary_to_json(d: Dictionary, path: str, arrays: ArrayStore) -> dict[str, Any]:
    names = _DICTIONARY_FIELDS
    return {name: to_json(getattr(d, name), f"{path}.{name}", arrays) for name in names}


def _state_to_json(state: PlasticityState, path: str, arrays: ArrayStore) -> dict[str, Any]:
    names = ("usage", "silent", "redrawn")
    return {name: to_json(getattr(state, name), f"{path}.{name}", arrays) for name in names}


def circuit_from_json(found: Any, path: str, arrays: ArrayStore) -> Circuit:
    """The circuit that `circuit_to_json` turned into JSON.

    Raises
    ------
    ValueError
        If a part is missing or of the wrong kind, or parts do not fit together.
    """
    told = dict(zip(_PARTS, unpack(found, path, *_PARTS), strict=True))
    neuron, transfer, idle = (
        _check_type(kind, from_json(told[name], f"{path}.{name}", arrays), f"{path}.{name}")
        for name, kind in _KINDS.items()
    )
    dictionaries = _read_dictionaries(told["dictionaries"], f"{path}.dictionaries", arrays)
    n_neurons = dictionaries[0].n_neurons
    drivers = _read_drivers(told["drivers"], f"{path}.drivers", arrays)
    for driver in drivers:
        driver.check(n_neurons, transfer)
    state = _read_state(told["plasticity"], f"{path}.plasticity", arrays, n_neurons)
    # A circuit of one cell checks what is not an array; the rest takes its atoms as they are.
    one = Circuit(neuron, transfer, [Dictionary("one", np.eye(1))], (), told["wiring"], idle)
    return one._replace(dictionaries=dictionaries, drivers=drivers, plasticity=state)


def _check_type(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{path}: found {str(value)[:80]}, which belongs elsewhere.")
    return value


def _read_drivers(found: Any, path: str, arrays: ArrayStore) -> tuple[Driver, ...]:
    drivers = _check_type(tuple, from_json(found, path, arrays), path)
    return tuple(_check_type(Driver, driver, path) for driver in drivers)


def _read_dictionaries(found: Any, path: str, arrays: ArrayStore) -> tuple[Dictionary, ...]:
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}: found {str(found)[:80]}; one dictionary or more was awaited.")
    made = tuple(_read_dictionary(d, f"{path}.{i}", arrays) for i, d in enumerate(found))
    rows = {(d.n_neurons, d.atoms.dtype) for d in made}
    if len(rows) > 1 or len({d.name for d in made}) < len(made):
        raise ValueError(
            f"{path}: found dictionaries of {sorted(map(str, rows))[:4]}; one number of neurons, "
            "one precision and different names were awaited."
        )
    return made


def _read_dictionary(found: Any, path: str, arrays: ArrayStore) -> Dictionary:
    if isinstance(found, dict):  # schema 1 knew one kind of input cells, and did not name it
        found = {"inputs": to_json(AnalogInput(), path, arrays), **found}
    items = unpack(found, path, *_DICTIONARY_FIELDS)
    name, atoms, weight, rule, cells = (
        from_json(item, f"{path}.{key}", arrays)
        for key, item in zip(_DICTIONARY_FIELDS, items, strict=True)
    )
    _check_type(str, name, path)
    _check_type(float, weight, path)
    _check_type((Hebbian, type(None)), rule, path)
    _check_type(Inputs, cells, path)
    _check_type(np.ndarray, atoms, path)
    if atoms.ndim != 2 or atoms.dtype not in FLOAT_DTYPES:
        raise ValueError(f"{path}: found atoms of {atoms.shape} {atoms.dtype}; 2D floats awaited.")
    check_finite(atoms, path)
    return Dictionary(name, np.ones((1, 1), atoms.dtype), weight, rule, cells).with_atoms(atoms)


def _read_state(found: Any, path: str, arrays: ArrayStore, n_neurons: int) -> PlasticityState:
    usage, silent, redrawn = unpack(found, path, "usage", "silent", "redrawn")
    h: NDArray[Any] = from_json(usage, f"{path}.usage", arrays)
    idle: NDArray[Any] = from_json(silent, f"{path}.silent", arrays)
    for array, dtype in ((h, np.float64), (idle, np.int64)):
        _check_type(np.ndarray, array, path)
        if array.shape != (n_neurons,) or array.dtype != dtype or not (array >= 0).all():
            raise ValueError(
                f"{path}: found {array.shape} {array.dtype}; {n_neurons} numbers at or above "
                f"zero, {np.dtype(dtype)}, were awaited."
            )
    if type(redrawn) is not int or redrawn < 0 or not np.isfinite(h).all():
        raise ValueError(f"{path}: found a memory of the learning rule that none leaves.")
    return PlasticityState(h, idle, redrawn)


def rng_to_json(state: Any) -> dict[str, Any]:
    """The state of a PCG64 generator (``rng.bit_generator.state``) as JSON."""
    inner = state["state"]
    return {
        "state": str(inner["state"]),
        "inc": str(inner["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def rng_from_json(found: Any, path: str) -> dict[str, Any]:
    """The state that `rng_to_json` turned into JSON.

    Raises
    ------
    ValueError
        If it is no such state.
    """
    names = ("state", "inc", "has_uint32", "uinteger")
    state, inc, has_uint32, uinteger = unpack(found, path, *names)
    words = [int(w) for w in (state, inc) if isinstance(w, str) and w.isdecimal() and len(w) < 40]
    sound = len(words) == 2 and all(w < 1 << 128 for w in words) and words[1] % 2 == 1
    small = all(type(n) is int and 0 <= n < 1 << 32 for n in (has_uint32, uinteger))
    if not (sound and small and has_uint32 <= 1):
        raise ValueError(f"{path}: found {str(found)[:80]}; a state of PCG64 was awaited.")
    return {
        "bit_generator": "PCG64",
        "state": dict(zip(("state", "inc"), words, strict=True)),
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }

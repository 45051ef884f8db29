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


def circuit_to_json(circuit: Circuit, place: str, arrays: ArrayStore) -> dict[str, Any]:
    """A circuit as JSON; its arrays go to ``arrays``.

    Raises
    ------
    TypeError
        If a driver is of a class that a model file does not know, or holds a function.
    """
    at = f"{place}.dictionaries"
    told = {
        name: to_json(getattr(circuit, name), f"{place}.{name}", arrays)
        for name in ("neuron", "transfer", "drivers", "wiring", "idle")
    }
    told["dictionaries"] = [
        _dictionary_to_json(d, f"{at}.{i}", arrays) for i, d in enumerate(circuit.dictionaries)
    ]
    assert circuit.plasticity is not None
    told["plasticity"] = _state_to_json(circuit.plasticity, f"{place}.plasticity", arrays)
    return told


def _dictionary_to_json(d: Dictionary, place: str, arrays: ArrayStore) -> dict[str, Any]:
    names = _DICTIONARY_FIELDS
    return {name: to_json(getattr(d, name), f"{place}.{name}", arrays) for name in names}


def _state_to_json(state: PlasticityState, place: str, arrays: ArrayStore) -> dict[str, Any]:
    names = ("usage", "silent", "redrawn")
    return {name: to_json(getattr(state, name), f"{place}.{name}", arrays) for name in names}


def circuit_from_json(found: Any, place: str, arrays: ArrayStore) -> Circuit:
    """The circuit that `circuit_to_json` turned into JSON.

    Raises
    ------
    ValueError
        If a part is missing or of the wrong kind, or parts do not fit together.
    """
    told = dict(zip(_PARTS, unpack(found, place, *_PARTS), strict=True))
    neuron, transfer, idle = (
        _check_type(kind, from_json(told[name], f"{place}.{name}", arrays), f"{place}.{name}")
        for name, kind in _KINDS.items()
    )
    dictionaries = _read_dictionaries(told["dictionaries"], f"{place}.dictionaries", arrays)
    n_neurons = dictionaries[0].n_neurons
    drivers = _read_drivers(told["drivers"], f"{place}.drivers", arrays)
    for driver in drivers:
        driver.check(n_neurons, transfer)
    state = _read_state(told["plasticity"], f"{place}.plasticity", arrays, n_neurons)
    # A circuit of one cell checks what is not an array; the rest takes its atoms as they are.
    one = Circuit(neuron, transfer, [Dictionary("one", np.eye(1))], (), told["wiring"], idle)
    return one._replace(dictionaries=dictionaries, drivers=drivers, plasticity=state)


def _check_type(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{place}: found {str(value)[:80]}, which belongs elsewhere.")
    return value


def _read_drivers(found: Any, place: str, arrays: ArrayStore) -> tuple[Driver, ...]:
    drivers = _check_type(tuple, from_json(found, place, arrays), place)
    return tuple(_check_type(Driver, driver, place) for driver in drivers)


def _read_dictionaries(found: Any, place: str, arrays: ArrayStore) -> tuple[Dictionary, ...]:
    if not isinstance(found, list) or not found:
        raise ValueError(f"{place}: found {str(found)[:80]}; one dictionary or more was awaited.")
    made = tuple(_read_dictionary(d, f"{place}.{i}", arrays) for i, d in enumerate(found))
    rows = {(d.n_neurons, d.atoms.dtype) for d in made}
    if len(rows) > 1 or len({d.name for d in made}) < len(made):
        raise ValueError(
            f"{place}: found dictionaries of {sorted(map(str, rows))[:4]}; one number of neurons, "
            "one precision and different names were awaited."
        )
    return made


def _read_dictionary(found: Any, place: str, arrays: ArrayStore) -> Dictionary:
    if isinstance(found, dict):  # schema 1 knew one kind of input cells, and did not name it
        found = {"inputs": to_json(AnalogInput(), place, arrays), **found}
    items = unpack(found, place, *_DICTIONARY_FIELDS)
    name, atoms, weight, rule, cells = (
        from_json(item, f"{place}.{key}", arrays)
        for key, item in zip(_DICTIONARY_FIELDS, items, strict=True)
    )
    _check_type(str, name, place)
    _check_type(float, weight, place)
    _check_type((Hebbian, type(None)), rule, place)
    _check_type(Inputs, cells, place)
    _check_type(np.ndarray, atoms, place)
    if atoms.ndim != 2 or atoms.dtype not in FLOAT_DTYPES:
        raise ValueError(f"{place}: found atoms of {atoms.shape} {atoms.dtype}; 2D floats awaited.")
    check_finite(atoms, place)
    return Dictionary(name, np.ones((1, 1), atoms.dtype), weight, rule, cells).with_atoms(atoms)


def _read_state(found: Any, place: str, arrays: ArrayStore, n_neurons: int) -> PlasticityState:
    usage, silent, redrawn = unpack(found, place, "usage", "silent", "redrawn")
    h: NDArray[Any] = from_json(usage, f"{place}.usage", arrays)
    idle: NDArray[Any] = from_json(silent, f"{place}.silent", arrays)
    for array, dtype in ((h, np.float64), (idle, np.int64)):
        _check_type(np.ndarray, array, place)
        if array.shape != (n_neurons,) or array.dtype != dtype or not (array >= 0).all():
            raise ValueError(
                f"{place}: found {array.shape} {array.dtype}; {n_neurons} numbers at or above "
                f"zero, {np.dtype(dtype)}, were awaited."
            )
    if type(redrawn) is not int or redrawn < 0 or not np.isfinite(h).all():
        raise ValueError(f"{place}: found a memory of the learning rule that none leaves.")
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


def rng_from_json(found: Any, place: str) -> dict[str, Any]:
    """The state that `rng_to_json` turned into JSON.

    Raises
    ------
    ValueError
        If it is no such state.
    """
    names = ("state", "inc", "has_uint32", "uinteger")
    state, inc, has_uint32, uinteger = unpack(found, place, *names)
    words = [int(w) for w in (state, inc) if isinstance(w, str) and w.isdecimal() and len(w) < 40]
    sound = len(words) == 2 and all(w < 1 << 128 for w in words) and words[1] % 2 == 1
    small = all(type(n) is int and 0 <= n < 1 << 32 for n in (has_uint32, uinteger))
    if not (sound and small and has_uint32 <= 1):
        raise ValueError(f"{place}: found {str(found)[:80]}; a state of PCG64 was awaited.")
    return {
        "bit_generator": "PCG64",
        "state": dict(zip(("state", "inc"), words, strict=True)),
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }

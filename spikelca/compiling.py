"""From a description to a Problem: the only place where names, labels and defaults become arrays.

Everything here is a free function on the parts of a circuit, so that `Circuit` stays a description
and an engine never has to ask where an array came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.dictionary import Dictionary
from spikelca.drivers import Driver, Injection
from spikelca.engines.base import Coupling, InputPopulation
from spikelca.validation import FloatArray


def gram_of(dictionaries: Sequence[Dictionary]) -> FloatArray:
    """``sum_i w_i Phi_i^T Phi_i``: (n_neurons, n_neurons), exactly symmetric."""
    dtype = dictionaries[0].atoms.dtype
    gram = np.zeros((dictionaries[0].n_neurons,) * 2, dtype=dtype)
    for d in dictionaries:
        gram += dtype.type(d.weight) * (d.atoms @ d.atoms.T)
    return np.asarray((gram + gram.T) * dtype.type(0.5))


def make_injection(
    drivers: Sequence[Driver], labels: ArrayLike | None, n_samples: int, n_neurons: int
) -> Injection:
    """What all drivers together do to a batch."""
    total = Injection(np.zeros((1, n_neurons)))
    for driver in drivers:
        total = total + driver.inject(labels, n_samples, n_neurons)
    return total


def driven(
    inputs: Sequence[InputPopulation],
    coupling: Coupling,
    drivers: Sequence[Driver],
    labels: ArrayLike | None,
) -> dict[str, Any]:
    """The fields of a Problem in which drivers have a part."""
    gram = coupling.gram
    injection = make_injection(drivers, labels, len(inputs[0].stimulus), len(gram))
    if injection.gain:
        gain = np.eye(len(gram), dtype=gram.dtype) * gram.dtype.type(injection.gain)
        coupling = Coupling(gram + gain)
    return {
        "coupling": coupling,
        "current": injection.current,
        "allowed": injection.allowed,
        "offset": injection.offset,
        "gain": injection.gain,
    }


def make_inputs(
    dictionaries: Sequence[Dictionary], stimuli: Mapping[str, FloatArray]
) -> tuple[InputPopulation, ...]:
    """Pair each stimulus with its synapses."""
    return tuple(
        InputPopulation(d.name, stimuli[d.name], d.atoms, d.weight, d.layouts, d.inputs)
        for d in dictionaries
        if d.name in stimuli
    )


def check_unique(names: Sequence[str]) -> None:
    """Raise ValueError if two modalities share a name."""
    if len(set(names)) != len(names) or not names:
        raise ValueError(
            f"Found the modalities {list(names)}; at least one, all different, awaited."
        )


def check_stack(dictionaries: Sequence[Dictionary]) -> None:
    """Check that the dictionaries fit together and that no atom is blank or doubled.

    Raises
    ------
    ValueError
        If numbers of neurons or precisions differ, or a stacked atom is zero or a copy of another.
    """
    check_unique([d.name for d in dictionaries])
    shapes = {d.name: d.atoms.shape for d in dictionaries}
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(
            f"The dictionaries have the shapes {shapes} (n_neurons, n_inputs); "
            "one number of neurons was awaited."
        )
    dtypes = {d.name: str(d.atoms.dtype) for d in dictionaries}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"The dictionaries have the precisions {dtypes}; one was awaited.")
    stacked = np.hstack([d.atoms for d in dictionaries])
    blank = np.flatnonzero(~stacked.any(axis=1))
    if blank.size:
        raise ValueError(
            f"{blank.size} atom(s) have norm zero, the first at index {blank[0]}; such a neuron "
            "never sees anything. Leave it out, or draw it from a sample."
        )
    first = _first_double(stacked)
    if first is not None:
        raise ValueError(
            f"Atoms {first[0]} and {first[1]} are equal; their codes would not be unique. "
            "Leave one of them out."
        )


def _first_double(stacked: FloatArray) -> tuple[int, int] | None:
    seen: dict[bytes, int] = {}
    for index, row in enumerate(stacked):
        earlier = seen.setdefault((row + 0.0).tobytes(), index)  # -0.0 is 0.0
        if earlier != index:
            return earlier, index
    return None

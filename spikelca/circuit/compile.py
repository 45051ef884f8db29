"""From a description to a Problem: the only place where names, labels and defaults become arrays.

Everything here is a free function on the parts of a circuit, so that `Circuit` stays a description
and an engine never has to ask where an array came from.

Signed codes of spiking neurons: a pair of cells for each unit, one for each sign.

A spike has no sign. The dictionary ``[Phi, -Phi]`` with outputs that are never negative describes
the same circuit as Phi with signed ones: ``a = a+ - a-``. In the Gram matrix the pairs stand as
four blocks, ``[[G, -G], [-G, G]]``. Cells 0 .. n - 1 are the positive ones, n .. 2n - 1 their
partners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.engines import Problem, Response
from spikelca.engines.postprocess import compute_certificates
from spikelca.engines.problem import Coupling, InputPopulation
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import Driver, Injection
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray


def sum_injections(
    drivers: Sequence[Driver], labels: ArrayLike | None, n_samples: int, n_neurons: int
) -> Injection:
    """What all drivers together do to a batch."""
    total = Injection(np.zeros((1, n_neurons)))
    for driver in drivers:
        total = total + driver.inject(labels, n_samples, n_neurons)
    return total


def apply_drivers(
    inputs: Sequence[InputPopulation],
    coupling: Coupling,
    drivers: Sequence[Driver],
    labels: ArrayLike | None,
) -> dict[str, Any]:
    """The fields of a Problem in which drivers have a part."""
    gram = coupling.gram
    injection = sum_injections(drivers, labels, len(inputs[0].stimulus), len(gram))
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
        InputPopulation(d.name, stimuli[d.name], d.atoms, d.weight, d.derived, d.inputs)
        for d in dictionaries
        if d.name in stimuli
    )


def needs_on_off(problem: Problem) -> bool:
    """Whether the circuit has signed codes and neurons that spike."""
    return isinstance(problem.neuron, SpikingNeuron) and problem.transfer.two_sided


def expand_on_off(problem: Problem) -> Problem:
    """The circuit of one-sided cells.

    Raises
    ------
    NotImplementedError
        For a linked driver in the residual wiring: its identity dictionary would have to be an
        input population of its own.
    """
    if problem.gain and problem.residual_wiring:
        raise NotImplementedError(
            "Signed spiking codes with a linked driver need the lateral wiring; found "
            "wiring='residual'. Take Circuit(wiring='lateral'), or another reading of the driver."
        )
    G, d, allowed, record = problem.gram, problem.current, problem.allowed, problem.record
    wave, chosen = problem.waveform, record.neurons
    return replace(
        problem,
        transfer=replace(problem.transfer, two_sided=False),
        inputs=tuple(p.with_atoms(np.vstack([p.atoms, -p.atoms])) for p in problem.inputs),
        coupling=Coupling(np.block([[G, -G], [-G, G]])),
        current=np.hstack([d, -d]),
        allowed=None if allowed is None else np.hstack([allowed, allowed]),
        waveform=None if wave is None else np.concatenate([wave, -wave], axis=2),
        record=replace(record, neurons=np.concatenate([chosen, chosen + problem.n_neurons])),
    )


def merge_on_off(response: Response, problem: Problem) -> Response:
    """The response of the pairs with the signed code of the circuit that they stand for."""
    n = problem.n_neurons
    code = response.code[:, :n] - response.code[:, n:]
    residual, gap = compute_certificates(problem, problem.drive(), code)
    return replace(response, code=code, residual=residual, gap=gap)

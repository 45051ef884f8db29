"""Compile a circuit and stimuli into a `Problem`, where names and labels become arrays.

Signed codes of spiking neurons are represented by a pair of ON and OFF cells per neuron, because a
spike has no sign. The dictionary ``[Phi, -Phi]`` with outputs >= 0 describes the same circuit as
Phi with signed outputs: ``a = a_on - a_off``. The Gram matrix of the pairs is
``[[G, -G], [-G, G]]``. Cells 0 .. n - 1 are the ON cells, cells n .. 2n - 1 the OFF cells.
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
    """Sum the effects of all drivers on a batch."""
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
    """Compute the fields of a `Problem` that depend on the drivers."""
    injection = sum_injections(drivers, labels, len(inputs[0].stimulus), len(coupling.gram))
    return {
        "coupling": coupling.with_gain(injection.gain),
        "current": injection.current,
        "allowed": injection.allowed,
        "offset": injection.offset,
        "gain": injection.gain,
    }


def make_inputs(
    dictionaries: Sequence[Dictionary], stimuli: Mapping[str, FloatArray]
) -> tuple[InputPopulation, ...]:
    """Combine each stimulus with its synapses.

    Stimuli become C-contiguous, because the rounding of products depends on the memory layout.
    """
    return tuple(
        InputPopulation(
            d.name, np.ascontiguousarray(stimuli[d.name]), d.atoms, d.weight, d.derived, d.inputs
        )
        for d in dictionaries
        if d.name in stimuli
    )


def needs_on_off(problem: Problem) -> bool:
    """Whether the circuit has spiking neurons with signed codes."""
    return isinstance(problem.neuron, SpikingNeuron) and problem.transfer.two_sided


def expand_on_off(problem: Problem) -> Problem:
    """Return the equivalent problem of one-sided ON and OFF cells.

    Raises
    ------
    NotImplementedError
        For a linked driver in the residual wiring, whose identity dictionary would require a
        separate input population.
    """
    if problem.gain and problem.residual_wiring:
        raise NotImplementedError(
            "wiring must be 'lateral' for signed spiking codes with a linked driver, got "
            "'residual'. Use Circuit(..., wiring='lateral'), or another mode of the driver."
        )
    G, d, allowed, record = problem.gram, problem.current, problem.allowed, problem.record
    waveform, neurons = problem.waveform, record.neurons
    return replace(
        problem,
        transfer=replace(problem.transfer, two_sided=False),
        inputs=tuple(p.with_atoms(np.vstack([p.atoms, -p.atoms])) for p in problem.inputs),
        coupling=Coupling(np.block([[G, -G], [-G, G]])),
        current=np.hstack([d, -d]),
        allowed=None if allowed is None else np.hstack([allowed, allowed]),
        waveform=None if waveform is None else waveform.with_off_cells(),
        record=replace(record, neurons=np.concatenate([neurons, neurons + problem.n_neurons])),
    )


def merge_on_off(response: Response, problem: Problem) -> Response:
    """Return the response of the ON and OFF cells with the signed code of the circuit."""
    n = problem.n_neurons
    code = response.code[:, :n] - response.code[:, n:]
    residual, gap = compute_certificates(problem, problem.drive(), code)
    return replace(response, code=code, residual=residual, gap=gap)

"""Learning while time runs: what happens between two presentations, the same for every engine.

Images stream by without a reset. In the residual wiring each synapse has all that Eq. 4 asks for:
the error r of its input and the activity of its neuron.

::

    spiking   on a spike of j:                 Phi_i[:, j] += eta_i theta r_i       (in the engine)
    rate      at the end of a presentation:    Phi_i += eta_i r_i a^T
    both      then the stacked atoms are brought back to the unit sphere, and only then is the
              image swapped: learning after the swap would learn from the error of the next image
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import Clock, Problem, Spikes
from spikelca.neurons import SpikingNeuron
from spikelca.validation import FloatArray


@dataclass(frozen=True, eq=False)
class Stream:
    """What a run with plastic synapses gives back.

    Attributes
    ----------
    atoms : mapping of modality to (n_neurons, n_inputs)
        The learnt ones.
    code : (n_presentations, n_neurons)
        The code at the end of each presentation: T(u), or counted in the read-out window.
    error : mapping of modality to (n_presentations,)
        ``|r|^2`` of the residual neurons at the end of each presentation, before the synapses moved
        on to the next.
    state : mapping of str to (1, width) array
        To be handed to a further call.
    clock : Clock
        Of one presentation.
    spikes : Spikes, optional
        ``sample`` is the presentation, ``step`` counts from its start.
    """

    atoms: Mapping[str, FloatArray]
    code: FloatArray
    error: Mapping[str, NDArray[np.float64]]
    state: Mapping[str, FloatArray]
    clock: Clock
    spikes: Spikes | None = None


def shown(problem: Problem, sample: int) -> Problem:
    """The problem of a single presentation; its start is that of the whole stream."""
    rows = slice(sample, sample + 1)
    return replace(
        problem,
        inputs=tuple(p.rows(sample, sample + 1) for p in problem.inputs),
        current=problem.current[rows] if len(problem.current) > 1 else problem.current,
        allowed=None if problem.allowed is None else problem.allowed[rows],
        record=replace(problem.record, samples=np.zeros(0, np.int64)),
    )


def event_rates(problem: Problem, rates: Sequence[float]) -> FloatArray:
    """eta of a single spike, so that a presentation adds up to ``eta_i a r``: (n_modalities,)."""
    assert problem.clock is not None
    duration = problem.clock.n_steps * problem.clock.dt
    return np.array([rate * (problem.neuron.tau / duration) for rate in rates])


def between_presentations(
    problem: Problem,
    rates: Sequence[float],
    weights: Sequence[FloatArray],
    r: Sequence[FloatArray],
    a: FloatArray,
) -> None:
    """Let rate neurons learn, and normalise the stacked atoms, in place.

    Parameters
    ----------
    problem : Problem
    rates : sequence of float
        eta of each modality, zero for synapses that do not learn.
    weights : sequence of (n_inputs, n_neurons)
        Phi of each modality; written to.
    r : sequence of (n_inputs,)
    a : (n_neurons,)
        Output of the rate neurons.
    """
    if not isinstance(problem.neuron, SpikingNeuron):
        for rate, phi, error in zip(rates, weights, r, strict=True):
            if rate:
                phi += (rate * error)[:, None] * a
    squares = np.zeros(problem.n_neurons)
    with np.errstate(over="ignore", invalid="ignore"):
        for p, phi in zip(problem.inputs, weights, strict=True):
            for row in phi:
                squares += p.weight * (row * row)
    norms = np.sqrt(squares)
    if not np.isfinite(norms).all():
        raise FloatingPointError(
            "The weights grew without bound while learning. Take a smaller rate or a smaller dt."
        )
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    for phi in weights:
        phi *= scale


def squared(r: Sequence[FloatArray]) -> list[float]:
    """``|r|^2`` of each modality."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [float(np.sum(error * error)) for error in r]


def stream_of(
    problem: Problem,
    weights: Sequence[FloatArray],
    outputs: FloatArray,
    counts: NDArray[np.int64],
    errors: Sequence[Sequence[float]],
    state: Mapping[str, FloatArray],
    spikes: Spikes | None,
) -> Stream:
    """Put the result together; codes are ``outputs`` of rate neurons, or come from ``counts``."""
    assert problem.clock is not None
    neuron, code = problem.neuron, outputs
    if isinstance(neuron, SpikingNeuron):
        steps = problem.n_steps - problem.counted_from
        code = neuron.quantum * counts / (steps * (problem.clock.dt / neuron.tau))
    columns = np.array(errors).T
    return Stream(
        {p.name: phi.T.copy() for p, phi in zip(problem.inputs, weights, strict=True)},
        code,
        {p.name: column for p, column in zip(problem.inputs, columns, strict=True)},
        state,
        problem.clock,
        spikes if problem.record.spikes else None,
    )

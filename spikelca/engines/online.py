"""Learning while time runs: what happens between two presentations, the same for every engine.

Images stream by without a reset. In the residual wiring each synapse has all that Eq. 4 asks for:
the error r of its input and the activity of its neuron.

::

    spiking   on a spike of j:                 Phi_i[:, j] += eta_ij theta r_i       (in the engine)
    both      at the end of a presentation:    H_j <- memory H_j + a_j^2
    rate      then:                            Phi_i[:, j] += eta_ij a_j r_i
    both      then the stacked atoms are brought back to the unit sphere, and only then is the
              image swapped: learning after the swap would learn from the error of the next image

As in the batch rule (`spikelca.plasticity`) every neuron has a step of its own, which it knows from
its own activity: ``eta_ij = rate_i / (H_j + FIRST)``. Often used atoms take small steps and rare
ones large; from presentation to presentation the steps shrink, until as much is forgotten as seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.postprocess import tapered_code
from spikelca.engines.problem import Problem
from spikelca.engines.response import Clock, Spikes
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray

INITIAL_USAGE = 0.03
"""Squared activity that every neuron is taken to have seen before its first presentation."""


@dataclass(frozen=True, eq=False)
class OnlineRule:
    """How far synapses go, and what they remember.

    Parameters
    ----------
    rates : (n_modalities,)
        Zero for synapses that do not learn.
    memory : float in [0, 1)
        What is left of H after one presentation.
    usage : (n_neurons,)
        H before the first.

    Examples
    --------
    >>> import numpy as np
    >>> rule = OnlineRule(rates=np.ones(1), memory=0.95, usage=np.zeros(2))
    >>> rule.update(np.array([0.0, 2.0])).usage
    array([0., 4.])
    """

    rates: FloatArray
    memory: float
    usage: FloatArray

    def update(self, a: FloatArray) -> OnlineRule:
        """The rule after a presentation in which the neurons were as active as a."""
        return replace(self, usage=self.memory * self.usage + a * a)

    @property
    def learning_rates(self) -> FloatArray:
        """eta of a whole presentation: (n_modalities, n_neurons)."""
        return self.rates[:, None] / (self.usage + INITIAL_USAGE)


@dataclass(frozen=True, eq=False)
class OnlineResult:
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
    usage : (n_neurons,)
        H at the end.
    clock : Clock
        Of one presentation.
    spikes : Spikes, optional
        ``sample`` is the presentation, ``step`` counts from its start.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, Hebbian, RateNeuron, SoftThreshold
    >>> seen = Dictionary("x", np.eye(2), plasticity=Hebbian())
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [seen], wiring="residual")
    >>> images = {"x": [[0.6, 0.8], [0.6, 0.8]]}
    >>> learnt, stream = circuit.learn_in_simulation(images, presentation=0.1, dt=1e-4)
    >>> stream.code.shape, bool(stream.error["x"][1] < stream.error["x"][0])
    ((2, 2), True)
    """

    atoms: Mapping[str, FloatArray]
    code: FloatArray
    error: Mapping[str, NDArray[np.float64]]
    state: Mapping[str, FloatArray]
    usage: FloatArray
    clock: Clock
    spikes: Spikes | None = None


def presented(problem: Problem, sample: int) -> Problem:
    """The problem of a single presentation; its start is that of the whole stream."""
    rows = slice(sample, sample + 1)
    return replace(
        problem,
        inputs=tuple(p.select(sample, sample + 1) for p in problem.inputs),
        current=problem.current[rows] if len(problem.current) > 1 else problem.current,
        allowed=None if problem.allowed is None else problem.allowed[rows],
        record=replace(problem.record, samples=np.zeros(0, np.int64)),
    )


def spike_learning_rates(problem: Problem, rule: OnlineRule) -> FloatArray:
    """``eta theta`` of a single spike, so that a presentation adds up to ``eta_ij a_j r_i``."""
    neuron = problem.neuron
    assert isinstance(neuron, SpikingNeuron)
    return rule.learning_rates / presentation_length(problem) * neuron.quantum


def presentation_length(problem: Problem) -> float:
    """One presentation in units of tau."""
    assert problem.clock is not None
    return problem.n_steps * (problem.clock.dt / problem.neuron.tau)


def mean_activity(problem: Problem, a: FloatArray, fired: NDArray[np.int64]) -> FloatArray:
    """Output of the neurons: a of rate neurons, or what they fired in a whole presentation."""
    neuron = problem.neuron
    if not isinstance(neuron, SpikingNeuron):
        return a
    return np.asarray(neuron.quantum * fired / presentation_length(problem))


def end_presentation(
    problem: Problem,
    rule: OnlineRule,
    weights: Sequence[FloatArray],
    r: Sequence[FloatArray],
    a: FloatArray,
) -> OnlineRule:
    """Let rate neurons learn, and normalise the stacked atoms, in place; the rule goes on.

    Parameters
    ----------
    problem : Problem
    rule : StreamRule
    weights : sequence of (n_inputs, n_neurons)
        Phi of each modality; written to.
    r : sequence of (n_inputs,)
    a : (n_neurons,)
        See `mean_activity`.
    """
    after = rule.update(a)
    if not isinstance(problem.neuron, SpikingNeuron):
        for steps, phi, error in zip(after.learning_rates, weights, r, strict=True):
            phi += error[:, None] * (steps * a)
    normalise_weights(problem, weights)
    return after


def normalise_weights(problem: Problem, weights: Sequence[FloatArray]) -> None:
    """Bring the stacked atoms back to the unit sphere, in place.

    Raises
    ------
    FloatingPointError
        If they are no longer finite.
    """
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


def squared_errors(r: Sequence[FloatArray]) -> list[float]:
    """``|r|^2`` of each modality."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [float(np.sum(error * error)) for error in r]


def make_result(
    problem: Problem,
    rule: OnlineRule,
    weights: Sequence[FloatArray],
    outputs: FloatArray,
    weighed: NDArray[np.int64],
    errors: Sequence[Sequence[float]],
    state: Mapping[str, FloatArray],
    spikes: Spikes | None,
) -> OnlineResult:
    """Put the result together; codes are ``outputs`` of rate neurons, or come from ``weighed``."""
    assert problem.clock is not None
    neuron, code, window = problem.neuron, outputs, problem.record.window
    if isinstance(neuron, SpikingNeuron):
        code = tapered_code(weighed, problem.clock, window, neuron)
    columns = np.array(errors).T
    return OnlineResult(
        {p.name: phi.T.copy() for p, phi in zip(problem.inputs, weights, strict=True)},
        code,
        {p.name: column for p, column in zip(problem.inputs, columns, strict=True)},
        state,
        rule.usage,
        problem.clock,
        spikes if problem.record.spikes else None,
    )

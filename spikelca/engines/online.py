"""Learning in simulation: the update between two presentations, the same for every engine.

Samples are presented one after the other without a reset of the state. With residual wiring, both
factors of Eq. 4 are available at each synapse: the error r of its input and the activity of its
neuron.

::

    spiking   on a spike of j (in the engine): Phi_i[:, j] += eta_ij (theta tau / T) r_i
    both      at the end of a presentation:    H_j <- decay H_j + a_j^2
    rate      then:                            Phi_i[:, j] += eta_ij a_j r_i
    both      then the plastic part of the stacked atoms is normalised, and the sample replaced:
              an update after the replacement would use the error of the next sample

with the duration T of a presentation. For a constant error, the spikes of a presentation add up to
``eta_ij a_j r_i``. As in the batch rule (`spikelca.model.plasticity`), every neuron has its own
learning rate, which depends only on its own activity: ``eta_ij = rate_i / (H_j + INITIAL_USAGE)``.
It is small for atoms that are often active and large for rare ones. It decreases from presentation
to presentation, until the decay of H balances the new activity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.postprocess import tapered_code
from spikelca.engines.problem import Problem
from spikelca.engines.response import Clock, Spikes
from spikelca.model.atoms import stacked_norms
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray

INITIAL_USAGE = 0.03
"""Squared activity added to H of every neuron, which bounds the first learning rates."""


@dataclass(frozen=True, eq=False)
class OnlineRule:
    """Learning rates, and the usage of the neurons on which they depend.

    Parameters
    ----------
    rates : (n_modalities,)
        Learning rate of each modality, zero for synapses that do not learn.
    decay : float in [0, 1)
        Factor of H per presentation.
    usage : (n_neurons,)
        H, the decayed sum of squared activities.

    Examples
    --------
    >>> import numpy as np
    >>> rule = OnlineRule(rates=np.ones(1), decay=0.95, usage=np.zeros(2))
    >>> rule.update(np.array([0.0, 2.0])).usage
    array([0., 4.])
    """

    rates: FloatArray
    decay: float
    usage: FloatArray

    def update(self, a: FloatArray) -> OnlineRule:
        """Return the rule after a presentation with the activity a: (n_neurons,)."""
        return replace(self, usage=self.decay * self.usage + a * a)

    @property
    def learning_rates(self) -> FloatArray:
        """Learning rates eta of one presentation: (n_modalities, n_neurons)."""
        return self.rates[:, None] / (self.usage + INITIAL_USAGE)


@dataclass(frozen=True, eq=False)
class OnlineResult:
    """The result of a simulation with plastic synapses.

    Attributes
    ----------
    atoms : mapping of modality to (n_neurons, n_inputs)
        The learned atoms.
    code : (n_presentations, n_neurons)
        The code at the end of each presentation: T(u), or read from the spikes of the window.
    error : mapping of modality to (n_presentations,)
        ``|r|^2`` of the residual neurons at the end of each presentation, before the update.
    state : mapping of str to (1, width) array
        Final state, which can be passed as ``start`` of the next call.
    usage : (n_neurons,)
        H at the end.
    clock : Clock
        Simulated time of one presentation.
    spikes : Spikes, optional
        ``sample`` is the index of the presentation, ``step`` is counted from its start.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, Hebbian, RateNeuron, SoftThreshold
    >>> dictionary = Dictionary("x", np.eye(2), plasticity=Hebbian())
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [dictionary], wiring="residual")
    >>> images = {"x": [[0.6, 0.8], [0.6, 0.8]]}
    >>> learned, result = circuit.learn_in_simulation(images, presentation=0.1, dt=1e-4)
    >>> result.code.shape, bool(result.error["x"][1] < result.error["x"][0])
    ((2, 2), True)
    """

    atoms: Mapping[str, FloatArray]
    code: FloatArray
    error: Mapping[str, NDArray[np.float64]]
    state: Mapping[str, FloatArray]
    usage: FloatArray
    clock: Clock
    spikes: Spikes | None = None


def spike_learning_rates(problem: Problem, rule: OnlineRule) -> FloatArray:
    """Compute the learning rate per spike, ``eta theta tau / T``: (n_modalities, n_neurons).

    T is the duration of a presentation. The rates of n spikes add up to eta times the activity
    ``n theta tau / T``.
    """
    neuron = problem.neuron
    assert isinstance(neuron, SpikingNeuron)
    return rule.learning_rates / presentation_length(problem) * neuron.quantum


def presentation_length(problem: Problem) -> float:
    """Return the duration of one presentation in units of tau."""
    assert problem.clock is not None
    return problem.n_steps * (problem.clock.dt / problem.neuron.tau)


def mean_activity(problem: Problem, a: FloatArray, spike_counts: NDArray[np.int64]) -> FloatArray:
    """Return the activity: a of rate neurons, or the firing rate of the whole presentation.

    Parameters
    ----------
    problem : Problem
    a : (n_neurons,)
        T(u) at the end of the presentation.
    spike_counts : (n_neurons,)
        Number of spikes in the whole presentation.
    """
    neuron = problem.neuron
    if not isinstance(neuron, SpikingNeuron):
        return a
    return np.asarray(neuron.quantum * spike_counts / presentation_length(problem))


def end_presentation(
    problem: Problem,
    rule: OnlineRule,
    weights: Sequence[FloatArray],
    r: Sequence[FloatArray],
    a: FloatArray,
) -> OnlineRule:
    """Apply the update of rate neurons, normalise the stacked atoms, and update the rule.

    Parameters
    ----------
    problem : Problem
    rule : OnlineRule
    weights : sequence of (n_inputs, n_neurons)
        Phi of each modality, changed in place.
    r : sequence of (n_inputs,)
    a : (n_neurons,)
        See `mean_activity`.

    Returns
    -------
    rule : OnlineRule
    """
    updated = rule.update(a)
    if not isinstance(problem.neuron, SpikingNeuron):
        for eta, phi, error in zip(updated.learning_rates, weights, r, strict=True):
            phi += error[:, None] * (eta * a)
    normalise_weights(problem, weights, rule.rates > 0)
    return updated


def normalise_weights(
    problem: Problem, weights: Sequence[FloatArray], plastic: NDArray[np.bool_]
) -> None:
    """Scale the plastic part of the stacked atoms to unit norm of the whole, in place.

    As in the batch rule, the plastic part of an atom keeps the norm that it had at the start if the
    norm of the fixed part alone is one or more.

    Raises
    ------
    FloatingPointError
        If the atoms are no longer finite.
    """
    squares = {True: np.zeros(problem.n_neurons), False: np.zeros(problem.n_neurons)}
    with np.errstate(over="ignore", invalid="ignore"):
        for p, phi, is_plastic in zip(problem.inputs, weights, plastic.tolist(), strict=True):
            for row in phi:
                squares[is_plastic] += p.weight * (row * row)
    norms, fixed = np.sqrt(squares[True]), squares[False]
    if not np.isfinite(norms).all():
        raise FloatingPointError(
            "cannot continue learning: the weights grew without bound. Use a smaller rate or dt."
        )
    learning = [problem.inputs[i] for i in np.flatnonzero(plastic)]
    at_start = stacked_norms([p.atoms for p in learning], [p.weight for p in learning])
    radius = np.where(fixed < 1, np.sqrt(np.maximum(1 - fixed, 0.0)), at_start)
    scale = np.divide(radius, norms, out=np.zeros_like(norms), where=norms > 0)
    for phi, is_plastic in zip(weights, plastic.tolist(), strict=True):
        if is_plastic:
            phi *= scale


def squared_errors(r: Sequence[FloatArray]) -> list[float]:
    """Compute ``|r|^2`` of each modality."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [float(np.sum(error * error)) for error in r]


def make_result(
    problem: Problem,
    rule: OnlineRule,
    weights: Sequence[FloatArray],
    outputs: FloatArray,
    weighted_counts: NDArray[np.int64],
    errors: Sequence[Sequence[float]],
    state: Mapping[str, FloatArray],
    spikes: Spikes | None,
) -> OnlineResult:
    """Make the result; the code is ``outputs`` of rate neurons, else from ``weighted_counts``."""
    assert problem.clock is not None
    neuron, code, window = problem.neuron, outputs, problem.record.window
    if isinstance(neuron, SpikingNeuron):
        code = tapered_code(weighted_counts, problem.clock, window, neuron)
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

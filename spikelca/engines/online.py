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
from dataclasses import dataclass, field, replace

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
    error_before, error_after : mapping of modality to (n_presentations,)
        Squared error ``|x - Phi^T a|^2`` of each sample with its code a, for the atoms at the start
        and at the end of its presentation. The first one shows how well the sample is represented
        by what was learned from others; the synapses then change for this very sample.
    state : mapping of str to (1, width) array
        Final state, which can be passed as ``start`` of the next call.
    usage : (n_neurons,)
        H at the end.
    clock : Clock
        Simulated time of one presentation.
    spikes : Spikes, optional
        ``sample`` is the index of the presentation, ``step`` is counted from its start.
    traces : mapping of str to array
        Recorded variables of the recorded presentations, (n_recorded, n_times, width); those of
        "weights" are ``weights:<modality>`` (n_recorded, n_times, n_neurons, n_inputs).
    times : (n_recorded, n_times) float64
        Start of each recorded step in seconds, from time zero.
    presentations : (n_recorded,) int64
        Indices of the recorded presentations.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, Hebbian, RateNeuron, SoftThreshold
    >>> dictionary = Dictionary("x", np.eye(2), plasticity=Hebbian())
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [dictionary], wiring="residual")
    >>> images = {"x": [[0.6, 0.8], [0.6, 0.8]]}
    >>> learned, result = circuit.learn_in_simulation(images, presentation=0.1, dt=1e-4)
    >>> errors = result.error_before["x"]
    >>> result.code.shape, bool(errors[1] < errors[0])
    ((2, 2), True)
    """

    atoms: Mapping[str, FloatArray]
    code: FloatArray
    error_before: Mapping[str, NDArray[np.float64]]
    error_after: Mapping[str, NDArray[np.float64]]
    state: Mapping[str, FloatArray]
    usage: FloatArray
    clock: Clock
    spikes: Spikes | None = None
    traces: Mapping[str, FloatArray] = field(default_factory=dict)
    times: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    presentations: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class PresentationLog:
    """What an engine collects from presentation to presentation.

    Attributes
    ----------
    codes : list of (n_neurons,)
    before, after : list of list of float
        Squared error of each modality, see `OnlineResult`.
    traces : list of mapping of str to (n_times, width)
        Of the recorded presentations.
    times : list of (n_times,)
    spikes : list of (n_spikes, 2)
        Step, counted from the start of the presentation, and neuron of each spike.
    """

    codes: list[FloatArray] = field(default_factory=list)
    before: list[list[float]] = field(default_factory=list)
    after: list[list[float]] = field(default_factory=list)
    traces: list[Mapping[str, FloatArray]] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    spikes: list[NDArray[np.int64]] = field(default_factory=list)

    def add_traces(self, problem: Problem, traces: Mapping[str, FloatArray]) -> None:
        """Add the traces of a recorded presentation."""
        assert problem.clock is not None
        if "current" in problem.record.names:
            traces = {**traces, "current": problem.recorded_current()[:, 0]}
        self.traces.append(traces)
        self.times.append(problem.clock.times[:: problem.record.every])

    def all_traces(self) -> dict[str, FloatArray]:
        """Return the traces of all recorded presentations by name."""
        names = self.traces[0] if self.traces else ()
        return {name: np.stack([each[name] for each in self.traces]) for name in names}

    def all_spikes(self) -> Spikes:
        """Return the spikes of all presentations."""
        sample = np.repeat(np.arange(len(self.spikes)), [len(each) for each in self.spikes])
        events = np.concatenate([np.zeros((0, 2), np.int64), *self.spikes])
        return Spikes(sample, events[:, 1], events[:, 0])


def weight_traces(
    problem: Problem, snapshots: Sequence[Sequence[FloatArray]]
) -> dict[str, FloatArray]:
    """Make the traces of the weights: (n_times, n_neurons, n_inputs) for each modality."""
    return {
        f"weights:{p.name}": np.array([weights[i].T for weights in snapshots])
        for i, p in enumerate(problem.inputs if snapshots else ())
    }


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


def squared_errors(
    problem: Problem, weights: Sequence[FloatArray], code: FloatArray
) -> list[float]:
    """Compute ``|x - Phi^T a|^2`` of each modality of a presentation.

    Parameters
    ----------
    problem : Problem
        Of one sample.
    weights : sequence of (n_inputs, n_neurons)
    code : (n_neurons,)
    """
    active, errors = np.flatnonzero(code), []
    for p, phi in zip(problem.inputs, weights, strict=True):
        # Sums in NumPy, not products of matrices, whose rounding could depend on the engine.
        with np.errstate(over="ignore", invalid="ignore"):
            reconstruction = (np.ascontiguousarray(phi[:, active]) * code[active]).sum(axis=1)
            errors.append(float(np.square(p.stimulus[0] - reconstruction).sum()))
    return errors


def read_code(problem: Problem, a: FloatArray, weighted_counts: NDArray[np.int64]) -> FloatArray:
    """Return the code of a presentation: a of rate neurons, else read from the spikes.

    Parameters
    ----------
    problem : Problem
    a, weighted_counts : (n_neurons,)
        T(u) at the end, and the spikes in the window weighted by `Clock.taper`.
    """
    if not isinstance(problem.neuron, SpikingNeuron):
        return a
    assert problem.clock is not None
    return tapered_code(weighted_counts, problem.clock, problem.record.window, problem.neuron)


def make_result(
    problem: Problem,
    rule: OnlineRule,
    weights: Sequence[FloatArray],
    state: Mapping[str, FloatArray],
    log: PresentationLog,
) -> OnlineResult:
    """Make the result of a finished run."""
    assert problem.clock is not None
    names = [p.name for p in problem.inputs]
    before, after = (dict(zip(names, np.array(e).T, strict=True)) for e in (log.before, log.after))
    return OnlineResult(
        {name: phi.T.copy() for name, phi in zip(names, weights, strict=True)},
        np.array(log.codes),
        before,
        after,
        state,
        rule.usage,
        problem.clock,
        log.all_spikes() if problem.record.spikes else None,
        log.all_traces(),
        np.array(log.times) if log.times else np.zeros((0, 0)),
    )

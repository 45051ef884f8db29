"""What an engine sees, what it gives back, and the order of one step.

An engine knows arrays, a neuron, a transfer function and a clock. It never hears of estimators,
labels or what a modality means. It offers two verbs:

``settle``
    the fixed point of the circuit, by the fastest road, with a certificate for each sample;
``simulate``
    the faithful time-stepped equations, with traces and spikes.

The order of one step, the same for every engine
------------------------------------------------
1. summed inputs and currents, from the state at the start of the step;
2. forward Euler for r, u, v and s, all from old values;
3. threshold on the new v;
4. synapses, spikes in ascending neuron index: lateral inhibition, or learning and then feedback;
5. reset: ``v -= theta``, ``s += theta``.

The returned code belongs to the returned state. A trace holds the state at the *start* of the
recorded steps, at ``times = step * dt``. Spike times are step indices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.neurons import Neuron, RateNeuron
from spikelca.transfer import Transfer
from spikelca.validation import FloatArray


@dataclass(frozen=True)
class Clock:
    """Simulated time: a step of ``dt`` seconds, ``n_steps`` of them."""

    dt: float
    n_steps: int

    @property
    def times(self) -> NDArray[np.float64]:
        """Start of each step in seconds: (n_steps,)."""
        return np.arange(self.n_steps) * self.dt


@dataclass(frozen=True, eq=False)
class Record:
    """What to keep of a simulation.

    Parameters
    ----------
    names : tuple of str
        Out of "u", "a", "v", "r" (as the circuit has them), "current", "spikes".
    every : int
        Every how many steps a trace keeps a value.
    neurons, samples : int arrays
        Which neurons and which samples the traces hold.
    window : float in (0, 1]
        The last part of the run in which spikes are counted for the code.
    """

    names: tuple[str, ...] = ()
    every: int = 1
    neurons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    samples: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    window: float = 0.5

    def steps(self, clock: Clock) -> NDArray[np.int64]:
        """The recorded steps."""
        return np.arange(0, clock.n_steps, self.every)


@dataclass(frozen=True, eq=False)
class InputPopulation:
    """One input population: what it is shown, and its synapses onto the code.

    Parameters
    ----------
    name : str
    stimulus : (n_samples, n_inputs)
    atoms : (n_neurons, n_inputs)
    weight : float
        w_i of Eq. 6.
    """

    name: str
    stimulus: FloatArray
    atoms: FloatArray
    weight: float


@dataclass(frozen=True, eq=False)
class Problem:
    """All that an engine ever sees.

    Parameters
    ----------
    neuron : RateNeuron or SpikingNeuron
    transfer : Transfer
    inputs : tuple of InputPopulation
    gram : (n_neurons, n_neurons)
        ``L + 1``: sum_i w_i Phi_i^T Phi_i, with the gain of linked drivers on its diagonal.
    current : (1 or n_samples, n_neurons)
        Driver current that does not change over time; of one row if all samples share it.
    allowed : (n_samples, n_neurons) bool, optional
        False where a driver clamps the code at zero.
    offset : (n_samples,)
        What drivers add to the squared norm of the stimulus (a linked driver is a stimulus too).
    waveform : (n_steps, 1 or n_samples, n_neurons), optional
        Driver current that changes with each step, added to ``current``.
    residual_wiring : bool
        Whether the inputs are populations of residual neurons (two layers) or plain drive.
    clock : Clock, optional
        None for ``settle``.
    record : Record
    start : mapping of str to array, optional
        State to start from: "u" (and "v", "s", "r:<name>"); or "a", a first guess, for ``settle``.
    """

    neuron: Neuron
    transfer: Transfer
    inputs: tuple[InputPopulation, ...]
    gram: FloatArray
    current: FloatArray
    allowed: NDArray[np.bool_] | None = None
    offset: FloatArray | None = None
    waveform: FloatArray | None = None
    residual_wiring: bool = False
    clock: Clock | None = None
    record: Record = field(default_factory=Record)
    start: Mapping[str, FloatArray] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the circuit."""
        return self.gram.dtype

    @property
    def n_samples(self) -> int:
        """Samples presented side by side; they never meet."""
        return int(self.inputs[0].stimulus.shape[0])

    @property
    def n_neurons(self) -> int:
        """Neurons of the code."""
        return int(self.gram.shape[0])

    @property
    def lateral(self) -> FloatArray:
        """L, what the neurons do to each other: (n_neurons, n_neurons)."""
        return self.gram - np.eye(self.n_neurons, dtype=self.dtype)

    def drive(self) -> FloatArray:
        """b, the feed-forward drive of the stimuli without currents: (n_samples, n_neurons)."""
        b = np.zeros((self.n_samples, self.n_neurons), dtype=self.dtype)
        for population in self.inputs:
            b += self.dtype.type(population.weight) * (population.stimulus @ population.atoms.T)
        return b

    def stimulus_energy(self) -> NDArray[np.float64]:
        """sum_i w_i |x_i|^2 (with the drivers' part): (n_samples,), float64."""
        total = np.zeros(self.n_samples)
        if self.offset is not None:
            total += self.offset
        for population in self.inputs:
            x = population.stimulus
            total += population.weight * np.einsum("ij,ij->i", x, x, dtype=np.float64)
        return total


@dataclass(frozen=True, eq=False)
class Spikes:
    """Spikes as three aligned arrays, ordered by sample, then step, then neuron.

    Iterates as ``(sample, neuron, step)``.
    """

    sample: NDArray[np.int64]
    neuron: NDArray[np.int64]
    step: NDArray[np.int64]

    def __iter__(self) -> Any:
        return iter((self.sample, self.neuron, self.step))

    def __len__(self) -> int:
        return int(self.step.size)


@dataclass(frozen=True, eq=False)
class Response:
    """What comes back from an engine.

    Attributes
    ----------
    code : (n_samples, n_neurons)
        ``T(u)`` of the returned state, or quantum times spike rate times tau.
    residual : (n_samples,) float64
        ``max_j |T(b + d - L a) - a|_j / threshold``: zero at a fixed point of the circuit.
    gap : (n_samples,) float64, optional
        Relative duality gap ``(P - D) / P`` (soft threshold; NaN where no dual point is known,
        that is where a current lies above the threshold).
    n_iter : (n_samples,) int64, optional
        Rounds of the solver, or steps of the integration.
    state : mapping of str to array
        Final membrane state, to be handed to a further call.
    traces : mapping of str to array
        (n_times, n_samples, n_neurons) for each recorded name.
    times : (n_times,) float64
        Seconds.
    spikes : Spikes, optional
    counts : (n_samples, n_neurons) int64, optional
        Spikes in the read-out window.
    clock : Clock, optional
    quantum, tau : float, optional
        Of the spiking neuron that gave this response: what ``rates`` needs.
    events : mapping of str to (n_samples,) int64
        Counted "spikes" and "synaptic_events" of the whole run (spiking circuits).
    """

    code: FloatArray
    residual: NDArray[np.float64]
    gap: NDArray[np.float64] | None = None
    n_iter: NDArray[np.int64] | None = None
    state: Mapping[str, FloatArray] = field(default_factory=dict)
    traces: Mapping[str, FloatArray] = field(default_factory=dict)
    times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    spikes: Spikes | None = None
    counts: NDArray[np.int64] | None = None
    clock: Clock | None = None
    quantum: float | None = None
    tau: float | None = None
    events: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


class Engine(ABC):
    """One way to run a Problem."""

    name: str

    @abstractmethod
    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """The code at the fixed point, with its certificate."""

    @abstractmethod
    def simulate(self, problem: Problem) -> Response:
        """The time-stepped equations."""

    def require_rate(self, problem: Problem) -> None:
        """Raise NotImplementedError for what this engine does not offer (yet)."""
        if not isinstance(problem.neuron, RateNeuron) or problem.residual_wiring:
            raise NotImplementedError(
                f"The engine {self.name!r} runs rate neurons with lateral wiring; found "
                f"{type(problem.neuron).__name__} with "
                f"{'residual' if problem.residual_wiring else 'lateral'} wiring."
            )

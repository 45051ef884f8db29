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
2. forward Euler for r, u, v, s and p, all from old values;
3. threshold on the new v, and on the new p of input cells that spike;
4. synapses, spikes in ascending index: those of input cells, modality by modality; then those of
   the neurons, lateral inhibition, or learning and then feedback;
5. reset: ``v -= theta``, ``s += theta``, ``p -= sign(p) threshold``;
6. with input cells that charge v directly: v sinks no deeper than its floor.

The returned code belongs to the returned state. A trace holds the state at the *start* of the
recorded steps, at ``times = step * dt``. Spike times are step indices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.coupling import Coupling
from spikelca.engines.population import InputPopulation
from spikelca.engines.response import RECORDABLE, Clock, Record, Response, Spikes
from spikelca.neurons import Neuron, SpikingNeuron
from spikelca.transfer import Transfer
from spikelca.validation import FloatArray

__all__ = [
    "RECORDABLE",
    "Clock",
    "Coupling",
    "Engine",
    "InputPopulation",
    "Problem",
    "Record",
    "Response",
    "Spikes",
]


SLACK = 2.0
"""Input spikes by which the floor of v lies deeper where they charge it directly."""


@dataclass(frozen=True, eq=False)
class Problem:
    """All that an engine ever sees.

    Parameters
    ----------
    neuron : RateNeuron or SpikingNeuron
    transfer : Transfer
    inputs : tuple of InputPopulation
    coupling : Coupling
        ``L + 1``: sum_i w_i Phi_i^T Phi_i, with the gain of linked drivers on its diagonal.
    current : (1 or n_samples, n_neurons)
        Driver current that does not change over time; of one row if all samples share it.
    allowed : (n_samples, n_neurons) bool, optional
        False where a driver clamps the code at zero.
    gain : float, default=0.0
        What linked drivers added to the diagonal of the Gram matrix.
    offset : (n_samples,)
        What drivers add to the squared norm of the stimulus (a linked driver is a stimulus too).
    waveform : (n_steps, 1 or n_samples, n_neurons), optional
        Driver current that changes with each step, added to ``current``.
    residual_wiring : bool, default=False
        Whether the inputs are populations of residual neurons (two layers) or plain drive.
    clock : Clock, optional
        None for ``settle``.
    record : Record, default=Record()
    start : mapping of str to array, optional
        State to start from: "u" (and "v", "s", "r:<name>"); or "a", a first guess, for ``settle``.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> problem = circuit.problem({"x": np.array([[0.0, 1.0]])})
    >>> problem.drive(), problem.gram.shape
    (array([[0., 1.]]), (2, 2))
    """

    neuron: Neuron
    transfer: Transfer
    inputs: tuple[InputPopulation, ...]
    coupling: Coupling
    current: FloatArray
    allowed: NDArray[np.bool_] | None = None
    offset: FloatArray | None = None
    waveform: FloatArray | None = None
    gain: float = 0.0
    residual_wiring: bool = False
    clock: Clock | None = None
    record: Record = field(default_factory=Record)
    start: Mapping[str, FloatArray] | None = None

    @property
    def gram(self) -> FloatArray:
        """``L + 1``: (n_neurons, n_neurons)."""
        return self.coupling.gram

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
    def k(self) -> Any:
        """dt / tau, both in seconds, in the precision of the circuit."""
        assert self.clock is not None
        return self.dtype.type(self.clock.dt / self.neuron.tau)

    @property
    def own(self) -> Any:
        """What one unit of output adds to its own s: 1, less the gain of linked drivers."""
        return self.dtype.type(1 - self.gain)

    @property
    def n_steps(self) -> int:
        """Steps of the run."""
        assert self.clock is not None
        return self.clock.n_steps

    @property
    def counted_from(self) -> int:
        """The step from which spikes are counted for the code."""
        assert self.clock is not None
        return self.clock.first_of(self.record.window)

    @property
    def taper(self) -> NDArray[np.int64]:
        """Weight of each step in the read-out: (n_steps,)."""
        assert self.clock is not None
        return self.clock.taper(self.record.window)

    def recorded_current(self) -> FloatArray:
        """The driver current at the recorded steps: (n_times, n_kept_samples, n_kept)."""
        steps = range(0, self.n_steps, self.record.every)
        shape = (self.n_samples, self.n_neurons)
        place = np.ix_(self.record.samples, self.record.neurons)
        current = self.current.astype(self.dtype)
        return np.array([np.broadcast_to(current + self.wave(t), shape)[place] for t in steps])

    def state_widths(self) -> dict[str, int]:
        """Name and width of every state variable of this circuit."""
        widths = {"v": self.n_neurons} if isinstance(self.neuron, SpikingNeuron) else {}
        if not self.residual_wiring:
            return {"u": self.n_neurons, **widths}
        cells = {f"r:{p.name}": p.atoms.shape[1] for p in self.inputs}
        cells |= {f"p:{p.name}": p.atoms.shape[1] for p in self.inputs if not p.dendritic}
        return {"s": self.n_neurons, **widths, **cells}

    @property
    def inputs_spike(self) -> bool:
        """Whether some input cells spike."""
        return any(p.quantum for p in self.inputs)

    @property
    def v_is_charged(self) -> bool:
        """Whether some input cells charge the spike generators v directly."""
        return not all(p.dendritic for p in self.inputs)

    @property
    def v_floor(self) -> float:
        """Below it silent neurons do not drift; some spikes deeper where input cells charge v.

        What those cells owe, up to a spike each, makes v waver by less than a spike. A floor so
        near that it cut this off would give charge away for nothing.
        """
        assert isinstance(self.neuron, SpikingNeuron)
        direct = max((p.quantum for p in self.inputs if not p.dendritic), default=0.0)
        return self.neuron.v_floor - SLACK * direct

    @property
    def lateral(self) -> FloatArray:
        """L, what the neurons do to each other: (n_neurons, n_neurons)."""
        return self.coupling.lateral

    def drive(self) -> FloatArray:
        """b, the feed-forward drive of the stimuli without currents: (n_samples, n_neurons)."""
        return reduce(add, (self.dtype.type(p.weight) * p.product for p in self.inputs))

    def drive_in_order(self) -> FloatArray:
        """b as it flows in steadily, summed input by input in order: (n_samples, n_neurons).

        For trajectories: the same bits in every engine and whatever stands beside a sample, where a
        matrix product rounds as its blocks happen to fall.
        """
        b = np.zeros((self.n_samples, self.n_neurons), dtype=self.dtype)
        for population in self.inputs:
            weight = self.dtype.type(population.weight)
            for x, phi in zip(population.steady.T, population.atoms.T, strict=True):
                b += (weight * x)[:, None] * phi
        return b

    def wave(self, step: int) -> FloatArray:
        """The part of the driver current that changes, at a step: (1 or n_samples, n_neurons)."""
        return np.zeros((1, 1), self.dtype) if self.waveform is None else self.waveform[step]

    def stimulus_energy(self) -> NDArray[np.float64]:
        """``sum_i w_i |x_i|^2`` (with the drivers' part): (n_samples,), float64."""
        total = np.zeros(self.n_samples)
        if self.offset is not None:
            total += self.offset
        for population in self.inputs:
            x = population.stimulus
            total += population.weight * np.einsum("ij,ij->i", x, x, dtype=np.float64)
        return total


class Engine(ABC):
    """One way to run a Problem.

    Attributes
    ----------
    name : str
    double_only : bool
        Whether every simulation of this engine is in float64, whatever the circuit.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> from spikelca.engines import get_engine
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> problem = circuit.problem({"x": np.array([[0.0, 1.0]])})
    >>> get_engine("reference").settle(problem, tol=1e-6, max_iter=1000).code.round(3)
    array([[0. , 0.9]])
    """

    name: str
    double_only: bool = False

    @abstractmethod
    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """The code at the fixed point, with its certificate."""

    @abstractmethod
    def simulate(self, problem: Problem) -> Response:
        """The time-stepped equations."""

    def learn(self, problem: Problem, rule: Any) -> Any:
        """The same with plastic synapses, one sample after the other: a `Stream`.

        Parameters
        ----------
        problem : Problem
            In the residual wiring and in float64; its clock is that of one presentation.
        rule : StreamRule
            How far synapses go, and what they remember.
        """
        raise NotImplementedError(
            f"The engine {self.name!r} has no plastic synapses; 'numba' and 'brian2' have."
        )

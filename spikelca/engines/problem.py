"""One input population as an engine sees it.

What the neurons of the code do to each other, and what follows from that alone.

A circuit makes its coupling once and hands it to every problem, so that a run of one sample does
not pay again for what no sample changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.response import Clock, Record
from spikelca.model.atoms import default_step, step_limit
from spikelca.model.dictionary import DerivedArrays, transpose
from spikelca.model.inputs import AnalogInput, Inputs, PoissonInput, SpikingResidual
from spikelca.model.neurons import Neuron, SpikingNeuron
from spikelca.model.transfer import Transfer
from spikelca.utils.validation import FloatArray


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
    layouts : Layouts
        The atoms as engines want them.
    input_kind : AnalogInput, PoissonInput or SpikingResidual, default=AnalogInput()
        How the stimulus is told.
    first_sample : int, default=0
        Number of the first sample in the whole batch, of which this may be a part.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> seen = circuit.compile({"x": np.array([[0.0, 1.0]])}).inputs[0]
    >>> seen.name, seen.stimulus.shape, seen.synapses.shape
    ('x', (1, 2), (2, 2))
    """

    name: str
    stimulus: FloatArray
    atoms: FloatArray
    weight: float
    derived: DerivedArrays
    input_kind: Inputs = field(default_factory=AnalogInput)
    first_sample: int = 0

    def with_atoms(self, atoms: FloatArray) -> InputPopulation:
        """The same population with other atoms."""
        return replace(self, atoms=atoms, derived=DerivedArrays(atoms))

    @property
    def synapses(self) -> FloatArray:
        """Phi_i: the atoms transposed, contiguous, for engines that go through the inputs."""
        return self.derived.get(transpose)

    def select(self, first: int, last: int) -> InputPopulation:
        """The same population for some of its samples."""
        return replace(
            self, stimulus=self.stimulus[first:last], first_sample=self.first_sample + first
        )

    @property
    def constant_input(self) -> FloatArray:
        """What flows in as a constant current: nothing of what comes in random spikes."""
        told = isinstance(self.input_kind, PoissonInput)
        return np.zeros_like(self.stimulus) if told else self.stimulus

    @cached_property
    def projection(self) -> FloatArray:
        """``Phi_i^T x_i`` of every sample: (n_samples, n_neurons)."""
        return np.asarray(self.stimulus @ self.atoms.T)

    @property
    def charges_dendrite(self) -> bool:
        """Whether it charges the dendrites u, and not the spike generators v directly."""
        return not isinstance(self.input_kind, SpikingResidual)

    @property
    def quantum(self) -> float:
        """What one spike of an input cell carries; zero for cells that do not spike."""
        if isinstance(self.input_kind, PoissonInput):
            return self.input_kind.quantum
        return self.input_kind.threshold if isinstance(self.input_kind, SpikingResidual) else 0.0

    def spike_events(
        self, row: int, k: float, n_steps: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Step, input and signed quantum of each random spike of a sample, in this order."""
        if not isinstance(self.input_kind, PoissonInput):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        x = self.stimulus[row]
        steps, inputs = self.input_kind.draw_spikes(x, k, n_steps, self.first_sample + row)
        return steps, inputs, self.quantum * np.sign(x)[inputs]


@dataclass(frozen=True, eq=False)
class Coupling:
    """``L + 1`` and its consequences.

    Parameters
    ----------
    gram : (n_neurons, n_neurons)
        sum_i w_i Phi_i^T Phi_i, with the gain of linked drivers on its diagonal; read-only from
        now on.

    Examples
    --------
    >>> import numpy as np
    >>> coupling = Coupling(np.array([[1.0, 0.6], [0.6, 1.0]]))
    >>> coupling.fan_out, round(coupling.step_limit, 2)
    (array([1, 1]), 1.25)
    >>> coupling.inhibition(0.5)
    array([[0. , 0.3],
           [0.3, 0. ]])
    """

    gram: FloatArray
    _scaled: dict[float, FloatArray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.gram.setflags(write=False)

    @property
    def lateral(self) -> FloatArray:
        """L: (n_neurons, n_neurons)."""
        return self.gram - np.eye(len(self.gram), dtype=self.gram.dtype)

    def inhibition(self, theta: float) -> FloatArray:
        """``L theta``, what one spike does; made once, as a circuit has one quantum."""
        if theta not in self._scaled:
            self._scaled[theta] = self.lateral * theta
        return self._scaled[theta]

    @cached_property
    def derived(self) -> DerivedArrays:
        """The Gram matrix as engines want it."""
        return DerivedArrays(self.gram)

    @cached_property
    def step_limit(self) -> float:
        """Below this ``dt / tau`` forward Euler is certainly stable."""
        return step_limit(self.gram)

    @property
    def default_step(self) -> float:
        """``dt / tau`` unless told."""
        return default_step(self.step_limit)

    @cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """Neurons that each neuron inhibits or excites, itself not counted: (n_neurons,)."""
        itself = np.diagonal(self.gram) != 0
        return np.asarray(np.count_nonzero(self.gram, axis=0) - itself)


FLOOR_SLACK = 2.0
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
    >>> problem = circuit.compile({"x": np.array([[0.0, 1.0]])})
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
    def self_gain(self) -> Any:
        """What one unit of output adds to its own s: 1, less the gain of linked drivers."""
        return self.dtype.type(1 - self.gain)

    @property
    def n_steps(self) -> int:
        """Steps of the run."""
        assert self.clock is not None
        return self.clock.n_steps

    @property
    def window_start_step(self) -> int:
        """The step from which spikes are counted for the code."""
        assert self.clock is not None
        return self.clock.window_start(self.record.window)

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
        return np.array(
            [np.broadcast_to(current + self.waveform_at(t), shape)[place] for t in steps]
        )

    def state_widths(self) -> dict[str, int]:
        """Name and width of every state variable of this circuit."""
        widths = {"v": self.n_neurons} if isinstance(self.neuron, SpikingNeuron) else {}
        if not self.residual_wiring:
            return {"u": self.n_neurons, **widths}
        cells = {f"r:{p.name}": p.atoms.shape[1] for p in self.inputs}
        cells |= {f"p:{p.name}": p.atoms.shape[1] for p in self.inputs if not p.charges_dendrite}
        return {"s": self.n_neurons, **widths, **cells}

    @property
    def has_spiking_inputs(self) -> bool:
        """Whether some input cells spike."""
        return any(p.quantum for p in self.inputs)

    @property
    def has_direct_inputs(self) -> bool:
        """Whether some input cells charge the spike generators v directly."""
        return not all(p.charges_dendrite for p in self.inputs)

    @property
    def v_floor(self) -> float:
        """Below it silent neurons do not drift; some spikes deeper where input cells charge v.

        What those cells owe, up to a spike each, makes v waver by less than a spike. A floor so
        near that it cut this off would give charge away for nothing.
        """
        assert isinstance(self.neuron, SpikingNeuron)
        direct = max((p.quantum for p in self.inputs if not p.charges_dendrite), default=0.0)
        return self.neuron.v_floor - FLOOR_SLACK * direct

    @property
    def lateral(self) -> FloatArray:
        """L, what the neurons do to each other: (n_neurons, n_neurons)."""
        return self.coupling.lateral

    def drive(self) -> FloatArray:
        """b, the feed-forward drive of the stimuli without currents: (n_samples, n_neurons)."""
        return reduce(add, (self.dtype.type(p.weight) * p.projection for p in self.inputs))

    def sequential_drive(self) -> FloatArray:
        """b as it flows in steadily, summed input by input in order: (n_samples, n_neurons).

        For trajectories: the same bits in every engine and whatever stands beside a sample, where a
        matrix product rounds as its blocks happen to fall.
        """
        b = np.zeros((self.n_samples, self.n_neurons), dtype=self.dtype)
        for population in self.inputs:
            weight = self.dtype.type(population.weight)
            for x, phi in zip(population.constant_input.T, population.atoms.T, strict=True):
                b += (weight * x)[:, None] * phi
        return b

    def waveform_at(self, step: int) -> FloatArray:
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

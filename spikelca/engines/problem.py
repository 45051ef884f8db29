"""The input of an engine: the problem, its input populations and its lateral coupling.

The coupling and all values derived from it depend on the circuit alone. A circuit makes them once
and shares them between problems, because they take longer to compute than the code of one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.currents import TimeVaryingCurrent
from spikelca.engines.response import Clock, Record
from spikelca.model.atoms import default_step, gram_matrix, step_limit
from spikelca.model.dictionary import DerivedArrays, transpose
from spikelca.model.inputs import AnalogInput, Inputs, PoissonInput, SpikingResidual
from spikelca.model.neurons import Neuron, SpikingNeuron
from spikelca.model.transfer import Transfer
from spikelca.utils.validation import FloatArray, as_float, check_finite


@dataclass(frozen=True, eq=False)
class InputPopulation:
    """One input population: its stimuli, and its synapses onto the neurons of the code.

    Parameters
    ----------
    name : str
    stimulus : (n_samples, n_inputs)
    atoms : (n_neurons, n_inputs)
    weight : float
        w_i of Eq. 6.
    derived : DerivedArrays
        Arrays computed from the atoms, in the memory layouts of the engines.
    input_kind : AnalogInput, PoissonInput or SpikingResidual, default=AnalogInput()
        How the stimulus enters the circuit.
    sample_numbers : (n_samples,), optional
        Index of each sample in the whole batch, if these samples are a part of it.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> population = circuit.compile({"x": np.array([[0.0, 1.0]])}).inputs[0]
    >>> population.name, population.stimulus.shape, population.synapses.shape
    ('x', (1, 2), (2, 2))
    """

    name: str
    stimulus: FloatArray
    atoms: FloatArray
    weight: float
    derived: DerivedArrays
    input_kind: Inputs = field(default_factory=AnalogInput)
    sample_numbers: NDArray[np.int64] | None = None

    def with_atoms(self, atoms: FloatArray) -> InputPopulation:
        """Return a copy with other atoms."""
        return replace(self, atoms=atoms, derived=DerivedArrays(atoms))

    @property
    def synapses(self) -> FloatArray:
        """Phi_i, contiguous, for engines that loop over the inputs: (n_inputs, n_neurons)."""
        return self.derived.get(transpose)

    def select(self, rows: NDArray[np.int64]) -> InputPopulation:
        """Return a copy with some of the samples."""
        numbers = rows if self.sample_numbers is None else self.sample_numbers[rows]
        return replace(self, stimulus=self.stimulus[rows], sample_numbers=numbers)

    def astype(self, dtype: Any) -> InputPopulation:
        """Return a copy in another precision."""
        return replace(
            self.with_atoms(self.atoms.astype(dtype)), stimulus=self.stimulus.astype(dtype)
        )

    @property
    def constant_input(self) -> FloatArray:
        """The stimulus as a constant current; zeros if random spikes replace the current."""
        is_random = isinstance(self.input_kind, PoissonInput)
        return np.zeros_like(self.stimulus) if is_random else self.stimulus

    @cached_property
    def projection(self) -> FloatArray:
        """``Phi_i^T x_i`` of every sample: (n_samples, n_neurons)."""
        return np.asarray(self.stimulus @ self.atoms.T)

    @property
    def charges_dendrite(self) -> bool:
        """Whether the input charges the dendrites u, rather than the spike generators v."""
        return not isinstance(self.input_kind, SpikingResidual)

    @property
    def quantum(self) -> float:
        """The charge of one spike of an input cell; zero for cells that do not spike."""
        if isinstance(self.input_kind, PoissonInput):
            return self.input_kind.quantum
        return self.input_kind.threshold if isinstance(self.input_kind, SpikingResidual) else 0.0

    def spike_events(
        self, row: int, k: float, clock: Clock
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Draw the random spikes of a sample.

        Parameters
        ----------
        row : int
            Index of the sample.
        k : float
            dt / tau.
        clock : Clock

        Returns
        -------
        steps, inputs, quanta : (n_spikes,)
            Step of the run, input cell and signed charge of each spike, in ascending order of the
            steps.
        """
        if not isinstance(self.input_kind, PoissonInput):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        x = self.stimulus[row]
        number = row if self.sample_numbers is None else int(self.sample_numbers[row])
        steps, inputs = self.input_kind.draw_spikes(
            x, k, clock.n_steps, number, clock.first_step, self.name
        )
        return steps, inputs, self.quantum * np.sign(x)[inputs]


@dataclass(frozen=True, eq=False)
class Coupling:
    """The Gram matrix ``G = L + 1`` of the neurons, and the values that follow from it.

    Parameters
    ----------
    gram : (n_neurons, n_neurons)
        sum_i w_i Phi_i^T Phi_i, with the gain of linked drivers on its diagonal. The array is
        set to read-only.

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
    _inhibition_cache: dict[float, FloatArray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.gram.setflags(write=False)

    def with_gain(self, gain: float) -> Coupling:
        """Return the coupling with the gain of linked drivers on its diagonal."""
        if not gain:
            return self
        dtype = self.gram.dtype
        return Coupling(self.gram + np.eye(len(self.gram), dtype=dtype) * dtype.type(gain))

    @property
    def lateral(self) -> FloatArray:
        """L = G - I: (n_neurons, n_neurons)."""
        return self.gram - np.eye(len(self.gram), dtype=self.gram.dtype)

    def inhibition(self, theta: float) -> FloatArray:
        """Return ``L theta``, the effect of one spike; cached, as a circuit has one quantum."""
        if theta not in self._inhibition_cache:
            self._inhibition_cache[theta] = self.lateral * theta
        return self._inhibition_cache[theta]

    @cached_property
    def derived(self) -> DerivedArrays:
        """Arrays computed from the Gram matrix, in the memory layouts of the engines."""
        return DerivedArrays(self.gram)

    @cached_property
    def step_limit(self) -> float:
        """The value of ``dt / tau`` below which forward Euler is guaranteed to be stable."""
        return step_limit(self.gram)

    @property
    def default_step(self) -> float:
        """The default value of ``dt / tau``."""
        return default_step(self.step_limit)

    @cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """Number of other neurons that each neuron inhibits or excites: (n_neurons,)."""
        has_self = np.diagonal(self.gram) != 0
        return np.asarray(np.count_nonzero(self.gram, axis=0) - has_self)


FLOOR_SLACK = 2.0
"""Number of input spikes by which the floor of v is lowered if they charge v directly."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The complete input of an engine.

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
        The part of the Gram matrix's diagonal that linked drivers contribute.
    offset : (n_samples,), optional
        The part of the squared norm of the stimulus that drivers contribute (a linked driver is
        a stimulus, too).
    waveform : TimeVaryingCurrent, optional
        Driver current that changes with each step, added to ``current``.
    residual_wiring : bool, default=False
        Whether the inputs are populations of residual neurons, rather than a plain drive.
    clock : Clock, optional
        If None, the problem can only be encoded.
    record : Record, default=Record()
    start : mapping of str to array, optional
        Initial state: "u" (and "v", "s", "r:<name>") of a simulation; or "a", the initial code,
        to encode.

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
    waveform: TimeVaryingCurrent | None = None
    gain: float = 0.0
    residual_wiring: bool = False
    clock: Clock | None = None
    record: Record = field(default_factory=Record)
    start: Mapping[str, FloatArray] | None = None

    def select(self, rows: NDArray[np.int64]) -> Problem:
        """Return the problem of some of the samples, and of the recorded ones among them.

        Parameters
        ----------
        rows : (n_selected,)
            Indices of the samples, ascending.
        """
        if len(rows) == self.n_samples:
            return self

        def pick(x: Any) -> Any:
            is_shared = x is None or len(x) != self.n_samples
            return x if is_shared else x[rows]

        recorded = self.record.samples[np.isin(self.record.samples, rows)]
        start = self.start
        return replace(
            self,
            inputs=tuple(p.select(rows) for p in self.inputs),
            current=pick(self.current),
            allowed=pick(self.allowed),
            offset=pick(self.offset),
            waveform=None if self.waveform is None else self.waveform.select(rows),
            start=None if start is None else {name: x[rows] for name, x in start.items()},
            record=replace(self.record, samples=np.searchsorted(rows, recorded)),
        )

    def astype(self, dtype: Any) -> Problem:
        """Return the problem in another precision, with a Gram matrix computed in it."""
        if self.dtype == dtype:
            return self
        inputs = tuple(p.astype(dtype) for p in self.inputs)
        gram = gram_matrix([p.atoms for p in inputs], [p.weight for p in inputs])
        start = self.start
        return replace(
            self,
            inputs=inputs,
            coupling=Coupling(gram).with_gain(self.gain),
            waveform=None if self.waveform is None else self.waveform.astype(dtype),
            start=None if start is None else {name: x.astype(dtype) for name, x in start.items()},
        )

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
        """Number of samples; they do not interact."""
        return int(self.inputs[0].stimulus.shape[0])

    @property
    def n_neurons(self) -> int:
        """Number of neurons of the code."""
        return int(self.gram.shape[0])

    @property
    def k(self) -> Any:
        """dt / tau, in the precision of the circuit."""
        assert self.clock is not None
        return self.dtype.type(self.clock.dt / self.neuron.tau)

    @property
    def self_gain(self) -> Any:
        """The effect of one unit of output on its own s: 1 minus the gain of linked drivers."""
        return self.dtype.type(1 - self.gain)

    @property
    def n_steps(self) -> int:
        """Number of steps of the run."""
        assert self.clock is not None
        return self.clock.n_steps

    @property
    def window_start_step(self) -> int:
        """First step of the read-out window, in which spikes are counted for the code."""
        assert self.clock is not None
        return self.clock.window_start(self.record.window)

    @property
    def taper(self) -> NDArray[np.int64]:
        """Weight of each step in the read-out: (n_steps,)."""
        assert self.clock is not None
        return self.clock.taper(self.record.window)

    def recorded_current(self) -> FloatArray:
        """Compute the driver current at the recorded steps, as a trace.

        Returns
        -------
        current : (n_times, n_recorded_samples, n_recorded_neurons)
        """
        steps = range(0, self.n_steps, self.record.every)
        shape = (self.n_samples, self.n_neurons)
        recorded = np.ix_(self.record.samples, self.record.neurons)
        current = self.current.astype(self.dtype)
        return np.array(
            [np.broadcast_to(current + self.waveform_at(t), shape)[recorded] for t in steps]
        )

    def state_widths(self) -> dict[str, int]:
        """Return the name and width of every state variable of this circuit."""
        widths = {"v": self.n_neurons} if isinstance(self.neuron, SpikingNeuron) else {}
        if not self.residual_wiring:
            return {"u": self.n_neurons, **widths}
        cells = {f"r:{p.name}": p.atoms.shape[1] for p in self.inputs}
        cells |= {f"p:{p.name}": p.atoms.shape[1] for p in self.inputs if not p.charges_dendrite}
        return {"s": self.n_neurons, **widths, **cells}

    def check_state(self, state: Mapping[str, Any], name: str) -> dict[str, FloatArray]:
        """Check the arrays of a state, and return them as floats.

        Parameters
        ----------
        state : mapping of str to (n_samples, width)
        name : str
            Name of the argument, for messages.

        Returns
        -------
        dict of str to (n_samples, width)

        Raises
        ------
        ValueError
            If a variable is unknown, has another shape, or is not finite.
        """
        widths, checked = {"u": self.n_neurons, **self.state_widths()}, {}
        for variable, values in state.items():
            if variable not in widths:
                raise ValueError(f"{name} must have names from {list(widths)}, got {variable!r}.")
            label, shape = f"{name} {variable!r}", (self.n_samples, widths[variable])
            checked[variable] = as_float(values, label)
            if checked[variable].shape != shape:
                got = checked[variable].shape
                raise ValueError(f"{label} must have shape {shape}, got {got}.")
            check_finite(checked[variable], label)
        return checked

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
        """Lower limit of v for inactive neurons, lowered if input cells charge v directly.

        Each of those cells holds back up to one spike of charge, so that v fluctuates by less
        than one spike. A floor closer than that would clip the charge and bias the code.
        """
        assert isinstance(self.neuron, SpikingNeuron)
        direct = max((p.quantum for p in self.inputs if not p.charges_dendrite), default=0.0)
        return self.neuron.v_floor - FLOOR_SLACK * direct

    @property
    def lateral(self) -> FloatArray:
        """L, the lateral inhibition: (n_neurons, n_neurons)."""
        return self.coupling.lateral

    def drive(self) -> FloatArray:
        """Compute b, the feed-forward drive without driver currents: (n_samples, n_neurons)."""
        return reduce(add, (self.dtype.type(p.weight) * p.projection for p in self.inputs))

    def sequential_drive(self) -> FloatArray:
        """Compute b of the constant inputs, summed input by input: (n_samples, n_neurons).

        For trajectories, which must be bit-identical in every engine and for any other samples
        of the batch. The rounding of a matrix product depends on the shape of its operands.
        """
        b = np.zeros((self.n_samples, self.n_neurons), dtype=self.dtype)
        for population in self.inputs:
            weight = self.dtype.type(population.weight)
            for x, phi in zip(population.constant_input.T, population.atoms.T, strict=True):
                b += (weight * x)[:, None] * phi
        return b

    def waveform_at(self, step: int) -> FloatArray:
        """Return the time-varying driver current of a step: (1 or n_samples, n_neurons)."""
        return np.zeros((1, 1), self.dtype) if self.waveform is None else self.waveform.at(step)

    @property
    def final_current(self) -> FloatArray:
        """Driver current at the last step: (1 or n_samples, n_neurons)."""
        last = self.waveform_at(self.n_steps - 1) if self.waveform is not None else 0
        return self.current + last

    def stimulus_energy(self) -> NDArray[np.float64]:
        """Compute ``sum_i w_i |x_i|^2``, drivers included: (n_samples,), float64."""
        total = np.zeros(self.n_samples)
        if self.offset is not None:
            total += self.offset
        for population in self.inputs:
            x = population.stimulus
            total += population.weight * np.einsum("ij,ij->i", x, x, dtype=np.float64)
        return total

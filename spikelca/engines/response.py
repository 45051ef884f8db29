"""The output of an engine: simulated time, recorded values, spikes, and the response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray, check_number

DEFAULT_WINDOW = 0.25
"""Default length of the read-out window, as a fraction of the run; it is at the end."""

MAX_WINDOW_STEPS = 3_000_000
"""Largest number of steps for which the sum of the taper's weights fits into 64 bits."""


@dataclass(frozen=True)
class Clock:
    """Simulated time: ``n_steps`` steps of ``dt`` seconds each.

    Parameters
    ----------
    dt : float
        Integration step in seconds.
    n_steps : int
        Number of steps of the run.
    first_step : int, default=0
        Number of steps before this run, if it continues an earlier one. Time zero is the start of
        the first run.

    Examples
    --------
    >>> clock = Clock(dt=1e-4, n_steps=4)
    >>> clock.times, clock.window_start(0.5)
    (array([0.    , 0.0001, 0.0002, 0.0003]), 2)
    >>> clock.taper(0.75)
    array([0, 3, 4, 3])
    """

    dt: float
    n_steps: int
    first_step: int = 0

    @property
    def times(self) -> NDArray[np.float64]:
        """Start of each step in seconds, from time zero: (n_steps,)."""
        return self.times_of(0, self.n_steps)

    def times_of(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the start of some steps of the run in seconds, from time zero."""
        # Products of whole numbers and dt: a run in pieces has bit-identical times.
        return np.arange(self.first_step + start, self.first_step + stop, dtype=float) * self.dt

    @property
    def end_step(self) -> int:
        """Number of steps from time zero to the end of the run."""
        return self.first_step + self.n_steps

    def window_start(self, window: float) -> int:
        """Return the first step of the read-out window.

        Parameters
        ----------
        window : float in (0, 1]
            Length of the window, as a fraction of the run.

        Raises
        ------
        ValueError
            If the window is outside (0, 1], or shorter than one step.
        """
        window = check_number(window, "window")
        if not 0 < window <= 1:
            raise ValueError(
                f"`window` must be a fraction of the run in (0, 1], got {window}. Use 0.5 for its "
                "second half."
            )
        start = self.n_steps - round(window * self.n_steps)
        if start == self.n_steps:
            raise ValueError(
                f"`window` must contain at least one of the {self.n_steps} steps of the run, got "
                f"{window}. Use a larger window or a longer simulation."
            )
        return start

    def readout_start(self, window: float) -> int:
        """Return the first step of a window whose spikes are weighted by `taper`.

        Raises
        ------
        ValueError
            As in `window_start`, or if the window has more than `MAX_WINDOW_STEPS` steps.
        """
        start = self.window_start(window)
        if self.n_steps - start > MAX_WINDOW_STEPS:
            raise ValueError(
                f"`window` must contain at most {MAX_WINDOW_STEPS} steps, got {window}, which is "
                f"{self.n_steps - start} steps. Use a smaller window or a larger dt."
            )
        return start

    def taper(self, window: float) -> NDArray[np.int64]:
        """Compute the weight of each step in the read-out: (n_steps,).

        The weight is zero before the window and ``(i + 1) (n - i)`` in step i of its n steps, a
        parabola. Spikes at the edges of the window have little weight, so that an error of one
        spike there decreases with the square of the window length instead of its first power.
        The weights are integers, so that sums are exact in any order.
        """
        start = self.readout_start(window)
        i, n = np.arange(self.n_steps - start), self.n_steps - start
        return np.concatenate([np.zeros(start, np.int64), (i + 1) * (n - i)])

    def taper_sum(self, window: float) -> int:
        """Return the sum of the weights of `taper`: ``n (n + 1) (n + 2) / 6``."""
        n = self.n_steps - self.readout_start(window)
        return n * (n + 1) * (n + 2) // 6


@dataclass(frozen=True, eq=False)
class Record:
    """The values to record in a simulation.

    Parameters
    ----------
    names : tuple of str, default=()
        Names from `RECORDABLE` that exist in the circuit.
    every : int, default=1
        Number of steps between two recorded values of a trace.
    neurons, samples : int arrays
        Indices of the recorded neurons and samples.
    window : float in (0, 1], default=0.25
        Length of the read-out window, as a fraction of the run.

    Examples
    --------
    >>> record = Record(("u", "spikes"), every=10)
    >>> record.spikes, record.n_times(Clock(dt=1e-4, n_steps=95))
    (True, 10)
    """

    names: tuple[str, ...] = ()
    every: int = 1
    neurons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    samples: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    window: float = DEFAULT_WINDOW

    @property
    def spikes(self) -> bool:
        """Whether single spikes are recorded."""
        return "spikes" in self.names

    def n_times(self, clock: Clock) -> int:
        """Return the number of recorded values of a trace."""
        return len(range(0, clock.n_steps, self.every))


@dataclass(frozen=True, eq=False, repr=False)
class State(Mapping[str, FloatArray]):
    """State of a simulation: arrays by name, and the time at which they hold.

    Parameters
    ----------
    arrays : mapping of str to (n_samples, width) array
    step : int, default=0
        Number of steps since time zero.
    dt : float, optional
        Seconds per step; None if there is no time.

    Examples
    --------
    >>> import numpy as np
    >>> state = State({"u": np.zeros((2, 3))}, step=500, dt=1e-4)
    >>> state
    State(u (2, 3), t = 0.05 s)
    >>> state["u"].shape, list(state)
    ((2, 3), ['u'])
    """

    arrays: Mapping[str, FloatArray]
    step: int = 0
    dt: float | None = None

    def __getitem__(self, name: str) -> FloatArray:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        return f"State({arrays}{'' if self.dt is None else f', t = {self.step * self.dt:g} s'})"


RECORDABLE = ("u", "a", "v", "s", "r", "current", "spikes")
"""``u`` membrane potential, ``a`` = T(u), ``v`` spike generator, ``s`` filtered output of the same
neuron (residual wiring), ``r`` residual neurons of each modality (traces ``r:<modality>``),
``current`` of the drivers, and ``spikes``."""


@dataclass(frozen=True, eq=False)
class Spikes:
    """Spikes as three aligned arrays, ordered by sample, then step, then neuron.

    Iterates as ``(sample, neuron, step)``.

    Attributes
    ----------
    sample, neuron, step : (n_spikes,) int64
        ``step`` is counted from time zero, see `Clock`.
    dt : float, optional
        Seconds per step.

    Examples
    --------
    >>> import numpy as np
    >>> spikes = Spikes(np.array([0, 0]), np.array([1, 1]), np.array([5, 9]))
    >>> len(spikes), spikes.counts(n_samples=1, n_neurons=2)
    (2, array([[0, 2]]))
    >>> Spikes(*spikes, dt=0.5).trains(neurons=[0, 1])
    {0: array([], dtype=float64), 1: array([2.5, 4.5])}
    """

    sample: NDArray[np.int64]
    neuron: NDArray[np.int64]
    step: NDArray[np.int64]
    dt: float | None = None

    @property
    def times(self) -> NDArray[np.float64]:
        """Time of each spike in seconds: (n_spikes,)."""
        if self.dt is None:
            raise ValueError("cannot compute times: these spikes have no dt. Use step * dt.")
        return np.asarray(self.step * self.dt)

    def trains(self, neurons: Sequence[int], sample: int = 0) -> dict[int, NDArray[np.float64]]:
        """Return the spike times of neurons in one sample, in seconds; empty for silent ones.

        Parameters
        ----------
        neurons : sequence of int
            For example the recorded ones, ``response.neurons``.
        sample : int, default=0
        """
        selected, times = self.sample == sample, self.times
        return {int(j): times[selected & (self.neuron == j)] for j in neurons}

    def to_frame(self) -> Any:
        """Return a pandas data frame with the columns sample, neuron and time (seconds)."""
        import pandas

        columns = {"sample": self.sample, "neuron": self.neuron, "time": self.times}
        return pandas.DataFrame(columns)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter((self.sample, self.neuron, self.step))

    def __len__(self) -> int:
        return int(self.step.size)

    def counts(self, n_samples: int, n_neurons: int, start: int = 0) -> NDArray[np.int64]:
        """Count the spikes of each neuron from step `start` to the end: (n_samples, n_neurons)."""
        counted = self.step >= start
        index = self.sample[counted] * n_neurons + self.neuron[counted]
        return np.bincount(index, minlength=n_samples * n_neurons).reshape(-1, n_neurons)

    def weighted_counts(
        self, n_samples: int, n_neurons: int, weights: NDArray[np.int64], first_step: int = 0
    ) -> NDArray[np.int64]:
        """Sum the weights of the steps at which each neuron spikes: (n_samples, n_neurons).

        ``weights[0]`` belongs to ``first_step``.
        """
        total = np.zeros((n_samples, n_neurons), np.int64)
        np.add.at(total, (self.sample, self.neuron), weights[self.step - first_step])
        return total


@dataclass(frozen=True, eq=False, repr=False)
class Response:
    """The response of a circuit to its stimuli.

    Attributes
    ----------
    code : (n_samples, n_neurons)
        ``T(u)`` of the returned state; with spiking neurons quantum times firing rate times tau,
        with the rate of a tapered window, see `spikelca.readout`.
    residual : (n_samples,) float64
        ``max_j |T(b + d - L a) - a|_j / threshold``: zero at a fixed point of the circuit.
    gap : (n_samples,) float64, optional
        Relative duality gap ``(P - D) / P`` (soft threshold); NaN where no dual point is known,
        because a current is at or above the threshold.
    n_iter : (n_samples,) int64, optional
        Number of rounds of the solver, or of integration steps.
    state : State
        Final state. The next call continues from it with ``start=response`` or
        ``start=response.state``.
    traces : mapping of str to array
        (n_times, n_samples, n_neurons) for each recorded name.
    times : (n_times,) float64
        Start of each recorded step in seconds, from time zero.
    spikes : Spikes, optional
        Single spikes, if they were recorded.
    counts : (n_samples, n_cells) int64, optional
        Number of spikes in the read-out window. Each neuron is one cell; with signed codes it is
        a pair of ON and OFF cells, and the OFF cells of all neurons follow the ON cells.
    clock : Clock, optional
        Simulated time of a simulation.
    quantum, tau : float, optional
        Parameters of the spiking neuron, tau in seconds.
    window : float, optional
        Length of the window of ``counts``, as a fraction of the run.
    neurons, samples : int arrays, optional
        Indices of the neurons and samples in ``traces`` and ``spikes``. With signed codes, traces
        contain the ON cells of these neurons, then their OFF cells.
    every : int, default=1
        Number of steps between two ``times``.
    events : mapping of str to (n_samples,) int64
        Number of "spikes" and "synaptic_events" in the whole run (spiking circuits), and of
        "input_spikes" with spiking inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> response = circuit.encode({"x": [[0.0, 1.0]]})
    >>> response.code, bool(response.gap[0] <= 1e-4)
    (array([[0. , 0.9]]), True)
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
    window: float | None = None
    events: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    neurons: NDArray[np.int64] | None = None
    samples: NDArray[np.int64] | None = None
    every: int = 1

    def __repr__(self) -> str:
        parts = [f"code {self.code.shape}", f"largest residual {self.residual.max(initial=0):.2g}"]
        if self.gap is not None:
            parts.append(f"largest gap {self.gap.max(initial=0):.2g}")
        if self.clock is not None:
            parts.append(f"{self.clock.n_steps} steps of {self.clock.dt:.3g} s")
        parts += [f"{name} {trace.shape}" for name, trace in self.traces.items()]
        if self.spikes is not None:
            parts.append(f"{len(self.spikes)} spikes")
        return f"Response({', '.join(parts)})"

    def to_frame(self, name: str) -> Any:
        """Return a trace of neurons as a pandas data frame.

        Parameters
        ----------
        name : str
            Name of the trace, for example "u".

        Returns
        -------
        pandas.DataFrame
            With a row for each of ``times``, and a column for each recorded (sample, neuron).

        Raises
        ------
        ValueError
            If there is no such trace, or it is not one of neurons.
        """
        import pandas

        traces = {n: x for n, x in self.traces.items() if not n.startswith("r:")}
        if name not in traces or self.samples is None or self.neurons is None:
            raise ValueError(f"name must be one of the traces {list(traces)}, got {name!r}.")
        trace, cells = traces[name], self.neurons
        if trace.shape[2] == 2 * len(cells):  # ON and OFF cells
            cells = np.concatenate([cells, cells + self.code.shape[1]])
        columns = pandas.MultiIndex.from_product([self.samples, cells], names=["sample", "neuron"])
        index = pandas.Index(self.times, name="time")
        return pandas.DataFrame(trace.reshape(len(trace), -1), index, columns)

    @property
    def has_all_spikes(self) -> bool:
        """Whether the spikes of all neurons and samples were recorded."""
        n_samples, n_neurons = self.code.shape
        is_complete = (self.neurons is None or len(self.neurons) == n_neurons) and (
            self.samples is None or len(self.samples) == n_samples
        )
        return self.spikes is not None and is_complete

    def rates(self, window: float | None = None) -> NDArray[np.float64]:
        """Compute the firing rates at the end of the run, in hertz: (n_samples, n_cells).

        The rates are unweighted counts per time, while `code` weights the spikes of the window.

        Parameters
        ----------
        window : float in (0, 1], optional
            Length of the window, as a fraction of the run (default: the window of the
            simulation). Another window requires a simulation with ``record=("spikes",)``.

        Raises
        ------
        ValueError
            If the neurons do not spike, the window is outside the run, or the spikes were not
            recorded.
        """
        if self.counts is None or self.clock is None or self.window is None:
            raise ValueError(
                "cannot compute rates: the neurons of this response do not spike. Simulate a "
                "circuit with a SpikingNeuron."
            )
        start = self.clock.window_start(self.window if window is None else window)
        counts = self.counts
        if start != self.clock.window_start(self.window):
            if self.spikes is None or not self.has_all_spikes:
                raise ValueError(
                    f"`window` must be {self.window}, the window of the simulation, got {window}. "
                    "Simulate with record=('spikes',) and all neurons and samples to choose "
                    "another window afterwards."
                )
            first = self.clock.first_step + start
            counts = self.spikes.counts(counts.shape[0], counts.shape[1], first)
        return np.asarray(counts / ((self.clock.n_steps - start) * self.clock.dt))

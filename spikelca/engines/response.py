"""What comes back from an engine, and what it was asked to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray

DEFAULT_WINDOW = 0.25
"""The last part of a run that is read out, unless told."""

MAX_WINDOW_STEPS = 3_000_000
"""Steps beyond which the weights of a read-out no longer add up in 64 bits."""


@dataclass(frozen=True)
class Clock:
    """Simulated time: a step of ``dt`` seconds, ``n_steps`` of them.

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

    @property
    def times(self) -> NDArray[np.float64]:
        """Start of each step in seconds: (n_steps,)."""
        return np.arange(self.n_steps, dtype=np.float64) * self.dt

    def window_start(self, window: float) -> int:
        """The step at which the last part of the run begins.

        Raises
        ------
        ValueError
            If the window is outside (0, 1], or shorter than one step.
        """
        if not 0 < window <= 1:
            raise ValueError(
                f"window is {window}; a part in (0, 1] of the run was awaited, 0.5 for its half."
            )
        first = self.n_steps - round(window * self.n_steps)
        if first == self.n_steps:
            raise ValueError(
                f"window is {window}, less than one of the {self.n_steps} steps of the run. Take a "
                "larger window or simulate for longer."
            )
        return first

    def readout_start(self, window: float) -> int:
        """The same for a window in which spikes are weighed: it may be too long for that.

        Raises
        ------
        ValueError
            As in `window_start`, or if the window has more steps than `MAX_WINDOW_STEPS`.
        """
        first = self.window_start(window)
        if self.n_steps - first > MAX_WINDOW_STEPS:
            raise ValueError(
                f"window is {window}, {self.n_steps - first} steps of the run; {MAX_WINDOW_STEPS} at "
                "most were awaited. Take a smaller window, or a larger dt."
            )
        return first

    def taper(self, window: float) -> NDArray[np.int64]:
        """Weight of each step in a read-out: (n_steps,).

        Zero before the window; in it ``(i + 1) (n - i)`` for step i of n, a parabola. A spike
        that just missed the window would hardly have counted, and one that just got in hardly
        does: what is uncertain by one spike falls with the square of the window and not with the
        window. Whole numbers, so that sums are exact in any order.
        """
        first = self.readout_start(window)
        i, n = np.arange(self.n_steps - first), self.n_steps - first
        return np.concatenate([np.zeros(first, np.int64), (i + 1) * (n - i)])

    def taper_sum(self, window: float) -> int:
        """The sum of these weights: ``n (n + 1) (n + 2) / 6``."""
        n = self.n_steps - self.readout_start(window)
        return n * (n + 1) * (n + 2) // 6


@dataclass(frozen=True, eq=False)
class Record:
    """What to keep of a simulation.

    Parameters
    ----------
    names : tuple of str, default=()
        Out of `RECORDABLE`, as far as the circuit has them.
    every : int, default=1
        Every how many steps a trace keeps a value.
    neurons, samples : int arrays
        Which neurons and which samples the traces hold.
    window : float in (0, 1], default=0.25
        The last part of the run in which spikes are read out.

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
        """Whether spikes are kept one by one."""
        return "spikes" in self.names

    def n_times(self, clock: Clock) -> int:
        """Values that a trace holds."""
        return len(range(0, clock.n_steps, self.every))


RECORDABLE = ("u", "a", "v", "s", "r", "current", "spikes")
"""``u`` membrane, ``a`` = T(u), ``v`` spike generator, ``s`` filtered own output (residual wiring),
``r`` the residual neurons of each modality (traces ``r:<modality>``), ``current`` of the drivers,
and ``spikes``."""


@dataclass(frozen=True, eq=False)
class Spikes:
    """Spikes as three aligned arrays, ordered by sample, then step, then neuron.

    Iterates as ``(sample, neuron, step)``.

    Attributes
    ----------
    sample, neuron, step : (n_spikes,) int64

    Examples
    --------
    >>> import numpy as np
    >>> spikes = Spikes(np.array([0, 0]), np.array([1, 1]), np.array([5, 9]))
    >>> len(spikes), spikes.counts(n_samples=1, n_neurons=2)
    (2, array([[0, 2]]))
    """

    sample: NDArray[np.int64]
    neuron: NDArray[np.int64]
    step: NDArray[np.int64]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter((self.sample, self.neuron, self.step))

    def __len__(self) -> int:
        return int(self.step.size)

    def counts(self, n_samples: int, n_neurons: int, first: int = 0) -> NDArray[np.int64]:
        """Spikes of each neuron from a step on: (n_samples, n_neurons)."""
        late = self.step >= first
        place = self.sample[late] * n_neurons + self.neuron[late]
        return np.bincount(place, minlength=n_samples * n_neurons).reshape(-1, n_neurons)

    def weighted_counts(
        self, n_samples: int, n_neurons: int, weights: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The same with a weight for each step: (n_samples, n_neurons)."""
        total = np.zeros((n_samples, n_neurons), np.int64)
        np.add.at(total, (self.sample, self.neuron), weights[self.step])
        return total


@dataclass(frozen=True, eq=False)
class Response:
    """What comes back from an engine.

    Attributes
    ----------
    code : (n_samples, n_neurons)
        ``T(u)`` of the returned state, or quantum times spike rate times tau, the rate read in a
        tapered window; see `spikelca.readout`.
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
    counts : (n_samples, n_cells) int64, optional
        Spikes in the read-out window. A cell is a neuron; with signed codes the negative halves of
        the pairs follow behind the positive ones.
    clock : Clock, optional
    quantum, tau : float, optional
        Of the spiking neuron that gave this response.
    window : float, optional
        The last part of the run in which ``counts`` were taken.
    events : mapping of str to (n_samples,) int64
        Counted "spikes" and "synaptic_events" of the whole run (spiking circuits).

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> settled = circuit.encode({"x": [[0.0, 1.0]]})
    >>> settled.code, bool(settled.gap[0] <= 1e-4)
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

    def rates(self, window: float | None = None) -> NDArray[np.float64]:
        """Firing rates in the last part of the run, in hertz: (n_samples, n_cells).

        Plain counts over time; `code` weighs the spikes of the same window.

        Parameters
        ----------
        window : float in (0, 1], optional
            The window in which the simulation counted, unless told. Any other one needs the
            spikes: simulate with ``record=("spikes",)``.

        Raises
        ------
        ValueError
            If nothing spiked here, the window is outside the run, or the spikes were not kept.
        """
        if self.counts is None or self.clock is None or self.window is None:
            raise ValueError("This response holds no spikes; rates need a SpikingNeuron.")
        first = self.clock.window_start(self.window if window is None else window)
        counts = self.counts
        if first != self.clock.window_start(self.window):
            if self.spikes is None:
                raise ValueError(
                    f"window is {window}, and spikes were counted in the last {self.window} only. "
                    "Simulate with record=('spikes',) to choose a window afterwards."
                )
            counts = self.spikes.counts(counts.shape[0], counts.shape[1], first)
        return np.asarray(counts / ((self.clock.n_steps - first) * self.clock.dt))

"""The circuit: populations, synapses, thresholds and drivers, described once.

A `Circuit` is a value. It says what is simulated and never how: `encode` and `run_simulation` compile it
with the stimuli into a `Problem` and pass that to an engine; `learn` returns a new circuit. The
lateral weights follow from the dictionaries and are never stored.

::

    tau du/dt = -u + sum_i w_i Phi_i^T x_i + d(t) - L a          a = T(u)
    L = sum_i w_i Phi_i^T Phi_i - 1                              (Eq. 3)
    E = 1/2 sum_i w_i |x_i - Phi_i a|^2 + C(a)                   (Eq. 6)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.circuit.batch_statistics import BatchStatistics, make_statistics
from spikelca.circuit.compile import apply_drivers, make_inputs
from spikelca.circuit.dictionary_update import EligibleSamples, eligible_samples, update_atoms
from spikelca.circuit.encoding import encode_in_chunks
from spikelca.circuit.online import run_online
from spikelca.circuit.simulation import prepare_run, run_simulation, static_drivers
from spikelca.engines import (
    DEFAULT_WINDOW,
    Coupling,
    Engine,
    OnlineResult,
    Problem,
    Response,
    get_engine,
)
from spikelca.engines.brian2 import Brian2Engine
from spikelca.engines.brian2.live import Brian2Circuit
from spikelca.metrics import energy
from spikelca.model.atoms import (
    check_dictionaries,
    gram_matrix,
    normalise_stacked,
    rescale_to_stacked,
    stacked_norms,
)
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import Driver
from spikelca.model.neurons import Neuron
from spikelca.model.plasticity import IdleAtoms, PlasticityState
from spikelca.model.transfer import Transfer
from spikelca.utils.validation import (
    FloatArray,
    check_code,
    check_matrix,
    check_shape,
    check_shapes,
    check_stimuli,
)

_WIRINGS = ("lateral", "residual")


@dataclass(frozen=True, eq=False)
class Circuit:
    """One population of neurons that codes one or several linked modalities.

    Parameters
    ----------
    neuron : RateNeuron or SpikingNeuron
        What one cell is.
    transfer : SoftThreshold or HardThreshold
        How its potential becomes an output.
    dictionaries : sequence of Dictionary
        One for each modality; all share the neurons.
    drivers : sequence of Driver, default=()
        Currents into chosen neurons.
    wiring : {"lateral", "residual"}, default="lateral"
        One layer with lateral inhibition, or two layers in which the inputs hold the
        reconstruction error. Equal in exact arithmetic.
    idle : IdleAtoms, default=IdleAtoms()
        What happens to atoms that fall silent while learning.
    plasticity : PlasticityState, optional
        What the learning rule remembers; fresh unless told.

    Raises
    ------
    ValueError
        If dictionaries do not fit together, an atom is blank or doubled, or a driver does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> atoms = np.array([[1.0, 0.0], [0.6, 0.8]])
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms)])
    >>> circuit.encode({"x": [[0.0, 1.0]]}).code.round(3)
    array([[0. , 0.7]])
    """

    neuron: Neuron
    transfer: Transfer
    dictionaries: Sequence[Dictionary]
    drivers: Sequence[Driver] = ()
    wiring: str = "lateral"
    idle: IdleAtoms = field(default_factory=IdleAtoms)
    plasticity: PlasticityState | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dictionaries", tuple(self.dictionaries))
        object.__setattr__(self, "drivers", tuple(self.drivers))
        if self.wiring not in _WIRINGS:
            raise ValueError(f"wiring is {self.wiring!r}; one of {_WIRINGS} was awaited.")
        check_dictionaries(self.dictionaries)
        for driver in self.drivers:
            driver.check(self.n_neurons, self.transfer)
        if self.plasticity is None:
            object.__setattr__(self, "plasticity", PlasticityState.initial(self.n_neurons))

    @property
    def n_neurons(self) -> int:
        """Neurons of the code."""
        return self.dictionaries[0].n_neurons

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the synapses and of all that is computed with them."""
        return self.dictionaries[0].atoms.dtype

    @property
    def widths(self) -> dict[str, int]:
        """Number of inputs of each modality."""
        return {d.name: d.n_inputs for d in self.dictionaries}

    @cached_property
    def coupling(self) -> Coupling:
        """The Gram matrix, made once, and what follows from it alone."""
        return Coupling(gram_matrix(self.dictionaries))

    @property
    def gram(self) -> FloatArray:
        """``L + 1 = sum_i w_i Phi_i^T Phi_i``: (n_neurons, n_neurons)."""
        return self.coupling.gram

    @property
    def lateral(self) -> FloatArray:
        """L, the lateral weights: (n_neurons, n_neurons). Derived, never stored."""
        return self.coupling.lateral

    def dictionary(self, modality: str) -> Dictionary:
        """The dictionary of a modality.

        Parameters
        ----------
        modality : str

        Returns
        -------
        Dictionary

        Raises
        ------
        ValueError
            If there is no such modality.
        """
        for d in self.dictionaries:
            if d.name == modality:
                return d
        raise ValueError(f"modality is {modality!r}; one of {list(self.widths)} was awaited.")

    def _replace(self, **parts: Any) -> Self:
        """A circuit in which some fields are others, and which trusts its atoms unchecked.

        Parameters
        ----------
        **parts
            Fields and what they are now, for example ``neuron=SpikingNeuron()``.

        Returns
        -------
        Circuit
        """
        new = object.__new__(type(self))
        for part in fields(self):
            object.__setattr__(new, part.name, parts.get(part.name, getattr(self, part.name)))
        return new

    def without_drivers(self) -> Self:
        """The same circuit with its drivers off: the one that may be used to predict.

        Returns
        -------
        Circuit
        """
        return self if not self.drivers else self._replace(drivers=())

    def faded(self, fraction: float) -> Self:
        """The same circuit with drivers as strong as they are after a part of the learning.

        Parameters
        ----------
        fraction : float in [0, 1]
            How much of the learning is done.

        Returns
        -------
        Circuit
        """
        return self._replace(drivers=tuple(d.faded(fraction) for d in self.drivers))

    def observe(self, *modalities: str) -> Self:
        """The circuit that sees only these modalities.

        Only their blocks enter the drive *and* the lateral inhibition. The part of each atom that
        is left is brought back to unit norm. A modality that is left out is not shown as zeros:
        zeros would be evidence of black.

        Parameters
        ----------
        *modalities : str
            At least one.

        Returns
        -------
        Circuit

        Raises
        ------
        ValueError
            If a modality is unknown, or none is named.
        """
        if not modalities:
            raise ValueError(f"No modality was named; at least one of {list(self.widths)} awaited.")
        chosen = {self.dictionary(name).name for name in modalities}
        kept = [d for d in self.dictionaries if d.name in chosen]
        if len(kept) == len(self.dictionaries):
            return self
        atoms = normalise_stacked([d.atoms for d in kept], [d.weight for d in kept])
        seen = tuple(d.with_atoms(phi) for d, phi in zip(kept, atoms, strict=True))
        return self._replace(dictionaries=seen)

    def observed_norms(self, *modalities: str) -> NDArray[np.float64]:
        """Norm of the part of each stacked atom that lies in these modalities.

        Parameters
        ----------
        *modalities : str

        Returns
        -------
        (n_neurons,) float64
        """
        kept = [self.dictionary(name) for name in modalities]
        return stacked_norms([d.atoms for d in kept], [d.weight for d in kept])

    def drive(
        self, stimuli: Mapping[str, ArrayLike], labels: ArrayLike | None = None
    ) -> FloatArray:
        """``b + d``: what reaches the neurons before they talk to each other.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
        labels : (n_samples,) int, optional
            Class numbers, for drivers that need them.

        Returns
        -------
        (n_samples, n_neurons)
        """
        problem = self.compile(check_stimuli(stimuli, self.widths, self.dtype), labels)
        return np.asarray(problem.drive() + problem.current.astype(self.dtype))

    def reconstruct(
        self, code: ArrayLike, modality: str, observed: Sequence[str] | None = None
    ) -> FloatArray:
        """``Phi_i a``: what a code says about a modality.

        Parameters
        ----------
        code : (n_samples, n_neurons)
        modality : str
        observed : sequence of str, optional
            The modalities that the code was made from, if it was made from a part of them. Such a
            code belongs to atoms whose observed part has unit norm (`observe`); it is brought back
            to the stacked atoms before anything is recalled.

        Returns
        -------
        (n_samples, n_inputs)
        """
        d = self.dictionary(modality)
        a = check_matrix(code, "code", self.n_neurons, self.dtype)
        if observed is not None and len(set(observed)) < len(self.dictionaries):
            a = rescale_to_stacked(a, self.observed_norms(*observed))
        return np.asarray(a @ d.atoms)

    def energy(self, stimuli: Mapping[str, ArrayLike], code: ArrayLike) -> NDArray[np.float64]:
        """The energy of Eq. 6 with the cost of this transfer function; drivers are no part of it.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
        code : (n_samples, n_neurons)

        Returns
        -------
        (n_samples,) float64
        """
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        n_samples = len(next(iter(checked.values())))
        codes = check_code(code, n_samples, self.n_neurons, self.dtype)
        return energy(checked, self.dictionaries, codes, self.transfer)

    def compile(
        self, stimuli: Mapping[str, FloatArray], labels: ArrayLike | None = None, **parts: Any
    ) -> Problem:
        """Compile the circuit and checked stimuli into what an engine sees.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Of the circuit's type.
        labels : (n_samples,) int, optional
        **parts
            Further fields of the problem: clock, start, record.

        Returns
        -------
        Problem
        """
        names = set(stimuli)
        if len(names) < len(self.dictionaries):
            return self.observe(*names).compile(stimuli, labels, **parts)
        inputs = make_inputs(self.dictionaries, stimuli)
        injected = apply_drivers(inputs, self.coupling, self.drivers, labels)
        residual = self.wiring == "residual"
        return Problem(
            self.neuron, self.transfer, inputs, residual_wiring=residual, **injected, **parts
        )

    def encode(
        self,
        stimuli: Mapping[str, ArrayLike],
        tol: float = 1e-4,
        *,
        labels: ArrayLike | None = None,
        engine: str | Engine = "numba",
        max_iter: int = 100_000,
        start: ArrayLike | None = None,
    ) -> Response:
        """The settled code of each sample, by the fastest road, with its certificate.

        A spiking circuit settles, in the mean of its spikes, at the same code.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Any non-empty subset of the modalities; the others are left out, see `observe`.
        tol : float, default=1e-4
            Soft threshold: relative duality gap at which a sample is done (below 1e-6 the
            fixed-point residual must be below it too). Hard threshold: fixed-point residual.
        labels : (n_samples,) int, optional
            Class numbers for drivers that need them.
        engine : {"numba", "reference"} or Engine, default="numba"
        max_iter : int, default=100_000
            Rounds after which a sample is given up.
        start : (n_samples, n_neurons), optional
            Codes to start from, for example of the frame before.

        Returns
        -------
        Response
            With ``code``, ``gap``, ``residual`` and ``n_iter``.

        Warns
        -----
        ConvergenceWarning
            If codes did not reach the tolerance, with their number.

        Raises
        ------
        ValueError
            If a stimulus or a label is not what the circuit awaits.
        """
        arrays = check_shapes(stimuli, self.widths)
        seen = self.observe(*arrays)
        first = None if start is None else check_shape(start, "start", self.n_neurons)
        return encode_in_chunks(
            seen.compile, arrays, labels, first, self.dtype, get_engine(engine), tol, max_iter
        )

    def learn(
        self,
        stimuli: Mapping[str, ArrayLike],
        code: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> Circuit:
        """One Hebbian step (Eq. 4) on settled codes: a new circuit, stacked atoms of unit norm.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Dictionaries of modalities that are not shown do not learn.
        code : (n_samples, n_neurons)
            The settled codes of these stimuli.
        labels : (n_samples,) int, optional
            With an ordinal driver, idle atoms are drawn from samples of their block's class.
        rng : numpy Generator, optional
            Draws new atoms for idle neurons; without it none are drawn.

        Returns
        -------
        Circuit
        """
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        codes = check_code(code, len(next(iter(checked.values()))), self.n_neurons, self.dtype)
        favoured = eligible_samples(self.drivers, labels, len(codes), self.n_neurons)
        return self._apply_statistics(
            make_statistics(self.dictionaries, checked, codes), lambda: favoured, rng
        )

    def _apply_statistics(
        self, lesson: BatchStatistics, favoured: EligibleSamples, rng: np.random.Generator | None
    ) -> Circuit:
        """The step of `learn` for a batch whose sums have been taken.

        Parameters
        ----------
        lesson : Lesson
            From `spikelca.lessons.make_statistics`, or from wherever the samples are.
        favoured : callable
            Returns the samples from which each neuron may be drawn anew, (n_samples, n_neurons)
            bool, or None.
        rng : numpy Generator, optional
            Draws new atoms for idle neurons; without it none are drawn.

        Returns
        -------
        Circuit
        """
        assert self.plasticity is not None
        parts = (lesson, self.plasticity, self.idle, favoured, rng)
        atoms, state = update_atoms(self.dictionaries, *parts)
        moved = tuple(d.with_atoms(phi) for d, phi in zip(self.dictionaries, atoms, strict=True))
        return self._replace(dictionaries=moved, plasticity=state)

    def simulate(
        self,
        stimuli: Mapping[str, ArrayLike],
        duration: Any,
        dt: Any | None = None,
        *,
        engine: str | Engine = "numba",
        record: Sequence[str] = (),
        every: int = 1,
        neurons: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        window: float = DEFAULT_WINDOW,
        labels: ArrayLike | None = None,
        start: Mapping[str, FloatArray] | None = None,
    ) -> Response:
        """The time-stepped equations, with traces and spikes.

        Spiking neurons and Brian2 compute in float64, whatever the precision of the circuit. With
        signed codes a spiking neuron is a pair of cells; see `spikelca.pairs` for their numbers.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Constant over the run.
        duration, dt : float or Brian2 quantity
            Seconds. Without dt a step is chosen from the spectrum of the Gram matrix (and, for
            spiking neurons, from the strongest drive).
        engine : {"numba", "brian2", "reference"} or Engine, default="numba"
        record : sequence of {"u", "a", "v", "s", "r", "current", "spikes"}, default=()
            What to keep, as far as the circuit has it; ``traces[name]`` is (n_times, n_samples,
            n_neurons), that of "r" is ``traces["r:<modality>"]``.
        every : int, default=1
            Keep every how many steps.
        neurons, samples : list of int, optional
            Which ones to keep; all unless told.
        window : float in (0, 1], default=0.25
            The last part of the run in which spikes are read out; see `spikelca.readout`.
        labels : (n_samples,) int, optional
            Class numbers for drivers that need them.
        start : mapping, optional
            ``state`` of an earlier response, to go on from there.

        Returns
        -------
        Response

        Raises
        ------
        ValueError
            If an input is not what was awaited, the step is beyond the stability limit, or a
            spiking neuron would saturate.
        MemoryError
            If what is to be recorded would not fit; nothing has run then.
        """
        return run_simulation(
            self._untimed(stimuli, labels),
            self.drivers,
            get_engine(engine),
            duration,
            dt,
            start=start,
            record=record,
            every=every,
            neurons=neurons,
            samples=samples,
            window=window,
        )

    def learn_in_simulation(
        self,
        stimuli: Mapping[str, ArrayLike],
        presentation: Any = 0.15,
        dt: Any | None = None,
        *,
        rate: float = 1.0,
        memory: float = 0.995,
        labels: ArrayLike | None = None,
        engine: str | Engine = "numba",
        **options: Any,
    ) -> tuple[Self, OnlineResult]:
        """Learn while time runs: samples stream by without a reset, and synapses follow.

        Each synapse sees the error of its input and the activity of its neuron, and nothing else
        (Eq. 4). At the end of each presentation the stacked atoms are brought back to the unit
        sphere; then the image is swapped. Needs the wiring "residual".

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Shown one after the other.
        presentation : float or Brian2 quantity, default=0.15
            Seconds of one presentation.
        dt : float or Brian2 quantity, optional
            Seconds of one step.
        rate : float, default=1.0
            eta, for a whole presentation, of dictionaries with a plasticity. As in `Hebbian` the
            step of neuron j is ``rate / H_j``, H_j a decayed sum of its squared activity, so that
            one is a full Newton step along each single atom.
        memory : float in [0, 1), default=0.995
            What is left of H after one presentation.
        labels : (n_samples,) int, optional
        engine : {"numba", "brian2"} or Engine, default="numba"
        **options
            ``window``, ``record=("spikes",)`` and ``start`` as in `run_simulation`.

        Returns
        -------
        circuit : Circuit
            With the learnt atoms, and H, from which a further call goes on.
        stream : Stream
            Codes, errors and spikes of the presentations, and the last state.
        """
        assert self.plasticity is not None
        learnt, stream = run_online(
            self._untimed(stimuli, labels),
            self.dictionaries,
            get_engine(engine),
            presentation,
            dt,
            rate,
            memory,
            self.plasticity,
            **options,
        )
        return self._replace(**learnt), stream

    def to_brian2(
        self,
        stimuli: Mapping[str, ArrayLike] | None = None,
        *,
        n_samples: int = 1,
        duration: Any = 0.2,
        dt: Any | None = None,
        target: str = "numpy",
        labels: ArrayLike | None = None,
        **options: Any,
    ) -> Brian2Circuit:
        """The circuit as Brian2's own live objects, to be looked at, added to and run.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs), optional
            Presented from the start; nothing (zeros) unless told.
        n_samples : int, default=1
            How many samples run side by side, if no stimuli say so.
        duration : float or Brian2 quantity, default=0.2
            Seconds for which currents that change over time are laid out.
        dt, labels
            As in `run_simulation`.
        target : {"numpy", "cython"}, default="numpy"
            How Brian2 computes.
        **options
            ``record``, ``every``, ``neurons``, ``samples`` and ``start`` as in `run_simulation`; recorded
            traces become state monitors.

        Returns
        -------
        BrianCircuit
            With ``network``, ``population``, ``inputs``, ``synapses``, ``lateral``, ``monitors``,
            ``equations``, ``add(obj)`` and ``run(duration)``.
        """
        if stimuli is None:
            stimuli = {name: np.zeros((n_samples, width)) for name, width in self.widths.items()}
        problem = self._untimed(stimuli, labels)
        run = prepare_run(problem, self.drivers, True, duration, dt, **options)
        return Brian2Engine(target).build(run)

    def _untimed(self, stimuli: Mapping[str, ArrayLike], labels: ArrayLike | None) -> Problem:
        """The problem without those drivers that are told by time."""
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        drivers = static_drivers(self.drivers)
        # A circuit of its own would compute the Gram matrix anew.
        same = len(drivers) == len(self.drivers)
        steady: Any = self if same else self._replace(drivers=drivers)
        problem: Problem = steady.compile(checked, labels)
        return problem

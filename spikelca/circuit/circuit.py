"""The circuit: neurons, synapses, thresholds and drivers, described once.

A `Circuit` is a value that describes what is simulated, independently of the engine. `encode` and
`simulate` compile it with the stimuli into a `Problem` and pass that to an engine; `learn_step`
returns a new circuit. The lateral weights follow from the dictionaries and are never stored.

::

    tau du/dt = -u + sum_i w_i Phi_i^T x_i + d(t) - L a          a = T(u)
    L = sum_i w_i Phi_i^T Phi_i - 1                              (Eq. 3)
    E = 1/2 sum_i w_i |x_i - Phi_i a|^2 + C(a)                   (Eq. 6)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.circuit.batch_statistics import BatchStatistics, make_statistics
from spikelca.circuit.compile import apply_drivers, make_inputs
from spikelca.circuit.dictionary_update import EligibleSamples, eligible_samples, update_atoms
from spikelca.circuit.encoding import encode_in_chunks
from spikelca.circuit.online import check_rules, run_online
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
    check_integer,
    check_matrix,
    check_shape,
    check_shapes,
    check_stimuli,
    check_type,
)

_WIRINGS = ("lateral", "residual")


@dataclass(frozen=True, eq=False)
class Circuit:
    """A population of neurons that encodes one or several linked modalities.

    Parameters
    ----------
    neuron : RateNeuron, SpikingNeuron or another Neuron
        Neuron model.
    transfer : SoftThreshold, HardThreshold or another Transfer
        Transfer function from membrane potential to output.
    dictionaries : sequence of Dictionary
        One for each modality, all with the same number of neurons. The atoms are used as given; a
        stacked atom of unit norm has no self-inhibition.
    drivers : sequence of Driver, default=()
        External currents and class-wise bias currents.
    wiring : {"lateral", "residual"}, default="lateral"
        Lateral inhibition between the neurons, or an input population of residual neurons
        ``r = x - Phi a``. Both are equal in exact arithmetic.
    idle : IdleAtoms, default=IdleAtoms()
        Re-initialisation of atoms that are inactive for long in training.
    plasticity : PlasticityState, optional
        State of the learning rule (default: the initial state).

    Raises
    ------
    TypeError
        If an argument is of another type, for example a class instead of an instance.
    ValueError
        If dictionaries do not fit together, an atom is zero or duplicated, or a driver does not
        fit.

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
        check_type(self.neuron, "neuron", Neuron, "RateNeuron() or SpikingNeuron()")
        check_type(self.transfer, "transfer", Transfer, "SoftThreshold(...) or HardThreshold(...)")
        dictionaries = _as_tuple("dictionaries", self.dictionaries, Dictionary)
        object.__setattr__(self, "dictionaries", dictionaries)
        object.__setattr__(self, "drivers", _as_tuple("drivers", self.drivers, Driver))
        if self.wiring not in _WIRINGS:
            raise ValueError(f"wiring must be one of {_WIRINGS}, got {self.wiring!r}.")
        check_dictionaries(self.dictionaries, self.transfer.two_sided)
        for driver in self.drivers:
            driver.check(self.n_neurons, self.transfer)
        check_type(self.idle, "idle", IdleAtoms, "IdleAtoms(...)")
        if self.plasticity is None:
            object.__setattr__(self, "plasticity", PlasticityState.initial(self.n_neurons))
        check_type(self.plasticity, "plasticity", PlasticityState, "PlasticityState(...) or None")
        assert self.plasticity is not None
        if len(self.plasticity.usage) != self.n_neurons:
            raise ValueError(
                f"plasticity must have values for {self.n_neurons} neurons, got "
                f"{len(self.plasticity.usage)}. Use plasticity=None for the initial state."
            )

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.dictionaries[0].n_neurons

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the synapses and of all results computed with them."""
        return self.dictionaries[0].atoms.dtype

    @property
    def widths(self) -> dict[str, int]:
        """Number of inputs of each modality."""
        return {d.name: d.n_inputs for d in self.dictionaries}

    @cached_property
    def coupling(self) -> Coupling:
        """The Gram matrix with the quantities derived from it, computed once."""
        ds = self.dictionaries
        return Coupling(gram_matrix([d.atoms for d in ds], [d.weight for d in ds]))

    @property
    def gram(self) -> FloatArray:
        """``L + 1 = sum_i w_i Phi_i^T Phi_i``: (n_neurons, n_neurons)."""
        return self.coupling.gram

    @property
    def lateral(self) -> FloatArray:
        """L, the lateral weights: (n_neurons, n_neurons)."""
        return self.coupling.lateral

    def dictionary(self, modality: str) -> Dictionary:
        """Return the dictionary of a modality.

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
        raise ValueError(f"modality must be one of {list(self.widths)}, got {modality!r}.")

    def replace(self, **fields: Any) -> Self:
        """Return a copy with some fields replaced, validated like a new circuit.

        Parameters
        ----------
        **fields
            Fields of the circuit with their new values, for example ``neuron=SpikingNeuron()``.

        Returns
        -------
        Circuit

        Raises
        ------
        TypeError
            If a name is not a field of the circuit, or a value is of another type.
        ValueError
            If the fields do not fit together.

        Examples
        --------
        >>> import numpy as np
        >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold, SpikingNeuron
        >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
        >>> circuit.replace(neuron=SpikingNeuron(quantum=0.05)).neuron.quantum
        0.05
        """
        names = [f.name for f in dataclasses.fields(self)]
        unknown = [name for name in fields if name not in names]
        if unknown:
            raise TypeError(f"The fields to replace must be from {names}, got {unknown}.")
        return dataclasses.replace(self, **fields)

    def _replace(self, **fields: Any) -> Self:
        """Return a copy with some fields replaced, without the checks of `replace`."""
        new = object.__new__(type(self))
        for f in dataclasses.fields(self):
            object.__setattr__(new, f.name, fields.get(f.name, getattr(self, f.name)))
        return new

    def without_drivers(self) -> Self:
        """Return the circuit without drivers, for prediction.

        Returns
        -------
        Circuit
        """
        return self if not self.drivers else self._replace(drivers=())

    def _at_progress(self, progress: float) -> Self:
        """Return the circuit with its drivers as they are at this fraction of a training run."""
        return self._replace(drivers=tuple(d.at_progress(progress) for d in self.drivers))

    def observe(self, *modalities: str) -> Self:
        """Return the circuit restricted to some modalities.

        Only these modalities enter the drive *and* the lateral inhibition, and their stacked atoms
        are normalised again. The other modalities are excluded, not zero-filled; zeros would be
        read as a black image.

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
            If a modality is unknown, or none is given.
        """
        if not modalities:
            raise ValueError(f"modalities must be at least one of {list(self.widths)}, got none.")
        names = {self.dictionary(name).name for name in modalities}
        observed = [d for d in self.dictionaries if d.name in names]
        if len(observed) == len(self.dictionaries):
            return self
        atoms = normalise_stacked([d.atoms for d in observed], [d.weight for d in observed])
        dictionaries = tuple(d._with_atoms(phi) for d, phi in zip(observed, atoms, strict=True))
        return self._replace(dictionaries=dictionaries)

    def observed_norms(self, *modalities: str) -> NDArray[np.float64]:
        """Compute the norm of each stacked atom restricted to some modalities.

        Parameters
        ----------
        *modalities : str

        Returns
        -------
        (n_neurons,) float64

        Raises
        ------
        ValueError
            If a modality is unknown.
        """
        observed = [self.dictionary(name) for name in modalities]
        return stacked_norms([d.atoms for d in observed], [d.weight for d in observed])

    def drive(
        self, stimuli: Mapping[str, ArrayLike], labels: ArrayLike | None = None
    ) -> FloatArray:
        """Compute ``b + d``, the feed-forward drive plus the currents of the drivers.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
        labels : (n_samples,) int, optional
            Class numbers, for drivers that need them.

        Returns
        -------
        (n_samples, n_neurons)

        Raises
        ------
        ValueError
            If a stimulus or a label does not fit the circuit, or a current varies over time.
        """
        problem = self.compile(check_stimuli(stimuli, self.widths, self.dtype), labels)
        return np.asarray(problem.drive() + problem.current.astype(self.dtype))

    def reconstruct(
        self, code: ArrayLike, modality: str, observed: Sequence[str] | None = None
    ) -> FloatArray:
        """Compute ``Phi_i a``, the reconstruction of a modality from a code.

        Parameters
        ----------
        code : (n_samples, n_neurons)
        modality : str
        observed : sequence of str, optional
            Modalities from which the code was inferred (default: all). A code inferred from some
            of them refers to atoms normalised over these (`observe`); it is first rescaled to the
            stacked atoms of all modalities.

        Returns
        -------
        (n_samples, n_inputs)

        Raises
        ------
        ValueError
            If a modality is unknown, or the code does not fit the circuit.
        """
        d = self.dictionary(modality)
        a = check_matrix(code, "code", self.n_neurons, self.dtype)
        if observed is not None:
            names = {self.dictionary(name).name for name in observed}
            if len(names) < len(self.dictionaries):
                a = rescale_to_stacked(a, self.observed_norms(*names))
        return np.asarray(a @ d.atoms)

    def energy(self, stimuli: Mapping[str, ArrayLike], code: ArrayLike) -> NDArray[np.float64]:
        """Compute the energy of Eq. 6 with the cost of the transfer function, without drivers.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
        code : (n_samples, n_neurons)

        Returns
        -------
        (n_samples,) float64

        Raises
        ------
        ValueError
            If a stimulus or the code does not fit the circuit.
        """
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        n_samples = len(next(iter(checked.values())))
        codes = check_code(code, n_samples, self.n_neurons, self.dtype)
        return energy(checked, self.dictionaries, codes, self.transfer)

    def compile(
        self, stimuli: Mapping[str, FloatArray], labels: ArrayLike | None = None, **fields: Any
    ) -> Problem:
        """Compile the circuit and checked stimuli into the input of an engine.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            In the precision of the circuit.
        labels : (n_samples,) int, optional
        **fields
            Further fields of the problem: ``clock``, ``start``, ``record``.

        Returns
        -------
        Problem

        Raises
        ------
        ValueError
            If a modality is unknown, or a driver requires labels or has a time-varying current.
        """
        names = set(stimuli)
        if len(names) < len(self.dictionaries):
            return self.observe(*names).compile(stimuli, labels, **fields)
        inputs = make_inputs(self.dictionaries, stimuli)
        driven = apply_drivers(inputs, self.coupling, self.drivers, labels)
        residual = self.wiring == "residual"
        return Problem(
            self.neuron, self.transfer, inputs, residual_wiring=residual, **driven, **fields
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
        """Compute the steady-state code of each sample and its duality gap.

        The time-averaged code of a spiking circuit converges to the same steady state.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Any non-empty subset of the modalities; the others are excluded, see `observe`.
        tol : float, default=1e-4
            Tolerance. Soft threshold: relative duality gap (below 1e-6 also the fixed-point
            residual). Hard threshold: fixed-point residual.
        labels : (n_samples,) int, optional
            Class numbers for drivers that need them.
        engine : {"numba", "reference"} or Engine, default="numba"
        max_iter : int, default=100_000
            Maximum number of rounds of the solver, or of integration steps, per sample.
        start : (n_samples, n_neurons), optional
            Initial codes (warm start), for example those of the previous frame.

        Returns
        -------
        Response
            With ``code``, ``gap``, ``residual`` and ``n_iter``.

        Warns
        -----
        ConvergenceWarning
            If codes did not converge to the tolerance; the message contains their number.

        Raises
        ------
        ValueError
            If a stimulus or a label does not fit the circuit, or a current varies over time.
        NotImplementedError
            If the engine does not support `encode`, or a type of neuron, transfer function or
            inputs.
        """
        arrays = check_shapes(stimuli, self.widths)
        observed = self.observe(*arrays)
        start = None if start is None else check_shape(start, "start", self.n_neurons)
        return encode_in_chunks(
            observed.compile, arrays, labels, start, self.dtype, get_engine(engine), tol, max_iter
        )

    def learn_step(
        self,
        stimuli: Mapping[str, ArrayLike],
        code: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> Circuit:
        """Take one Hebbian step (Eq. 4) on steady-state codes.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Dictionaries of other modalities do not learn.
        code : (n_samples, n_neurons)
            Steady-state codes of these stimuli.
        labels : (n_samples,) int, optional
            With an ordinal driver, idle atoms are drawn from samples of their block's class.
        rng : numpy Generator, optional
            Draws new atoms for idle neurons; if None, idle atoms are not re-initialised.

        Returns
        -------
        Circuit
            With stacked atoms of unit norm.

        Raises
        ------
        ValueError
            If a stimulus, the code or a label does not fit the circuit.
        """
        check_type(rng, "rng", np.random.Generator | None, "np.random.default_rng(...) or None")
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        codes = check_code(code, len(next(iter(checked.values()))), self.n_neurons, self.dtype)
        eligible = eligible_samples(self.drivers, labels, len(codes), self.n_neurons)
        statistics = make_statistics(self.dictionaries, checked, codes)
        return self._apply_statistics(statistics, lambda: eligible, rng)

    def _apply_statistics(
        self,
        statistics: BatchStatistics,
        eligible: EligibleSamples,
        rng: np.random.Generator | None,
        batch_size: int | None = None,
    ) -> Circuit:
        """Take the step of `learn_step` from the statistics of a batch.

        `eligible` returns the samples from which each neuron may be re-initialised, as
        (n_samples, n_neurons) bool or None; it is called only if a neuron is idle.
        """
        assert self.plasticity is not None
        atoms, state = update_atoms(
            self.dictionaries, statistics, self.plasticity, self.idle, eligible, rng, batch_size
        )
        dictionaries = tuple(
            d._with_atoms(phi) for d, phi in zip(self.dictionaries, atoms, strict=True)
        )
        return self._replace(dictionaries=dictionaries, plasticity=state)

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
        start: Response | Mapping[str, FloatArray] | None = None,
        t_start: Any | None = None,
    ) -> Response:
        """Integrate the equations over time and record traces and spikes.

        Spiking neurons and Brian2 compute in float64, regardless of the precision of the circuit.
        With signed codes a spiking neuron is a pair of ON and OFF cells, numbered as in
        `spikelca.circuit.compile`.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Constant over the run.
        duration, dt : float or Brian2 quantity
            Seconds. If dt is None, it is half the stability limit of the Gram matrix, and for
            spiking neurons also limited by the strongest drive, including currents of drivers; it
            then depends on all samples, so give dt to compare runs.
        engine : {"numba", "brian2", "reference"} or Engine, default="numba"
        record : sequence of {"u", "a", "v", "s", "r", "current", "spikes"}, default=()
            Variables to record, if the circuit has them; ``traces[name]`` is (n_times, n_samples,
            n_neurons), that of "r" is ``traces["r:<modality>"]``.
        every : int, default=1
            Recording interval in steps.
        neurons, samples : list of int, optional
            Neurons and samples of the traces and spikes (default: all).
        window : float in (0, 1], default=0.25
            Read-out window, the final fraction of the run; see `spikelca.readout`.
        labels : (n_samples,) int, optional
            Class numbers for drivers that need them.
        start : Response or its ``state``, optional
            Response to continue from: its state, its time and its dt (if ``dt`` is None). Drivers,
            noise and random input spikes continue, and a run in pieces is bit-identical to one
            run. A mapping of arrays starts at time zero.
        t_start : float or Brian2 quantity, optional
            Time of the start in seconds, a multiple of dt (default: the time of ``start``, or 0).

        Returns
        -------
        Response

        Raises
        ------
        ValueError
            If an input does not fit the circuit, the step is beyond the stability limit, or a
            spiking neuron would saturate.
        NotImplementedError
            If the engine does not support a type of neuron, transfer function or inputs.
        MemoryError
            If the recording does not fit into memory; raised before the run.
        """
        return run_simulation(
            self._compile_static(stimuli, labels),
            self.drivers,
            get_engine(engine),
            duration,
            dt,
            start=start,
            t_start=t_start,
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
        decay: float = 0.995,
        labels: ArrayLike | None = None,
        engine: str | Engine = "numba",
        **options: Any,
    ) -> tuple[Self, OnlineResult]:
        """Learn in simulation, with plastic synapses and no reset between the samples.

        Time, drivers and noise continue from one presentation to the next; an index into the
        ``samples`` of a driver is the number of a presentation.

        The change of a synapse depends only on the error of its input and the activity of its
        neuron (Eq. 4). At the end of each presentation the stacked atoms are normalised and the
        next sample is presented. Requires the wiring "residual".

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Presented one after the other.
        presentation : float or Brian2 quantity, default=0.15
            Duration of one presentation in seconds.
        dt : float or Brian2 quantity, optional
            Integration step in seconds (default: as in `simulate`).
        rate : float, default=1.0
            eta per presentation, for dictionaries with a plasticity. As in `Hebbian`, the step of
            neuron j is ``rate / H_j`` with H_j a decayed sum of its squared activity; one is a full
            Newton step along each single atom.
        decay : float in [0, 1), default=0.995
            Decay factor of H per presentation.
        labels : (n_samples,) int, optional
        engine : {"numba", "brian2"} or Engine, default="numba"
        **options
            ``window``, ``record``, ``every``, ``neurons``, ``start`` and ``t_start`` as in
            `simulate`; ``record`` can contain "weights", too. ``samples`` are the presentations to
            record (default: all).

        Returns
        -------
        circuit : Circuit
            With the learned atoms and H, from which a further call continues.
        result : OnlineResult
            Codes, errors, traces and spikes of the presentations, and the final state.

        Raises
        ------
        ValueError
            If an input does not fit the circuit, or the wiring is not "residual".
        NotImplementedError
            For engines without plastic synapses, signed codes of spiking neurons, and Poisson
            inputs.
        """
        assert self.plasticity is not None
        check_rules(self.dictionaries)
        learned, result = run_online(
            self._compile_static(stimuli, labels),
            self.dictionaries,
            self.drivers,
            get_engine(engine),
            presentation,
            dt,
            rate,
            decay,
            self.plasticity,
            **options,
        )
        return self._replace(**learned), result

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
        """Build the circuit from Brian2 objects that can be inspected, extended and run.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs), optional
            Stimuli at the start (default: zeros).
        n_samples : int, default=1
            Number of samples simulated in parallel, if there are no stimuli.
        duration : float or Brian2 quantity, default=0.2
            Seconds for which time-varying currents are computed in advance.
        dt, labels
            As in `simulate`.
        target : {"numpy", "cython"}, default="numpy"
            Code generation target of Brian2.
        **options
            ``record``, ``every``, ``neurons``, ``samples``, ``start`` and ``t_start`` as in
            `simulate`; recorded traces become state monitors.

        Returns
        -------
        Brian2Circuit
            With ``network``, ``population``, ``inputs``, ``synapses``, ``lateral``, ``monitors``,
            ``equations``, ``add(obj)`` and ``run(duration)``.

        Raises
        ------
        ValueError, NotImplementedError, MemoryError
            As `simulate`.
        ImportError
            If Brian2 cannot be imported.
        """
        if stimuli is None:
            n_samples = check_integer(n_samples, "n_samples", 1)
            stimuli = {name: np.zeros((n_samples, width)) for name, width in self.widths.items()}
        if "current" in options.get("record", ()):
            raise ValueError(
                "record must not have 'current' for Brian2 objects, which have no variable for the "
                "currents of drivers. Use circuit.simulate(..., record=('current',))."
            )
        engine = Brian2Engine(target)
        problem = self._compile_static(stimuli, labels)
        engine.check(problem)
        run = prepare_run(problem, self.drivers, True, duration, dt, **options)
        assert run.clock is not None
        step = run.clock.dt

        def compile_stimuli(new: Mapping[str, ArrayLike]) -> Problem:
            other = self._compile_static(new, labels)
            return prepare_run(other, self.drivers, True, duration, step, **options)

        return dataclasses.replace(engine.build(run), compile_stimuli=compile_stimuli)

    def _compile_static(
        self, stimuli: Mapping[str, ArrayLike], labels: ArrayLike | None
    ) -> Problem:
        """Compile the circuit without its time-varying drivers."""
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        drivers = static_drivers(self.drivers)
        # A new circuit would compute the Gram matrix again.
        is_static = len(drivers) == len(self.drivers)
        circuit = self if is_static else self._replace(drivers=drivers)
        return circuit.compile(checked, labels)


def _as_tuple(name: str, values: Any, kind: type) -> tuple[Any, ...]:
    """Check a sequence of values of one type, and return it as a tuple."""
    expected = f"a list of {kind.__name__} instances"
    if isinstance(values, kind) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be {expected}, got {values!r}. Use {name}=[...].")
    values = tuple(values)
    for index, value in enumerate(values):
        check_type(value, f"{name}[{index}]", kind, f"a {kind.__name__} instance")
    return values

"""The circuit: populations, synapses, thresholds and drivers, described once.

A `Circuit` is a value. It says what is simulated and never how: `encode` and `simulate` compile it
with the stimuli into a `Problem` and hand that to an engine; `learn` returns a new circuit. The
lateral weights follow from the dictionaries and are never stored. Its parts, and the circuits that
are made of them, stand in `anatomy`; what it does in time stands in `running`.

::

    tau du/dt = -u + sum_i w_i Phi_i^T x_i + d(t) - L a          a = T(u)
    L = sum_i w_i Phi_i^T Phi_i - 1                              (Eq. 3)
    E = 1/2 sum_i w_i |x_i - Phi_i a|^2 + C(a)                   (Eq. 6)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.compiling import check_stack, driven, make_inputs
from spikelca.dictionary import Dictionary
from spikelca.drivers import Driver
from spikelca.encoding import encode_in_chunks
from spikelca.engines import Engine, Problem, Response, get_engine
from spikelca.lessons import Lesson, lesson_of
from spikelca.metrics import energy
from spikelca.neurons import Neuron
from spikelca.plasticity import IdleAtoms, PlasticityState, to_stacked
from spikelca.relearning import Favoured, favoured_rows, updated_atoms
from spikelca.running import RunsInTime
from spikelca.transfer import Transfer
from spikelca.validation import (
    FloatArray,
    check_code,
    check_matrix,
    check_shape,
    check_shapes,
    check_stimuli,
)

_WIRINGS = ("lateral", "residual")


@dataclass(frozen=True, eq=False)
class Circuit(RunsInTime):
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
        check_stack(self.dictionaries)
        for driver in self.drivers:
            driver.check(self.n_neurons, self.transfer)
        if self.plasticity is None:
            object.__setattr__(self, "plasticity", PlasticityState.fresh(self.n_neurons))

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
        problem = self.problem(check_stimuli(stimuli, self.widths, self.dtype), labels)
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
            a = to_stacked(a, self.observed_norms(*observed))
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

    def problem(
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
            return self.observe(*names).problem(stimuli, labels, **parts)
        inputs = make_inputs(self.dictionaries, stimuli)
        injected = driven(inputs, self.coupling, self.drivers, labels)
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
            seen.problem, arrays, labels, first, self.dtype, get_engine(engine), tol, max_iter
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
        favoured = favoured_rows(self.drivers, labels, len(codes), self.n_neurons)
        return self.taught(lesson_of(self.dictionaries, checked, codes), lambda: favoured, rng)

    def taught(
        self, lesson: Lesson, favoured: Favoured, rng: np.random.Generator | None
    ) -> Circuit:
        """The step of `learn` for a batch whose sums have been taken.

        Parameters
        ----------
        lesson : Lesson
            From `spikelca.lessons.lesson_of`, or from wherever the samples are.
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
        atoms, state = updated_atoms(self.dictionaries, *parts)
        moved = tuple(d.with_atoms(phi) for d, phi in zip(self.dictionaries, atoms, strict=True))
        return self.with_parts(dictionaries=moved, plasticity=state)

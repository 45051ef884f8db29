"""Plasticity: how atoms learn, stay on the unit sphere, and come back when they fall silent.

Eq. 4 of the paper is Hebbian: the change of a synapse is post-synaptic output times pre-synaptic
error, ``dPhi_i ~ a (x) (X_i - Phi_i a)``, after the code has settled. Three things make it
dependable.

* **A step of its own for each atom.** ``eta / H_j``, where ``H_j`` is a decayed sum of ``a_j^2``:
  the curvature of the energy along atom j. Often used atoms take small steps, rare ones large.
* **The unit sphere.** The *stacked* atom ``[sqrt(w_1) Phi_1; sqrt(w_2) Phi_2; ...]`` is brought
  back to norm one, so that the threshold keeps its meaning and no cell inhibits itself.
* **Idle atoms.** An atom that has not fired for a while is drawn anew from a sample, or from what
  the circuit fails to explain of a sample. Noise would not bring it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray, check_positive


@dataclass(frozen=True)
class Hebbian:
    """``Phi_i[j] += rate / H_j * sum_samples a_j (X_i - Phi_i a)``,  ``H <- memory H + sum a^2``.

    Parameters
    ----------
    rate : float, default=1.0
        eta. One is a full Newton step along each single atom.
    memory : float in [0, 1), default=0.95
        What is left of ``H`` after one batch.

    Raises
    ------
    ValueError
        If the rate is not above zero, or memory is outside [0, 1).

    Examples
    --------
    >>> Hebbian(rate=0.5).memory
    0.95
    """

    rate: float = 1.0
    memory: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", check_positive(self.rate, "rate"))
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory is {self.memory}; a number in [0, 1) was awaited.")

    def step(self, atoms: FloatArray, correlation: FloatArray, usage: FloatArray) -> FloatArray:
        """The atoms after one batch, not yet normalised.

        Parameters
        ----------
        atoms : (n_neurons, n_inputs)
        correlation : (n_neurons, n_inputs)
            Output times error, summed over the samples: ``sum a (x) (X - Phi a)``.
        usage : (n_neurons,)
            ``H``, this batch included.

        Returns
        -------
        (n_neurons, n_inputs)
        """
        # H of an atom that is long silent sinks below what its inverse could be told in.
        told = usage > self.rate * np.finfo(atoms.dtype).tiny
        eta = np.divide(self.rate, usage, out=np.zeros_like(usage), where=told)
        return np.asarray(atoms + eta.astype(atoms.dtype)[:, None] * correlation)


@dataclass(frozen=True, eq=False)
class Activity:
    """What the rule remembers of codes. The activity of two stretches in a row is their sum.

    Parameters
    ----------
    squares : (n_neurons,) float64
        Sum of ``a^2``.
    silent : (n_neurons,) int64
        Presentations since the neuron last fired; all of them, if it did not.
    n_samples : int
    """

    squares: NDArray[np.float64]
    silent: NDArray[np.int64]
    n_samples: int

    @classmethod
    def from_code(cls, code: FloatArray) -> Activity:
        """The activity of codes, one presentation a row.

        Examples
        --------
        >>> Activity.from_code(np.array([[2.0, 0.0], [1.0, 0.0]])).silent
        array([0, 2])
        """
        squares = np.einsum("ij,ij->j", code, code, dtype=np.float64)
        fired, n_samples = code[::-1] != 0, len(code)
        silent = np.where(fired.any(axis=0), fired.argmax(axis=0), n_samples)
        return cls(squares, silent.astype(np.int64), n_samples)

    def __add__(self, later: Activity) -> Activity:
        return Activity(
            self.squares + later.squares,
            later.silent_after(self.silent),
            self.n_samples + later.n_samples,
        )

    def silent_after(self, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """For how long neurons are silent now that were silent for so long before."""
        return np.where(self.silent < self.n_samples, self.silent, before + self.n_samples)


@dataclass(frozen=True, eq=False)
class PlasticityState:
    """What the rule remembers between batches.

    Parameters
    ----------
    usage : (n_neurons,) float64
        ``H``, the decayed sum of squared activity.
    silent : (n_neurons,) int64
        Presentations since the neuron last fired.
    redrawn : int, default=0
        Atoms that were drawn anew in the last step.

    Examples
    --------
    >>> state = PlasticityState.initial(2).after(Activity.from_code(np.array([[0.5, 0.0]] * 2)), 0.9)
    >>> state.usage, state.silent
    (array([0.5, 0. ]), array([0, 2]))
    """

    usage: NDArray[np.float64]
    silent: NDArray[np.int64]
    redrawn: int = 0

    @classmethod
    def initial(cls, n_neurons: int) -> PlasticityState:
        """The state before the first batch.

        Parameters
        ----------
        n_neurons : int

        Returns
        -------
        PlasticityState
        """
        return cls(np.zeros(n_neurons), np.zeros(n_neurons, dtype=np.int64))

    def after(self, batch: Activity, memory: float) -> PlasticityState:
        """The state once a batch of codes was seen.

        Parameters
        ----------
        batch : Activity
        memory : float in [0, 1)
            What is left of ``H``.

        Returns
        -------
        PlasticityState
        """
        silent = batch.silent_after(self.silent)
        return PlasticityState(memory * self.usage + batch.squares, silent)

    def reset(self, neurons: NDArray[np.int64]) -> PlasticityState:
        """The state after some atoms were drawn anew: they start without a past.

        Parameters
        ----------
        neurons : (n_redrawn,) int64

        Returns
        -------
        PlasticityState
        """
        usage, silent = self.usage.copy(), self.silent.copy()
        usage[neurons], silent[neurons] = 0.0, 0
        return PlasticityState(usage, silent, len(neurons))


def _from_sample(stimulus: FloatArray, residual: FloatArray) -> FloatArray:
    return stimulus


def _from_residual(stimulus: FloatArray, residual: FloatArray) -> FloatArray:
    return residual


_SOURCES: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "sample": _from_sample,
    "residual": _from_residual,
}


@dataclass(frozen=True)
class IdleAtoms:
    """When an atom counts as idle, and what it is drawn from then.

    Parameters
    ----------
    source : {"sample", "residual"}, default="sample"
        A sample as it is, or the part of it that the circuit leaves unexplained.
    patience : int, default=5000
        Presentations without a single response after which an atom is idle.

    Raises
    ------
    ValueError
        If the source is unknown or patience is below one.

    Examples
    --------
    >>> IdleAtoms("residual", patience=1000)
    IdleAtoms(source='residual', patience=1000)
    """

    source: str = "sample"
    patience: int = 5000

    def __post_init__(self) -> None:
        if self.source not in _SOURCES:
            raise ValueError(f"source is {self.source!r}; one of {sorted(_SOURCES)} was awaited.")
        if not self.patience >= 1:
            raise ValueError(f"patience is {self.patience}; one presentation or more was awaited.")

    def material(self, stimulus: FloatArray, residual: FloatArray) -> FloatArray:
        """The array whose rows become new atoms.

        Parameters
        ----------
        stimulus, residual : (n_samples, n_inputs)
            A batch, and what the circuit leaves unexplained of it.

        Returns
        -------
        (n_samples, n_inputs)
        """
        return _SOURCES[self.source](stimulus, residual)


def draw_samples(
    rng: np.random.Generator,
    neurons: NDArray[np.int64],
    weight_of_rows: FloatArray,
    favoured: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """One sample for each idle neuron, without repetition as far as the batch reaches.

    Parameters
    ----------
    rng : numpy Generator
    neurons : (n_idle,)
        The idle neurons.
    weight_of_rows : (n_samples,)
        Squared norm of each row; blank rows are never drawn.
    favoured : (n_samples, n_neurons) bool, optional
        Samples that a driver assigns to a neuron: only these are drawn for it, if there are any.

    Returns
    -------
    (n_idle,) int64
        Row for each neuron, -1 where no row is fit.
    """
    free = weight_of_rows > 0
    rows = np.full(len(neurons), -1, dtype=np.int64)
    for position, neuron in enumerate(neurons):
        candidates = free if favoured is None else free & favoured[:, neuron]
        choices = np.flatnonzero(candidates)
        if choices.size:
            rows[position] = rng.choice(choices)
            free[rows[position]] = False
    return rows


@dataclass(frozen=True)
class Contrast:
    """The last part of a learning: what is taught against what is answered.

    Parameters
    ----------
    amount : float in [0, 1], default=0.95
        kappa, the part of the free phase that is taken away.
    share : float in (0, 1], default=0.25
        Part of the learning, at its end, that is contrastive.
    rate : float, default=1.0
        Factor on the rate of the Hebbian rule; it falls to zero towards the end.
    recall : float, default=0.04
        rho, a further factor for modalities that are recalled. They learn slowly: once the free
        code recalls without error, there is nothing left to teach.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> contrast = Contrast(share=0.5)
    >>> contrast.strength(0.25), contrast.strength(0.5), contrast.strength(0.75)
    (0.0, 1.0, 0.5)
    """

    amount: float = 0.95
    share: float = 0.25
    rate: float = 1.0
    recall: float = 0.04

    def __post_init__(self) -> None:
        for name in ("rate", "recall"):
            object.__setattr__(self, name, check_positive(getattr(self, name), name))
        if not (0 <= self.amount <= 1 and 0 < self.share <= 1):
            raise ValueError(
                f"amount is {self.amount} and share is {self.share}; "
                "amount in [0, 1] and share in (0, 1] were awaited."
            )

    def strength(self, fraction: float) -> float:
        """Part of the rate after a part of the learning: 0 before the contrast begins.

        Parameters
        ----------
        fraction : float in [0, 1]
            How much of the learning is done.

        Returns
        -------
        float
        """
        begun = 1 - self.share
        return 0.0 if fraction < begun else max(1 - fraction, 0.0) / self.share

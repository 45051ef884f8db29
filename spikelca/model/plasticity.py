"""Plasticity: Hebbian rule, normalisation and re-initialisation of idle atoms, contrast.

Eq. 4 of the paper is Hebbian: a synapse changes by the product of post-synaptic output and
pre-synaptic error, the outer product ``dPhi_i ~ a (x) (X_i - Phi_i a)``, at the steady-state code.
Three additions make it robust:

* **Step size per atom.** ``eta / H_j``, where ``H_j`` is a decayed sum of ``a_j^2``, the curvature
  of the energy along atom j. Frequently used atoms take small steps, rarely used ones large steps.
* **Unit norm.** The *stacked* atom ``[sqrt(w_1) Phi_1; sqrt(w_2) Phi_2; ...]`` is normalised, so
  that the threshold keeps its meaning and no neuron inhibits itself.
* **Idle atoms.** An atom that has been inactive for long is re-initialised from a sample, or from
  the residual of a sample. Noise would not make it active again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray, check_integer, check_number, check_positive


@dataclass(frozen=True)
class Hebbian:
    """``Phi_i[j] += rate / H_j * sum_samples a_j (X_i - Phi_i a)``,  ``H <- decay H + sum a^2``.

    Parameters
    ----------
    rate : float, default=1.0
        eta, the learning rate. One is a full Newton step along each single atom.
    decay : float in [0, 1), default=0.95
        Decay factor of ``H`` per batch.
    non_negative : bool, default=False
        Whether negative values are set to zero after each step. An atom that would become zero
        keeps its values.

    Raises
    ------
    ValueError
        If the rate is not > 0, or the decay is outside [0, 1).

    Examples
    --------
    >>> Hebbian(rate=0.5).decay
    0.95
    """

    rate: float = 1.0
    decay: float = 0.95
    non_negative: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "non_negative", bool(self.non_negative))
        object.__setattr__(self, "rate", check_positive(self.rate, "rate"))
        object.__setattr__(self, "decay", check_number(self.decay, "decay"))
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be a number in [0, 1), got {self.decay}.")

    def step(self, atoms: FloatArray, correlation: FloatArray, usage: FloatArray) -> FloatArray:
        """Compute the atoms after one batch, not yet normalised.

        Parameters
        ----------
        atoms : (n_neurons, n_inputs)
        correlation : (n_neurons, n_inputs)
            Output times error, summed over the samples: ``sum a (x) (X - Phi a)``.
        usage : (n_neurons,)
            ``H``, including this batch.

        Returns
        -------
        (n_neurons, n_inputs)
        """
        # H of a long-inactive atom underflows, and rate / H would overflow.
        is_used = usage > self.rate * np.finfo(atoms.dtype).tiny
        eta = np.divide(self.rate, usage, out=np.zeros_like(usage), where=is_used)
        new = np.asarray(atoms + eta.astype(atoms.dtype)[:, None] * correlation)
        if not self.non_negative:
            return new
        positive = np.maximum(new, 0)
        return np.where(positive.any(axis=1, keepdims=True), positive, atoms)


@dataclass(frozen=True, eq=False)
class Activity:
    """Activity of codes, as used by the learning rule. Consecutive activities can be added.

    Parameters
    ----------
    squares : (n_neurons,) float64
        Sum of ``a^2``.
    silent : (n_neurons,) int64
        Presentations since the neuron was last active; all of them if it never was.
    n_samples : int
    """

    squares: NDArray[np.float64]
    silent: NDArray[np.int64]
    n_samples: int

    @classmethod
    def from_code(cls, code: FloatArray) -> Activity:
        """Compute the activity of codes, with one presentation per row.

        Examples
        --------
        >>> Activity.from_code(np.array([[2.0, 0.0], [1.0, 0.0]])).silent
        array([0, 2])
        """
        squares = np.einsum("ij,ij->j", code, code, dtype=np.float64)
        is_active, n_samples = code[::-1] != 0, len(code)
        silent = np.where(is_active.any(axis=0), is_active.argmax(axis=0), n_samples)
        return cls(squares, silent.astype(np.int64), n_samples)

    def __add__(self, later: Activity) -> Activity:
        return Activity(
            self.squares + later.squares,
            later.silent_after(self.silent),
            self.n_samples + later.n_samples,
        )

    def silent_after(self, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Update the number of presentations since each neuron was last active."""
        return np.where(self.silent < self.n_samples, self.silent, before + self.n_samples)


@dataclass(frozen=True, eq=False)
class PlasticityState:
    """State of the learning rule between batches.

    Parameters
    ----------
    usage : (n_neurons,) float64
        ``H``, the decayed sum of squared activity.
    silent : (n_neurons,) int64
        Presentations since the neuron was last active.
    redrawn : int, default=0
        Number of atoms re-initialised in the last step.

    Examples
    --------
    >>> activity = Activity.from_code(np.array([[0.5, 0.0]] * 2))
    >>> state = PlasticityState.initial(2).update(activity, decay=0.9)
    >>> state.usage, state.silent
    (array([0.5, 0. ]), array([0, 2]))
    """

    usage: NDArray[np.float64]
    silent: NDArray[np.int64]
    redrawn: int = 0

    @classmethod
    def initial(cls, n_neurons: int) -> PlasticityState:
        """Return the state before the first batch.

        Parameters
        ----------
        n_neurons : int

        Returns
        -------
        PlasticityState
        """
        return cls(np.zeros(n_neurons), np.zeros(n_neurons, dtype=np.int64))

    def update(self, batch: Activity, decay: float) -> PlasticityState:
        """Return the state after a batch of codes.

        Parameters
        ----------
        batch : Activity
        decay : float in [0, 1)
            Decay factor of ``H``.

        Returns
        -------
        PlasticityState
        """
        silent = batch.silent_after(self.silent)
        return PlasticityState(decay * self.usage + batch.squares, silent)

    def reset(self, neurons: NDArray[np.int64]) -> PlasticityState:
        """Return the state after some atoms were re-initialised, with their history cleared.

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
    """Condition for an idle atom, and the source of its new values.

    Parameters
    ----------
    source : {"sample", "residual"}, default="sample"
        A sample, or the residual of a sample.
    patience : int, default=5000
        Presentations without activity after which an atom is idle.

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
            raise ValueError(f"source must be one of {sorted(_SOURCES)}, got {self.source!r}.")
        object.__setattr__(self, "patience", check_integer(self.patience, "patience", 1))

    def candidates(self, stimulus: FloatArray, residual: FloatArray) -> FloatArray:
        """Return the array whose rows are candidates for new atoms.

        Parameters
        ----------
        stimulus, residual : (n_samples, n_inputs)
            A batch and its residual ``x - Phi a``.

        Returns
        -------
        (n_samples, n_inputs)
        """
        return _SOURCES[self.source](stimulus, residual)


def draw_samples(
    rng: np.random.Generator,
    neurons: NDArray[np.int64],
    sample_weights: FloatArray,
    assignment: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Draw one sample for each idle neuron, without repetition within the batch.

    Parameters
    ----------
    rng : numpy Generator
    neurons : (n_idle,)
        The idle neurons.
    sample_weights : (n_samples,)
        Samples of weight zero are never drawn.
    assignment : (n_samples, n_neurons) bool, optional
        Samples that a driver assigns to each neuron; only these are drawn for it.

    Returns
    -------
    (n_idle,) int64
        Sample for each neuron, -1 where there is none.
    """
    available = sample_weights > 0
    rows = np.full(len(neurons), -1, dtype=np.int64)
    for index, neuron in enumerate(neurons):
        eligible = available if assignment is None else available & assignment[:, neuron]
        choices = np.flatnonzero(eligible)
        if choices.size:
            rows[index] = rng.choice(choices)
            available[rows[index]] = False
    return rows


@dataclass(frozen=True)
class Contrast:
    """Contrastive learning in the last part of a training run: clamped against free phase.

    Parameters
    ----------
    kappa : float in [0, 1], default=0.95
        kappa, the weight of the free phase, which is subtracted.
    fraction : float in (0, 1], default=0.25
        Final fraction of the training run that is contrastive.
    rate : float, default=1.0
        Factor on the rate of the Hebbian rule; it decreases to zero at the end.
    recall_rate : float, default=0.04
        rho, a further factor on the rate for unobserved modalities. Their step vanishes when the
        free code reconstructs them without error.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> contrast = Contrast(fraction=0.5)
    >>> contrast.strength(0.25), contrast.strength(0.5), contrast.strength(0.75)
    (0.0, 1.0, 0.5)
    """

    kappa: float = 0.95
    fraction: float = 0.25
    rate: float = 1.0
    recall_rate: float = 0.04

    def __post_init__(self) -> None:
        for name in ("rate", "recall_rate"):
            object.__setattr__(self, name, check_positive(getattr(self, name), name))
        for name in ("kappa", "fraction"):
            object.__setattr__(self, name, check_number(getattr(self, name), name))
        if not (0 <= self.kappa <= 1 and 0 < self.fraction <= 1):
            raise ValueError(
                "kappa must be in [0, 1] and fraction in (0, 1], "
                f"got kappa={self.kappa} and fraction={self.fraction}."
            )

    def strength(self, progress: float) -> float:
        """Compute the factor on the rate: 0 before the contrastive part, then 1 falling to 0.

        Parameters
        ----------
        progress : float in [0, 1]
            Fraction of the training run that is done.

        Returns
        -------
        float
        """
        start = 1 - self.fraction
        return 0.0 if progress < start else max(1 - progress, 0.0) / self.fraction

"""One step of learning on all linked dictionaries: Hebb, idle atoms, unit sphere.

What is not shown, or has no plasticity, keeps its atoms to the last bit; the part of the stacked
atom that learns is projected to what the rest leaves of the unit sphere.

Free functions on the parts of a circuit; `Circuit.learn` puts the result back together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.circuit.batch_statistics import BatchStatistics, observed_atoms
from spikelca.model.atoms import normalise_stacked, stacked_norms
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import Driver
from spikelca.model.plasticity import IdleAtoms, PlasticityState, draw_samples
from spikelca.utils.validation import FloatArray

EligibleSamples = Callable[[], NDArray[np.bool_] | None]
"""Tells, when it is asked, the samples from which each neuron may be drawn anew."""


def update_atoms(
    dictionaries: Sequence[Dictionary],
    lesson: BatchStatistics,
    state: PlasticityState,
    idle: IdleAtoms,
    favoured: EligibleSamples,
    rng: np.random.Generator | None,
) -> tuple[list[FloatArray], PlasticityState]:
    """The atoms of every dictionary after one batch, and what the rule remembers of it.

    Parameters
    ----------
    dictionaries : sequence of Dictionary
    lesson : Lesson
    state : PlasticityState
    idle : IdleAtoms
    favoured : callable
        Returns (n_samples, n_neurons) bool, or None.
    rng : numpy Generator, optional
        Without it idle atoms stay.

    Returns
    -------
    atoms : list of (n_neurons, n_inputs)
    state : PlasticityState
    """
    shown = [d for d in dictionaries if d.name in lesson.sums.power]
    plastic = [d for d in shown if d.name in lesson.sums.correlation]
    if not plastic:
        return [d.atoms for d in dictionaries], replace(state, redrawn=0)
    memory = max(d.plasticity.memory for d in plastic if d.plasticity is not None)
    state = state.after(lesson.sums.activity, memory)
    seen, atoms = observed_atoms(shown, len(dictionaries)), {}
    for d in plastic:
        assert d.plasticity is not None
        correlation = lesson.sums.correlation[d.name]
        atoms[d.name] = d.plasticity.step(seen[d.name], correlation, state.usage)
    if rng is not None:
        state = _reinitialise_idle(atoms, lesson, state, idle, favoured, rng)
    moved = normalise_stacked(
        [atoms[d.name] for d in plastic],
        [d.weight for d in plastic],
        remaining_norm(dictionaries, plastic),
    )
    atoms.update(zip(atoms, moved, strict=True))
    return [atoms.get(d.name, d.atoms) for d in dictionaries], state


def eligible_samples(
    drivers: Sequence[Driver], labels: ArrayLike | None, n_samples: int, n_neurons: int
) -> NDArray[np.bool_] | None:
    """Samples that a driver assigns to each neuron, None if no driver has an opinion."""
    favoured = None
    for driver in drivers:
        if labels is not None:
            favoured = driver.assignment(labels, n_samples, n_neurons)
    return favoured


def remaining_norm(
    dictionaries: Sequence[Dictionary], plastic: Sequence[Dictionary]
) -> FloatArray | float:
    """Norm for the part of each stacked atom that learns, such that the whole has norm one.

    Where the rest alone is longer than one, the part keeps the norm it has.
    """
    rest = [d for d in dictionaries if all(d is not p for p in plastic)]
    if not rest:
        return 1.0
    taken, own = (
        stacked_norms([d.atoms for d in part], [d.weight for d in part]) for part in (rest, plastic)
    )
    return np.where(taken < 1, np.sqrt(np.maximum(1 - taken**2, 0.0)), own)


def _reinitialise_idle(
    atoms: dict[str, FloatArray],
    lesson: BatchStatistics,
    state: PlasticityState,
    idle: IdleAtoms,
    favoured: EligibleSamples,
    rng: np.random.Generator,
) -> PlasticityState:
    """Write new atoms into the idle rows of ``atoms``."""
    neurons = np.flatnonzero(state.silent >= idle.patience)
    if not neurons.size:
        return state
    rows = draw_samples(rng, neurons, _first_occurrences(lesson.marks(idle)), favoured())
    neurons, rows = neurons[rows >= 0], rows[rows >= 0]
    if not neurons.size:
        return state
    material = lesson.material(rows, idle)
    stacked = np.hstack(list(material.values())).astype(np.float64)
    scale = 1 / np.sqrt(np.einsum("ij,ij->i", stacked, stacked))
    for name, fresh in material.items():
        atoms[name][neurons] = fresh * scale[:, None].astype(fresh.dtype)
    return state.reset(neurons)


def _first_occurrences(marks: Sequence[bytes]) -> FloatArray:
    """One for samples that are not blank and point where no earlier one does, else zero."""
    worth, seen = np.zeros(len(marks)), {b""}
    for row, mark in enumerate(marks):
        worth[row] = mark not in seen
        seen.add(mark)
    return worth

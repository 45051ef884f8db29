"""One learning step on linked dictionaries: Hebbian rule, idle atoms, normalisation.

Dictionaries without stimuli in the batch or without plasticity keep their atoms unchanged. The
plastic rows of each stacked atom are scaled so that the whole stacked atom has norm one.
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
"""Returns the samples from which each neuron may be re-initialised; computed on demand."""


def update_atoms(
    dictionaries: Sequence[Dictionary],
    statistics: BatchStatistics,
    state: PlasticityState,
    idle: IdleAtoms,
    eligible: EligibleSamples,
    rng: np.random.Generator | None,
    batch_size: int | None = None,
) -> tuple[list[FloatArray], PlasticityState]:
    """Compute the atoms of every dictionary and the state of the rule after one batch.

    Parameters
    ----------
    dictionaries : sequence of Dictionary
    statistics : BatchStatistics
    state : PlasticityState
    idle : IdleAtoms
    eligible : callable
        Returns (n_samples, n_neurons) bool, or None.
    rng : numpy Generator, optional
        Draws new atoms; if None, idle atoms are not re-initialised.
    batch_size : int, optional
        Number of samples to which the decay of the rule refers (default: those of the batch).

    Returns
    -------
    atoms : list of (n_neurons, n_inputs)
    state : PlasticityState
    """
    observed = [d for d in dictionaries if d.name in statistics.sums.stimulus_energy]
    plastic = [d for d in observed if d.name in statistics.sums.correlation]
    if not plastic:
        return [d.atoms for d in dictionaries], replace(state, redrawn=0)
    decay = batch_decay(plastic, statistics.n_samples, batch_size)
    state = state.update(statistics.sums.activity, decay)
    old, atoms = observed_atoms(observed, len(dictionaries)), {}
    for d in plastic:
        assert d.plasticity is not None
        correlation = statistics.sums.correlation[d.name]
        atoms[d.name] = d.plasticity.step(old[d.name], correlation, state.usage)
    if rng is not None:
        state = _reinitialise_idle(atoms, statistics, state, idle, eligible, rng)
    for d in plastic:  # new atoms may have negative values
        if d.plasticity is not None and d.plasticity.non_negative:
            atoms[d.name] = np.abs(atoms[d.name])
    normalised = normalise_stacked(
        [atoms[d.name] for d in plastic],
        [d.weight for d in plastic],
        remaining_norm(dictionaries, plastic),
    )
    atoms.update(zip(atoms, normalised, strict=True))
    return [atoms.get(d.name, d.atoms) for d in dictionaries], state


def batch_decay(plastic: Sequence[Dictionary], n_samples: int, batch_size: int | None) -> float:
    """Return the decay of H over a batch, ``decay ** (n_samples / batch_size)``."""
    decay = max(d.plasticity.decay for d in plastic if d.plasticity is not None)
    return decay if batch_size is None else decay ** (n_samples / batch_size)


def eligible_samples(
    drivers: Sequence[Driver], labels: ArrayLike | None, n_samples: int, n_neurons: int
) -> NDArray[np.bool_] | None:
    """Return the samples that all drivers assign to each neuron, None if none assigns any."""
    if labels is None:
        return None
    assignments = (driver.assignment(labels, n_samples, n_neurons) for driver in drivers)
    given = [assignment for assignment in assignments if assignment is not None]
    return np.logical_and.reduce(given) if given else None


def remaining_norm(
    dictionaries: Sequence[Dictionary], plastic: Sequence[Dictionary]
) -> FloatArray | float:
    """Compute the norm of the plastic rows for which the whole stacked atom has norm one.

    Where the norm of the fixed rows alone is one or more, the plastic rows keep their norm.
    """
    fixed = [d for d in dictionaries if all(d is not p for p in plastic)]
    if not fixed:
        return 1.0
    fixed_norm, plastic_norm = (
        stacked_norms([d.atoms for d in group], [d.weight for d in group])
        for group in (fixed, plastic)
    )
    return np.where(fixed_norm < 1, np.sqrt(np.maximum(1 - fixed_norm**2, 0.0)), plastic_norm)


def _reinitialise_idle(
    atoms: dict[str, FloatArray],
    statistics: BatchStatistics,
    state: PlasticityState,
    idle: IdleAtoms,
    eligible: EligibleSamples,
    rng: np.random.Generator,
) -> PlasticityState:
    """Replace the idle rows of ``atoms`` by new atoms."""
    neurons = np.flatnonzero(state.silent >= idle.patience)
    if not neurons.size:
        return state
    rows = draw_samples(rng, neurons, _first_occurrences(statistics.fingerprints(idle)), eligible())
    neurons, rows = neurons[rows >= 0], rows[rows >= 0]
    if not neurons.size:
        return state
    candidates = statistics.candidates(rows, idle)
    stacked = np.hstack(list(candidates.values())).astype(np.float64)
    scale = 1 / np.sqrt(np.einsum("ij,ij->i", stacked, stacked))
    for name, new_atoms in candidates.items():
        atoms[name][neurons] = new_atoms * scale[:, None].astype(new_atoms.dtype)
    return state.reset(neurons)


def _first_occurrences(fingerprints: Sequence[bytes]) -> FloatArray:
    """Return one for samples that are not blank and the first of their direction, else zero."""
    is_first, earlier = np.zeros(len(fingerprints)), {b""}
    for row, fingerprint in enumerate(fingerprints):
        is_first[row] = fingerprint not in earlier
        earlier.add(fingerprint)
    return is_first

"""Where a dictionary starts: every atom is a sample, seen in all modalities at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spikelca.plasticity import normalise_stacked
from spikelca.validation import FloatArray

ALIKE = 1e-6
"""Distance of two directions that are one and the same but for the rounding of float32."""

ROWS = 1024
"""Atoms that are compared with those before them at a time."""

JITTER = 0.05
"""Noise, as a part of an atom's norm, that tells apart atoms which start from equal samples."""


def initial_atoms(
    stimuli: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    n_neurons: int,
    rng: np.random.Generator,
    favoured: NDArray[np.bool_] | None = None,
) -> dict[str, FloatArray]:
    """Atoms drawn from samples, the stacked atom of unit norm.

    Each sample serves once as long as there are enough; where samples repeat or are blank, a little
    noise makes the atom one of its own.

    Parameters
    ----------
    stimuli : mapping of modality to (n_samples, n_inputs)
    weights : mapping of modality to float
    n_neurons : int
    rng : numpy Generator
    favoured : (n_samples, n_neurons) bool, optional
        Samples from which each neuron may be drawn, see `Driver.favours`.

    Returns
    -------
    dict of modality to (n_neurons, n_inputs)
    """
    n_samples = len(next(iter(stimuli.values())))
    if favoured is None:
        rows = _without_repeats(rng, np.arange(n_samples), n_neurons)
    else:
        rows = np.empty(n_neurons, dtype=np.int64)
        patterns, which = np.unique(favoured, axis=1, return_inverse=True)
        for index, pattern in enumerate(patterns.T):
            neurons = np.flatnonzero(which.ravel() == index)
            choices = np.flatnonzero(pattern)
            choices = choices if choices.size else np.arange(n_samples)
            rows[neurons] = _without_repeats(rng, choices, neurons.size)
    atoms = {name: np.array(X[rows]) for name, X in stimuli.items()}
    _tell_apart(atoms, rng)
    moved = normalise_stacked(list(atoms.values()), [weights[name] for name in atoms])
    return dict(zip(atoms, moved, strict=True))


def _without_repeats(
    rng: np.random.Generator, choices: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    rounds = [rng.permutation(choices) for _ in range(-(-size // choices.size))]
    return np.concatenate(rounds)[:size]


def _repeats(directions: FloatArray) -> NDArray[np.bool_]:
    """Whether an earlier row lies within `ALIKE`; rows have norm one, or zero.

    Rounding would be no test: two rows that differ in their last bits may round apart.
    """
    found = np.zeros(len(directions), dtype=np.bool_)
    for first in range(0, len(directions), ROWS):
        rows = slice(first, first + ROWS)
        # |d - e|^2 = 2 - 2 d.e
        near = directions[rows] @ directions[: rows.stop].T > 1 - 0.5 * ALIKE**2
        found[rows] = np.tril(near, first - 1).any(axis=1)
    return found


def _tell_apart(atoms: Mapping[str, FloatArray], rng: np.random.Generator) -> None:
    """Add noise to blank atoms and to every atom that another one equals or scales."""
    stacked = np.hstack(list(atoms.values())).astype(np.float64)
    norms = np.linalg.norm(stacked, axis=1)
    unclear = np.flatnonzero(
        _repeats(stacked / np.where(norms > 0, norms, 1.0)[:, None]) | (norms == 0)
    )
    scale = np.where(norms[unclear] > 0, norms[unclear] * JITTER, 1.0)
    for phi in atoms.values():
        noise = rng.standard_normal((unclear.size, phi.shape[1])) / np.sqrt(stacked.shape[1])
        phi[unclear] += np.abs(scale[:, None] * noise).astype(phi.dtype)

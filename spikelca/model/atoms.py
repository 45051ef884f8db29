"""Where a dictionary starts: every atom is a sample, seen in all modalities at once.

How long a step may be: the spectrum of the Gram matrix decides.

Forward Euler of ``tau du/dt = -u + b - L a`` is certainly stable for ``dt / tau`` below
``2 / lambda_max(L + 1)``. Only the active neurons count, so this is safe but not tight; a step that
is too large, though, may end in a code that is finite and wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.model.dictionary import Dictionary
from spikelca.utils.validation import FloatArray


def stacked_norms(atoms: Sequence[FloatArray], weights: Sequence[float]) -> NDArray[np.float64]:
    """Norm of ``[sqrt(w_1) Phi_1; sqrt(w_2) Phi_2; ...]`` for each neuron: (n_neurons,)."""
    total: Any = sum(
        weight * np.einsum("ij,ij->i", phi, phi, dtype=np.float64)
        for phi, weight in zip(atoms, weights, strict=True)
    )
    return np.asarray(np.sqrt(total))


def rescale_to_stacked(code: FloatArray, observed_norms: NDArray[np.float64]) -> FloatArray:
    """A code of the observed parts of the atoms, brought back to the stacked atoms.

    Where only a part of the modalities was observed, a code belongs to atoms whose observed part
    has unit norm; ``observed_norms`` are the norms that these parts really have.
    """
    scale = np.divide(
        1.0, observed_norms, out=np.zeros_like(observed_norms), where=observed_norms > 0
    )
    return np.asarray(code * scale.astype(code.dtype))


def normalise_stacked(
    atoms: Sequence[FloatArray], weights: Sequence[float], radius: FloatArray | float = 1.0
) -> list[FloatArray]:
    """Bring every stacked atom to the unit sphere; an atom of norm zero stays zero.

    ``radius``, one number or one for each atom, asks for a sphere of another size.

    Examples
    --------
    >>> import numpy as np
    >>> first, second = normalise_stacked([np.eye(2) * 3, np.eye(2) * 4], [1.0, 1.0])
    >>> float(first[0, 0].round(3)), float(second[0, 0].round(3))
    (0.6, 0.8)
    """
    norms = stacked_norms(atoms, weights)
    scale = np.divide(radius, norms, out=np.zeros_like(norms), where=norms > 0)
    return [phi * scale.astype(phi.dtype)[:, None] for phi in atoms]


def gram_matrix(dictionaries: Sequence[Dictionary]) -> FloatArray:
    """``sum_i w_i Phi_i^T Phi_i``: (n_neurons, n_neurons), exactly symmetric."""
    dtype = dictionaries[0].atoms.dtype
    gram = np.zeros((dictionaries[0].n_neurons,) * 2, dtype=dtype)
    for d in dictionaries:
        gram += dtype.type(d.weight) * (d.atoms @ d.atoms.T)
    return np.asarray((gram + gram.T) * dtype.type(0.5))


def check_unique_names(names: Sequence[str]) -> None:
    """Raise ValueError if two modalities share a name."""
    if len(set(names)) != len(names) or not names:
        raise ValueError(
            f"Found the modalities {list(names)}; at least one, all different, awaited."
        )


def check_dictionaries(dictionaries: Sequence[Dictionary]) -> None:
    """Check that the dictionaries fit together and that no atom is blank or doubled.

    Raises
    ------
    ValueError
        If numbers of neurons or precisions differ, or a stacked atom is zero or a copy of another.
    """
    check_unique_names([d.name for d in dictionaries])
    shapes = {d.name: d.atoms.shape for d in dictionaries}
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(
            f"The dictionaries have the shapes {shapes} (n_neurons, n_inputs); "
            "one number of neurons was awaited."
        )
    dtypes = {d.name: str(d.atoms.dtype) for d in dictionaries}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"The dictionaries have the precisions {dtypes}; one was awaited.")
    stacked = np.hstack([d.atoms for d in dictionaries])
    blank = np.flatnonzero(~stacked.any(axis=1))
    if blank.size:
        raise ValueError(
            f"{blank.size} atom(s) have norm zero, the first at index {blank[0]}; such a neuron "
            "never sees anything. Leave it out, or draw it from a sample."
        )
    first = _first_duplicate(stacked)
    if first is not None:
        raise ValueError(
            f"Atoms {first[0]} and {first[1]} are equal; their codes would not be unique. "
            "Leave one of them out."
        )


def _first_duplicate(stacked: FloatArray) -> tuple[int, int] | None:
    seen: dict[bytes, int] = {}
    for index, row in enumerate(stacked):
        earlier = seen.setdefault((row + 0.0).tobytes(), index)  # -0.0 is 0.0
        if earlier != index:
            return earlier, index
    return None


JITTER = 0.05
"""Noise, as a part of an atom's norm, that tells apart atoms which start from equal samples."""


def draw_initial_atoms(
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
        Samples from which each neuron may be drawn, see `Driver.assignment`.

    Returns
    -------
    dict of modality to (n_neurons, n_inputs)
    """
    n_samples = len(next(iter(stimuli.values())))
    if favoured is None:
        rows = _draw_without_replacement(rng, np.arange(n_samples), n_neurons)
    else:
        rows = np.empty(n_neurons, dtype=np.int64)
        patterns, which = np.unique(favoured, axis=1, return_inverse=True)
        for index, pattern in enumerate(patterns.T):
            neurons = np.flatnonzero(which.ravel() == index)
            choices = np.flatnonzero(pattern)
            choices = choices if choices.size else np.arange(n_samples)
            rows[neurons] = _draw_without_replacement(rng, choices, neurons.size)
    atoms = {name: np.array(X[rows]) for name, X in stimuli.items()}
    _perturb_duplicates(atoms, rng)
    moved = normalise_stacked(list(atoms.values()), [weights[name] for name in atoms])
    return dict(zip(atoms, moved, strict=True))


def _draw_without_replacement(
    rng: np.random.Generator, choices: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    rounds = [rng.permutation(choices) for _ in range(-(-size // choices.size))]
    return np.concatenate(rounds)[:size]


def _perturb_duplicates(atoms: Mapping[str, FloatArray], rng: np.random.Generator) -> None:
    """Add noise to blank atoms and to every atom that another one equals or scales."""
    stacked = np.hstack(list(atoms.values())).astype(np.float64)
    norms = np.linalg.norm(stacked, axis=1)
    directions = np.round(stacked / np.where(norms > 0, norms, 1.0)[:, None], 6) + 0.0
    _, first = np.unique(directions, axis=0, return_index=True)
    again = np.setdiff1d(np.arange(len(stacked)), first)
    unclear = np.union1d(again, np.flatnonzero(norms == 0)).astype(np.int64)
    scale = np.where(norms[unclear] > 0, norms[unclear] * JITTER, 1.0)
    for phi in atoms.values():
        noise = rng.standard_normal((unclear.size, phi.shape[1])) / np.sqrt(stacked.shape[1])
        phi[unclear] += np.abs(scale[:, None] * noise).astype(phi.dtype)


MAX_STEP = 0.1
"""No automatic step is longer than this part of tau, however tame the spectrum."""


def largest_eigenvalue(gram: FloatArray, n_iter: int = 100) -> float:
    """Largest eigenvalue of a positive semi-definite matrix by power iteration, from just above.

    The estimate of the power iteration comes from below; the residual ``|G x - l x|`` is added, so
    that a step taken from it errs on the safe side.
    """
    # An even start meets the leading eigenvector of non-negative dictionaries; the ripple also
    # meets those that are orthogonal to it.
    n = len(gram)
    x = 1.0 + 0.5 * np.cos(np.arange(n) * 2.399963)
    G = gram.astype(np.float64, copy=False)
    value = slack = 0.0
    for _ in range(n_iter):
        x /= np.linalg.norm(x)
        y = G @ x
        value = float(x @ y)
        slack = float(np.linalg.norm(y - value * x))
        if slack <= 1e-3 * value or value == 0:
            break
        x = y
    return value + slack


def step_limit(gram: FloatArray) -> float:
    """Below this ``dt / tau`` forward Euler is certainly stable: ``2 / lambda_max(L + 1)``."""
    value = largest_eigenvalue(gram)
    return 2.0 / value if value > 0 else math.inf


def default_step(limit: float) -> float:
    """``dt / tau`` that the library takes unless told: half the limit, at most `MAX_STEP`."""
    return min(0.5 * limit, MAX_STEP)

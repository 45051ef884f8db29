"""Stacked atoms: norms, Gram matrix, checks, initial atoms and the stability limit.

The stacked atom of a neuron is ``[sqrt(w_1) Phi_1; sqrt(w_2) Phi_2; ...]``, its atoms of all
modalities. Learning normalises it to unit norm.

Forward Euler of ``tau du/dt = -u + b - L a`` is stable for ``dt / tau < 2 / lambda_max(L + 1)``.
Only the active neurons count, so the limit is sufficient but not tight. A larger step may diverge
or converge to a wrong code that is finite.
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
    """Compute the norm of each stacked atom, in float64: (n_neurons,)."""
    total: Any = sum(
        weight * np.einsum("ij,ij->i", phi, phi, dtype=np.float64)
        for phi, weight in zip(atoms, weights, strict=True)
    )
    return np.asarray(np.sqrt(total))


def rescale_to_stacked(code: FloatArray, observed_norms: NDArray[np.float64]) -> FloatArray:
    """Rescale a code of the observed modalities to the stacked atoms.

    A code inferred from some of the modalities refers to atoms whose observed rows have unit norm;
    ``observed_norms`` are the norms of these rows in the stacked atoms.
    """
    scale = np.divide(
        1.0, observed_norms, out=np.zeros_like(observed_norms), where=observed_norms > 0
    )
    return np.asarray(code * scale.astype(code.dtype))


def normalise_stacked(
    atoms: Sequence[FloatArray], weights: Sequence[float], radius: FloatArray | float = 1.0
) -> list[FloatArray]:
    """Scale every stacked atom to norm ``radius``; an atom of norm zero stays zero.

    ``radius`` is one number, or one for each atom.

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


def gram_matrix(atoms: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Compute ``sum_i w_i Phi_i^T Phi_i``, exactly symmetric: (n_neurons, n_neurons)."""
    n_neurons, dtype = len(atoms[0]), atoms[0].dtype
    gram = np.zeros((n_neurons, n_neurons), dtype=dtype)
    for phi, weight in zip(atoms, weights, strict=True):
        gram += dtype.type(weight) * (phi @ phi.T)
    return np.asarray((gram + gram.T) * dtype.type(0.5))


def check_unique_names(names: Sequence[str]) -> None:
    """Raise ValueError if two modalities share a name, or there are none."""
    if len(set(names)) != len(names) or not names:
        raise ValueError(
            f"Modality names must be at least one and all different, got {list(names)}."
        )


def check_dictionaries(dictionaries: Sequence[Dictionary], two_sided: bool = False) -> None:
    """Check that the dictionaries fit together and that no atom is zero or duplicated.

    Parallel atoms with different norms are accepted, because their codes are unique: the longer
    atom has the smaller cost.

    Raises
    ------
    ValueError
        If numbers of neurons or precisions differ, or a stacked atom is zero or equals another, or
        with signed codes its negative.
    """
    check_unique_names([d.name for d in dictionaries])
    shapes = {d.name: d.atoms.shape for d in dictionaries}
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(
            "dictionaries must have the same number of neurons, got the shapes "
            f"(n_neurons, n_inputs) {shapes}."
        )
    dtypes = {d.name: str(d.atoms.dtype) for d in dictionaries}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"dictionaries must have the same dtype, got {dtypes}.")
    stacked = np.hstack([d.atoms for d in dictionaries])
    blank = np.flatnonzero(~stacked.any(axis=1))
    if blank.size:
        raise ValueError(
            f"Atoms must not be zero, got {blank.size} atom(s) with norm zero, the first at index "
            f"{blank[0]}. Such a neuron has no input: remove it, or use a sample as its atom."
        )
    if two_sided:  # the first value of each atom that is not zero becomes positive
        leading = stacked[np.arange(len(stacked)), (stacked != 0).argmax(axis=1)]
        stacked = stacked * np.sign(leading)[:, None]
    first = _first_duplicate(stacked)
    if first is not None:
        raise ValueError(
            "Atoms must be all different (with signed codes, up to the sign), got equal atoms "
            f"{first[0]} and {first[1]}. Their codes would not be unique: remove one of them."
        )


def _first_duplicate(stacked: FloatArray) -> tuple[int, int] | None:
    first_index: dict[bytes, int] = {}
    for index, row in enumerate(stacked):
        earlier = first_index.setdefault((row + 0.0).tobytes(), index)  # -0.0 becomes 0.0
        if earlier != index:
            return earlier, index
    return None


SAME_DIRECTION_TOL = 1e-6
"""Distance of unit vectors up to which they count as equal, above the rounding of float32."""

COMPARED_ROWS = 1024
"""Number of atoms compared with the earlier ones at a time."""

JITTER = 0.05
"""Noise, relative to the norm of the atom, that distinguishes atoms drawn from equal samples."""


def draw_initial_atoms(
    stimuli: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    n_neurons: int,
    rng: np.random.Generator,
    assignment: NDArray[np.bool_] | None = None,
) -> dict[str, FloatArray]:
    """Draw initial atoms from samples, with stacked atoms of unit norm.

    Each sample is used once while there are enough. Duplicate and blank samples receive a little
    noise, so that all atoms differ.

    Parameters
    ----------
    stimuli : mapping of modality to (n_samples, n_inputs)
    weights : mapping of modality to float
    n_neurons : int
    rng : numpy Generator
    assignment : (n_samples, n_neurons) bool, optional
        Samples from which each neuron may be drawn, see `Driver.assignment`.

    Returns
    -------
    dict of modality to (n_neurons, n_inputs)

    Raises
    ------
    ValueError
        If samples with a single input do not give enough different atoms.
    """
    n_samples = len(next(iter(stimuli.values())))
    if assignment is None:
        rows = _draw_without_replacement(rng, np.arange(n_samples), n_neurons)
    else:
        rows = np.empty(n_neurons, dtype=np.int64)
        patterns, which = np.unique(assignment, axis=1, return_inverse=True)
        for index, pattern in enumerate(patterns.T):
            neurons = np.flatnonzero(which.ravel() == index)
            choices = np.flatnonzero(pattern)
            choices = choices if choices.size else np.arange(n_samples)
            rows[neurons] = _draw_without_replacement(rng, choices, neurons.size)
    atoms = {name: np.array(X[rows]) for name, X in stimuli.items()}
    _perturb_duplicates(atoms, rng)
    normalised = normalise_stacked(list(atoms.values()), [weights[name] for name in atoms])
    stacked = np.hstack(normalised)
    if stacked.shape[1] == 1 and np.unique(np.sign(stacked)).size < n_neurons:
        raise ValueError(
            f"There must be one neuron for samples with 1 feature(s), got {n_neurons} with "
            "equal initial atoms, because atoms of unit norm then differ only in sign. Use one "
            "neuron, or more features."
        )
    return dict(zip(atoms, normalised, strict=True))


def _draw_without_replacement(
    rng: np.random.Generator, choices: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    rounds = [rng.permutation(choices) for _ in range(-(-size // choices.size))]
    return np.concatenate(rounds)[:size]


def _is_duplicate(directions: FloatArray) -> NDArray[np.bool_]:
    """Whether an earlier row is within `SAME_DIRECTION_TOL`; rows have norm one, or zero.

    Rounded rows cannot be compared instead, because almost equal rows may round differently.
    """
    duplicates = np.zeros(len(directions), dtype=np.bool_)
    for start in range(0, len(directions), COMPARED_ROWS):
        rows = slice(start, start + COMPARED_ROWS)
        # |d - e|^2 = 2 - 2 d.e
        near = directions[rows] @ directions[: rows.stop].T > 1 - 0.5 * SAME_DIRECTION_TOL**2
        duplicates[rows] = np.tril(near, start - 1).any(axis=1)
    return duplicates


def _perturb_duplicates(atoms: Mapping[str, FloatArray], rng: np.random.Generator) -> None:
    """Add noise to blank atoms and to every atom that is a multiple of an earlier one."""
    stacked = np.hstack(list(atoms.values())).astype(np.float64)
    norms = np.linalg.norm(stacked, axis=1)
    directions = stacked / np.where(norms > 0, norms, 1.0)[:, None]
    rows = np.flatnonzero(_is_duplicate(directions) | (norms == 0))
    scale = np.where(norms[rows] > 0, norms[rows] * JITTER, 1.0)
    for phi in atoms.values():
        noise = rng.standard_normal((rows.size, phi.shape[1])) / np.sqrt(stacked.shape[1])
        phi[rows] += np.abs(scale[:, None] * noise).astype(phi.dtype)


MAX_STEP = 0.1
"""Upper limit of ``dt / tau`` for the default step, for any Gram matrix."""


def largest_eigenvalue(gram: FloatArray, n_iter: int = 100) -> float:
    """Estimate the largest eigenvalue of a positive semi-definite matrix from above.

    The power iteration estimates it from below; the residual ``|G x - l x|`` is added, so that a
    step computed from it is stable.
    """
    # A constant vector overlaps with the leading eigenvector of non-negative dictionaries; the
    # cosine gives an overlap with eigenvectors that are orthogonal to it.
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
    """Compute the stability limit of ``dt / tau`` for forward Euler: ``2 / lambda_max(L + 1)``."""
    value = largest_eigenvalue(gram)
    return 2.0 / value if value > 0 else math.inf


def default_step(limit: float) -> float:
    """Return the default ``dt / tau``: half the stability limit, at most `MAX_STEP`."""
    return min(0.5 * limit, MAX_STEP)

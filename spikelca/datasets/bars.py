"""Linked bars: synthetic data of two modalities with known dictionaries and codes.

Each neuron ``k`` has an atom in both modalities. In the modality *bars* it is a horizontal or
vertical bar on a square grid, the classical test of sparse coding: bars cross, so pixels belong to
several atoms. In the modality *marks* it is a smooth bump on a ring of inputs, at a position that
is independent of the bar. A few neurons are active in each sample, with positive activity::

    x_m = sum_k a_k Phi_m[k] + noise,      m in {bars, marks},
    |Phi_bars[k]|^2 + |Phi_marks[k]|^2 = 1

where ``a`` is the code (the same for both modalities) and the rows of ``Phi_m`` are the atoms. Both
halves of a stacked atom have norm 1/sqrt(2), so both modalities are equally informative. Learning
is successful if ``Phi`` is recovered up to the order of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import readonly_view

Floats = NDArray[np.float64]
BUMP_SPACING = 3  # ring inputs between two neighbouring bumps
BUMP_WIDTH = 1.0  # standard deviation of a bump, in ring inputs
STRENGTHS = (0.5, 1.5)


@dataclass(frozen=True, eq=False)
class LinkedBars:
    """Samples of linked bars, with true dictionaries and codes.

    Parameters
    ----------
    X : dict of str to ndarray of shape (n_samples, n_inputs)
        Stimuli ``"bars"`` and ``"marks"``, dimensionless; read-only.
    atoms : dict of str to ndarray of shape (n_neurons, n_inputs)
        True dictionary of each modality; stacked atoms have unit norm; read-only.
    codes : ndarray of shape (n_samples, n_neurons)
        True codes, non-negative; read-only.

    Examples
    --------
    >>> from spikelca.datasets import linked_bars
    >>> bars = linked_bars(n_samples=5, size=4)
    >>> {name: X.shape for name, X in bars.X.items()}
    {'bars': (5, 16), 'marks': (5, 24)}
    """

    X: dict[str, Floats] = field(repr=False)
    atoms: dict[str, Floats] = field(repr=False)
    codes: Floats = field(repr=False)

    def __post_init__(self) -> None:
        for field_name in ("X", "atoms"):
            arrays = getattr(self, field_name)
            views = {name: readonly_view(array) for name, array in arrays.items()}
            object.__setattr__(self, field_name, views)
        object.__setattr__(self, "codes", readonly_view(self.codes))


def linked_bars(
    n_samples: int = 2000,
    size: int = 8,
    n_active: int | tuple[int, int] = (2, 3),
    noise: float = 0.0,
    random_state: int | np.random.Generator | None = 0,
) -> LinkedBars:
    """Draw samples of two modalities from linked dictionaries and sparse codes.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of samples.
    size : int, default=8
        Side of the grid in pixels; there are ``2 * size`` neurons.
    n_active : int or pair of int, default=(2, 3)
        Number of active neurons per sample, or the range (inclusive) from which it is drawn.
    noise : float, default=0.0
        Standard deviation of Gaussian noise that is added to every input.
    random_state : int, numpy.random.Generator or None, default=0
        Seed or generator; with None, every call draws different samples.

    Returns
    -------
    LinkedBars
        Samples with ``size ** 2`` (bars) and ``6 * size`` (marks) inputs.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca.datasets import linked_bars
    >>> bars = linked_bars(n_samples=100, n_active=2)
    >>> np.allclose(bars.X["marks"], bars.codes @ bars.atoms["marks"])
    True
    """
    n_min, n_max = (n_active, n_active) if isinstance(n_active, int) else n_active
    _check(n_samples, size, n_min, n_max, noise)
    rng = np.random.default_rng(random_state)
    atoms = {"bars": _bar_atoms(size), "marks": _bump_atoms(2 * size, rng)}
    codes = _draw_codes(rng, n_samples, 2 * size, n_min, n_max)
    X = {name: codes @ phi for name, phi in atoms.items()}
    if noise > 0:
        X = {name: clean + noise * rng.standard_normal(clean.shape) for name, clean in X.items()}
    return LinkedBars(X, atoms, codes)


def _check(n_samples: int, size: int, n_min: int, n_max: int, noise: float) -> None:
    if n_samples < 1 or size < 2:
        raise ValueError(
            f"`n_samples` must be >= 1 and `size` >= 2, got n_samples={n_samples} and size={size}."
        )
    if not 1 <= n_min <= n_max <= 2 * size:
        raise ValueError(
            f"`n_active` must satisfy 1 <= first <= second <= 2 * size = {2 * size}, got {n_min} "
            f"to {n_max}."
        )
    if not 0 <= noise < np.inf:
        raise ValueError(f"`noise` must be a finite standard deviation >= 0, got {noise}.")


def _bar_atoms(size: int) -> Floats:
    """Make horizontal, then vertical bars, as rows of norm 1/sqrt(2)."""
    position, extent = np.eye(size), np.ones((1, size))
    bars = np.vstack([np.kron(position, extent), np.kron(extent, position)])
    atoms: Floats = bars / np.sqrt(2 * size)
    return atoms


def _bump_atoms(n_neurons: int, rng: np.random.Generator) -> Floats:
    """Make bumps on a ring, at shuffled positions, as rows of norm 1/sqrt(2)."""
    n_inputs = BUMP_SPACING * n_neurons
    centres = BUMP_SPACING * rng.permutation(n_neurons)
    distance = np.abs(np.arange(n_inputs) - centres[:, None])
    distance = np.minimum(distance, n_inputs - distance)
    bumps = np.exp(-0.5 * (distance / BUMP_WIDTH) ** 2)
    atoms: Floats = bumps / np.sqrt(2 * (bumps**2).sum(axis=1, keepdims=True))
    return atoms


def _draw_codes(
    rng: np.random.Generator, n_samples: int, n_neurons: int, n_min: int, n_max: int
) -> Floats:
    n_active = rng.integers(n_min, n_max, size=(n_samples, 1), endpoint=True)
    rank = rng.random((n_samples, n_neurons)).argsort(axis=1).argsort(axis=1)
    return np.where(rank < n_active, rng.uniform(*STRENGTHS, size=rank.shape), 0.0)

"""Linked bars: a small world whose true dictionary and true code are known.

Every cause ``k`` shows itself twice at once. In the modality *bars* it is one horizontal or
vertical bar on a square grid, the classical test of a sparse code: bars cross, so no pixel belongs
to one cause alone. In the modality *marks* it is one smooth bump on a ring of inputs, of another
width than the grid, at a place that tells nothing about the bar. A few causes are active together,
each with a positive strength::

    x_m = sum_k a_k Phi_m[k] + noise,      m in {bars, marks},
    |Phi_bars[k]|^2 + |Phi_marks[k]|^2 = 1

where ``a`` is the code (the same for both modalities) and ``Phi_m`` holds the atoms as rows. Both
halves of a stacked atom have norm 1/sqrt(2), so neither modality tells a cause better than the
other. A learner that found ``Phi`` up to the order of its rows has understood this world.
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
    """Samples of the linked bars, with the dictionary and the code that made them.

    Parameters
    ----------
    X : dict of str to ndarray of shape (n_samples, n_inputs)
        The stimuli, ``"bars"`` and ``"marks"``; read-only, without unit.
    atoms : dict of str to ndarray of shape (n_neurons, n_inputs)
        The true dictionary per modality; stacked atoms have unit norm; read-only.
    codes : ndarray of shape (n_samples, n_neurons)
        The true code, positive where a cause is active and zero elsewhere; read-only.

    Examples
    --------
    >>> from spikelca.datasets import linked_bars
    >>> world = linked_bars(n_samples=5, size=4)
    >>> {name: X.shape for name, X in world.X.items()}
    {'bars': (5, 16), 'marks': (5, 24)}
    """

    X: dict[str, Floats] = field(repr=False)
    atoms: dict[str, Floats] = field(repr=False)
    codes: Floats = field(repr=False)

    def __post_init__(self) -> None:
        for part in ("X", "atoms"):
            frozen = {name: readonly_view(array) for name, array in getattr(self, part).items()}
            object.__setattr__(self, part, frozen)
        object.__setattr__(self, "codes", readonly_view(self.codes))


def linked_bars(
    n_samples: int = 2000,
    size: int = 8,
    n_active: int | tuple[int, int] = (2, 3),
    noise: float = 0.0,
    random_state: int | np.random.Generator | None = 0,
) -> LinkedBars:
    """Draw samples in which every cause shows in two modalities at once.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of samples.
    size : int, default=8
        Side of the grid in pixels; there are ``2 * size`` causes.
    n_active : int or pair of int, default=(2, 3)
        How many causes are active in a sample: this many, or evenly from the first to the second
        number, both included.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added to every input.
    random_state : int, numpy.random.Generator or None, default=0
        The source of chance; None draws anew each time.

    Returns
    -------
    LinkedBars
        With ``n_inputs`` of ``size ** 2`` (bars) and ``6 * size`` (marks).

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca.datasets import linked_bars
    >>> world = linked_bars(n_samples=100, n_active=2)
    >>> np.allclose(world.X["marks"], world.codes @ world.atoms["marks"])
    True
    """
    fewest, most = (n_active, n_active) if isinstance(n_active, int) else n_active
    _check(n_samples, size, fewest, most, noise)
    rng = np.random.default_rng(random_state)
    atoms = {"bars": _bar_atoms(size), "marks": _bump_atoms(2 * size, rng)}
    codes = _draw_codes(rng, n_samples, 2 * size, fewest, most)
    X = {name: codes @ atom for name, atom in atoms.items()}
    if noise > 0:
        X = {name: clean + noise * rng.standard_normal(clean.shape) for name, clean in X.items()}
    return LinkedBars(X, atoms, codes)


def _check(n_samples: int, size: int, fewest: int, most: int, noise: float) -> None:
    if n_samples < 1 or size < 2:
        raise ValueError(
            f"found n_samples={n_samples} and size={size}; awaited at least 1 sample and a grid of "
            "at least 2 pixels a side."
        )
    if not 1 <= fewest <= most <= 2 * size:
        raise ValueError(
            f"found n_active from {fewest} to {most}; awaited 1 <= first <= second <= 2 * size, "
            f"which is {2 * size}."
        )
    if not 0 <= noise < np.inf:
        raise ValueError(f"found noise={noise}; awaited a standard deviation, 0 or above.")


def _bar_atoms(size: int) -> Floats:
    """Return first the horizontal, then the vertical bars, as rows of norm 1/sqrt(2)."""
    line, across = np.eye(size), np.ones((1, size))
    bars = np.vstack([np.kron(line, across), np.kron(across, line)])
    atoms: Floats = bars / np.sqrt(2 * size)
    return atoms


def _bump_atoms(n_neurons: int, rng: np.random.Generator) -> Floats:
    """Return one bump on a ring per cause, the places shuffled, as rows of norm 1/sqrt(2)."""
    n_inputs = BUMP_SPACING * n_neurons
    centres = BUMP_SPACING * rng.permutation(n_neurons)
    away = np.abs(np.arange(n_inputs) - centres[:, None])
    away = np.minimum(away, n_inputs - away)
    bumps = np.exp(-0.5 * (away / BUMP_WIDTH) ** 2)
    atoms: Floats = bumps / np.sqrt(2 * (bumps**2).sum(axis=1, keepdims=True))
    return atoms


def _draw_codes(
    rng: np.random.Generator, n_samples: int, n_neurons: int, fewest: int, most: int
) -> Floats:
    n_on = rng.integers(fewest, most, size=(n_samples, 1), endpoint=True)
    rank = rng.random((n_samples, n_neurons)).argsort(axis=1).argsort(axis=1)
    return np.where(rank < n_on, rng.uniform(*STRENGTHS, size=rank.shape), 0.0)

"""Measures of a code: its energy, its certificate, its sparsity, its order.

All are free functions on arrays and return float64, one value for each sample unless said.

Certificates: how far a code is from the fixed point, told by the law and not by a solver.

`fixed_point_residual` holds for every transfer function; `relative_gap` is the duality gap of the
LASSO and needs the soft threshold. Both are computed in float64 whatever made the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.model.dictionary import Dictionary
from spikelca.model.transfer import SoftThreshold, Transfer
from spikelca.utils.validation import FloatArray

STRICT_TOL = 1e-6
"""Below this tolerance a code is wanted to the last digits: its residual must reach it too."""


def stopping_value(
    residual: NDArray[np.float64], gap: NDArray[np.float64] | None, tol: float
) -> NDArray[np.float64]:
    """What must not exceed the tolerance, for each sample.

    The duality gap; the fixed-point residual where there is no gap; below `STRICT_TOL` the larger one.
    """
    if gap is None:
        return residual
    if tol < STRICT_TOL:
        return np.asarray(np.fmax(gap, residual))
    return np.where(np.isnan(gap), residual, gap)


def converged(residual: NDArray[np.float64], gap: NDArray[np.float64] | None, tol: float) -> bool:
    """Whether every sample has reached the tolerance; quick where all have."""
    if gap is not None and tol >= STRICT_TOL and gap.max() <= tol:
        return True
    return bool((stopping_value(residual, gap, tol) <= tol).all())


def fixed_point_residual(
    transfer: Transfer,
    total_drive: FloatArray,
    gram: FloatArray,
    code: FloatArray,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """``max_j |T(b + d - L a) - a|_j / lam`` of each sample, computed in float64.

    Parameters
    ----------
    transfer : Transfer
    total_drive : (n_samples, n_neurons)
        b + d.
    gram : (n_neurons, n_neurons)
        L + 1.
    code : (n_samples, n_neurons)
    allowed : (n_samples, n_neurons) bool, optional
        False where a clamp holds the code at zero.

    Returns
    -------
    (n_samples,) float64
        Zero at a fixed point, in units of the threshold.

    Examples
    --------
    >>> gram, drive = np.eye(2), np.array([[1.0, 0.2]])
    >>> fixed_point_residual(SoftThreshold(0.5), drive, gram, np.array([[0.5, 0.0]]))
    array([0.])
    """
    a = code.astype(np.float64, copy=False)
    return compute_residual(transfer, residual_correlation(total_drive, gram, a), a, allowed)


def residual_correlation(drive: FloatArray, gram: FloatArray, code: FloatArray) -> FloatArray:
    """``b - G a``, what of a drive a float64 code leaves, in float64: (n_samples, n_neurons)."""
    said = np.asarray(code @ gram.astype(np.float64, copy=False))
    return np.subtract(drive, said, out=said)


def compute_residual(
    transfer: Transfer,
    left: FloatArray,
    a: FloatArray,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """`fixed_point_residual` from what is left of the total drive; all in float64."""
    u = left + a
    settled = transfer(u)
    if isinstance(allowed, np.ndarray):
        settled = np.where(allowed, settled, 0.0)
    # Pages of large arrays cost more than the sums in them: u is ours, and not needed any more.
    moved = np.abs(np.subtract(settled, a, out=u), out=u)
    return np.asarray(moved.max(axis=1) / transfer.threshold)


def relative_gap(
    transfer: SoftThreshold,
    drive: FloatArray,
    gram: FloatArray,
    code: FloatArray,
    stimulus_energy: FloatArray,
    current: FloatArray | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Relative duality gap ``(P - D) / P`` of a soft code: an upper bound on what is left to gain.

    With ``r = x - Phi a``, ``t_j = lam -/+ d_j`` the threshold of neuron j once its current is
    counted, and ``s`` the largest step that keeps ``s Phi^T r`` within the thresholds::

        P = 1/2 |r|^2 + sum_j t_j |a_j|        D = s x.r - s^2/2 |r|^2

    All of it needs only the drive ``b = Phi^T x``, the Gram matrix and ``|x|^2``.

    Parameters
    ----------
    transfer : SoftThreshold
    drive : (n_samples, n_neurons)
        b, without currents.
    gram : (n_neurons, n_neurons)
    code : (n_samples, n_neurons)
    stimulus_energy : (n_samples,)
        ``|x|^2`` in the weighted sum of Eq. 6.
    current : (1 or n_samples, n_neurons), optional
        d.
    allowed : (n_samples, n_neurons) bool, optional

    Returns
    -------
    (n_samples,) float64
        NaN where a current lies at or above the threshold (no dual point is known there); zero for
        a blank sample.

    References
    ----------
    Fercoq, Gramfort and Salmon (2015), "Mind the duality gap: safer rules for the Lasso".

    Examples
    --------
    >>> gram, drive = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> code = np.array([[0.5, 0.0], [0.25, 0.0]])  # the best there is, and half of it
    >>> relative_gap(SoftThreshold(0.5), drive, gram, code, np.ones(2)).round(3)
    array([0.   , 0.077])
    """
    a, b = code.astype(np.float64, copy=False), drive.astype(np.float64, copy=False)
    return compute_gap(
        transfer, b, residual_correlation(b, gram, a), a, stimulus_energy, current, allowed
    )


def compute_gap(
    transfer: SoftThreshold,
    b: FloatArray,
    c: FloatArray,
    a: FloatArray,
    stimulus_energy: FloatArray,
    current: FloatArray | None,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """`relative_gap` from ``c = b - G a``; all in float64."""
    above, below = _thresholds(transfer, current, allowed)
    x2 = np.asarray(stimulus_energy, dtype=np.float64)
    ab, ac = np.einsum("ij,ij->i", a, b), np.einsum("ij,ij->i", a, c)
    r2, xr = np.maximum(x2 - ab - ac, 0.0), x2 - ab
    with np.errstate(divide="ignore", invalid="ignore"):
        cost, reach = _cost(a, above), (c / above).max(axis=1)
        if transfer.two_sided or a.min() < 0:
            cost, reach = cost + _cost(-a, below), np.maximum(reach, (-c / below).max(axis=1))
        primal = 0.5 * r2 + cost
        scale = np.minimum(np.where(reach > 0, 1 / reach, np.inf), np.where(r2 > 0, xr / r2, 0.0))
        # A negative step would need bounds on c from below, which one-sided codes do not have.
        scale = np.maximum(scale, 0.0)
        dual = scale * xr - 0.5 * scale**2 * r2
        gap = np.where(primal > 0, (primal - dual) / primal, 0.0)
    known = (above > 0).all(axis=1) & (below > 0).all(axis=1)
    return np.where(known, np.maximum(gap, 0.0), np.nan)


def _thresholds(
    transfer: SoftThreshold, current: FloatArray | None, allowed: NDArray[np.bool_] | None
) -> tuple[FloatArray, FloatArray]:
    """What c must not exceed upwards and downwards; of one row, or one value, if all share it."""
    d = np.zeros((1, 1)) if current is None else np.asarray(current, dtype=np.float64)
    above = np.asarray(transfer.threshold - d)
    below = np.asarray(transfer.threshold + d) if transfer.two_sided else np.full((1, 1), np.inf)
    if allowed is not None:
        above, below = np.where(allowed, above, np.inf), np.where(allowed, below, np.inf)
    return above, below


def _cost(a: FloatArray, bound: FloatArray) -> NDArray[np.float64]:
    """What the positive part of a code costs: (n_samples,)."""
    return np.asarray(np.where(a > 0, bound * a, 0.0).sum(axis=1))


__all__ = [
    "active_fraction",
    "block_selectivity",
    "block_sums",
    "energy",
    "fixed_point_residual",
    "relative_gap",
    "squared_error",
]


def squared_error(stimulus: FloatArray, atoms: FloatArray, code: FloatArray) -> NDArray[np.float64]:
    """``|x - Phi a|^2`` of each sample.

    Parameters
    ----------
    stimulus : (n_samples, n_inputs)
    atoms : (n_neurons, n_inputs)
    code : (n_samples, n_neurons)

    Returns
    -------
    (n_samples,) float64

    Examples
    --------
    >>> import numpy as np
    >>> squared_error(np.array([[2.0, 0.0]]), np.eye(2), np.array([[1.5, 0.0]]))
    array([0.25])
    """
    r = stimulus.astype(np.float64) - code.astype(np.float64) @ atoms.astype(np.float64)
    return np.asarray(np.einsum("ij,ij->i", r, r))


def energy(
    stimuli: Mapping[str, FloatArray],
    dictionaries: Sequence[Dictionary],
    code: FloatArray,
    transfer: Transfer,
) -> NDArray[np.float64]:
    """``1/2 sum_i w_i |x_i - Phi_i a|^2 + C(a)`` (Eq. 6), with the cost of the transfer function.

    Modalities that are not among the stimuli are left out of the sum.

    Parameters
    ----------
    stimuli : mapping of modality to (n_samples, n_inputs)
    dictionaries : sequence of Dictionary
    code : (n_samples, n_neurons)
    transfer : Transfer

    Returns
    -------
    (n_samples,) float64

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import SoftThreshold
    >>> d = Dictionary("x", np.eye(2))
    >>> energy({"x": np.array([[2.0, 0.0]])}, [d], np.array([[1.5, 0.0]]), SoftThreshold(0.5))
    array([0.875])
    """
    total: Any = transfer.cost(code)
    for d in dictionaries:
        if d.name in stimuli:
            total = total + 0.5 * d.weight * squared_error(stimuli[d.name], d.atoms, code)
    return np.asarray(total)


def active_fraction(code: FloatArray) -> NDArray[np.float64]:
    """Share of neurons that are not silent.

    Parameters
    ----------
    code : (n_samples, n_neurons)

    Returns
    -------
    (n_samples,) float64

    Examples
    --------
    >>> import numpy as np
    >>> active_fraction(np.array([[0.0, 0.3, 0.0, 0.1]]))
    array([0.5])
    """
    return np.asarray(np.count_nonzero(code, axis=1) / code.shape[1])


def block_sums(code: FloatArray, neuron_classes: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Activity of each block of an ordinal code.

    Parameters
    ----------
    code : (n_samples, n_neurons)
    neuron_classes : (n_neurons,) int
        Class of each neuron, negative for the free ones (`OrdinalDriver.neuron_classes`).
    n_classes : int

    Returns
    -------
    (n_samples, n_classes) float64

    Examples
    --------
    >>> import numpy as np
    >>> block_sums(np.array([[0.5, 0.25, 1.0, 9.0]]), [0, 0, 1, -1], n_classes=2)
    array([[0.75, 1.  ]])
    """
    member = np.asarray(neuron_classes)[:, None] == np.arange(n_classes)
    return np.asarray(code.astype(np.float64) @ member)


def block_selectivity(
    code: FloatArray, labels: ArrayLike, neuron_classes: ArrayLike, n_classes: int
) -> NDArray[np.float64]:
    """Mean share of the driven activity that falls into each block, for each class.

    Parameters
    ----------
    code : (n_samples, n_neurons)
    labels : (n_samples,) int
        Class of each sample.
    neuron_classes : (n_neurons,) int
        Class of each neuron, negative for the free ones (`OrdinalDriver.neuron_classes`).
    n_classes : int

    Returns
    -------
    (n_classes, n_classes) float64
        Row: class of the sample; column: block. The identity is perfect order.

    Examples
    --------
    >>> import numpy as np
    >>> block_selectivity(np.array([[0.75, 0.25], [0.0, 2.0]]), [0, 1], [0, 1], n_classes=2)
    array([[0.75, 0.25],
           [0.  , 1.  ]])
    """
    sums = block_sums(np.abs(code), neuron_classes, n_classes)
    total = sums.sum(axis=1, keepdims=True)
    share = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    of_class = np.asarray(labels)[:, None] == np.arange(n_classes)
    size = np.maximum(of_class.sum(axis=0), 1)
    return np.asarray((of_class.T.astype(np.float64) @ share) / size[:, None])

"""Certificates: how far a code is from the fixed point, told by the law and not by a solver.

`fixed_point_residual` holds for every transfer function; `relative_gap` is the duality gap of the
LASSO and needs the soft threshold. Both are computed in float64 whatever made the code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelca.transfer import SoftThreshold, Transfer
from spikelca.validation import FloatArray

STRICT = 1e-6
"""Below this tolerance a code is wanted to the last digits: its residual must reach it too."""


def deciding(
    residual: NDArray[np.float64], gap: NDArray[np.float64] | None, tol: float
) -> NDArray[np.float64]:
    """What must not exceed the tolerance, for each sample.

    The duality gap; the fixed-point residual where there is no gap; below `STRICT` the larger one.
    """
    if gap is None:
        return residual
    if tol < STRICT:
        return np.asarray(np.fmax(gap, residual))
    return np.where(np.isnan(gap), residual, gap)


def settled(residual: NDArray[np.float64], gap: NDArray[np.float64] | None, tol: float) -> bool:
    """Whether every sample has reached the tolerance; quick where all have."""
    if gap is not None and tol >= STRICT and gap.max() <= tol:
        return True
    return bool((deciding(residual, gap, tol) <= tol).all())


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
    a = code.astype(np.float64)
    return _residual(transfer, a, unexplained(total_drive, gram, a), allowed)


def unexplained(drive: FloatArray, gram: FloatArray, a: FloatArray) -> NDArray[np.float64]:
    """``b - (L + 1) a``, what the code leaves of the drive, in float64."""
    left = np.asarray(drive, np.float64) - a @ gram.astype(np.float64, copy=False)
    return np.asarray(left)


def _residual(
    transfer: Transfer, a: FloatArray, left: FloatArray, allowed: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """`fixed_point_residual` from what the code leaves of the total drive."""
    settled = transfer(left + a)
    if isinstance(allowed, np.ndarray):
        settled = np.where(allowed, settled, 0.0)
    return np.asarray(np.abs(settled - a).max(axis=1) / transfer.threshold)


def certificates(
    transfer: Transfer,
    drive: FloatArray,
    gram: FloatArray,
    code: FloatArray,
    stimulus_energy: FloatArray,
    current: FloatArray,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """`fixed_point_residual` and (soft threshold) `relative_gap`, which share their product.

    The parameters are those of `relative_gap`.
    """
    a = code.astype(np.float64)
    c = unexplained(drive, gram, a)
    residual = _residual(transfer, a, c + current, allowed)
    if not isinstance(transfer, SoftThreshold):
        return residual, None
    return residual, _gap(transfer, a, drive, c, stimulus_energy, current, allowed)


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
    a = code.astype(np.float64)
    return _gap(
        transfer, a, drive, unexplained(drive, gram, a), stimulus_energy, current, allowed
    )  # fmt: skip


def _gap(
    transfer: SoftThreshold, a: FloatArray, drive: FloatArray, c: FloatArray,
    stimulus_energy: FloatArray, current: FloatArray | None, allowed: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:  # fmt: skip
    """`relative_gap` from ``c = b - (L + 1) a``."""
    b = np.asarray(drive, np.float64)
    d = np.zeros((1, 1)) if current is None else np.asarray(current, dtype=np.float64)
    above = np.broadcast_to(transfer.threshold - d, c.shape)
    below = np.broadcast_to(transfer.threshold + d, c.shape)
    if not transfer.two_sided:
        below = np.full_like(c, np.inf)
    if allowed is not None:
        above, below = np.where(allowed, above, np.inf), np.where(allowed, below, np.inf)
    x2 = np.asarray(stimulus_energy, dtype=np.float64)
    ab, ac = (a * b).sum(axis=1), (a * c).sum(axis=1)
    r2, xr = np.maximum(x2 - ab - ac, 0.0), x2 - ab
    cost = np.where(a > 0, above, np.where(a < 0, below, 0.0)) * np.abs(a)
    primal = 0.5 * r2 + cost.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.maximum(c / above, -c / below).max(axis=1)
        scale = np.minimum(np.where(reach > 0, 1 / reach, np.inf), np.where(r2 > 0, xr / r2, 0.0))
    # A negative step would need bounds on c from below, which one-sided codes do not have.
    scale = np.maximum(scale, 0.0)
    dual = scale * xr - 0.5 * scale**2 * r2
    gap = np.where(primal > 0, (primal - dual) / np.where(primal > 0, primal, 1.0), 0.0)
    known = (above > 0).all(axis=1) & (below > 0).all(axis=1)
    return np.where(known, np.maximum(gap, 0.0), np.nan)

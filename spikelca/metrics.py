"""Metrics of a code: energy, duality gap, fixed-point residual, sparsity and block sums.

All are functions of arrays that return float64, one value per sample by default.

`fixed_point_residual` and `relative_gap` measure the error of a code independently of the solver,
and are computed in float64 regardless of its precision. The residual is defined for every transfer
function; the duality gap of the LASSO requires a soft threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.model.dictionary import Dictionary
from spikelca.model.transfer import SoftThreshold, Transfer
from spikelca.utils.out_of_core import CHUNK_SAMPLES
from spikelca.utils.validation import FloatArray

__all__ = [
    "active_fraction",
    "block_selectivity",
    "block_sums",
    "energy",
    "fixed_point_residual",
    "lambda_max",
    "relative_gap",
    "squared_error",
]

STRICT_TOL = 1e-6
"""Below this tolerance the fixed-point residual must reach the tolerance, too."""


def stopping_value(
    residual: NDArray[np.float64], gap: NDArray[np.float64] | None, tol: float
) -> NDArray[np.float64]:
    """Return the value of each sample that is compared with the tolerance.

    This is the duality gap, or the fixed-point residual where there is no gap; for tolerances below
    `STRICT_TOL` it is the larger of both.
    """
    if gap is None:
        return residual
    if tol < STRICT_TOL:
        return np.asarray(np.fmax(gap, residual))
    return np.where(np.isnan(gap), residual, gap)


def converged(residual: NDArray[np.float64], gap: NDArray[np.float64] | None, tol: float) -> bool:
    """Whether every sample has converged to the tolerance."""
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
    """Compute ``max_j |T(b + d - L a) - a|_j / lam`` of each sample in float64.

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
        In units of the threshold; zero at a fixed point.

    Examples
    --------
    >>> gram, drive = np.eye(2), np.array([[1.0, 0.2]])
    >>> fixed_point_residual(SoftThreshold(0.5), drive, gram, np.array([[0.5, 0.0]]))
    array([0.])
    """
    a = code.astype(np.float64, copy=False)
    return compute_residual(transfer, residual_correlation(total_drive, gram, a), a, allowed)


def residual_correlation(drive: FloatArray, gram: FloatArray, code: FloatArray) -> FloatArray:
    """Compute ``b - G a`` of a float64 code in float64: (n_samples, n_neurons)."""
    product = np.asarray(code @ gram.astype(np.float64, copy=False))
    return np.subtract(drive, product, out=product)


def compute_residual(
    transfer: Transfer,
    correlation: FloatArray,
    a: FloatArray,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """Compute `fixed_point_residual` from ``b + d - G a``; all in float64."""
    u = correlation + a
    output = transfer(u)
    if isinstance(allowed, np.ndarray):
        output = np.where(allowed, output, 0.0)
    # Allocating a large array takes longer than the sum, so u is overwritten.
    difference = np.abs(np.subtract(output, a, out=u), out=u)
    return np.asarray(difference.max(axis=1) / transfer.threshold)


def relative_gap(
    transfer: SoftThreshold,
    drive: FloatArray,
    gram: FloatArray,
    code: FloatArray,
    stimulus_energy: FloatArray,
    current: FloatArray | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Compute the relative duality gap ``(P - D) / P``, an upper bound on the suboptimality.

    With ``r = x - Phi a``, ``t_j = lam -/+ d_j`` the threshold of neuron j including its current,
    and ``s`` the largest factor for which ``s Phi^T r`` stays within the thresholds::

        P = 1/2 |r|^2 + sum_j t_j |a_j|        D = s x.r - s^2/2 |r|^2

    Only the drive ``b = Phi^T x``, the Gram matrix and ``|x|^2`` are required.

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
        NaN where a current is at or above the threshold, because no dual point is known there; zero
        for a blank sample.

    References
    ----------
    Fercoq, Gramfort and Salmon (2015), "Mind the duality gap: safer rules for the Lasso".

    Examples
    --------
    >>> gram, drive = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> code = np.array([[0.5, 0.0], [0.25, 0.0]])  # the optimum, and half of it
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
    """Compute `relative_gap` from ``c = b - G a``; all in float64."""
    above, below = _thresholds(transfer, current, allowed)
    x2 = np.asarray(stimulus_energy, dtype=np.float64)
    ab, ac = np.einsum("ij,ij->i", a, b), np.einsum("ij,ij->i", a, c)
    r2, xr = np.maximum(x2 - ab - ac, 0.0), x2 - ab
    with np.errstate(divide="ignore", invalid="ignore"):
        cost, dual_norm = _cost(a, above), (c / above).max(axis=1)
        if transfer.two_sided or a.min() < 0:
            cost = cost + _cost(-a, below)
            dual_norm = np.maximum(dual_norm, (-c / below).max(axis=1))
        primal = 0.5 * r2 + cost
        largest = np.where(dual_norm > 0, 1 / dual_norm, np.inf)
        scale = np.minimum(largest, np.where(r2 > 0, xr / r2, 0.0))
        # A negative scale would require lower bounds on c, which one-sided codes do not have.
        scale = np.maximum(scale, 0.0)
        dual = scale * xr - 0.5 * scale**2 * r2
        gap = np.where(primal > 0, (primal - dual) / primal, 0.0)
    known = (above > 0).all(axis=1) & (below > 0).all(axis=1)
    return np.where(known, np.maximum(gap, 0.0), np.nan)


def _thresholds(
    transfer: SoftThreshold, current: FloatArray | None, allowed: NDArray[np.bool_] | None
) -> tuple[FloatArray, FloatArray]:
    """Return the upper and lower bounds on c, broadcast over samples where they are equal."""
    d = np.zeros((1, 1)) if current is None else np.asarray(current, dtype=np.float64)
    above = np.asarray(transfer.threshold - d)
    below = np.asarray(transfer.threshold + d) if transfer.two_sided else np.full((1, 1), np.inf)
    if allowed is not None:
        above, below = np.where(allowed, above, np.inf), np.where(allowed, below, np.inf)
    return above, below


def _cost(a: FloatArray, bound: FloatArray) -> NDArray[np.float64]:
    """Compute the cost of the positive part of a code: (n_samples,)."""
    return np.asarray(np.where(a > 0, bound * a, 0.0).sum(axis=1))


def squared_error(stimulus: FloatArray, atoms: FloatArray, code: FloatArray) -> NDArray[np.float64]:
    """Compute ``|x - Phi a|^2`` of each sample.

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
    """Compute the energy ``1/2 sum_i w_i |x_i - Phi_i a|^2 + C(a)`` (Eq. 6).

    C is the cost of the transfer function. Modalities without stimuli are excluded.

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


def lambda_max(circuit: Any, stimuli: Mapping[str, FloatArray]) -> float:
    """Compute the smallest threshold at which the code of every sample is zero.

    It is the largest drive ``b + d`` of a neuron, or the largest absolute drive with signed codes.

    Parameters
    ----------
    circuit : Circuit
        With any threshold. For a dictionary alone, see `LCACoder.lambda_max`.
    stimuli : mapping of modality to (n_samples, n_inputs)

    Returns
    -------
    float
        Zero if no neuron has a positive drive.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> lambda_max(circuit, {"x": np.array([[0.5, 0.25], [0.0, -2.0]])})
    0.5
    """
    largest, n_samples = 0.0, len(next(iter(stimuli.values())))
    for start in range(0, n_samples, CHUNK_SAMPLES):
        drive = circuit.drive({n: X[start : start + CHUNK_SAMPLES] for n, X in stimuli.items()})
        drive = np.abs(drive) if circuit.transfer.two_sided else drive
        largest = max(largest, float(drive.max()))
    return largest


def active_fraction(code: FloatArray) -> NDArray[np.float64]:
    """Compute the fraction of active neurons.

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
    """Compute the activity of each block of an ordinal code.

    Parameters
    ----------
    code : (n_samples, n_neurons)
    neuron_classes : (n_neurons,) int
        Class of each neuron, negative if unassigned (`OrdinalDriver.neuron_classes`).
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
    in_block = np.asarray(neuron_classes)[:, None] == np.arange(n_classes)
    return np.asarray(code.astype(np.float64) @ in_block)


def block_selectivity(
    code: FloatArray, labels: ArrayLike, neuron_classes: ArrayLike, n_classes: int
) -> NDArray[np.float64]:
    """Compute the mean fraction of the activity in each block, for each class.

    Parameters
    ----------
    code : (n_samples, n_neurons)
    labels : (n_samples,) int
        Class of each sample.
    neuron_classes : (n_neurons,) int
        Class of each neuron, negative if unassigned (`OrdinalDriver.neuron_classes`).
    n_classes : int

    Returns
    -------
    (n_classes, n_classes) float64
        Rows are classes of samples, columns are blocks; the identity for a perfectly ordered code.

    Examples
    --------
    >>> import numpy as np
    >>> block_selectivity(np.array([[0.75, 0.25], [0.0, 2.0]]), [0, 1], [0, 1], n_classes=2)
    array([[0.75, 0.25],
           [0.  , 1.  ]])
    """
    sums = block_sums(np.abs(code), neuron_classes, n_classes)
    total = sums.sum(axis=1, keepdims=True)
    fraction = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    in_class = np.asarray(labels)[:, None] == np.arange(n_classes)
    size = np.maximum(in_class.sum(axis=0), 1)
    return np.asarray((in_class.T.astype(np.float64) @ fraction) / size[:, None])

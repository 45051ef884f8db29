"""The threshold that gives a mean number of active neurons.

The number falls with the threshold, so that the threshold is the root of a function of one number.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from spikelca.circuit import Circuit
from spikelca.metrics import lambda_max
from spikelca.model.neurons import RateNeuron
from spikelca.utils.validation import FloatArray, check_positive

DEFAULT_THRESHOLD = 0.1

CALIBRATION_SAMPLES = 10_000
"""Largest number of samples from which a threshold is chosen; the mean number of active neurons of
MNIST then has a standard error of 0.3 %."""

AUTO_FRACTION = 0.1
"""Mean fraction of active neurons for ``threshold="auto"``, of at most two neurons per input; at
least one neuron is active."""

AUTO_MINIMUM = 0.01
"""Smallest ``threshold="auto"``, relative to the median of the largest drives of the samples."""

TRIAL_SAMPLES = 4_000
"""Samples of the short training runs that determine the threshold of training."""

TRIAL_ACCURACY = 0.1
"""Relative accuracy of the threshold of training."""

MINIMUM = 1e-5
"""Smallest threshold for ``n_active``, relative to `lambda_max`."""


def is_automatic(threshold: Any, n_active: float | None) -> bool:
    """Whether the threshold is chosen from the samples."""
    if n_active is not None and threshold is not None and not isinstance(threshold, str):
        raise ValueError(
            f"threshold and n_active must not both be given, got threshold={threshold} and "
            f"n_active={n_active}. Leave out one of them."
        )
    return n_active is not None or (isinstance(threshold, str) and threshold == "auto")


def split_rows(n_samples: int, hold_out: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from, and those to choose the threshold from.

    Codes of learned samples are sparser than those of others. If ``hold_out``, a fifth of the
    samples, at most `CALIBRATION_SAMPLES`, is therefore not learned; the choice has a fixed seed,
    so that a resumed training run makes the same one.
    """
    rows = np.arange(n_samples)
    n_held_out = min(n_samples // 5, CALIBRATION_SAMPLES) if hold_out else 0
    if n_held_out == 0:
        return rows, rows
    order = np.random.default_rng(0).permutation(n_samples)
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def take_samples(
    stimuli: Mapping[str, Any], rows: NDArray[np.int64], n_samples: int
) -> tuple[dict[str, FloatArray], NDArray[np.int64]]:
    """Read at most ``n_samples`` evenly spaced rows; returns the samples and their rows."""
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), n_samples)).astype(np.int64)]
    return {name: np.asarray(X[rows]) for name, X in stimuli.items()}, rows


class Rows:
    """Some rows of an array, read on demand."""

    def __init__(self, X: Any, rows: NDArray[np.int64]) -> None:
        self.X, self.rows = X, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dtype(self) -> Any:
        """Precision of the array."""
        return self.X.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> Any:
        return self.X[self.rows[rows]]


def first_guess(samples: Mapping[str, FloatArray]) -> float:
    """Return a threshold of the scale of the samples, before there are atoms."""
    energy = sum(np.einsum("ij,ij->i", X, X, dtype=np.float64) for X in samples.values())
    return 0.1 * math.sqrt(float(np.median(energy))) or DEFAULT_THRESHOLD


def target_number(circuit: Circuit, n_active: float | None) -> float:
    """Return the mean number of active neurons that is given, or that of ``threshold="auto"``."""
    if n_active is not None:
        return check_positive(n_active, "n_active")
    return max(AUTO_FRACTION * min(circuit.n_neurons, 2 * sum(circuit.widths.values())), 1.0)


def encode_quietly(
    circuit: Circuit, samples: Mapping[str, FloatArray], tol: float = 1e-3
) -> FloatArray:
    """Compute steady-state codes for any neuron, without a warning of codes that do not converge.

    `transform` warns of them. The Numba engine has every transfer function of the estimators.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return circuit._replace(neuron=RateNeuron()).encode(samples, tol).code


def mean_active(circuit: Circuit, samples: Mapping[str, FloatArray], tol: float = 1e-3) -> float:
    """Return the mean number of active neurons of a circuit."""
    code = encode_quietly(circuit, samples, tol)
    return float(np.count_nonzero(code) / len(code))


def find_threshold(
    count: Callable[[float], float],
    target: float,
    guess: float,
    limits: tuple[float, float],
    xtol: float,
) -> float:
    """Solve ``count(threshold) = target``, where the count falls with the threshold.

    Parameters
    ----------
    count : callable
        Mean number of active neurons at a threshold.
    target : float
    guess : float
        First threshold.
    limits : (float, float)
        Smallest and largest threshold, returned if the solution is outside.
    xtol : float
        Relative accuracy of the threshold.
    """

    @cache
    def excess(log_threshold: float) -> float:
        return count(math.exp(log_threshold)) - target

    low, high = (math.log(limit) for limit in limits)
    start = end = min(max(math.log(guess), low), high)
    step = math.copysign(math.log(2), excess(start))
    while excess(end) * step > 0:
        if end == (high if step > 0 else low):
            return limits[step > 0]
        start, end = end, min(max(end + step, low), high)
    return math.exp(brentq(excess, start, end, xtol=xtol))


def find_limits(
    circuit: Circuit, samples: Mapping[str, FloatArray], n_active: float | None
) -> tuple[float, float]:
    """Return the smallest and the largest threshold that may be chosen.

    Raises
    ------
    ValueError
        If no sample can activate a neuron.
    """
    largest = lambda_max(circuit, samples)
    if largest == 0:
        raise ValueError(
            "X must have samples that activate neurons to choose a threshold, got codes that are "
            "zero at any threshold. Check the data, or pass a threshold."
        )
    if n_active is not None:
        return MINIMUM * largest, largest
    return AUTO_MINIMUM * (typical_drive(circuit, samples) or largest), largest


def choose_threshold(
    circuit: Circuit,
    samples: Mapping[str, FloatArray],
    n_active: float | None,
    tol: float,
) -> float:
    """Return the threshold at which a circuit has a mean number of active neurons.

    Parameters
    ----------
    circuit : Circuit
        Inference circuit, with a first guess of the threshold.
    samples : mapping of modality to (n_samples, n_inputs)
    n_active : float, optional
        Mean number of active neurons (default: that of ``threshold="auto"``).
    tol : float

    Raises
    ------
    ValueError
        If no sample can activate a neuron, or ``n_active`` cannot be reached.
    """

    def count(threshold: float) -> float:
        return mean_active(with_threshold(circuit, threshold), samples, tol)

    target, limits = target_number(circuit, n_active), find_limits(circuit, samples, n_active)
    threshold = find_threshold(count, target, circuit.transfer.threshold, limits, 1e-4)
    if n_active is not None and threshold == limits[0] and count(threshold) < target:
        raise ValueError(
            f"n_active must be at most {count(threshold):.3g}, the mean number of active neurons "
            f"at a very small threshold, got {n_active}. Use more neurons, or a smaller n_active."
        )
    return threshold


def with_threshold(circuit: Circuit, threshold: float) -> Circuit:
    """Return the circuit with another threshold, without the checks of its drivers."""
    return circuit._replace(transfer=replace(circuit.transfer, threshold=threshold))


def typical_drive(circuit: Circuit, samples: Mapping[str, FloatArray]) -> float:
    """Return the median over the samples of the largest drive of a neuron; at least 0."""
    drive = circuit.drive(samples)
    drive = np.abs(drive) if circuit.transfer.two_sided else drive
    return max(float(np.median(drive.max(axis=1))), 0.0)

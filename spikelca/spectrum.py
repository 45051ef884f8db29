"""How long a step may be: the spectrum of the Gram matrix decides.

Forward Euler of ``tau du/dt = -u + b - L a`` is certainly stable for ``dt / tau`` below
``2 / lambda_max(L + 1)``. Only the active neurons count, so this is safe but not tight; a step that
is too large, though, may end in a code that is finite and wrong.
"""

from __future__ import annotations

import math

import numpy as np

from spikelca.validation import FloatArray

LARGEST_STEP = 0.1
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


def automatic_step(limit: float) -> float:
    """``dt / tau`` that the library takes unless told: half the limit, at most `LARGEST_STEP`."""
    return min(0.5 * limit, LARGEST_STEP)

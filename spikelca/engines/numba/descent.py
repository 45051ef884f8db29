"""Coordinate descent: slower than the active set, and convergent whatever the atoms are.

What the active set gives up, because a block is nearly singular or larger than its scratch room,
is finished here::

    a_j <- T(c_j + G_jj a_j) / G_jj,   c = b - G a

References
----------
Friedman, Hastie and Tibshirani (2010), "Regularization paths for generalized linear models via
coordinate descent".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from spikelca.engines.numba.borrow import borrowed
from spikelca.engines.numba.certify import relative_gap
from spikelca.engines.numba.compile import entry, filled, given, kernel, numbers, routine
from spikelca.validation import FloatArray

SWEEPS = 10
"""Sweeps between two looks at the certificate."""


@kernel
def sweep(gram: FloatArray, up: FloatArray, down: FloatArray, a: FloatArray, c: FloatArray) -> None:
    """Bring every neuron to its best output, the others as they are; keeps ``c = b - G a``."""
    zero = c.dtype.type(0)
    for j in range(c.shape[0]):
        g = gram[j]
        if g[j] <= 0:
            continue
        z, new = c[j] + g[j] * a[j], zero
        if z > up[j]:
            new = (z - up[j]) / g[j]
        elif z < -down[j]:
            new = (z + down[j]) / g[j]
        delta = new - a[j]
        if delta != 0:
            a[j] = new
            for i in range(c.shape[0]):
                c[i] -= delta * g[i]


@routine
def certify_full(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: float,
    x2: float,
    lam: float,
    a: FloatArray,
    c: FloatArray,
    report: FloatArray,
) -> None:
    """Compute c anew, and gap and residual of a full code into ``report``."""
    ab = ac = cost = worst = over = 0.0
    c[:] = b
    for i in range(b.shape[0]):
        if a[i] != 0:
            g = gram[i]
            for j in range(b.shape[0]):
                c[j] -= a[i] * g[j]
    for j in range(b.shape[0]):
        above, below = c[j] - up[j], -c[j] - down[j]
        off = abs(above) if a[j] > 0 else abs(below) if a[j] < 0 else max(above, below)
        worst, over = max(worst, np.float64(off)), max(over, np.float64(max(above, below)))
        ab += np.float64(a[j]) * np.float64(b[j])
        ac += np.float64(a[j]) * np.float64(c[j])
        if a[j] != 0:
            cost += np.float64(abs(a[j])) * np.float64(up[j] if a[j] > 0 else down[j])
    report[0], report[1] = np.nan, worst / lam
    if weakest > 0:
        report[0] = relative_gap(x2, ab, ac, cost, 1.0 + over / weakest)


def _signature(real: Any) -> tuple[Any, ...]:
    matrix, wide = given(real, 2), given(types.float64, 1)
    settings = numbers(3)
    return (
        matrix,
        matrix,
        matrix,
        matrix,
        wide,
        wide,
        settings,
        types.int64,
        filled(real, 2),
        filled(types.float64, 2),
    )


@entry(_signature)
def descend_rows(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: FloatArray,
    x2: FloatArray,
    settings: tuple[float, float, float],
    max_iter: int,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Settle every row from the code that it brings; arguments as those of `settle_rows`."""
    lam, tol, strict = settings
    b, gram, up, down = borrowed(b), borrowed(gram), borrowed(up), borrowed(down)
    weakest, x2, code, reports = (
        borrowed(weakest), borrowed(x2), borrowed(code), borrowed(reports),
    )  # fmt: skip
    c = np.empty(b.shape[1], b.dtype)
    for row in range(b.shape[0]):
        bound, report = row if up.shape[0] > 1 else 0, reports[row]
        limit = strict if weakest[bound] > 0 else tol
        n_looks = max_iter // SWEEPS + 1
        for turn in range(n_looks + 1):
            certify_full(
                b[row],
                gram,
                up[bound],
                down[bound],
                weakest[bound],
                x2[row],
                lam,
                code[row],
                c,
                report,
            )
            if (report[1] <= limit and not report[0] > tol) or turn == n_looks:
                break
            report[2] += SWEEPS
            for _ in range(SWEEPS):
                sweep(gram, up[bound], down[bound], code[row], c)

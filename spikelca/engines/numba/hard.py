"""The hard code: the circuit followed from rest, and a jump once its end is certain.

The hard threshold has many fixed points; the one that counts is where the circuit goes from rest at
the automatic step k::

    u <- u + k (b + d - G a + a - u)        a = T(u)        G = L + 1

Only columns of active neurons enter. Once the active set S has stayed the same for a while, the end
is known if S stays for ever: ``a* = G_SS^-1 (b + d)_S``. The circuit goes there for certain if
nothing crosses the threshold on the way. With ``delta = a - a*``, and k at most ``1 / lambda_max(G)``,
the way never gets longer::

    |a_p(t) - a*_p| <= |delta|                                          p active
    |u_j(t)| <= max(|u_j|, |c*_j| + sqrt(G_jj) sqrt(delta' G delta))    j silent, c* = b + d - G a*

so a jump is taken when ``|a*_p| - |delta|`` stays above the threshold for every active neuron and
the second bound below it for every silent one. Otherwise the circuit is followed further.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.active_set import BLOCK, admit, excess_drive, largest_excess
from spikelca.engines.numba.compile import kernel
from spikelca.validation import FloatArray

STEADY = 16
"""Steps without change after which a jump is tried; doubled after each try that fails."""

LOOK = 8
"""Every how many steps the residual is computed."""


@kernel
def step_hard(c: FloatArray, u: FloatArray, k: Any, up: FloatArray, down: FloatArray, members: Any,
              a: FloatArray, n: int, peaks: FloatArray) -> tuple[int, bool]:
    """One Euler step from ``c = b + d - G a``; returns the active neurons, and if they changed."""
    for j in range(u.shape[0]):
        u[j] += k * (c[j] - u[j])
    for p in range(n):
        u[members[p]] += k * a[p]
    largest_excess(u, up, down, peaks)
    m, changed = 0, False
    for block in range(peaks.shape[0]):
        if not peaks[block] > 0:
            continue
        first = block * BLOCK
        for j in range(first, min(first + BLOCK, u.shape[0])):
            if u[j] > up[j] or -u[j] > down[j]:
                changed |= m >= n or members[m] != j
                members[m], a[m] = j, u[j]
                m += 1
    return m, changed or m != n


@kernel
def hard_residual(c: FloatArray, up: FloatArray, down: FloatArray, members: Any, a: FloatArray,
                  n: int, peaks: FloatArray) -> Any:
    """``max_j |T(b + d - L a) - a|_j`` from ``c = b + d - G a``."""
    zero = c.dtype.type(0)
    worst = zero
    for p in range(n):
        j = members[p]
        u = c[j] + a[p]
        fires = u > up[j] or -u > down[j]
        worst = max(worst, abs(c[j]) if fires else abs(a[p]))
    largest_excess(c, up, down, peaks)
    for block in range(peaks.shape[0]):
        if not peaks[block] > 0:
            continue
        first = block * BLOCK
        for j in range(first, min(first + BLOCK, c.shape[0])):
            if c[j] > up[j] or -c[j] > down[j]:
                silent = True
                for p in range(n):
                    silent &= members[p] != j
                if silent:
                    worst = max(worst, abs(c[j]))
    return worst


@kernel
def solve_block(total: FloatArray, gram: FloatArray, Q: FloatArray, active: Any, n: int,
                members: Any, goal: FloatArray, w: FloatArray, t: FloatArray) -> bool:
    """``goal = G_SS^-1 total_S``, refined once; False if the block is nearly singular."""
    for p in range(n):
        if admit(gram, Q, members, p, active[p], w, t) == 0:
            return False
        goal[p] = w.dtype.type(0)
    for _ in range(2):
        for p in range(n):
            g = gram[members[p]]
            w[p] = total[members[p]]
            for q in range(n):
                w[p] -= g[members[q]] * goal[q]
        for p in range(n):
            for q in range(n):
                goal[p] += Q[p, q] * w[q]
    return True


@kernel
def is_certain(gram: FloatArray, up: FloatArray, down: FloatArray, members: Any, u: FloatArray,
               goal: FloatArray, n: int, c: FloatArray, t: FloatArray) -> bool:
    """Whether the circuit goes from u to the goal without a crossing; c belongs to the goal."""
    zero = u.dtype.type(0)
    length, strength = zero, zero
    for p in range(n):
        t[p] = u[members[p]] - goal[p]
        length += t[p] * t[p]
    for p in range(n):
        g = gram[members[p]]
        for q in range(n):
            strength += t[p] * g[members[q]] * t[q]
    length, strength = np.sqrt(length), np.sqrt(max(strength, zero))
    for p in range(n):
        bar = up[members[p]] if u[members[p]] > 0 else down[members[p]]
        aligned = goal[p] if u[members[p]] > 0 else -goal[p]
        if not aligned - length > bar:
            return False
    crossings = 0
    for j in range(u.shape[0]):
        reach = strength * np.sqrt(gram[j, j])
        crossings += max(u[j], c[j] + reach) > up[j] or max(-u[j], reach - c[j]) > down[j]
    # The members are beyond the threshold and stay there; nobody else may come near it.
    return crossings == n


@kernel
def settle_hard_sample(total: FloatArray, gram: FloatArray, k: Any, up: FloatArray,
                       down: FloatArray, lam: float, tol: float, max_iter: int, Q: FloatArray,
                       members: Any, order: Any, a: FloatArray, goal: FloatArray, c: FloatArray,
                       u: FloatArray, w: FloatArray, t: FloatArray, peaks: FloatArray, n: int,
                       report: FloatArray) -> int:
    """Follow one sample from u; returns the number of active neurons, their outputs in a."""
    steady, wait = 0, STEADY
    for step in range(max_iter):
        excess_drive(total, gram, members, a, n, c)
        report[2] = step + 1
        if step % LOOK == 0:
            report[1] = np.float64(hard_residual(c, up, down, members, a, n, peaks)) / lam
            if report[1] <= tol:
                return n
        n, changed = step_hard(c, u, k, up, down, members, a, n, peaks)
        steady = 0 if changed else steady + 1
        wait = STEADY if changed else wait
        if steady >= wait and n <= goal.shape[0]:
            wait *= 2
            if solve_block(total, gram, Q, members, n, order, goal, w, t):
                excess_drive(total, gram, members, goal, n, c)
                if is_certain(gram, up, down, members, u, goal, n, c, t):
                    worst = hard_residual(c, up, down, members, goal, n, peaks)
                    for p in range(n):
                        a[p] = goal[p]
                        u[members[p]] = goal[p]
                    report[1] = np.float64(worst) / lam
                    if report[1] <= tol:
                        return n
    return n


@kernel
def settle_hard_rows(total: FloatArray, gram: FloatArray, k: Any, up: FloatArray,
                     down: FloatArray, lam: float, tol: float, max_iter: int, cap: int,
                     code: FloatArray, reports: FloatArray) -> None:
    """Settle every row; ``code`` brings the potential to start from and takes the result."""
    n_samples, n_neurons = total.shape
    dtype = total.dtype
    Q = np.empty((cap, cap + 16), dtype)
    members, order = np.empty(n_neurons, np.int64), np.empty(cap, np.int64)
    a, c, u = np.empty(n_neurons, dtype), np.empty(n_neurons, dtype), np.empty(n_neurons, dtype)
    goal, w, t = np.empty(cap, dtype), np.empty(cap, dtype), np.empty(cap, dtype)
    peaks = np.empty((n_neurons + BLOCK - 1) // BLOCK, dtype)
    for row in range(n_samples):
        bound = row if up.shape[0] > 1 else 0
        n = 0
        for j in range(n_neurons):
            u[j] = code[row, j]
            if u[j] > up[bound, j] or -u[j] > down[bound, j]:
                members[n], a[n] = j, u[j]
                n += 1
            code[row, j] = dtype.type(0)
        n = settle_hard_sample(total[row], gram, k, up[bound], down[bound], lam, tol, max_iter, Q,
                               members, order, a, goal, c, u, w, t, peaks, n, reports[row])
        for p in range(n):
            code[row, members[p]] = a[p]

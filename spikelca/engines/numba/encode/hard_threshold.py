"""The hard code: the circuit followed from rest to where it settles, by few neurons at a time.

The hard threshold has many fixed points; the one that counts is where the circuit goes from rest at
the automatic step k::

    u <- u + k (b + d - G a + a - u)        a = T(u)        G = L + 1

While the active set S stays as it is, its end is known: ``a* = G_SS^-1 (b + d)_S``. With
``delta = a - a*``, and k at most ``1 / lambda_max(G)``, the way to that end never gets longer::

    |a_p(t) - a*_p| <= |delta|                                          p active
    |u_j(t)| <= max(|u_j|, |c*_j| + sqrt(G_jj) sqrt(delta' G delta))    j silent, c* = b + d - G a*

Three things follow. A silent neuron for which the second bound stays below the threshold need not
be followed: only the active ones and those few that may yet fire are (`integrate_tracked`). What the others
missed is made up for by the filtered output ``h <- h + k (a - h)`` when S changes (`update_untracked`). And
once nobody can cross, the circuit has arrived, and the jump to a* is certain.

Circuits with a hard threshold, followed by few neurons at a time: the steps of `hard.py`.

`HardThresholdWorkspace` holds the potentials of one sample; n is the number of its active neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.encode.linalg import (
    INDEX_0,
    append_to_inverse,
    compute_excess,
    compute_residual_correlation,
    matvec,
    schur_complement,
)
from spikelca.engines.numba.jit.compile import (
    body,
    dispatch_precision,
    float_tuple,
    kernel,
    readonly_array,
    routine,
    writable_array,
)
from spikelca.engines.numba.jit.intrinsics import CACHE_LINE, skip_refcount
from spikelca.engines.numba.jit.layout import allocate_aligned, padded_neurons
from spikelca.utils.validation import FloatArray

SINGULAR_TOL = 1e-5
"""A block in which an atom lies in the span of the others up to this part has no sure end."""


class HardThresholdWorkspace(NamedTuple):
    """Scratch of one thread: all neurons, then those that are followed (active first)."""

    u: FloatArray
    c: FloatArray
    excess: FloatArray
    members: Any
    a: FloatArray

    Q: FloatArray
    order: Any
    goal: FloatArray
    w: FloatArray
    t: FloatArray

    followed: Any
    rows: FloatArray
    v: FloatArray
    y: FloatArray
    h: FloatArray
    traits: FloatArray


def make_hard_threshold_workspace(
    cap: int, n_neurons: int, dtype: np.dtype[Any]
) -> HardThresholdWorkspace:
    """Scratch for n neurons in whole groups of lines, at most `cap` of which are followed."""
    wide = padded_neurons(cap) + CACHE_LINE // dtype.itemsize
    line, row, block = (n_neurons,), (wide,), (cap, wide)
    shapes = [line, line, line, (n_neurons + 1,), block, row, row, row, block, row, row, row]
    u, c, excess, a, Q, goal, w, t, rows, v, y, h = allocate_aligned(shapes, dtype)
    members, followed = (np.empty(n_neurons + 1, np.int64) for _ in range(2))
    order, traits = np.empty(cap, np.int64), np.zeros((4, wide), dtype)
    return HardThresholdWorkspace(
        u, c, excess, members, a, Q, order, goal, w, t, followed, rows, v, y, h, traits
    )


def hard_threshold_workspace_type(real: Any) -> Any:
    """The type of `HardThresholdWorkspace` in a precision."""
    line, block, index = (
        writable_array(real, 1),
        writable_array(real, 2),
        writable_array(types.int64, 1),
    )
    parts = (line, line, line, index, line, block, index, line, line, line)
    return types.NamedTuple((*parts, index, block, line, line, line, block), HardThresholdWorkspace)  # type: ignore[no-untyped-call]


@kernel
def find_active(
    up: FloatArray, down: FloatArray, field: HardThresholdWorkspace, n: int
) -> tuple[int, bool]:
    """The active neurons of u; returns their number, and whether they are others than before."""
    compute_excess(field.u, up, down, field.excess)
    firing, same = 0, True
    for j in range(field.u.shape[0]):
        firing += field.excess[j] > 0
    for p in range(n):
        same &= field.excess[field.members[p]] > 0
    changed = not (same and firing == n)
    if changed:
        n = 0
        for j in range(field.u.shape[0]):
            field.members[n] = j
            n += field.excess[j] > 0
    for p in range(n):
        field.a[p] = field.u[field.members[p]]
    return n, changed


@kernel
def hard_residual(up: FloatArray, down: FloatArray, field: HardThresholdWorkspace, n: int) -> Any:
    """``max_j |T(b + d - L a) - a|_j`` from ``c = b + d - G a``; zeroes c of the members."""
    c, worst = field.c, field.c.dtype.type(0)
    for p in range(n):
        j, a = field.members[p], field.a[p]
        fires = c[j] + a > up[j] or -c[j] - a > down[j]
        worst = max(worst, abs(c[j]) if fires else abs(a))
        c[j] = 0
    for j in range(c.shape[0]):
        if c[j] > up[j] or -c[j] > down[j]:
            worst = max(worst, abs(c[j]))
    return worst


@routine
def solve_active(
    total: FloatArray, gram: FloatArray, field: HardThresholdWorkspace, n: int
) -> bool:
    """``a* = G_SS^-1 total_S``, refined once; False if the block is nearly singular."""
    for p in range(n):
        j = field.members[p]
        schur = schur_complement(gram, field.Q, field.order, p, j, field.w, field.t)
        if schur <= gram[j, j] * field.w.dtype.type(SINGULAR_TOL):
            return False
        append_to_inverse(field.Q, field.order, p, j, schur, field.t)
        field.goal[p] = 0
    for _ in range(2):
        for p in range(n):
            g, rest = gram[field.members[p]], total[field.members[p]]
            for q in range(n):
                rest -= g[field.members[q]] * field.goal[q]
            field.w[p] = rest
        matvec(field.Q, field.w, n, n, field.t)
        for p in range(n):
            field.goal[p] += field.t[p]
    return True


@kernel
def distance_to_target(gram: FloatArray, field: HardThresholdWorkspace, n: int) -> tuple[Any, Any]:
    """``|delta|`` and ``sqrt(delta' G delta)`` of the way from a to a*."""
    zero = field.w.dtype.type(0)
    length, strength = zero, zero
    for p in range(n):
        field.t[p] = field.a[p] - field.goal[p]
        length += field.t[p] * field.t[p]
    for p in range(n):
        g = gram[field.members[p]]
        for q in range(n):
            strength += field.t[p] * g[field.members[q]] * field.t[q]
    return np.sqrt(length), np.sqrt(max(strength, zero))


@routine
def check_bounds(
    total: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    field: HardThresholdWorkspace,
    n: int,
) -> tuple[bool, int]:
    """Whether the end is certain, and how many neurons must be followed until it is."""
    compute_residual_correlation(total, gram, field.members, field.goal, n, field.c)
    length, strength = distance_to_target(gram, field, n)
    certain = True
    for p in range(n):
        j = field.members[p]
        side, bar = (1, up[j]) if field.a[p] > 0 else (-1, down[j])
        certain &= side * field.goal[p] - length > bar
        field.followed[p] = j
        # A member is followed anyhow; here it must not be counted again.
        field.excess[j] = field.u[j]
        field.u[j], field.c[j] = 0, -np.inf
    f = n
    for j in range(gram.shape[0]):
        reach = strength * np.sqrt(gram[j, j])
        above, below = max(field.u[j], field.c[j] + reach), max(-field.u[j], reach - field.c[j])
        field.followed[f] = j
        f += (above > up[j] or below > down[j]) and field.c[j] > -np.inf
    for p in range(n):
        field.u[field.members[p]] = field.excess[field.members[p]]
    return certain and f == n, f


@kernel
def pack_tracked(
    total: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    field: HardThresholdWorkspace,
    n: int,
    f: int,
) -> None:
    """What the followed neurons need, side by side; ``traits`` is drive, leak and thresholds."""
    for i in range(f):
        j = field.followed[i]
        field.v[i] = field.u[j]
        field.traits[0, i], field.traits[1, i] = total[j], i >= n
        field.traits[2, i], field.traits[3, i] = up[j], down[j]
    for p in range(n):
        g, row = gram[field.members[p]], field.rows[p]
        field.h[p] = 0
        for i in range(f):
            row[i] = g[field.followed[i]]


@routine
def integrate_tracked(
    k: Any, field: HardThresholdWorkspace, n: int, f: int, n_steps: int, limit: Any
) -> tuple[int, Any]:
    """Follow f neurons, the first n of them active, until one crosses or the residual is small.

    Returns the steps taken, at most n_steps, and what is left of the state before.
    """
    v, y, h, left = field.v, field.y, field.h, field.v.dtype.type(1)
    drive, leak, up, down = field.traits[0], field.traits[1], field.traits[2], field.traits[3]
    for step in range(n_steps):
        matvec(field.rows, v, n, f, y)
        worst, crossed = v.dtype.type(0), 0
        for i in range(f):
            c = drive[i] - y[i]
            beyond = leak[i] == 0 or c > up[i] or -c > down[i]
            worst = max(worst, abs(c) if beyond else v.dtype.type(0))
        if worst <= limit:
            return step, left
        for p in range(n):
            h[p] += k * (v[p] - h[p])
        for i in range(f):
            v[i] += k * (drive[i] - y[i] - leak[i] * v[i])
        left -= k * left
        for i in range(f):
            crossed += (v[i] > up[i] or -v[i] > down[i]) != (leak[i] == 0)
        if crossed > 0:
            return step + 1, left
    return n_steps, left


@kernel
def update_untracked(
    total: FloatArray, gram: FloatArray, left: Any, field: HardThresholdWorkspace, n: int, f: int
) -> None:
    """Bring those not followed to the present: ``u <- left u + (1 - left) (b + d) - G h``."""
    one = field.u.dtype.type(1)
    for j in range(total.shape[0]):
        field.c[j] = left * field.u[j] + (one - left) * total[j]
    compute_residual_correlation(field.c, gram, field.members, field.h, n, field.u)
    for i in range(f):
        field.u[field.followed[i]] = field.v[i]


@routine
def accept_target(
    total: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    field: HardThresholdWorkspace,
    n: int,
) -> Any:
    """Take the end of the way as the code; returns its residual."""
    compute_residual_correlation(total, gram, field.members, field.goal, n, field.c)
    for p in range(n):
        field.a[p] = field.goal[p]
    return hard_residual(up, down, field, n)


MIN_STABLE_STEPS = 8
"""Steps without a change of S after which it is worth looking ahead."""

MAX_TRACKED_STEPS = 100
"""Steps followed before looking ahead again."""


@body
def hard_threshold_sample(
    total: FloatArray,
    gram: FloatArray,
    k: Any,
    up: FloatArray,
    down: FloatArray,
    limit: Any,
    max_iter: int,
    field: HardThresholdWorkspace,
    report: FloatArray,
) -> int:
    """Follow one sample from ``field.u``; returns its active neurons, whose outputs are in a."""
    n, _ = find_active(up, down, field, INDEX_0)
    steady, steps = 0, 0
    while True:
        compute_residual_correlation(total, gram, field.members, field.a, n, field.c)
        for j in range(total.shape[0]):
            field.u[j] += k * (field.c[j] - field.u[j])
        for p in range(n):
            field.u[field.members[p]] += k * field.a[p]
        report[1], report[2] = np.float64(hard_residual(up, down, field, n)), steps
        if report[1] <= limit or steps >= max_iter:
            return n
        n, changed = find_active(up, down, field, n)
        steps += 1
        steady = 0 if changed else steady + 1
        if steady < MIN_STABLE_STEPS:
            continue
        steady = 0
        if n > field.order.shape[0] or not solve_active(total, gram, field, n):
            continue
        certain, f = check_bounds(total, gram, up, down, field, n)
        if certain:
            report[1] = np.float64(accept_target(total, gram, up, down, field, n))
            return n
        if f <= field.order.shape[0]:
            pack_tracked(total, gram, up, down, field, n, f)
            taken, left = integrate_tracked(
                k, field, n, f, min(MAX_TRACKED_STEPS, max_iter - steps), limit
            )
            update_untracked(total, gram, left, field, n, f)
            steps += taken
            n, changed = find_active(up, down, field, n)
            steady = 0 if changed else MIN_STABLE_STEPS


def _signature(real: Any) -> tuple[Any, ...]:
    matrix = readonly_array(real, 2)
    settings = float_tuple(2)
    return (
        matrix,
        matrix,
        real,
        matrix,
        matrix,
        settings,
        types.int64,
        hard_threshold_workspace_type(real),
        writable_array(real, 2),
        writable_array(types.float64, 2),
    )


@dispatch_precision(_signature)
def hard_threshold_rows(
    total: FloatArray,
    gram: FloatArray,
    k: Any,
    up: FloatArray,
    down: FloatArray,
    settings: tuple[float, float],
    max_iter: int,
    field: HardThresholdWorkspace,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Settle every row; ``code`` brings the potential to start from and takes the result.

    Parameters
    ----------
    total : (n_samples, n_places)
        b + d; gram, up and down in whole lines too, see `layout.py`.
    k : scalar of the same precision
        The automatic step.
    settings : (lam, tol)
        Threshold, and largest residual in units of it.
    """
    lam, tol = settings
    total, gram, up, down = (
        skip_refcount(total),
        skip_refcount(gram),
        skip_refcount(up),
        skip_refcount(down),
    )
    code, reports, field = skip_refcount(code), skip_refcount(reports), skip_refcount(field)
    n_neurons = code.shape[1]
    for row in range(total.shape[0]):
        bound = row if up.shape[0] > 1 else 0
        field.u[:n_neurons], field.u[n_neurons:] = code[row], 0
        n = hard_threshold_sample(
            total[row],
            gram,
            k,
            up[bound],
            down[bound],
            total.dtype.type(lam * tol),
            max_iter,
            field,
            reports[row],
        )
        reports[row, 1] /= lam
        code[row, :] = 0
        for p in range(n):
            code[row, field.members[p]] = field.a[p]

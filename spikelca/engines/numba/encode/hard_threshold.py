"""The hard code: the circuit followed from rest to where it settles, by few neurons at a time.

The hard threshold has many fixed points; the one that counts is where the circuit goes from rest at
the automatic step k::

    u <- u + k (b + d - G a + a - u)        a = T(u)        G = L + 1

While the active set S stays as it is, its end is known: ``a* = G_SS^-1 (b + d)_S``. With
``delta = a - a*``, and k at most ``1 / lambda_max(G)``, the way to that end never gets longer::

    |a_p(t) - a*_p| <= |delta|                                          p active
    |u_j(t)| <= max(|u_j|, |c*_j| + sqrt(G_jj) sqrt(delta' G delta))    j silent, c* = b + d - G a*

Three things follow. A silent neuron for which the second bound stays below the threshold need not
be followed: only the active ones and those few that may yet fire are (`follow`). What the others
missed is made up for by the filtered output ``h <- h + k (a - h)`` when S changes (`catch_up`). And
once nobody can cross, the circuit has arrived, and the jump to a* is certain.

Circuits with a hard threshold, followed by few neurons at a time: the steps of `hard.py`.

`Field` holds the potentials of one sample; n is the number of its active neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.encode.linalg import (
    ZERO,
    border,
    excess_drive,
    excesses,
    project,
    times,
)
from spikelca.engines.numba.jit.compile import body, entry, filled, given, kernel, numbers, routine
from spikelca.engines.numba.jit.intrinsics import LINE, borrowed
from spikelca.engines.numba.jit.layout import padded, side_by_side
from spikelca.utils.validation import FloatArray

SINGULAR = 1e-5
"""A block in which an atom lies in the span of the others up to this part has no sure end."""


class Field(NamedTuple):
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


def make_field(cap: int, n_neurons: int, dtype: np.dtype[Any]) -> Field:
    """Scratch for n neurons in whole groups of lines, at most `cap` of which are followed."""
    wide = padded(cap) + LINE // dtype.itemsize
    line, row, block = (n_neurons,), (wide,), (cap, wide)
    shapes = [line, line, line, (n_neurons + 1,), block, row, row, row, block, row, row, row]
    u, c, excess, a, Q, goal, w, t, rows, v, y, h = side_by_side(shapes, dtype)
    members, followed = (np.empty(n_neurons + 1, np.int64) for _ in range(2))
    order, traits = np.empty(cap, np.int64), np.zeros((4, wide), dtype)
    return Field(u, c, excess, members, a, Q, order, goal, w, t, followed, rows, v, y, h, traits)


def field_type(real: Any) -> Any:
    """The type of `Field` in a precision."""
    line, block, index = filled(real, 1), filled(real, 2), filled(types.int64, 1)
    parts = (line, line, line, index, line, block, index, line, line, line)
    return types.NamedTuple((*parts, index, block, line, line, line, block), Field)  # type: ignore[no-untyped-call]


@kernel
def find_active(up: FloatArray, down: FloatArray, field: Field, n: int) -> tuple[int, bool]:
    """The active neurons of u; returns their number, and whether they are others than before."""
    excesses(field.u, up, down, field.excess)
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
def residual_of(up: FloatArray, down: FloatArray, field: Field, n: int) -> Any:
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
def set_goal(total: FloatArray, gram: FloatArray, field: Field, n: int) -> bool:
    """``a* = G_SS^-1 total_S``, refined once; False if the block is nearly singular."""
    for p in range(n):
        j = field.members[p]
        schur = project(gram, field.Q, field.order, p, j, field.w, field.t)
        if schur <= gram[j, j] * field.w.dtype.type(SINGULAR):
            return False
        border(field.Q, field.order, p, j, schur, field.t)
        field.goal[p] = 0
    for _ in range(2):
        for p in range(n):
            g, rest = gram[field.members[p]], total[field.members[p]]
            for q in range(n):
                rest -= g[field.members[q]] * field.goal[q]
            field.w[p] = rest
        times(field.Q, field.w, n, n, field.t)
        for p in range(n):
            field.goal[p] += field.t[p]
    return True


@kernel
def distance(gram: FloatArray, field: Field, n: int) -> tuple[Any, Any]:
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
def look_ahead(
    total: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray, field: Field, n: int
) -> tuple[bool, int]:
    """Whether the end is certain, and how many neurons must be followed until it is."""
    excess_drive(total, gram, field.members, field.goal, n, field.c)
    length, strength = distance(gram, field, n)
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
def gather(
    total: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    field: Field,
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
def follow(k: Any, field: Field, n: int, f: int, n_steps: int, limit: Any) -> tuple[int, Any]:
    """Follow f neurons, the first n of them active, until one crosses or the residual is small.

    Returns the steps taken, at most n_steps, and what is left of the state before.
    """
    v, y, h, left = field.v, field.y, field.h, field.v.dtype.type(1)
    drive, leak, up, down = field.traits[0], field.traits[1], field.traits[2], field.traits[3]
    for step in range(n_steps):
        times(field.rows, v, n, f, y)
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
def catch_up(total: FloatArray, gram: FloatArray, left: Any, field: Field, n: int, f: int) -> None:
    """Bring those not followed to the present: ``u <- left u + (1 - left) (b + d) - G h``."""
    one = field.u.dtype.type(1)
    for j in range(total.shape[0]):
        field.c[j] = left * field.u[j] + (one - left) * total[j]
    excess_drive(field.c, gram, field.members, field.h, n, field.u)
    for i in range(f):
        field.u[field.followed[i]] = field.v[i]


@routine
def arrive(
    total: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray, field: Field, n: int
) -> Any:
    """Take the end of the way as the code; returns its residual."""
    excess_drive(total, gram, field.members, field.goal, n, field.c)
    for p in range(n):
        field.a[p] = field.goal[p]
    return residual_of(up, down, field, n)


STEADY = 8
"""Steps without a change of S after which it is worth looking ahead."""

STRETCH = 100
"""Steps followed before looking ahead again."""


@body
def settle_sample(
    total: FloatArray,
    gram: FloatArray,
    k: Any,
    up: FloatArray,
    down: FloatArray,
    limit: Any,
    max_iter: int,
    field: Field,
    report: FloatArray,
) -> int:
    """Follow one sample from ``field.u``; returns its active neurons, whose outputs are in a."""
    n, _ = find_active(up, down, field, ZERO)
    steady, steps = 0, 0
    while True:
        excess_drive(total, gram, field.members, field.a, n, field.c)
        for j in range(total.shape[0]):
            field.u[j] += k * (field.c[j] - field.u[j])
        for p in range(n):
            field.u[field.members[p]] += k * field.a[p]
        report[1], report[2] = np.float64(residual_of(up, down, field, n)), steps
        if report[1] <= limit or steps >= max_iter:
            return n
        n, changed = find_active(up, down, field, n)
        steps += 1
        steady = 0 if changed else steady + 1
        if steady < STEADY:
            continue
        steady = 0
        if n > field.order.shape[0] or not set_goal(total, gram, field, n):
            continue
        certain, f = look_ahead(total, gram, up, down, field, n)
        if certain:
            report[1] = np.float64(arrive(total, gram, up, down, field, n))
            return n
        if f <= field.order.shape[0]:
            gather(total, gram, up, down, field, n, f)
            taken, left = follow(k, field, n, f, min(STRETCH, max_iter - steps), limit)
            catch_up(total, gram, left, field, n, f)
            steps += taken
            n, changed = find_active(up, down, field, n)
            steady = 0 if changed else STEADY


def _signature(real: Any) -> tuple[Any, ...]:
    matrix = given(real, 2)
    settings = numbers(2)
    return (
        matrix,
        matrix,
        real,
        matrix,
        matrix,
        settings,
        types.int64,
        field_type(real),
        filled(real, 2),
        filled(types.float64, 2),
    )


@entry(_signature)
def settle_hard_rows(
    total: FloatArray,
    gram: FloatArray,
    k: Any,
    up: FloatArray,
    down: FloatArray,
    settings: tuple[float, float],
    max_iter: int,
    field: Field,
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
    total, gram, up, down = borrowed(total), borrowed(gram), borrowed(up), borrowed(down)
    code, reports, field = borrowed(code), borrowed(reports), borrowed(field)
    n_neurons = code.shape[1]
    for row in range(total.shape[0]):
        bound = row if up.shape[0] > 1 else 0
        field.u[:n_neurons], field.u[n_neurons:] = code[row], 0
        n = settle_sample(
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

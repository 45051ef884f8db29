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
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from spikelca.engines.numba.block import ZERO
from spikelca.engines.numba.borrow import borrowed
from spikelca.engines.numba.compile import body, entry, filled, given, numbers
from spikelca.engines.numba.drive import excess_drive
from spikelca.engines.numba.pursuit import (
    Field,
    arrive,
    catch_up,
    field_type,
    find_active,
    follow,
    gather,
    look_ahead,
    residual_of,
    set_goal,
)
from spikelca.validation import FloatArray

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

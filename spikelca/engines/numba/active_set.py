"""The soft code by an active set: the fixed point of the circuit in finitely many steps.

Where the active neurons S and their signs are known, the fixed point is linear::

    Phi_S^T Phi_S a_S = b_S - sigma t_S            t: threshold of each neuron, its current counted

A round looks at all neurons, and stops if the duality gap allows. Otherwise it lets in the silent
neurons that are driven far beyond their threshold, unless those let in before them already explain
what drives them, then walks towards the solution of the block and takes out every neuron that the
walk brings to zero.

An atom in the span of the active ones cannot be let in beside them. It takes the place of one:
moving along ``(a_S, a_j) += step (-Q G_Sj, 1)`` leaves the reconstruction as it is and lowers the
cost, until the first neuron of S falls to zero.

One kernel serves one- and two-sided codes, currents and clamps: neuron j may fire upwards beyond
``up[j]`` and downwards beyond ``down[j]``; an infinite threshold is a neuron that may not.

References
----------
Lawson and Hanson (1974), "Solving least squares problems", ch. 23; Osborne, Presnell and Turlach
(2000), "A new approach to variable selection in least squares problems".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from spikelca.engines.numba.block import NOBODY, ZERO
from spikelca.engines.numba.borrow import borrowed
from spikelca.engines.numba.certify import excesses, largest, relative_gap
from spikelca.engines.numba.compile import body, entry, filled, given, kernel, numbers
from spikelca.engines.numba.drive import excess_drive
from spikelca.engines.numba.members import (
    Room,
    exchange,
    let_in,
    line_up,
    refresh,
    room_type,
    set_goal,
    take_up,
    walk,
)
from spikelca.validation import FloatArray

SHARE = 0.6
"""A round considers the neurons whose excess is at least this part of the largest one."""

PATIENCE = 10
"""Rounds without progress after which the active set gives up."""

PROGRESS = 1e-3
"""A round makes progress if the energy falls by this part of what the tolerance allows."""


@kernel
def look(
    b: FloatArray, up: FloatArray, down: FloatArray, room: Room, n: int
) -> tuple[float, float, float, float]:
    """Slopes of the members, and the sums of the certificate: a.b, a.c, cost, steepest slope."""
    ab = ac = cost = steepest = 0.0
    for p in range(n):
        j, a = room.members[p], room.a[p]
        threshold = up[j] if room.sign[p] > 0 else down[j]
        slope = room.c[j] - room.sign[p] * threshold
        room.slope[p] = slope
        ab += np.float64(a) * np.float64(b[j])
        ac += np.float64(a) * np.float64(room.c[j])
        cost += np.float64(abs(a)) * np.float64(threshold)
        steepest = max(steepest, np.float64(abs(slope)))
        room.excess[j] = -np.inf
    return ab, ac, cost, steepest


@body
def settle_sample(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: float,
    lam: float,
    x2: float,
    tol: float,
    strict: float,
    max_iter: int,
    singular: Any,
    room: Room,
    n: int,
    report: FloatArray,
) -> int:
    """Settle one sample that starts with n members; returns how many it has in the end.

    ``report`` becomes relative gap, residual and rounds.
    """
    best, stale, share, stuck = np.inf, 0, b.dtype.type(SHARE), False
    # Where no dual point is known the residual decides.
    limit = strict if weakest > 0 else tol
    while True:
        excess_drive(b, gram, room.members, room.a, n, room.c)
        excesses(room.c, up, down, room.excess)
        ab, ac, cost, steepest = look(b, up, down, room, n)
        excess = largest(room.excess)
        # A member that has not arrived strains the dual point as much as a silent neuron does.
        over = max(np.float64(excess), steepest, 0.0)
        report[0] = np.nan
        if weakest > 0:
            report[0] = relative_gap(x2, ab, ac, cost, 1.0 + over / weakest)
        report[1] = over / lam
        done = report[1] <= limit and not report[0] > tol
        if done or stuck or report[2] >= max_iter:
            return n
        report[2] += 1
        primal = 0.5 * (x2 - ab - ac) + cost
        stale = 0 if primal < best * (1.0 - PROGRESS * tol) else stale + 1
        if stale >= PATIENCE:
            return n
        if stale > 0:
            refresh(gram, room, n)
        best, share = min(best, primal), share if stale == 0 else b.dtype.type(1)
        set_goal(room, n)
        before, inside = n, NOBODY
        if excess > 0:
            cut = share * excess
            n_waiting = line_up(cut, room)
            grown, inside = let_in(gram, up, down, n_waiting, cut, singular, room, n)
            if grown < 0:
                return n
            n = grown
        n, grew = walk(room, n), n > before
        if inside >= 0 and not grew:
            n = exchange(b, gram, up, down, inside, singular, room, n)
            # If no neuron can make room, the code has changed all the same: report what it is.
            stuck = n < 0
            n = -1 - n if stuck else n


def _signature(real: Any) -> tuple[Any, ...]:
    matrix, wide = given(real, 2), given(types.float64, 1)
    settings = numbers(4)
    return (
        matrix,
        matrix,
        matrix,
        matrix,
        wide,
        wide,
        settings,
        types.int64,
        types.boolean,
        room_type(real),
        filled(real, 2),
        filled(types.float64, 2),
    )


@entry(_signature)
def settle_rows(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: FloatArray,
    x2: FloatArray,
    settings: tuple[float, float, float, float],
    max_iter: int,
    warm: bool,
    room: Room,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Settle every row; ``code`` brings the start where it is warm, and takes the result.

    Parameters
    ----------
    settings : (lam, tol, strict, inside)
        Threshold, largest gap, largest residual in units of the threshold, and the part of an atom
        outside the span of the active ones below which it counts as inside.
    """
    lam, tol, strict, inside = settings
    b, gram, up, down = borrowed(b), borrowed(gram), borrowed(up), borrowed(down)
    weakest, x2, room = borrowed(weakest), borrowed(x2), borrowed(room)
    code, reports = borrowed(code), borrowed(reports)
    singular = b.dtype.type(inside)
    for row in range(b.shape[0]):
        bound, n = row if up.shape[0] > 1 else 0, ZERO
        if warm:
            n = take_up(gram, code[row], singular, room)
        n = settle_sample(
            b[row],
            gram,
            up[bound],
            down[bound],
            weakest[bound],
            lam,
            x2[row],
            tol,
            strict,
            max_iter,
            singular,
            room,
            n,
            reports[row],
        )
        for p in range(n):
            code[row, room.members[p]] = room.a[p]

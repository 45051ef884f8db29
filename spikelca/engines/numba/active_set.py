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

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.block import LANES, border, dismiss, padded, project, times
from spikelca.engines.numba.certify import excesses, highest, relative_gap
from spikelca.engines.numba.compile import (
    body,
    entry,
    filled,
    given,
    kernel,
    numbers,
    routine,
)
from spikelca.engines.numba.drive import excess_drive
from spikelca.validation import FloatArray

SHARE = 0.6
"""A round considers the neurons whose excess is at least this part of the largest one."""

KEEP = 0.5
"""One is let in if this part of that is left once the neurons before it are let in."""

PATIENCE = 3
"""Rounds without progress after which the active set gives up."""


class Room(NamedTuple):
    """Scratch of one thread; the first group belongs to the members, the second to all neurons."""

    Q: FloatArray
    members: Any
    sign: FloatArray
    a: FloatArray
    goal: FloatArray
    slope: FloatArray
    w: FloatArray
    t: FloatArray

    c: FloatArray
    excess: FloatArray
    tree: FloatArray
    queue: Any


@routine
def make_room(cap: int, n_neurons: int, like: FloatArray) -> Room:
    """Scratch for `cap` active neurons out of n."""
    # The leading dimension is odd in cache lines, or the rows of Q would fall on one another.
    wide, span = padded(cap) + LANES, 1
    while span < n_neurons:
        span *= 2
    excess = np.empty(max(span, 2), like.dtype)
    excess[:] = -np.inf
    return Room(
        np.empty((cap, wide), like.dtype), np.empty(cap, np.int64), np.empty(wide, like.dtype),
        np.empty(wide, like.dtype), np.empty(wide, like.dtype), np.empty(wide, like.dtype),
        np.empty(wide, like.dtype), np.empty(wide, like.dtype), np.empty(n_neurons, like.dtype),
        excess, np.empty(len(excess) // 2, like.dtype), np.empty(n_neurons + 1, np.int64),
    )  # fmt: skip


@kernel
def look(b: FloatArray, up: FloatArray, down: FloatArray, room: Room, n: int
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


@kernel
def line_up(n_neurons: int, cut: Any, room: Room) -> int:
    """The silent neurons whose excess is at least ``cut``; returns their number."""
    n = 0
    # Written without a branch: which neurons they are cannot be predicted.
    for j in range(n_neurons):
        room.queue[n] = j
        n += room.excess[j] >= cut
    return n


@kernel
def let_in(gram: FloatArray, up: FloatArray, down: FloatArray, n_waiting: int, cut: Any,
           singular: Any, room: Room, n: int) -> tuple[int, int]:
    """Let in who waits; returns the number of members, and who could not (-1 for nobody).

    The number is -1 if there is no room.
    """
    one, inside = room.c.dtype.type(1), np.intp(-1)
    keep = cut * room.c.dtype.type(KEEP)
    for k in range(n_waiting):
        j = room.queue[k]
        side = one if room.c[j] - up[j] == room.excess[j] else -one
        slope, g = side * room.excess[j], gram[j]
        # c holds the slope at a, not at the goal: bring it there along the block.
        for p in range(n):
            slope -= g[room.members[p]] * (room.goal[p] - room.a[p])
        if slope * side < keep:
            continue
        if n >= room.members.shape[0]:
            return -1, -1
        schur = project(gram, room.Q, room.members, n, j, room.w, room.t)
        if schur <= g[j] * singular:
            inside = j if inside < 0 or room.excess[j] > room.excess[inside] else inside
            continue
        border(room.Q, room.members, n, j, schur, room.t)
        beta = slope / schur
        for p in range(n):
            room.goal[p] -= beta * room.t[p]
        room.goal[n], room.a[n], room.sign[n] = beta, 0, side
        n += 1
    return n, inside


@routine
def exchange(b: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray, j: int,
             singular: Any, room: Room, n: int) -> int:
    """Let in neuron j, whose atom lies in the span, for the first member that falls to zero.

    Returns n as it is if j is not driven any more; ``-1 - n`` if nobody can make room.
    """
    one = b.dtype.type(1)
    project(gram, room.Q, room.members, n, j, room.w, room.t)
    c = b[j]
    for p in range(n):
        c -= room.w[p] * room.a[p]
    side = one if c - up[j] > -c - down[j] else -one
    if not max(c - up[j], -c - down[j]) > 0:
        return n
    first, step = np.intp(-1), one
    for p in range(n):
        fall, height = side * room.t[p] * room.sign[p], abs(room.a[p])
        if fall > 0 and (first < 0 or height < step * fall):
            first, step = p, height / fall
    if first < 0:
        return -1 - n
    for p in range(n):
        room.a[p] -= side * step * room.t[p]
    n = leave(room, n, first)
    schur = project(gram, room.Q, room.members, n, j, room.w, room.t)
    if schur <= gram[j, j] * singular:
        return -1 - n
    border(room.Q, room.members, n, j, schur, room.t)
    room.a[n], room.sign[n] = side * step, side
    return n + 1


@kernel
def leave(room: Room, n: int, p: int) -> int:
    """Take out member p; returns the number that is left."""
    dismiss(room.Q, room.members, n, p, room.t)
    n -= 1
    room.sign[p], room.a[p], room.goal[p] = room.sign[n], room.a[n], room.goal[n]
    return n


@kernel
def set_goal(room: Room, n: int) -> None:
    """One Newton step on the block: ``goal = a + Q slope``, which also wipes out rounding."""
    times(room.Q, room.slope, n, n, room.goal)
    for p in range(n):
        room.goal[p] += room.a[p]


@kernel
def walk(room: Room, n: int) -> int:
    """Walk from a to the goal; take out every member that is brought to zero. Returns n."""
    a, goal, one = room.a, room.goal, room.a.dtype.type(1)
    while True:
        first, reach = np.intp(-1), one
        for p in range(n):
            if goal[p] * room.sign[p] <= 0:
                span = a[p] - goal[p]
                step = a[p] / span if span != 0 else a.dtype.type(0)
                if first < 0 or step < reach:
                    first, reach = p, step
        for p in range(n):
            a[p] += reach * (goal[p] - a[p])
        if first < 0:
            return n
        # The goal moves to the solution in which this member is held at zero.
        row = room.Q[first]
        scaled = goal[first] / row[first]
        for q in range(n):
            goal[q] -= row[q] * scaled
        n = leave(room, n, first)


@body
def settle_sample(b: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray,
                  weakest: float, lam: float, x2: float, tol: float, strict: float, max_iter: int,
                  singular: Any, room: Room, n: int, report: FloatArray) -> int:
    """Settle one sample that starts with n members; returns how many it has in the end.

    ``report`` becomes relative gap, residual and rounds.
    """
    best, stale, share = np.inf, 0, b.dtype.type(SHARE)
    # Where no dual point is known the residual decides.
    limit = strict if weakest > 0 else tol
    for round_ in range(max_iter + 1):
        excess_drive(b, gram, room.members, room.a, n, room.c)
        excesses(room.c, up, down, room.excess)
        ab, ac, cost, steepest = look(b, up, down, room, n)
        excess = highest(room.excess, room.tree)
        # A member that has not arrived strains the dual point as much as a silent neuron does.
        over = max(np.float64(excess), steepest, 0.0)
        report[0] = np.nan
        if weakest > 0:
            report[0] = relative_gap(x2, ab, ac, cost, 1.0 + over / weakest)
        report[1] = over / lam
        report[2] += round_ < max_iter
        if (report[1] <= limit and not report[0] > tol) or round_ == max_iter:
            return n
        primal = 0.5 * (x2 - ab - ac) + cost
        stale = 0 if primal < best else stale + 1
        if stale >= PATIENCE:
            return n
        best, share = min(best, primal), share if stale == 0 else b.dtype.type(1)
        set_goal(room, n)
        before, inside = n, np.intp(-1)
        if excess > 0:
            cut = share * excess
            n_waiting = line_up(b.shape[0], cut, room)
            grown, inside = let_in(gram, up, down, n_waiting, cut, singular, room, n)
            if grown < 0:
                return n
            n = grown
        n, grew = walk(room, n), n > before
        if inside >= 0 and not grew:
            n = exchange(b, gram, up, down, inside, singular, room, n)
            if n < 0:
                return -1 - n
    return n


@routine
def take_up(gram: FloatArray, start: FloatArray, singular: Any, room: Room) -> int:
    """Make the active neurons of a start the members, as far as they fit; blank the start."""
    n = np.intp(0)
    for j in range(start.shape[0]):
        if start[j] != 0:
            if n < room.members.shape[0]:
                schur = project(gram, room.Q, room.members, n, j, room.w, room.t)
                if schur > gram[j, j] * singular:
                    border(room.Q, room.members, n, j, schur, room.t)
                    room.a[n] = start[j]
                    room.sign[n] = 1 if start[j] > 0 else -1
                    n += 1
            start[j] = 0
    return n


def _signature(real: Any) -> tuple[Any, ...]:
    matrix, wide = given(real, 2), given(types.float64, 1)
    settings = numbers(4)
    return (matrix, matrix, matrix, matrix, wide, wide, settings, types.int64, types.int64,
            types.boolean, filled(real, 2), filled(types.float64, 2))


@entry(_signature)
def settle_rows(b: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray,
                weakest: FloatArray, x2: FloatArray, settings: tuple[float, float, float, float],
                max_iter: int, cap: int, warm: bool, code: FloatArray, reports: FloatArray) -> None:
    """Settle every row; ``code`` brings the start where it is warm, and takes the result.

    Parameters
    ----------
    settings : (lam, tol, strict, inside)
        Threshold, largest gap, largest residual in units of the threshold, and the part of an atom
        outside the span of the active ones below which it counts as inside.
    """
    lam, tol, strict, inside = settings
    n_samples, n_neurons = b.shape
    room = make_room(cap, n_neurons, b)
    singular = b.dtype.type(inside)
    for row in range(n_samples):
        bound, n = row if up.shape[0] > 1 else 0, np.intp(0)
        if warm:
            n = take_up(gram, code[row], singular, room)
        n = settle_sample(b[row], gram, up[bound], down[bound], weakest[bound], lam, x2[row], tol,
                          strict, max_iter, singular, room, n, reports[row])
        for p in range(n):
            code[row, room.members[p]] = room.a[p]

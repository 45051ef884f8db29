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

The active neurons of one sample: how they are let in, walk, change places and leave.

`ActiveSetWorkspace` holds them with the inverse of their block; each function takes the number n of members and
returns the new one. Which of them is called when stands in `active_set.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.encode.linalg import (
    INDEX_0,
    NO_INDEX,
    append_to_inverse,
    compute_excess,
    compute_residual_correlation,
    gap_from_products,
    matvec,
    max_element,
    remove_from_inverse,
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
from spikelca.engines.numba.jit.intrinsics import (
    CACHE_LINE,
    broadcast,
    ctz,
    load,
    mask_ge,
    skip_refcount,
    vector_width,
)
from spikelca.engines.numba.jit.layout import allocate_aligned, padded_neurons
from spikelca.utils.validation import FloatArray

KEEP_FRACTION = 0.5
"""A neuron is let in if this part of the cut is left once those before it are let in."""


class ActiveSetWorkspace(NamedTuple):
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
    queue: Any


def make_active_set_workspace(cap: int, n_neurons: int, dtype: np.dtype[Any]) -> ActiveSetWorkspace:
    """Scratch for `cap` active neurons out of n, who fill whole groups of four lines."""
    # The leading dimension is odd in cache lines, or the rows of Q would fall on one another.
    wide = padded_neurons(cap) + CACHE_LINE // dtype.itemsize
    shapes = [(cap, wide), *6 * [(wide,)], (n_neurons,), (n_neurons,)]
    Q, sign, a, goal, slope, w, t, c, excess = allocate_aligned(shapes, dtype)
    members, queue = np.empty(cap, np.int64), np.empty(n_neurons + 1, np.int64)
    return ActiveSetWorkspace(Q, members, sign, a, goal, slope, w, t, c, excess, queue)


def active_set_workspace_type(real: Any) -> Any:
    """The type of `ActiveSetWorkspace` in a precision."""
    number, index = writable_array(real, 1), writable_array(types.int64, 1)
    parts = (writable_array(real, 2), index, *6 * (number,), number, number, index)
    return types.NamedTuple(parts, ActiveSetWorkspace)  # type: ignore[no-untyped-call]


@kernel
def remove_atom(room: ActiveSetWorkspace, n: int, p: int) -> int:
    """Take out member p; returns the number that is left."""
    remove_from_inverse(room.Q, room.members, n, p, room.t)
    n -= 1
    room.sign[p], room.a[p], room.goal[p] = room.sign[n], room.a[n], room.goal[n]
    return n


@kernel
def set_newton_target(room: ActiveSetWorkspace, n: int) -> None:
    """One Newton step on the block: ``goal = a + Q slope``, which also wipes out rounding."""
    matvec(room.Q, room.slope, n, n, room.goal)
    for p in range(n):
        room.goal[p] += room.a[p]


@kernel
def line_search(room: ActiveSetWorkspace, n: int) -> int:
    """Walk from a to the goal; take out every member that is brought to zero. Returns n."""
    a, goal, one = room.a, room.goal, room.a.dtype.type(1)
    while True:
        first, reach = NO_INDEX, one
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
        n = remove_atom(room, n, first)


@kernel
def list_candidates(cut: Any, room: ActiveSetWorkspace) -> int:
    """The silent neurons whose excess is at least ``cut``; returns their number."""
    n, width, bar = 0, vector_width(room.excess), broadcast(room.excess, cut)
    for first in range(0, room.excess.shape[0], width):
        bits = mask_ge(load(room.excess, first), bar)
        while bits != 0:
            room.queue[n] = first + ctz(bits)
            bits &= bits - 1
            n += 1
    return n


@kernel
def add_atoms(
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    n_waiting: int,
    cut: Any,
    singular: Any,
    room: ActiveSetWorkspace,
    n: int,
) -> tuple[int, int]:
    """Let in who waits; returns the number of members, and who could not (-1 for nobody).

    The number is -1 if there is no room.
    """
    one, inside = room.c.dtype.type(1), NO_INDEX
    keep = cut * room.c.dtype.type(KEEP_FRACTION)
    for k in range(n_waiting):
        j = room.queue[k]
        side = one if room.c[j] - up[j] == room.excess[j] else -one
        slope = side * room.excess[j]
        # c holds the slope at a, not at the goal: bring it there along the block. The rows of the
        # members were just read and are near; the row of j is not.
        for p in range(n):
            slope -= gram[room.members[p], j] * (room.goal[p] - room.a[p])
        if slope * side < keep:
            continue
        if n >= room.members.shape[0]:
            return -1, -1
        schur = schur_complement(gram, room.Q, room.members, n, j, room.w, room.t)
        if schur <= gram[j, j] * singular:
            inside = j if inside < 0 or room.excess[j] > room.excess[inside] else inside
            continue
        append_to_inverse(room.Q, room.members, n, j, schur, room.t)
        beta = slope / schur
        for p in range(n):
            room.goal[p] -= beta * room.t[p]
        room.goal[n], room.a[n], room.sign[n] = beta, 0, side
        n += 1
    return n, inside


@routine
def refactorise(gram: FloatArray, room: ActiveSetWorkspace, n: int) -> None:
    """Compute the inverse of the block anew: errors add up while members come and go."""
    for p in range(n):
        j = room.members[p]
        schur = schur_complement(gram, room.Q, room.members, p, j, room.w, room.t)
        append_to_inverse(room.Q, room.members, p, j, schur, room.t)


@routine
def swap_atom(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    j: int,
    singular: Any,
    room: ActiveSetWorkspace,
    n: int,
) -> int:
    """Let in neuron j, whose atom lies in the span, for the first member that falls to zero.

    Returns n as it is if j is not driven any more; ``-1 - n`` if nobody can make room.
    """
    one = b.dtype.type(1)
    schur_complement(gram, room.Q, room.members, n, j, room.w, room.t)
    c = b[j]
    for p in range(n):
        c -= room.w[p] * room.a[p]
    side = one if c - up[j] > -c - down[j] else -one
    if not max(c - up[j], -c - down[j]) > 0:
        return n
    first, step = NO_INDEX, one
    for p in range(n):
        fall, height = side * room.t[p] * room.sign[p], abs(room.a[p])
        if fall > 0 and (first < 0 or height < step * fall):
            first, step = p, height / fall
    if first < 0:
        return -1 - n
    for p in range(n):
        room.a[p] -= side * step * room.t[p]
    n = remove_atom(room, n, first)
    # The inverse of a block that was nearly singular a moment ago is full of errors.
    refactorise(gram, room, n)
    schur = schur_complement(gram, room.Q, room.members, n, j, room.w, room.t)
    if schur <= gram[j, j] * singular:
        return -1 - n
    append_to_inverse(room.Q, room.members, n, j, schur, room.t)
    room.a[n], room.sign[n] = side * step, side
    return n + 1


@routine
def warm_start(gram: FloatArray, start: FloatArray, singular: Any, room: ActiveSetWorkspace) -> int:
    """Make the active neurons of a start the members, as far as they fit; blank the start."""
    n = INDEX_0
    for j in range(start.shape[0]):
        if start[j] != 0:
            if n < room.members.shape[0]:
                schur = schur_complement(gram, room.Q, room.members, n, j, room.w, room.t)
                if schur > gram[j, j] * singular:
                    append_to_inverse(room.Q, room.members, n, j, schur, room.t)
                    room.a[n] = start[j]
                    room.sign[n] = 1 if start[j] > 0 else -1
                    n += 1
            start[j] = 0
    return n


CANDIDATE_FRACTION = 0.6
"""A round considers the neurons whose excess is at least this part of the largest one."""

MAX_STALLED_ROUNDS = 10
"""Rounds without progress after which the active set gives up."""

MIN_PROGRESS = 1e-3
"""A round makes progress if the energy falls by this part of what the tolerance allows."""


@kernel
def evaluate(
    b: FloatArray, up: FloatArray, down: FloatArray, room: ActiveSetWorkspace, n: int
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
def active_set_sample(
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
    room: ActiveSetWorkspace,
    n: int,
    report: FloatArray,
) -> int:
    """Settle one sample that starts with n members; returns how many it has in the end.

    ``report`` becomes relative gap, residual and rounds.
    """
    best, stale, share, stuck = np.inf, 0, b.dtype.type(CANDIDATE_FRACTION), False
    # Where no dual point is known the residual decides.
    limit = strict if weakest > 0 else tol
    while True:
        compute_residual_correlation(b, gram, room.members, room.a, n, room.c)
        compute_excess(room.c, up, down, room.excess)
        ab, ac, cost, steepest = evaluate(b, up, down, room, n)
        excess = max_element(room.excess)
        # A member that has not arrived strains the dual point as much as a silent neuron does.
        over = max(np.float64(excess), steepest, 0.0)
        report[0] = np.nan
        if weakest > 0:
            report[0] = gap_from_products(x2, ab, ac, cost, 1.0 + over / weakest)
        report[1] = over / lam
        done = report[1] <= limit and not report[0] > tol
        if done or stuck or report[2] >= max_iter:
            return n
        report[2] += 1
        primal = 0.5 * (x2 - ab - ac) + cost
        stale = 0 if primal < best * (1.0 - MIN_PROGRESS * tol) else stale + 1
        if stale >= MAX_STALLED_ROUNDS:
            return n
        if stale > 0:
            refactorise(gram, room, n)
        best, share = min(best, primal), share if stale == 0 else b.dtype.type(1)
        set_newton_target(room, n)
        before, inside = n, NO_INDEX
        if excess > 0:
            cut = share * excess
            n_waiting = list_candidates(cut, room)
            grown, inside = add_atoms(gram, up, down, n_waiting, cut, singular, room, n)
            if grown < 0:
                return n
            n = grown
        n, grew = line_search(room, n), n > before
        if inside >= 0 and not grew:
            n = swap_atom(b, gram, up, down, inside, singular, room, n)
            # If no neuron can make room, the code has changed all the same: report what it is.
            stuck = n < 0
            n = -1 - n if stuck else n


def _signature(real: Any) -> tuple[Any, ...]:
    matrix, wide = readonly_array(real, 2), readonly_array(types.float64, 1)
    settings = float_tuple(4)
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
        active_set_workspace_type(real),
        writable_array(real, 2),
        writable_array(types.float64, 2),
    )


@dispatch_precision(_signature)
def active_set_rows(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: FloatArray,
    x2: FloatArray,
    settings: tuple[float, float, float, float],
    max_iter: int,
    warm: bool,
    room: ActiveSetWorkspace,
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
    b, gram, up, down = (
        skip_refcount(b),
        skip_refcount(gram),
        skip_refcount(up),
        skip_refcount(down),
    )
    weakest, x2, room = skip_refcount(weakest), skip_refcount(x2), skip_refcount(room)
    code, reports = skip_refcount(code), skip_refcount(reports)
    singular = b.dtype.type(inside)
    for row in range(b.shape[0]):
        bound, n = row if up.shape[0] > 1 else 0, INDEX_0
        if warm:
            n = warm_start(gram, code[row], singular, room)
        n = active_set_sample(
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

"""The soft code by an active set: the fixed point of the circuit in finitely many steps.

Where the active neurons S and their signs are known, the fixed point is linear::

    Phi_S^T Phi_S a_S = b_S - sigma t_S            t: threshold of each neuron, its current counted

The solver keeps the inverse Q of that block. A round admits the silent neurons that are driven most
beyond their threshold (each a rank-one update of Q), walks towards the solution of the block, takes
out every neuron that the walk brings to zero (a rank-one downdate), and then looks at all neurons
again: the largest excess left bounds the duality gap, and the gap says when to stop.

One kernel serves one- and two-sided codes, currents and clamps: neuron j may fire upwards beyond
``up[j]`` and downwards beyond ``down[j]``; an infinite threshold is a neuron that may not.

What cannot be finished so (a block that is nearly singular, or larger than the scratch room) is
finished by coordinate descent, slower and always convergent.

References
----------
Lawson and Hanson (1974), "Solving least squares problems", ch. 23; Osborne, Presnell and Turlach
(2000), "A new approach to variable selection in least squares problems".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.compile import kernel
from spikelca.validation import FloatArray

BLOCK = 16
"""Neurons that share one entry of the list of peaks."""

SINGULAR = 1e-5
"""A neuron whose atom lies in the span of the active ones up to this part is not admitted."""

SHARE = 0.6
"""A round admits the neurons whose excess is at least this part of the largest one."""


@kernel
def excess_drive(b: FloatArray, gram: FloatArray, members: Any, a: FloatArray, n: int,
                 c: FloatArray) -> None:
    """``c = b - gram a`` for a sparse a with n active members."""
    n_neurons = b.shape[0]
    for j in range(n_neurons):
        c[j] = b[j]
    full = n - n % 4
    for m in range(0, full, 4):
        a0, a1, a2, a3 = a[m], a[m + 1], a[m + 2], a[m + 3]
        g0, g1 = gram[members[m]], gram[members[m + 1]]
        g2, g3 = gram[members[m + 2]], gram[members[m + 3]]
        for j in range(n_neurons):
            c[j] -= a0 * g0[j] + a1 * g1[j] + a2 * g2[j] + a3 * g3[j]
    for m in range(full, n):
        a0, g0 = a[m], gram[members[m]]
        for j in range(n_neurons):
            c[j] -= a0 * g0[j]


@kernel
def largest_excess(c: FloatArray, up: FloatArray, down: FloatArray, peaks: FloatArray) -> Any:
    """How far c lies beyond a threshold at most; ``peaks`` holds the same for each BLOCK neurons."""
    largest = -up[0] - down[0]
    for block in range(peaks.shape[0]):
        first, peak = block * BLOCK, -up[0] - down[0]
        for j in range(first, min(first + BLOCK, c.shape[0])):
            peak = max(peak, max(c[j] - up[j], -c[j] - down[j]))
        peaks[block] = peak
        largest = max(largest, peak)
    return largest


@kernel
def relative_gap(x2: float, ab: float, ac: float, cost: float, reach: float) -> float:
    """The relative duality gap from inner products; see `spikelca.certificate.relative_gap`."""
    r2, xr = max(x2 - ab - ac, 0.0), x2 - ab
    primal = 0.5 * r2 + cost
    if primal <= 0.0:
        return 0.0
    scale = max(xr / r2, 0.0) if r2 > 0.0 else 0.0
    if reach > 0.0:
        scale = min(scale, 1.0 / reach)
    return max((primal - scale * xr + 0.5 * scale * scale * r2) / primal, 0.0)


@kernel
def admit(gram: FloatArray, Q: FloatArray, members: Any, n: int, j: int, w: FloatArray,
          t: FloatArray) -> Any:
    """Border the inverse Q by neuron j; returns the Schur complement, or zero if it is singular."""
    g = gram[j]
    for p in range(n):
        w[p] = g[members[p]]
    schur = g[j]
    for p in range(n):
        row, total = Q[p], w.dtype.type(0)
        for q in range(n):
            total += row[q] * w[q]
        t[p] = total
        schur -= total * w[p]
    if schur <= g[j] * w.dtype.type(SINGULAR):
        return w.dtype.type(0)
    inverse = w.dtype.type(1) / schur
    for p in range(n):
        row, scaled = Q[p], t[p] * inverse
        for q in range(n):
            row[q] += scaled * t[q]
        row[n] = -scaled
        Q[n, p] = -scaled
    Q[n, n] = inverse
    members[n] = j
    return schur


@kernel
def dismiss(Q: FloatArray, members: Any, n: int, p: int, t: FloatArray) -> None:
    """Take member p out of the inverse Q: the last member takes its place."""
    last = n - 1
    if p != last:
        for q in range(n):
            Q[p, q], Q[last, q] = Q[last, q], Q[p, q]
        for q in range(n):
            Q[q, p], Q[q, last] = Q[q, last], Q[q, p]
        members[p] = members[last]
    pivot = t.dtype.type(1) / Q[last, last]
    for q in range(last):
        t[q] = Q[last, q]
    for q in range(last):
        row, scaled = Q[q], t[q] * pivot
        for r in range(last):
            row[r] -= scaled * t[r]


@kernel
def move_goal(Q: FloatArray, goal: FloatArray, n: int, p: int) -> None:
    """The block's solution once member p is held at zero."""
    scaled = goal[p] / Q[p, p]
    row = Q[p]
    for q in range(n):
        goal[q] -= row[q] * scaled


@kernel
def walk(Q: FloatArray, members: Any, sign: FloatArray, a: FloatArray, goal: FloatArray, n: int,
         t: FloatArray) -> int:
    """Walk from a to the goal; take out every member that is brought to zero. Returns n."""
    one = a.dtype.type(1)
    while True:
        first, reach = -1, one
        for p in range(n):
            if goal[p] * sign[p] <= 0:
                span = a[p] - goal[p]
                step = a[p] / span if span != 0 else a.dtype.type(0)
                if first < 0 or step < reach:
                    first, reach = p, step
        for p in range(n):
            a[p] += reach * (goal[p] - a[p])
        if first < 0:
            return n
        move_goal(Q, goal, n, first)
        dismiss(Q, members, n, first, t)
        n -= 1
        sign[first], a[first], goal[first] = sign[n], a[n], goal[n]


@kernel
def refine_goal(Q: FloatArray, slope: FloatArray, a: FloatArray, goal: FloatArray, n: int) -> None:
    """One Newton step on the block: ``goal = a + Q slope``, which also wipes out rounding."""
    for p in range(n):
        row, total = Q[p], a.dtype.type(0)
        for q in range(n):
            total += row[q] * slope[q]
        goal[p] = a[p] + total


@kernel
def admit_block(gram: FloatArray, c: FloatArray, up: FloatArray, down: FloatArray, cut: Any,
                peaks: FloatArray, Q: FloatArray, members: Any, sign: FloatArray, a: FloatArray,
                goal: FloatArray, n: int, w: FloatArray, t: FloatArray) -> int:
    """Admit every silent neuron whose excess is at least ``cut``; -1 if one cannot be admitted."""
    one = c.dtype.type(1)
    for block in range(peaks.shape[0]):
        if peaks[block] < cut:
            continue
        first = block * BLOCK
        for j in range(first, min(first + BLOCK, c.shape[0])):
            above, below = c[j] - up[j], -c[j] - down[j]
            if max(above, below) < cut:
                continue
            if n >= a.shape[0]:
                return -1
            schur = admit(gram, Q, members, n, j, w, t)
            if schur == 0:
                return -1
            # c holds the slope at a, not at the goal: bring it there along the block.
            slope = above if above >= below else -below
            for p in range(n):
                slope -= w[p] * (goal[p] - a[p])
            beta = slope / schur
            for p in range(n):
                goal[p] -= beta * t[p]
            goal[n], a[n] = beta, c.dtype.type(0)
            sign[n] = one if above >= below else -one
            n += 1
    return n


@kernel
def look(b: FloatArray, c: FloatArray, up: FloatArray, down: FloatArray, members: Any,
         sign: FloatArray, a: FloatArray, n: int, slope: FloatArray, sums: FloatArray) -> None:
    """Inner products of the certificate and slopes of the members, whose c is then set to zero.

    ``sums`` becomes a.b, a.c, the cost of the code, and the largest slope of a member.
    """
    ab = ac = cost = worst = 0.0
    for p in range(n):
        j = members[p]
        threshold = up[j] if sign[p] > 0 else down[j]
        slope[p] = c[j] - sign[p] * threshold
        ab += np.float64(a[p]) * np.float64(b[j])
        ac += np.float64(a[p]) * np.float64(c[j])
        cost += np.float64(abs(a[p])) * np.float64(threshold)
        worst = max(worst, np.float64(abs(slope[p])))
        c[j] = c.dtype.type(0)
    sums[0], sums[1], sums[2], sums[3] = ab, ac, cost, worst


@kernel
def settle_sample(b: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray,
                  weakest: float, lam: float, x2: float, tol: float, strict: float, max_iter: int,
                  Q: FloatArray, members: Any, sign: FloatArray, a: FloatArray, goal: FloatArray,
                  n: int, c: FloatArray, w: FloatArray, t: FloatArray, slope: FloatArray,
                  peaks: FloatArray, sums: FloatArray, report: FloatArray) -> int:
    """Settle one sample; returns the members, or -1 - n where coordinate descent must finish.

    ``report`` becomes relative gap, residual and rounds.
    """
    best, share = np.inf, c.dtype.type(SHARE)
    for round_ in range(max_iter):
        excess_drive(b, gram, members, a, n, c)
        look(b, c, up, down, members, sign, a, n, slope, sums)
        excess = largest_excess(c, up, down, peaks)
        # A member that has not arrived strains the dual point as much as a silent neuron does.
        over = max(np.float64(excess), sums[3], 0.0)
        gap = np.nan
        if weakest > 0:
            gap = relative_gap(x2, sums[0], sums[1], sums[2], 1.0 + over / weakest)
        residual = over / lam
        report[0], report[1], report[2] = gap, residual, round_ + 1
        if residual <= strict and not gap > tol:
            return n
        primal = 0.5 * (x2 - sums[0] - sums[1]) + sums[2]
        if not primal < best - 1e-7 * abs(best) if round_ > 0 else False:
            if share == 1:
                return -1 - n
            share = c.dtype.type(1)
        best = min(best, primal)
        refine_goal(Q, slope, a, goal, n)
        if excess > 0:
            cut = share * excess
            grown = admit_block(
                gram, c, up, down, cut, peaks, Q, members, sign, a, goal, n, w, t
            )
            if grown < 0:
                return -1 - n
            n = grown
        n = walk(Q, members, sign, a, goal, n, t)
    return n


@kernel
def descend(b: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray, weakest: float,
            lam: float, x2: float, tol: float, strict: float, max_iter: int, a: FloatArray,
            c: FloatArray, report: FloatArray) -> None:
    """Coordinate descent on a full code a: the safe way to finish what the active set cannot."""
    zero = c.dtype.type(0)
    for sweep in range(max_iter):
        for j in range(b.shape[0]):
            c[j] = b[j]
        for i in range(b.shape[0]):
            if a[i] != 0:
                for j in range(b.shape[0]):
                    c[j] -= a[i] * gram[i, j]
        ab = ac = cost = worst = 0.0
        for j in range(b.shape[0]):
            above, below = c[j] - up[j], -c[j] - down[j]
            off = abs(above) if a[j] > 0 else abs(below) if a[j] < 0 else max(above, below, zero)
            worst = max(worst, np.float64(off))
            ab += np.float64(a[j]) * np.float64(b[j])
            ac += np.float64(a[j]) * np.float64(c[j])
            if a[j] != 0:
                cost += np.float64(abs(a[j])) * np.float64(up[j] if a[j] > 0 else down[j])
        gap = np.nan
        if weakest > 0:
            gap = relative_gap(x2, ab, ac, cost, 1.0 + worst / weakest)
        report[0], report[1], report[2] = gap, worst / lam, report[2] + 1
        if worst / lam <= strict and not gap > tol:
            return
        for _ in range(10):
            for j in range(b.shape[0]):
                g = gram[j, j]
                if g <= 0:
                    continue
                z = c[j] + g * a[j]
                new = zero
                if z > up[j]:
                    new = (z - up[j]) / g
                elif z < -down[j]:
                    new = (z + down[j]) / g
                delta = new - a[j]
                if delta != 0:
                    a[j] = new
                    for i in range(b.shape[0]):
                        c[i] -= delta * gram[j, i]


@kernel
def settle_rows(b: FloatArray, gram: FloatArray, up: FloatArray, down: FloatArray,
                weakest: FloatArray, lam: float, x2: FloatArray, tol: float, strict: float,
                max_iter: int, cap: int, code: FloatArray, reports: FloatArray) -> None:
    """Settle every row; ``code`` brings the start (zeros: from rest) and takes the result."""
    n_samples, n_neurons = b.shape
    # The leading dimension is odd in cache lines, or the rows of Q would fall on one another.
    Q = np.empty((cap, cap + 16), b.dtype)
    members = np.empty(cap, np.int64)
    sign, a, goal = np.empty(cap, b.dtype), np.empty(cap, b.dtype), np.empty(cap, b.dtype)
    w, t, slope = np.empty(cap, b.dtype), np.empty(cap, b.dtype), np.empty(cap, b.dtype)
    c = np.empty(n_neurons, b.dtype)
    peaks = np.empty((n_neurons + BLOCK - 1) // BLOCK, b.dtype)
    sums = np.empty(4)
    for row in range(n_samples):
        bound = row if up.shape[0] > 1 else 0
        n = 0
        for j in range(n_neurons):
            start = code[row, j]
            if start != 0:
                if n < cap and admit(gram, Q, members, n, j, w, t) != 0:
                    a[n], sign[n] = start, b.dtype.type(1) if start > 0 else b.dtype.type(-1)
                    n += 1
                code[row, j] = 0
        n = settle_sample(b[row], gram, up[bound], down[bound], weakest[bound], lam, x2[row], tol,
                          strict, max_iter, Q, members, sign, a, goal, n, c, w, t, slope, peaks,
                          sums, reports[row])
        unfinished = n < 0
        if unfinished:
            n = -1 - n
        for p in range(n):
            code[row, members[p]] = a[p]
        if unfinished:
            descend(b[row], gram, up[bound], down[bound], weakest[bound], lam, x2[row], tol,
                    strict, max_iter, code[row], c, reports[row])

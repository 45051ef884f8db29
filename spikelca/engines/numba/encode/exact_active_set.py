"""The soft code by an active set that changes by one neuron at a time and always terminates.

`active_set.py` adds many neurons in a round and keeps the inverse of their block, which is fast and
fails for coherent atoms. What it leaves is finished here, in float64, from the code that it
reached. A round is one step of the method of Lawson and Hanson, for any threshold of each neuron:

1. Compute ``c = b - G a`` from a alone, and stop if the duality gap allows.
2. Add the silent neuron j that is driven furthest beyond its threshold. If its atom lies in the
   span of the active ones, move along ``(a_S, a_j) += s (-G_SS^-1 G_Sj, 1)``, which leaves
   the reconstruction as it is and lowers the cost, until an active neuron reaches zero; remove that
   neuron, and repeat until the atom of j lies outside the span.
3. Move from a towards the minimum of the energy over the active neurons with their signs held.
   Where a neuron reaches zero first, remove it and move on with the others.

The first round leaves out step 2, because a start need not be at the minimum over its neurons.

Termination
-----------
Every repetition of steps 2 and 3 removes a neuron, so a round ends after at most 2 |S| + 1 of them,
with a at the minimum of the energy over S with the signs held, and every active neuron strictly
away from zero. Step 1 of the next round finds c_j beyond the threshold of j (or the code is
optimal), so the energy falls along the direction of step 2 or 3, and because no active neuron is at
zero, the step has a positive length. Hence the energy falls strictly from round to round. It
depends only on S and the signs, of which there are finitely many; none can come back, and the
method ends at the optimum. No rule against cycling is needed: a tie removes several neurons after
steps of length zero, each of which makes S smaller.

Rounding can only break this where the fall is below the last digits of the energy. Therefore the
method also stops after `MAX_STALLED_ROUNDS` rounds in which neither the energy nor the gap has fallen.

References
----------
Lawson and Hanson (1974), "Solving least squares problems", ch. 23.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from spikelca.engines.numba.encode.active_set import (
    ActiveSetWorkspace,
    active_set_workspace_type,
    evaluate,
)
from spikelca.engines.numba.encode.cholesky import (
    append,
    project_on_active,
    remove,
    solve_lower,
    solve_upper,
)
from spikelca.engines.numba.encode.linalg import (
    INDEX_0,
    compute_excess,
    compute_residual_correlation,
    gap_from_products,
    max_element,
)
from spikelca.engines.numba.jit.compile import (
    body,
    dispatch_precision,
    float_tuple,
    readonly_array,
    routine,
    writable_array,
)
from spikelca.engines.numba.jit.intrinsics import skip_refcount
from spikelca.utils.validation import FloatArray

MAX_STALLED_ROUNDS = 10
"""Rounds without progress after which rounding is taken to be the limit."""


@routine
def first_zero(room: ActiveSetWorkspace, direction: FloatArray, n: int) -> tuple[int, Any]:
    """The active neuron that ``a + s direction`` brings to zero first, and s; -1 for none."""
    first, step = -1, np.inf
    for p in range(n):
        fall = -direction[p] * room.sign[p]
        if fall > 0:
            s = max(room.a[p] * room.sign[p], 0.0) / fall
            if s < step:
                first, step = p, s
    return first, step


@routine
def add_neuron(
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    j: int,
    inside: float,
    room: ActiveSetWorkspace,
    n: int,
) -> int:
    """Add neuron j, step 2; returns the number of active neurons, or -1 - n if it cannot be added.

    That happens only where the energy has no minimum, because currents exceed the threshold.
    """
    side = 1.0 if room.c[j] - up[j] == room.excess[j] else -1.0
    a = 0.0
    distance = project_on_active(gram, room, n, j)
    while distance <= gram[j, j] * inside:
        solve_upper(room.Q, n, room.w)
        for p in range(n):
            room.w[p] *= -side
        first, step = first_zero(room, room.w, n)
        if first < 0:
            return -1 - n
        for p in range(n):
            room.a[p] += step * room.w[p]
        a += step
        n = remove(room, n, first)
        distance = project_on_active(gram, room, n, j)
    append(room, n, j, distance)
    room.a[n], room.sign[n], room.slope[n] = side * a, side, side * room.excess[j]
    return n + 1


@routine
def move_to_minimum(room: ActiveSetWorkspace, n: int) -> int:
    """Move to the minimum over the active neurons, step 3; returns the number of those that stay.

    Over part s of the way the slopes of the energy shrink to ``1 - s`` of what they were.
    """
    while True:
        for p in range(n):
            room.t[p] = room.slope[p]
        solve_lower(room.Q, n, room.t)
        solve_upper(room.Q, n, room.t)
        first, step = first_zero(room, room.t, n)
        if step > 1.0:
            first, step = -1, 1.0
        for p in range(n):
            room.a[p] += step * room.t[p]
            room.slope[p] *= 1.0 - step
        if first < 0:
            return n
        n = remove(room, n, first)


@routine
def warm_start_factor(
    gram: FloatArray, start: FloatArray, inside: float, room: ActiveSetWorkspace
) -> int:
    """Make the active neurons of a code the active set, without atoms in the span of the others.

    The code is set to zero.
    """
    n = INDEX_0
    for j in range(start.shape[0]):
        if start[j] != 0:
            distance = project_on_active(gram, room, n, j)
            if distance > gram[j, j] * inside:
                append(room, n, j, distance)
                room.a[n] = start[j]
                room.sign[n] = 1 if start[j] > 0 else -1
                n += 1
            start[j] = 0
    return n


@body
def exact_active_set_sample(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: float,
    lam: float,
    x2: float,
    tol: float,
    strict: float,
    inside: float,
    max_iter: int,
    room: ActiveSetWorkspace,
    n: int,
    report: FloatArray,
) -> int:
    """Settle one sample that starts with n active neurons; returns how many it has in the end.

    ``report`` becomes relative gap, residual and rounds; it holds the rounds before this call.
    """
    least_energy, least_over, stale, stuck = np.inf, np.inf, 0, False
    at_minimum = n == 0
    # Where no dual point is known the residual decides.
    limit = strict if weakest > 0 else tol
    while True:
        compute_residual_correlation(b, gram, room.members, room.a, n, room.c)
        compute_excess(room.c, up, down, room.excess)
        ab, ac, cost, steepest = evaluate(b, up, down, room, n)
        excess = max_element(room.excess)
        over = max(excess, steepest, 0.0)
        report[0] = np.nan
        if weakest > 0:
            report[0] = gap_from_products(x2, ab, ac, cost, 1.0 + over / weakest)
        report[1] = over / lam
        done = report[1] <= limit and not report[0] > tol
        if done or stuck or report[2] >= max_iter:
            return n
        report[2] += 1
        energy = 0.5 * (x2 - ab - ac) + cost
        stale = 0 if energy < least_energy or over < least_over else stale + 1
        if stale >= MAX_STALLED_ROUNDS:
            return n
        least_energy, least_over = min(least_energy, energy), min(least_over, over)
        if at_minimum and excess > 0:
            n = add_neuron(gram, up, down, np.argmax(room.excess), inside, room, n)
            # The code has changed even if the neuron could not be added: report what it is.
            stuck = n < 0
            n = -1 - n if stuck else n
        n = n if stuck else move_to_minimum(room, n)
        at_minimum = True


def _signature(real: Any) -> tuple[Any, ...]:
    matrix, wide = readonly_array(real, 2), readonly_array(types.float64, 1)
    return (
        matrix, matrix, matrix, matrix, wide, wide, float_tuple(4), types.int64, active_set_workspace_type(real),
        writable_array(real, 2), writable_array(types.float64, 2),
    )  # fmt: skip


@dispatch_precision(_signature)
def exact_active_set_rows(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    weakest: FloatArray,
    x2: FloatArray,
    settings: tuple[float, float, float, float],
    max_iter: int,
    room: ActiveSetWorkspace,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Settle every row from the code that it brings; arguments as those of `settle_rows`."""
    lam, tol, strict, inside = settings
    b, gram, up, down = (
        skip_refcount(b),
        skip_refcount(gram),
        skip_refcount(up),
        skip_refcount(down),
    )
    weakest, x2, room = skip_refcount(weakest), skip_refcount(x2), skip_refcount(room)
    code, reports = skip_refcount(code), skip_refcount(reports)
    for row in range(b.shape[0]):
        bound = row if up.shape[0] > 1 else 0
        n = warm_start_factor(gram, code[row], inside, room)
        n = exact_active_set_sample(
            b[row], gram, up[bound], down[bound], weakest[bound], lam, x2[row], tol, strict,
            inside, max_iter, room, n, reports[row],
        )  # fmt: skip
        for p in range(n):
            code[row, room.members[p]] = room.a[p]

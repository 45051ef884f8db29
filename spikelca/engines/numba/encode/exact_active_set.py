"""Soft-threshold codes by an active set that changes by one neuron at a time and terminates.

`active_set.py` adds many neurons per round and updates the inverse of their block, which is fast,
but not accurate enough for coherent atoms. Samples that do not converge there continue here, in
float64, from the code that was reached. A round is one step of the method of Lawson and Hanson,
generalised to a threshold for each neuron:

1. Compute ``c = b - G a`` from a alone, and stop if the duality gap allows.
2. Add the inactive neuron j that is driven furthest beyond its threshold. If its atom lies in the
   span of the active ones, move along ``(a_S, a_j) += s (-G_SS^-1 G_Sj, 1)``, which leaves the
   reconstruction unchanged and lowers the cost, until an active neuron reaches zero; remove that
   neuron, and repeat until the atom of j lies outside the span.
3. Move from a towards the minimum of the energy over the active neurons with their signs held.
   If a neuron reaches zero first, remove it and continue with the others.

The first round omits step 2, because an initial code need not be at the minimum over its active
neurons.

Termination
-----------
Every repetition of steps 2 and 3 removes a neuron, so that a round ends after at most 2 |S| + 1 of
them. At its end, a is the minimum of the energy over S for fixed signs, and no active neuron is at
zero. Step 1 of the next round finds c_j beyond the threshold of j, unless the code is optimal.
Therefore the energy decreases along the direction of step 2 or 3, and because no active neuron is
at zero, the step has a positive length. Hence the energy decreases strictly from round to round. It
depends only on S and the signs, of which there are finitely many. None can occur twice, and the
method ends at the optimum. A rule against cycling is not needed: a tie removes several neurons
by steps of length zero, each of which makes S smaller.

Rounding can violate this argument only where the decrease is below the precision of the energy.
Therefore the method also stops after `MAX_STALLED_ROUNDS` rounds in which neither the energy nor
the violation of the thresholds has decreased.

References
----------
Lawson and Hanson (1974), "Solving least squares problems", ch. 23.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from spikelca.engines.numba.encode.active_set import (
    STUCK,
    UPDATED,
    ActiveSetWorkspace,
    SampleInput,
    SolverSettings,
    active_set_workspace_type,
    evaluate,
    solver_settings_type,
    update_report,
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
    NO_INDEX,
    ROUNDS,
    compute_excess,
    compute_residual_correlation,
    max_element,
)
from spikelca.engines.numba.jit.compile import (
    dispatch_precision,
    jit,
    readonly_array,
    writable_array,
)
from spikelca.engines.numba.jit.intrinsics import skip_refcount
from spikelca.utils.validation import FloatArray

MAX_STALLED_ROUNDS = 10
"""Number of rounds without progress after which the accuracy is limited by rounding."""


@jit("fast")
def first_zero(workspace: ActiveSetWorkspace, direction: FloatArray, n: int) -> tuple[int, Any]:
    """Find the active neuron that reaches zero first along a direction.

    Returns
    -------
    leaving : int
        Its index among the active neurons, or `NO_INDEX`.
    step : float
        The multiple of the direction at which it reaches zero.
    """
    leaving, step = NO_INDEX, np.inf
    for p in range(n):
        fall = -direction[p] * workspace.sign[p]
        if fall > 0:
            s = max(workspace.a[p] * workspace.sign[p], 0.0) / fall
            if s < step:
                leaving, step = p, s
    return leaving, step


@jit("fast")
def add_neuron(
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    j: int,
    dependence_tol: float,
    workspace: ActiveSetWorkspace,
    n: int,
) -> tuple[int, int]:
    """Add neuron j (step 2).

    Returns
    -------
    status : int
        `UPDATED`; or `STUCK`, if the energy has no minimum because currents exceed the threshold.
    n : int
        The new number of active neurons.
    """
    side = 1.0 if workspace.c[j] - upper[j] >= -workspace.c[j] - lower[j] else -1.0
    a = 0.0
    distance = project_on_active(gram, workspace, n, j)
    while distance <= gram[j, j] * dependence_tol:
        # w becomes the direction -G_SS^-1 G_Sj, times the sign of a_j. The reconstruction is
        # constant along it, and the cost decreases linearly up to the first zero.
        solve_upper(workspace.Q, n, workspace.w)
        for p in range(n):
            workspace.w[p] *= -side
        leaving, step = first_zero(workspace, workspace.w, n)
        if leaving < 0:
            return STUCK, n
        for p in range(n):
            workspace.a[p] += step * workspace.w[p]
        a += step
        n = remove(workspace, n, leaving)
        distance = project_on_active(gram, workspace, n, j)
    append(workspace, n, j, distance)
    # c depends on the reconstruction only, so that the gradient of j is still its excess.
    workspace.a[n], workspace.sign[n], workspace.gradient[n] = (
        side * a,
        side,
        side * workspace.excess[j],
    )
    return UPDATED, n + 1


@jit("fast")
def move_to_minimum(workspace: ActiveSetWorkspace, n: int) -> int:
    """Move to the minimum over the active neurons (step 3); return the number that remains.

    The energy is quadratic for fixed signs: after a fraction s of the way to its minimum, the
    gradient is ``1 - s`` times its previous value.
    """
    while True:
        # t = G_SS^-1 gradient, the way to the minimum.
        for p in range(n):
            workspace.t[p] = workspace.gradient[p]
        solve_lower(workspace.Q, n, workspace.t)
        solve_upper(workspace.Q, n, workspace.t)
        leaving, step = first_zero(workspace, workspace.t, n)
        if step > 1.0:
            leaving, step = NO_INDEX, 1.0
        for p in range(n):
            workspace.a[p] += step * workspace.t[p]
            workspace.gradient[p] *= 1.0 - step
        if leaving < 0:
            return n
        n = remove(workspace, n, leaving)


@jit("fast")
def warm_start_factor(
    gram: FloatArray, start: FloatArray, dependence_tol: float, workspace: ActiveSetWorkspace
) -> int:
    """Activate the nonzero neurons of a code, and set the code to zero.

    Neurons are skipped if their atom is in the span of the others.
    """
    n = INDEX_0
    for j in range(start.shape[0]):
        if start[j] != 0:
            distance = project_on_active(gram, workspace, n, j)
            if distance > gram[j, j] * dependence_tol:
                append(workspace, n, j, distance)
                workspace.a[n] = start[j]
                workspace.sign[n] = 1 if start[j] > 0 else -1
                n += 1
            start[j] = 0
    return n


@jit("fast", inline="numba")
def exact_active_set_sample(
    sample: SampleInput,
    gram: FloatArray,
    settings: SolverSettings,
    workspace: ActiveSetWorkspace,
    n: int,
    report: FloatArray,
) -> int:
    """Encode one sample from n active neurons; return their number at the end.

    ``report`` receives the relative gap, the residual and the number of rounds, including
    the previous rounds that it contains.
    """
    b, upper, lower = sample.b, sample.upper, sample.lower
    least_energy, least_violation, n_stalled, is_stuck = np.inf, np.inf, 0, False
    at_minimum = n == 0
    while True:
        compute_residual_correlation(b, gram, workspace.active, workspace.a, n, workspace.c)
        compute_excess(workspace.c, upper, lower, workspace.excess)
        ab, ac, cost, max_gradient = evaluate(b, upper, lower, workspace, n)
        excess = max_element(workspace.excess)
        violation = max(excess, max_gradient, 0.0)
        is_converged = update_report(sample, settings, ab, ac, cost, violation, report)
        if is_converged or is_stuck or report[ROUNDS] >= settings.max_iter:
            return n
        report[ROUNDS] += 1
        energy = 0.5 * (sample.x2 - ab - ac) + cost
        has_progress = energy < least_energy or violation < least_violation
        n_stalled = 0 if has_progress else n_stalled + 1
        if n_stalled >= MAX_STALLED_ROUNDS:
            return n
        least_energy, least_violation = min(least_energy, energy), min(least_violation, violation)
        if at_minimum and excess > 0:
            status, n = add_neuron(
                gram, upper, lower, np.argmax(workspace.excess), settings.dependence_tol,
                workspace, n,
            )  # fmt: skip
            # The code has changed even if the neuron was not added: evaluate it again.
            is_stuck = status == STUCK
        n = n if is_stuck else move_to_minimum(workspace, n)
        at_minimum = True


def _signature(real: Any) -> tuple[Any, ...]:
    matrix, float64_vector = readonly_array(real, 2), readonly_array(types.float64, 1)
    return (
        matrix,
        matrix,
        matrix,
        matrix,
        float64_vector,
        float64_vector,
        solver_settings_type(),
        active_set_workspace_type(real),
        writable_array(real, 2),
        writable_array(types.float64, 2),
    )


@dispatch_precision(_signature)
def exact_active_set_rows(
    b: FloatArray,
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    min_threshold: FloatArray,
    x2: FloatArray,
    settings: SolverSettings,
    workspace: ActiveSetWorkspace,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Encode every row from its initial code; the arguments are those of `active_set_rows`."""
    b, gram = skip_refcount(b), skip_refcount(gram)
    upper, lower = skip_refcount(upper), skip_refcount(lower)
    min_threshold, x2 = skip_refcount(min_threshold), skip_refcount(x2)
    workspace, code, reports = skip_refcount(workspace), skip_refcount(code), skip_refcount(reports)
    for row in range(b.shape[0]):
        bound = row if upper.shape[0] > 1 else 0
        n = warm_start_factor(gram, code[row], settings.dependence_tol, workspace)
        sample = SampleInput(b[row], upper[bound], lower[bound], min_threshold[bound], x2[row])
        n = exact_active_set_sample(sample, gram, settings, workspace, n, reports[row])
        for p in range(n):
            code[row, workspace.active[p]] = workspace.a[p]

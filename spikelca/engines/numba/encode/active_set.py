"""Soft-threshold codes by an active-set method: the fixed point in finitely many steps.

If the active neurons S and their signs are known, the fixed point is the solution of a linear
system::

    Phi_S^T Phi_S a_S = b_S - sigma t_S

with the signs sigma and the threshold t_j of each neuron, from which its current is subtracted. A
round tests all neurons, and stops if the duality gap is small enough. Otherwise it adds inactive
neurons that are driven far beyond their threshold, unless the neurons added before already explain
their drive. Then a line search moves the code towards the solution of the linear system, and
removes each neuron that reaches zero on the way.

An atom in the span of the active atoms cannot be added, because the block would be singular. It
replaces one of them: a move along ``(a_S, a_j) += step (-Q G_Sj, 1)`` leaves the reconstruction
unchanged and lowers the cost, until the first neuron of S reaches zero.

One kernel computes one- and two-sided codes with currents and clamps: neuron j becomes active with
positive sign beyond ``upper[j]``, with negative sign beyond ``lower[j]``; an infinite threshold
excludes it.

`ActiveSetWorkspace` contains the active neurons and the inverse Q of their Gram block. Functions
that change the active set take the number n of active neurons and return the new one.

References
----------
Lawson and Hanson (1974), "Solving least squares problems", ch. 23; Osborne, Presnell and Turlach
(2000), "A new approach to variable selection in least squares problems".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.encode.linalg import (
    GAP,
    INDEX_0,
    NO_INDEX,
    RESIDUAL,
    ROUNDS,
    append_to_inverse,
    compute_excess,
    compute_residual_correlation,
    gap_from_products,
    matvec,
    max_element,
    remove_from_inverse,
    schur_complement,
)
from spikelca.engines.numba.jit import plain_loops
from spikelca.engines.numba.jit.compile import (
    dispatch_precision,
    jit,
    readonly_array,
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
"""A candidate is added if its excess at the target is at least this fraction of the cutoff."""

CANDIDATE_FRACTION = 0.6
"""Cutoff of a round: candidates have at least this fraction of the largest excess, the amount by
which a neuron is driven beyond its threshold."""

MAX_STALLED_ROUNDS = 10
"""Number of rounds without progress after which the method stops."""

MIN_PROGRESS = 1e-3
"""A round makes progress if it lowers the energy by this fraction of the tolerance."""

UPDATED, FULL, STUCK = 0, 1, 2
"""Status of a change of the active set: success; the workspace has no space for another neuron;
no active neuron can be replaced."""


class SolverSettings(NamedTuple):
    """Parameters of a solver.

    Attributes
    ----------
    lam : float
        Threshold.
    tol : float
        Largest relative duality gap.
    residual_tol : float
        Largest residual, in units of the threshold.
    dependence_tol : float
        Largest squared distance of an atom from the span of the active atoms, relative to its
        squared norm, for which it is treated as linearly dependent.
    max_iter : int
        Largest number of rounds.
    """

    lam: float
    tol: float
    residual_tol: float
    dependence_tol: float
    max_iter: int


class SampleInput(NamedTuple):
    """Input of one sample.

    Attributes
    ----------
    b, upper, lower : (n_padded,)
        Feed-forward drive, and thresholds of both signs.
    min_threshold : float
        Smallest of these thresholds.
    x2 : float
        ``sum_i w_i |x_i|^2``.
    """

    b: FloatArray
    upper: FloatArray
    lower: FloatArray
    min_threshold: float
    x2: float


class ActiveSetWorkspace(NamedTuple):
    """Workspace of one thread: arrays of the active neurons, then arrays of all neurons.

    Attributes
    ----------
    Q : (max_active, width)
        Inverse of the Gram block of the active neurons, or its Cholesky factor (`cholesky.py`).
    active : (max_active,)
        The active neurons.
    sign, a, target, gradient : (width,)
        Their signs, their outputs, the outputs at the target of the line search, and the gradients
        ``c_j - sigma_j t_j`` of the energy (with the opposite sign) at a.
    w, t : (width,)
        Vectors of the last update: ``G_Sj`` and ``Q G_Sj`` of the atom j that is tested.
    c, excess : (n_padded,)
        ``b - G a``, and the amount by which each neuron is driven beyond its threshold.
    candidates : (n_padded + 1,)
        Neurons that may be added in this round.
    """

    Q: FloatArray
    active: Any
    sign: FloatArray
    a: FloatArray
    target: FloatArray
    gradient: FloatArray
    w: FloatArray
    t: FloatArray

    c: FloatArray
    excess: FloatArray
    candidates: Any


def make_active_set_workspace(
    max_active: int, n_padded: int, dtype: np.dtype[Any]
) -> ActiveSetWorkspace:
    """Allocate the workspace for at most `max_active` active neurons out of `padded_neurons`."""
    # A row of Q has an odd number of cache lines, or its columns would compete for one cache set.
    row = padded_neurons(max_active) + CACHE_LINE // dtype.itemsize
    shapes = [(max_active, row), *6 * [(row,)], (n_padded,), (n_padded,)]
    Q, sign, a, target, gradient, w, t, c, excess = allocate_aligned(shapes, dtype)
    active, candidates = np.empty(max_active, np.int64), np.empty(n_padded + 1, np.int64)
    return ActiveSetWorkspace(Q, active, sign, a, target, gradient, w, t, c, excess, candidates)


def solver_settings_type() -> Any:
    """Return the Numba type of `SolverSettings`."""
    fields = (*4 * (types.float64,), types.int64)
    return types.NamedTuple(fields, SolverSettings)  # type: ignore[no-untyped-call]


def active_set_workspace_type(real: Any) -> Any:
    """Return the Numba type of `ActiveSetWorkspace` in a precision."""
    vector, index = writable_array(real, 1), writable_array(types.int64, 1)
    fields = (writable_array(real, 2), index, *6 * (vector,), vector, vector, index)
    return types.NamedTuple(fields, ActiveSetWorkspace)  # type: ignore[no-untyped-call]


@jit("fast", inline="llvm")
def remove_atom(workspace: ActiveSetWorkspace, n: int, p: int) -> int:
    """Remove active neuron p; return the number of those that remain."""
    remove_from_inverse(workspace.Q, workspace.active, n, p, workspace.t)
    n -= 1
    workspace.sign[p], workspace.a[p] = workspace.sign[n], workspace.a[n]
    workspace.target[p] = workspace.target[n]
    return n


@jit("fast", inline="llvm")
def set_newton_target(workspace: ActiveSetWorkspace, n: int) -> None:
    """Set the target of the line search to ``a + Q gradient``, one Newton step.

    The energy is quadratic for fixed signs, so that one step reaches its minimum. Since it starts
    from the gradient at a, it also corrects the rounding errors of previous rounds.
    """
    matvec(workspace.Q, workspace.gradient, n, n, workspace.target)
    for p in range(n):
        workspace.target[p] += workspace.a[p]


@jit("fast", inline="llvm")
def line_search(workspace: ActiveSetWorkspace, n: int) -> int:
    """Move a to the target, and remove each neuron that reaches zero; return the new n."""
    a, target, one = workspace.a, workspace.target, workspace.a.dtype.type(1)
    while True:
        # The longest step for which no active neuron changes its sign.
        leaving, longest = NO_INDEX, one
        for p in range(n):
            if target[p] * workspace.sign[p] <= 0:
                difference = a[p] - target[p]
                step = a[p] / difference if difference != 0 else a.dtype.type(0)
                if leaving < 0 or step < longest:
                    leaving, longest = p, step
        for p in range(n):
            a[p] += longest * (target[p] - a[p])
        if leaving < 0:
            return n
        # With a_p held at zero, the minimum over the others is at another place: by the formula for
        # the inverse of a block matrix, target_q decreases by Q_pq target_p / Q_pp.
        row = workspace.Q[leaving]
        scaled = target[leaving] / row[leaving]
        for q in range(n):
            target[q] -= row[q] * scaled
        n = remove_atom(workspace, n, leaving)


@jit("fast", inline="llvm", plain=plain_loops.list_candidates)
def list_candidates(cutoff: Any, excess: FloatArray, candidates: Any) -> int:
    """List the inactive neurons with an excess of at least `cutoff`; return their number."""
    n, width, threshold = 0, vector_width(excess), broadcast(excess, cutoff)
    for start in range(0, excess.shape[0], width):
        mask = mask_ge(load(excess, start), threshold)
        while mask != 0:
            candidates[n] = start + ctz(mask)
            mask &= mask - 1
            n += 1
    return n


@jit("fast", inline="llvm")
def add_atoms(
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    cutoff: Any,
    singular_tol: Any,
    workspace: ActiveSetWorkspace,
    n: int,
) -> tuple[int, int, int]:
    """Add neurons with an excess of at least `cutoff`, and move the target accordingly.

    Returns
    -------
    status : int
        `UPDATED` or `FULL`.
    n : int
        The new number of active neurons.
    dependent : int
        The candidate with the largest excess among those in the span of the active atoms, or
        `NO_INDEX`.
    """
    one, dependent = workspace.c.dtype.type(1), NO_INDEX
    keep = cutoff * workspace.c.dtype.type(KEEP_FRACTION)
    for k in range(list_candidates(cutoff, workspace.excess, workspace.candidates)):
        j = workspace.candidates[k]
        side = one if workspace.c[j] - upper[j] >= -workspace.c[j] - lower[j] else -one
        gradient = side * workspace.excess[j]
        # The excess is the gradient at a. At the target, where the candidates before this one are
        # included, it may be much smaller: similar atoms explain the same part of the stimulus.
        # The rows of active neurons are read instead of row j, because they are in the cache.
        for p in range(n):
            gradient -= gram[workspace.active[p], j] * (workspace.target[p] - workspace.a[p])
        if gradient * side < keep:
            continue
        if n >= workspace.active.shape[0]:
            return FULL, n, dependent
        schur = schur_complement(
            gram, workspace.Q, workspace.active, n, j, workspace.w, workspace.t
        )
        if schur <= gram[j, j] * singular_tol:
            is_largest = dependent < 0 or workspace.excess[j] > workspace.excess[dependent]
            dependent = j if is_largest else dependent
            continue
        append_to_inverse(workspace.Q, workspace.active, n, j, schur, workspace.t)
        # The minimum over one more neuron: a_j = gradient / schur, and the others move by
        # -Q G_Sj a_j, which keeps their gradients at zero.
        beta = gradient / schur
        for p in range(n):
            workspace.target[p] -= beta * workspace.t[p]
        workspace.target[n], workspace.a[n], workspace.sign[n] = beta, 0, side
        n += 1
    return UPDATED, n, dependent


@jit("fast")
def refactorise(gram: FloatArray, workspace: ActiveSetWorkspace, n: int) -> None:
    """Recompute the inverse of the block, in which rounding errors of all updates add up."""
    for p in range(n):
        j = workspace.active[p]
        schur = schur_complement(
            gram, workspace.Q, workspace.active, p, j, workspace.w, workspace.t
        )
        append_to_inverse(workspace.Q, workspace.active, p, j, schur, workspace.t)


@jit("fast")
def swap_atom(
    b: FloatArray,
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    j: int,
    singular_tol: Any,
    workspace: ActiveSetWorkspace,
    n: int,
) -> tuple[int, int]:
    """Add neuron j, whose atom is in the span, in exchange for the first one that reaches zero.

    Nothing changes if neuron j is no longer driven beyond its threshold.

    Returns
    -------
    status : int
        `UPDATED` or `STUCK`.
    n : int
        The new number of active neurons.
    """
    one = b.dtype.type(1)
    schur_complement(gram, workspace.Q, workspace.active, n, j, workspace.w, workspace.t)
    c = b[j]
    for p in range(n):
        c -= workspace.w[p] * workspace.a[p]
    side = one if c - upper[j] > -c - lower[j] else -one
    if not max(c - upper[j], -c - lower[j]) > 0:
        return UPDATED, n
    # Along (a_S, a_j) += step (-Q G_Sj, 1) the reconstruction is constant, and the cost decreases
    # linearly. Hence the best step is the longest one, at which the first neuron reaches zero.
    # Per unit of the step, |a_p| decreases by fall = sigma_j t_p sigma_p.
    leaving, step = NO_INDEX, one
    for p in range(n):
        fall = side * workspace.t[p] * workspace.sign[p]
        height = abs(workspace.a[p])
        if fall > 0 and (leaving < 0 or height < step * fall):
            leaving, step = p, height / fall
    if leaving < 0:
        return STUCK, n
    for p in range(n):
        workspace.a[p] -= side * step * workspace.t[p]
    n = remove_atom(workspace, n, leaving)
    # The block with atom j was singular up to rounding, so that its inverse is inaccurate.
    refactorise(gram, workspace, n)
    schur = schur_complement(gram, workspace.Q, workspace.active, n, j, workspace.w, workspace.t)
    if schur <= gram[j, j] * singular_tol:
        return STUCK, n
    append_to_inverse(workspace.Q, workspace.active, n, j, schur, workspace.t)
    workspace.a[n], workspace.sign[n] = side * step, side
    return UPDATED, n + 1


@jit("fast")
def warm_start(
    gram: FloatArray, start: FloatArray, singular_tol: Any, workspace: ActiveSetWorkspace
) -> int:
    """Activate the nonzero neurons of an initial code, as far as possible, and clear that code.

    Neurons are skipped if the workspace is full or their atom is in the span of the others.
    """
    n = INDEX_0
    for j in range(start.shape[0]):
        if start[j] != 0:
            if n < workspace.active.shape[0]:
                schur = schur_complement(
                    gram, workspace.Q, workspace.active, n, j, workspace.w, workspace.t
                )
                if schur > gram[j, j] * singular_tol:
                    append_to_inverse(workspace.Q, workspace.active, n, j, schur, workspace.t)
                    workspace.a[n] = start[j]
                    workspace.sign[n] = 1 if start[j] > 0 else -1
                    n += 1
            start[j] = 0
    return n


@jit("fast", inline="llvm")
def evaluate(
    b: FloatArray, upper: FloatArray, lower: FloatArray, workspace: ActiveSetWorkspace, n: int
) -> tuple[float, float, float, float]:
    """Compute the gradients of the active neurons, and the sums for the duality gap.

    The gradient of neuron j is ``c_j - sigma_j t_j``, zero at the minimum over the active neurons.

    Returns
    -------
    ab, ac, cost : float
        ``a.b``, ``a.c`` and ``sum_j t_j |a_j|``, in float64.
    max_gradient : float
        Largest absolute gradient of an active neuron.
    """
    ab = ac = cost = max_gradient = 0.0
    for p in range(n):
        j, a = workspace.active[p], workspace.a[p]
        threshold = upper[j] if workspace.sign[p] > 0 else lower[j]
        gradient = workspace.c[j] - workspace.sign[p] * threshold
        workspace.gradient[p] = gradient
        ab += np.float64(a) * np.float64(b[j])
        ac += np.float64(a) * np.float64(workspace.c[j])
        cost += np.float64(abs(a)) * np.float64(threshold)
        max_gradient = max(max_gradient, np.float64(abs(gradient)))
        # An active neuron is not a candidate.
        workspace.excess[j] = -np.inf
    return ab, ac, cost, max_gradient


@jit("fast", inline="llvm")
def update_report(
    sample: SampleInput,
    settings: SolverSettings,
    ab: float,
    ac: float,
    cost: float,
    violation: float,
    report: FloatArray,
) -> bool:
    """Write gap and residual of a code into its report; return whether it has converged.

    ``ab``, ``ac`` and ``cost`` are results of `evaluate`; ``violation`` is the largest amount by
    which a neuron violates the conditions of the optimum.
    """
    # The dual point is the residual, scaled until |c_j| <= t_j for all neurons. The factor
    # 1 + violation / min t suffices, because |c_j| <= t_j + violation. Without a dual point (a
    # current above the threshold) the residual decides.
    has_dual_point = sample.min_threshold > 0
    report[GAP] = np.nan
    if has_dual_point:
        dual_norm = 1.0 + violation / sample.min_threshold
        report[GAP] = gap_from_products(sample.x2, ab, ac, cost, dual_norm)
    report[RESIDUAL] = violation / settings.lam
    limit = settings.residual_tol if has_dual_point else settings.tol
    return report[RESIDUAL] <= limit and not report[GAP] > settings.tol


@jit("fast", inline="numba")
def active_set_sample(
    sample: SampleInput,
    gram: FloatArray,
    settings: SolverSettings,
    workspace: ActiveSetWorkspace,
    n: int,
    report: FloatArray,
) -> int:
    """Encode one sample from n active neurons; return their number at the end.

    ``report`` receives the relative gap, the residual and the number of rounds.
    """
    b, upper, lower = sample.b, sample.upper, sample.lower
    singular_tol = b.dtype.type(settings.dependence_tol)
    lowest_energy, n_stalled, is_stuck = np.inf, 0, False
    fraction = b.dtype.type(CANDIDATE_FRACTION)
    while True:
        compute_residual_correlation(b, gram, workspace.active, workspace.a, n, workspace.c)
        compute_excess(workspace.c, upper, lower, workspace.excess)
        ab, ac, cost, max_gradient = evaluate(b, upper, lower, workspace, n)
        excess = max_element(workspace.excess)
        # At the optimum, gradients of active neurons are zero and no inactive neuron has an excess.
        violation = max(np.float64(excess), max_gradient, 0.0)
        is_converged = update_report(sample, settings, ab, ac, cost, violation, report)
        if is_converged or is_stuck or report[ROUNDS] >= settings.max_iter:
            return n
        report[ROUNDS] += 1
        energy = 0.5 * (sample.x2 - ab - ac) + cost
        has_progress = energy < lowest_energy * (1.0 - MIN_PROGRESS * settings.tol)
        n_stalled = 0 if has_progress else n_stalled + 1
        if n_stalled >= MAX_STALLED_ROUNDS:
            return n
        # Without progress either the inverse is inaccurate, or neurons that were added together
        # were removed again. From then on only the neuron with the largest excess is added.
        if n_stalled > 0:
            refactorise(gram, workspace, n)
            fraction = b.dtype.type(1)
        lowest_energy = min(lowest_energy, energy)
        set_newton_target(workspace, n)
        dependent, has_grown = NO_INDEX, False
        if excess > 0:
            status, n_new, dependent = add_atoms(
                gram, upper, lower, fraction * excess, singular_tol, workspace, n
            )
            if status == FULL:
                return n
            n, has_grown = n_new, n_new > n
        n = line_search(workspace, n)
        # A swap is needed only if no other neuron lowers the energy.
        if dependent >= 0 and not has_grown:
            status, n = swap_atom(b, gram, upper, lower, dependent, singular_tol, workspace, n)
            # The code has changed even if the neuron was not added: evaluate it again.
            is_stuck = status == STUCK


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
        types.boolean,
        active_set_workspace_type(real),
        writable_array(real, 2),
        writable_array(types.float64, 2),
    )


@dispatch_precision(_signature)
def active_set_rows(
    b: FloatArray,
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    min_threshold: FloatArray,
    x2: FloatArray,
    settings: SolverSettings,
    is_warm: bool,
    workspace: ActiveSetWorkspace,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Encode every row.

    Parameters
    ----------
    b : (n_rows, n_padded)
        Feed-forward drive.
    gram : (n_neurons, n_padded plus one line)
        See `layout.pad_gram_rows`.
    upper, lower : (1 or n_rows, n_padded)
        Thresholds of both signs.
    min_threshold : (1 or n_rows,)
        Smallest of these thresholds.
    x2 : (n_rows,)
        ``sum_i w_i |x_i|^2``.
    settings : SolverSettings
    is_warm : bool
        Whether ``code`` contains an initial code.
    workspace : ActiveSetWorkspace
    code : (n_rows, n_neurons)
        Receives the result.
    reports : (n_rows, 3)
        Receives gap, residual and rounds.
    """
    b, gram = skip_refcount(b), skip_refcount(gram)
    upper, lower = skip_refcount(upper), skip_refcount(lower)
    min_threshold, x2 = skip_refcount(min_threshold), skip_refcount(x2)
    workspace, code = skip_refcount(workspace), skip_refcount(code)
    reports = skip_refcount(reports)
    singular_tol = b.dtype.type(settings.dependence_tol)
    for row in range(b.shape[0]):
        bound, n = row if upper.shape[0] > 1 else 0, INDEX_0
        if is_warm:
            n = warm_start(gram, code[row], singular_tol, workspace)
        sample = SampleInput(b[row], upper[bound], lower[bound], min_threshold[bound], x2[row])
        n = active_set_sample(sample, gram, settings, workspace, n, reports[row])
        for p in range(n):
            code[row, workspace.active[p]] = workspace.a[p]

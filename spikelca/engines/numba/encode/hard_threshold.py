"""Hard-threshold codes: the trajectory from rest to its end, integrated for few neurons at a time.

A circuit with a hard threshold has many fixed points. The code is the one that the trajectory from
rest reaches with the default step k::

    u <- u + k (b + d - G a + a - u)        a = T(u)        G = L + 1

As long as the active set S does not change, the end is known: ``a* = G_SS^-1 (b + d)_S``. With
``delta = a - a*`` and k at most ``1 / lambda_max(G)``, neither ``|delta|`` nor ``delta' G delta``
increases, which bounds all potentials at all later times::

    |a_p(t) - a*_p| <= |delta|                                          p active
    |u_j(t)| <= max(|u_j|, |c*_j| + sqrt(G_jj) sqrt(delta' G delta))    j inactive

with ``c* = b + d - G a*``.

This has three consequences. An inactive neuron whose bound is below the threshold need not be
integrated: only the active neurons and the few others are tracked (`integrate_tracked`). The
potentials of the untracked neurons are recovered from the filtered output ``h <- h + k (a - h)``
(`update_untracked`). And if no neuron can cross its threshold, the end of the trajectory is
certain, and the code is a*.

`HardThresholdWorkspace` contains the potentials of one sample; n is its number of active neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.encode.linalg import (
    INDEX_0,
    RESIDUAL,
    ROUNDS,
    append_to_inverse,
    compute_excess,
    compute_residual_correlation,
    matvec,
    schur_complement,
)
from spikelca.engines.numba.jit.compile import (
    dispatch_precision,
    float_tuple,
    jit,
    readonly_array,
    writable_array,
)
from spikelca.engines.numba.jit.intrinsics import CACHE_LINE, skip_refcount
from spikelca.engines.numba.jit.layout import allocate_aligned, padded_neurons
from spikelca.utils.validation import FloatArray

SINGULAR_TOL = 1e-5
"""Squared distance of an active atom from the span of the others, relative to its squared norm, up
to which the linear system is not solved."""

MIN_STABLE_STEPS = 8
"""Number of steps without a change of S after which the bounds are computed."""

MAX_TRACKED_STEPS = 100
"""Largest number of steps of tracked neurons before the bounds are computed again."""

DRIVE, LEAK, UPPER, LOWER = 0, 1, 2, 3
"""Rows of `HardThresholdWorkspace.traits`: drive, leak (0 for active neurons), and thresholds."""


class HardThresholdWorkspace(NamedTuple):
    """Workspace of one thread: arrays of all neurons, of the active ones, and of the tracked ones.

    The active neurons are the first of the tracked ones.

    Attributes
    ----------
    u, c, excess : (n_padded,)
        Potentials, ``b + d - G a``, and the amount by which a potential is beyond its threshold.
    active, a : (n_padded + 1,)
        The active neurons and their outputs.
    Q, inverse_order : (max_tracked, width), (max_tracked,)
        Inverse of the Gram block of the active neurons, and the order of its rows.
    target, w, t : (width,)
        The outputs a*, and vectors of the solver.
    tracked, tracked_gram : (n_padded + 1,), (max_tracked, width)
        The tracked neurons, and the Gram matrix from the active to the tracked ones.
    tracked_u, tracked_product, filtered_a : (width,)
        u and ``G a`` of the tracked neurons, and the filtered outputs h of the active ones.
    traits : (4, width)
        Constants of the tracked neurons: drive, leak and both thresholds.
    """

    u: FloatArray
    c: FloatArray
    excess: FloatArray
    active: Any
    a: FloatArray

    Q: FloatArray
    inverse_order: Any
    target: FloatArray
    w: FloatArray
    t: FloatArray

    tracked: Any
    tracked_gram: FloatArray
    tracked_u: FloatArray
    tracked_product: FloatArray
    filtered_a: FloatArray
    traits: FloatArray


def make_hard_threshold_workspace(
    max_tracked: int, n_padded: int, dtype: np.dtype[Any]
) -> HardThresholdWorkspace:
    """Allocate the workspace for at most `max_tracked` tracked neurons out of `padded_neurons`."""
    width = padded_neurons(max_tracked) + CACHE_LINE // dtype.itemsize
    line, row, block = (n_padded,), (width,), (max_tracked, width)
    shapes = [line, line, line, (n_padded + 1,), block, row, row, row, block, row, row, row]
    u, c, excess, a, Q, target, w, t, tracked_gram, tracked_u, tracked_product, filtered_a = (
        allocate_aligned(shapes, dtype)
    )
    active, tracked = (np.empty(n_padded + 1, np.int64) for _ in range(2))
    inverse_order, traits = np.empty(max_tracked, np.int64), np.zeros((4, width), dtype)
    return HardThresholdWorkspace(
        u, c, excess, active, a,
        Q, inverse_order, target, w, t,
        tracked, tracked_gram, tracked_u, tracked_product, filtered_a, traits,
    )  # fmt: skip


def hard_threshold_workspace_type(real: Any) -> Any:
    """Return the Numba type of `HardThresholdWorkspace` in a precision."""
    line, block = writable_array(real, 1), writable_array(real, 2)
    index = writable_array(types.int64, 1)
    fields = (
        line, line, line, index, line,
        block, index, line, line, line,
        index, block, line, line, line, block,
    )  # fmt: skip
    return types.NamedTuple(fields, HardThresholdWorkspace)  # type: ignore[no-untyped-call]


@jit("fast", inline="llvm")
def find_active(
    upper: FloatArray, lower: FloatArray, workspace: HardThresholdWorkspace, n: int
) -> tuple[int, bool]:
    """List the active neurons of u; return their number, and whether the active set changed."""
    compute_excess(workspace.u, upper, lower, workspace.excess)
    n_active, is_same = 0, True
    for j in range(workspace.u.shape[0]):
        n_active += workspace.excess[j] > 0
    for p in range(n):
        is_same &= workspace.excess[workspace.active[p]] > 0
    has_changed = not (is_same and n_active == n)
    if has_changed:
        # Without a branch, because the processor cannot predict which neurons are active.
        n = 0
        for j in range(workspace.u.shape[0]):
            workspace.active[n] = j
            n += workspace.excess[j] > 0
    for p in range(n):
        workspace.a[p] = workspace.u[workspace.active[p]]
    return n, has_changed


@jit("fast", inline="llvm")
def hard_residual(
    upper: FloatArray, lower: FloatArray, workspace: HardThresholdWorkspace, n: int
) -> Any:
    """Compute ``max_j |T(b + d - L a) - a|_j`` from ``c = b + d - G a``.

    Elements of c that belong to active neurons are set to zero.
    """
    c, residual = workspace.c, workspace.c.dtype.type(0)
    for p in range(n):
        # T returns b + d - L a = c + a unchanged if it is beyond a threshold, otherwise zero.
        j, a = workspace.active[p], workspace.a[p]
        stays_active = c[j] + a > upper[j] or -c[j] - a > lower[j]
        residual = max(residual, abs(c[j]) if stays_active else abs(a))
        c[j] = 0
    for j in range(c.shape[0]):
        if c[j] > upper[j] or -c[j] > lower[j]:
            residual = max(residual, abs(c[j]))
    return residual


@jit("fast")
def solve_active(
    total: FloatArray, gram: FloatArray, workspace: HardThresholdWorkspace, n: int
) -> bool:
    """Compute the target ``a* = G_SS^-1 total_S``; return False if the block is nearly singular."""
    for p in range(n):
        j = workspace.active[p]
        schur = schur_complement(
            gram, workspace.Q, workspace.inverse_order, p, j, workspace.w, workspace.t
        )
        if schur <= gram[j, j] * workspace.w.dtype.type(SINGULAR_TOL):
            return False
        append_to_inverse(workspace.Q, workspace.inverse_order, p, j, schur, workspace.t)
        workspace.target[p] = 0
    # The second pass is one step of iterative refinement: the correction from the residual of the
    # first solution removes most of the error of the inverse.
    for _ in range(2):
        for p in range(n):
            row, residual = gram[workspace.active[p]], total[workspace.active[p]]
            for q in range(n):
                residual -= row[workspace.active[q]] * workspace.target[q]
            workspace.w[p] = residual
        matvec(workspace.Q, workspace.w, n, n, workspace.t)
        for p in range(n):
            workspace.target[p] += workspace.t[p]
    return True


@jit("fast", inline="llvm")
def distance_to_target(
    gram: FloatArray, workspace: HardThresholdWorkspace, n: int
) -> tuple[Any, Any]:
    """Compute ``|delta|`` and ``sqrt(delta' G delta)`` for ``delta = a - a*``."""
    zero = workspace.w.dtype.type(0)
    squared_norm, quadratic_form = zero, zero
    for p in range(n):
        workspace.t[p] = workspace.a[p] - workspace.target[p]
        squared_norm += workspace.t[p] * workspace.t[p]
    for p in range(n):
        row = gram[workspace.active[p]]
        for q in range(n):
            quadratic_form += workspace.t[p] * row[workspace.active[q]] * workspace.t[q]
    return np.sqrt(squared_norm), np.sqrt(max(quadratic_form, zero))


@jit("fast")
def check_bounds(
    total: FloatArray,
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    workspace: HardThresholdWorkspace,
    n: int,
) -> tuple[bool, int]:
    """Bound the trajectory, and list the neurons that may cross their threshold.

    Returns
    -------
    is_certain : bool
        Whether no neuron can cross its threshold, so that the target is the code.
    n_tracked : int
        Number of neurons that must be tracked otherwise, the active ones included.
    """
    compute_residual_correlation(total, gram, workspace.active, workspace.target, n, workspace.c)
    norm, energy_norm = distance_to_target(gram, workspace, n)
    is_certain = True
    for p in range(n):
        j = workspace.active[p]
        side, threshold = (1, upper[j]) if workspace.a[p] > 0 else (-1, lower[j])
        # First bound: a_p stays within |delta| of a*_p. If that interval is beyond the threshold,
        # the neuron stays active.
        is_certain &= side * workspace.target[p] - norm > threshold
        workspace.tracked[p] = j
        # Exclude active neurons from the next loop; their potentials are restored after it.
        workspace.excess[j] = workspace.u[j]
        workspace.u[j], workspace.c[j] = 0, -np.inf
    n_tracked = n
    for j in range(gram.shape[0]):
        # Second bound. The input of neuron j differs from its final value c*_j by
        # (G delta)_j = phi_j . (Phi delta), at most |phi_j| |Phi delta| (Cauchy-Schwarz), and u_j
        # is a weighted mean of its present value and of these inputs.
        deviation = energy_norm * np.sqrt(gram[j, j])
        above = max(workspace.u[j], workspace.c[j] + deviation)
        below = max(-workspace.u[j], deviation - workspace.c[j])
        workspace.tracked[n_tracked] = j
        n_tracked += (above > upper[j] or below > lower[j]) and workspace.c[j] > -np.inf
    for p in range(n):
        workspace.u[workspace.active[p]] = workspace.excess[workspace.active[p]]
    return is_certain and n_tracked == n, n_tracked


@jit("fast", inline="llvm")
def pack_tracked(
    total: FloatArray,
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    workspace: HardThresholdWorkspace,
    n: int,
    n_tracked: int,
) -> None:
    """Copy the values of the tracked neurons to contiguous arrays, and set h to zero."""
    traits = workspace.traits
    for i in range(n_tracked):
        j = workspace.tracked[i]
        workspace.tracked_u[i] = workspace.u[j]
        # An active neuron has a = u, so that a - u = 0: it has no leak.
        traits[DRIVE, i], traits[LEAK, i] = total[j], i >= n
        traits[UPPER, i], traits[LOWER, i] = upper[j], lower[j]
    for p in range(n):
        gram_row, row = gram[workspace.active[p]], workspace.tracked_gram[p]
        workspace.filtered_a[p] = 0
        for i in range(n_tracked):
            row[i] = gram_row[workspace.tracked[i]]


@jit("fast")
def integrate_tracked(
    k: Any, workspace: HardThresholdWorkspace, n: int, n_tracked: int, n_steps: int, limit: Any
) -> tuple[int, Any]:
    """Integrate the tracked neurons until one crosses its threshold or the residual is small.

    Returns
    -------
    n_taken : int
        Number of steps, at most `n_steps`.
    decay : float
        ``(1 - k)^n_taken``, the weight of the initial potential of an untracked neuron.
    """
    u, product, h = workspace.tracked_u, workspace.tracked_product, workspace.filtered_a
    decay, traits = workspace.tracked_u.dtype.type(1), workspace.traits
    drive, leak, upper, lower = traits[DRIVE], traits[LEAK], traits[UPPER], traits[LOWER]
    for step in range(n_steps):
        # The first n potentials are the outputs, so that this is the tracked part of G a.
        matvec(workspace.tracked_gram, u, n, n_tracked, product)
        residual, n_crossed = u.dtype.type(0), 0
        for i in range(n_tracked):
            c = drive[i] - product[i]
            is_active = leak[i] == 0 or c > upper[i] or -c > lower[i]
            residual = max(residual, abs(c) if is_active else u.dtype.type(0))
        if residual <= limit:
            return step, decay
        for p in range(n):
            h[p] += k * (u[p] - h[p])
        for i in range(n_tracked):
            u[i] += k * (drive[i] - product[i] - leak[i] * u[i])
        decay -= k * decay
        for i in range(n_tracked):
            n_crossed += (u[i] > upper[i] or -u[i] > lower[i]) != (leak[i] == 0)
        if n_crossed > 0:
            return step + 1, decay
    return n_steps, decay


@jit("fast", inline="llvm")
def update_untracked(
    total: FloatArray,
    gram: FloatArray,
    decay: Any,
    workspace: HardThresholdWorkspace,
    n: int,
    n_tracked: int,
) -> None:
    """Compute ``u <- decay u + (1 - decay) (b + d) - G h`` of the untracked neurons.

    The potential of an inactive neuron is linear in its input ``b + d - G a``, so that all steps at
    once follow from the filtered output h, with the same filter for all neurons.
    """
    one = workspace.u.dtype.type(1)
    for j in range(total.shape[0]):
        workspace.c[j] = decay * workspace.u[j] + (one - decay) * total[j]
    compute_residual_correlation(
        workspace.c, gram, workspace.active, workspace.filtered_a, n, workspace.u
    )
    for i in range(n_tracked):
        workspace.u[workspace.tracked[i]] = workspace.tracked_u[i]


@jit("fast")
def accept_target(
    total: FloatArray,
    gram: FloatArray,
    upper: FloatArray,
    lower: FloatArray,
    workspace: HardThresholdWorkspace,
    n: int,
) -> Any:
    """Set the code to the target; return its residual."""
    compute_residual_correlation(total, gram, workspace.active, workspace.target, n, workspace.c)
    for p in range(n):
        workspace.a[p] = workspace.target[p]
    return hard_residual(upper, lower, workspace, n)


@jit("fast", inline="numba")
def hard_threshold_sample(
    total: FloatArray,
    gram: FloatArray,
    k: Any,
    upper: FloatArray,
    lower: FloatArray,
    limit: Any,
    max_iter: int,
    workspace: HardThresholdWorkspace,
    report: FloatArray,
) -> int:
    """Integrate one sample from ``workspace.u``; return its number of active neurons.

    Their outputs are in ``workspace.a``. ``report`` receives the residual and the number of steps.
    """
    n, _ = find_active(upper, lower, workspace, INDEX_0)
    n_stable, n_steps = 0, 0
    while True:
        # One step of all neurons: c - u + a, in which a is zero for inactive neurons.
        compute_residual_correlation(total, gram, workspace.active, workspace.a, n, workspace.c)
        for j in range(total.shape[0]):
            workspace.u[j] += k * (workspace.c[j] - workspace.u[j])
        for p in range(n):
            workspace.u[workspace.active[p]] += k * workspace.a[p]
        report[RESIDUAL] = np.float64(hard_residual(upper, lower, workspace, n))
        report[ROUNDS] = n_steps
        if report[RESIDUAL] <= limit or n_steps >= max_iter:
            return n
        n, has_changed = find_active(upper, lower, workspace, n)
        n_steps += 1
        n_stable = 0 if has_changed else n_stable + 1
        # The bounds take the time of several steps, and are of no use while S still changes.
        if n_stable < MIN_STABLE_STEPS:
            continue
        n_stable = 0
        max_tracked = workspace.inverse_order.shape[0]
        if n > max_tracked or not solve_active(total, gram, workspace, n):
            continue
        is_certain, n_tracked = check_bounds(total, gram, upper, lower, workspace, n)
        if is_certain:
            report[RESIDUAL] = np.float64(accept_target(total, gram, upper, lower, workspace, n))
            return n
        if n_tracked <= max_tracked:
            pack_tracked(total, gram, upper, lower, workspace, n, n_tracked)
            n_taken, decay = integrate_tracked(
                k, workspace, n, n_tracked, min(MAX_TRACKED_STEPS, max_iter - n_steps), limit
            )
            update_untracked(total, gram, decay, workspace, n, n_tracked)
            n_steps += n_taken
            n, has_changed = find_active(upper, lower, workspace, n)
            # If S is still the same, the bounds are computed again after the next step.
            n_stable = 0 if has_changed else MIN_STABLE_STEPS


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
    upper: FloatArray,
    lower: FloatArray,
    settings: tuple[float, float],
    max_iter: int,
    workspace: HardThresholdWorkspace,
    code: FloatArray,
    reports: FloatArray,
) -> None:
    """Encode every row.

    Parameters
    ----------
    total : (n_rows, n_padded)
        b + d.
    gram : (n_neurons, n_padded plus one line)
        See `layout.pad_gram_rows`.
    k : scalar of the same precision
        The default step.
    upper, lower : (1 or n_rows, n_padded)
        Thresholds of both signs.
    settings : (lam, tol)
        Threshold, and largest residual in units of the threshold.
    max_iter : int
    workspace : HardThresholdWorkspace
    code : (n_rows, n_neurons)
        Contains the initial potential, and receives the result.
    reports : (n_rows, 3)
        Receives residual and steps.
    """
    lam, tol = settings
    total, gram = skip_refcount(total), skip_refcount(gram)
    upper, lower = skip_refcount(upper), skip_refcount(lower)
    code, reports = skip_refcount(code), skip_refcount(reports)
    workspace = skip_refcount(workspace)
    n_neurons = code.shape[1]
    for row in range(total.shape[0]):
        bound = row if upper.shape[0] > 1 else 0
        workspace.u[:n_neurons], workspace.u[n_neurons:] = code[row], 0
        n = hard_threshold_sample(
            total[row],
            gram,
            k,
            upper[bound],
            lower[bound],
            total.dtype.type(lam * tol),
            max_iter,
            workspace,
            reports[row],
        )
        reports[row, RESIDUAL] /= lam
        code[row, :] = 0
        for p in range(n):
            code[row, workspace.active[p]] = workspace.a[p]

"""Encoding with the Numba engine: the order of the solvers, and their arrays.

Soft-threshold codes are computed by a fast active-set method in the precision of the circuit, which
converges for nearly all samples. The other samples (with coherent atoms, or a tolerance that
float32 cannot reach) continue in float64 with an active-set method that always terminates.
Hard-threshold codes that do not converge in float32 are computed again in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.encode.active_set import (
    ActiveSetWorkspace,
    SolverSettings,
    active_set_rows,
    make_active_set_workspace,
)
from spikelca.engines.numba.encode.drive import DriveWorkspace, add_drive, make_drive_workspace
from spikelca.engines.numba.encode.exact_active_set import exact_active_set_rows
from spikelca.engines.numba.encode.hard_threshold import (
    HardThresholdWorkspace,
    hard_threshold_rows,
    make_hard_threshold_workspace,
)
from spikelca.engines.numba.encode.linalg import GAP, RESIDUAL, ROUNDS
from spikelca.engines.numba.jit.layout import pad_gram_rows, padded_neurons, tile_synapses
from spikelca.engines.numba.jit.parallel import parallel_for
from spikelca.engines.problem import Problem
from spikelca.engines.response import Response
from spikelca.metrics import STRICT_TOL, stopping_value
from spikelca.utils.validation import FloatArray


def unconverged(response: Response, tol: float) -> NDArray[np.int64]:
    """List the samples whose gap (or residual, without a gap) is not within the tolerance."""
    return np.flatnonzero(~(stopping_value(response.residual, response.gap, tol) <= tol))


def merge_response(update: Response, response: Response, rows: NDArray[np.int64]) -> None:
    """Copy the samples of an update to their rows of a response, in place; rounds are added."""
    response.code[rows] = update.code
    response.residual[rows] = update.residual
    if response.gap is not None and update.gap is not None:
        response.gap[rows] = update.gap
    if response.n_iter is not None and update.n_iter is not None:
        response.n_iter[rows] += update.n_iter


DEPENDENCE_TOL = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
"""Squared distance of an atom from the span of the active atoms, relative to its squared norm, up
to which it counts as linearly dependent."""

MAX_ACTIVE = 512
"""Largest number of active neurons of one sample in the fast active-set method."""

MAX_FAST_ROUNDS = 64
"""Number of rounds after which a sample continues with the method that always terminates."""


def solve_active_set(problem: Problem, tol: float, max_iter: int) -> Response:
    """Compute soft-threshold codes by the fast active-set method."""
    upper, lower, min_threshold = _thresholds(problem)
    n_rounds = min(max_iter, MAX_FAST_ROUNDS, 2 * problem.n_neurons)
    settings = _make_settings(problem, tol, n_rounds)
    code, reports, is_warm = _initial_code(problem)
    if is_warm:
        _clip_start(code, upper, lower)
    gram, drive = problem.coupling.derived.get(pad_gram_rows), make_drive(problem)

    def run_block(rows: slice, workspaces: tuple[DriveWorkspace, ActiveSetWorkspace]) -> None:
        (b, x2), bound = drive(rows, workspaces[0]), _shared_or_own_rows(upper, rows)
        active_set_rows(
            b, gram, upper[bound], lower[bound], min_threshold[bound], x2, settings, is_warm,
            workspaces[1], code[rows], reports[rows],
        )  # fmt: skip

    parallel_for(
        run_block,
        problem.n_samples,
        _make_workspaces,
        make_active_set_workspace,
        _max_active(problem),
        *_workspace_sizes(problem),
    )
    n_iter = reports[:, ROUNDS].astype(np.int64)
    return Response(code, reports[:, RESIDUAL], reports[:, GAP], n_iter)


def solve_exact_active_set(
    problem: Problem, reached: Response, rows: NDArray[np.int64], tol: float, max_iter: int
) -> Response:
    """Compute soft-threshold codes by the active-set method that always terminates.

    Parameters
    ----------
    problem : Problem
        The samples that have not converged, in float64.
    reached : Response
        The codes of all samples, from which the method starts.
    rows : (n_samples,)
        Rows of the samples in ``reached``.
    tol : float
    max_iter : int
        Largest number of rounds, including those of ``reached``.
    """
    upper, lower, min_threshold = _thresholds(problem)
    settings = _make_settings(problem, tol, max_iter)
    code, reports = reached.code[rows].astype(np.float64), np.zeros((len(rows), 3))
    reports[:, ROUNDS] = n_previous = np.asarray(reached.n_iter)[rows]
    gram, drive = problem.coupling.derived.get(pad_gram_rows), make_drive(problem)

    def run_block(rows: slice, workspaces: tuple[DriveWorkspace, ActiveSetWorkspace]) -> None:
        (b, x2), bound = drive(rows, workspaces[0]), _shared_or_own_rows(upper, rows)
        exact_active_set_rows(
            b, gram, upper[bound], lower[bound], min_threshold[bound], x2, settings,
            workspaces[1], code[rows], reports[rows],
        )  # fmt: skip

    parallel_for(
        run_block,
        problem.n_samples,
        _make_workspaces,
        make_active_set_workspace,
        problem.n_neurons,
        *_workspace_sizes(problem),
    )
    n_rounds = reports[:, ROUNDS].astype(np.int64) - n_previous
    return Response(code, reports[:, RESIDUAL], reports[:, GAP], n_rounds)


def solve_hard_threshold(problem: Problem, tol: float, max_iter: int) -> Response:
    """Compute hard-threshold codes, the end of the trajectory from rest (or from the start)."""
    upper, lower = _hard_thresholds(problem)
    k = problem.dtype.type(problem.coupling.default_step)
    code, reports, _ = _initial_code(problem)
    gram, drive = problem.coupling.derived.get(pad_gram_rows), make_drive(problem)
    current = problem.current.astype(problem.dtype)

    def run_block(rows: slice, workspaces: tuple[DriveWorkspace, HardThresholdWorkspace]) -> None:
        total, _ = drive(rows, workspaces[0])
        total[:, : problem.n_neurons] += current[_shared_or_own_rows(current, rows)]
        bound = _shared_or_own_rows(upper, rows)
        hard_threshold_rows(
            total, gram, k, upper[bound], lower[bound], (problem.transfer.threshold, tol), max_iter,
            workspaces[1], code[rows], reports[rows],
        )  # fmt: skip

    parallel_for(
        run_block,
        problem.n_samples,
        _make_workspaces,
        make_hard_threshold_workspace,
        _max_active(problem),
        *_workspace_sizes(problem),
    )
    return Response(code, reports[:, RESIDUAL], None, reports[:, ROUNDS].astype(np.int64))


def make_drive(
    problem: Problem,
) -> Callable[[slice, DriveWorkspace], tuple[FloatArray, FloatArray]]:
    """Return a function that computes ``b`` and ``sum_i w_i |x_i|^2`` of some samples.

    Its arguments are the rows and the workspace of a thread, which contains b.
    """
    tiles = [p.derived.get(tile_synapses) for p in problem.inputs]
    offset = problem.offset

    def compute_drive(rows: slice, workspace: DriveWorkspace) -> tuple[FloatArray, FloatArray]:
        n = rows.stop - rows.start
        # Linked drivers are stimuli, too, and contribute to |x|^2.
        x2 = np.zeros(n) if offset is None else offset[rows].astype(np.float64)
        b = workspace.b[:n]
        b[:] = 0
        for p, synapses in zip(problem.inputs, tiles, strict=True):
            x = np.ascontiguousarray(p.stimulus[rows])
            weight = b.dtype.type(p.weight)
            add_drive(x, synapses, weight, b, x2, workspace.nonzero, workspace.values)
        return b, x2

    return compute_drive


def _workspace_sizes(problem: Problem) -> tuple[int, int, np.dtype[Any]]:
    n_inputs = max(p.atoms.shape[1] for p in problem.inputs)
    return padded_neurons(problem.n_neurons), n_inputs, problem.dtype


def _max_active(problem: Problem) -> int:
    return min(problem.n_neurons, MAX_ACTIVE)


def _make_workspaces(
    n_rows: int,
    make: Callable[..., Any],
    max_active: int,
    n_padded: int,
    n_inputs: int,
    dtype: np.dtype[Any],
) -> tuple[DriveWorkspace, Any]:
    """Allocate the workspaces of one thread, for the drive and for the solver."""
    drive_workspace = make_drive_workspace(n_rows, n_padded, n_inputs, dtype)
    return drive_workspace, make(max_active, n_padded, dtype)


def _shared_or_own_rows(bounds: FloatArray, rows: slice) -> slice:
    """Select the rows of an array with one row for each sample or one shared row."""
    return slice(0, 1) if len(bounds) == 1 else rows


def _make_settings(problem: Problem, tol: float, max_iter: int) -> SolverSettings:
    # Below STRICT_TOL the residual is tested as well as the gap.
    residual_tol = tol if tol < STRICT_TOL else np.inf
    dependence_tol = DEPENDENCE_TOL[problem.dtype]
    return SolverSettings(problem.transfer.threshold, tol, residual_tol, dependence_tol, max_iter)


def _initial_code(problem: Problem) -> tuple[FloatArray, NDArray[np.float64], bool]:
    """Allocate the initial codes and the reports; also return whether the start is warm."""
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        code[:] = problem.start["a"]
    return code, np.zeros((problem.n_samples, 3)), problem.start is not None


def _clip_start(code: FloatArray, upper: FloatArray, lower: FloatArray) -> None:
    """Set initial codes to zero that are not finite, or whose sign has an infinite threshold."""
    n = code.shape[1]
    code[~np.isfinite(code) | np.isinf(np.where(code < 0, lower[:, :n], upper[:, :n]))] = 0


def _thresholds(problem: Problem) -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """Compute the thresholds of the residual correlation, and their minimum.

    Returns
    -------
    upper, lower : (1 or n_samples, n_padded)
        Threshold for a positive and for a negative code, with the current subtracted.
    min_threshold : (1 or n_samples,)
    """
    lam, two_sided = problem.transfer.threshold, problem.transfer.two_sided
    upper = _pad_thresholds(problem, lam - problem.current)
    lower = _pad_thresholds(problem, lam + problem.current if two_sided else None)
    smallest = upper.min(axis=1)
    if two_sided:
        smallest = np.minimum(smallest, lower.min(axis=1))
    return upper, lower, smallest.astype(np.float64)


def _hard_thresholds(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Return the thresholds of the potential: both (1 or n_samples, n_padded)."""
    lam, two_sided = problem.transfer.threshold, problem.transfer.two_sided
    thresholds = np.full((1, problem.n_neurons), lam)
    upper = _pad_thresholds(problem, thresholds)
    return upper, _pad_thresholds(problem, thresholds if two_sided else None)


def _pad_thresholds(problem: Problem, threshold: FloatArray | None) -> FloatArray:
    """Pad thresholds to whole cache lines, infinite there and for clamped neurons."""
    allowed = problem.allowed
    if allowed is not None:
        threshold = np.where(allowed, np.inf if threshold is None else threshold, np.inf)
    if threshold is None:
        return np.full(
            (len(problem.current), padded_neurons(problem.n_neurons)), np.inf, problem.dtype
        )
    n = problem.n_neurons
    padded = np.empty((len(threshold), padded_neurons(n)), problem.dtype)
    padded[:, :n], padded[:, n:] = threshold, np.inf
    return padded

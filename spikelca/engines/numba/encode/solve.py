"""`encode` of the fast engine: arrays around the kernels, and the order in which these are tried.

For a soft threshold, a fast active set in the precision of the circuit, which converges for nearly
every sample. It leaves coherent atoms, and digits that float32 cannot reach, to an active set in
float64 that always terminates.

Some samples of a problem again in float64: for those that float32 cannot finish.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.encode.active_set import (
    ActiveSetWorkspace,
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
from spikelca.engines.numba.jit.layout import pad_gram_rows, padded_neurons, tile_synapses
from spikelca.engines.numba.jit.parallel import parallel_for
from spikelca.engines.problem import Coupling, Problem
from spikelca.engines.response import Response
from spikelca.metrics import STRICT_TOL, converged, stopping_value
from spikelca.model.transfer import SoftThreshold
from spikelca.utils.validation import FloatArray


def unconverged(response: Response, tol: float) -> NDArray[np.int64]:
    """Samples whose certificate is above the tolerance, or no number."""
    return np.flatnonzero(~(stopping_value(response.residual, response.gap, tol) <= tol))


def widen(problem: Problem) -> Problem:
    """The same problem in float64, its Gram matrix computed anew."""
    if problem.dtype == np.float64:
        return problem

    def wide(x: Any) -> Any:
        return None if x is None else np.asarray(x, dtype=np.float64)

    inputs = tuple(
        replace(p, stimulus=wide(p.stimulus)).with_atoms(wide(p.atoms)) for p in problem.inputs
    )
    gram = np.asarray(sum(p.weight * (p.atoms @ p.atoms.T) for p in inputs))
    gram = 0.5 * (gram + gram.T) + problem.gain * np.eye(len(gram))
    start = None if problem.start is None else {k: wide(v) for k, v in problem.start.items()}
    return replace(problem, inputs=inputs, coupling=Coupling(gram), start=start)


def select_samples(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    """The problem of these samples alone."""
    if len(rows) == problem.n_samples:
        return problem

    def pick(x: Any) -> Any:
        return None if x is None else x[rows]

    inputs = tuple(replace(p, stimulus=p.stimulus[rows]) for p in problem.inputs)
    start = None if problem.start is None else {k: v[rows] for k, v in problem.start.items()}
    shared = len(problem.current) == 1
    return replace(
        problem,
        inputs=inputs,
        current=problem.current if shared else problem.current[rows],
        allowed=pick(problem.allowed),
        offset=pick(problem.offset),
        start=start,
    )


def merge_response(part: Response, whole: Response, rows: NDArray[np.int64]) -> None:
    """Write the samples of a response into their places; rounds add up."""
    whole.code[rows] = part.code
    whole.residual[rows] = part.residual
    if whole.gap is not None and part.gap is not None:
        whole.gap[rows] = part.gap
    if whole.n_iter is not None and part.n_iter is not None:
        whole.n_iter[rows] += part.n_iter


DEPENDENCE_TOL = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
"""An atom of which no more than this lies outside the span of the active ones is not let in."""

MAX_ACTIVE = 512
"""Active neurons of one sample that the fast active set has space for."""

MAX_FAST_ROUNDS = 64
"""Rounds after which the fast active set leaves a sample to the one that always terminates."""


def encode(problem: Problem, tol: float, max_iter: int) -> Response:
    """The fixed point of the circuit for every sample, to the tolerance."""
    soft = isinstance(problem.transfer, SoftThreshold)
    solve = solve_active_set if soft else solve_hard_threshold
    # float32 cannot reach the last digits.
    wide = widen(problem) if tol < STRICT_TOL else problem
    response = solve(wide, tol, max_iter)
    if not converged(response.residual, response.gap, tol):
        left = unconverged(response, tol)
        if soft:
            left = left[np.asarray(response.n_iter)[left] < max_iter]
            part = widen(select_samples(wide, left))
            merge_response(
                solve_exact_active_set(part, response, left, tol, max_iter), response, left
            )
        elif wide.dtype == np.float32:
            merge_response(
                solve_hard_threshold(widen(select_samples(wide, left)), tol, max_iter),
                response,
                left,
            )
    return replace(response, code=response.code.astype(problem.dtype, copy=False))


def solve_active_set(problem: Problem, tol: float, max_iter: int) -> Response:
    """The code of the soft threshold by the active set."""
    up, down, weakest = _thresholds(problem)
    settings = (problem.transfer.threshold, tol, _residual_tol(tol), DEPENDENCE_TOL[problem.dtype])
    code, reports, warm = _initial_code(problem)
    if warm:
        _clip_start(code, up, down)
    gram, drive = problem.coupling.derived.get(pad_gram_rows), make_drive(problem)
    n_rounds = min(max_iter, MAX_FAST_ROUNDS, 2 * problem.n_neurons)

    def work(rows: slice, own: tuple[DriveWorkspace, ActiveSetWorkspace]) -> None:
        (b, x2), bound = drive(rows, own[0]), _shared_or_own_rows(up, rows)
        active_set_rows(
            b, gram, up[bound], down[bound], weakest[bound], x2, settings, n_rounds, warm, own[1],
            code[rows], reports[rows],
        )  # fmt: skip

    parallel_for(
        work,
        problem.n_samples,
        _make_workspaces,
        make_active_set_workspace,
        _max_active(problem),
        *_workspace_sizes(problem),
    )
    return Response(code, reports[:, 1], reports[:, 0], reports[:, 2].astype(np.int64))


def solve_exact_active_set(
    problem: Problem, reached: Response, rows: NDArray[np.int64], tol: float, max_iter: int
) -> Response:
    """The same by the active set that always terminates, from the codes reached before.

    Parameters
    ----------
    problem : Problem
        In float64, of the samples that have not converged.
    reached : Response
        Of all samples.
    rows : (n_samples,)
        Where the samples of the problem are in ``reached``.
    tol : float
    max_iter : int
        Limit of all rounds together, those before included.
    """
    up, down, weakest = _thresholds(problem)
    settings = (problem.transfer.threshold, tol, _residual_tol(tol), DEPENDENCE_TOL[problem.dtype])
    code, reports = reached.code[rows].astype(np.float64), np.zeros((len(rows), 3))
    reports[:, 2] = before = np.asarray(reached.n_iter)[rows]
    gram, drive = problem.coupling.derived.get(pad_gram_rows), make_drive(problem)

    def work(rows: slice, own: tuple[DriveWorkspace, ActiveSetWorkspace]) -> None:
        (b, x2), bound = drive(rows, own[0]), _shared_or_own_rows(up, rows)
        exact_active_set_rows(
            b, gram, up[bound], down[bound], weakest[bound], x2, settings, max_iter, own[1],
            code[rows], reports[rows],
        )  # fmt: skip

    parallel_for(
        work,
        problem.n_samples,
        _make_workspaces,
        make_active_set_workspace,
        problem.n_neurons,
        *_workspace_sizes(problem),
    )
    rounds = reports[:, 2].astype(np.int64) - before
    return Response(code, reports[:, 1], reports[:, 0], rounds)


def solve_hard_threshold(problem: Problem, tol: float, max_iter: int) -> Response:
    """The code of the hard threshold, where the circuit goes from rest (or from the start)."""
    up, down = _hard_thresholds(problem)
    k = problem.dtype.type(problem.coupling.default_step)
    code, reports, _ = _initial_code(problem)
    gram, drive = problem.coupling.derived.get(pad_gram_rows), make_drive(problem)
    current = problem.current.astype(problem.dtype)

    def work(rows: slice, own: tuple[DriveWorkspace, HardThresholdWorkspace]) -> None:
        total, _ = drive(rows, own[0])
        total[:, : problem.n_neurons] += current[_shared_or_own_rows(current, rows)]
        bound = _shared_or_own_rows(up, rows)
        hard_threshold_rows(
            total, gram, k, up[bound], down[bound], (problem.transfer.threshold, tol), max_iter,
            own[1], code[rows], reports[rows],
        )  # fmt: skip

    parallel_for(
        work,
        problem.n_samples,
        _make_workspaces,
        make_hard_threshold_workspace,
        _max_active(problem),
        *_workspace_sizes(problem),
    )
    return Response(code, reports[:, 1], None, reports[:, 2].astype(np.int64))


def make_drive(
    problem: Problem,
) -> Callable[[slice, DriveWorkspace], tuple[FloatArray, FloatArray]]:
    """What gives ``b`` of some samples, in the scratch of a thread, and ``sum_i w_i |x_i|^2``."""
    tiles = [p.derived.get(tile_synapses) for p in problem.inputs]
    offset = problem.offset

    def of(rows: slice, room: DriveWorkspace) -> tuple[FloatArray, FloatArray]:
        n = rows.stop - rows.start
        # What drivers add to |x|^2: a linked driver is a stimulus too.
        x2 = np.zeros(n) if offset is None else offset[rows].astype(np.float64)
        b = room.b[:n]
        b[:] = 0
        for p, part in zip(problem.inputs, tiles, strict=True):
            x = np.ascontiguousarray(p.stimulus[rows])
            add_drive(x, part, b.dtype.type(p.weight), b, x2, room.live, room.values)
        return b, x2

    return of


def _workspace_sizes(problem: Problem) -> tuple[int, int, np.dtype[Any]]:
    n_inputs = max(p.atoms.shape[1] for p in problem.inputs)
    return padded_neurons(problem.n_neurons), n_inputs, problem.dtype


def _max_active(problem: Problem) -> int:
    return min(problem.n_neurons, MAX_ACTIVE)


def _make_workspaces(
    n_rows: int, make: Callable[..., Any], cap: int, n_places: int, n_inputs: int,
    dtype: np.dtype[Any],
) -> tuple[DriveWorkspace, Any]:  # fmt: skip
    """Scratch of one thread: for the drive, and for what follows from it."""
    return make_drive_workspace(n_rows, n_places, n_inputs, dtype), make(cap, n_places, dtype)


def _shared_or_own_rows(bounds: FloatArray, rows: slice) -> slice:
    """Those of an array that has either a row for each sample, or one for all."""
    return slice(0, 1) if len(bounds) == 1 else rows


def _residual_tol(tol: float) -> float:
    return tol if tol < STRICT_TOL else np.inf


def _initial_code(problem: Problem) -> tuple[FloatArray, NDArray[np.float64], bool]:
    """The code to start from, room for the reports, and whether the start is warm."""
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        code[:] = problem.start["a"]
    return code, np.zeros((problem.n_samples, 3)), problem.start is not None


def _clip_start(code: FloatArray, up: FloatArray, down: FloatArray) -> None:
    """Set to zero what is no number, or cannot fire on its side: its threshold is infinite."""
    n = code.shape[1]
    code[~np.isfinite(code) | np.isinf(np.where(code < 0, down[:, :n], up[:, :n]))] = 0


def _thresholds(problem: Problem) -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """What neuron j must exceed to fire upwards and downwards, its current counted; the least."""
    lam, two_sided = problem.transfer.threshold, problem.transfer.two_sided
    up = _pad_thresholds(problem, lam - problem.current)
    down = _pad_thresholds(problem, lam + problem.current if two_sided else None)
    least = up.min(axis=1)
    if two_sided:
        least = np.minimum(least, down.min(axis=1))
    return up, down, least.astype(np.float64)


def _hard_thresholds(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """What the potential of neuron j must exceed to fire upwards and downwards."""
    lam = np.full((1, problem.n_neurons), problem.transfer.threshold)
    return _pad_thresholds(problem, lam), _pad_thresholds(
        problem, lam if problem.transfer.two_sided else None
    )


def _pad_thresholds(problem: Problem, threshold: FloatArray | None) -> FloatArray:
    """Thresholds in whole lines; infinite where a neuron may not fire, and behind the last one."""
    allowed = problem.allowed
    if allowed is not None:
        threshold = np.where(allowed, np.inf if threshold is None else threshold, np.inf)
    if threshold is None:
        return np.full(
            (len(problem.current), padded_neurons(problem.n_neurons)), np.inf, problem.dtype
        )
    n = problem.n_neurons
    whole = np.empty((len(threshold), padded_neurons(n)), problem.dtype)
    whole[:, :n], whole[:, n:] = threshold, np.inf
    return whole

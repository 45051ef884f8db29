"""`settle` of the fast engine: arrays around the kernels, and the order in which these are tried.

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

from spikelca.engines.numba.encode.active_set import Room, make_room, settle_rows
from spikelca.engines.numba.encode.drive import DriveRoom, add_drive, make_drive_room
from spikelca.engines.numba.encode.exact_active_set import solve_rows
from spikelca.engines.numba.encode.hard_threshold import Field, make_field, settle_hard_rows
from spikelca.engines.numba.jit.layout import gram_in_rows, padded, synapses_in_tiles
from spikelca.engines.numba.jit.parallel import over_blocks
from spikelca.engines.problem import Coupling, Problem
from spikelca.engines.response import Response
from spikelca.metrics import STRICT, deciding, settled
from spikelca.model.transfer import SoftThreshold
from spikelca.utils.validation import FloatArray


def unsettled(response: Response, tol: float) -> NDArray[np.int64]:
    """Samples whose certificate is above the tolerance, or no number."""
    return np.flatnonzero(~(deciding(response.residual, response.gap, tol) <= tol))


def in_float64(problem: Problem) -> Problem:
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


def samples_of(problem: Problem, rows: NDArray[np.int64]) -> Problem:
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


def put(part: Response, whole: Response, rows: NDArray[np.int64]) -> None:
    """Write the samples of a response into their places; rounds add up."""
    whole.code[rows] = part.code
    whole.residual[rows] = part.residual
    if whole.gap is not None and part.gap is not None:
        whole.gap[rows] = part.gap
    if whole.n_iter is not None and part.n_iter is not None:
        whole.n_iter[rows] += part.n_iter


INSIDE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
"""An atom of which no more than this lies outside the span of the active ones is not let in."""

LARGEST_BLOCK = 512
"""Active neurons of one sample that the fast active set has space for."""

ROUNDS = 64
"""Rounds after which the fast active set leaves a sample to the one that always terminates."""


def settle(problem: Problem, tol: float, max_iter: int) -> Response:
    """The fixed point of the circuit for every sample, to the tolerance."""
    soft = isinstance(problem.transfer, SoftThreshold)
    solve = settle_soft if soft else settle_hard
    # float32 cannot reach the last digits.
    wide = in_float64(problem) if tol < STRICT else problem
    response = solve(wide, tol, max_iter)
    if not settled(response.residual, response.gap, tol):
        left = unsettled(response, tol)
        if soft:
            left = left[np.asarray(response.n_iter)[left] < max_iter]
            part = in_float64(samples_of(wide, left))
            put(settle_exactly(part, response, left, tol, max_iter), response, left)
        elif wide.dtype == np.float32:
            put(settle_hard(in_float64(samples_of(wide, left)), tol, max_iter), response, left)
    return replace(response, code=response.code.astype(problem.dtype, copy=False))


def settle_soft(problem: Problem, tol: float, max_iter: int) -> Response:
    """The code of the soft threshold by the active set."""
    up, down, weakest = _thresholds(problem)
    settings = (problem.transfer.threshold, tol, _strict(tol), INSIDE[problem.dtype])
    code, reports, warm = _start(problem)
    if warm:
        _keep_to_what_may_fire(code, up, down)
    gram, drive = problem.coupling.layouts.by(gram_in_rows), drives(problem)
    n_rounds = min(max_iter, ROUNDS, 2 * problem.n_neurons)

    def work(rows: slice, own: tuple[DriveRoom, Room]) -> None:
        (b, x2), bound = drive(rows, own[0]), _rows(up, rows)
        settle_rows(
            b, gram, up[bound], down[bound], weakest[bound], x2, settings, n_rounds, warm, own[1],
            code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples, _rooms, make_room, _cap(problem), *_sizes(problem))
    return Response(code, reports[:, 1], reports[:, 0], reports[:, 2].astype(np.int64))


def settle_exactly(
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
    settings = (problem.transfer.threshold, tol, _strict(tol), INSIDE[problem.dtype])
    code, reports = reached.code[rows].astype(np.float64), np.zeros((len(rows), 3))
    reports[:, 2] = before = np.asarray(reached.n_iter)[rows]
    gram, drive = problem.coupling.layouts.by(gram_in_rows), drives(problem)

    def work(rows: slice, own: tuple[DriveRoom, Room]) -> None:
        (b, x2), bound = drive(rows, own[0]), _rows(up, rows)
        solve_rows(
            b, gram, up[bound], down[bound], weakest[bound], x2, settings, max_iter, own[1],
            code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples, _rooms, make_room, problem.n_neurons, *_sizes(problem))
    rounds = reports[:, 2].astype(np.int64) - before
    return Response(code, reports[:, 1], reports[:, 0], rounds)


def settle_hard(problem: Problem, tol: float, max_iter: int) -> Response:
    """The code of the hard threshold, where the circuit goes from rest (or from the start)."""
    up, down = _hard_thresholds(problem)
    k = problem.dtype.type(problem.coupling.automatic_step)
    code, reports, _ = _start(problem)
    gram, drive = problem.coupling.layouts.by(gram_in_rows), drives(problem)
    current = problem.current.astype(problem.dtype)

    def work(rows: slice, own: tuple[DriveRoom, Field]) -> None:
        total, _ = drive(rows, own[0])
        total[:, : problem.n_neurons] += current[_rows(current, rows)]
        bound = _rows(up, rows)
        settle_hard_rows(
            total, gram, k, up[bound], down[bound], (problem.transfer.threshold, tol), max_iter,
            own[1], code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples, _rooms, make_field, _cap(problem), *_sizes(problem))
    return Response(code, reports[:, 1], None, reports[:, 2].astype(np.int64))


def drives(problem: Problem) -> Callable[[slice, DriveRoom], tuple[FloatArray, FloatArray]]:
    """What gives ``b`` of some samples, in the scratch of a thread, and ``sum_i w_i |x_i|^2``."""
    tiles = [p.layouts.by(synapses_in_tiles) for p in problem.inputs]
    offset = problem.offset

    def of(rows: slice, room: DriveRoom) -> tuple[FloatArray, FloatArray]:
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


def _sizes(problem: Problem) -> tuple[int, int, np.dtype[Any]]:
    n_inputs = max(p.atoms.shape[1] for p in problem.inputs)
    return padded(problem.n_neurons), n_inputs, problem.dtype


def _cap(problem: Problem) -> int:
    return min(problem.n_neurons, LARGEST_BLOCK)


def _rooms(
    n_rows: int, make: Callable[..., Any], cap: int, n_places: int, n_inputs: int,
    dtype: np.dtype[Any],
) -> tuple[DriveRoom, Any]:  # fmt: skip
    """Scratch of one thread: for the drive, and for what follows from it."""
    return make_drive_room(n_rows, n_places, n_inputs, dtype), make(cap, n_places, dtype)


def _rows(bounds: FloatArray, rows: slice) -> slice:
    """Those of an array that has either a row for each sample, or one for all."""
    return slice(0, 1) if len(bounds) == 1 else rows


def _strict(tol: float) -> float:
    return tol if tol < STRICT else np.inf


def _start(problem: Problem) -> tuple[FloatArray, NDArray[np.float64], bool]:
    """The code to start from, room for the reports, and whether the start is warm."""
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        code[:] = problem.start["a"]
    return code, np.zeros((problem.n_samples, 3)), problem.start is not None


def _keep_to_what_may_fire(code: FloatArray, up: FloatArray, down: FloatArray) -> None:
    """Set to zero what is no number, or cannot fire on its side: its threshold is infinite."""
    n = code.shape[1]
    code[~np.isfinite(code) | np.isinf(np.where(code < 0, down[:, :n], up[:, :n]))] = 0


def _thresholds(problem: Problem) -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """What neuron j must exceed to fire upwards and downwards, its current counted; the least."""
    lam, two_sided = problem.transfer.threshold, problem.transfer.two_sided
    up = _clamped(problem, lam - problem.current)
    down = _clamped(problem, lam + problem.current if two_sided else None)
    least = up.min(axis=1)
    if two_sided:
        least = np.minimum(least, down.min(axis=1))
    return up, down, least.astype(np.float64)


def _hard_thresholds(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """What the potential of neuron j must exceed to fire upwards and downwards."""
    lam = np.full((1, problem.n_neurons), problem.transfer.threshold)
    return _clamped(problem, lam), _clamped(problem, lam if problem.transfer.two_sided else None)


def _clamped(problem: Problem, threshold: FloatArray | None) -> FloatArray:
    """Thresholds in whole lines; infinite where a neuron may not fire, and behind the last one."""
    allowed = problem.allowed
    if allowed is not None:
        threshold = np.where(allowed, np.inf if threshold is None else threshold, np.inf)
    if threshold is None:
        return np.full((len(problem.current), padded(problem.n_neurons)), np.inf, problem.dtype)
    n = problem.n_neurons
    whole = np.empty((len(threshold), padded(n)), problem.dtype)
    whole[:, :n], whole[:, n:] = threshold, np.inf
    return whole

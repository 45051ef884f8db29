"""`settle` of the fast engine: arrays around the kernels, and the order in which these are tried.

Active set in the precision of the circuit; what it leaves open, active set in float64; what is
still open, coordinate descent in float64. Nearly every sample is done by the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikelca.certificate import STRICT, settled
from spikelca.engines.base import Problem, Response
from spikelca.engines.numba.active_set import settle_rows
from spikelca.engines.numba.descent import descend_rows
from spikelca.engines.numba.drive import add_drive
from spikelca.engines.numba.hard import settle_hard_rows
from spikelca.engines.numba.precision import empty, in_float64, put, samples_of, unsettled
from spikelca.engines.numba.threads import over_blocks
from spikelca.transfer import SoftThreshold
from spikelca.validation import FloatArray

INSIDE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
"""An atom of which no more than this lies outside the span of the active ones is not let in."""

LARGEST_BLOCK = 512
"""Active neurons of one sample that the active set keeps; beyond, coordinate descent."""

Solver = Callable[[Problem, float, int], Response]


def settle(problem: Problem, tol: float, max_iter: int) -> Response:
    """The fixed point of the circuit for every sample, to the tolerance."""
    soft = isinstance(problem.transfer, SoftThreshold)
    solvers: list[Solver] = [settle_soft, descend] if soft else [settle_hard]
    # float32 cannot reach the last digits: why try.
    if problem.dtype == np.float32 and tol >= STRICT:
        response = solvers[0](problem, tol, max_iter)
        if settled(response.residual, response.gap, tol):
            return response
        left = unsettled(response, tol)
    else:
        response, left = empty(problem), np.arange(problem.n_samples)
    for solver in solvers:
        if not left.size:
            break
        part = in_float64(samples_of(problem, left))
        if solver is descend:
            part = replace(part, start={"a": response.code[left].astype(np.float64)})
        answer = solver(part, tol, max_iter)
        put(answer, response, left)
        left = left[unsettled(answer, tol)]
    return response


def settle_soft(problem: Problem, tol: float, max_iter: int) -> Response:
    """The code of the soft threshold by the active set."""
    up, down, weakest = _thresholds(problem)
    settings = (problem.transfer.threshold, tol, _strict(tol), INSIDE[problem.dtype])
    code, reports, warm = _start(problem)
    if warm:
        _keep_to_what_may_fire(code, up, down)
    b, x2 = np.zeros_like(code), _offset(problem)
    cap = min(problem.n_neurons, LARGEST_BLOCK)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        bound = _rows(up, rows)
        _drive(problem, rows, b, x2)
        settle_rows(
            b[rows], problem.gram, up[bound], down[bound], weakest[bound], x2[rows], settings,
            max_iter, cap, warm, code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples)
    return Response(code, reports[:, 1], reports[:, 0], reports[:, 2].astype(np.int64))


def descend(problem: Problem, tol: float, max_iter: int) -> Response:
    """The same by coordinate descent."""
    up, down, weakest = _thresholds(problem)
    settings = (problem.transfer.threshold, tol, _strict(tol))
    code, reports, _ = _start(problem)
    _keep_to_what_may_fire(code, up, down)
    b, x2 = np.zeros_like(code), _offset(problem)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        bound = _rows(up, rows)
        _drive(problem, rows, b, x2)
        descend_rows(
            b[rows], problem.gram, up[bound], down[bound], weakest[bound], x2[rows], settings,
            max_iter, code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples)
    return Response(code, reports[:, 1], reports[:, 0], reports[:, 2].astype(np.int64))


def settle_hard(problem: Problem, tol: float, max_iter: int) -> Response:
    """The code of the hard threshold, where the circuit goes from rest (or from the start)."""
    up, down = _hard_thresholds(problem)
    k = problem.dtype.type(problem.coupling.automatic_step)
    code, reports, _ = _start(problem)
    total, current = np.zeros_like(code), problem.current.astype(problem.dtype)
    cap = min(problem.n_neurons, LARGEST_BLOCK)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        bound = _rows(up, rows)
        _drive(problem, rows, total, np.zeros(problem.n_samples))
        total[rows] += current[_rows(current, rows)]
        settle_hard_rows(
            total[rows], problem.gram, k, up[bound], down[bound], (problem.transfer.threshold, tol),
            max_iter, cap, code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples)
    return Response(code, reports[:, 1], None, reports[:, 2].astype(np.int64))


def _drive(problem: Problem, rows: slice, b: FloatArray, x2: FloatArray) -> None:
    for p in problem.inputs:
        x = np.ascontiguousarray(p.stimulus[rows])
        add_drive(x, p.synapses, problem.dtype.type(p.weight), b[rows], x2[rows])


def _rows(bounds: FloatArray, rows: slice) -> slice:
    """Those of an array that has either a row for each sample, or one for all."""
    return slice(0, 1) if len(bounds) == 1 else rows


def _strict(tol: float) -> float:
    return tol if tol < STRICT else np.inf


def _offset(problem: Problem) -> FloatArray:
    """What drivers add to ``|x|^2``: a copy, to which the stimuli are added."""
    if problem.offset is None:
        return np.zeros(problem.n_samples)
    return np.array(problem.offset, dtype=np.float64)


def _start(problem: Problem) -> tuple[FloatArray, NDArray[np.float64], bool]:
    """The code to start from, room for the reports, and whether the start is warm."""
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        code[:] = problem.start["a"]
    return code, np.zeros((problem.n_samples, 3)), problem.start is not None


def _keep_to_what_may_fire(code: FloatArray, up: FloatArray, down: FloatArray) -> None:
    """Set to zero what is no number, or cannot fire on its side: its threshold is infinite."""
    code[~np.isfinite(code) | np.isinf(np.where(code < 0, down, up))] = 0


def _thresholds(problem: Problem) -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """What neuron j must exceed to fire upwards and downwards, its current counted; the least."""
    lam = problem.transfer.threshold
    up = _clamped(problem, lam - problem.current)
    least = up.min(axis=1)
    if not problem.transfer.two_sided:
        return up, np.full(up.shape, np.inf, problem.dtype), least.astype(np.float64)
    down = _clamped(problem, lam + problem.current)
    return up, down, np.minimum(least, down.min(axis=1)).astype(np.float64)


def _hard_thresholds(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """What the potential of neuron j must exceed to fire upwards and downwards."""
    up = np.full((1, problem.n_neurons), problem.transfer.threshold)
    down = up if problem.transfer.two_sided else np.full_like(up, np.inf)
    return _clamped(problem, up), _clamped(problem, down)


def _clamped(problem: Problem, threshold: FloatArray) -> FloatArray:
    if problem.allowed is not None:
        threshold = np.where(problem.allowed, threshold, np.inf)
    return np.ascontiguousarray(threshold, problem.dtype)

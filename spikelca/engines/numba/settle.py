"""`settle` of the fast engine: checks and arrays around the kernels of `active_set.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from spikelca.engines.base import Problem, Response
from spikelca.engines.numba.active_set import settle_rows
from spikelca.engines.numba.drive import add_drive
from spikelca.engines.numba.hard import settle_hard_rows
from spikelca.engines.numba.threads import over_blocks
from spikelca.spectrum import automatic_step
from spikelca.transfer import SoftThreshold
from spikelca.validation import FloatArray

STRICT = 1e-6
"""Below this tolerance a code is wanted to the last digits: the residual must reach it too."""

LARGEST_BLOCK = 512
"""Active neurons of one sample that the active set keeps; beyond, coordinate descent."""


def settle(problem: Problem, tol: float, max_iter: int) -> Response:
    """The fixed point of the circuit for every sample, to the tolerance."""
    if tol < STRICT and problem.dtype == np.float32:
        return _as_float32(settle(_as_float64(problem), tol, max_iter))
    if not isinstance(problem.transfer, SoftThreshold):
        return _settle_hard(problem, tol, max_iter)
    return _settle_soft(problem, tol, max_iter)


def _as_float64(problem: Problem) -> Problem:
    def wide(x: Any) -> Any:
        return None if x is None else np.asarray(x, dtype=np.float64)

    start = None if problem.start is None else {k: wide(v) for k, v in problem.start.items()}
    inputs = tuple(
        replace(p, stimulus=wide(p.stimulus), atoms=wide(p.atoms)) for p in problem.inputs
    )
    gram = sum(p.weight * (p.atoms @ p.atoms.T) for p in inputs)
    # What a linked driver added to the diagonal is kept.
    extra = np.diag(problem.gram).astype(np.float64) - np.diag(np.asarray(gram))
    gram = gram + np.diag(np.where(np.abs(extra) > 1e-5, extra, 0.0))
    return replace(problem, inputs=inputs, gram=gram, start=start)


def _as_float32(response: Response) -> Response:
    return replace(response, code=response.code.astype(np.float32))


def _settle_soft(problem: Problem, tol: float, max_iter: int) -> Response:
    up, down = _thresholds(problem)
    weakest = np.minimum(up.min(axis=1), down.min(axis=1)).astype(np.float64)
    lam = problem.transfer.threshold
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        a = problem.start["a"]
        # What may not fire upwards or downwards cannot start there.
        code[:] = np.where(np.isfinite(np.where(a < 0, down, up)), a, 0)
    reports = np.zeros((problem.n_samples, 3))
    b = np.zeros_like(code)
    x2 = np.zeros(problem.n_samples) if problem.offset is None else np.array(problem.offset)
    cap = min(problem.n_neurons, LARGEST_BLOCK)
    strict = tol if tol < STRICT else np.inf
    shared = len(up) == 1
    synapses = [np.ascontiguousarray(p.atoms.T) for p in problem.inputs]

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        bound = slice(0, 1) if shared else rows
        for p, phi in zip(problem.inputs, synapses, strict=True):
            add_drive(p.stimulus[rows], phi, problem.dtype.type(p.weight), b[rows], x2[rows])
        settle_rows(
            b[rows], problem.gram, up[bound], down[bound], weakest[bound], lam, x2[rows], tol,
            strict, max_iter, cap, code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples)
    return Response(code, reports[:, 1], reports[:, 0], reports[:, 2].astype(np.int64))


def _settle_hard(problem: Problem, tol: float, max_iter: int) -> Response:
    up, down = _hard_thresholds(problem)
    k, lam = problem.dtype.type(automatic_step(problem.gram)), problem.transfer.threshold
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        code[:] = problem.start["a"]
    reports = np.zeros((problem.n_samples, 3))
    total = np.zeros_like(code)
    cap = min(problem.n_neurons, LARGEST_BLOCK)
    synapses = [np.ascontiguousarray(p.atoms.T) for p in problem.inputs]

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        bound = slice(0, 1) if len(up) == 1 else rows
        for p, phi in zip(problem.inputs, synapses, strict=True):
            weight = problem.dtype.type(p.weight)
            add_drive(p.stimulus[rows], phi, weight, total[rows], np.zeros(last - first))
        total[rows] += problem.current[rows if len(problem.current) > 1 else slice(0, 1)]
        settle_hard_rows(
            total[rows], problem.gram, k, up[bound], down[bound], lam, tol, max_iter, cap,
            code[rows], reports[rows],
        )  # fmt: skip

    over_blocks(work, problem.n_samples)
    return Response(code, reports[:, 1], None, reports[:, 2].astype(np.int64))


def _hard_thresholds(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """What the potential of neuron j must exceed to fire upwards and downwards."""
    lam = problem.transfer.threshold
    up = np.full((1, problem.n_neurons), lam)
    down = up if problem.transfer.two_sided else np.full_like(up, np.inf)
    if problem.allowed is not None:
        up = np.where(problem.allowed, up, np.inf)
        down = np.where(problem.allowed, down, np.inf)
    return np.ascontiguousarray(up, problem.dtype), np.ascontiguousarray(down, problem.dtype)


def _thresholds(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """What neuron j must exceed to fire upwards and downwards, its current counted."""
    assert isinstance(problem.transfer, SoftThreshold)
    lam = problem.transfer.threshold
    up = lam - problem.current
    down = lam + problem.current if problem.transfer.two_sided else np.full_like(up, np.inf)
    if problem.allowed is not None:
        up = np.where(problem.allowed, up, np.inf)
        down = np.where(problem.allowed, down, np.inf)
    return np.ascontiguousarray(up, problem.dtype), np.ascontiguousarray(down, problem.dtype)

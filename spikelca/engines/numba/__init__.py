"""The fast engine: kernels as free functions on arrays, compiled by Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import Engine, Problem, Response
from spikelca.engines.numba.active_set import settle_rows
from spikelca.engines.numba.drive import add_drive
from spikelca.engines.numba.threads import over_blocks
from spikelca.transfer import SoftThreshold
from spikelca.validation import FloatArray

STRICT = 1e-6
"""Below this tolerance a code is wanted to the last digits: the residual must reach it too."""

LARGEST_BLOCK = 512
"""Active neurons of one sample that the active set keeps; beyond, coordinate descent."""


class NumbaEngine(Engine):
    """Compiled kernels over blocks of samples, one thread a block."""

    name = "numba"

    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """The fixed point: an active set for soft, followed dynamics for hard thresholds."""
        if tol < STRICT and problem.dtype == np.float32:
            return _narrowed(self.settle(_widened(problem), tol, max_iter))
        return _settle_soft(problem, tol, max_iter)

    def simulate(self, problem: Problem) -> Response:
        raise NotImplementedError


def _settle_soft(problem: Problem, tol: float, max_iter: int) -> Response:
    up, down = _thresholds(problem)
    weakest = np.minimum(up.min(axis=1), down.min(axis=1)).astype(np.float64)
    lam = problem.transfer.threshold
    code = np.zeros((problem.n_samples, problem.n_neurons), problem.dtype)
    if problem.start is not None:
        code[:] = problem.start["a"]
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

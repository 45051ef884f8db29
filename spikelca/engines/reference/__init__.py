"""The executable specification: plain NumPy, one line of code for each line of the equations.

Slow on purpose. When another engine disagrees with this one, this one and the law (KKT, energy)
decide.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import Engine, Problem, Response
from spikelca.engines.outcome import certificates
from spikelca.engines.reference.simulate import simulate
from spikelca.validation import FloatArray


class ReferenceEngine(Engine):
    """Plain loops over time, all samples side by side."""

    name = "reference"

    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """Follow the rate equations at a safe step until every sample has its certificate."""
        b, k = problem.drive(), problem.dtype.type(problem.coupling.automatic_step)
        total = b + problem.current.astype(problem.dtype)
        u = np.zeros_like(total)
        if problem.start is not None:
            u += problem.transfer.inverse(problem.start["a"])
        n_iter = np.zeros(problem.n_samples, dtype=np.int64)
        open_ = np.arange(problem.n_samples)
        for step in range(max_iter):
            a = _output(problem, u, open_)
            u[open_] += k * (total[open_] - a @ problem.lateral - u[open_])
            n_iter[open_] = step + 1
            if step % 50 == 49:
                open_ = open_[~_settled(problem, b, _output(problem, u, open_), tol, open_)]
                if open_.size == 0:
                    break
        a = _output(problem, u, np.arange(problem.n_samples))
        residual, gap = certificates(problem, b, a)
        return Response(a, residual, gap, n_iter, state={"u": u})

    def simulate(self, problem: Problem) -> Response:
        """Forward Euler, step by step, in the order that `spikelca.engines.base` lays down."""
        return simulate(problem)


def _output(problem: Problem, u: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
    a = problem.transfer(u[rows] if len(rows) != len(u) else u)
    return a if problem.allowed is None else np.where(problem.allowed[rows], a, a.dtype.type(0))


def _settled(
    problem: Problem, b: FloatArray, code: FloatArray, tol: float, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    part = _rows(problem, rows)
    residual, gap = certificates(part, b[rows], code)
    # Where there is no gap (hard threshold, or a current above the threshold) the residual decides.
    if gap is not None:
        return np.asarray((residual <= tol) & ~(gap > tol))
    return np.asarray(residual <= tol)


def _rows(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    n = problem.n_samples
    return replace(
        problem,
        inputs=tuple(replace(p, stimulus=p.stimulus[rows]) for p in problem.inputs),
        current=problem.current[rows] if len(problem.current) == n else problem.current,
        allowed=None if problem.allowed is None else problem.allowed[rows],
        offset=None if problem.offset is None else problem.offset[rows],
    )

"""The executable specification: plain NumPy, one line of code for each line of the equations.

Slow on purpose. When another engine disagrees with this one, this one and the law (KKT, energy)
decide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelca.certificate import fixed_point_residual, relative_gap
from spikelca.engines.base import Engine, Problem, Response
from spikelca.spectrum import automatic_step
from spikelca.transfer import SoftThreshold
from spikelca.validation import FloatArray


class ReferenceEngine(Engine):
    """Plain loops over time, all samples side by side."""

    name = "reference"

    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """Follow the rate equations at a safe step until every sample has its certificate."""
        b, k = problem.drive(), problem.dtype.type(automatic_step(problem.gram))
        total = b + problem.current.astype(problem.dtype)
        u = np.zeros_like(total)
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
        """Forward Euler of the rate neuron."""
        self.require_rate(problem)
        assert problem.clock is not None
        every = np.arange(problem.n_samples)
        k = problem.dtype.type(problem.clock.dt / problem.neuron.tau)
        b, L = problem.drive(), problem.lateral
        u = start_of(problem, "u")
        traces: dict[str, list[FloatArray]] = {name: [] for name in problem.record.names}
        place = np.ix_(problem.record.samples, problem.record.neurons)
        for step in range(problem.clock.n_steps):
            a = _output(problem, u, every)
            total = b + current_at(problem, step)
            if step % problem.record.every == 0:
                state = {"u": u, "a": a, "current": np.broadcast_to(total - b, u.shape)}
                for name, values in traces.items():
                    values.append(state[name][place])
            u = k * (total - a @ L - u) + u
        a = _output(problem, u, every)
        residual, gap = certificates(problem, b, a)
        return Response(
            a,
            residual,
            gap,
            np.full(problem.n_samples, problem.clock.n_steps),
            state={"u": u},
            traces={name: np.array(values) for name, values in traces.items()},
            times=problem.clock.times[:: problem.record.every],
            clock=problem.clock,
        )


def start_of(problem: Problem, name: str) -> FloatArray:
    """A copy of the state to start from; rest (zeros) unless the problem brings one."""
    if problem.start is not None and name in problem.start:
        return np.array(problem.start[name], dtype=problem.dtype)
    return np.zeros((problem.n_samples, problem.n_neurons), dtype=problem.dtype)


def current_at(problem: Problem, step: int) -> FloatArray:
    """d at a step: (1 or n_samples, n_neurons)."""
    current = problem.current.astype(problem.dtype)
    return current if problem.waveform is None else current + problem.waveform[step]


def _output(problem: Problem, u: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
    a = problem.transfer(u[rows] if len(rows) != len(u) else u)
    return a if problem.allowed is None else np.where(problem.allowed[rows], a, a.dtype.type(0))


def certificates(
    problem: Problem, b: FloatArray, code: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Fixed-point residual and (soft threshold) relative duality gap of each sample."""
    residual = fixed_point_residual(
        problem.transfer, b + problem.current, problem.gram, code, problem.allowed
    )
    if not isinstance(problem.transfer, SoftThreshold):
        return residual, None
    gap = relative_gap(
        problem.transfer,
        b,
        problem.gram,
        code,
        problem.stimulus_energy(),
        problem.current,
        problem.allowed,
    )
    return residual, gap


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
    from dataclasses import replace

    n = problem.n_samples
    return replace(
        problem,
        inputs=tuple(replace(p, stimulus=p.stimulus[rows]) for p in problem.inputs),
        current=problem.current[rows] if len(problem.current) == n else problem.current,
        allowed=None if problem.allowed is None else problem.allowed[rows],
        offset=None if problem.offset is None else problem.offset[rows],
    )

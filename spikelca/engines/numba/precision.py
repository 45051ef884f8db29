"""Some samples of a problem again in float64: for those that float32 cannot finish."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.certificate import deciding
from spikelca.engines.base import Coupling, Problem, Response


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

"""The fast engine: kernels as free functions on arrays, compiled by Numba."""

from __future__ import annotations

from spikelca.engines.base import Engine
from spikelca.engines.numba.encode.solve import encode
from spikelca.engines.numba.simulate.online import learn_online
from spikelca.engines.numba.simulate.run import run_numba
from spikelca.engines.online import OnlineResult, OnlineRule
from spikelca.engines.problem import Problem
from spikelca.engines.response import Response


class NumbaEngine(Engine):
    """Compiled kernels over blocks of samples, one thread a block."""

    name = "numba"

    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """The fixed point of the circuit, by an active set where the threshold is soft."""
        return encode(problem, tol, max_iter)

    def simulate(self, problem: Problem) -> Response:
        """The time-stepped equations, sample by sample."""
        return run_numba(problem)

    def learn_online(self, problem: Problem, rule: OnlineRule) -> OnlineResult:
        """The time-stepped equations with plastic synapses, one sample after the other."""
        return learn_online(problem, rule)

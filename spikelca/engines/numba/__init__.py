"""The fast engine: kernels as free functions on arrays, compiled by Numba."""

from __future__ import annotations

from spikelca.engines.base import Engine, Problem, Response
from spikelca.engines.numba.plastic import learn
from spikelca.engines.numba.settle import settle
from spikelca.engines.numba.simulate import simulate
from spikelca.engines.plastic import Stream, StreamRule


class NumbaEngine(Engine):
    """Compiled kernels over blocks of samples, one thread a block."""

    name = "numba"

    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """The fixed point of the circuit, by an active set where the threshold is soft."""
        return settle(problem, tol, max_iter)

    def simulate(self, problem: Problem) -> Response:
        """The time-stepped equations, sample by sample."""
        return simulate(problem)

    def learn(self, problem: Problem, rule: StreamRule) -> Stream:
        """The time-stepped equations with plastic synapses, one sample after the other."""
        return learn(problem, rule)

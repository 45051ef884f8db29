"""The fast engine: kernels on arrays, compiled by Numba."""

from __future__ import annotations

from spikelca.engines.base import Engine
from spikelca.engines.numba.encode.solve import encode
from spikelca.engines.numba.simulate.online import learn_online
from spikelca.engines.numba.simulate.run import run_numba
from spikelca.engines.online import OnlineResult, OnlineRule
from spikelca.engines.problem import Problem
from spikelca.engines.response import Response
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold


class NumbaEngine(Engine):
    """Compiled kernels on blocks of samples, in parallel threads."""

    name = "numba"
    neurons = (RateNeuron, SpikingNeuron)
    transfers = (SoftThreshold, HardThreshold)
    input_kinds = (AnalogInput, PoissonInput, SpikingResidual)

    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """Compute the steady-state codes, for a soft threshold by an active-set method."""
        return encode(problem, tol, max_iter)

    def simulate(self, problem: Problem) -> Response:
        """Integrate the equations of the circuit over time, sample by sample."""
        return run_numba(problem)

    def learn_online(self, problem: Problem, rule: OnlineRule) -> OnlineResult:
        """Simulate with plastic synapses, one sample after the other."""
        return learn_online(problem, rule)

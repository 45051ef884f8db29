"""The Numba engine: compiled kernels on arrays, in parallel threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spikelca.engines.base import Engine
from spikelca.engines.numba.encode.solve import (
    merge_response,
    solve_active_set,
    solve_exact_active_set,
    solve_hard_threshold,
    unconverged,
)
from spikelca.engines.numba.simulate.online import learn_online
from spikelca.engines.numba.simulate.run import (
    allocate_run,
    make_response,
    run_rate_lateral,
    run_rate_residual,
    run_spiking_lateral,
    run_spiking_residual,
    simulate_parts,
)
from spikelca.engines.online import OnlineResult, OnlineRule
from spikelca.engines.problem import Problem
from spikelca.engines.response import Response
from spikelca.metrics import STRICT_TOL, converged
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
        is_soft = isinstance(problem.transfer, SoftThreshold)
        solve = solve_active_set if is_soft else solve_hard_threshold
        # The tolerance is below the precision of float32.
        solved = problem.astype(np.float64) if tol < STRICT_TOL else problem
        response = solve(solved, tol, max_iter)
        if not converged(response.residual, response.gap, tol):
            pending = unconverged(response, tol)
            if is_soft:
                pending = pending[np.asarray(response.n_iter)[pending] < max_iter]
                remaining = solved.select(pending).astype(np.float64)
                update = solve_exact_active_set(remaining, response, pending, tol, max_iter)
                merge_response(update, response, pending)
            elif solved.dtype == np.float32:
                remaining = solved.select(pending).astype(np.float64)
                update = solve_hard_threshold(remaining, tol, max_iter)
                merge_response(update, response, pending)
        return replace(response, code=response.code.astype(problem.dtype, copy=False))

    def simulate(self, problem: Problem) -> Response:
        """Integrate the equations of the circuit over time, sample by sample, in parts."""
        run, is_spiking = allocate_run(problem), isinstance(problem.neuron, SpikingNeuron)
        if problem.residual_wiring:
            simulate_rows = run_spiking_residual if is_spiking else run_rate_residual
        else:
            simulate_rows = run_spiking_lateral if is_spiking else run_rate_lateral
        simulate_parts(run, simulate_rows)
        return make_response(run)

    def learn_online(self, presentations: Sequence[Problem], rule: OnlineRule) -> OnlineResult:
        """Simulate with plastic synapses, one sample after the other."""
        return learn_online(presentations, rule)

"""Plastic synapses in the fast engine: one image after the other through one circuit."""

from __future__ import annotations

import numpy as np

from spikelca.engines.numba.simulate.run import (
    RunArrays,
    allocate_run,
    final_state,
    run_rate_residual,
    run_spiking_residual,
)
from spikelca.engines.online import (
    OnlineResult,
    OnlineRule,
    end_presentation,
    make_result,
    mean_activity,
    presented,
    spike_learning_rates,
    squared_errors,
)
from spikelca.engines.problem import Problem
from spikelca.engines.response import Spikes
from spikelca.model.neurons import SpikingNeuron


def learn_online(problem: Problem, rule: OnlineRule) -> OnlineResult:
    """Present every sample in turn, without a reset, and learn from each."""
    n, neuron, run = problem.n_samples, problem.neuron, allocate_run(presented(problem, 0))
    spiking = isinstance(neuron, SpikingNeuron)
    outputs = np.zeros((n, problem.n_neurons))
    weighed = np.zeros((n, problem.n_neurons), np.int64)
    weights = [run.phi[first:last] for first, last in _input_ranges(run)]
    errors, logs = [], []
    for sample in range(n):
        load_sample(run, problem, sample)
        if isinstance(neuron, SpikingNeuron):
            run_spiking_residual(run, 0, 1, spike_learning_rates(problem, rule))
            logs.append(run.logs[0])
        else:
            run_rate_residual(run, 0, 1)
        r = [run.state["r"][0, first:last] for first, last in _input_ranges(run)]
        outputs[sample], weighed[sample] = run.code[0], run.weighed[0]
        errors.append(squared_errors(r))
        a = mean_activity(problem, run.code[0], run.totals[0])
        rule = end_presentation(problem, rule, weights, r, a)
    spikes = None
    if spiking:
        both = np.concatenate(logs)
        sample_of = np.repeat(np.arange(n), [len(log) for log in logs])
        spikes = Spikes(sample_of, both[:, 1], both[:, 0])
    return make_result(problem, rule, weights, outputs, weighed, errors, final_state(run), spikes)


def load_sample(run: RunArrays, problem: Problem, sample: int) -> None:
    """Swap the image, the currents and the clamps."""
    run.x[0] = np.concatenate([p.constant_input[sample] for p in problem.inputs])
    run.current[0] = problem.current[sample if len(problem.current) > 1 else 0]
    run.open_[0] = 1.0 if problem.allowed is None else problem.allowed[sample]
    for tally in (run.weighed, run.counts, run.totals):
        tally[:] = 0


def _input_ranges(run: RunArrays) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(run.edges[:-1], run.edges[1:], strict=True)]

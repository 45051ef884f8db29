"""Learning in simulation with the Numba engine: one sample after the other, without a reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

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
    spike_learning_rates,
    squared_errors,
)
from spikelca.engines.problem import Problem
from spikelca.engines.response import Spikes
from spikelca.model.neurons import SpikingNeuron

FIRST_ROW = slice(0, 1)
"""The only row of the arrays, which contain one sample at a time."""


def learn_online(presentations: Sequence[Problem], rule: OnlineRule) -> OnlineResult:
    """Present all samples one after the other, see `Engine.learn_online`."""
    problem, n = presentations[0], len(presentations)
    run, neuron = allocate_run(problem), problem.neuron
    outputs = np.zeros((n, problem.n_neurons))
    weighted_counts = np.zeros((n, problem.n_neurons), np.int64)
    weights = [run.phi[start:stop] for start, stop in _input_ranges(run)]
    errors, spike_logs = [], []
    for sample, presentation in enumerate(presentations):
        run = load_presentation(run, presentation)
        if isinstance(neuron, SpikingNeuron):
            rates = spike_learning_rates(problem, rule)
            run_spiking_residual(run, FIRST_ROW, learning_rates=rates)
            spike_logs.append(run.spike_logs[0])
        else:
            run_rate_residual(run, FIRST_ROW)
        r = [run.state["r"][0, start:stop] for start, stop in _input_ranges(run)]
        outputs[sample], weighted_counts[sample] = run.code[0], run.weighted_counts[0]
        errors.append(squared_errors(r))
        a = mean_activity(problem, run.code[0], run.totals[0])
        rule = end_presentation(problem, rule, weights, r, a)
    spikes = None
    if isinstance(neuron, SpikingNeuron):
        events = np.concatenate(spike_logs)
        samples = np.repeat(np.arange(n), [len(log) for log in spike_logs])
        spikes = Spikes(samples, events[:, 1], events[:, 0])
    return make_result(
        problem, rule, weights, outputs, weighted_counts, errors, final_state(run), spikes
    )


def load_presentation(run: RunArrays, problem: Problem) -> RunArrays:
    """Return the run with stimulus, currents and clamps of a presentation, and reset counters."""
    run.x[0] = np.concatenate([p.constant_input[0] for p in problem.inputs])
    run.current[0] = problem.current[0]
    run.allowed[0] = 1.0 if problem.allowed is None else problem.allowed[0]
    for counter in (run.weighted_counts, run.counts, run.totals):
        counter[:] = 0
    return replace(run, problem=problem)


def _input_ranges(run: RunArrays) -> list[tuple[int, int]]:
    offsets = run.input_offsets.tolist()
    return list(pairwise(offsets))

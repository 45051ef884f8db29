"""Learning in simulation with the Numba engine: one sample after the other, without a reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from spikelca.engines.numba.simulate.run import (
    RunArrays,
    allocate_run,
    allocate_traces,
    collect_traces,
    final_state,
    part_lengths,
    run_rate_residual,
    run_spiking_residual,
)
from spikelca.engines.online import (
    OnlineResult,
    OnlineRule,
    PresentationLog,
    end_presentation,
    make_result,
    mean_activity,
    read_code,
    spike_learning_rates,
    squared_errors,
    weight_traces,
)
from spikelca.engines.problem import Problem
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.progress import show_progress
from spikelca.utils.validation import FloatArray

FIRST_ROW = slice(0, 1)
"""The only row of the arrays, which contain one sample at a time."""


def learn_online(presentations: Sequence[Problem], rule: OnlineRule) -> OnlineResult:
    """Present all samples one after the other, see `Engine.learn_online`."""
    problem, log = presentations[0], PresentationLog()
    run, is_spiking = allocate_run(problem), isinstance(problem.neuron, SpikingNeuron)
    weights = [run.phi[start:stop] for start, stop in _input_ranges(run)]
    with show_progress(len(presentations), "learn", "presentation") as update:
        for presentation in presentations:
            run = load_presentation(run, presentation)
            # The synapses of rate neurons change at the end of a presentation only.
            before = [phi.copy() for phi in weights] if is_spiking else weights
            snapshots = run_presentation(run, rule, weights)
            code = read_code(problem, run.code[0], run.weighted_counts[0]).copy()
            log.codes.append(code)
            log.before.append(squared_errors(presentation, before, code))
            if len(presentation.record.samples):
                traces = {name: trace[:, 0] for name, trace in collect_traces(run).items()}
                log.add_traces(presentation, traces | weight_traces(presentation, snapshots))
            if run.spike_logs:
                log.spikes.append(np.concatenate(run.spike_logs.pop(0)))
            r = [run.state["r"][0, start:stop] for start, stop in _input_ranges(run)]
            a = mean_activity(problem, run.code[0], run.totals[0])
            rule = end_presentation(problem, rule, weights, r, a)
            log.after.append(squared_errors(presentation, weights, code))
            update(1)
    return make_result(problem, rule, weights, final_state(run), log)


def run_presentation(
    run: RunArrays, rule: OnlineRule, weights: Sequence[FloatArray]
) -> list[list[FloatArray]]:
    """Simulate a presentation; return the weights at each recorded step, if they are recorded."""
    problem, snapshots = run.problem, []
    is_spiking = isinstance(problem.neuron, SpikingNeuron)
    rates = spike_learning_rates(problem, rule) if is_spiking else None
    parts = list(part_lengths(problem))
    records_weights = "weights" in problem.record.names and len(problem.record.samples) > 0
    if records_weights:
        every, n_steps = problem.record.every, problem.n_steps
        parts = [(first, min(every, n_steps - first)) for first in range(0, n_steps, every)]
    for first, n_steps in parts:
        if records_weights:
            snapshots.append([phi.copy() for phi in weights])
        part = run.part(first, n_steps)
        if rates is None:
            run_rate_residual(part, FIRST_ROW)
        else:
            run_spiking_residual(part, FIRST_ROW, rates)
    return snapshots


def load_presentation(run: RunArrays, problem: Problem) -> RunArrays:
    """Return the run with stimulus, currents, clamps and traces of a presentation.

    Counters are reset, and the state continues.
    """
    run.x[0] = np.concatenate([p.constant_input[0] for p in problem.inputs])
    run.current[0] = problem.current[0]
    run.allowed[0] = 1.0 if problem.allowed is None else problem.allowed[0]
    for counter in (run.weighted_counts, run.counts, run.totals):
        counter[:] = 0
    traces, trace_indices = allocate_traces(problem, run.phi.shape[0])
    return replace(run, problem=problem, traces=traces, trace_indices=trace_indices)


def _input_ranges(run: RunArrays) -> list[tuple[int, int]]:
    offsets = run.input_offsets.tolist()
    return list(pairwise(offsets))

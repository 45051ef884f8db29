"""Plastic synapses in the fast engine: one image after the other through one circuit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikelca.engines.base import Problem, Spikes
from spikelca.engines.numba.simulate import (
    Run,
    prepare,
    rate_by_residual,
    spike_residual,
    state_of,
)
from spikelca.engines.plastic import (
    Stream,
    between_presentations,
    event_rates,
    shown,
    squared,
    stream_of,
)
from spikelca.neurons import SpikingNeuron


def learn(problem: Problem, rates: Sequence[float]) -> Stream:
    """Present every sample in turn, without a reset, and learn from each."""
    n, neuron, run = problem.n_samples, problem.neuron, prepare(shown(problem, 0))
    spiking = isinstance(neuron, SpikingNeuron)
    outputs = np.zeros((n, problem.n_neurons))
    counts = np.zeros((n, problem.n_neurons), np.int64)
    weights = [run.phi[first:last] for first, last in _edges(run)]
    errors, logs = [], []
    for sample in range(n):
        show(run, problem, sample)
        if isinstance(neuron, SpikingNeuron):
            spike_residual(run, 0, 1, event_rates(problem, rates) * neuron.quantum)
            logs.append(run.logs[0])
        else:
            rate_by_residual(run, 0, 1)
        r = [run.state["r"][0, first:last] for first, last in _edges(run)]
        outputs[sample], counts[sample] = run.code[0], run.counts[0]
        errors.append(squared(r))
        between_presentations(problem, rates, weights, r, run.code[0])
    spikes = None
    if spiking:
        both = np.concatenate(logs)
        sample_of = np.repeat(np.arange(n), [len(log) for log in logs])
        spikes = Spikes(sample_of, both[:, 1], both[:, 0])
    return stream_of(problem, weights, outputs, counts, errors, state_of(run), spikes)


def show(run: Run, problem: Problem, sample: int) -> None:
    """Swap the image, the currents and the clamps."""
    run.x[0] = np.concatenate([p.steady[sample] for p in problem.inputs])
    run.current[0] = problem.current[sample if len(problem.current) > 1 else 0]
    run.open_[0] = 1.0 if problem.allowed is None else problem.allowed[sample]
    run.counts[:] = 0


def _edges(run: Run) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(run.edges[:-1], run.edges[1:], strict=True)]

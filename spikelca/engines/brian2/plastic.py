"""Plastic synapses in Brian2: one run, in which the image is swapped at each boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelca.engines.base import Problem, Spikes
from spikelca.engines.brian2.build import build
from spikelca.engines.brian2.live import BrianCircuit
from spikelca.engines.brian2.quiet import load, settings
from spikelca.engines.outcome import output
from spikelca.engines.plastic import (
    Stream,
    between_presentations,
    event_rates,
    shown,
    squared,
    stream_of,
)
from spikelca.neurons import SpikingNeuron
from spikelca.validation import FloatArray


def learn(problem: Problem, rates: Sequence[float], code: Any) -> Stream:
    """Present every sample in turn, without a reset, and learn from each."""
    assert problem.clock is not None
    circuit = build(shown(problem, 0), code)
    circuit.start_from(problem.start or {})
    if isinstance(problem.neuron, SpikingNeuron):
        for p, eta in zip(problem.inputs, event_rates(problem, rates), strict=True):
            circuit.synapses[p.name].variables["eta"].get_value()[:] = eta
    course = Course(circuit, problem, rates)
    brian2 = load()
    with settings():
        boundary = brian2.NetworkOperation(
            course.boundary,
            dt=problem.n_steps * problem.clock.dt * brian2.second,
            when="start",
            name="spikelca_boundary*",
        )
    circuit.add(boundary)
    circuit.run(problem.n_samples * problem.n_steps * problem.clock.dt)
    course.boundary()
    return course.stream()


class Course:
    """What happens at the boundaries of the presentations, and what was seen there."""

    def __init__(self, circuit: BrianCircuit, problem: Problem, rates: Sequence[float]) -> None:
        self.circuit = circuit
        self.problem = problem
        self.rates = rates
        self.done = -1
        self.outputs = np.zeros((problem.n_samples, problem.n_neurons))
        self.errors: list[list[float]] = []

    def weights(self) -> list[FloatArray]:
        """Live views of Phi: (n_inputs, n_neurons) each."""
        return [self.circuit.weights(p.name)[0] for p in self.problem.inputs]

    def boundary(self) -> None:
        """Learn from the image that was shown, then swap it."""
        if self.done >= 0:
            r = [self.circuit.array(f"r:{p.name}")[0] for p in self.problem.inputs]
            a = output(shown(self.problem, self.done), self.membrane())[0]
            self.outputs[self.done] = a
            self.errors.append(squared(r))
            between_presentations(self.problem, self.rates, self.weights(), r, a)
        self.done += 1
        if self.done < self.problem.n_samples:
            self.circuit.present(shown(self.problem, self.done))

    def membrane(self) -> FloatArray:
        """u, from the state and the weights as they are now: (1, n_neurons)."""
        total: Any = None
        for p, phi in zip(self.problem.inputs, self.weights(), strict=True):
            feed = np.zeros(self.problem.n_neurons)
            for r, row in zip(self.circuit.array(f"r:{p.name}")[0], phi, strict=True):
                feed += r * row
            total = p.weight * feed if total is None else total + p.weight * feed
        return np.asarray(total + self.circuit.array("s"))

    def stream(self) -> Stream:
        """The result, once all images were shown."""
        problem, n = self.problem, self.problem.n_samples
        state = {name: self.circuit.array(name).copy() for name in problem.state_widths()}
        counts, spikes = np.zeros((n, problem.n_neurons), np.int64), None
        if isinstance(problem.neuron, SpikingNeuron):
            _, neuron, step = self.circuit.spikes()
            spikes = Spikes(step // problem.n_steps, neuron, step % problem.n_steps)
            counts = spikes.counts(n, problem.n_neurons, problem.counted_from)
        return stream_of(problem, self.weights(), self.outputs, counts, self.errors, state, spikes)

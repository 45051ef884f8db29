"""Plastic synapses in Brian2: one run, in which the image is swapped at each boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.brian2.build import build_network
from spikelca.engines.brian2.equations import suffix
from spikelca.engines.brian2.live import Brian2Circuit
from spikelca.engines.brian2.session import import_brian2, use_preferences
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
from spikelca.engines.postprocess import compute_output
from spikelca.engines.problem import Problem
from spikelca.engines.response import Spikes
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray


def learn_online(problem: Problem, rule: OnlineRule, code: Any) -> OnlineResult:
    """Present every sample in turn, without a reset, and learn from each."""
    assert problem.clock is not None
    circuit = build_network(presented(problem, 0), code)
    circuit.set_state(problem.start or {})
    course = OnlineRun(circuit, problem, rule)
    brian2 = import_brian2()
    with use_preferences():
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


class OnlineRun:
    """What happens at the boundaries of the presentations, and what was seen there."""

    def __init__(self, circuit: Brian2Circuit, problem: Problem, rule: OnlineRule) -> None:
        self.circuit = circuit
        self.problem = problem
        self.rule = rule
        self.done = -1
        self.fired = np.zeros(problem.n_neurons, np.int64)
        self.outputs = np.zeros((problem.n_samples, problem.n_neurons))
        self.errors: list[list[float]] = []

    def weights(self) -> list[FloatArray]:
        """Live views of Phi: (n_inputs, n_neurons) each."""
        return [self.circuit.weights(p.name)[0] for p in self.problem.inputs]

    def boundary(self) -> None:
        """Learn from the image that was shown, then swap it."""
        if self.done >= 0:
            r = [self.circuit.variable(f"r:{p.name}")[0] for p in self.problem.inputs]
            a = compute_output(presented(self.problem, self.done), self.membrane())[0]
            self.outputs[self.done] = a
            self.errors.append(squared_errors(r))
            self.rule = end_presentation(
                self.problem,
                self.rule,
                self.weights(),
                r,
                mean_activity(self.problem, a, self.since()),
            )
        self.done += 1
        if self.done < self.problem.n_samples:
            self.circuit.set_stimuli(presented(self.problem, self.done))
            self.set_steps()

    def since(self) -> NDArray[np.int64]:
        """Spikes of each neuron since this was asked for the last time."""
        if "spikes" not in self.circuit.monitors:
            return self.fired
        before = self.fired
        self.fired = np.array(self.circuit.monitors["spikes"].count[:], np.int64)
        return self.fired - before

    def set_steps(self) -> None:
        """Tell every spiking neuron how far its synapses go on a spike."""
        if isinstance(self.problem.neuron, SpikingNeuron):
            for i, steps in enumerate(spike_learning_rates(self.problem, self.rule)):
                self.circuit.variable(f"eta_{suffix(self.problem, i)}")[:] = steps

    def membrane(self) -> FloatArray:
        """u, from the state and the weights as they are now: (1, n_neurons)."""
        total: Any = None
        for p, phi in zip(self.problem.inputs, self.weights(), strict=True):
            feed = np.zeros(self.problem.n_neurons)
            for r, row in zip(self.circuit.variable(f"r:{p.name}")[0], phi, strict=True):
                feed += r * row
            total = p.weight * feed if total is None else total + p.weight * feed
        return np.asarray(total + self.circuit.variable("s"))

    def stream(self) -> OnlineResult:
        """The result, once all images were shown."""
        problem, n = self.problem, self.problem.n_samples
        state = {name: self.circuit.variable(name).copy() for name in problem.state_widths()}
        weighed, spikes = np.zeros((n, problem.n_neurons), np.int64), None
        if isinstance(problem.neuron, SpikingNeuron):
            _, neuron, step = self.circuit.spikes()
            spikes = Spikes(step // problem.n_steps, neuron, step % problem.n_steps)
            weighed = spikes.weighted_counts(n, problem.n_neurons, problem.taper)
        weights, outputs = self.weights(), self.outputs
        return make_result(
            problem, self.rule, weights, outputs, weighed, self.errors, state, spikes
        )

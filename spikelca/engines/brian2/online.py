"""Learning in simulation with Brian2: one run, with a new sample after each presentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    spike_learning_rates,
    squared_errors,
)
from spikelca.engines.postprocess import compute_output
from spikelca.engines.problem import Problem
from spikelca.engines.response import Spikes
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray


def learn_online(presentations: Sequence[Problem], rule: OnlineRule, code: Any) -> OnlineResult:
    """Present all samples one after the other, see `Engine.learn_online`."""
    problem, waveform = presentations[0], None
    assert problem.clock is not None
    if problem.waveform is not None:
        # A TimedArray cannot be replaced while the network runs.
        waveform = np.concatenate([each.waveform for each in presentations])
    circuit = build_network(replace(problem, waveform=waveform), code)
    circuit.set_state(problem.start or {})
    run = OnlineRun(circuit, presentations, rule)
    brian2 = import_brian2()
    with use_preferences():
        operation = brian2.NetworkOperation(
            run.end_presentation,
            dt=problem.n_steps * problem.clock.dt * brian2.second,
            when="start",
            name="spikelca_boundary*",
        )
    circuit.add(operation)
    circuit.run(len(presentations) * problem.n_steps * problem.clock.dt)
    run.end_presentation()
    return run.result()


class OnlineRun:
    """The update between presentations, called by Brian2, and the values that it records."""

    def __init__(
        self, circuit: Brian2Circuit, presentations: Sequence[Problem], rule: OnlineRule
    ) -> None:
        self.circuit = circuit
        self.presentations = presentations
        self.problem = presentations[0]
        self.rule = rule
        self.presentation = -1
        self.previous_counts = np.zeros(self.problem.n_neurons, np.int64)
        self.outputs = np.zeros((len(presentations), self.problem.n_neurons))
        self.errors: list[list[float]] = []

    def weights(self) -> list[FloatArray]:
        """Return live views of Phi: (n_inputs, n_neurons) each."""
        return [self.circuit.weights(p.name)[0] for p in self.problem.inputs]

    def end_presentation(self) -> None:
        """Update the synapses after a presentation, then set the next sample."""
        if self.presentation >= 0:
            r = [self.circuit.variable(f"r:{p.name}")[0] for p in self.problem.inputs]
            a = compute_output(self.presentations[self.presentation], self.membrane())[0]
            self.outputs[self.presentation] = a
            self.errors.append(squared_errors(r))
            self.rule = end_presentation(
                self.problem,
                self.rule,
                self.weights(),
                r,
                mean_activity(self.problem, a, self.new_spike_counts()),
            )
        self.presentation += 1
        if self.presentation < len(self.presentations):
            self.circuit.set_problem(self.presentations[self.presentation])
            self.set_learning_rates()

    def new_spike_counts(self) -> NDArray[np.int64]:
        """Count the spikes of each neuron since the previous call."""
        if "spikes" not in self.circuit.monitors:
            return self.previous_counts
        previous = self.previous_counts
        self.previous_counts = np.array(self.circuit.monitors["spikes"].count[:], np.int64)
        return self.previous_counts - previous

    def set_learning_rates(self) -> None:
        """Set the learning rates per spike."""
        if isinstance(self.problem.neuron, SpikingNeuron):
            for i, eta in enumerate(spike_learning_rates(self.problem, self.rule)):
                self.circuit.variable(f"eta_{suffix(self.problem, i)}")[:] = eta

    def membrane(self) -> FloatArray:
        """Compute u from the present state and weights: (1, n_neurons)."""
        total: Any = None
        for p, phi in zip(self.problem.inputs, self.weights(), strict=True):
            feedforward = np.zeros(self.problem.n_neurons)
            for r, row in zip(self.circuit.variable(f"r:{p.name}")[0], phi, strict=True):
                feedforward += r * row
            total = p.weight * feedforward if total is None else total + p.weight * feedforward
        return np.asarray(total + self.circuit.variable("s"))

    def result(self) -> OnlineResult:
        """Make the result after the last presentation."""
        problem, n = self.problem, len(self.presentations)
        state = {name: self.circuit.variable(name).copy() for name in problem.state_widths()}
        weighted_counts, spikes = np.zeros((n, problem.n_neurons), np.int64), None
        if isinstance(problem.neuron, SpikingNeuron):
            _, neuron, step = self.circuit.spikes()
            spikes = Spikes(step // problem.n_steps, neuron, step % problem.n_steps)
            weighted_counts = spikes.weighted_counts(n, problem.n_neurons, problem.taper)
        weights, outputs = self.weights(), self.outputs
        return make_result(
            problem, self.rule, weights, outputs, weighted_counts, self.errors, state, spikes
        )

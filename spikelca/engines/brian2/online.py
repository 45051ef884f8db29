"""Learning in simulation with Brian2: one run, with a new sample after each presentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.brian2.build import build_network
from spikelca.engines.brian2.equations import suffix
from spikelca.engines.brian2.live import Brian2Circuit
from spikelca.engines.brian2.session import import_brian2, use_preferences
from spikelca.engines.currents import TimeVaryingCurrent
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
from spikelca.engines.postprocess import compute_output
from spikelca.engines.problem import Problem
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.progress import show_progress
from spikelca.utils.validation import FloatArray


def learn_online(presentations: Sequence[Problem], rule: OnlineRule, code: Any) -> OnlineResult:
    """Present all samples one after the other, see `Engine.learn_online`."""
    problem, waveform = presentations[0], None
    assert problem.clock is not None
    if problem.waveform is not None:
        # A TimedArray cannot be replaced while the network runs.
        waveforms = [each.waveform for each in presentations if each.waveform is not None]
        values = [each.values(0, problem.n_steps) for each in waveforms]
        waveform = TimeVaryingCurrent.from_array(np.concatenate(values))
    circuit = build_network(replace(problem, waveform=waveform), code)
    circuit.set_state(problem.start or {})
    run = OnlineRun(circuit, presentations, rule)
    brian2 = import_brian2()
    # Python code in each step only where state is recorded.
    interval = 1 if set(problem.record.names) - {"spikes"} else problem.n_steps
    with use_preferences():
        operation = brian2.NetworkOperation(
            partial(run.begin_steps, interval),
            dt=interval * problem.clock.dt * brian2.second,
            when="start",
            name="spikelca_boundary*",
        )
    circuit.add(operation)
    with show_progress(len(presentations), "learn", "presentation") as update:
        run.update_progress = update
        circuit.run(len(presentations) * problem.n_steps * problem.clock.dt)
    run.end_presentation()
    return make_result(problem, run.rule, run.weights(), run.state(), run.log)


class OnlineRun:
    """The update between presentations, called by Brian2, and the values that it records."""

    def __init__(
        self, circuit: Brian2Circuit, presentations: Sequence[Problem], rule: OnlineRule
    ) -> None:
        self.circuit = circuit
        self.presentations = iter(presentations)
        self.problem = next(self.presentations)
        self.rule = rule
        self.log = PresentationLog()
        self.update_progress: Callable[[int], None] = lambda n: None
        self.step = 0
        self.n_spikes = 0
        self.before: list[FloatArray] = []
        self.traces: dict[str, list[FloatArray]] = {}
        self.snapshots: list[list[FloatArray]] = []

    def weights(self) -> list[FloatArray]:
        """Return live views of Phi: (n_inputs, n_neurons) each."""
        return [self.circuit.weights(p.name)[0] for p in self.problem.inputs]

    def state(self) -> dict[str, FloatArray]:
        """Return a copy of the state variables."""
        return {name: self.circuit.variable(name).copy() for name in self.problem.state_widths()}

    def begin_steps(self, interval: int) -> None:
        """Act before a step, once in ``interval`` steps: next sample, and recording."""
        local = self.step % self.problem.n_steps
        if local == 0:
            if self.step:
                self.end_presentation()
                self.problem = next(self.presentations)
            self.begin_presentation()
        record = self.problem.record
        if len(record.samples) and local % record.every == 0:
            self.record_state()
        self.step += interval

    def begin_presentation(self) -> None:
        """Set the sample of a presentation."""
        self.circuit.set_problem(self.problem)
        self.set_learning_rates()
        self.before = [phi.copy() for phi in self.weights()]
        self.traces, self.snapshots = {}, []

    def end_presentation(self) -> None:
        """Update the synapses after a presentation, and log its results."""
        problem, log = self.problem, self.log
        r = [self.circuit.variable(f"r:{p.name}")[0] for p in problem.inputs]
        a, spikes = compute_output(problem, self.membrane())[0], self.new_spikes()
        totals = np.bincount(spikes[:, 1], minlength=problem.n_neurons)
        weighted = np.zeros(problem.n_neurons, np.int64)
        np.add.at(weighted, spikes[:, 1], problem.taper[spikes[:, 0]])
        code = read_code(problem, a, weighted)
        log.codes.append(code)
        log.spikes.append(spikes)
        log.before.append(squared_errors(problem, self.before, code))
        if len(problem.record.samples):
            traces = {name: np.array(rows) for name, rows in self.traces.items()}
            log.add_traces(problem, traces | weight_traces(problem, self.snapshots))
        activity = mean_activity(problem, a, totals)
        self.rule = end_presentation(problem, self.rule, self.weights(), r, activity)
        log.after.append(squared_errors(problem, self.weights(), code))
        self.update_progress(1)

    def record_state(self) -> None:
        """Record the state at the start of a step."""
        u, problem = self.membrane(), self.problem
        values = self.state() | {"u": u, "a": compute_output(problem, u)}
        for name, value in values.items():
            if name.split(":")[0] in problem.record.names:
                is_input = name[:2] == "r:"
                row = value[0] if is_input else value[0, problem.record.neurons]
                self.traces.setdefault(name, []).append(row.copy())
        if "weights" in problem.record.names:
            self.snapshots.append([phi.copy() for phi in self.weights()])

    def new_spikes(self) -> NDArray[np.int64]:
        """Return step and neuron of the spikes of this presentation: (n_spikes, 2)."""
        if "spikes" not in self.circuit.monitors:
            return np.zeros((0, 2), np.int64)
        variables = self.circuit.monitors["spikes"].variables
        neuron, time = (variables[name].get_value()[self.n_spikes :] for name in ("i", "t"))
        self.n_spikes += len(neuron)
        step = np.rint(time / self.circuit.clock.dt_).astype(np.int64) % self.problem.n_steps
        order = np.lexsort((neuron, step))
        return np.column_stack([step, neuron]).astype(np.int64)[order]

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

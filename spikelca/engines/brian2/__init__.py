"""The Brian2 engine: the same problem and results in a simulator with readable equations.

`equations.py` contains the equations, `build.py` makes Brian2 objects from them, and `live.py`
provides these objects to the user. Samples are simulated in batches. Brian2 is imported when the
engine is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import Engine
from spikelca.engines.brian2.build import build_network, count_input_spikes, network_bytes
from spikelca.engines.brian2.live import Brian2Circuit
from spikelca.engines.brian2.online import learn_online
from spikelca.engines.brian2.session import code_object_class
from spikelca.engines.online import OnlineResult, OnlineRule
from spikelca.engines.postprocess import (
    compute_membrane,
    compute_output,
    make_rate_response,
    make_spiking_response,
)
from spikelca.engines.problem import Problem
from spikelca.engines.response import RECORDABLE, Response, Spikes
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold
from spikelca.utils.progress import show_progress
from spikelca.utils.system import available_bytes, format_bytes
from spikelca.utils.validation import FloatArray, check_integer


def is_reusable(problem: Problem) -> bool:
    """Whether one set of objects can simulate all batches: no part depends on the sample."""
    is_shared_waveform = problem.waveform is None or problem.waveform.shape[1] == 1
    has_random_inputs = any(isinstance(p.input_kind, PoissonInput) for p in problem.inputs)
    has_traces = bool(set(problem.record.names) - {"spikes", "current"})
    return is_shared_waveform and not has_random_inputs and not has_traces


@dataclass(frozen=True)
class BatchResult:
    """The results of one batch; ``first`` is the index of its first sample."""

    first: int
    state: dict[str, FloatArray]
    traces: dict[str, FloatArray]
    spikes: Spikes | None
    input_counts: NDArray[np.int64]


def read_batch(circuit: Brian2Circuit, first: int) -> BatchResult:
    """Read state, traces and spikes of a batch; ``first`` is the index of its first sample."""
    problem = circuit.problem
    state = {name: circuit.variable(name).copy() for name in problem.state_widths()}
    traces = {
        name: trace_of(circuit, name)
        for name in circuit.monitors
        if name.split(":")[0] in RECORDABLE and name != "spikes"
    }
    input_counts = count_input_spikes(problem, circuit.monitors)
    if not isinstance(problem.neuron, SpikingNeuron):
        return BatchResult(first, state, traces, None, input_counts)
    sample, neuron, step = circuit.spikes()
    return BatchResult(first, state, traces, Spikes(sample + first, neuron, step), input_counts)


def make_report(update: Callable[[int], None], total: int) -> Callable[..., None]:
    """Make a report function of a Brian2 run that adds its progress to that of all batches."""
    done = 0

    def report(elapsed: Any, completed: float, start: Any, duration: Any) -> None:
        nonlocal done
        new = round(completed * total)
        update(new - done)
        done = new

    return report


def trace_of(circuit: Brian2Circuit, name: str) -> FloatArray:
    """Copy a recorded trace from its monitor: (n_times, n_recorded_samples, width).

    A view is not sufficient. From version 2.10 on, Brian2 frees recorded values with their monitor,
    even if arrays still refer to them, and in every version `restore` sets them to zero.

    Raises
    ------
    RuntimeError
        If the recorded steps of the monitor are not those of the problem.
    """
    problem, monitor = circuit.problem, circuit.monitors[name]
    values = np.array(monitor.variables[name.split(":")[0]].get_value())
    steps = np.rint(monitor.variables["t"].get_value() / circuit.clock.dt_).astype(np.int64)
    expected = np.arange(0, problem.n_steps, problem.record.every)
    if len(values) != len(expected) or not np.array_equal(steps, expected):
        raise RuntimeError(
            f"Brian2's monitor of {name!r} must have recorded {len(expected)} steps, "
            f"{problem.record.every} apart, got {len(values)} rows of values and the steps "
            f"{steps.tolist()[:5]}. Install another version of Brian2, or use engine='numba'."
        )
    return values.reshape(len(values), len(problem.record.samples), -1)


def concatenate_batches(problem: Problem, batches: list[BatchResult]) -> Response:
    """Concatenate the batches, and make the response."""
    state = {n: np.concatenate([b.state[n] for b in batches]) for n in batches[0].state}
    state["u"] = compute_membrane(problem, state)
    traces = {n: np.concatenate([b.traces[n] for b in batches], axis=1) for n in batches[0].traces}
    # Batches are in ascending order, but the recorded samples can be in any order.
    batch = np.searchsorted([b.first for b in batches], problem.record.samples, side="right")
    inverse_order = np.argsort(np.argsort(batch, kind="stable"))
    traces = {name: values[:, inverse_order] for name, values in traces.items()}
    if "current" in problem.record.names:
        traces["current"] = problem.recorded_current()
    if not isinstance(problem.neuron, SpikingNeuron):
        return make_rate_response(problem, compute_output(problem, state["u"]), state, traces)
    all_spikes = [b.spikes for b in batches if b.spikes is not None]
    spikes = Spikes(*(np.concatenate(column) for column in zip(*all_spikes, strict=True)))
    shape = (problem.n_samples, problem.n_neurons)
    return make_spiking_response(
        problem,
        spikes.weighted_counts(*shape, problem.taper),
        spikes.counts(*shape, problem.window_start_step),
        spikes.counts(*shape),
        spikes if problem.record.spikes else None,
        state,
        traces,
        np.concatenate([b.input_counts for b in batches]),
    )


__all__ = ["Brian2Circuit", "Brian2Engine"]

BATCH_SAMPLES = 100
"""Default number of samples per batch. Larger batches need more memory, but are not faster."""


@dataclass(frozen=True)
class Brian2Engine(Engine):
    """Simulation of circuits with Brian2.

    Parameters
    ----------
    target : {"numpy", "cython"}, default="numpy"
        Code generation of Brian2: "numpy" is bit-identical to the other engines; "cython" is
        compiled and many times as fast, with rounding that depends on the compiler flags.
    batch_size : int, default=100
        Number of samples that are simulated together.

    Raises
    ------
    ValueError
        If the target is unknown or the batch size is below one.
    ImportError
        If Brian2 cannot be imported; raised by a run.
    RuntimeError
        If Brian2's device is not "runtime", or if the target is "cython" and the compiler does not
        work; raised by a run. The target is never changed.
    """

    target: str = "numpy"
    batch_size: int = BATCH_SAMPLES
    name = "brian2"
    float64_only = True
    neurons = (RateNeuron, SpikingNeuron)
    transfers = (SoftThreshold, HardThreshold)
    input_kinds = (AnalogInput, PoissonInput, SpikingResidual)

    def __post_init__(self) -> None:
        if self.target not in ("numpy", "cython"):
            raise ValueError(f"`target` must be 'numpy' or 'cython', got {self.target!r}.")
        object.__setattr__(self, "batch_size", check_integer(self.batch_size, "batch_size", 1))

    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        raise NotImplementedError(
            "engine 'brian2' does not support encode. Use circuit.encode(..., engine='numba') or "
            "circuit.simulate(..., engine='brian2')."
        )

    def learn_online(self, presentations: Sequence[Problem], rule: OnlineRule) -> OnlineResult:
        """Simulate with plastic synapses, one sample after the other."""
        return learn_online(presentations, rule, code_object_class(self.target))

    def build(self, problem: Problem) -> Brian2Circuit:
        """Make the live objects of a problem with a clock, and set its stimuli."""
        required, available = network_bytes(problem), available_bytes()
        if required > available:
            raise MemoryError(
                f"the synapses and currents of {problem.n_samples} samples in Brian2 require about "
                f"{format_bytes(required)}, but only {format_bytes(available)} of memory are "
                "available. Simulate fewer samples at a time (Brian2Engine(batch_size=...)), "
                "or use engine='numba'."
            )
        circuit = build_network(problem, code_object_class(self.target))
        circuit.set_problem(problem)
        circuit.set_state(problem.start or {})
        return circuit

    def simulate(self, problem: Problem) -> Response:
        """Integrate the equations of the circuit over time, batch by batch."""
        assert problem.clock is not None
        batches: list[BatchResult] = []
        circuit: Brian2Circuit | None = None
        with show_progress(problem.n_samples * problem.n_steps, "simulate", "step") as update:
            for first in range(0, problem.n_samples, self.batch_size):
                rows = np.arange(first, min(first + self.batch_size, problem.n_samples))
                batch = problem.select(rows)
                if circuit is None or len(rows) < self.batch_size or not is_reusable(problem):
                    circuit = self.build(batch)
                    circuit.network.store()
                else:
                    circuit.network.restore()
                    circuit.set_problem(batch)
                    circuit.set_state(batch.start or {})
                report = make_report(update, len(rows) * problem.n_steps)
                circuit.run(problem.n_steps * problem.clock.dt, report=report)
                batches.append(read_batch(circuit, first))
        return concatenate_batches(problem, batches)

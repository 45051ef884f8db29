"""Blocks of samples: cut out of a Problem, read off the live objects, put together again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import RECORDABLE, Problem, Response, Spikes
from spikelca.engines.brian2.afferents import arrived
from spikelca.engines.brian2.live import BrianCircuit
from spikelca.engines.outcome import membrane, output, rate_response, spiking_response
from spikelca.inputs import PoissonInput
from spikelca.neurons import SpikingNeuron
from spikelca.validation import FloatArray


def rows_of(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    """The same problem for some of its samples."""
    n, wave, record = problem.n_samples, problem.waveform, problem.record
    here = np.isin(record.samples, rows)
    return replace(
        problem,
        inputs=tuple(p.rows(rows[0], rows[-1] + 1) for p in problem.inputs),
        current=problem.current[rows] if len(problem.current) == n else problem.current,
        allowed=None if problem.allowed is None else problem.allowed[rows],
        waveform=wave[:, rows] if wave is not None and wave.shape[1] == n else wave,
        start={name: values[rows] for name, values in (problem.start or {}).items()},
        record=replace(record, samples=record.samples[here] - rows[0]),
    )


def can_be_reused(problem: Problem) -> bool:
    """Whether one set of objects serves all blocks: nothing in it belongs to single samples."""
    shared_wave = problem.waveform is None or problem.waveform.shape[1] == 1
    told = any(isinstance(p.cells, PoissonInput) for p in problem.inputs)
    return shared_wave and not told and not set(problem.record.names) - {"spikes", "current"}


@dataclass(frozen=True)
class Part:
    """What one block gave; ``first`` is its first sample."""

    first: int
    state: dict[str, FloatArray]
    traces: dict[str, FloatArray]
    spikes: Spikes | None
    arrived: NDArray[np.int64]


def part_of(circuit: BrianCircuit, first: int) -> Part:
    """Read state, traces and spikes off the objects; ``first`` is the block's first sample."""
    problem = circuit.problem
    state = {name: circuit.array(name).copy() for name in problem.state_widths()}
    traces = {
        name: trace_of(circuit, name)
        for name in circuit.monitors
        if name.split(":")[0] in RECORDABLE and name != "spikes"
    }
    seen = arrived(problem, circuit.monitors)
    if not isinstance(problem.neuron, SpikingNeuron):
        return Part(first, state, traces, None, seen)
    sample, neuron, step = circuit.spikes()
    return Part(first, state, traces, Spikes(sample + first, neuron, step), seen)


def trace_of(circuit: BrianCircuit, name: str) -> FloatArray:
    """Copy a recorded trace out of its monitor: (n_times, n_kept_samples, width).

    A view is not enough. From version 2.10 on, Brian2 frees recorded values with their monitor,
    even if arrays still point to them, and in every version `restore` sets them to zero.

    Raises
    ------
    RuntimeError
        If the monitor has not recorded every step that was asked for, and no other.
    """
    problem, monitor = circuit.problem, circuit.monitors[name]
    values = np.array(monitor.variables[name.split(":")[0]].get_value())
    steps = np.rint(monitor.variables["t"].get_value() / circuit.clock.dt_).astype(np.int64)
    expected = np.arange(0, problem.n_steps, problem.record.every)
    if len(values) != len(expected) or not np.array_equal(steps, expected):
        raise RuntimeError(
            f"Brian2's monitor of {name!r} must have recorded {len(expected)} steps, "
            f"{problem.record.every} apart, got {len(values)} rows of values and the steps "
            f"{steps.tolist()[:5]}. Install another version of Brian2, or take engine='numba'."
        )
    return values.reshape(len(values), len(problem.record.samples), -1)


def joined(problem: Problem, parts: list[Part]) -> Response:
    """The response of all blocks."""
    state = {n: np.concatenate([p.state[n] for p in parts]) for n in parts[0].state}
    state["u"] = membrane(problem, state)
    traces = {n: np.concatenate([p.traces[n] for p in parts], axis=1) for n in parts[0].traces}
    # Blocks stand one behind the other; the samples may have been asked for in another order.
    block = np.searchsorted([p.first for p in parts], problem.record.samples, side="right")
    place = np.argsort(np.argsort(block, kind="stable"))
    traces = {name: values[:, place] for name, values in traces.items()}
    if "current" in problem.record.names:
        traces["current"] = problem.recorded_current()
    if not isinstance(problem.neuron, SpikingNeuron):
        return rate_response(problem, output(problem, state["u"]), state, traces)
    all_spikes = [p.spikes for p in parts if p.spikes is not None]
    spikes = Spikes(*(np.concatenate(column) for column in zip(*all_spikes, strict=True)))
    shape = (problem.n_samples, problem.n_neurons)
    return spiking_response(
        problem,
        spikes.weighed(*shape, problem.taper),
        spikes.counts(*shape, problem.counted_from),
        spikes.counts(*shape),
        spikes if problem.record.spikes else None,
        state,
        traces,
        np.concatenate([p.arrived for p in parts]),
    )

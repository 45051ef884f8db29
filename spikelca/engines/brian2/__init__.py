"""Brian2 as an engine: the same Problem, the same answers, in a simulator that all can read.

`equations.py` says what is simulated, `build.py` makes Brian2's objects of it, `live.py` hands them
out. Brian2 itself is imported when the engine is first used.

Blocks of samples: cut out of a Problem, read off the live objects, put together again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from spikelca.model.inputs import PoissonInput
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.system import available_bytes, format_bytes
from spikelca.utils.validation import FloatArray


def rows_of(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    """The same problem for some of its samples."""
    n, wave, record = problem.n_samples, problem.waveform, problem.record
    here = np.isin(record.samples, rows)
    return replace(
        problem,
        inputs=tuple(p.select(rows[0], rows[-1] + 1) for p in problem.inputs),
        current=problem.current[rows] if len(problem.current) == n else problem.current,
        allowed=None if problem.allowed is None else problem.allowed[rows],
        waveform=wave[:, rows] if wave is not None and wave.shape[1] == n else wave,
        start={name: values[rows] for name, values in (problem.start or {}).items()},
        record=replace(record, samples=record.samples[here] - rows[0]),
    )


def is_reusable(problem: Problem) -> bool:
    """Whether one set of objects serves all blocks: nothing in it belongs to single samples."""
    shared_wave = problem.waveform is None or problem.waveform.shape[1] == 1
    told = any(isinstance(p.input_kind, PoissonInput) for p in problem.inputs)
    return shared_wave and not told and not set(problem.record.names) - {"spikes", "current"}


@dataclass(frozen=True)
class BatchResult:
    """What one block gave; ``first`` is its first sample."""

    first: int
    state: dict[str, FloatArray]
    traces: dict[str, FloatArray]
    spikes: Spikes | None
    arrived: NDArray[np.int64]


def read_batch(circuit: Brian2Circuit, first: int) -> BatchResult:
    """Read state, traces and spikes off the objects; ``first`` is the block's first sample."""
    problem = circuit.problem
    state = {name: circuit.variable(name).copy() for name in problem.state_widths()}
    n_kept, traces = len(problem.record.samples), {}
    for name, monitor in circuit.monitors.items():
        if name.split(":")[0] in RECORDABLE and name != "spikes":
            values = np.asarray(getattr(monitor, f"{name.split(':')[0]}_")).T
            traces[name] = values.reshape(len(values), n_kept, -1)
    seen = count_input_spikes(problem, circuit.monitors)
    if not isinstance(problem.neuron, SpikingNeuron):
        return BatchResult(first, state, traces, None, seen)
    sample, neuron, step = circuit.spikes()
    return BatchResult(first, state, traces, Spikes(sample + first, neuron, step), seen)


def concatenate_batches(problem: Problem, parts: list[BatchResult]) -> Response:
    """The response of all blocks."""
    state = {n: np.concatenate([p.state[n] for p in parts]) for n in parts[0].state}
    state["u"] = compute_membrane(problem, state)
    traces = {n: np.concatenate([p.traces[n] for p in parts], axis=1) for n in parts[0].traces}
    # Blocks stand one behind the other; the samples may have been asked for in another order.
    block = np.searchsorted([p.first for p in parts], problem.record.samples, side="right")
    place = np.argsort(np.argsort(block, kind="stable"))
    traces = {name: values[:, place] for name, values in traces.items()}
    if "current" in problem.record.names:
        traces["current"] = problem.recorded_current()
    if not isinstance(problem.neuron, SpikingNeuron):
        return make_rate_response(problem, compute_output(problem, state["u"]), state, traces)
    all_spikes = [p.spikes for p in parts if p.spikes is not None]
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
        np.concatenate([p.arrived for p in parts]),
    )


__all__ = ["Brian2Circuit", "Brian2Engine"]

BATCH_SAMPLES = 100
"""Samples of one run: beyond that, memory grows and speed does not."""


@dataclass(frozen=True)
class Brian2Engine(Engine):
    """Circuits run by Brian2.

    Parameters
    ----------
    target : {"numpy", "cython"}, default="numpy"
        How Brian2 computes: in plain NumPy, to the last bit as the other engines do, or compiled,
        many times as fast, with the rounding that the compiler's flags allow.
    block : int, default=100
        Samples of one run; more are run one block after the other.

    Raises
    ------
    ImportError
        If Brian2 cannot be imported.
    RuntimeError
        If cython is asked for and no compiler works: there is no silent way back.
    """

    target: str = "numpy"
    block: int = BATCH_SAMPLES
    name = "brian2"
    float64_only = True

    def __post_init__(self) -> None:
        if self.target not in ("numpy", "cython"):
            raise ValueError(f"target is {self.target!r}; 'numpy' or 'cython' was awaited.")
        if self.block < 1:
            raise ValueError(f"block is {self.block}; one sample or more was awaited.")

    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        raise NotImplementedError(
            "Brian2 simulates in time and has no way to settle a code. Take circuit.simulate(..., "
            "engine='brian2'), or circuit.encode(..., engine='numba')."
        )

    def learn_online(self, problem: Problem, rule: OnlineRule) -> OnlineResult:
        """The time-stepped equations with plastic synapses, one sample after the other."""
        return learn_online(problem, rule, code_object_class(self.target))

    def build(self, problem: Problem) -> Brian2Circuit:
        """The live objects of a timed problem, its stimuli presented."""
        needed, free = network_bytes(problem) * problem.n_samples, available_bytes()
        if needed > free:
            raise MemoryError(
                f"Brian2 needs about {format_bytes(needed)} for the synapses of {problem.n_samples} "
                f"samples, and {format_bytes(free)} are free. Run fewer samples at a time "
                "(Brian2Engine(block=...)), or take engine='numba'."
            )
        circuit = build_network(problem, code_object_class(self.target))
        circuit.set_stimuli(problem)
        circuit.set_state(problem.start or {})
        return circuit

    def simulate(self, problem: Problem) -> Response:
        """Run block after block of samples, and put the blocks together."""
        assert problem.clock is not None
        parts: list[BatchResult] = []
        circuit: Brian2Circuit | None = None
        for first in range(0, problem.n_samples, self.block):
            rows = np.arange(first, min(first + self.block, problem.n_samples))
            block = rows_of(problem, rows)
            if circuit is None or len(rows) < self.block or not is_reusable(problem):
                circuit = self.build(block)
                circuit.network.store()
            else:
                circuit.network.restore()
                circuit.set_stimuli(block)
                circuit.set_state(block.start or {})
            circuit.run(problem.n_steps * problem.clock.dt)
            parts.append(read_batch(circuit, first))
        return concatenate_batches(problem, parts)

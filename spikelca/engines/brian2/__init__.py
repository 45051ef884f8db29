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
from spikelca.engines.brian2.build import arrived, build, network_bytes
from spikelca.engines.brian2.live import BrianCircuit
from spikelca.engines.brian2.online import learn
from spikelca.engines.brian2.session import code_class
from spikelca.engines.online import Stream, StreamRule
from spikelca.engines.postprocess import membrane, output, rate_response, spiking_response
from spikelca.engines.problem import Problem
from spikelca.engines.response import RECORDABLE, Response, Spikes
from spikelca.model.inputs import PoissonInput
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.system import available_bytes, readable
from spikelca.utils.validation import FloatArray


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
    n_kept, traces = len(problem.record.samples), {}
    for name, monitor in circuit.monitors.items():
        if name.split(":")[0] in RECORDABLE and name != "spikes":
            values = np.asarray(getattr(monitor, f"{name.split(':')[0]}_")).T
            traces[name] = values.reshape(len(values), n_kept, -1)
    seen = arrived(problem, circuit.monitors)
    if not isinstance(problem.neuron, SpikingNeuron):
        return Part(first, state, traces, None, seen)
    sample, neuron, step = circuit.spikes()
    return Part(first, state, traces, Spikes(sample + first, neuron, step), seen)


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


__all__ = ["Brian2Engine", "BrianCircuit"]

BLOCK = 100
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
    block: int = BLOCK
    name = "brian2"
    double_only = True

    def __post_init__(self) -> None:
        if self.target not in ("numpy", "cython"):
            raise ValueError(f"target is {self.target!r}; 'numpy' or 'cython' was awaited.")
        if self.block < 1:
            raise ValueError(f"block is {self.block}; one sample or more was awaited.")

    def settle(self, problem: Problem, tol: float, max_iter: int) -> Response:
        raise NotImplementedError(
            "Brian2 simulates in time and has no way to settle a code. Take circuit.simulate(..., "
            "engine='brian2'), or circuit.encode(..., engine='numba')."
        )

    def learn(self, problem: Problem, rule: StreamRule) -> Stream:
        """The time-stepped equations with plastic synapses, one sample after the other."""
        return learn(problem, rule, code_class(self.target))

    def build(self, problem: Problem) -> BrianCircuit:
        """The live objects of a timed problem, its stimuli presented."""
        needed, free = network_bytes(problem) * problem.n_samples, available_bytes()
        if needed > free:
            raise MemoryError(
                f"Brian2 needs about {readable(needed)} for the synapses of {problem.n_samples} "
                f"samples, and {readable(free)} are free. Run fewer samples at a time "
                "(Brian2Engine(block=...)), or take engine='numba'."
            )
        circuit = build(problem, code_class(self.target))
        circuit.present(problem)
        circuit.start_from(problem.start or {})
        return circuit

    def simulate(self, problem: Problem) -> Response:
        """Run block after block of samples, and put the blocks together."""
        assert problem.clock is not None
        parts: list[Part] = []
        circuit: BrianCircuit | None = None
        for first in range(0, problem.n_samples, self.block):
            rows = np.arange(first, min(first + self.block, problem.n_samples))
            block = rows_of(problem, rows)
            if circuit is None or len(rows) < self.block or not can_be_reused(problem):
                circuit = self.build(block)
                circuit.network.store()
            else:
                circuit.network.restore()
                circuit.present(block)
                circuit.start_from(block.start or {})
            circuit.run(problem.n_steps * problem.clock.dt)
            parts.append(part_of(circuit, first))
        return joined(problem, parts)

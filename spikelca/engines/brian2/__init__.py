"""Brian2 as an engine: the same Problem, the same answers, in a simulator that all can read.

`equations.py` says what is simulated, `build.py` makes Brian2's objects of it, `live.py` hands them
out. Brian2 itself is imported when the engine is first used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikelca.engines.base import Engine, Problem, Response
from spikelca.engines.brian2.blocks import Part, can_be_reused, joined, part_of, rows_of
from spikelca.engines.brian2.build import build, network_bytes
from spikelca.engines.brian2.live import BrianCircuit
from spikelca.engines.brian2.plastic import learn
from spikelca.engines.brian2.quiet import code_class
from spikelca.engines.plastic import Stream, StreamRule
from spikelca.memory import available_bytes, readable

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

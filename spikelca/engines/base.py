"""What an engine sees, what it gives back, and the order of one step.

An engine knows arrays, a neuron, a transfer function and a clock. It never hears of estimators,
labels or what a modality means. It offers two verbs:

``settle``
    the fixed point of the circuit, by the fastest road, with a certificate for each sample;
``simulate``
    the faithful time-stepped equations, with traces and spikes.

The order of one step, the same for every engine
------------------------------------------------
1. summed inputs and currents, from the state at the start of the step;
2. forward Euler for r, u, v, s and p, all from old values;
3. threshold on the new v, and on the new p of input cells that spike;
4. synapses, spikes in ascending index: those of input cells, modality by modality; then those of
   the neurons, lateral inhibition, or learning and then feedback;
5. reset: ``v -= theta``, ``s += theta``, ``p -= sign(p) threshold``;
6. with input cells that charge v directly: v sinks no deeper than its floor.

The returned code belongs to the returned state. A trace holds the state at the *start* of the
recorded steps, at ``times = step * dt``. Spike times are step indices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from spikelca.engines.problem import Coupling, InputPopulation, Problem
from spikelca.engines.response import RECORDABLE, Clock, Record, Response, Spikes

__all__ = [
    "RECORDABLE",
    "Clock",
    "Coupling",
    "Engine",
    "InputPopulation",
    "Problem",
    "Record",
    "Response",
    "Spikes",
]


class Engine(ABC):
    """One way to run a Problem.

    Attributes
    ----------
    name : str
    float64_only : bool
        Whether every simulation of this engine is in float64, whatever the circuit.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> from spikelca.engines import get_engine
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> problem = circuit.compile({"x": np.array([[0.0, 1.0]])})
    >>> get_engine("reference").encode(problem, tol=1e-6, max_iter=1000).code.round(3)
    array([[0. , 0.9]])
    """

    name: str
    float64_only: bool = False

    @abstractmethod
    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """The code at the fixed point, with its certificate."""

    @abstractmethod
    def simulate(self, problem: Problem) -> Response:
        """The time-stepped equations."""

    def learn_online(self, problem: Problem, rule: Any) -> Any:
        """The same with plastic synapses, one sample after the other: a `Stream`.

        Parameters
        ----------
        problem : Problem
            In the residual wiring and in float64; its clock is that of one presentation.
        rule : StreamRule
            How far synapses go, and what they remember.
        """
        raise NotImplementedError(
            f"The engine {self.name!r} has no plastic synapses; 'numba' and 'brian2' have."
        )

"""The interface of an engine, and the order of one step.

An engine has access to arrays, a neuron, a transfer function and a clock. It has no access to
estimators, labels or the meaning of a modality. It offers two methods:

``encode``
    computes the code at the fixed point of the circuit, with a duality gap for each sample;
``simulate``
    integrates the equations of the circuit over time, and records traces and spikes.

The order of one step, the same for every engine
------------------------------------------------
1. summed inputs and currents, from the state at the start of the step;
2. forward Euler for r, u, v, s and p, all from old values;
3. threshold on the new v, and on the new p of spiking input cells;
4. synapses, in ascending index of the spikes: first the spikes of input cells, modality by
   modality, then those of the neurons (lateral inhibition; or learning, then feedback);
5. reset: ``v -= theta``, ``s += theta``, ``p -= sign(p) threshold``;
6. with input cells that charge v directly: v is clipped at its floor.

The returned code belongs to the returned state. A trace contains the state at the *start* of the
recorded steps, at ``times = step * dt``. Spike times are step indices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
    """A method to compute the response of a `Problem`.

    Attributes
    ----------
    name : str
        Name in error messages.
    float64_only : bool
        Whether every simulation of this engine is in float64, regardless of the precision of the
        circuit.
    neurons, transfers, input_kinds : tuple of type
        Types of neurons, transfer functions and inputs that the engine implements, empty for any
        type. A subclass of one of them may have other equations, so it counts as another type.

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
    neurons: tuple[type, ...] = ()
    transfers: tuple[type, ...] = ()
    input_kinds: tuple[type, ...] = ()

    def check(self, problem: Problem) -> None:
        """Check that the engine implements the types of a problem.

        Parameters
        ----------
        problem : Problem

        Raises
        ------
        NotImplementedError
            If the neuron, the transfer function or a kind of inputs is of another type.
        """
        self._check_type("neuron", problem.neuron, self.neurons)
        self._check_type("transfer", problem.transfer, self.transfers)
        for population in problem.inputs:
            name = f"inputs of {population.name!r}"
            self._check_type(name, population.input_kind, self.input_kinds)

    def _check_type(self, name: str, value: Any, implemented: tuple[type, ...]) -> None:
        if implemented and type(value) not in implemented:
            names = " or ".join(kind.__name__ for kind in implemented)
            raise NotImplementedError(
                f"{name} must be {names} for engine {self.name!r}, got {type(value).__name__}. "
                "Use one of these, or an engine that implements it (a rate circuit with another "
                "transfer function runs with engine='reference')."
            )

    @abstractmethod
    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """Compute the steady-state code of each sample and its duality gap.

        Parameters
        ----------
        problem : Problem
        tol : float
            Largest duality gap (soft threshold) or fixed-point residual (hard threshold).
        max_iter : int
            Largest number of rounds of the solver, or of integration steps.

        Returns
        -------
        Response
            With ``code``, ``residual``, ``gap`` and ``n_iter``.
        """

    @abstractmethod
    def simulate(self, problem: Problem) -> Response:
        """Integrate the equations of the circuit over time.

        Parameters
        ----------
        problem : Problem
            With a clock.

        Returns
        -------
        Response
        """

    def learn_online(self, presentations: Sequence[Problem], rule: Any) -> Any:
        """Simulate with plastic synapses, one sample after the other.

        Parameters
        ----------
        presentations : sequence of Problem
            With one sample each, residual wiring and in float64. Currents and clock differ between
            presentations; the initial state is that of the first one.
        rule : OnlineRule
            Learning rates and decay.

        Returns
        -------
        OnlineResult

        Raises
        ------
        NotImplementedError
            If the engine has no plastic synapses.
        """
        raise NotImplementedError(
            f"engine {self.name!r} does not support plastic synapses. Use engine='numba' or "
            "engine='brian2'."
        )

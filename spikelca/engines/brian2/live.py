"""The live Brian2 objects of a circuit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.engines.brian2.session import import_brian2, use_preferences
from spikelca.engines.problem import Problem
from spikelca.model.inputs import PoissonInput
from spikelca.utils.validation import FloatArray, to_positive_seconds


class SharedMemory:
    """The memory of a Brian2 variable, for an array that keeps the variable alive.

    From version 2.10 on, the values of synapses are freed with their variable, even if arrays still
    refer to them.
    """

    def __init__(self, variable: Any) -> None:
        self.variable = variable
        self.__array_interface__ = variable.get_value().__array_interface__


@dataclass(frozen=True, eq=False)
class Brian2Circuit:
    """A circuit as a Brian2 simulation.

    Attributes
    ----------
    network : brian2.Network
    population : brian2.NeuronGroup
        The neurons of the code: neuron j of sample s is ``s * n_neurons + j``.
    inputs : mapping of modality to brian2.NeuronGroup
        Residual neurons (residual wiring).
    synapses : mapping of modality to brian2.Synapses
        Phi: feed-forward, feedback and learning on the same weights ``w`` (residual wiring).
    lateral : brian2.Synapses or None
        L (lateral wiring).
    monitors : mapping of str to monitor
        "spikes", "input spikes:<modality>" for spiking inputs, and one for each recorded trace.
    equations : str
        The model as readable text.
    clock : brian2.Clock
        Clock of all objects, for objects that are added.
    problem : Problem
        The problem from which the objects were made.
    compile_stimuli : callable or None
        Makes the problem of other stimuli, and checks it.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> live = circuit.to_brian2({"x": [[0.0, 1.0]]}, dt=1e-4, record=("spikes",))
    >>> live.run(0.05)
    >>> sorted(live.monitors), bool(live.monitors["spikes"].num_spikes > 0)
    (['spikes'], True)
    """

    network: Any
    population: Any
    inputs: Mapping[str, Any]
    synapses: Mapping[str, Any]
    lateral: Any
    monitors: Mapping[str, Any]
    equations: str
    clock: Any
    problem: Problem
    compile_stimuli: Callable[[Mapping[str, ArrayLike]], Problem] | None = None

    def add(self, *objects: Any) -> None:
        """Add further Brian2 objects to the network: monitors, populations, synapses."""
        self.network.add(*objects)

    def __repr__(self) -> str:
        problem = self.problem
        widths = {p.name: p.stimulus.shape[1] for p in problem.inputs}
        return (
            f"<Brian2Circuit: {problem.n_samples} samples of {problem.n_neurons} neurons, "
            f"inputs {widths},\n"
            f" time {self.network.t_:.6g} s, step {self.clock.dt_:.6g} s,\n"
            f" monitors {sorted(self.monitors)}>"
        )

    def run(
        self,
        duration: Any,
        namespace: Mapping[str, Any] | None = None,
        *,
        report: Any = None,
        profile: bool = False,
    ) -> None:
        """Continue the simulation from the present state.

        Parameters
        ----------
        duration : float or Brian2 quantity
            Seconds.
        namespace : mapping, optional
            Names in the equations of added objects. Variables of the caller are not used.
        report : {"text", "stdout", "stderr"} or callable, optional
            Progress report of `brian2.Network.run`.
        profile : bool, default=False
            Whether to measure the time of each object, for `brian2.profiling_summary`.

        Raises
        ------
        ValueError
            If the run ends after the time for which time-varying currents and random input spikes
            were computed.
        """
        seconds = to_positive_seconds(duration, "duration")
        end = self.network.t_ + seconds
        if end > self.computed_until * (1 + 1e-9):
            raise ValueError(
                f"cannot run until {end:.6g} s: the currents of drivers and the random input "
                f"spikes were computed until {self.computed_until:.6g} s. Use "
                f"circuit.to_brian2(..., duration=...) with a duration of at least {end:.6g} s."
            )
        with use_preferences():
            self.network.run(
                seconds * import_brian2().second,
                namespace=dict(namespace or {}),
                report=report,
                profile=profile,
            )

    @property
    def computed_until(self) -> float:
        """Time in seconds until which currents and random spikes exist; infinity without them."""
        problem, n_steps = self.problem, []
        if problem.waveform is not None:
            n_steps.append(problem.waveform.shape[0])
        if any(isinstance(p.input_kind, PoissonInput) for p in problem.inputs):
            n_steps.append(problem.n_steps)
        return min(n_steps) * self.clock.dt_ if n_steps else math.inf

    def set_stimuli(self, stimuli: Mapping[str, ArrayLike]) -> None:
        """Replace the stimuli. State, currents, clamps and silenced neurons stay as they are.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            For the modalities and number of samples of the objects.

        Raises
        ------
        ValueError
            If modalities or number of samples differ, for values that `Circuit.simulate` rejects,
            or if a spiking neuron would saturate. Nothing is changed then.
        NotImplementedError
            For inputs with random spikes, which are drawn when objects are made.
        """
        if self.compile_stimuli is None:
            raise ValueError(
                "cannot replace the stimuli of these objects: they were not made by "
                "`Circuit.to_brian2`. Use circuit.to_brian2(stimuli)."
            )
        self._check_replaceable()
        problem = self.compile_stimuli(stimuli)
        given, expected = (
            (each.n_samples, [p.name for p in each.inputs]) for each in (problem, self.problem)
        )
        if given != expected:
            raise ValueError(
                f"stimuli must have {expected[0]} samples of {expected[1]}, as the objects, got "
                f"{given[0]} samples of {given[1]}. Make new objects with circuit.to_brian2."
            )
        self._set_drive(problem)

    def set_problem(self, problem: Problem) -> None:
        """Replace stimuli, constant currents and clamps, without a change of the state.

        Parameters
        ----------
        problem : Problem
            With the same circuit and number of samples.

        Raises
        ------
        NotImplementedError
            For another problem with random input spikes, which are drawn when objects are made.
        """
        if problem is not self.problem:
            self._check_replaceable()
        self.variable("allowed")[:] = 1.0 if problem.allowed is None else problem.allowed
        if problem.residual_wiring:
            shape = (problem.n_samples, problem.n_neurons)
            self.variable("current")[:] = np.broadcast_to(problem.current, shape)
        self._set_drive(problem)

    def _check_replaceable(self) -> None:
        random = [p.name for p in self.problem.inputs if isinstance(p.input_kind, PoissonInput)]
        if random:
            raise NotImplementedError(
                f"cannot replace the stimuli: the random spikes of {random} were drawn when the "
                "objects were made. Make new objects with circuit.to_brian2(stimuli)."
            )

    def _set_drive(self, problem: Problem) -> None:
        """Set the stimuli of the input populations, or the drive, which has the currents."""
        if problem.residual_wiring:
            for p in problem.inputs:
                self.inputs[p.name].variables["x"].get_value()[:] = p.constant_input.ravel()
        else:
            self.variable("b")[:] = problem.sequential_drive() + problem.current

    def set_state(self, state: Mapping[str, FloatArray]) -> None:
        """Set state variables by name.

        Parameters
        ----------
        state : mapping of str to (n_samples, width)
            "u", "v", "s", "r:<modality>" and "p:<modality>", as ``Response.state``. With residual
            wiring, u follows from the others.

        Raises
        ------
        ValueError
            If a variable is unknown, has another shape, or is not finite. Nothing is changed then.
        """
        checked = self.problem.check_state(state, "state")
        for name in checked.keys() & self.problem.state_widths().keys():
            self.variable(name)[:] = checked[name]

    def variable(self, name: str) -> FloatArray:
        """Return a live view of a variable: (n_samples, width).

        Parameters
        ----------
        name : str
            Variable of the population, or "r:<modality>" or "p:<modality>" of an input population.
        """
        group = self.inputs[name[2:]] if name[:2] in ("r:", "p:") else self.population
        values = group.variables[name.split(":")[0]].get_value()
        return np.asarray(values).reshape(self.problem.n_samples, -1)

    def weights(self, modality: str) -> FloatArray:
        """Return a live view of the weights: (n_samples, n_inputs, n_neurons).

        It is valid as long as no synapse is added.

        Parameters
        ----------
        modality : str
            Name of a modality (residual wiring).
        """
        weights = np.asarray(SharedMemory(self.synapses[modality].variables["w"]))
        return weights.reshape(self.problem.n_samples, -1, self.problem.n_neurons)

    def spikes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return sample, neuron and step of all spikes, sorted by sample, step and neuron."""
        monitor = self.monitors["spikes"]
        cell = np.asarray(monitor.i[:], np.int64)
        step = np.rint(np.asarray(monitor.t_[:]) / self.clock.dt_).astype(np.int64)
        sample, neuron = np.divmod(cell, self.problem.n_neurons)
        order = np.lexsort((neuron, step, sample))
        return sample[order], neuron[order], step[order]

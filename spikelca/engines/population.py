"""One input population as an engine sees it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikelca.inputs import AnalogInput, Inputs, PoissonInput, SpikingResidual
from spikelca.layouts import Layouts, transposed
from spikelca.validation import FloatArray


@dataclass(frozen=True, eq=False)
class InputPopulation:
    """One input population: what it is shown, and its synapses onto the code.

    Parameters
    ----------
    name : str
    stimulus : (n_samples, n_inputs)
    atoms : (n_neurons, n_inputs)
    weight : float
        w_i of Eq. 6.
    layouts : Layouts
        The atoms as engines want them.
    cells : AnalogInput, PoissonInput or SpikingResidual, default=AnalogInput()
        How the stimulus is told.
    first : int, default=0
        Number of the first sample in the whole batch, of which this may be a part.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> seen = circuit.problem({"x": np.array([[0.0, 1.0]])}).inputs[0]
    >>> seen.name, seen.stimulus.shape, seen.synapses.shape
    ('x', (1, 2), (2, 2))
    """

    name: str
    stimulus: FloatArray
    atoms: FloatArray
    weight: float
    layouts: Layouts
    cells: Inputs = field(default_factory=AnalogInput)
    first: int = 0

    def with_atoms(self, atoms: FloatArray) -> InputPopulation:
        """The same population with other atoms."""
        return replace(self, atoms=atoms, layouts=Layouts(atoms))

    @property
    def synapses(self) -> FloatArray:
        """Phi_i: the atoms transposed, contiguous, for engines that go through the inputs."""
        return self.layouts.by(transposed)

    def rows(self, first: int, last: int) -> InputPopulation:
        """The same population for some of its samples."""
        return replace(self, stimulus=self.stimulus[first:last], first=self.first + first)

    @property
    def steady(self) -> FloatArray:
        """What flows in as a constant current: nothing of what comes in random spikes."""
        told = isinstance(self.cells, PoissonInput)
        return np.zeros_like(self.stimulus) if told else self.stimulus

    @cached_property
    def product(self) -> FloatArray:
        """``Phi_i^T x_i`` of every sample: (n_samples, n_neurons)."""
        return np.asarray(self.stimulus @ self.atoms.T)

    @property
    def dendritic(self) -> bool:
        """Whether it charges the dendrites u, and not the spike generators v directly."""
        return not isinstance(self.cells, SpikingResidual)

    @property
    def quantum(self) -> float:
        """What one spike of an input cell carries; zero for cells that do not spike."""
        if isinstance(self.cells, PoissonInput):
            return self.cells.quantum
        return self.cells.threshold if isinstance(self.cells, SpikingResidual) else 0.0

    def arrivals(
        self, row: int, k: float, n_steps: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Step, input and signed quantum of each random spike of a sample, in this order."""
        if not isinstance(self.cells, PoissonInput):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        x = self.stimulus[row]
        steps, inputs = self.cells.spikes(x, k, n_steps, self.first + row)
        return steps, inputs, self.quantum * np.sign(x)[inputs]

"""What the neurons of the code do to each other, and what follows from that alone.

A circuit makes its coupling once and hands it to every problem, so that a run of one sample does
not pay again for what no sample changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikelca.layouts import Layouts
from spikelca.spectrum import automatic_step, step_limit
from spikelca.validation import FloatArray


@dataclass(frozen=True, eq=False)
class Coupling:
    """``L + 1`` and its consequences.

    Parameters
    ----------
    gram : (n_neurons, n_neurons)
        sum_i w_i Phi_i^T Phi_i, with the gain of linked drivers on its diagonal; read-only from
        now on.

    Examples
    --------
    >>> import numpy as np
    >>> coupling = Coupling(np.array([[1.0, 0.6], [0.6, 1.0]]))
    >>> coupling.fan_out, round(coupling.step_limit, 2)
    (array([1, 1]), 1.25)
    >>> coupling.inhibition(0.5)
    array([[0. , 0.3],
           [0.3, 0. ]])
    """

    gram: FloatArray
    _scaled: dict[float, FloatArray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.gram.setflags(write=False)

    @property
    def lateral(self) -> FloatArray:
        """L: (n_neurons, n_neurons)."""
        return self.gram - np.eye(len(self.gram), dtype=self.gram.dtype)

    def inhibition(self, theta: float) -> FloatArray:
        """``L theta``, what one spike does; made once, as a circuit has one quantum."""
        if theta not in self._scaled:
            self._scaled[theta] = self.lateral * theta
        return self._scaled[theta]

    @cached_property
    def layouts(self) -> Layouts:
        """The Gram matrix as engines want it."""
        return Layouts(self.gram)

    @cached_property
    def step_limit(self) -> float:
        """Below this ``dt / tau`` forward Euler is certainly stable."""
        return step_limit(self.gram)

    @property
    def automatic_step(self) -> float:
        """``dt / tau`` unless told."""
        return automatic_step(self.step_limit)

    @cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """Neurons that each neuron inhibits or excites, itself not counted: (n_neurons,)."""
        itself = np.diagonal(self.gram) != 0
        return np.asarray(np.count_nonzero(self.gram, axis=0) - itself)

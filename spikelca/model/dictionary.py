"""A dictionary: one input population, its synapses onto the code, its weight, its plasticity.

In the paper's words a column of Phi_i; here a row of ``atoms``, the layout of scikit-learn's
``components_``: ``atoms[j]`` is the receptive field of neuron j in this modality.

One array in the shapes that engines want, each of them made once.

What a circuit is does not depend on how it is run; but what an engine makes of its arrays alone is
kept beside them, so that a run of one sample does not pay for it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.model.inputs import AnalogInput, Inputs
from spikelca.model.plasticity import Hebbian
from spikelca.utils.validation import FloatArray, check_matrix, check_positive, readonly_copy

Derivation = Callable[[FloatArray], FloatArray]
"""A free function that lays an array out anew."""


class DerivedArrays:
    """An array that does not change, and what was made of it.

    Parameters
    ----------
    array : array

    Examples
    --------
    >>> import numpy as np
    >>> atoms = DerivedArrays(np.array([[1.0, 2.0]]))
    >>> atoms.get(transpose)
    array([[1.],
           [2.]])
    >>> atoms.get(transpose) is atoms.get(transpose)
    True
    """

    def __init__(self, array: FloatArray) -> None:
        self._array = array
        self._made: dict[Derivation, FloatArray] = {}

    def get(self, layout: Derivation) -> FloatArray:
        """The array in a layout, read-only.

        Without a lock, which a fork could leave closed: two threads may both make it, and then both
        go on with one of the two.
        """
        if layout not in self._made:
            made = layout(self._array)
            made.setflags(write=False)
            self._made.setdefault(layout, made)
        return self._made[layout]

    def __reduce__(self) -> tuple[Any, ...]:
        """The array alone: what was made of it is made again where it is needed."""
        return DerivedArrays, (self._array,)


def transpose(atoms: FloatArray) -> FloatArray:
    """Phi, one column a neuron, contiguous: (n_inputs, n_neurons)."""
    return np.ascontiguousarray(atoms.T)


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The synapses Phi_i of one modality.

    Parameters
    ----------
    name : str
        Name of the modality.
    atoms : array of shape (n_neurons, n_inputs)
        One atom a row, float32 or float64 (other real numbers become float64). A read-only copy
        is kept.
    weight : float, default=1.0
        w_i, the weight of this modality's error in the energy of Eq. 6.
    plasticity : Hebbian or None, default=Hebbian()
        How these synapses learn; None for synapses that never change.
    inputs : AnalogInput, PoissonInput or SpikingResidual, default=AnalogInput()
        What the input cells are when the circuit is simulated. `encode` and the batch rule know
        the mean only, which is the same for all.

    Raises
    ------
    ValueError
        If the atoms are not a finite 2D array, or the weight is not above zero.
    TypeError
        If the inputs are of no kind that is known.

    Examples
    --------
    >>> import numpy as np
    >>> d = Dictionary("pixels", np.eye(3))
    >>> d.n_neurons, d.n_inputs
    (3, 3)
    """

    name: str
    atoms: FloatArray
    weight: float = 1.0
    plasticity: Hebbian | None = field(default_factory=Hebbian)
    inputs: Inputs = field(default_factory=AnalogInput)

    def __post_init__(self) -> None:
        atoms: ArrayLike = self.atoms
        checked = check_matrix(atoms, f"atoms of {self.name!r}")
        object.__setattr__(self, "atoms", readonly_copy(checked))
        object.__setattr__(self, "weight", check_positive(self.weight, f"weight of {self.name!r}"))
        if not isinstance(self.inputs, Inputs):
            raise TypeError(
                f"inputs of {self.name!r} is {self.inputs!r}; AnalogInput(), PoissonInput(...) or "
                "SpikingResidual(...) was awaited."
            )

    @property
    def n_neurons(self) -> int:
        """Number of neurons of the code."""
        return int(self.atoms.shape[0])

    @property
    def n_inputs(self) -> int:
        """Width of the modality."""
        return int(self.atoms.shape[1])

    @cached_property
    def derived(self) -> DerivedArrays:
        """The atoms as engines want them, each layout made once."""
        return DerivedArrays(self.atoms)

    @property
    def synapses(self) -> FloatArray:
        """Phi_i, one column a neuron, contiguous: (n_inputs, n_neurons)."""
        return self.derived.get(transpose)

    def with_atoms(self, atoms: FloatArray) -> Dictionary:
        """The same population with other atoms, which the caller vouches for: no check, no copy.

        Parameters
        ----------
        atoms : (n_neurons, n_inputs)

        Returns
        -------
        Dictionary
        """
        new = object.__new__(Dictionary)
        atoms.setflags(write=False)
        for key, value in (
            ("name", self.name),
            ("atoms", atoms),
            ("weight", self.weight),
            ("plasticity", self.plasticity),
            ("inputs", self.inputs),
        ):
            object.__setattr__(new, key, value)
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dictionary):
            return NotImplemented
        mine = (self.name, self.weight, self.plasticity, self.inputs, self.atoms.dtype)
        theirs = (other.name, other.weight, other.plasticity, other.inputs, other.atoms.dtype)
        return mine == theirs and np.array_equal(self.atoms, other.atoms)

    __hash__ = None  # type: ignore[assignment]

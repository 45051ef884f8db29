"""Dictionaries: the input population, synapses, weight and plasticity of one modality.

A column of Phi_i in the paper is a row of ``atoms`` here, the layout of scikit-learn's
``components_``: ``atoms[j]`` is the receptive field of neuron j in this modality.

`DerivedArrays` caches the memory layouts that engines derive from an array, so that encoding one
sample does not compute them again.
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
from spikelca.utils.validation import (
    FloatArray,
    check_matrix,
    check_positive,
    check_type,
    readonly_copy,
)

Derivation = Callable[[FloatArray], FloatArray]
"""A free function from an array to the same values in another memory layout."""


class DerivedArrays:
    """An array that does not change, with a cache of the layouts derived from it.

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
        self._cache: dict[Derivation, FloatArray] = {}

    def get(self, function: Derivation) -> FloatArray:
        """Return the derived array, read-only, computed at the first call.

        There is no lock, because a fork could copy it while it is held: two threads may both
        compute the array, and both then use the first one stored.
        """
        if function not in self._cache:
            derived = function(self._array)
            derived.setflags(write=False)
            self._cache.setdefault(function, derived)
        return self._cache[function]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the array alone; derived arrays are computed again where they are needed."""
        return DerivedArrays, (self._array,)


def transpose(atoms: FloatArray) -> FloatArray:
    """Return Phi, contiguous, with one column per neuron: (n_inputs, n_neurons)."""
    return np.ascontiguousarray(atoms.T)


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The synapses Phi_i of one modality.

    Parameters
    ----------
    name : str
        Name of the modality.
    atoms : array of shape (n_neurons, n_inputs)
        One atom per row, float32 or float64 (other real numbers become float64). A read-only copy
        is stored.
    weight : float, default=1.0
        w_i, the weight of this modality's error in the energy of Eq. 6.
    plasticity : Hebbian or None, default=Hebbian()
        Learning rule of these synapses; None for synapses that never change.
    inputs : AnalogInput, PoissonInput or SpikingResidual, default=AnalogInput()
        Kind of the input cells in a simulation. `Circuit.encode` and the batch rule use only
        the mean input, which is the same for all kinds.

    Raises
    ------
    ValueError
        If the atoms are not a finite 2D array, or the weight is not > 0.
    TypeError
        If the name, `plasticity` or `inputs` is of another type.

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
        check_type(self.name, "name", str, "a string")
        atoms: ArrayLike = self.atoms
        checked = check_matrix(atoms, f"atoms of {self.name!r}")
        object.__setattr__(self, "atoms", readonly_copy(checked))
        object.__setattr__(self, "weight", check_positive(self.weight, f"weight of {self.name!r}"))
        plastic, inputs = f"plasticity of {self.name!r}", f"inputs of {self.name!r}"
        check_type(self.plasticity, plastic, Hebbian | None, "Hebbian(...) or None")
        kinds = "AnalogInput(), PoissonInput(...) or SpikingResidual(...)"
        check_type(self.inputs, inputs, Inputs, kinds)

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return int(self.atoms.shape[0])

    @property
    def n_inputs(self) -> int:
        """Number of inputs of the modality."""
        return int(self.atoms.shape[1])

    @cached_property
    def derived(self) -> DerivedArrays:
        """The atoms with a cache of the layouts that engines use."""
        return DerivedArrays(self.atoms)

    @property
    def synapses(self) -> FloatArray:
        """Phi_i, contiguous, with one column per neuron: (n_inputs, n_neurons)."""
        return self.derived.get(transpose)

    def _with_atoms(self, atoms: FloatArray) -> Dictionary:
        """Return the dictionary with other atoms, neither checked nor copied.

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

    def _with_plasticity(self, plasticity: Hebbian | None) -> Dictionary:
        """Return the dictionary with another learning rule."""
        new = self._with_atoms(self.atoms)
        object.__setattr__(new, "plasticity", plasticity)
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dictionary):
            return NotImplemented
        first = (self.name, self.weight, self.plasticity, self.inputs, self.atoms.dtype)
        second = (other.name, other.weight, other.plasticity, other.inputs, other.atoms.dtype)
        return first == second and np.array_equal(self.atoms, other.atoms)

    __hash__ = None  # type: ignore[assignment]

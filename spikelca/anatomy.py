"""The parts of a circuit, and the other circuits that are made of them.

All of it follows from the dictionaries and drivers alone: sizes, the Gram matrix, the circuit that
sees a part of the modalities, the one whose drivers are off. Nothing here computes a code.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spikelca.compiling import gram_of
from spikelca.dictionary import Dictionary
from spikelca.drivers import Driver
from spikelca.engines import Coupling
from spikelca.plasticity import PlasticityState, normalise_stacked, stacked_norms
from spikelca.validation import FloatArray


class HasParts(ABC):
    """What is made of dictionaries and drivers; `Circuit` is the dataclass that holds them."""

    dictionaries: Sequence[Dictionary]
    drivers: Sequence[Driver]
    plasticity: PlasticityState | None

    @property
    def n_neurons(self) -> int:
        """Neurons of the code."""
        return self.dictionaries[0].n_neurons

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the synapses and of all that is computed with them."""
        return self.dictionaries[0].atoms.dtype

    @property
    def widths(self) -> dict[str, int]:
        """Number of inputs of each modality."""
        return {d.name: d.n_inputs for d in self.dictionaries}

    @cached_property
    def coupling(self) -> Coupling:
        """The Gram matrix, made once, and what follows from it alone."""
        return Coupling(gram_of(self.dictionaries))

    @property
    def gram(self) -> FloatArray:
        """``L + 1 = sum_i w_i Phi_i^T Phi_i``: (n_neurons, n_neurons)."""
        return self.coupling.gram

    @property
    def lateral(self) -> FloatArray:
        """L, the lateral weights: (n_neurons, n_neurons). Derived, never stored."""
        return self.coupling.lateral

    def dictionary(self, modality: str) -> Dictionary:
        """The dictionary of a modality.

        Parameters
        ----------
        modality : str

        Returns
        -------
        Dictionary

        Raises
        ------
        ValueError
            If there is no such modality.
        """
        for d in self.dictionaries:
            if d.name == modality:
                return d
        raise ValueError(f"modality is {modality!r}; one of {list(self.widths)} was awaited.")

    def with_parts(self, **parts: Any) -> Self:
        """A circuit in which some fields are others, and which trusts its atoms unchecked.

        Parameters
        ----------
        **parts
            Fields and what they are now, for example ``neuron=SpikingNeuron()``.

        Returns
        -------
        Circuit
        """
        whole: Any = self
        new = object.__new__(type(self))
        for part in fields(whole):
            object.__setattr__(new, part.name, parts.get(part.name, getattr(self, part.name)))
        return new

    def without_drivers(self) -> Self:
        """The same circuit with its drivers off: the one that may be used to predict.

        Returns
        -------
        Circuit
        """
        return self if not self.drivers else self.with_parts(drivers=())

    def faded(self, fraction: float) -> Self:
        """The same circuit with drivers as strong as they are after a part of the learning.

        Parameters
        ----------
        fraction : float in [0, 1]
            How much of the learning is done.

        Returns
        -------
        Circuit
        """
        return self.with_parts(drivers=tuple(d.faded(fraction) for d in self.drivers))

    def observe(self, *modalities: str) -> Self:
        """The circuit that sees only these modalities.

        Only their blocks enter the drive *and* the lateral inhibition. The part of each atom that
        is left is brought back to unit norm. A modality that is left out is not shown as zeros:
        zeros would be evidence of black.

        Parameters
        ----------
        *modalities : str
            At least one.

        Returns
        -------
        Circuit

        Raises
        ------
        ValueError
            If a modality is unknown, or none is named.
        """
        if not modalities:
            raise ValueError(f"No modality was named; at least one of {list(self.widths)} awaited.")
        chosen = {self.dictionary(name).name for name in modalities}
        kept = [d for d in self.dictionaries if d.name in chosen]
        if len(kept) == len(self.dictionaries):
            return self
        atoms = normalise_stacked([d.atoms for d in kept], [d.weight for d in kept])
        seen = tuple(d.with_atoms(phi) for d, phi in zip(kept, atoms, strict=True))
        return self.with_parts(dictionaries=seen)

    def observed_norms(self, *modalities: str) -> NDArray[np.float64]:
        """Norm of the part of each stacked atom that lies in these modalities.

        Parameters
        ----------
        *modalities : str

        Returns
        -------
        (n_neurons,) float64
        """
        kept = [self.dictionary(name) for name in modalities]
        return stacked_norms([d.atoms for d in kept], [d.weight for d in kept])

"""How linked dictionaries are used once they are learned: encode, decode, translate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from spikelca.circuit import Circuit
from spikelca.drivers import OrdinalDriver
from spikelca.estimators.base import Coder
from spikelca.estimators.samples import columns
from spikelca.validation import FloatArray


class LinkedCoder(Coder):
    """From the observed modality to codes, and from codes to every modality."""

    observe: str | Sequence[str] | None
    circuit_: Circuit
    components_: FloatArray
    classes_: NDArray[Any]

    def _observed(self) -> tuple[str, ...]:
        return self._observed_of(self.circuit_)

    def _observed_of(self, circuit: Circuit) -> tuple[str, ...]:
        if self.observe is None:
            return tuple(circuit.widths)
        return (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)

    def _observed_columns(self, X: ArrayLike) -> dict[str, FloatArray]:
        names = self._observed()
        widths = {name: self.circuit_.dictionary(name).n_inputs for name in names}
        alone = None
        if len(names) < len(self.circuit_.widths):
            alone = self._check(X, clone(self), values=False)
        if alone is None or alone.shape[1] == self.n_features_in_:
            stimuli = columns(self._check(X, values=False), self.circuit_.widths)
            return {name: stimuli[name] for name in names}
        if alone.shape[1] != sum(widths.values()):
            raise ValueError(
                f"X has {alone.shape[1]} features, but {type(self).__name__} is expecting "
                f"{sum(widths.values())} features as input (the observed modalities {widths}), "
                f"or all {self.n_features_in_} of {self.circuit_.widths}."
            )
        return columns(alone, widths)

    def transform(self, X: ArrayLike) -> FloatArray:
        """Codes of the observed modality, drivers off.

        Parameters
        ----------
        X : (n_samples, n_observed) or (n_samples, n_features)
            The observed columns, or all columns, of which the others are ignored. An array outside
            memory (a memory map, a `RowFile`, HDF5, Zarr) is read chunk by chunk; codes of a Dask
            array are a Dask array that is computed chunk by chunk.

        Returns
        -------
        (n_samples, n_components)
            In the precision of X; a ``csr_array`` with ``sparse_output``.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._observed_columns(X)
        circuit = self.circuit_.without_drivers().observe(*stimuli)
        circuit = circuit.with_parts(neuron=self._neuron(), transfer=self._transfer())
        return self._codes(circuit, stimuli)

    def inverse_transform(self, X: ArrayLike, modality: str | None = None) -> FloatArray:
        """What codes say about a modality.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes from `transform`, dense or sparse.
        modality : str, optional
            All modalities side by side unless told.

        Returns
        -------
        (n_samples, n_inputs)
        """
        check_is_fitted(self, "circuit_")
        names = list(self.circuit_.widths) if modality is None else [modality]
        code, seen = self._dense(X), self._observed()
        return np.hstack([self.circuit_.reconstruct(code, name, seen) for name in names])

    def translate(self, X: ArrayLike, to: str) -> FloatArray:
        """Recall one modality from the observed one: ``Phi_to a``.

        Parameters
        ----------
        X : as for `transform`
        to : str
            The modality to recall.

        Returns
        -------
        (n_samples, n_inputs)
        """
        return self.inverse_transform(self.transform(X), modality=to)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the neurons: of an ordinal code with class and place in its block.

        ``digit3_12`` is the twelfth neuron of the block of class 3. A label that is a word is its
        own name (``cat_12``); numbers are called ``digit`` where the classes are 0 to 9, and
        ``class`` otherwise. A neuron outside all blocks has the plain name that every neuron has
        without an ordinal driver: ``linkedlca`` and its index.

        Parameters
        ----------
        input_features : ignored
            The names of the columns of X say nothing about the neurons.

        Returns
        -------
        (n_components,) array of str
        """
        names = super().get_feature_names_out(input_features)
        for driver in self.circuit_.drivers:
            if isinstance(driver, OrdinalDriver):
                return in_blocks(names, driver, self.classes_)
        return np.asarray(names)

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])


def in_blocks(
    names: NDArray[np.object_], driver: OrdinalDriver, classes: NDArray[Any]
) -> NDArray[np.object_]:
    """The names of neurons, those in a block named after its class."""
    labels = np.asarray(classes).tolist()
    word = "digit" if labels == list(range(10)) else "class"
    called = [label if isinstance(label, str) else f"{word}{label}" for label in labels]
    block, found = driver.block_size(len(names)), names.copy()
    for neuron, owner in enumerate(driver.owner(len(names))):
        if owner >= 0:
            found[neuron] = f"{called[owner]}_{neuron % block + 1}"
    return found

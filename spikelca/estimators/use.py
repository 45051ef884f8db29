"""How linked dictionaries are used once they are learned: encode, decode, translate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from spikelca.circuit import Circuit
from spikelca.estimators.base import Coder
from spikelca.estimators.samples import columns
from spikelca.validation import FloatArray


class LinkedCoder(Coder):
    """From the observed modality to codes, and from codes to every modality."""

    observe: str | Sequence[str] | None
    circuit_: Circuit
    components_: FloatArray

    def _observed(self) -> tuple[str, ...]:
        if self.observe is None:
            return tuple(self.circuit_.widths)
        return (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)

    def _observed_columns(self, X: ArrayLike) -> dict[str, FloatArray]:
        names = self._observed()
        widths = {name: self.circuit_.dictionary(name).n_inputs for name in names}
        alone = None
        if len(names) < len(self.circuit_.widths):
            alone = self._check(X, clone(self))
        if alone is None or alone.shape[1] == self.n_features_in_:
            stimuli = columns(self._check(X), self.circuit_.widths)
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
            The observed columns, or all columns, of which the others are ignored. Codes of a Dask
            array are a Dask array that is computed chunk by chunk.

        Returns
        -------
        (n_samples, n_components)
            In the precision of X.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._observed_columns(X)
        circuit = self.circuit_.without_drivers().observe(*stimuli)
        circuit = circuit.with_parts(neuron=self._neuron(), transfer=self._transfer())
        dtype = next(iter(stimuli.values())).dtype
        return self._codes(circuit, stimuli).astype(dtype, copy=False)

    def inverse_transform(self, X: ArrayLike, modality: str | None = None) -> FloatArray:
        """What codes say about a modality.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes from `transform`.
        modality : str, optional
            All modalities side by side unless told.

        Returns
        -------
        (n_samples, n_inputs)
        """
        check_is_fitted(self, "circuit_")
        names = list(self.circuit_.widths) if modality is None else [modality]
        code, seen = np.asarray(X), self._observed()
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

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

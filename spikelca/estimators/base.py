"""What the estimators share: parameters become parts of a circuit, and rows become codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import validate_data

from spikelca.circuit import Circuit
from spikelca.circuit.encoding import encode_sparse
from spikelca.distributed import check_dask as checked_lazily
from spikelca.distributed import encode_lazily, is_dask
from spikelca.engines import Engine, get_engine
from spikelca.model.neurons import Neuron, RateNeuron, SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold, Transfer
from spikelca.utils.out_of_core import as_lazy, check_lazy
from spikelca.utils.validation import FloatArray, check_finite, is_out_of_core

_NEURONS: Mapping[str, Callable[[], Neuron]] = {"rate": RateNeuron, "spiking": SpikingNeuron}
_TRANSFERS: Mapping[str, Callable[[float, bool], Transfer]] = {
    "soft": SoftThreshold,
    "hard": HardThreshold,
}


def _lookup(table: Mapping[str, Any], name: Any, what: str) -> Any:
    if name not in table:
        raise ValueError(f"{what} is {name!r}; one of {list(table)} was awaited.")
    return table[name]


def compute_codes(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    tol: float,
    engine: str | Engine,
    duration: float | None,
) -> FloatArray:
    """Settled codes of a rate circuit, spike-rate codes of a spiking one."""
    if isinstance(circuit.neuron, RateNeuron):
        return circuit.encode(stimuli, tol, engine=engine).code
    duration = 20 * circuit.neuron.tau if duration is None else duration
    return circuit.simulate(stimuli, duration, engine=engine).code


def compute_sparse_codes(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    tol: float,
    engine: str | Engine,
    duration: float | None,
) -> Any:
    """The same codes as a sparse array; settled ones are never held dense as a whole."""
    if isinstance(circuit.neuron, RateNeuron):
        return encode_sparse(circuit.compile, stimuli, circuit.dtype, get_engine(engine), tol)
    return sparse.csr_array(compute_codes(circuit, stimuli, tol, engine, duration))


class _BaseLCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What both estimators share: from a circuit and rows to codes."""

    threshold: float
    transfer: str
    two_sided: bool
    neuron: str | Neuron
    engine: str | Engine
    tol: float
    duration: float | None
    sparse_output: bool

    def _neuron(self) -> Neuron:
        if isinstance(self.neuron, (RateNeuron, SpikingNeuron)):
            return self.neuron
        return _lookup(_NEURONS, self.neuron, "neuron")()

    def _transfer(self) -> Transfer:
        made = _lookup(_TRANSFERS, self.transfer, "transfer")(self.threshold, self.two_sided)
        return made

    def _codes(self, circuit: Circuit, stimuli: Mapping[str, FloatArray]) -> FloatArray:
        """Settled codes of a rate circuit, spike-rate codes of a spiking one.

        In the precision of the stimuli, and sparse if that was asked for.
        """
        kind = compute_sparse_codes if self.sparse_output else compute_codes
        run = partial(kind, tol=self.tol, engine=self.engine, duration=self.duration)
        if not any(is_dask(X) for X in stimuli.values()):
            return run(circuit, stimuli).astype(next(iter(stimuli.values())).dtype, copy=False)
        if self.sparse_output:
            raise ValueError(
                "sparse_output=True was asked of a Dask array, whose codes are a lazy dense array. "
                "Take sparse_output=False, or encode arrays in memory."
            )
        return encode_lazily(circuit, stimuli, run)

    def _check_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} is {value!r}; a whole number of 1 or more was awaited.")

    def _check(
        self, X: ArrayLike, reset_on: BaseEstimator | None = None, *, values: bool = True
    ) -> FloatArray:
        """X as a finite float array; what scikit-learn keeps of it is kept on ``reset_on``.

        What lies outside memory stays there, as do the rows that Dask holds. Values on a disk are
        read once to be checked, or not at all if whoever reads them later checks them before
        anything comes of it.
        """
        keeper, reset = self if reset_on is None else reset_on, reset_on is not None
        if is_dask(X):
            lazy: FloatArray = checked_lazily(X)
            validate_data(keeper, X, reset=reset, skip_check_array=True)
            return lazy
        if is_out_of_core(X):
            far = as_lazy(X)
            validate_data(keeper, X, reset=reset, skip_check_array=True)
            if values:
                check_lazy(far)
            return far
        checked: FloatArray = validate_data(
            keeper, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite=False
        )
        check_finite(checked, "X")
        return checked

    @staticmethod
    def _dense(codes: Any) -> FloatArray:
        """Codes as `transform` gives them, dense or sparse, as an array."""
        return np.asarray(codes.toarray() if sparse.issparse(codes) else codes)

    def _keep_signature(self, probe: BaseEstimator) -> None:
        self.n_features_in_ = probe.n_features_in_
        if hasattr(probe, "feature_names_in_"):
            self.feature_names_in_ = probe.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

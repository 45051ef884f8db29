"""Shared code of the estimators: parameters to circuits, and samples to codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from spikelca.circuit import Circuit
from spikelca.circuit.encoding import encode_sparse
from spikelca.distributed import check_dask, encode_lazily, is_dask
from spikelca.engines import Engine, get_engine
from spikelca.estimators.automatic_threshold import (
    DEFAULT_THRESHOLD,
    choose_threshold,
    is_automatic,
)
from spikelca.model.neurons import Neuron, RateNeuron, SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold, Transfer
from spikelca.utils.out_of_core import as_lazy, check_lazy
from spikelca.utils.sparse_rows import SparseRows, is_sparse
from spikelca.utils.validation import FloatArray, check_finite, is_out_of_core

_NEURONS: Mapping[str, Callable[[], Neuron]] = {"rate": RateNeuron, "spiking": SpikingNeuron}
_TRANSFERS: Mapping[str, Callable[[float, bool], Transfer]] = {
    "soft": SoftThreshold,
    "hard": HardThreshold,
}


def _lookup(table: Mapping[str, Any], value: Any, parameter: str) -> Any:
    if value not in table:
        raise ValueError(f"{parameter} must be one of {list(table)}, got {value!r}.")
    return table[value]


def compute_codes(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    tol: float,
    engine: str | Engine,
    duration: float | None,
    sparse_output: bool,
) -> Any:
    """Compute steady-state codes of a rate circuit, simulated codes of a spiking one.

    They have the precision of the stimuli. Sparse steady-state codes are computed chunk by chunk.
    """
    dtype, is_rate = next(iter(stimuli.values())).dtype, isinstance(circuit.neuron, RateNeuron)
    if is_rate and sparse_output:
        engine = get_engine(engine)
        code = encode_sparse(circuit.compile, stimuli, circuit.dtype, engine, tol)
    elif is_rate:
        code = circuit.encode(stimuli, tol, engine=engine).code
    else:
        duration = 20 * circuit.neuron.tau if duration is None else duration
        code = circuit.simulate(stimuli, duration, engine=engine).code
        code = sparse.csr_array(code) if sparse_output else code
    return code.astype(dtype, copy=False)


def compute_in_blocks(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    compute: Callable[[Circuit, Mapping[str, FloatArray]], Any],
    block: int,
) -> Any:
    """Compute codes block by block, so that few rows of wide sparse samples are dense at a time."""
    starts = range(0, len(next(iter(stimuli.values()))), block)
    codes = [
        compute(circuit, {name: X[start : start + block] for name, X in stimuli.items()})
        for start in starts
    ]
    return sparse.vstack(codes, format="csr") if sparse.issparse(codes[0]) else np.vstack(codes)


_CIRCUITS: WeakKeyDictionary[Any, tuple[tuple[Any, ...], Circuit]] = WeakKeyDictionary()
"""The last inference circuit of each estimator, and the values from which it was made. It is not an
attribute, because `transform` must not change the estimator."""


def keep_circuit(
    estimator: BaseEstimator, source: Any, values: tuple[Any, ...], make: Callable[[], Circuit]
) -> Circuit:
    """Return the inference circuit of an estimator, kept until parameters or atoms change.

    A circuit computes its Gram matrix and memory layouts once, which takes many times as long as
    encoding one sample.

    Parameters
    ----------
    estimator : BaseEstimator
    source : object
        Learned circuit or given atoms, compared by identity.
    values : tuple
        Parameters, compared by value.
    make : callable
        Makes the circuit.
    """
    key, circuit = _CIRCUITS.get(estimator, ((), None))
    if circuit is None or key[0] is not source or key[1:] != values:
        circuit = make()
        _CIRCUITS[estimator] = ((source, *values), circuit)
    return circuit


class _BaseLCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base class of the estimators: from a circuit and samples to codes."""

    threshold: float | str | None
    n_active: float | None
    threshold_: float
    transfer: str
    two_sided: bool
    neuron: str | Neuron
    engine: str | Engine
    tol: float
    duration: float | None
    sparse_output: bool

    def _make_neuron(self) -> Neuron:
        if isinstance(self.neuron, Neuron):
            return self.neuron
        return _lookup(_NEURONS, self.neuron, "neuron")()

    def _make_transfer(self, threshold: float | None = None) -> Transfer:
        make_transfer = _lookup(_TRANSFERS, self.transfer, "transfer")
        return make_transfer(
            self._current_threshold() if threshold is None else threshold, self.two_sided
        )

    def _is_automatic(self) -> bool:
        return is_automatic(self.threshold, self.n_active)

    def _current_threshold(self) -> Any:
        """Return the given threshold, or the one that `fit` has chosen."""
        if not self._is_automatic():
            return DEFAULT_THRESHOLD if self.threshold is None else self.threshold
        check_is_fitted(self, "threshold_")
        if self._chosen_for != (self.threshold, self.n_active):
            raise ValueError(
                "threshold and n_active must be those of the last fit, got "
                f"threshold={self.threshold!r} and n_active={self.n_active}. Call fit again, or "
                "pass a number as threshold."
            )
        return self.threshold_

    def _set_chosen(self, threshold: float) -> None:
        self.threshold_ = threshold
        self._chosen_for = (self.threshold, self.n_active)

    def _choose_threshold(self, circuit: Circuit, samples: Mapping[str, FloatArray]) -> float:
        return choose_threshold(circuit, samples, self.n_active, self.tol)

    def _code_function(self, stimuli: Mapping[str, Any]) -> Callable[..., FloatArray]:
        """Return the function from circuit and stimuli to codes, lazy for Dask arrays."""
        compute = partial(
            compute_codes,
            tol=self.tol,
            engine=self.engine,
            duration=self.duration,
            sparse_output=self.sparse_output,
        )
        sources = [getattr(X, "source", None) for X in stimuli.values()]
        if isinstance(sources[0], SparseRows):
            return partial(compute_in_blocks, compute=compute, block=sources[0].block)
        if not any(is_dask(X) for X in stimuli.values()):
            return compute
        if self.sparse_output:
            raise ValueError(
                "sparse_output must be False for a Dask array, got True. The codes of a Dask array "
                "are a dense Dask array: use sparse_output=False, or arrays in memory."
            )
        return partial(encode_lazily, codes=compute)

    def _check_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")

    def _validate(
        self, X: ArrayLike, reset_on: BaseEstimator | None = None, *, values: bool = True
    ) -> FloatArray:
        """Check X and return it as a finite float array.

        scikit-learn stores the feature names of X on ``reset_on``, or compares them with those of
        ``self`` if it is None. Out-of-core and Dask arrays are not loaded. The values of
        out-of-core arrays are read once if ``values``; otherwise the caller checks them on reading.
        """
        target, reset = self if reset_on is None else reset_on, reset_on is not None
        if is_dask(X):
            lazy: FloatArray = check_dask(X)
            validate_data(target, X, reset=reset, skip_check_array=True)
            return lazy
        if is_sparse(X):
            validate_data(target, X, reset=reset, skip_check_array=True)
            return as_lazy(SparseRows(X))
        if is_out_of_core(X):
            columns = as_lazy(X)
            validate_data(target, X, reset=reset, skip_check_array=True)
            if values:
                check_lazy(columns)
            return columns
        checked: FloatArray = validate_data(
            target, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite=False
        )
        check_finite(checked, "X")
        return checked

    def _make_validator(self) -> Self:
        """Make an estimator without parameters, on which scikit-learn stores feature names."""
        return object.__new__(type(self))

    @staticmethod
    def _to_dense(codes: Any) -> FloatArray:
        """Convert codes from `transform`, dense or sparse, to a dense array."""
        return np.asarray(codes.toarray() if sparse.issparse(codes) else codes)

    def _copy_feature_names(self, validator: BaseEstimator) -> None:
        self.n_features_in_ = validator.n_features_in_
        if hasattr(validator, "feature_names_in_"):
            self.feature_names_in_ = validator.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

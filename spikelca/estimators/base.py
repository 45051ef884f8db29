"""Shared code of the estimators: parameters to circuits, and samples to codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import largest_norm
from spikelca.circuit.encoding import encode_sparse
from spikelca.distributed import check_dask, encode_lazily, is_dask
from spikelca.engines import Engine, get_engine
from spikelca.estimators.automatic_threshold import (
    DEFAULT_THRESHOLD,
    choose_threshold,
    is_automatic,
)
from spikelca.model.atoms import stacked_norms
from spikelca.model.neurons import Neuron, RateNeuron, SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold, Transfer
from spikelca.utils.out_of_core import CHUNK_SAMPLES, as_lazy, check_lazy
from spikelca.utils.sparse_rows import SparseRows, is_sparse
from spikelca.utils.validation import (
    FloatArray,
    check_finite,
    check_positive,
    is_out_of_core,
    reject_dimension,
    reject_masked,
    to_positive_seconds,
)

_NEURONS: Mapping[str, Callable[[], Neuron]] = {"rate": RateNeuron, "spiking": SpikingNeuron}
_TRANSFERS: Mapping[str, Callable[[float, bool], Transfer]] = {
    "soft": SoftThreshold,
    "hard": HardThreshold,
}


def _lookup(table: Mapping[str, Any], value: Any, parameter: str) -> Any:
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"{parameter} must be one of {list(table)}, got {value!r}.")
    return table[value]


def compute_codes(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    tol: float,
    engine: str | Engine,
    duration: float | None,
    dt: float | None,
    max_iter: int,
    sparse_output: bool,
) -> Any:
    """Compute steady-state codes of a rate circuit, simulated codes of a spiking one.

    They have the precision of the stimuli. Sparse steady-state codes are computed chunk by chunk.
    """
    dtype, is_rate = next(iter(stimuli.values())).dtype, isinstance(circuit.neuron, RateNeuron)
    if is_rate and sparse_output:
        engine = get_engine(engine)
        code = encode_sparse(circuit.compile, stimuli, circuit.dtype, engine, tol, max_iter)
    elif is_rate:
        code = circuit.encode(stimuli, tol, engine=engine, max_iter=max_iter).code
    else:
        duration = 20 * circuit.neuron.tau if duration is None else duration
        code = circuit.simulate(stimuli, duration, dt, engine=engine).code
        code = sparse.csr_array(code) if sparse_output else code
    return code.astype(dtype, copy=False)


@contextmanager
def limit_jobs(n_jobs: int | None) -> Iterator[None]:
    """Limit the threads of the kernels in a context; -1 for all of them, -2 for all but one."""
    from spikelca.engines.numba.jit.parallel import limit_threads, max_threads

    n_threads = n_jobs if n_jobs is None or n_jobs > 0 else max(max_threads() + 1 + n_jobs, 1)
    with nullcontext() if n_threads is None else limit_threads(n_threads):
        yield


HEADROOM = 1.25
"""Factor on the largest norm in training, for which spiking neurons do not saturate."""


def simulation_step(circuit: Circuit, largest_norms: Mapping[str, float]) -> float:
    """Compute the dt in seconds for samples of up to `HEADROOM` times these norms.

    A drive is at most the norm of the sample times the norm of the atom, and a neuron may fire at
    most once per step.
    """
    assert isinstance(circuit.neuron, SpikingNeuron)
    ds, k = circuit.dictionaries, circuit.coupling.default_step
    norm = HEADROOM * np.sqrt(sum(d.weight * largest_norms[d.name] ** 2 for d in ds))
    drive = norm * stacked_norms([d.atoms for d in ds], [d.weight for d in ds]).max()
    if isinstance(circuit.transfer, SoftThreshold):
        drive -= circuit.transfer.threshold
    if drive > 0:
        k = min(k, circuit.neuron.quantum / drive)
    return float(k * circuit.neuron.tau)


def find_largest_norm(X: Any) -> float:
    """Compute the largest norm of a sample, chunk by chunk."""
    if is_dask(X):
        return float((X.astype(np.float64) ** 2).sum(axis=1).max().compute()) ** 0.5
    chunks = range(0, len(X), CHUNK_SAMPLES)
    return max(largest_norm(X[start : start + CHUNK_SAMPLES]) for start in chunks)


def explained_energy(
    samples: Mapping[str, Any], reconstructions: Mapping[str, Any], weights: Mapping[str, float]
) -> float:
    """Compute ``1 - sum w |x - y|^2 / sum w |x|^2`` of all modalities; NaN in x is left out."""
    error = energy = 0.0
    for name, reconstruction in reconstructions.items():
        X = samples[name]
        for start in range(0, len(X), CHUNK_SAMPLES):
            rows = slice(start, start + CHUNK_SAMPLES)
            x = np.asarray(X[rows], dtype=np.float64)
            y = np.where(np.isnan(x), x, reconstruction[rows])
            error += weights[name] * float(np.nansum(np.square(x - y)))
            energy += weights[name] * float(np.nansum(np.square(x)))
    return 1 - error / energy if energy else 1.0 - error


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


def _list_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of all dataclasses among the values, and theirs, by nested names."""
    fields = {
        f"{name}__{field.name}": getattr(value, field.name)
        for name, value in values.items()
        if is_dataclass(value)
        for field in dataclass_fields(value)
    }
    return fields | _list_fields(fields) if fields else fields


def _group_nested(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group values with nested names by the first part of the name."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in params.items():
        name, delimiter, rest = key.partition("__")
        if delimiter:
            groups.setdefault(name, {})[rest] = value
    return groups


def _replace_fields(value: Any, changes: Mapping[str, Any], name: str) -> Any:
    """Return a dataclass with changed fields, whose names may be nested."""
    names = [field.name for field in dataclass_fields(value)] if is_dataclass(value) else []
    unknown = [key for key in changes if key.partition("__")[0] not in names]
    if unknown:
        raise ValueError(
            f"{name}__{unknown[0]} must be a parameter or a field of {name}, which has {names}, "
            f"got {name}={value!r}."
        )
    direct = {key: new for key, new in changes.items() if "__" not in key}
    for field, nested in _group_nested(changes).items():
        old = direct.get(field, getattr(value, field))
        direct[field] = _replace_fields(old, nested, f"{name}__{field}")
    return replace(value, **direct)


def _is_checked(X: Any, target: BaseEstimator) -> bool:
    """Whether scikit-learn would return X as it is; its checks take as long as the code of a row.

    So is a plain array of floats with the columns of an estimator that knows no feature names.
    """
    return (
        type(X) is np.ndarray
        and X.dtype in (np.float64, np.float32)
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == getattr(target, "n_features_in_", None)
        and not hasattr(target, "feature_names_in_")
    )


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
    dt: float | None
    max_iter: int
    n_jobs: int | None
    sparse_output: bool
    largest_norms_: dict[str, float]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the fields of drivers, rules and neurons, too, with names such as
            ``driver__inhibition`` and ``driver__fade__until``.

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_params(deep)
        return params | _list_fields(params) if deep else params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and fields of drivers, rules and neurons, for example in a grid.

        Parameters
        ----------
        **params
            Parameters by name. ``driver__inhibition=0.1`` replaces the driver by one with another
            inhibition.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no such parameter or field.
        """
        super().set_params(**{name: value for name, value in params.items() if "__" not in name})
        for name, changes in _group_nested(params).items():
            setattr(self, name, _replace_fields(getattr(self, name, None), changes, name))
        return self

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

    def _simulation_dt(self, circuit: Circuit) -> float | None:
        """Return the dt of spiking neurons, which does not depend on the samples to encode."""
        if self.dt is not None or not isinstance(circuit.neuron, SpikingNeuron):
            return self.dt
        norms = getattr(self, "largest_norms_", {})
        if not np.isfinite([norms.get(name, np.nan) for name in circuit.widths]).all():
            raise NotFittedError(
                f"{type(self).__name__} with spiking neurons must be fitted, because `fit` "
                "computes dt from the samples. Use fit, or dt=... in seconds."
            )
        return simulation_step(circuit, norms)

    def _get_dt(self, circuit: Circuit) -> float:
        dt = self._simulation_dt(circuit)
        if dt is None:
            raise AttributeError("dt_ is defined for spiking neurons only.")
        return dt

    def _code_function(
        self, circuit: Circuit, stimuli: Mapping[str, Any]
    ) -> Callable[..., FloatArray]:
        """Return the function from circuit and stimuli to codes, lazy for Dask arrays."""
        compute = partial(
            compute_codes,
            tol=self.tol,
            engine=self.engine,
            duration=self.duration,
            dt=self._simulation_dt(circuit),
            max_iter=self.max_iter,
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

    def _check_settings(self) -> None:
        """Check the parameters of inference, so that `fit` rejects them before training."""
        self._make_neuron()
        # An automatic threshold is known after training only.
        self._make_transfer(DEFAULT_THRESHOLD if self._is_automatic() else None)
        if self.n_active is not None:
            check_positive(self.n_active, "n_active")
        if not isinstance(self.engine, (str, Engine)):
            raise TypeError(f"engine must be a name or an Engine instance, got {self.engine!r}.")
        get_engine(self.engine)
        check_positive(self.tol, "tol")
        if self.duration is not None:
            to_positive_seconds(self.duration, "duration")
        if self.dt is not None:
            to_positive_seconds(self.dt, "dt")
        self._check_counts("max_iter")
        if self.n_jobs is not None and (
            not isinstance(self.n_jobs, (int, np.integer)) or self.n_jobs == 0
        ):
            raise ValueError(f"n_jobs must be None or a whole number, not 0, got {self.n_jobs!r}.")

    def _check_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")

    def _validate(
        self,
        X: ArrayLike,
        reset_on: BaseEstimator | None = None,
        *,
        like: BaseEstimator | None = None,
        values: bool = True,
        ignored_columns: bool = False,
    ) -> FloatArray:
        """Check X and return it as a float array.

        scikit-learn stores the feature names of X on ``reset_on``, or compares them with those of
        ``like`` (default: self) if it is None. Out-of-core and Dask arrays are not loaded. The
        values of out-of-core arrays are read once if ``values``; otherwise the caller checks them
        on reading, as all values if X has ``ignored_columns``.
        """
        reject_masked(X, "X")
        reject_dimension(X, "X")
        reset = reset_on is not None
        target = reset_on or like or self
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
        checked: Any = X
        if reset or not _is_checked(X, target):
            checked = validate_data(
                target, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite=False
            )
        if not ignored_columns:
            check_finite(checked, "X")
        return np.asarray(checked)

    def _make_validator(self) -> Self:
        """Make an estimator without parameters, on which scikit-learn stores feature names."""
        return object.__new__(type(self))

    @staticmethod
    def _to_dense(codes: Any) -> FloatArray:
        """Convert codes from `transform`, dense or sparse, to a dense array."""
        reject_masked(codes, "X")
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

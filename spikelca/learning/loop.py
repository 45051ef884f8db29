"""The training loop over batches: encode, take a Hebbian or a contrastive step, yield.

`learn` is a generator, so that the caller can show progress, write a checkpoint, stop early or plot
between two batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import (
    BatchStatistics,
    BatchSums,
    largest_norm,
    make_statistics,
)
from spikelca.circuit.dictionary_update import eligible_samples
from spikelca.engines import Engine, get_engine
from spikelca.learning.contrast import check_contrast, contrastive_step, free_phase_code
from spikelca.model.drivers import Driver
from spikelca.model.plasticity import Contrast
from spikelca.utils.system import single_blas_thread
from spikelca.utils.validation import FloatArray, check_shapes

MAX_ITER = 100_000
"""Default number of rounds of the solver per sample, that of `Circuit.encode`."""


class RemoteBatch(ABC):
    """Samples outside this process, which are encoded where they are and return their sums.

    Examples
    --------
    >>> class UnitBatch(RemoteBatch):
    ...     def compute_statistics(self, circuit, labels, tol, engine):
    ...         x = {"x": np.eye(2)}
    ...         return make_statistics(circuit.dictionaries, x, circuit.encode(x, tol).code)
    >>> from spikelca import Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> [progress.n_samples for _, progress in learn(circuit, [(UnitBatch(), None)])]
    [2]
    """

    @abstractmethod
    def compute_statistics(
        self, circuit: Circuit, labels: Any, tol: float, engine: Engine
    ) -> BatchStatistics:
        """Compute the statistics of the samples for one learning step.

        Parameters
        ----------
        circuit : Circuit
            With its drivers at their present strength.
        labels : (n_samples,) int, optional
        tol : float
            Tolerance of the steady-state codes.
        engine : Engine

        Returns
        -------
        BatchStatistics
            From `make_statistics`, or from the sums of blocks.
        """


UNLABELLED = -1
"""Class number of a sample without a label, which is encoded without drivers."""

Batch = (
    tuple[Mapping[str, FloatArray] | RemoteBatch, ArrayLike | None]
    | tuple[Mapping[str, FloatArray] | RemoteBatch, ArrayLike | None, ArrayLike | None]
)
"""Stimuli of each modality, labels of the samples (None without drivers), optionally weights."""


@dataclass(frozen=True)
class Progress:
    """Progress of a training run after a batch.

    Attributes
    ----------
    batch : int
        Number of batches so far, including this one.
    n_samples : int
        Number of samples of this batch.
    active : float
        Mean number of active neurons per sample.
    error : mapping of modality to float
        ``sum |x - Phi a|^2 / sum |x|^2`` over the samples of this batch, before the step.
    redrawn : int, default=0
        Number of idle atoms re-initialised.
    largest_norm : mapping of modality to float
        Largest ``|x|`` of this batch.

    Examples
    --------
    >>> Progress(batch=3, n_samples=100, active=8.5, error={"x": 0.125}).error["x"]
    0.125
    """

    batch: int
    n_samples: int
    active: float
    error: Mapping[str, float] = field(default_factory=dict)
    redrawn: int = 0
    largest_norm: Mapping[str, float] = field(default_factory=dict)


def learn(
    circuit: Circuit,
    batches: Iterable[Batch],
    *,
    n_batches: int | None = None,
    first: int = 0,
    batch_size: int | None = None,
    tol: float = 1e-3,
    engine: str | Engine = "numba",
    max_iter: int = MAX_ITER,
    rng: np.random.Generator | None = None,
    contrast: Contrast | None = None,
    observe: Sequence[str] = (),
) -> Iterator[tuple[Circuit, Progress]]:
    """Learn batch by batch; yields the circuit after each batch with its progress.

    Parameters
    ----------
    circuit : Circuit
        Initial circuit, whose drivers are on and change with the progress.
    batches : iterable of (stimuli, labels) or (stimuli, labels, weights)
        Weights multiply the contribution of each sample to the step; a sample of weight zero has
        no effect.
    n_batches : int, optional
        Number of batches of the whole training run, to which the strength of drivers refers (if
        None, their strength is constant).
    first : int, default=0
        Number of batches that are already learned, if a training run is resumed.
    batch_size : int, optional
        Number of samples to which the decay of the Hebbian rule refers (default: those of each
        batch). Smaller batches then have a smaller decay, ``decay ** (n_samples / batch_size)``.
    tol : float, default=1e-3
        Tolerance of the steady-state codes, see `Circuit.encode`.
    engine : {"numba", "reference"} or Engine, default="numba"
    max_iter : int, default=100_000
        Maximum number of rounds of the solver per sample, see `Circuit.encode`.
    rng : numpy Generator, optional
        Draws new atoms for idle neurons; if None, idle atoms are not re-initialised.
    contrast : Contrast, optional
        Makes the last part of the training run contrastive; requires ``n_batches``.
    observe : sequence of str, default=()
        With contrast: the modalities observed at inference.

    Yields
    ------
    (Circuit, Progress)

    Raises
    ------
    ValueError
        If the clamped and the free phase of a contrast are identical, or its n_batches is None.
    NotImplementedError
        With contrast, for a `RemoteBatch`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> batches = [({"x": np.array([[0.6, 0.8]])}, None)] * 3
    >>> for circuit, progress in learn(circuit, batches):
    ...     pass
    >>> progress.batch
    3
    """
    engine = get_engine(engine)
    if contrast is not None:
        check_contrast(circuit, observe)
        if n_batches is None:
            raise ValueError(
                "n_batches must be given with contrast, got None. Contrast is the last part of a "
                "training run of known length."
            )
    for batch, (stimuli, labels, *more) in enumerate(batches, start=first):
        weights = more[0] if more else None
        is_default = contrast is None and max_iter == MAX_ITER and weights is None
        if isinstance(stimuli, RemoteBatch) and not is_default:
            raise NotImplementedError(
                "contrast, max_iter and sample weights are not supported for samples on Dask "
                f"workers. Use contrast=None, max_iter={MAX_ITER} and no weights, or an array in "
                "memory or on disk."
            )
        progress = 0.0 if n_batches is None else batch / n_batches
        strength = 0.0 if contrast is None else contrast.strength(progress)
        driven_circuit = circuit._at_progress(progress)
        # The limit does not extend over the yield, so the caller can use all BLAS threads.
        with single_blas_thread():
            statistics = _batch_statistics(
                driven_circuit, stimuli, labels, weights, tol, engine, max_iter
            )
            _check_scale(circuit, statistics.sums.largest_norm)
            if contrast is not None and strength:
                free = _free_phase_sums(circuit, stimuli, weights, observe, tol, engine, max_iter)
                circuit = contrastive_step(
                    circuit, statistics.sums, free, observe, contrast, strength, batch_size
                )
            else:
                size = (statistics.n_samples, circuit.n_neurons)
                eligible = partial(eligible_rows, circuit.drivers, labels, *size)
                circuit = circuit._apply_statistics(statistics, eligible, rng, batch_size)
        yield circuit, _make_progress(circuit, statistics.sums, batch + 1)


def _check_scale(circuit: Circuit, norms: Mapping[str, float]) -> None:
    """Raise ValueError if the first samples are so small that products of them underflow."""
    assert circuit.plasticity is not None
    largest, smallest = max(norms.values()), 1e3 * np.sqrt(np.finfo(circuit.dtype).tiny)
    if 0 < largest < smallest and not circuit.plasticity.usage.any():
        raise ValueError(
            f"X must have samples with a norm of at least {smallest:.0e} for learning in "
            f"{circuit.dtype}, got at most {largest:.2g}. Scale the data, and the threshold."
        )


def _batch_statistics(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray] | RemoteBatch,
    labels: ArrayLike | None,
    weights: ArrayLike | None,
    tol: float,
    engine: Engine,
    max_iter: int,
) -> BatchStatistics:
    if isinstance(stimuli, RemoteBatch):
        return stimuli.compute_statistics(circuit, labels, tol, engine)
    arrays = check_shapes(stimuli, circuit.widths)
    if _is_labelled(labels) is None:
        response = circuit.encode(arrays, tol, labels=labels, engine=engine, max_iter=max_iter)
        code = response.code  # the values of the stimuli have been checked
    else:
        code = encode_labelled(circuit, arrays, labels, tol, engine, max_iter)
    return _weighted_statistics(circuit, as_precision(arrays, circuit.dtype), code, weights)


def _weighted_statistics(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    code: FloatArray,
    weights: ArrayLike | None,
) -> BatchStatistics:
    """Compute the statistics of samples, each scaled by the square root of its weight.

    All sums are quadratic in stimuli and codes, so each sample counts with its weight.
    """
    if weights is None:
        return make_statistics(circuit.dictionaries, stimuli, code)
    scale = np.sqrt(np.asarray(weights, dtype=np.float64)).astype(circuit.dtype)[:, None]
    scaled = {name: X * scale for name, X in stimuli.items()}
    statistics = make_statistics(circuit.dictionaries, scaled, code * scale)
    norms = {name: largest_norm(X) for name, X in stimuli.items()}
    return replace(statistics, sums=replace(statistics.sums, largest_norm=norms))


def encode_labelled(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    labels: ArrayLike | None,
    tol: float,
    engine: Engine,
    max_iter: int = MAX_ITER,
) -> FloatArray:
    """Compute codes with drivers, those of unlabelled samples without drivers."""
    encode = partial(circuit.encode, tol=tol, engine=engine, max_iter=max_iter)
    is_labelled = _is_labelled(labels)
    if is_labelled is None:
        return encode(stimuli, labels=labels).code
    undriven = circuit.without_drivers()
    code = undriven.encode(stimuli, tol, engine=engine, max_iter=max_iter).code
    if is_labelled.any():
        rows = {name: X[is_labelled] for name, X in stimuli.items()}
        code[is_labelled] = encode(rows, labels=np.asarray(labels)[is_labelled]).code
    return code


def _is_labelled(labels: ArrayLike | None) -> NDArray[np.bool_] | None:
    """Return which samples have a label, None if all of them have one or none needs one."""
    is_labelled = None if labels is None else np.asarray(labels) != UNLABELLED
    return None if is_labelled is None or is_labelled.all() else is_labelled


def eligible_rows(
    drivers: Sequence[Driver], labels: ArrayLike | None, n_samples: int, n_neurons: int
) -> NDArray[np.bool_] | None:
    """Return the samples from which each neuron may be initialised, None if drivers assign none.

    Unlabelled samples are for none of the neurons.
    """
    is_labelled = _is_labelled(labels)
    if is_labelled is None:
        return eligible_samples(drivers, labels, n_samples, n_neurons)
    eligible = np.zeros((n_samples, n_neurons), dtype=np.bool_)
    if is_labelled.any():
        numbers = np.asarray(labels)[is_labelled]
        found = eligible_samples(drivers, numbers, numbers.size, n_neurons)
        if found is None:
            return None
        eligible[is_labelled] = found
    return eligible


def as_precision(arrays: Mapping[str, NDArray[Any]], dtype: np.dtype[Any]) -> dict[str, FloatArray]:
    """Convert the stimuli of a batch, whose values have been checked, to a precision."""
    return {name: np.asarray(X, dtype=dtype) for name, X in arrays.items()}


def _free_phase_sums(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray] | RemoteBatch,
    weights: ArrayLike | None,
    observe: Sequence[str],
    tol: float,
    engine: Engine,
    max_iter: int,
) -> BatchSums:
    """Compute the sums of a batch, which has been checked, with the codes of the free phase."""
    assert not isinstance(stimuli, RemoteBatch)
    arrays = as_precision(check_shapes(stimuli, circuit.widths), circuit.dtype)
    code = free_phase_code(circuit, arrays, observe, tol, engine, max_iter)
    return _weighted_statistics(circuit, arrays, code, weights).sums


def _make_progress(circuit: Circuit, sums: BatchSums, batch: int) -> Progress:
    assert circuit.plasticity is not None
    n_samples = sums.activity.n_samples
    error = {
        name: sums.error[name] / energy if energy else 0.0
        for name, energy in sums.stimulus_energy.items()
    }
    redrawn = circuit.plasticity.redrawn
    active = sums.n_active / n_samples
    return Progress(batch, n_samples, active, error, redrawn, sums.largest_norm)

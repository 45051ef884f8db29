"""The training loop over batches: encode, take a Hebbian or a contrastive step, yield.

`learn` is a generator, so that the caller can show progress, write a checkpoint, stop early or plot
between two batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import BatchStatistics, BatchSums, make_statistics
from spikelca.circuit.dictionary_update import eligible_samples
from spikelca.engines import Engine, get_engine
from spikelca.learning.contrast import check_contrast, contrastive_step, free_phase_code
from spikelca.model.plasticity import Contrast
from spikelca.utils.system import single_blas_thread
from spikelca.utils.validation import FloatArray, check_shapes


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


Batch = tuple[Mapping[str, FloatArray] | RemoteBatch, ArrayLike | None]
"""Stimuli of each modality, and labels of the samples (None without drivers)."""


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


def learn(
    circuit: Circuit,
    batches: Iterable[Batch],
    *,
    n_batches: int | None = None,
    first: int = 0,
    tol: float = 1e-3,
    engine: str | Engine = "numba",
    rng: np.random.Generator | None = None,
    contrast: Contrast | None = None,
    observe: Sequence[str] = (),
) -> Iterator[tuple[Circuit, Progress]]:
    """Learn batch by batch; yields the circuit after each batch with its progress.

    Parameters
    ----------
    circuit : Circuit
        Initial circuit, whose drivers are on and change with the progress.
    batches : iterable of (stimuli, labels)
    n_batches : int, optional
        Number of batches of the whole training run, to which the strength of drivers refers (if
        None, their strength is constant).
    first : int, default=0
        Number of batches that are already learned, if a training run is resumed.
    tol : float, default=1e-3
        Tolerance of the steady-state codes, see `Circuit.encode`.
    engine : {"numba", "reference"} or Engine, default="numba"
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
    for batch, (stimuli, labels) in enumerate(batches, start=first):
        if contrast is not None and isinstance(stimuli, RemoteBatch):
            raise NotImplementedError(
                "contrast is not supported for samples on Dask workers. Use contrast=None, or an "
                "array in memory or on disk."
            )
        progress = 0.0 if n_batches is None else batch / n_batches
        strength = 0.0 if contrast is None else contrast.strength(progress)
        driven_circuit = circuit._at_progress(progress)
        # The limit does not extend over the yield, so the caller can use all BLAS threads.
        with single_blas_thread():
            statistics = _batch_statistics(driven_circuit, stimuli, labels, tol, engine)
            if contrast is not None and strength:
                free = _free_phase_sums(circuit, stimuli, observe, tol, engine)
                circuit = contrastive_step(
                    circuit, statistics.sums, free, observe, contrast, strength
                )
            else:
                eligible = partial(
                    eligible_samples,
                    circuit.drivers,
                    labels,
                    statistics.n_samples,
                    circuit.n_neurons,
                )
                circuit = circuit._apply_statistics(statistics, eligible, rng)
        yield circuit, _make_progress(circuit, statistics.sums, batch + 1)


def _batch_statistics(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray] | RemoteBatch,
    labels: ArrayLike | None,
    tol: float,
    engine: Engine,
) -> BatchStatistics:
    if isinstance(stimuli, RemoteBatch):
        return stimuli.compute_statistics(circuit, labels, tol, engine)
    arrays = check_shapes(stimuli, circuit.widths)
    code = circuit.encode(arrays, tol, labels=labels, engine=engine).code  # checks the values
    return make_statistics(circuit.dictionaries, as_precision(arrays, circuit.dtype), code)


def as_precision(arrays: Mapping[str, NDArray[Any]], dtype: np.dtype[Any]) -> dict[str, FloatArray]:
    """Convert the stimuli of a batch, whose values have been checked, to a precision."""
    return {name: np.asarray(X, dtype=dtype) for name, X in arrays.items()}


def _free_phase_sums(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray] | RemoteBatch,
    observe: Sequence[str],
    tol: float,
    engine: Engine,
) -> BatchSums:
    """Compute the sums of a batch, which has been checked, with the codes of the free phase."""
    assert not isinstance(stimuli, RemoteBatch)
    arrays = as_precision(check_shapes(stimuli, circuit.widths), circuit.dtype)
    code = free_phase_code(circuit, arrays, observe, tol, engine)
    return make_statistics(circuit.dictionaries, arrays, code).sums


def _make_progress(circuit: Circuit, sums: BatchSums, batch: int) -> Progress:
    assert circuit.plasticity is not None
    n_samples = sums.activity.n_samples
    error = {
        name: sums.error[name] / energy if energy else 0.0
        for name, energy in sums.stimulus_energy.items()
    }
    redrawn = circuit.plasticity.redrawn
    return Progress(batch, n_samples, sums.n_active / n_samples, error, redrawn)

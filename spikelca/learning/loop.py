"""Learning over many batches: settle, take a Hebbian or a contrastive step, yield.

`learn` is a generator, so that the caller decides what happens between two batches: show progress,
save a checkpoint, stop early, plot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import BatchStatistics, BatchSums, make_statistics
from spikelca.circuit.dictionary_update import eligible_samples
from spikelca.engines import Engine, get_engine
from spikelca.learning.contrast import check_contrast, contrastive_step, free_phase_code
from spikelca.model.plasticity import Contrast
from spikelca.utils.system import single_blas_thread
from spikelca.utils.validation import FloatArray, check_stimuli


class RemoteBatch(ABC):
    """Samples that are not in this process. They settle where they are, and send their sums.

    Examples
    --------
    >>> class Drawer(Elsewhere):
    ...     def lesson(self, circuit, labels, tol, engine):
    ...         x = {"x": np.eye(2)}
    ...         return make_statistics(circuit.dictionaries, x, circuit.encode(x, tol).code)
    >>> from spikelca import Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> [progress.n_samples for _, progress in learn(circuit, [(Drawer(), None)])]
    [2]
    """

    @abstractmethod
    def lesson(self, circuit: Circuit, labels: Any, tol: float, engine: Engine) -> BatchStatistics:
        """What the samples have to say to the circuit.

        Parameters
        ----------
        circuit : Circuit
            Its drivers as strong as they are now.
        labels : (n_samples,) int, optional
        tol : float
            Tolerance of the settled codes.
        engine : Engine

        Returns
        -------
        Lesson
            From `spikelca.lessons.make_statistics`, or put together of the sums of blocks.
        """


Batch = tuple[Mapping[str, FloatArray] | RemoteBatch, ArrayLike | None]
"""Stimuli of each modality, and the labels of the samples (None without drivers)."""


@dataclass(frozen=True)
class Progress:
    """Where the learning stands after a batch.

    Attributes
    ----------
    batch : int
        Batches seen so far, this one included.
    n_samples : int
        Samples of this batch.
    active : float
        Mean number of active neurons.
    error : mapping of modality to float
        Mean ``|x - Phi a|^2 / |x|^2`` before the step.
    redrawn : int, default=0
        Idle atoms that were drawn anew.

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
    """Learn batch by batch; yields each new circuit with a report.

    Parameters
    ----------
    circuit : Circuit
        Where to start from. Its drivers steer the settling, faded as they say.
    batches : iterable of (stimuli, labels)
    n_batches : int, optional
        Length of the whole learning, to which the drivers' fading refers; without it they do not
        fade.
    first : int, default=0
        Batches seen before, when a learning is resumed.
    tol : float, default=1e-3
        Tolerance of the settled codes, see `Circuit.encode`.
    engine : {"numba", "reference"} or Engine, default="numba"
    rng : numpy Generator, optional
        Draws new atoms for idle neurons; without it they stay.
    contrast : Contrast, optional
        Makes the last part of the learning contrastive; it needs ``n_batches``.
    observe : sequence of str, default=()
        With contrast: the modalities that will be observed when the codes are used.

    Yields
    ------
    (Circuit, Progress)

    Raises
    ------
    ValueError
        If contrast is asked for and nothing tells the taught code from the free one.

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
    runner = get_engine(engine)
    if contrast is not None:
        check_contrast(circuit, observe)
    for batch, (stimuli, labels) in enumerate(batches, start=first):
        if contrast is not None and isinstance(stimuli, RemoteBatch):
            raise NotImplementedError(
                "contrast is not offered for samples on Dask workers: take contrast=None, or learn "
                "from an array in memory or on a disk."
            )
        fraction = 0.0 if n_batches is None else batch / n_batches
        strength = 0.0 if contrast is None else contrast.strength(fraction)
        driven = circuit.faded(fraction)
        # The limit is not held across the yield: what the caller computes is the caller's affair.
        with single_blas_thread():
            lesson = _batch_statistics(driven, stimuli, labels, tol, runner)
            if contrast is not None and strength:
                free = _free_phase_sums(circuit, stimuli, observe, tol, runner)
                circuit = contrastive_step(circuit, lesson.sums, free, observe, contrast, strength)
            else:
                parts = (circuit.drivers, labels, lesson.n_samples, circuit.n_neurons)
                circuit = circuit._apply_statistics(lesson, partial(eligible_samples, *parts), rng)
        yield circuit, _make_progress(circuit, lesson.sums, batch + 1)


def _batch_statistics(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray] | RemoteBatch,
    labels: ArrayLike | None,
    tol: float,
    engine: Engine,
) -> BatchStatistics:
    if isinstance(stimuli, RemoteBatch):
        return stimuli.lesson(circuit, labels, tol, engine)
    seen = check_stimuli(stimuli, circuit.widths, circuit.dtype)
    code = circuit.encode(seen, tol, labels=labels, engine=engine).code
    return make_statistics(circuit.dictionaries, seen, code)


def _free_phase_sums(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray] | RemoteBatch,
    observe: Sequence[str],
    tol: float,
    engine: Engine,
) -> BatchSums:
    """What the same samples say when they are settled as they will be used."""
    assert not isinstance(stimuli, RemoteBatch)
    seen = check_stimuli(stimuli, circuit.widths, circuit.dtype)
    code = free_phase_code(circuit, seen, observe, tol, engine)
    return make_statistics(circuit.dictionaries, seen, code).sums


def _make_progress(circuit: Circuit, sums: BatchSums, batch: int) -> Progress:
    assert circuit.plasticity is not None
    n_samples = sums.activity.n_samples
    error = {name: sums.error[name] / power if power else 0.0 for name, power in sums.power.items()}
    redrawn = circuit.plasticity.redrawn
    return Progress(batch, n_samples, sums.n_active / n_samples, error, redrawn)

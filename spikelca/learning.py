"""Learning over many batches: settle, take a Hebbian or a contrastive step, yield.

`learn` is a generator, so that the caller decides what happens between two batches: show progress,
save a checkpoint, stop early, plot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from spikelca.blas import one_blas_thread
from spikelca.circuit import Circuit
from spikelca.contrast import Contrast, check_contrast, contrasted, free_code
from spikelca.engines import Engine, get_engine
from spikelca.validation import FloatArray

Batch = tuple[Mapping[str, FloatArray], ArrayLike | None]
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
    redrawn : int
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
    engine : {"numba", "reference"} or Engine
    rng : numpy Generator, optional
        Draws new atoms for idle neurons; without it they stay.
    contrast : Contrast, optional
        Makes the last part of the learning contrastive; it needs ``n_batches``.
    observe : sequence of str
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
        fraction = 0.0 if n_batches is None else batch / n_batches
        strength = 0.0 if contrast is None else contrast.strength(fraction)
        driven = circuit.faded(fraction)
        # The limit is not held across the yield: what the caller computes is the caller's affair.
        with one_blas_thread():
            code = driven.encode(stimuli, tol, labels=labels, engine=runner).code
            report = _report(circuit, stimuli, code, batch + 1)
            if contrast is not None and strength:
                free = free_code(circuit, stimuli, observe, tol, runner)
                circuit = contrasted(circuit, stimuli, code, free, observe, contrast, strength)
            else:
                circuit = circuit.learn(stimuli, code, labels=labels, rng=rng)
        assert circuit.plasticity is not None
        yield circuit, replace(report, redrawn=circuit.plasticity.redrawn)


def _report(
    circuit: Circuit, stimuli: Mapping[str, FloatArray], code: FloatArray, batch: int
) -> Progress:
    error = {}
    seen = circuit.observe(*stimuli)
    for name, X in stimuli.items():
        x = np.asarray(X, dtype=circuit.dtype)
        r = x - code @ seen.dictionary(name).atoms
        power = float(np.einsum("ij,ij->", x, x))
        error[name] = float(np.einsum("ij,ij->", r, r)) / power if power else 0.0
    active = float(np.count_nonzero(code, axis=1).mean())
    return Progress(batch, len(code), active, error)

"""Samples as estimators get them: columns become modalities, labels become class numbers.

Where a learning starts: at a circuit whose atoms are samples, or at the mark of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.circuit import Circuit
from spikelca.distributed import DaskSamples, is_dask
from spikelca.learning import Progress
from spikelca.learning.checkpoint import BatchSchedule, Checkpoint, LearningState
from spikelca.learning.loop import Batch
from spikelca.model.atoms import draw_initial_atoms
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import Driver, OrdinalDriver
from spikelca.model.neurons import RateNeuron
from spikelca.model.plasticity import Hebbian, IdleAtoms
from spikelca.model.transfer import Transfer
from spikelca.utils.out_of_core import release_pages
from spikelca.utils.validation import FloatArray

Stimuli = Mapping[str, Any]
"""Samples of each modality: arrays, or `DaskSamples` on workers."""


def modality_widths(modalities: Mapping[str, int] | None, n_features: int) -> dict[str, int]:
    """How many columns each modality takes; all are one modality, ``"x"``, unless told.

    Raises
    ------
    ValueError
        If the modalities do not fill the columns.
    """
    widths = {"x": n_features} if modalities is None else dict(modalities)
    if sum(widths.values()) != n_features:
        raise ValueError(
            f"X has {n_features} features, but the modalities {widths} take "
            f"{sum(widths.values())} columns. Put all modalities side by side."
        )
    return widths


def split_columns(X: FloatArray, widths: Mapping[str, int]) -> dict[str, FloatArray]:
    """X cut into modalities of these widths."""
    edges = np.cumsum([0, *widths.values()])
    bounds = zip(widths, edges[:-1], edges[1:], strict=True)
    return {name: X[:, first:last] for name, first, last in bounds}


def split_modalities(X: Any, modalities: Mapping[str, int] | None, keep: bool) -> Stimuli:
    """The modalities of X to learn from; those of a Dask array stay on its workers."""
    widths = modality_widths(modalities, X.shape[1])
    return DaskSamples(X, widths, keep) if is_dask(X) else split_columns(X, widths)


def make_batch(stimuli: Stimuli, labels: Any, rows: Any) -> Batch:
    """What is shown in one batch, and its labels."""
    own = None if labels is None else labels[rows]
    if isinstance(stimuli, DaskSamples):
        return stimuli.take(np.r_[rows]), own
    return {name: X[rows] for name, X in stimuli.items()}, own


def iter_batches(stimuli: Stimuli, labels: Any, batch_size: int) -> Iterator[Batch]:
    """All samples in batches, one after the other; what lies outside memory is let go again."""
    n_samples = count_samples(stimuli)
    for first in range(0, n_samples, batch_size):
        rows = slice(first, min(first + batch_size, n_samples))
        yield make_batch(stimuli, labels, rows)
        if not isinstance(stimuli, DaskSamples):
            for X in stimuli.values():
                release_pages(X, rows)


def show_progress(
    steps: Iterator[tuple[Circuit, Progress]], n_batches: int | None, first: int, verbose: bool
) -> Iterator[tuple[Circuit, Progress]]:
    """The steps of a learning, with a bar on a terminal if that was asked for."""
    from tqdm import tqdm

    yield from tqdm(
        steps,
        "learn",
        n_batches,
        initial=first,
        unit="batch",
        leave=False,
        disable=None if verbose else True,
    )


def count_samples(stimuli: Stimuli) -> int:
    """Number of samples: all modalities have the same."""
    return len(next(iter(stimuli.values())))


def encode_labels(
    driver: Driver | None, y: ArrayLike | None, n_samples: int, classes: ArrayLike | None
) -> tuple[Any, Any]:
    """Class numbers for the driver, and the labels in the order of its blocks."""
    if driver is None:
        return None, None
    if y is None:
        raise ValueError(
            "LinkedLCA with a driver requires y to be passed, but the target y is None: "
            "the driver reads the class of every sample."
        )
    found = np.asarray(y)
    if found.shape != (n_samples,):
        raise ValueError(f"y has shape {found.shape}; ({n_samples},) was awaited.")
    known = np.unique(found) if classes is None else np.unique(np.asarray(classes))
    unseen = np.setdiff1d(found, known)
    if unseen.size:
        raise ValueError(f"y holds {unseen[:5]}, not among the classes {known[:20]}.")
    awaited = getattr(driver, "n_classes", known.size)
    if known.size != awaited:
        raise ValueError(
            f"y holds {known.size} classes {known[:20]}; the driver awaits {awaited}. Give "
            "the driver that number, or samples of every class."
        )
    return np.searchsorted(known, found), known


def make_initial_circuit(
    stimuli: Mapping[str, FloatArray],
    labels: Any,
    rng: np.random.Generator,
    *,
    n_components: int,
    transfer: Transfer,
    weights: Mapping[str, float],
    driver: Driver | None,
    rule: Hebbian,
    idle: IdleAtoms,
) -> Circuit:
    """A circuit whose atoms are drawn from the samples; an ordinal driver says from whose.

    Raises
    ------
    ValueError
        If a weight names no modality, or the driver does not fit.
    """
    known = dict.fromkeys(stimuli, 1.0) | dict(weights)
    unknown = sorted(set(known) - set(stimuli))
    if unknown:
        raise ValueError(f"weights names {unknown}; names out of {list(stimuli)} were awaited.")
    favoured = None
    if driver is not None:
        driver.check(n_components, transfer)
    if isinstance(driver, OrdinalDriver):
        favoured = driver.assignment(labels, count_samples(stimuli), n_components)
    atoms = draw_initial_atoms(stimuli, known, n_components, rng, favoured)
    return Circuit(
        RateNeuron(),
        transfer,
        [Dictionary(name, phi, known[name], rule) for name, phi in atoms.items()],
        () if driver is None else (driver,),
        idle=idle,
    )


def resume_or_start(
    course: BatchSchedule, fresh: Callable[[], Circuit], file: Checkpoint | None, resume: bool
) -> LearningState:
    """Where a learning begins: at the mark of its checkpoint, or at a fresh circuit.

    Raises
    ------
    ValueError
        If it is to go on from a checkpoint and none is named, or the checkpoint does not fit.
    """
    if file is None and resume:
        raise ValueError("resume=True goes on from a checkpoint; name its file: checkpoint=...")
    mark = None if file is None else file.begin(resume)
    if mark is None:
        mark = course.bookmark(fresh())
        if file is not None:
            file.write(mark)  # what cannot be written is told before hours have gone by
    return mark

"""Samples of estimators, and the initial state of a training run.

Columns of X become modalities, and labels become class numbers. A training run starts from a
circuit whose atoms are samples, or from the state of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.circuit import Circuit
from spikelca.distributed import DaskSamples, is_dask
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


NEURONS_PER_CLASS = 8


def default_components(n_features: int, driver: Driver | None) -> int:
    """Return the default number of neurons of `LinkedLCA`."""
    n_classes = driver.n_classes if isinstance(driver, OrdinalDriver) else 0
    n_neurons = min(2 * n_features, 256) if n_features > 1 else 1
    return max(n_neurons, NEURONS_PER_CLASS * n_classes)


def modality_widths(modalities: Mapping[str, int] | None, n_features: int) -> dict[str, int]:
    """Return the number of columns of each modality (default: one modality ``"x"``).

    Raises
    ------
    ValueError
        If the sum of the columns is not the number of features.
    """
    widths = {"x": n_features} if modalities is None else dict(modalities)
    if sum(widths.values()) != n_features:
        raise ValueError(
            f"X must have {sum(widths.values())} features for the modalities {widths}, got "
            f"{n_features}. Stack all modalities as columns."
        )
    return widths


def split_columns(X: FloatArray, widths: Mapping[str, int]) -> dict[str, FloatArray]:
    """Split the columns of X into modalities of these widths."""
    edges = np.cumsum([0, *widths.values()])
    bounds = zip(widths, edges[:-1], edges[1:], strict=True)
    return {name: X[:, start:stop] for name, start, stop in bounds}


def split_modalities(X: Any, modalities: Mapping[str, int] | None, keep: bool) -> Stimuli:
    """Split X into modalities; those of a Dask array stay on its workers."""
    widths = modality_widths(modalities, X.shape[1])
    return DaskSamples(X, widths, keep) if is_dask(X) else split_columns(X, widths)


def make_batch(stimuli: Stimuli, labels: Any, rows: Any) -> Batch:
    """Select the stimuli and labels of one batch."""
    batch_labels = None if labels is None else labels[rows]
    if isinstance(stimuli, DaskSamples):
        return stimuli.batch(np.r_[rows]), batch_labels
    return {name: X[rows] for name, X in stimuli.items()}, batch_labels


def iter_batches(stimuli: Stimuli, labels: Any, batch_size: int) -> Iterator[Batch]:
    """Yield all samples in batches, and release pages of memory maps after each batch."""
    n_samples = count_samples(stimuli)
    for start in range(0, n_samples, batch_size):
        rows = slice(start, min(start + batch_size, n_samples))
        yield make_batch(stimuli, labels, rows)
        if not isinstance(stimuli, DaskSamples):
            for X in stimuli.values():
                release_pages(X, rows)


def make_progress_bar(n_batches: int | None, first: int, verbose: bool) -> Any:
    """Make a progress bar of a training run, shown on a terminal if ``verbose``."""
    from tqdm import tqdm

    disable = None if verbose else True
    return tqdm(
        desc="learn", total=n_batches, initial=first, unit="batch", leave=False, disable=disable
    )


def count_samples(stimuli: Stimuli) -> int:
    """Return the number of samples, equal in all modalities."""
    return len(next(iter(stimuli.values())))


def encode_labels(
    driver: Driver | None, y: ArrayLike | None, n_samples: int, classes: ArrayLike | None
) -> tuple[Any, Any]:
    """Return the class numbers for the driver and the labels in the order of its blocks."""
    if driver is None:
        return None, None
    if y is None:
        raise ValueError(
            "LinkedLCA with a driver requires y to be passed, but the target y is None: "
            "the driver requires the class of every sample."
        )
    labels = np.asarray(y)
    if labels.shape != (n_samples,):
        raise ValueError(f"y must have shape ({n_samples},), got {labels.shape}.")
    names = np.unique(labels) if classes is None else np.unique(np.asarray(classes))
    unknown = np.setdiff1d(labels, names)
    if unknown.size:
        raise ValueError(f"y must have labels from the classes {names[:20]}, got {unknown[:5]}.")
    expected = getattr(driver, "n_classes", names.size)
    if names.size != expected:
        raise ValueError(
            f"y must have {expected} classes, as the driver has, got {names.size} classes "
            f"{names[:20]}. Change n_classes of the driver, or use samples of every class."
        )
    return np.searchsorted(names, labels), names


def make_initial_circuit(
    stimuli: Mapping[str, Any],
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
    """Make a circuit whose atoms are samples; with an ordinal driver, samples of their class.

    Raises
    ------
    ValueError
        If a weight is of an unknown modality, or the driver does not fit.
    """
    all_weights = dict.fromkeys(stimuli, 1.0) | dict(weights)
    unknown = sorted(set(all_weights) - set(stimuli))
    if unknown:
        raise ValueError(f"weights must have names from {list(stimuli)}, got {unknown}.")
    assignment = None
    if driver is not None:
        driver.check(n_components, transfer)
    if isinstance(driver, OrdinalDriver):
        assignment = driver.assignment(labels, count_samples(stimuli), n_components)
    atoms = draw_initial_atoms(stimuli, all_weights, n_components, rng, assignment)
    return Circuit(
        RateNeuron(),
        transfer,
        [Dictionary(name, phi, all_weights[name], rule) for name, phi in atoms.items()],
        () if driver is None else (driver,),
        idle=idle,
    )


def resume_or_start(
    schedule: BatchSchedule,
    make_circuit: Callable[[], Circuit],
    checkpoint: Checkpoint | None,
    resume: bool,
) -> LearningState:
    """Return the initial state of a training run: that of its checkpoint, or of a new circuit.

    Raises
    ------
    ValueError
        If ``resume`` is True without a checkpoint, or the checkpoint does not fit.
    """
    if checkpoint is None and resume:
        raise ValueError("checkpoint must be a file with resume=True, got None.")
    state = None if checkpoint is None else checkpoint.open(resume)
    if state is None:
        state = schedule.snapshot(make_circuit())
        if checkpoint is not None:
            checkpoint.write(state)  # a path that cannot be written fails before training
    return state

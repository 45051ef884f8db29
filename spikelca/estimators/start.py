"""Where a learning starts: at a circuit whose atoms are samples, or at the mark of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spikelca.checkpoint import Bookmark, Checkpoint, Course
from spikelca.circuit import Circuit
from spikelca.dictionary import Dictionary
from spikelca.drivers import Driver, OrdinalDriver
from spikelca.estimators.samples import n_rows
from spikelca.initial import initial_atoms
from spikelca.neurons import RateNeuron
from spikelca.plasticity import Hebbian, IdleAtoms
from spikelca.transfer import Transfer
from spikelca.validation import FloatArray


def first_circuit(
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
        favoured = driver.favours(labels, n_rows(stimuli), n_components)
    atoms = initial_atoms(stimuli, known, n_components, rng, favoured)
    return Circuit(
        RateNeuron(),
        transfer,
        [Dictionary(name, phi, known[name], rule) for name, phi in atoms.items()],
        () if driver is None else (driver,),
        idle=idle,
    )


def first_mark(
    course: Course, fresh: Callable[[], Circuit], file: Checkpoint | None, resume: bool
) -> Bookmark:
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

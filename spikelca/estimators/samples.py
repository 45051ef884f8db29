"""Samples of estimators, and the initial state of a training run.

Columns of X become modalities, and labels become class numbers. A training run starts from a
circuit whose atoms are samples, or from the state of a checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikelca.circuit import Circuit
from spikelca.distributed import DaskSamples, is_dask
from spikelca.estimators.tables import is_column_list
from spikelca.learning.checkpoint import BatchSchedule, Checkpoint, LearningState
from spikelca.learning.loop import Batch, Progress, eligible_rows
from spikelca.model.atoms import draw_initial_atoms, normalise_stacked
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import Driver, OrdinalDriver
from spikelca.model.neurons import RateNeuron
from spikelca.model.plasticity import Hebbian, IdleAtoms
from spikelca.model.transfer import Transfer
from spikelca.utils.out_of_core import release_pages
from spikelca.utils.validation import (
    FloatArray,
    as_float,
    check_integer,
    check_matrix,
    check_positive,
    reject_masked,
)

Stimuli = Mapping[str, Any]
"""Samples of each modality: arrays, or `DaskSamples` on workers."""


NEURONS_PER_CLASS = 8


def default_components(n_features: int, driver: Driver | None) -> int:
    """Return the default number of neurons of `LinkedLCA`."""
    n_classes = driver.n_classes if isinstance(driver, OrdinalDriver) else 0
    n_neurons = min(2 * n_features, 256) if n_features > 1 else 1
    return max(n_neurons, NEURONS_PER_CLASS * n_classes)


def modality_widths(modalities: Mapping[str, Any] | None, n_features: int) -> dict[str, int]:
    """Return the number of columns of each modality (default: one modality ``"x"``).

    Raises
    ------
    TypeError
        If the modalities are not a mapping.
    ValueError
        If a width is not a whole number >= 1, or their sum is not the number of features.
    """
    if not isinstance(modalities, Mapping | None):
        raise TypeError(
            "modalities must be a mapping from name to number or names of columns, got "
            f"{type(modalities).__name__}. Use for example {{'image': 784, 'sound': 128}}."
        )
    widths: dict[str, Any] = {"x": n_features} if modalities is None else dict(modalities)
    for name, width in widths.items():
        if not isinstance(name, str):
            raise TypeError(f"modalities must have names that are strings, got {name!r}.")
        width = len(width) if is_column_list(width) else width
        widths[name] = check_integer(width, f"modalities[{name!r}]", 1)
    if sum(widths.values()) != n_features:
        raise ValueError(
            f"X must have {sum(widths.values())} features for the modalities {widths}, got "
            f"{n_features}. Stack all modalities as columns."
        )
    return widths


def observed_names(
    observe: str | Sequence[str] | None, widths: Mapping[str, int]
) -> tuple[str, ...]:
    """Return the names of the observed modalities, in the order of the columns of X.

    Raises
    ------
    ValueError
        If a name is unknown, or there is none.
    """
    is_sequence = isinstance(observe, Iterable) and not isinstance(observe, str)
    names = list(widths) if observe is None else list(observe) if is_sequence else [observe]
    if not names or any(not isinstance(name, str) or name not in widths for name in names):
        raise ValueError(
            f"observe must be one or several names from {list(widths)}, got {observe!r}."
        )
    return tuple(name for name in widths if name in names)


def check_distinct(
    n_components: int, widths: Mapping[str, int], observed: Sequence[str], two_sided: bool
) -> None:
    """Raise ValueError if atoms cannot differ, because one feature is observed."""
    limit = 1 if two_sided else 2  # atoms of one feature differ in their sign
    if n_components > limit and sum(widths[name] for name in observed) == 1:
        raise ValueError(
            f"n_components must be at most {limit} for 1 feature(s) in the observed modalities "
            f"{list(observed)}, got {n_components}. Use one neuron, or more features."
        )


def split_columns(X: FloatArray, widths: Mapping[str, int]) -> dict[str, FloatArray]:
    """Split the columns of X into modalities of these widths."""
    edges = np.cumsum([0, *widths.values()])
    bounds = zip(widths, edges[:-1], edges[1:], strict=True)
    return {name: X[:, start:stop] for name, start, stop in bounds}


def split_modalities(X: Any, modalities: Mapping[str, Any] | None, keep: bool) -> Stimuli:
    """Split X into modalities; those of a Dask array stay on its workers."""
    widths = modality_widths(modalities, X.shape[1])
    return DaskSamples(X, widths, keep) if is_dask(X) else split_columns(X, widths)


def make_batch(stimuli: Stimuli, labels: Any, weights: Any, rows: Any) -> Batch:
    """Select the stimuli, labels and weights of one batch."""
    batch_labels, batch_weights = (None if v is None else v[rows] for v in (labels, weights))
    if isinstance(stimuli, DaskSamples):
        return stimuli.batch(np.r_[rows]), batch_labels, batch_weights
    return {name: X[rows] for name, X in stimuli.items()}, batch_labels, batch_weights


def iter_batches(stimuli: Stimuli, labels: Any, weights: Any, batch_size: int) -> Iterator[Batch]:
    """Yield all samples in batches, and release pages of memory maps after each batch."""
    n_samples = count_samples(stimuli)
    for start in range(0, n_samples, batch_size):
        rows = slice(start, min(start + batch_size, n_samples))
        yield make_batch(stimuli, labels, weights, rows)
        if not isinstance(stimuli, DaskSamples):
            for X in stimuli.values():
                release_pages(X, rows)


LOG_INTERVAL = 10.0
"""Seconds between two updates of a progress bar that is not on a terminal, as in a log file."""


def make_progress_bar(n_batches: int | None, first: int, verbose: bool) -> Any:
    """Make a progress bar of a training run, also in notebooks and logs; hidden by default."""
    from tqdm import tqdm

    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(
        desc="learn",
        total=n_batches,
        initial=first,
        unit="batch",
        leave=not is_terminal,
        disable=not verbose,
        mininterval=0.1 if is_terminal else LOG_INTERVAL,
    )


def history_row(progress: Progress, circuit: Circuit) -> list[list[float]]:
    """Return relative error and largest norm of each modality in a batch, NaN if it is missing."""
    values = (progress.error, progress.largest_norm)
    return [[value.get(name, np.nan) for name in circuit.widths] for value in values]


def count_samples(stimuli: Stimuli) -> int:
    """Return the number of samples, equal in all modalities."""
    return len(next(iter(stimuli.values())))


@dataclass(frozen=True)
class CircuitSettings:
    """Parameters of an estimator that define its circuit, apart from the atoms.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, a weight is of an unknown modality, or the driver does
        not fit.
    """

    n_components: int
    widths: Mapping[str, int]
    weights: Mapping[str, float] | None
    transfer: Transfer
    driver: Driver | None
    plasticity: Hebbian | None
    idle: IdleAtoms | None
    dict_init: Any = None
    positive_dict: bool = False

    @property
    def rule(self) -> Hebbian:
        """Learning rule of all modalities."""
        rule = self.plasticity or Hebbian()
        return replace(rule, non_negative=True) if self.positive_dict else rule

    def __post_init__(self) -> None:
        types = {"driver": Driver, "plasticity": Hebbian, "idle": IdleAtoms, "weights": Mapping}
        for name, kind in types.items():
            check_optional(getattr(self, name), name, kind)
        weights = dict.fromkeys(self.widths, 1.0) | dict(self.weights or {})
        unknown = [name for name in weights if name not in self.widths]
        if unknown:
            raise ValueError(f"weights must have names from {list(self.widths)}, got {unknown}.")
        checked = {name: check_positive(w, f"weights[{name!r}]") for name, w in weights.items()}
        object.__setattr__(self, "weights", checked)
        if self.driver is not None:
            self.driver.check(self.n_components, self.transfer)
        if self.dict_init is not None:
            atoms = check_matrix(self.dict_init, "dict_init", sum(self.widths.values()))
            if len(atoms) != self.n_components:
                raise ValueError(
                    f"dict_init must have {self.n_components} rows (n_components), got "
                    f"{len(atoms)}."
                )

    def initial_atoms(self, stimuli: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return ``dict_init`` with stacked atoms of unit norm, in the precision of the samples."""
        assert self.weights is not None
        atoms = split_columns(np.asarray(self.dict_init), self.widths)
        arrays = [phi.astype(stimuli[name].dtype) for name, phi in atoms.items()]
        normalised = normalise_stacked(arrays, list(self.weights.values()))
        return dict(zip(atoms, normalised, strict=True))

    def make_circuit(self, atoms: Mapping[str, FloatArray]) -> Circuit:
        """Make the circuit with these atoms."""
        assert self.weights is not None
        dictionaries = [
            Dictionary(
                name, np.abs(phi) if self.rule.non_negative else phi, self.weights[name], self.rule
            )
            for name, phi in atoms.items()
        ]
        drivers = () if self.driver is None else (self.driver,)
        return Circuit(
            RateNeuron(), self.transfer, dictionaries, drivers, idle=self.idle or IdleAtoms()
        )

    def apply_to(self, circuit: Circuit) -> Circuit:
        """Return a learned circuit with the present threshold, driver and learning rule.

        Raises
        ------
        ValueError
            If a parameter on which the shape or the norm of the atoms depends has changed.
        """
        learned = {
            "n_components": circuit.n_neurons,
            "modalities": list(circuit.widths.items()),
            "weights": {d.name: d.weight for d in circuit.dictionaries},
            "positive_dict": getattr(circuit.dictionaries[0].plasticity, "non_negative", False),
        }
        present = {
            "n_components": self.n_components,
            "modalities": list(self.widths.items()),
            "weights": self.weights,
            "positive_dict": self.rule.non_negative,
        }
        for name, value in learned.items():
            if present[name] != value:
                raise ValueError(
                    f"{name} must not change after the first call of fit or partial_fit, got "
                    f"{present[name]}, before {value}. Use fit to start again."
                )
        return circuit._replace(
            transfer=self.transfer,
            drivers=() if self.driver is None else (self.driver,),
            idle=self.idle or IdleAtoms(),
            dictionaries=tuple(d._with_plasticity(self.rule) for d in circuit.dictionaries),
        )


def check_weights(sample_weight: Any, n_samples: int) -> Any:
    """Return the weights of samples as (n_samples,) float64, None if all are equal to one.

    Raises
    ------
    ValueError
        If there is another number of weights, or one is not a finite number >= 0, or all are zero.
    """
    if sample_weight is None:
        return None
    reject_masked(sample_weight, "sample_weight")
    weights = as_float(np.asarray(sample_weight), "sample_weight", np.dtype(np.float64))
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have shape ({n_samples},), got {weights.shape}. Sample weights "
            "must be 1D array or scalar."
        )
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.any()):
        raise ValueError("sample_weight must be finite numbers >= 0, not all zero.")
    return weights


def check_optional(value: Any, name: str, kind: type) -> None:
    """Raise TypeError if a parameter is neither None nor of a type."""
    if not isinstance(value, kind | None):
        raise TypeError(f"{name} must be of the type {kind.__name__}, or None, got {value!r}.")


def make_initial_circuit(
    settings: CircuitSettings,
    stimuli: Mapping[str, FloatArray],
    labels: Any,
    weights: Any,
    rng: np.random.Generator,
) -> Circuit:
    """Make a circuit whose atoms are ``dict_init``, or samples of a weight above zero.

    With an ordinal driver, atoms are samples of their class.
    """
    assert settings.weights is not None
    if settings.dict_init is not None:
        return settings.make_circuit(settings.initial_atoms(stimuli))
    if weights is not None and not weights.all():
        rows = np.flatnonzero(weights)
        stimuli = {name: X[rows] for name, X in stimuli.items()}
        labels = None if labels is None else labels[rows]
    assignment, n_components = None, settings.n_components
    if isinstance(settings.driver, OrdinalDriver):
        size = (count_samples(stimuli), n_components)
        assignment = eligible_rows((settings.driver,), labels, *size)
    atoms = draw_initial_atoms(stimuli, settings.weights, n_components, rng, assignment)
    return settings.make_circuit(atoms)


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

"""A training run of an estimator: its samples, its initial circuit and its automatic threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.circuit import Circuit
from spikelca.engines import get_engine
from spikelca.estimators.automatic_threshold import (
    CALIBRATION_SAMPLES,
    DEFAULT_THRESHOLD,
    TRIAL_ACCURACY,
    TRIAL_SAMPLES,
    Rows,
    find_limits,
    find_threshold,
    mean_active,
    take_samples,
    target_number,
    with_threshold,
)
from spikelca.estimators.samples import (
    CircuitSettings,
    Stimuli,
    check_distinct,
    default_components,
    iter_batches,
    make_batch,
    make_initial_circuit,
    modality_widths,
)
from spikelca.learning import Progress
from spikelca.learning.loop import MAX_ITER, Batch
from spikelca.utils.validation import FloatArray

Learn = Callable[..., Iterator[tuple[Circuit, Progress]]]


@dataclass(frozen=True, eq=False)
class Training:
    """Samples and settings of a training run.

    Attributes
    ----------
    stimuli : mapping of modality to array
    labels, weights : (n_samples,) arrays or None
        Class numbers for the driver, and weights of the samples.
    learned, held_out : int arrays
        Rows to learn from, and rows from which an automatic threshold is chosen.
    settings : CircuitSettings
    observed : tuple of str
        Modalities observed at inference.
    batch_size : int
    learn : callable
        ``learn(circuit, batches, n_batches, first, rng)`` yields the circuit after each batch.
    choose_threshold : callable, optional
        From an inference circuit and samples to an automatic threshold; None if it is given.
    n_active : float, optional
        Mean number of active neurons for an automatic threshold.
    """

    stimuli: Stimuli
    labels: Any
    weights: Any
    learned: NDArray[np.int64]
    held_out: NDArray[np.int64]
    settings: CircuitSettings
    observed: tuple[str, ...]
    batch_size: int
    learn: Learn
    choose_threshold: Callable[[Circuit, Mapping[str, FloatArray]], float] | None
    n_active: float | None

    def batches(self, selections: Iterable[NDArray[np.int64]]) -> Iterator[Batch]:
        """Yield batches of the learned samples, given by indices into them."""
        for rows in selections:
            yield make_batch(self.stimuli, self.labels, self.weights, self.learned[rows])

    def data(self, classes: Any) -> dict[str, Any]:
        """Return everything that a checkpoint compares when a run is resumed."""
        weights = {} if self.weights is None else {"sample_weight": self.weights}
        return {**self.stimuli, "labels": self.labels, "classes": classes, **weights}

    def make_circuit(self, rng: np.random.Generator) -> Circuit:
        """Make a circuit whose atoms are samples; an automatic threshold is that after a trial."""
        rows = self.learned
        stimuli: Any = {name: Rows(X, rows) for name, X in self.stimuli.items()}
        labels, weights = self._select_labels(rows)
        circuit = make_initial_circuit(self.settings, stimuli, labels, weights, rng)
        if self.choose_threshold is None:
            return circuit
        trial, trial_rows = take_samples(self.stimuli, rows, TRIAL_SAMPLES)
        labels, weights = self._select_labels(trial_rows)
        seed = int(rng.integers(2**31))
        samples = self._calibration_samples(TRIAL_SAMPLES)

        def count(threshold: float) -> float:
            start = with_threshold(circuit, threshold)
            batches = iter_batches(trial, labels, weights, self.batch_size)
            steps = self.learn(start, batches, None, 0, np.random.default_rng(seed))
            *_, (learned, _) = steps
            return mean_active(self._inference_circuit(learned), samples)

        inference = self._inference_circuit(circuit)
        limits = find_limits(inference, samples, self.n_active)
        target, guess = target_number(inference, self.n_active), circuit.transfer.threshold
        threshold = find_threshold(count, target, guess, limits, TRIAL_ACCURACY)
        return circuit.replace(transfer=replace(circuit.transfer, threshold=threshold))

    def calibrate(self, circuit: Circuit) -> Circuit:
        """Return the learned circuit with an automatic threshold, chosen from held-out samples."""
        if self.choose_threshold is None:
            return circuit
        samples = self._calibration_samples(CALIBRATION_SAMPLES)
        return with_threshold(
            circuit, self.choose_threshold(self._inference_circuit(circuit), samples)
        )

    def _select_labels(self, rows: NDArray[np.int64]) -> tuple[Any, Any]:
        labels, weights = (None if v is None else v[rows] for v in (self.labels, self.weights))
        return labels, weights

    def _inference_circuit(self, circuit: Circuit) -> Circuit:
        return circuit.without_drivers().observe(*self.observed)

    def _calibration_samples(self, n_samples: int) -> dict[str, FloatArray]:
        observed = {name: self.stimuli[name] for name in self.observed}
        return take_samples(observed, self.held_out, n_samples)[0]


def make_settings(
    estimator: Any,
    modalities: Mapping[str, Any] | None,
    n_features: int,
    threshold: float | None = None,
) -> CircuitSettings:
    """Check the parameters of an estimator that define its circuit, and return them.

    ``threshold`` is the first guess of an automatic one.
    """
    widths = modality_widths(modalities, n_features)
    n_components = estimator.n_components or default_components(n_features, estimator.driver)
    check_distinct(n_components, widths, estimator._observed_names(widths), estimator.two_sided)
    return CircuitSettings(
        n_components,
        widths,
        estimator.weights,
        estimator._make_transfer(threshold),
        estimator.driver,
        estimator.plasticity,
        estimator.idle,
        estimator.dict_init,
        estimator.positive_dict,
    )


def learning_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator on which the result of `fit` depends."""
    ignored = {"observe", "neuron", "duration", "dt", "n_jobs", "sparse_output", "verbose"}
    if estimator.contrast is not None:
        ignored.remove("observe")
    # Defaults of parameters that are not in checkpoints of earlier versions.
    ignored |= {"max_iter"} if estimator.max_iter == MAX_ITER else set()
    ignored |= {"dict_init"} if estimator.dict_init is None else set()
    ignored |= set() if estimator.positive_dict else {"positive_dict"}
    params = estimator.get_params(deep=False) | {"engine": get_engine(estimator.engine).name}
    if estimator.n_active is None:
        ignored.add("n_active")
        is_default = estimator.threshold is None
        params["threshold"] = DEFAULT_THRESHOLD if is_default else estimator.threshold
    return {name: value for name, value in params.items() if name not in ignored}

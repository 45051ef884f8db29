"""`LinkedLCA`: dictionaries of several modalities, linked by one sparse code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from spikelca.circuit import Circuit
from spikelca.engines import Engine, Response, get_engine
from spikelca.estimators.automatic_threshold import (
    CALIBRATION_SAMPLES,
    DEFAULT_THRESHOLD,
    TRIAL_ACCURACY,
    TRIAL_SAMPLES,
    Rows,
    find_limits,
    find_threshold,
    first_guess,
    mean_active,
    split_rows,
    take_samples,
    target_number,
    with_threshold,
)
from spikelca.estimators.base import _BaseLCA, keep_circuit
from spikelca.estimators.fit_warnings import CHECKED_SAMPLES, warn_of_scale
from spikelca.estimators.samples import (
    Stimuli,
    count_samples,
    default_components,
    encode_labels,
    iter_batches,
    make_batch,
    make_initial_circuit,
    make_progress_bar,
    resume_or_start,
    split_columns,
    split_modalities,
)
from spikelca.learning import Progress, learn
from spikelca.learning.checkpoint import BatchSchedule, Checkpoint, LearningState
from spikelca.learning.loop import Batch
from spikelca.metrics import lambda_max
from spikelca.model.drivers import Driver, OrdinalDriver
from spikelca.model.neurons import Neuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms
from spikelca.utils.validation import FloatArray


class LinkedLCA(_BaseLCA):
    """Dictionary learning across modalities that share one sparse code.

    Parameters
    ----------
    n_components : int, optional
        Number of neurons (default: two per column of X, at most 256; one for a single column; at
        least 8 per class of an ordinal driver).
    modalities : mapping of str to int, optional
        Number of columns of X for each modality, in order (default: all columns are one modality
        ``"x"``).
    observe : str or sequence of str, optional
        Modalities encoded by `transform` (default: all).
    weights : mapping of str to float, optional
        w_i of Eq. 6 for each modality (default: 1).
    threshold : float or "auto", optional
        lam (default: 0.1, or the one of ``n_active``). It is compared with ``Phi^T x``, so the
        samples should be scaled, for example to unit norm. With "auto", `fit` chooses it for any
        scale, so that a tenth of the neurons is active on average.
    n_active : float, optional
        Mean number of active neurons per sample, instead of a threshold. `fit` chooses the
        threshold with a fifth of the samples (at most 10,000), which are not learned.
    transfer : {"soft", "hard"}, default="soft"
        Transfer function.
    two_sided : bool, default=False
        Signed codes.
    neuron : {"rate", "spiking"} or neuron, default="rate"
        Neuron model of `transform`. Training uses the steady-state code, equal for both models.
    engine : {"numba", "reference", "brian2"} or Engine, default="numba"
        Engine that computes the codes.
    driver : Driver, optional
        Driver in training, for example ``OrdinalDriver(n_classes=10)``, which requires y. Off in
        `transform`.
    n_epochs : int, default=2
        Number of passes over the samples.
    batch_size : int, default=250
        Number of samples per Hebbian step.
    plasticity : Hebbian, optional
        Learning rule of all modalities (default: ``Hebbian()``).
    idle : IdleAtoms, optional
        Re-initialisation of idle atoms (default: ``IdleAtoms()``).
    contrast : Contrast, optional
        Makes the last part of `fit` contrastive: the clamped phase (all modalities and drivers)
        against the free phase (observed modalities only). Off by default.
    tol : float, default=1e-4
        Tolerance of the steady-state code, see `Circuit.encode`.
    duration : float, optional
        Simulated seconds per sample with spiking neurons (default: 20 time constants).
    sparse_output : bool, default=False
        Return codes as a ``scipy.sparse.csr_array``, computed chunk by chunk with memory
        proportional to the number of active neurons.
    random_state : int, RandomState or None, default=None
        Seed of the initial atoms, the order of the samples and new atoms for idle neurons.
    verbose : bool, default=False
        Show a progress bar on a terminal.

    Attributes
    ----------
    circuit_ : Circuit
        Learned circuit, including its drivers.
    components_ : (n_components, n_features)
        Atoms of all modalities, stacked as the columns of X.
    classes_ : (n_classes,)
        Labels in the order of the driver's blocks (only with a driver).
    threshold_ : float
        Threshold of ``circuit_``.
    n_iter_ : int
        Number of passes over the samples.
    n_steps_ : int
        Number of Hebbian steps.
    n_redrawn_ : int
        Number of idle atoms re-initialised.
    row_scaling_ : {"unit norm", "none"}
        Scaling that ``spikelca fit`` applied to the rows of files and ``spikelca encode`` applies
        again (only in a model from the command line; `transform` does not scale).

    References
    ----------
    Barari and Kim, "Linking Sparse Coding Dictionaries for Representation Learning".

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import LinkedLCA
    >>> from spikelca.datasets import linked_bars
    >>> bars = linked_bars(n_samples=500, size=4, random_state=0)
    >>> X = np.hstack([bars.X["bars"], bars.X["marks"]])
    >>> lca = LinkedLCA(8, {"bars": 16, "marks": 24}, observe="bars", random_state=0).fit(X)
    >>> lca.transform(bars.X["bars"]).shape
    (500, 8)
    >>> lca.translate(bars.X["bars"], to="marks").shape
    (500, 24)
    """

    circuit_: Circuit
    components_: FloatArray
    classes_: NDArray[Any]
    row_scaling_: str

    def __init__(
        self,
        n_components: int | None = None,
        modalities: Mapping[str, int] | None = None,
        observe: str | Sequence[str] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        threshold: float | str | None = None,
        n_active: float | None = None,
        transfer: str = "soft",
        two_sided: bool = False,
        neuron: str | Neuron = "rate",
        engine: str | Engine = "numba",
        driver: Driver | None = None,
        n_epochs: int = 2,
        batch_size: int = 250,
        plasticity: Hebbian | None = None,
        idle: IdleAtoms | None = None,
        contrast: Contrast | None = None,
        tol: float = 1e-4,
        duration: float | None = None,
        sparse_output: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.modalities = modalities
        self.observe = observe
        self.weights = weights
        self.threshold = threshold
        self.n_active = n_active
        self.transfer = transfer
        self.two_sided = two_sided
        self.neuron = neuron
        self.engine = engine
        self.driver = driver
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.plasticity = plasticity
        self.idle = idle
        self.contrast = contrast
        self.tol = tol
        self.duration = duration
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 50,
        resume: bool = False,
    ) -> Self:
        """Learn the dictionaries.

        After an interrupt (Ctrl-C) the estimator has the result of the last batch and can be used;
        the interrupt is raised again.

        Parameters
        ----------
        X : (n_samples, n_features)
            All modalities, stacked as columns. An out-of-core array (memory map, `RowFile`, HDF5,
            Zarr) is read once to be checked, and then batch by batch; the rows of a Dask array
            stay on its workers.
        y : (n_samples,), optional
            Class of each sample, required and used by an ordinal driver only.
        checkpoint : path, optional
            File for the state of the training run. A run that was killed and resumed gives
            bit-identical results.
        checkpoint_every : int, default=50
            Number of batches between two checkpoints; they are also written at the end and after
            Ctrl-C.
        resume : bool, default=False
            Continue from the checkpoint if it exists, otherwise start from the first batch. If
            False, a checkpoint of an unfinished training run is not overwritten.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is invalid, or the checkpoint belongs to other data or
            parameters.
        """
        self._check_learning_params()
        validator = self._make_validator()
        stimuli = self._split(X, validator, keep=True)
        labels, classes = encode_labels(self.driver, y, count_samples(stimuli), None)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        learned, held_out = split_rows(count_samples(stimuli), self.n_active is not None)
        schedule = BatchSchedule(len(learned), self.batch_size, self.n_epochs, rng)
        target = None
        if checkpoint is not None:
            data = {**stimuli, "labels": labels, "classes": classes}
            params = self._learning_params()
            target = Checkpoint(checkpoint, checkpoint_every, params, data, schedule.n_batches)
        make_circuit = partial(
            self._make_initial_circuit, stimuli, labels, schedule.rng, learned, held_out
        )
        state = first = resume_or_start(schedule, make_circuit, target, resume)
        schedule.restore(first)
        batches = (
            make_batch(stimuli, labels, learned[rows]) for rows in schedule.batches(first.n_steps)
        )
        steps = self._learn_batches(
            first.circuit, batches, schedule.n_batches, first.n_steps, schedule.rng
        )
        try:
            with make_progress_bar(schedule.n_batches, first.n_steps, self.verbose) as bar:
                for circuit, progress in steps:
                    n_redrawn = state.n_redrawn + progress.redrawn
                    state = schedule.snapshot(circuit, progress.batch, n_redrawn)
                    if target is not None:
                        target.write_if_due(state)
                    bar.update()
        except (KeyboardInterrupt, OSError):
            self._set_state(state, schedule, classes, validator)
            if target is not None:
                target.write(state)
            raise
        state = replace(state, circuit=self._calibrate(state.circuit, stimuli, held_out))
        self._set_state(state, schedule, classes, validator)
        samples, _ = take_samples(stimuli, learned, CHECKED_SAMPLES)
        inference = self._inference_circuit(*self._observed_names(self.circuit_))
        warn_of_scale(self.circuit_, inference, samples, len(learned))
        return self

    def _learning_params(self) -> dict[str, Any]:
        """Return the parameters on which the result of `fit` depends."""
        ignored = {"observe", "neuron", "duration", "sparse_output", "verbose"}
        if self.contrast is not None:
            ignored.remove("observe")
        params = self.get_params(deep=False) | {"engine": get_engine(self.engine).name}
        if self.n_active is None:
            ignored.add("n_active")
            params["threshold"] = DEFAULT_THRESHOLD if self.threshold is None else self.threshold
        return {name: value for name, value in params.items() if name not in ignored}

    def _set_state(
        self, state: LearningState, schedule: BatchSchedule, classes: Any, validator: BaseEstimator
    ) -> None:
        self._copy_feature_names(validator)
        if hasattr(self, "row_scaling_"):  # it belonged to other samples
            del self.row_scaling_
        n_iter = -(-state.n_steps // schedule.batches_per_epoch)
        self._set_fitted(
            state.circuit, classes, state.make_rng(), n_iter, state.n_steps, state.n_redrawn
        )

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Self:
        """Learn from further samples in the given order, in batches of ``batch_size``.

        Parameters
        ----------
        X : (n_samples, n_features)
            As for `fit`.
        y : (n_samples,), optional
            Class of each sample, required and used by an ordinal driver only.
        classes : (n_classes,), optional
            All classes, required at the first call if its y does not contain each of them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is invalid.
        """
        self._check_learning_params()
        first = not hasattr(self, "circuit_")
        validator = self._make_validator() if first else None
        stimuli = self._split(X, validator)
        classes = classes if first else getattr(self, "classes_", None)
        labels, classes = encode_labels(self.driver, y, count_samples(stimuli), classes)
        if first:
            rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
            rows, _ = split_rows(count_samples(stimuli), hold_out=False)
            circuit = self._make_initial_circuit(stimuli, labels, rng, rows, rows)
        else:
            rng, circuit = self._rng, self.circuit_
        steps, redrawn = (0, 0) if first else (self.n_steps_, self.n_redrawn_)
        batches = iter_batches(stimuli, labels, self.batch_size)
        learned = self._learn_batches(circuit, batches, None, steps, rng)
        with make_progress_bar(None, steps, self.verbose) as bar:
            for new_circuit, progress in learned:
                circuit, steps, redrawn = new_circuit, progress.batch, redrawn + progress.redrawn
                bar.update()
        if validator is not None:
            self._copy_feature_names(validator)
            circuit = self._calibrate(circuit, stimuli, rows)
        self._set_fitted(circuit, classes, rng, 1 if first else self.n_iter_ + 1, steps, redrawn)
        return self

    def _split(self, X: ArrayLike, validator: BaseEstimator | None, keep: bool = False) -> Stimuli:
        return split_modalities(self._validate(X, validator), self.modalities, keep)

    def _check_learning_params(self) -> None:
        self._check_counts("n_epochs", "batch_size")
        if self.n_components is not None:
            self._check_counts("n_components")

    def _make_initial_circuit(
        self,
        stimuli: Stimuli,
        labels: Any,
        rng: np.random.Generator,
        rows: NDArray[np.int64],
        held_out: NDArray[np.int64],
    ) -> Circuit:
        """Make a circuit whose atoms are samples; an automatic threshold is that after a trial."""
        automatic = self._is_automatic()
        trial, trial_rows = take_samples(stimuli, rows, TRIAL_SAMPLES if automatic else 1)
        n_features = sum(X.shape[1] for X in trial.values())
        circuit = make_initial_circuit(
            {name: Rows(X, rows) for name, X in stimuli.items()},
            None if labels is None else labels[rows],
            rng,
            n_components=self.n_components or default_components(n_features, self.driver),
            transfer=self._make_transfer(first_guess(trial) if automatic else None),
            weights=self.weights or {},
            driver=self.driver,
            rule=Hebbian() if self.plasticity is None else self.plasticity,
            idle=IdleAtoms() if self.idle is None else self.idle,
        )
        if not automatic:
            return circuit
        trial_labels = None if labels is None else labels[trial_rows]
        seed = int(rng.integers(2**31))
        samples = self._calibration_samples(circuit, stimuli, held_out, TRIAL_SAMPLES)

        def count(threshold: float) -> float:
            start = with_threshold(circuit, threshold)
            batches = iter_batches(trial, trial_labels, self.batch_size)
            steps = self._learn_batches(start, batches, None, 0, np.random.default_rng(seed))
            *_, (learned, _) = steps
            return mean_active(self._without_labels(learned), samples)

        inference = self._without_labels(circuit)
        limits = find_limits(inference, samples, self.n_active)
        target = target_number(inference, self.n_active)
        guess = circuit.transfer.threshold
        threshold = find_threshold(count, target, guess, limits, TRIAL_ACCURACY)
        return circuit.replace(transfer=self._make_transfer(threshold))

    def _without_labels(self, circuit: Circuit) -> Circuit:
        return circuit.without_drivers().observe(*self._observed_names(circuit))

    def _calibration_samples(
        self, circuit: Circuit, stimuli: Stimuli, rows: NDArray[np.int64], n_samples: int
    ) -> dict[str, FloatArray]:
        observed = {name: stimuli[name] for name in self._observed_names(circuit)}
        return take_samples(observed, rows, n_samples)[0]

    def _calibrate(self, circuit: Circuit, stimuli: Stimuli, rows: NDArray[np.int64]) -> Circuit:
        """Return the circuit with an automatic threshold, chosen from these rows."""
        if not self._is_automatic():
            return circuit
        samples = self._calibration_samples(circuit, stimuli, rows, CALIBRATION_SAMPLES)
        threshold = self._choose_threshold(self._without_labels(circuit), samples)
        return with_threshold(circuit, threshold)

    def _learn_batches(
        self,
        circuit: Circuit,
        batches: Iterator[Batch],
        n_batches: int | None,
        first: int,
        rng: np.random.Generator,
    ) -> Iterator[tuple[Circuit, Progress]]:
        # A tolerance below the noise of the batches has no benefit; transform uses self.tol.
        tol = max(self.tol, 1e-3)
        return learn(
            circuit,
            batches,
            n_batches=n_batches,
            first=first,
            tol=tol,
            engine=self.engine,
            rng=rng,
            contrast=None if n_batches is None else self.contrast,
            observe=self._observed_names(circuit),
        )

    def _set_fitted(
        self,
        circuit: Circuit,
        classes: Any,
        rng: np.random.Generator,
        n_iter: int,
        n_steps: int,
        redrawn: int,
    ) -> None:
        self.circuit_ = circuit
        self.components_ = np.hstack([d.atoms for d in circuit.dictionaries])
        if classes is not None:
            self.classes_ = classes
        self._set_chosen(circuit.transfer.threshold)
        self.n_iter_, self.n_steps_, self.n_redrawn_ = n_iter, n_steps, redrawn
        self._rng = rng

    def _observed_names(self, circuit: Circuit) -> tuple[str, ...]:
        if self.observe is None:
            return tuple(circuit.widths)
        return (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)

    def _validate_observed(self, X: ArrayLike) -> dict[str, FloatArray]:
        names = self._observed_names(self.circuit_)
        widths = {name: self.circuit_.dictionary(name).n_inputs for name in names}
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
        if len(names) == len(self.circuit_.widths) or shape[1:] == (self.n_features_in_,):
            stimuli = split_columns(self._validate(X, values=False), self.circuit_.widths)
            return {name: stimuli[name] for name in names}
        observed = self._validate(X, self._make_validator(), values=False)
        if observed.shape[1] != sum(widths.values()):
            raise ValueError(
                f"X has {observed.shape[1]} features, but {type(self).__name__} is expecting "
                f"{sum(widths.values())} features as input (the observed modalities {widths}), "
                f"or all {self.n_features_in_} of {self.circuit_.widths}."
            )
        return split_columns(observed, widths)

    def transform(self, X: ArrayLike) -> FloatArray:
        """Compute the codes of the observed modalities, with drivers off.

        Parameters
        ----------
        X : (n_samples, n_observed) or (n_samples, n_features)
            Observed columns, or all columns, of which the others are ignored. An out-of-core array
            (memory map, `RowFile`, HDF5, Zarr) is read chunk by chunk; the codes of a Dask array
            are a Dask array that is computed chunk by chunk.

        Returns
        -------
        (n_samples, n_components)
            In the precision of X; a ``csr_array`` with ``sparse_output``.

        Raises
        ------
        ValueError
            If X is not finite, or has another number of columns.
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._validate_observed(X)
        return self._code_function(stimuli)(self._inference_circuit(*stimuli), stimuli)

    def encode(self, X: ArrayLike) -> Response:
        """Compute the steady-state codes with their duality gaps, see `Circuit.encode`.

        The codes do not depend on the neuron model.

        Parameters
        ----------
        X : as for `transform`, but not a Dask array

        Returns
        -------
        Response
            With ``code``, ``gap``, ``residual`` and ``n_iter``.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._validate_observed(X)
        return self._inference_circuit(*stimuli).encode(stimuli, self.tol, engine=self.engine)

    def lambda_max(self, X: ArrayLike) -> float:
        """Compute the smallest threshold at which the code of every sample is zero.

        Useful thresholds are fractions of it, for example 0.01 to 0.3.

        Parameters
        ----------
        X : as for `transform`, but not a Dask array

        Returns
        -------
        float
            See `spikelca.metrics.lambda_max`.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._validate_observed(X)
        return lambda_max(self._inference_circuit(*stimuli), stimuli)

    def _inference_circuit(self, *observed: str) -> Circuit:
        neuron, transfer = self._make_neuron(), self._make_transfer()

        def make() -> Circuit:
            circuit = self.circuit_.without_drivers().observe(*observed)
            return circuit._replace(neuron=neuron, transfer=transfer)

        return keep_circuit(self, self.circuit_, (observed, neuron, transfer), make)

    def inverse_transform(self, X: ArrayLike, modality: str | None = None) -> FloatArray:
        """Reconstruct a modality from codes.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes from `transform`, dense or sparse.
        modality : str, optional
            Modality to reconstruct (default: all, stacked as columns).

        Returns
        -------
        (n_samples, n_inputs)
        """
        check_is_fitted(self, "circuit_")
        names = list(self.circuit_.widths) if modality is None else [modality]
        code, observed = self._to_dense(X), self._observed_names(self.circuit_)
        return np.hstack([self.circuit_.reconstruct(code, name, observed) for name in names])

    def translate(self, X: ArrayLike, to: str) -> FloatArray:
        """Reconstruct one modality from the observed ones, ``Phi_to a``.

        Parameters
        ----------
        X : as for `transform`
        to : str
            Modality to reconstruct.

        Returns
        -------
        (n_samples, n_inputs)
        """
        return self.inverse_transform(self.transform(X), modality=to)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Return the names of the neurons, with class and index in the block of an ordinal code.

        ``digit3_12`` is the twelfth neuron of the block of class 3. The prefix is the label if it
        is a word (``cat_12``), ``digit`` if the classes are 0 to 9, and ``class`` otherwise.
        Neurons outside all blocks, and those without an ordinal driver, are named ``linkedlca``
        with their index.

        Parameters
        ----------
        input_features : ignored
            Present for compatibility with scikit-learn.

        Returns
        -------
        (n_components,) array of str
        """
        names = super().get_feature_names_out(input_features)
        for driver in self.circuit_.drivers:
            if isinstance(driver, OrdinalDriver):
                return block_feature_names(names, driver, self.classes_)
        return np.asarray(names)

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])


def block_feature_names(
    names: NDArray[np.object_], driver: OrdinalDriver, classes: NDArray[Any]
) -> NDArray[np.object_]:
    """Return the names of neurons, those in a block named after its class."""
    labels = np.asarray(classes).tolist()
    word = "digit" if labels == list(range(10)) else "class"
    prefixes = [label if isinstance(label, str) else f"{word}{label}" for label in labels]
    block, block_names = driver.block_size(len(names)), names.copy()
    for neuron, class_number in enumerate(driver.neuron_classes(len(names))):
        if class_number >= 0:
            block_names[neuron] = f"{prefixes[class_number]}_{neuron % block + 1}"
    return block_names

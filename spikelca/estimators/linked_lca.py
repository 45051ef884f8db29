"""`LinkedLCA`: dictionaries of several modalities, linked by one sparse code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from spikelca.circuit import Circuit
from spikelca.engines import Engine, Response
from spikelca.estimators.automatic_threshold import (
    TRIAL_SAMPLES,
    first_guess,
    split_rows,
    take_samples,
)
from spikelca.estimators.base import _BaseLCA, explained_energy, keep_circuit, limit_jobs
from spikelca.estimators.fit_warnings import CHECKED_SAMPLES, warn_of_scale
from spikelca.estimators.labels import block_feature_names, encode_labels
from spikelca.estimators.samples import (
    Stimuli,
    check_optional,
    check_weights,
    count_samples,
    history_row,
    iter_batches,
    make_progress_bar,
    observed_names,
    resume_or_start,
    split_columns,
    split_modalities,
)
from spikelca.estimators.tables import (
    InOrder,
    check_widths,
    count_columns,
    is_mapping,
    stack_modalities,
)
from spikelca.estimators.training import Training, learning_params, make_settings
from spikelca.learning import Progress, learn
from spikelca.learning.checkpoint import BatchSchedule, Checkpoint, LearningState, history_array
from spikelca.learning.loop import Batch
from spikelca.metrics import lambda_max
from spikelca.model.drivers import Driver, OrdinalDriver
from spikelca.model.neurons import Neuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms
from spikelca.utils.validation import FloatArray

Observe = str | Sequence[str] | None
"""One or several modalities; None for the default."""


class LinkedLCA(_BaseLCA):
    """Dictionary learning across modalities that share one sparse code.

    Parameters
    ----------
    n_components : int, optional
        Number of neurons (default: two per column of X, at most 256; one for a single column; at
        least 8 per class of an ordinal driver).
    modalities : mapping of str to int or list of str, optional
        Number of columns of X for each modality, in order, or the names of its columns in a data
        frame (default: those of X if it is a mapping, otherwise all columns are one modality
        ``"x"``).
    observe : str or sequence of str, optional
        Modalities encoded by `transform`, in any order (default: all).
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
    dict_init : (n_components, n_features) array, optional
        Initial atoms (default: samples). They are scaled to unit norm.
    positive_dict : bool, default=False
        Keep the atoms non-negative.
    contrast : Contrast, optional
        Makes the last part of `fit` contrastive: the clamped phase (all modalities and drivers)
        against the free phase (observed modalities only). Off by default.
    tol : float, default=1e-4
        Tolerance of the steady-state code, see `Circuit.encode`.
    duration : float, optional
        Simulated seconds per sample with spiking neurons (default: 20 time constants).
    dt : float, optional
        Integration step of spiking neurons in seconds (default: computed in `fit`, see ``dt_``).
    max_iter : int, default=100_000
        Maximum number of rounds of the solver per sample.
    n_jobs : int, optional
        Number of threads of the kernels (default and -1: all, ``NUMBA_NUM_THREADS``).
    sparse_output : bool, default=False
        Return codes as a ``scipy.sparse.csr_array``, computed chunk by chunk with memory
        proportional to the number of active neurons.
    random_state : int, RandomState or None, default=None
        Seed of the initial atoms, the order of the samples and new atoms for idle neurons.
    verbose : bool, default=False
        Show a progress bar, in logs with a new state every 10 s.

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
    errors_ : (n_steps, n_modalities)
        Error curve: ``sum |x - Phi a|^2 / sum |x|^2`` of each batch, before its Hebbian step.
    largest_norms_ : dict of str to float
        Largest norm of a training sample in each modality.
    dt_ : float
        Integration step of spiking neurons in seconds (only with spiking neurons): at most half
        the stability limit, and so short that a sample of 1.25 times these norms needs at most one
        spike per step. A stronger drive raises `ValueError`. The code of a sample does not depend
        on the samples encoded with it.
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
    errors_: NDArray[np.float64]
    row_scaling_: str

    def __init__(
        self,
        n_components: int | None = None,
        modalities: Mapping[str, int | Sequence[str]] | None = None,
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
        dict_init: ArrayLike | None = None,
        positive_dict: bool = False,
        contrast: Contrast | None = None,
        tol: float = 1e-4,
        duration: float | None = None,
        dt: float | None = None,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
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
        self.dict_init = dict_init
        self.positive_dict = positive_dict
        self.contrast = contrast
        self.tol = tol
        self.duration = duration
        self.dt = dt
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 50,
        resume: bool = False,
    ) -> Self:
        """Learn the dictionaries.

        After an interrupt (Ctrl-C) the estimator has the result of the last batch and can be used;
        the interrupt is raised again.

        Parameters
        ----------
        X : (n_samples, n_features), or mapping of modality to (n_samples, n_inputs)
            All modalities, stacked as columns, or a mapping of arrays or data frames, which is
            stacked in memory. An out-of-core array (memory map, `RowFile`, HDF5, Zarr) is read once
            to be checked, and then batch by batch; the rows of a Dask array stay on its workers.
        y : (n_samples,), optional
            Class of each sample, a number or a string, required and used by an ordinal driver only.
            A sample with the label -1 is unlabelled and not driven, if -1 is not among the classes.
        sample_weight : (n_samples,), optional
            Weight of each sample in the Hebbian steps, >= 0 (default: 1). A sample of weight zero
            has no effect; a sample of weight two is not the same as two samples, because batches
            differ.
        classes : (n_classes,), optional
            All classes, required if y does not contain each of them, for example in a fold of a
            cross-validation.
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
        self._check_parameters()
        validator = self._make_validator()
        training, classes = self._make_training(X, y, classes, sample_weight, validator, True)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        schedule = BatchSchedule(len(training.learned), self.batch_size, self.n_epochs, rng)
        target = None
        if checkpoint is not None:
            params, data = learning_params(self), training.data(classes)
            target = Checkpoint(checkpoint, checkpoint_every, params, data, schedule.n_batches)
        make_circuit = partial(training.make_circuit, schedule.rng)
        state = first = resume_or_start(schedule, make_circuit, target, resume)
        schedule.restore(first)
        batches = training.batches(schedule.batches(first.n_steps))
        steps = self._learn_batches(
            first.circuit, batches, schedule.n_batches, first.n_steps, schedule.rng
        )
        history = list(first.history)
        bar = make_progress_bar(schedule.n_batches, first.n_steps, self.verbose)
        try:
            with bar, limit_jobs(self.n_jobs):
                for circuit, progress in steps:
                    n_redrawn = state.n_redrawn + progress.redrawn
                    history.append(history_row(progress, circuit))
                    state = schedule.snapshot(circuit, progress.batch, n_redrawn, history)
                    if target is not None:
                        target.write_if_due(state)
                    bar.update()
        except (KeyboardInterrupt, OSError):
            self._set_state(state, schedule, classes, validator)
            if target is not None:
                target.write(state)
            raise
        state = replace(state, circuit=training.calibrate(state.circuit))
        self._set_state(state, schedule, classes, validator)
        samples, _ = take_samples(training.stimuli, training.learned, CHECKED_SAMPLES)
        inference = self._inference_circuit(*training.observed)
        warn_of_scale(self.circuit_, inference, samples, len(training.learned))
        return self

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
        self._set_history(history_array(state))

    def _set_history(self, history: NDArray[np.float64], first: bool = True) -> None:
        """Set error curve and largest norms from (n_steps, 2, n_modalities), or continue them."""
        errors, names = history[:, 0], list(self.circuit_.widths)
        largest = history[:, 1].max(axis=0) if len(history) else np.full(len(names), np.nan)
        norms = dict(zip(names, largest.tolist(), strict=True))
        if not first and hasattr(self, "errors_"):
            errors = np.concatenate([self.errors_, errors])
            norms = {name: max(self.largest_norms_[name], norm) for name, norm in norms.items()}
        self.errors_, self.largest_norms_ = errors, norms

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from further samples in the given order, in batches of ``batch_size``.

        The decay of the learning rule counts samples, not calls: a call with ``n`` samples has
        the decay ``decay ** (n / batch_size)``, so that samples can be passed one by one.

        Changes of ``threshold``, ``transfer``, ``two_sided``, ``driver``, ``plasticity`` and
        ``idle`` apply from this call on. ``n_components``, ``modalities`` and ``weights`` must not
        change.

        Parameters
        ----------
        X : (n_samples, n_features)
            As for `fit`.
        y : (n_samples,), optional
            As for `fit`.
        classes : (n_classes,), optional
            All classes, required at the first call if its y does not contain each of them. They
            must not change in later calls.
        sample_weight : (n_samples,), optional
            As for `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is invalid.
        """
        self._check_parameters()
        first = not hasattr(self, "circuit_")
        validator = self._make_validator() if first else None
        training, classes = self._make_training(X, y, classes, sample_weight, validator)
        if first:
            rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
            circuit = training.make_circuit(rng)
        else:
            rng, circuit = self._rng, training.settings.apply_to(self.circuit_)
        steps, redrawn = (0, 0) if first else (self.n_steps_, self.n_redrawn_)
        batches = iter_batches(training.stimuli, training.labels, training.weights, self.batch_size)
        learned, history = self._learn_batches(circuit, batches, None, steps, rng), []
        with make_progress_bar(None, steps, self.verbose) as bar, limit_jobs(self.n_jobs):
            for new_circuit, progress in learned:
                history.append(history_row(progress, new_circuit))
                circuit, steps, redrawn = new_circuit, progress.batch, redrawn + progress.redrawn
                bar.update()
        if validator is not None:
            self._copy_feature_names(validator)
            circuit = training.calibrate(circuit)
        self._set_fitted(circuit, classes, rng, 1 if first else self.n_iter_ + 1, steps, redrawn)
        self._set_history(np.array(history), first)
        return self

    def _find_widths(self, X: Any) -> Mapping[str, Any] | None:
        """Return the modalities, those of X if it is a mapping and no others are given."""
        is_given = self.modalities is not None or not is_mapping(X)
        return self.modalities if is_given else count_columns(X)

    def _split(
        self,
        X: Any,
        modalities: Mapping[str, Any] | None,
        validator: BaseEstimator | None,
        keep: bool = False,
    ) -> Stimuli:
        if isinstance(modalities, Mapping):
            if is_mapping(X) and self.modalities is not None:
                check_widths(X, modalities)
            X = stack_modalities(X, modalities)
        return split_modalities(self._validate(X, validator), modalities, keep)

    def _check_parameters(self) -> None:
        """Check the parameters of training that do not depend on the samples."""
        self._check_counts("n_epochs", "batch_size")
        if self.n_components is not None:
            self._check_counts("n_components")
        self._check_settings()
        check_optional(self.contrast, "contrast", Contrast)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        # scikit-learn sorts the keys of a dict, but the order of the modalities is that of X.
        shown = copy(self)
        if isinstance(self.modalities, Mapping):
            shown.modalities = InOrder(self.modalities)
        return str(BaseEstimator.__repr__(shown, N_CHAR_MAX))

    def _make_training(
        self,
        X: Any,
        y: Any,
        classes: Any,
        sample_weight: Any,
        validator: BaseEstimator | None,
        whole: bool = False,
    ) -> tuple[Training, Any]:
        """Check the samples and settings of a training run; also returns the classes.

        Without a validator, training continues with the modalities and classes of before. If X is
        ``whole``, a part of it can be held out to choose a threshold.
        """
        first, automatic = validator is not None, self._is_automatic()
        widths = self._find_widths(X)
        if not first and self.modalities is None:
            widths = self.circuit_.widths
        stimuli = self._split(X, widths, validator, keep=whole)
        n_samples = count_samples(stimuli)
        learned, held_out = split_rows(n_samples, whole and self.n_active is not None)
        guess = None
        if first and automatic:
            guess = first_guess(take_samples(stimuli, learned, TRIAL_SAMPLES)[0])
        settings = make_settings(self, widths, (validator or self).n_features_in_, guess)
        known = None if first else getattr(self, "classes_", None)
        labels, classes = encode_labels(self.driver, y, n_samples, classes, known)
        weights = check_weights(sample_weight, n_samples)
        training = Training(
            stimuli, labels, weights, learned, held_out, settings,
            self._observed_names(settings.widths), self.batch_size, self._learn_batches,
            self._choose_threshold if automatic else None, self.n_active,
        )  # fmt: skip
        return training, classes

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
            batch_size=self.batch_size if n_batches is None else None,
            tol=tol,
            engine=self.engine,
            max_iter=self.max_iter,
            rng=rng,
            contrast=None if n_batches is None else self.contrast,
            observe=self._observed_names(circuit.widths),
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
        elif hasattr(self, "classes_"):
            del self.classes_
        self._set_chosen(circuit.transfer.threshold)
        self.n_iter_, self.n_steps_, self.n_redrawn_ = n_iter, n_steps, redrawn
        self._rng = rng

    def _observed_names(
        self, widths: Mapping[str, int], observe: Observe = None
    ) -> tuple[str, ...]:
        return observed_names(self.observe if observe is None else observe, widths)

    def _validate_given(
        self, X: Any, names: Sequence[str]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Return the observed modalities, and all that X contains, with values not checked."""
        widths = {name: self.circuit_.widths[name] for name in names}
        if is_mapping(X):
            check_widths(X, self.circuit_.widths)
        modalities = self.circuit_.widths if is_mapping(X) else self.modalities
        X = stack_modalities(X, modalities, names)
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
        is_part = len(names) < len(self.circuit_.widths)
        if not is_part or shape[1:] == (self.n_features_in_,):
            checked = self._validate(X, values=False, ignored_columns=is_part)
            given = split_columns(checked, self.circuit_.widths)
            return {name: given[name] for name in names}, given
        if len(shape) == 2 and shape[1] != sum(widths.values()):
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting "
                f"{sum(widths.values())} features as input (the observed modalities {widths}), "
                f"or all {self.n_features_in_} of {self.circuit_.widths}."
            )
        given = split_columns(self._validate(X, like=self._part(names), values=False), widths)
        return given, given

    def _part(self, names: Sequence[str]) -> Self:
        """Make an estimator with the feature names of some modalities, to compare those of X."""
        part, widths = self._make_validator(), self.circuit_.widths
        part.n_features_in_ = sum(widths[name] for name in names)
        if hasattr(self, "feature_names_in_"):
            columns = split_columns(self.feature_names_in_[None], widths)
            part.feature_names_in_ = np.concatenate([columns[name][0] for name in names])
        return part

    def transform(self, X: ArrayLike, observe: Observe = None) -> FloatArray:
        """Compute the codes of the observed modalities, with drivers off.

        Parameters
        ----------
        X : (n_samples, n_observed) or (n_samples, n_features), or mapping as for `fit`
            Observed columns, in the order of `fit`, or all columns, of which the others are
            ignored, with any values. An out-of-core array (memory map, `RowFile`, HDF5, Zarr) is
            read chunk by chunk; the codes of a Dask array are a Dask array that is computed chunk
            by chunk.
        observe : str or sequence of str, optional
            Observed modalities (default: the parameter ``observe``).

        Returns
        -------
        (n_samples, n_components)
            In the precision of X; a ``csr_array`` with ``sparse_output``.

        Raises
        ------
        ValueError
            If an observed value is not finite, or X has other columns: another number, or other
            names if `fit` was called with a data frame.
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self, "circuit_")
        names = self._observed_names(self.circuit_.widths, observe)
        stimuli, _ = self._validate_given(X, names)
        circuit = self._inference_circuit(*stimuli)
        with limit_jobs(self.n_jobs):
            return self._code_function(circuit, stimuli)(circuit, stimuli)

    def encode(self, X: ArrayLike, observe: Observe = None) -> Response:
        """Compute the steady-state codes with their duality gaps, see `Circuit.encode`.

        The codes do not depend on the neuron model.

        Parameters
        ----------
        X : as for `transform`, but not a Dask array
        observe : str or sequence of str, optional
            Observed modalities (default: the parameter ``observe``).

        Returns
        -------
        Response
            With ``code``, ``gap``, ``residual`` and ``n_iter``.
        """
        check_is_fitted(self, "circuit_")
        stimuli, _ = self._validate_given(X, self._observed_names(self.circuit_.widths, observe))
        with limit_jobs(self.n_jobs):
            return self._inference_circuit(*stimuli).encode(
                stimuli, self.tol, engine=self.engine, max_iter=self.max_iter
            )

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Compute the fraction of the energy of the samples that the codes explain.

        The codes are those of `transform`. If X has all columns, unobserved modalities count, too:
        the score then contains the error of their cross-modal reconstruction.

        Parameters
        ----------
        X : as for `transform`, but not a Dask array
            Values that are NaN in unobserved columns are left out.
        y : None
            Ignored, present for model selection.

        Returns
        -------
        float
            ``1 - sum w_i |x_i - Phi_i a|^2 / sum w_i |x_i|^2``, at most 1. A smaller threshold
            gives a higher score and denser codes.
        """
        check_is_fitted(self, "circuit_")
        stimuli, given = self._validate_given(X, self._observed_names(self.circuit_.widths))
        code, names = self._to_dense(self.transform(X)), tuple(stimuli)
        reconstructions = {name: self.circuit_.reconstruct(code, name, names) for name in given}
        weights = {d.name: d.weight for d in self.circuit_.dictionaries}
        return explained_energy(given, reconstructions, weights)

    @property
    def dt_(self) -> float:
        """Integration step of spiking neurons in seconds."""
        check_is_fitted(self, "circuit_")
        names = self._observed_names(self.circuit_.widths)
        return self._get_dt(self._inference_circuit(*names))

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
        stimuli, _ = self._validate_given(X, self._observed_names(self.circuit_.widths))
        return lambda_max(self._inference_circuit(*stimuli), stimuli)

    def _inference_circuit(self, *observed: str) -> Circuit:
        neuron, transfer = self._make_neuron(), self._make_transfer()

        def make() -> Circuit:
            circuit = self.circuit_.without_drivers().observe(*observed)
            return circuit._replace(neuron=neuron, transfer=transfer)

        return keep_circuit(self, self.circuit_, (observed, neuron, transfer), make)

    def inverse_transform(
        self, X: ArrayLike, modality: str | None = None, observe: Observe = None
    ) -> FloatArray:
        """Reconstruct a modality from codes.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes from `transform`, dense or sparse.
        modality : str, optional
            Modality to reconstruct (default: all, stacked as columns).
        observe : str or sequence of str, optional
            Modalities from which the codes were inferred (default: the parameter ``observe``).

        Returns
        -------
        (n_samples, n_inputs)
        """
        check_is_fitted(self, "circuit_")
        names = list(self.circuit_.widths) if modality is None else [modality]
        code, observed = self._to_dense(X), self._observed_names(self.circuit_.widths, observe)
        return np.hstack([self.circuit_.reconstruct(code, name, observed) for name in names])

    def translate(self, X: ArrayLike, to: str, observe: Observe = None) -> FloatArray:
        """Reconstruct one modality from the observed ones, ``Phi_to a``.

        Parameters
        ----------
        X : as for `transform`
        to : str
            Modality to reconstruct.
        observe : str or sequence of str, optional
            Observed modalities (default: the parameter ``observe``).

        Returns
        -------
        (n_samples, n_inputs)
        """
        return self.inverse_transform(self.transform(X, observe), modality=to, observe=observe)

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

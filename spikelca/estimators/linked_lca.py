"""`LinkedLCA`: dictionaries learned together, linked by one sparse code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from spikelca.circuit import Circuit
from spikelca.engines import Engine, get_engine
from spikelca.estimators.base import _BaseLCA
from spikelca.estimators.samples import (
    Stimuli,
    count_samples,
    encode_labels,
    iter_batches,
    make_batch,
    make_initial_circuit,
    resume_or_start,
    show_progress,
    split_columns,
    split_modalities,
)
from spikelca.learning import Progress, learn
from spikelca.learning.checkpoint import BatchSchedule, Checkpoint, LearningState
from spikelca.learning.loop import Batch
from spikelca.model.drivers import Driver, OrdinalDriver
from spikelca.model.neurons import Neuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms
from spikelca.utils.validation import FloatArray


class LinkedLCA(_BaseLCA):
    """Learn dictionaries that are linked across modalities by one sparse code.

    Parameters
    ----------
    n_components : int, default=256
        Neurons of the code.
    modalities : mapping of str to int, optional
        Names of the modalities and how many columns of X each takes, in order. Without it all
        columns are one modality, ``"x"``.
    observe : str or sequence of str, optional
        What `transform` sees. All modalities unless told.
    weights : mapping of str to float, optional
        w_i of Eq. 6 for each modality; 1 where nothing is said.
    threshold : float, default=0.1
        lam. It is compared with ``Phi^T x``: scale the samples (unit norm, say) to give it meaning.
    transfer : {"soft", "hard"}, default="soft"
        Transfer function.
    two_sided : bool, default=False
        Signed codes.
    neuron : {"rate", "spiking"} or neuron, default="rate"
        What `transform` runs. Learning settles the code, which is the same for both.
    engine : {"numba", "reference", "brian2"} or Engine, default="numba"
        How it is run.
    driver : Driver, optional
        Steers learning, for example ``OrdinalDriver(n_classes=10)``, which reads y. Off in
        `transform`.
    n_epochs : int, default=2
        Passes over the samples.
    batch_size : int, default=250
        Samples of one Hebbian step.
    plasticity : Hebbian, optional
        The learning rule of all modalities.
    idle : IdleAtoms, optional
        What happens to atoms that fall silent.
    contrast : Contrast, optional
        Makes the last part of `fit` contrastive: what is taught with all in view against what is
        answered by the observed modality alone. Off unless told.
    tol : float, default=1e-4
        Tolerance of the settled code, see `Circuit.encode`.
    duration : float, optional
        Seconds of simulation for each sample of a spiking neuron; 20 time constants unless told.
    sparse_output : bool, default=False
        Give codes as a ``scipy.sparse.csr_array``, made chunk by chunk: memory grows with the
        active neurons only.
    random_state : int, RandomState or None
        Draws the first atoms, the order of the samples and new atoms for idle neurons.
    verbose : bool, default=False
        Show progress on a terminal.

    Attributes
    ----------
    circuit_ : Circuit
        The learned circuit, its drivers still on it.
    components_ : (n_components, n_features)
        Atoms of all modalities, side by side as the columns of X.
    classes_ : (n_classes,)
        Labels in the order of the driver's blocks (only with a driver).
    n_iter_ : int
        Passes over the samples.
    n_steps_ : int
        Hebbian steps.
    n_redrawn_ : int
        Idle atoms that were drawn anew.

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

    def __init__(
        self,
        n_components: int = 256,
        modalities: Mapping[str, int] | None = None,
        observe: str | Sequence[str] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        threshold: float = 0.1,
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

    # ---------------------------------------------------------------- learning

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

        What was learned until an interrupt (Ctrl-C) is kept and can be used; the interrupt is
        raised on.

        Parameters
        ----------
        X : (n_samples, n_features)
            All modalities side by side. An array outside memory (a memory map, a `RowFile`, HDF5,
            Zarr) is read once to be checked, and then batch by batch; of a Dask array the workers
            hold the rows.
        y : (n_samples,), optional
            Class of each sample; needed by an ordinal driver and used for nothing else.
        checkpoint : path, optional
            File in which the learning is kept as it goes on. A learning that was killed and is
            resumed ends in the same bits as one that was not.
        checkpoint_every : int, default=50
            It is written after every how many batches, at the end, and on Ctrl-C.
        resume : bool, default=False
            Go on from the checkpoint, if there is one; without one, start anew. Without this a
            checkpoint of a learning that is not done is not overwritten.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is not what was awaited, or the checkpoint belongs to other
            data or parameters.
        """
        self._check_counts("n_components", "n_epochs", "batch_size")
        probe = clone(self)
        stimuli = self._split(X, probe, keep=True)
        labels, classes = encode_labels(self.driver, y, count_samples(stimuli), None)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        course = BatchSchedule(count_samples(stimuli), self.batch_size, self.n_epochs, rng)
        file = None
        if checkpoint is not None:
            data = {**stimuli, "labels": labels, "classes": classes}
            params = self._what_learning_depends_on()
            file = Checkpoint(checkpoint, checkpoint_every, params, data, course.n_batches)
        fresh = partial(self._first_circuit, stimuli, labels, course.rng)
        mark = first = resume_or_start(course, fresh, file, resume)
        course.turn_to(first)
        try:
            for mark in self._marks(course, first, stimuli, labels):
                if file is not None:
                    file.after(mark)
        except (KeyboardInterrupt, OSError):
            self._keep_mark(mark, course, classes, probe)
            if file is not None:
                file.write(mark)
            raise
        self._keep_mark(mark, course, classes, probe)
        return self

    def _what_learning_depends_on(self) -> dict[str, Any]:
        aside = {"observe", "neuron", "duration", "sparse_output", "verbose"}
        if self.contrast is not None:
            aside.remove("observe")
        params = {n: v for n, v in self.get_params(deep=False).items() if n not in aside}
        return params | {"engine": get_engine(self.engine).name}

    def _marks(
        self, course: BatchSchedule, mark: LearningState, stimuli: Stimuli, labels: Any
    ) -> Iterator[LearningState]:
        """Learn from where a bookmark lies to the end; yields where it stands after each batch."""
        batches = (make_batch(stimuli, labels, rows) for rows in course.batches(mark.n_steps))
        redrawn = mark.n_redrawn
        for circuit, progress in self._run(
            mark.circuit, batches, course.n_batches, mark.n_steps, course.rng
        ):
            redrawn += progress.redrawn
            yield course.bookmark(circuit, progress.batch, redrawn)

    def _keep_mark(
        self, mark: LearningState, course: BatchSchedule, classes: Any, probe: BaseEstimator
    ) -> None:
        self._keep_signature(probe)
        n_iter = -(-mark.n_steps // course.per_epoch)
        self._keep(mark.circuit, classes, mark.generator(), n_iter, mark.n_steps, mark.n_redrawn)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Self:
        """Learn from some more samples, in batches of ``batch_size``, in the order given.

        Parameters
        ----------
        X : (n_samples, n_features)
            May lie outside memory, see `fit`.
        y : (n_samples,), optional
        classes : (n_classes,), optional
            All labels, if the first call does not hold each of them.

        Returns
        -------
        self
        """
        self._check_counts("n_components", "n_epochs", "batch_size")
        first = not hasattr(self, "circuit_")
        probe = clone(self) if first else None
        stimuli = self._split(X, probe)
        known = classes if first else getattr(self, "classes_", None)
        labels, classes = encode_labels(self.driver, y, count_samples(stimuli), known)
        if first:
            rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
            circuit = self._first_circuit(stimuli, labels, rng)
        else:
            rng, circuit = self._rng, self.circuit_
        steps, redrawn = (0, 0) if first else (self.n_steps_, self.n_redrawn_)
        batches = iter_batches(stimuli, labels, self.batch_size)
        for learned, progress in self._run(circuit, batches, None, steps, rng):
            circuit, steps, redrawn = learned, progress.batch, redrawn + progress.redrawn
        if probe is not None:
            self._keep_signature(probe)
        self._keep(circuit, classes, rng, 1 if first else self.n_iter_ + 1, steps, redrawn)
        return self

    def _split(self, X: ArrayLike, probe: BaseEstimator | None, keep: bool = False) -> Stimuli:
        return split_modalities(self._check(X, probe), self.modalities, keep)

    def _first_circuit(self, stimuli: Stimuli, labels: Any, rng: np.random.Generator) -> Circuit:
        return make_initial_circuit(
            stimuli,
            labels,
            rng,
            n_components=self.n_components,
            transfer=self._transfer(),
            weights=self.weights or {},
            driver=self.driver,
            rule=Hebbian() if self.plasticity is None else self.plasticity,
            idle=IdleAtoms() if self.idle is None else self.idle,
        )

    def _run(
        self,
        circuit: Circuit,
        batches: Iterator[Batch],
        n_batches: int | None,
        first: int,
        rng: np.random.Generator,
    ) -> Iterator[tuple[Circuit, Progress]]:
        # Learning needs no more digits than its own noise; transform uses the user's tolerance.
        tol = max(self.tol, 1e-3)
        steps = learn(
            circuit,
            batches,
            n_batches=n_batches,
            first=first,
            tol=tol,
            engine=self.engine,
            rng=rng,
            contrast=None if n_batches is None else self.contrast,
            observe=self._observed_of(circuit),
        )
        return show_progress(steps, n_batches, first, self.verbose)

    def _keep(
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
        self.n_iter_, self.n_steps_, self.n_redrawn_ = n_iter, n_steps, redrawn
        self._rng = rng

    def _observed(self) -> tuple[str, ...]:
        return self._observed_of(self.circuit_)

    def _observed_of(self, circuit: Circuit) -> tuple[str, ...]:
        if self.observe is None:
            return tuple(circuit.widths)
        return (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)

    def _observed_columns(self, X: ArrayLike) -> dict[str, FloatArray]:
        names = self._observed()
        widths = {name: self.circuit_.dictionary(name).n_inputs for name in names}
        alone = None
        if len(names) < len(self.circuit_.widths):
            alone = self._check(X, clone(self), values=False)
        if alone is None or alone.shape[1] == self.n_features_in_:
            stimuli = split_columns(self._check(X, values=False), self.circuit_.widths)
            return {name: stimuli[name] for name in names}
        if alone.shape[1] != sum(widths.values()):
            raise ValueError(
                f"X has {alone.shape[1]} features, but {type(self).__name__} is expecting "
                f"{sum(widths.values())} features as input (the observed modalities {widths}), "
                f"or all {self.n_features_in_} of {self.circuit_.widths}."
            )
        return split_columns(alone, widths)

    def transform(self, X: ArrayLike) -> FloatArray:
        """Codes of the observed modality, drivers off.

        Parameters
        ----------
        X : (n_samples, n_observed) or (n_samples, n_features)
            The observed columns, or all columns, of which the others are ignored. An array outside
            memory (a memory map, a `RowFile`, HDF5, Zarr) is read chunk by chunk; codes of a Dask
            array are a Dask array that is computed chunk by chunk.

        Returns
        -------
        (n_samples, n_components)
            In the precision of X; a ``csr_array`` with ``sparse_output``.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._observed_columns(X)
        circuit = self.circuit_.without_drivers().observe(*stimuli)
        circuit = circuit._replace(neuron=self._neuron(), transfer=self._transfer())
        return self._codes(circuit, stimuli)

    def inverse_transform(self, X: ArrayLike, modality: str | None = None) -> FloatArray:
        """What codes say about a modality.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes from `transform`, dense or sparse.
        modality : str, optional
            All modalities side by side unless told.

        Returns
        -------
        (n_samples, n_inputs)
        """
        check_is_fitted(self, "circuit_")
        names = list(self.circuit_.widths) if modality is None else [modality]
        code, seen = self._dense(X), self._observed()
        return np.hstack([self.circuit_.reconstruct(code, name, seen) for name in names])

    def translate(self, X: ArrayLike, to: str) -> FloatArray:
        """Recall one modality from the observed one: ``Phi_to a``.

        Parameters
        ----------
        X : as for `transform`
        to : str
            The modality to recall.

        Returns
        -------
        (n_samples, n_inputs)
        """
        return self.inverse_transform(self.transform(X), modality=to)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the neurons: of an ordinal code with class and place in its block.

        ``digit3_12`` is the twelfth neuron of the block of class 3. A label that is a word is its
        own name (``cat_12``); numbers are called ``digit`` where the classes are 0 to 9, and
        ``class`` otherwise. A neuron outside all blocks has the plain name that every neuron has
        without an ordinal driver: ``linkedlca`` and its index.

        Parameters
        ----------
        input_features : ignored
            The names of the columns of X say nothing about the neurons.

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
    """The names of neurons, those in a block named after its class."""
    labels = np.asarray(classes).tolist()
    word = "digit" if labels == list(range(10)) else "class"
    called = [label if isinstance(label, str) else f"{word}{label}" for label in labels]
    block, found = driver.block_size(len(names)), names.copy()
    for neuron, owner in enumerate(driver.neuron_classes(len(names))):
        if owner >= 0:
            found[neuron] = f"{called[owner]}_{neuron % block + 1}"
    return found

"""scikit-learn faces of the circuit. They hold state and have no mathematics of their own.

Modalities are named columns of one X: ``modalities={"mnist": 784, "arial": 784}`` says that the
first 784 columns of X are the one and the next 784 the other. ``transform`` sees the observed
modality only and switches every driver off: neither the printed digit nor the driver, which both
know the label, can leak into a code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from spikelca.checkpoint import Bookmark, Checkpoint, Course
from spikelca.circuit import Circuit
from spikelca.dictionary import Dictionary
from spikelca.drivers import Driver, OrdinalDriver
from spikelca.engines import Engine, get_engine
from spikelca.initial import initial_atoms
from spikelca.learning import Batch, Progress, learn
from spikelca.neurons import Neuron, RateNeuron, SpikingNeuron
from spikelca.plasticity import Hebbian, IdleAtoms
from spikelca.transfer import HardThreshold, SoftThreshold, Transfer
from spikelca.validation import FloatArray, check_finite

_NEURONS: Mapping[str, Callable[[], Neuron]] = {"rate": RateNeuron, "spiking": SpikingNeuron}
_TRANSFERS: Mapping[str, Callable[[float, bool], Transfer]] = {
    "soft": SoftThreshold,
    "hard": HardThreshold,
}


def _named(table: Mapping[str, Any], name: Any, what: str) -> Any:
    if name not in table:
        raise ValueError(f"{what} is {name!r}; one of {list(table)} was awaited.")
    return table[name]


class _Coder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What both estimators share: from a circuit and rows to codes."""

    threshold: float
    transfer: str
    two_sided: bool
    neuron: str | Neuron
    engine: str | Engine
    tol: float
    duration: float | None

    def _neuron(self) -> Neuron:
        if isinstance(self.neuron, (RateNeuron, SpikingNeuron)):
            return self.neuron
        return _named(_NEURONS, self.neuron, "neuron")()

    def _transfer(self) -> Transfer:
        made = _named(_TRANSFERS, self.transfer, "transfer")(self.threshold, self.two_sided)
        return made

    def _codes(self, circuit: Circuit, stimuli: Mapping[str, FloatArray]) -> FloatArray:
        """Settled codes of a rate circuit, spike-rate codes of a spiking one."""
        if isinstance(circuit.neuron, RateNeuron):
            return circuit.encode(stimuli, self.tol, engine=self.engine).code
        duration = 20 * circuit.neuron.tau if self.duration is None else self.duration
        return circuit.simulate(stimuli, duration, engine=self.engine).code

    def _check(self, X: ArrayLike, reset_on: BaseEstimator | None = None) -> FloatArray:
        """X as a finite float array; what scikit-learn keeps of it is kept on ``reset_on``."""
        checked: FloatArray = validate_data(
            self if reset_on is None else reset_on,
            X,
            dtype=[np.float64, np.float32],
            reset=reset_on is not None,
            ensure_all_finite=False,
        )
        check_finite(checked, "X")
        return checked

    def _keep_signature(self, probe: BaseEstimator) -> None:
        self.n_features_in_ = probe.n_features_in_
        if hasattr(probe, "feature_names_in_"):
            self.feature_names_in_ = probe.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LinkedLCA(_Coder):
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
    tol : float, default=1e-4
        Tolerance of the settled code, see `Circuit.encode`.
    duration : float, optional
        Seconds of simulation for each sample of a spiking neuron; 20 time constants unless told.
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
        tol: float = 1e-4,
        duration: float | None = None,
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
        self.tol = tol
        self.duration = duration
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
            All modalities side by side.
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
        self._check_counts()
        probe = clone(self)
        stimuli = self._split(self._check(X, probe))
        labels, classes = self._labels(y, len(_rows(stimuli)), None)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        course = Course(len(_rows(stimuli)), self.batch_size, self.n_epochs, rng)
        file = None
        if checkpoint is not None:
            data = {**stimuli, "labels": labels, "classes": classes}
            params = self._what_learning_depends_on()
            file = Checkpoint(checkpoint, checkpoint_every, params, data, course.n_batches)
        mark = first = self._first_mark(course, stimuli, labels, file, resume)
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
        aside = ("observe", "neuron", "duration", "verbose")
        params = {n: v for n, v in self.get_params(deep=False).items() if n not in aside}
        return params | {"engine": get_engine(self.engine).name}

    def _first_mark(
        self,
        course: Course,
        stimuli: Mapping[str, FloatArray],
        labels: Any,
        file: Checkpoint | None,
        resume: bool,
    ) -> Bookmark:
        if file is None and resume:
            raise ValueError("resume=True goes on from a checkpoint; name its file: checkpoint=...")
        mark = None if file is None else file.begin(resume)
        if mark is None:
            mark = course.bookmark(self._first_circuit(stimuli, labels, course.rng))
            if file is not None:
                file.write(mark)  # what cannot be written is told before hours have gone by
        return mark

    def _marks(
        self, course: Course, mark: Bookmark, stimuli: Mapping[str, FloatArray], labels: Any
    ) -> Iterator[Bookmark]:
        """Learn from where a bookmark lies to the end; yields where it stands after each batch."""
        batches = (_batch(stimuli, labels, rows) for rows in course.batches(mark.n_steps))
        redrawn = mark.n_redrawn
        for circuit, progress in self._run(
            mark.circuit, batches, course.n_batches, mark.n_steps, course.rng
        ):
            redrawn += progress.redrawn
            yield course.bookmark(circuit, progress.batch, redrawn)

    def _keep_mark(
        self, mark: Bookmark, course: Course, classes: Any, probe: BaseEstimator
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
        y : (n_samples,), optional
        classes : (n_classes,), optional
            All labels, if the first call does not hold each of them.

        Returns
        -------
        self
        """
        self._check_counts()
        first = not hasattr(self, "circuit_")
        probe = clone(self) if first else None
        stimuli = self._split(self._check(X, probe))
        known = classes if first else getattr(self, "classes_", None)
        labels, classes = self._labels(y, len(_rows(stimuli)), known)
        if first:
            rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
            circuit = self._first_circuit(stimuli, labels, rng)
        else:
            rng, circuit = self._rng, self.circuit_
        order = np.arange(len(_rows(stimuli)))
        steps, redrawn = (0, 0) if first else (self.n_steps_, self.n_redrawn_)
        cuts = range(self.batch_size, order.size, self.batch_size)
        batches = (_batch(stimuli, labels, rows) for rows in np.split(order, cuts))
        for learned, progress in self._run(circuit, batches, None, steps, rng):
            circuit, steps, redrawn = learned, progress.batch, redrawn + progress.redrawn
        if probe is not None:
            self._keep_signature(probe)
        self._keep(circuit, classes, rng, 1 if first else self.n_iter_ + 1, steps, redrawn)
        return self

    def _check_counts(self) -> None:
        for name in ("n_components", "n_epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} is {value!r}; a whole number of 1 or more was awaited.")

    def _labels(
        self, y: ArrayLike | None, n_samples: int, classes: ArrayLike | None
    ) -> tuple[Any, Any]:
        """Class numbers for the driver, and the labels in the order of its blocks."""
        if self.driver is None:
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
        awaited = getattr(self.driver, "n_classes", known.size)
        if known.size != awaited:
            raise ValueError(
                f"y holds {known.size} classes {known[:20]}; the driver awaits {awaited}. Give "
                "the driver that number, or samples of every class."
            )
        return np.searchsorted(known, found), known

    def _first_circuit(
        self, stimuli: Mapping[str, FloatArray], labels: Any, rng: np.random.Generator
    ) -> Circuit:
        weights = dict.fromkeys(stimuli, 1.0) | dict(self.weights or {})
        unknown = sorted(set(weights) - set(stimuli))
        if unknown:
            raise ValueError(f"weights names {unknown}; names out of {list(stimuli)} were awaited.")
        drivers = () if self.driver is None else (self.driver,)
        n_samples = len(_rows(stimuli))
        for driver in drivers:
            driver.check(self.n_components, self._transfer().threshold)
        favoured = None
        if isinstance(self.driver, OrdinalDriver):
            favoured = self.driver.favours(labels, n_samples, self.n_components)
        atoms = initial_atoms(stimuli, weights, self.n_components, rng, favoured)
        rule = Hebbian() if self.plasticity is None else self.plasticity
        return Circuit(
            RateNeuron(),
            self._transfer(),
            [Dictionary(name, phi, weights[name], rule) for name, phi in atoms.items()],
            drivers,
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
        from tqdm import tqdm

        # Learning needs no more digits than its own noise; transform uses the user's tolerance.
        tol = max(self.tol, 1e-3)
        steps = learn(
            circuit, batches, n_batches=n_batches, first=first, tol=tol, engine=self.engine, rng=rng
        )
        yield from tqdm(
            steps,
            "learn",
            n_batches,
            initial=first,
            unit="batch",
            leave=False,
            disable=None if self.verbose else True,
        )

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

    # ---------------------------------------------------------------- columns

    def _widths(self, n_features: int) -> dict[str, int]:
        widths = {"x": n_features} if self.modalities is None else dict(self.modalities)
        if sum(widths.values()) != n_features:
            raise ValueError(
                f"X has {n_features} features, but the modalities {widths} take "
                f"{sum(widths.values())} columns. Put all modalities side by side."
            )
        return widths

    def _split(self, X: FloatArray) -> dict[str, FloatArray]:
        return _columns(X, self._widths(X.shape[1]))

    def _observed(self) -> tuple[str, ...]:
        if self.observe is None:
            return tuple(self.circuit_.widths)
        return (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)

    def _observed_columns(self, X: ArrayLike) -> dict[str, FloatArray]:
        names = self._observed()
        widths = {name: self.circuit_.dictionary(name).n_inputs for name in names}
        alone = None
        if len(names) < len(self.circuit_.widths):
            alone = self._check(X, clone(self))
        if alone is None or alone.shape[1] == self.n_features_in_:
            stimuli = self._split(self._check(X))
            return {name: stimuli[name] for name in names}
        if alone.shape[1] != sum(widths.values()):
            raise ValueError(
                f"X has {alone.shape[1]} features, but {type(self).__name__} is expecting "
                f"{sum(widths.values())} features as input (the observed modalities {widths}), "
                f"or all {self.n_features_in_} of {self.circuit_.widths}."
            )
        return _columns(alone, widths)

    # ---------------------------------------------------------------- use

    def transform(self, X: ArrayLike) -> FloatArray:
        """Codes of the observed modality, drivers off.

        Parameters
        ----------
        X : (n_samples, n_observed) or (n_samples, n_features)
            The observed columns, or all columns, of which the others are ignored.

        Returns
        -------
        (n_samples, n_components)
            In the precision of X.
        """
        check_is_fitted(self, "circuit_")
        stimuli = self._observed_columns(X)
        circuit = self.circuit_.without_drivers().observe(*stimuli)
        circuit = circuit.with_parts(neuron=self._neuron(), transfer=self._transfer())
        dtype = next(iter(stimuli.values())).dtype
        return self._codes(circuit, stimuli).astype(dtype, copy=False)

    def inverse_transform(self, X: ArrayLike, modality: str | None = None) -> FloatArray:
        """What codes say about a modality.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes from `transform`.
        modality : str, optional
            All modalities side by side unless told.

        Returns
        -------
        (n_samples, n_inputs)
        """
        check_is_fitted(self, "circuit_")
        names = list(self.circuit_.widths) if modality is None else [modality]
        code, seen = np.asarray(X), self._observed()
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

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])


def _columns(X: FloatArray, widths: Mapping[str, int]) -> dict[str, FloatArray]:
    """X cut into modalities of these widths."""
    edges = np.cumsum([0, *widths.values()])
    bounds = zip(widths, edges[:-1], edges[1:], strict=True)
    return {name: X[:, first:last] for name, first, last in bounds}


def _batch(stimuli: Mapping[str, FloatArray], labels: Any, rows: Any) -> Batch:
    """What is shown in one batch, and its labels."""
    shown = {name: X[rows] for name, X in stimuli.items()}
    return shown, None if labels is None else labels[rows]


def _rows(stimuli: Mapping[str, FloatArray]) -> FloatArray:
    """Any one of the modalities: all have the same rows."""
    return next(iter(stimuli.values()))


class LCACoder(_Coder):
    """Sparse coding with a dictionary that is given and stays, as scikit-learn's ``SparseCoder``.

    Parameters
    ----------
    dictionary : (n_components, n_features) array, or callable
        The atoms; a callable makes them from the number of features (``numpy.eye``, a cosine
        basis).
    threshold : float, default=0.1
        lam, not divided by anything.
    transfer : {"soft", "hard"}, default="soft"
    two_sided : bool, default=False
        Signed codes.
    neuron : {"rate", "spiking"} or neuron, default="rate"
    engine : {"numba", "reference", "brian2"} or Engine, default="numba"
    tol : float, default=1e-4
        Tolerance of the settled code, see `Circuit.encode`.
    duration : float, optional
        Seconds of simulation for each sample of a spiking neuron; 20 time constants unless told.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import LCACoder
    >>> LCACoder(np.array([[1.0, 0.0], [0.6, 0.8]])).transform([[0.0, 1.0]]).round(3)
    array([[0. , 0.7]])
    """

    def __init__(
        self,
        dictionary: ArrayLike | Callable[[int], FloatArray],
        *,
        threshold: float = 0.1,
        transfer: str = "soft",
        two_sided: bool = False,
        neuron: str | Neuron = "rate",
        engine: str | Engine = "numba",
        tol: float = 1e-4,
        duration: float | None = None,
    ) -> None:
        self.dictionary = dictionary
        self.threshold = threshold
        self.transfer = transfer
        self.two_sided = two_sided
        self.neuron = neuron
        self.engine = engine
        self.tol = tol
        self.duration = duration

    def _circuit(self, X: FloatArray) -> Circuit:
        atoms = self.dictionary(X.shape[1]) if callable(self.dictionary) else self.dictionary
        atoms = np.asarray(atoms, dtype=X.dtype)
        circuit = Circuit(self._neuron(), self._transfer(), [Dictionary("x", atoms)])
        if circuit.dictionaries[0].n_inputs != X.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{circuit.dictionaries[0].n_inputs} features as input: the dictionary's width."
            )
        return circuit

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check that the dictionary fits the samples; nothing is learned."""
        probe = clone(self)
        circuit = self._circuit(self._check(X, probe))
        self._keep_signature(probe)
        self.n_components_ = circuit.n_neurons
        return self

    def transform(self, X: ArrayLike) -> FloatArray:
        """Codes of the samples: (n_samples, n_components), in the precision of X."""
        fitted = hasattr(self, "n_features_in_")
        checked = self._check(X, None if fitted else clone(self))
        return self._codes(self._circuit(checked), {"x": checked}).astype(checked.dtype, copy=False)

    def inverse_transform(self, X: ArrayLike) -> FloatArray:
        """``Phi a``: (n_samples, n_features)."""
        codes = np.asarray(X)
        atoms = self.dictionary
        if callable(atoms):
            check_is_fitted(self, "n_features_in_")
            atoms = atoms(self.n_features_in_)
        return np.asarray(codes @ np.asarray(atoms))

    @property
    def _n_features_out(self) -> int:
        if callable(self.dictionary):
            return int(self.n_components_)
        return int(np.shape(self.dictionary)[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

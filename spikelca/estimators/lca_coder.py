"""`LCACoder`: sparse coding with a fixed dictionary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from spikelca.circuit import Circuit
from spikelca.engines import Engine, Response
from spikelca.estimators.automatic_threshold import (
    CALIBRATION_SAMPLES,
    DEFAULT_THRESHOLD,
    first_guess,
    take_samples,
    with_threshold,
)
from spikelca.estimators.base import (
    _BaseLCA,
    explained_energy,
    find_largest_norm,
    keep_circuit,
    limit_jobs,
)
from spikelca.estimators.fit_warnings import CHECKED_SAMPLES, warn_of_scale
from spikelca.metrics import lambda_max
from spikelca.model.dictionary import Dictionary
from spikelca.model.neurons import Neuron, SpikingNeuron
from spikelca.utils.validation import FloatArray, check_matrix, reject_masked


class LCACoder(_BaseLCA):
    """Sparse coding with a fixed dictionary, similar to scikit-learn's ``SparseCoder``.

    Parameters
    ----------
    dictionary : (n_components, n_features) array, or callable
        Atoms, or a function from the number of features to atoms (for example ``numpy.eye``). The
        circuit with these atoms is kept between calls. To change them, pass another array to
        ``set_params``; changes in place have no effect.
    threshold : float or "auto", optional
        lam, not scaled by the number of features (default: 0.1, or the one of ``n_active``). With
        "auto", `fit` chooses it for any scale of the samples, so that a tenth of the neurons is
        active on average.
    n_active : float, optional
        Mean number of active neurons per sample, instead of a threshold, which `fit` then chooses.
    transfer : {"soft", "hard"}, default="soft"
        Transfer function.
    two_sided : bool, default=False
        Signed codes.
    neuron : {"rate", "spiking"} or neuron, default="rate"
        Neuron model of `transform`.
    engine : {"numba", "reference", "brian2"} or Engine, default="numba"
        Engine that computes the codes.
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

    Attributes
    ----------
    n_components_ : int
        Number of neurons (only after `fit`, which is required by "auto", by ``n_active``, and by
        spiking neurons without ``dt``).
    n_iter_ : int
        Number of passes of `fit` over the samples, always 1.
    largest_norms_ : dict of str to float
        Largest norm of a sample in `fit`, ``{"x": norm}``.
    dt_ : float
        Integration step of spiking neurons in seconds (only with spiking neurons), see `LinkedLCA`.
    threshold_ : float
        Threshold that `fit` has chosen.

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
        threshold: float | str | None = None,
        n_active: float | None = None,
        transfer: str = "soft",
        two_sided: bool = False,
        neuron: str | Neuron = "rate",
        engine: str | Engine = "numba",
        tol: float = 1e-4,
        duration: float | None = None,
        dt: float | None = None,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
        sparse_output: bool = False,
    ) -> None:
        self.dictionary = dictionary
        self.threshold = threshold
        self.n_active = n_active
        self.transfer = transfer
        self.two_sided = two_sided
        self.neuron = neuron
        self.engine = engine
        self.tol = tol
        self.duration = duration
        self.dt = dt
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.sparse_output = sparse_output

    def _inference_circuit(self, X: FloatArray, threshold: float | None = None) -> Circuit:
        neuron, transfer = self._make_neuron(), self._make_transfer(threshold)

        def make() -> Circuit:
            atoms = self.dictionary(X.shape[1]) if callable(self.dictionary) else self.dictionary
            reject_masked(atoms, "dictionary")
            return Circuit(neuron, transfer, [Dictionary("x", np.asarray(atoms, dtype=X.dtype))])

        values = (neuron, transfer, X.dtype, X.shape[1] if callable(self.dictionary) else None)
        circuit = keep_circuit(self, self.dictionary, values, make)
        if circuit.dictionaries[0].n_inputs != X.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{circuit.dictionaries[0].n_inputs} features as input, as the dictionary has."
            )
        return circuit

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check that the dictionary fits the samples, and choose an automatic threshold.

        Parameters
        ----------
        X : (n_samples, n_features)
        y : None
            Ignored, present for pipelines.

        Returns
        -------
        The estimator.

        Raises
        ------
        ValueError
            If the dictionary has another number of features than X, or X is not finite.
        """
        self._check_settings()
        validator = self._make_validator()
        checked = self._validate(X, validator)
        automatic = self._is_automatic()
        n_samples = CALIBRATION_SAMPLES if automatic else CHECKED_SAMPLES
        samples, _ = take_samples({"x": checked}, np.arange(checked.shape[0]), n_samples)
        circuit = self._inference_circuit(checked, first_guess(samples) if automatic else None)
        if automatic:
            circuit = with_threshold(circuit, self._choose_threshold(circuit, samples))
        norm = find_largest_norm(checked)
        self._set_chosen(circuit.transfer.threshold)
        self._copy_feature_names(validator)
        self.n_components_, self.largest_norms_ = circuit.n_neurons, {"x": norm}
        warn_of_scale(circuit, circuit, samples)
        return self

    def transform(self, X: ArrayLike) -> FloatArray:
        """Compute the codes of the samples.

        Parameters
        ----------
        X : (n_samples, n_features)
            An out-of-core array (memory map, `RowFile`, HDF5, Zarr) is read chunk by chunk; the
            codes of a Dask array are a Dask array that is computed chunk by chunk.

        Returns
        -------
        (n_samples, n_components)
            In the precision of X; a ``csr_array`` with ``sparse_output``.

        Raises
        ------
        ValueError
            If the dictionary has another number of features than X, or X is not finite.
        """
        checked = self._validate_unfitted(X)
        stimuli, circuit = {"x": checked}, self._inference_circuit(checked)
        with limit_jobs(self.n_jobs):
            return self._code_function(circuit, stimuli)(circuit, stimuli)

    def encode(self, X: ArrayLike) -> Response:
        """Compute the steady-state codes with their duality gaps, see `Circuit.encode`.

        The codes do not depend on the neuron model.

        Parameters
        ----------
        X : (n_samples, n_features)
            As for `transform`, but not a Dask array.

        Returns
        -------
        Response
            With ``code``, ``gap``, ``residual`` and ``n_iter``.
        """
        checked = self._validate_unfitted(X)
        with limit_jobs(self.n_jobs):
            return self._inference_circuit(checked).encode(
                {"x": checked}, self.tol, engine=self.engine, max_iter=self.max_iter
            )

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Compute the fraction of the energy of the samples that their codes explain.

        Parameters
        ----------
        X : as for `transform`, but not a Dask array
        y : None
            Ignored, present for model selection.

        Returns
        -------
        float
            ``1 - sum |x - Phi a|^2 / sum |x|^2``, at most 1. A smaller threshold gives a higher
            score and denser codes.
        """
        checked = self._validate_unfitted(X)
        reconstruction = self.inverse_transform(self.transform(X))
        return explained_energy({"x": checked}, {"x": reconstruction}, {"x": 1.0})

    @property
    def n_iter_(self) -> int:
        """Number of passes of `fit` over the samples, always 1."""
        check_is_fitted(self, "n_features_in_")
        return 1

    @property
    def dt_(self) -> float:
        """Integration step of spiking neurons in seconds."""
        check_is_fitted(self, "n_features_in_")
        return self._get_dt(self._inference_circuit(np.empty((0, self.n_features_in_))))

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
        checked = self._validate_unfitted(X)
        return lambda_max(self._inference_circuit(checked, DEFAULT_THRESHOLD), {"x": checked})

    def _validate_unfitted(self, X: ArrayLike) -> FloatArray:
        is_fitted = hasattr(self, "n_features_in_")
        return self._validate(X, None if is_fitted else self._make_validator(), values=False)

    def inverse_transform(self, X: ArrayLike) -> FloatArray:
        """Reconstruct samples from codes, ``Phi a``.

        Parameters
        ----------
        X : (n_samples, n_components)
            Codes, dense or sparse.

        Returns
        -------
        (n_samples, n_features)
        """
        codes = self._to_dense(X)
        atoms = self.dictionary
        if callable(atoms):
            check_is_fitted(self, "n_features_in_")
            atoms = atoms(self.n_features_in_)
        atoms = np.asarray(atoms)
        return np.asarray(check_matrix(codes, "X", len(atoms)) @ atoms)

    @property
    def _n_features_out(self) -> int:
        if callable(self.dictionary):
            return int(self.n_components_)
        return int(np.shape(self.dictionary)[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # An object of `_make_validator` has no parameters.
        neuron, dt = getattr(self, "neuron", None), getattr(self, "dt", None)
        is_spiking = isinstance(neuron, SpikingNeuron) or neuron == "spiking"
        tags.requires_fit = is_spiking and dt is None
        return tags

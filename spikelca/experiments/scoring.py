"""Three classifiers of codes; their constants are chosen by cross-validation on training data.

For the RBF kernel, cross-validation also chooses between the features and their square roots, for
raw pixels and codes alike: the root stabilises the variance of rates, which grows with their mean.
The choice is stored with C and gamma in ``constants`` (``power`` 0.5).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC, LinearSVC

from spikelca.utils.validation import FloatArray

FOLDS = 3
HALVING_ROWS = 5_000
"""Rows of the first round of successive halving, in which all constants are tried."""

Trials = Iterator[tuple[Any, FloatArray]]
"""Classifiers to be cross-validated, each with its features."""


@dataclass(frozen=True)
class ClassifierSpec:
    """One classifier of Table I and the grid of its constants.

    Attributes
    ----------
    name : str
        Name in the table.
    make : callable
        Makes the classifier from its constants.
    grid : sequence of mapping
        Constants to try.
    make_trials : callable, optional
        Faster equivalent of ``make`` for all constants of a grid on the same rows.
    """

    name: str
    make: Callable[[Mapping[str, float]], Any]
    grid: Sequence[Mapping[str, float]]
    make_trials: Callable[[Sequence[Mapping[str, float]], FloatArray], Trials] | None = None


def _make_logistic(constants: Mapping[str, float]) -> Any:
    return LogisticRegression(C=constants["C"], max_iter=500)


def _make_linear_svm(constants: Mapping[str, float]) -> Any:
    return LinearSVC(C=constants["C"], dual=False)


def _make_rbf_svm(constants: Mapping[str, float]) -> Any:
    return SVC(C=constants["C"], gamma=constants["gamma"], cache_size=1000)


def _make_rbf_trials(grid: Sequence[Mapping[str, float]], X: FloatArray) -> Trials:
    """Make SVMs with precomputed kernels; squared distances depend on neither C nor gamma."""
    for _, group in groupby(grid, lambda c: c.get("power", 1.0)):
        same_power = list(group)
        squared = euclidean_distances(scale_features(X, same_power[0]), squared=True)
        for c in same_power:
            yield SVC(C=c["C"], kernel="precomputed"), np.exp(-c["gamma"] * squared)


# All constants refer to features scaled by `unit_scale`: squared distances around one.
LOGISTIC = ClassifierSpec(
    "lr", _make_logistic, [{"C": c} for c in (10.0, 30.0, 100.0, 300.0, 1000.0)]
)
LINEAR_SVM = ClassifierSpec(
    "svm_linear", _make_linear_svm, [{"C": c} for c in (1.0, 3.0, 10.0, 30.0, 100.0)]
)
RBF_SVM = ClassifierSpec(
    "svm_rbf",
    _make_rbf_svm,
    [
        {"C": c, "gamma": g, "power": p}
        for p, c, g in product((1.0, 0.5), (3.0, 10.0), (1.0, 2.0, 3.0))
    ],
    _make_rbf_trials,
)

TUNING_CLASSIFIERS = (LINEAR_SVM, replace(RBF_SVM, grid=[{"C": 10.0, "gamma": 2.0}]))
"""Classifiers that choose lam: a linear one and a kernel, which gains more from finer codes."""


def unit_scale(train: FloatArray) -> float:
    """Compute the factor that makes the mean squared distance of two training rows one."""
    spread = 2.0 * float(train.var(axis=0, dtype=np.float64).sum())
    return float(1.0 / np.sqrt(spread)) if spread > 0 else 1.0


def scale_features(
    X: FloatArray, constants: Mapping[str, float], training_rows: FloatArray | None = None
) -> FloatArray:
    """Compute the features of a classifier: X or its square root, in unit scale.

    The scale is that of ``training_rows`` (if None, of X).
    """
    has_root = constants.get("power", 1.0) == 0.5
    reference = X if training_rows is None else training_rows
    transformed, reference = (np.sqrt(Z) if has_root else Z for Z in (X, reference))
    return transformed * transformed.dtype.type(unit_scale(reference))


def tune(
    classifier: ClassifierSpec, X: FloatArray, y: NDArray[np.int64], seed: int
) -> tuple[Mapping[str, float], float]:
    """Choose the constants with the best cross-validated accuracy; return them and the accuracy.

    Uses successive halving: only the best third of the first `HALVING_ROWS` rows, which are in
    random order, is tried on all rows.
    """
    grid = [c for c in classifier.grid if X.min() >= 0 or c.get("power", 1.0) == 1.0]
    if len(X) > HALVING_ROWS:
        rough = _cross_validate(classifier, grid, X[:HALVING_ROWS], y[:HALVING_ROWS], seed)
        best = np.argsort(-rough, kind="stable")[: max(len(grid) // 3, 2)]
        grid = [grid[k] for k in sorted(best)]
    scores = _cross_validate(classifier, grid, X, y, seed)
    best_index = int(np.argmax(scores))
    return grid[best_index], float(scores[best_index])


def _cross_validate(
    classifier: ClassifierSpec,
    grid: Sequence[Mapping[str, float]],
    X: FloatArray,
    y: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    """Compute the mean accuracy over the folds for each element of the grid."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    if classifier.make_trials is None:
        trials: Trials = ((classifier.make(c), scale_features(X, c)) for c in grid)
    else:
        trials = classifier.make_trials(grid, X)
    scores = [
        _without_convergence_warnings(cross_val_score, model, Z, y, cv=folds).mean()
        for model, Z in trials
    ]
    return np.array(scores)


def _without_convergence_warnings(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call without warnings of solvers that stop early; such a fit has a lower accuracy anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*args, **kwargs)


@dataclass(frozen=True)
class Score:
    """Test accuracy of one classifier, with the constants that cross-validation chose."""

    accuracy: float
    constants: Mapping[str, float]


def score(
    classifier: ClassifierSpec,
    train: FloatArray,
    y_train: NDArray[np.int64],
    test: FloatArray,
    y_test: NDArray[np.int64],
    n_tuning: int,
    seed: int,
    constants: Mapping[str, float] | None = None,
) -> Score:
    """Choose constants on training rows, fit on all of them and compute the test accuracy.

    Parameters
    ----------
    classifier : ClassifierSpec
        Classifier and its grid.
    train, test : (n_samples, n_features)
        Codes computed in the same way.
    y_train, y_test : (n_samples,) int
        Labels.
    n_tuning : int
        Number of training rows on which the constants are chosen.
    seed : int
        Seed for these rows and the folds.
    constants : mapping, optional
        Constants chosen on codes of another seed.

    Returns
    -------
    Score
    """
    if constants is None:
        rows = np.random.default_rng(seed).permutation(len(train))[:n_tuning]
        constants, _ = tune(classifier, train[rows], y_train[rows], seed)
    model = _without_convergence_warnings(
        classifier.make(constants).fit, scale_features(train, constants), y_train
    )
    predicted = model.predict(scale_features(test, constants, train))
    return Score(float((predicted == y_test).mean()), constants)

"""Three classifiers on codes, their constants chosen by cross-validation on training data only.

The RBF kernel may see the square root of its features, if cross-validation prefers that: the root
is the usual way to even out the spread of rates, which grows with their mean. The choice stands
with C and gamma in ``constants`` (``power`` 0.5), and is open to raw pixels as it is to codes.
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
"""Rows on which all constants compete; on more of them only the best third competes again."""


Trials = Iterator[tuple[Any, FloatArray]]
"""Classifiers to be cross-validated, each with what it sees."""


@dataclass(frozen=True)
class ClassifierSpec:
    """One classifier of Table I and the constants it is tried with.

    ``trials``, if there is any, is a quicker road to the classifiers of a grid on the same rows.
    """

    name: str
    make: Callable[[Mapping[str, float]], Any]
    grid: Sequence[Mapping[str, float]]
    trials: Callable[[Sequence[Mapping[str, float]], FloatArray], Trials] | None = None


def _logistic(constants: Mapping[str, float]) -> Any:
    return LogisticRegression(C=constants["C"], max_iter=500)


def _linear_svm(constants: Mapping[str, float]) -> Any:
    return LinearSVC(C=constants["C"], dual=False)


def _rbf_svm(constants: Mapping[str, float]) -> Any:
    return SVC(C=constants["C"], gamma=constants["gamma"], cache_size=1000)


def _rbf_trials(grid: Sequence[Mapping[str, float]], X: FloatArray) -> Trials:
    """The same on ready kernels: squared distances depend on neither C nor gamma."""
    for _, alike in groupby(grid, lambda c: c.get("power", 1.0)):
        constants = list(alike)
        squared = euclidean_distances(features(X, constants[0]), squared=True)
        for c in constants:
            yield SVC(C=c["C"], kernel="precomputed"), np.exp(-c["gamma"] * squared)


# All constants refer to features scaled by `unit_scale`: squared distances around one.
LOGISTIC = ClassifierSpec("lr", _logistic, [{"C": c} for c in (10.0, 30.0, 100.0, 300.0, 1000.0)])
LINEAR_SVM = ClassifierSpec(
    "svm_linear", _linear_svm, [{"C": c} for c in (1.0, 3.0, 10.0, 30.0, 100.0)]
)
RBF_SVM = ClassifierSpec(
    "svm_rbf",
    _rbf_svm,
    [
        {"C": c, "gamma": g, "power": p}
        for p, c, g in product((1.0, 0.5), (3.0, 10.0), (1.0, 2.0, 3.0))
    ],
    _rbf_trials,
)

TUNING_CLASSIFIERS = (LINEAR_SVM, replace(RBF_SVM, grid=[{"C": 10.0, "gamma": 2.0}]))
"""By whom lam is chosen: a plane and a kernel, since a finer code helps the kernel more."""


def unit_scale(train: FloatArray) -> float:
    """One factor for all features: two training rows are then, in the mean square, one apart."""
    spread = 2.0 * float(train.var(axis=0, dtype=np.float64).sum())
    return float(1.0 / np.sqrt(spread)) if spread > 0 else 1.0


def features(
    X: FloatArray, constants: Mapping[str, float], like: FloatArray | None = None
) -> FloatArray:
    """What a classifier with these constants sees: X or its square root, in a unit scale.

    The scale is that of ``like``, the training rows; of X itself unless told.
    """
    root = constants.get("power", 1.0) == 0.5
    shaped, model = (np.sqrt(Z) if root else Z for Z in (X, X if like is None else like))
    return shaped * shaped.dtype.type(unit_scale(model))


def tune(
    candidate: ClassifierSpec, X: FloatArray, y: NDArray[np.int64], seed: int
) -> tuple[Mapping[str, float], float]:
    """The constants with the best cross-validated accuracy on these training rows, and it.

    By successive halving: what is clearly worse on a part of the rows, which stand in random
    order, is not tried on all of them.
    """
    grid = [c for c in candidate.grid if X.min() >= 0 or c.get("power", 1.0) == 1.0]
    if len(X) > HALVING_ROWS:
        rough = _cross_validated(candidate, grid, X[:HALVING_ROWS], y[:HALVING_ROWS], seed)
        best = np.argsort(-rough, kind="stable")[: max(len(grid) // 3, 2)]
        grid = [grid[k] for k in sorted(best)]
    scores = _cross_validated(candidate, grid, X, y, seed)
    winner = int(np.argmax(scores))
    return grid[winner], float(scores[winner])


def _cross_validated(
    candidate: ClassifierSpec,
    grid: Sequence[Mapping[str, float]],
    X: FloatArray,
    y: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    """The mean accuracy over the folds of each of the constants."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    if candidate.trials is None:
        trials: Trials = ((candidate.make(c), features(X, c)) for c in grid)
    else:
        trials = candidate.trials(grid, X)
    scores = [
        _without_convergence_warnings(cross_val_score, model, Z, y, cv=folds).mean()
        for model, Z in trials
    ]
    return np.array(scores)


def _without_convergence_warnings(
    function: Callable[..., Any], *arguments: Any, **named: Any
) -> Any:
    """Without the warnings of solvers that stop early: a weak fit scores weakly, which counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments, **named)


@dataclass(frozen=True)
class Score:
    """Test accuracy of one classifier, with the constants that cross-validation chose."""

    accuracy: float
    constants: Mapping[str, float]


def score(
    candidate: ClassifierSpec,
    train: FloatArray,
    y_train: NDArray[np.int64],
    test: FloatArray,
    y_test: NDArray[np.int64],
    n_tuning: int,
    seed: int,
    constants: Mapping[str, float] | None = None,
) -> Score:
    """Choose on training rows, fit on all of them, look at the test set once.

    Parameters
    ----------
    candidate : Candidate
    train, test : (n_samples, n_features)
        Codes made in the same way.
    y_train, y_test : (n_samples,) int
    n_tuning : int
        Training rows on which the constants are chosen.
    seed : int
        Draws these rows and the folds.
    constants : mapping, optional
        Chosen before, on codes of another seed.
    """
    if constants is None:
        rows = np.random.default_rng(seed).permutation(len(train))[:n_tuning]
        constants, _ = tune(candidate, train[rows], y_train[rows], seed)
    model = _without_convergence_warnings(
        candidate.make(constants).fit, features(train, constants), y_train
    )
    found = model.predict(features(test, constants, like=train))
    return Score(float((found == y_test).mean()), constants)

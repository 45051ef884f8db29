"""Three classifiers on codes, their constants chosen by cross-validation on training data only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC, LinearSVC

from spikelca.validation import FloatArray

FOLDS = 3


@dataclass(frozen=True)
class Candidate:
    """One classifier of Table I and the constants it is tried with."""

    name: str
    make: Callable[[Mapping[str, float]], Any]
    grid: Sequence[Mapping[str, float]]


def _logistic(constants: Mapping[str, float]) -> Any:
    return LogisticRegression(C=constants["C"], max_iter=500)


def _linear_svm(constants: Mapping[str, float]) -> Any:
    return LinearSVC(C=constants["C"], dual=False)


def _rbf_svm(constants: Mapping[str, float]) -> Any:
    return SVC(C=constants["C"], gamma=constants["gamma"], cache_size=1000)


LOGISTIC = Candidate("lr", _logistic, [{"C": c} for c in (0.1, 0.3, 1.0, 3.0, 10.0)])
LINEAR_SVM = Candidate("svm_linear", _linear_svm, [{"C": c} for c in (0.01, 0.03, 0.1, 0.3, 1.0)])
RBF_SVM = Candidate(
    "svm_rbf",
    _rbf_svm,
    # gamma is relative to 1 / mean squared distance, see `unit_scale`.
    [{"C": c, "gamma": g} for c in (3.0, 10.0) for g in (0.5, 1.0, 2.0, 4.0)],
)


def unit_scale(train: FloatArray) -> float:
    """One factor for all features after which two training rows are, in the mean, at distance one."""
    spread = 2.0 * float(train.var(axis=0, dtype=np.float64).sum())
    return 1.0 / np.sqrt(spread) if spread > 0 else 1.0


def choose(
    candidate: Candidate, X: FloatArray, y: NDArray[np.int64], seed: int
) -> Mapping[str, float]:
    """The constants with the best cross-validated accuracy on these training rows."""
    if len(candidate.grid) == 1:
        return candidate.grid[0]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = [
        _quietly(cross_val_score, candidate.make(constants), X, y, cv=folds, n_jobs=1).mean()
        for constants in candidate.grid
    ]
    return candidate.grid[int(np.argmax(scores))]


def _quietly(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Without the warnings of solvers that stop early: a weak fit scores weakly, and that counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments, **named)


@dataclass(frozen=True)
class Score:
    """Test accuracy of one classifier, with the constants that cross-validation chose."""

    accuracy: float
    constants: Mapping[str, float]


def score(
    candidate: Candidate,
    train: FloatArray,
    y_train: NDArray[np.int64],
    test: FloatArray,
    y_test: NDArray[np.int64],
    n_tuning: int,
    seed: int,
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
    """
    scale = train.dtype.type(unit_scale(train))
    rows = np.random.default_rng(seed).permutation(len(train))[:n_tuning]
    constants = choose(candidate, train[rows] * scale, y_train[rows], seed)
    model = _quietly(candidate.make(constants).fit, train * scale, y_train)
    return Score(float((model.predict(test * scale) == y_test).mean()), constants)

"""`OrdinalBlockClassifier`: classification by the activity of the blocks of an ordinal code."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from spikelca.estimators.linked_lca import LinkedLCA
from spikelca.metrics import block_sums
from spikelca.model.drivers import OrdinalDriver
from spikelca.utils.validation import FloatArray


class OrdinalBlockClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier that compares the activity of the blocks of an ordinal code.

    In training, an `OrdinalDriver` assigns a block of neurons to each class. The probability of a
    class is the fraction of the activity in its block. Labels are not used after `fit`. An observed
    modality must not contain the label either, as a printed digit does.

    Parameters
    ----------
    lca : LinkedLCA, optional
        Unfitted estimator with an `OrdinalDriver`, or without a driver (default:
        ``LinkedLCA(threshold="auto")``). Without a driver, other
        blocks are silent in training: ``OrdinalDriver(n_classes, mode="clamp")``, for any scale of
        the samples.
    random_state : int, RandomState or None, default=None
        Seed of the training run; if None, that of ``lca``.

    Attributes
    ----------
    lca_ : LinkedLCA
        Fitted estimator.
    classes_ : (n_classes,)
        Labels in the order of the blocks.
    class_prior_ : (n_classes,) float64
        Fractions of the classes in training, the probabilities of a sample without activity.
    n_features_in_ : int
        Number of columns of X.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from spikelca import OrdinalBlockClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = OrdinalBlockClassifier(random_state=0).fit(X[:1000], y[:1000])
    >>> classifier.predict_proba(X[1000:]).shape
    (797, 10)
    >>> classifier.score(X[1000:], y[1000:]) > 0.8
    True
    """

    lca_: LinkedLCA
    classes_: NDArray[Any]
    class_prior_: NDArray[np.float64]

    def __init__(self, lca: LinkedLCA | None = None, *, random_state: Any = None) -> None:
        self.lca = lca
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the dictionaries, with one block of neurons per class.

        Parameters
        ----------
        X : (n_samples, n_features)
            As for `LinkedLCA.fit`.
        y : (n_samples,)
            Class of each sample.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is invalid.
        """
        if y is None:
            raise ValueError(
                "OrdinalBlockClassifier requires y to be passed, but the target y is None."
            )
        check_classification_targets(y)
        labels = column_or_1d(y, warn=True)
        classes, counts = np.unique(labels, return_counts=True)
        lca = self._make_lca(classes.size)
        self._set_fitted(lca.fit(X, labels, classes=classes), counts / counts.sum())
        return self

    def _make_lca(self, n_classes: int) -> LinkedLCA:
        lca = LinkedLCA(threshold="auto") if self.lca is None else clone(self.lca)
        if not isinstance(lca, LinkedLCA):
            raise TypeError(f"lca must be a LinkedLCA, got {type(lca).__name__}.")
        if lca.driver is None:
            lca.set_params(driver=OrdinalDriver(n_classes, mode="clamp"))
        if not isinstance(lca.driver, OrdinalDriver):
            raise TypeError(f"The driver of lca must be an OrdinalDriver, got {lca.driver!r}.")
        if self.random_state is not None:
            lca.set_params(random_state=self.random_state)
        return lca

    def _set_fitted(self, lca: LinkedLCA, class_prior: NDArray[np.float64]) -> None:
        self.lca_, self.classes_, self.class_prior_ = lca, lca.classes_, class_prior
        self.n_features_in_ = lca.n_features_in_
        if hasattr(lca, "feature_names_in_"):
            self.feature_names_in_ = lca.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the fraction of the activity in the block of each class.

        Parameters
        ----------
        X : as for `LinkedLCA.transform`

        Returns
        -------
        (n_samples, n_classes) float64
            Rows sum to one; `class_prior_` for samples without activity.
        """
        check_is_fitted(self, "lca_")
        code: FloatArray = np.abs(self.lca_._to_dense(self.lca_.transform(X)))
        driver: Any = self.lca_.driver
        sums = block_sums(code, driver.neuron_classes(code.shape[1]), len(self.classes_))
        total = sums.sum(axis=1, keepdims=True)
        return np.where(total > 0, sums / np.where(total > 0, total, 1.0), self.class_prior_)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class with the most active block.

        Parameters
        ----------
        X : as for `LinkedLCA.transform`

        Returns
        -------
        (n_samples,)
        """
        probabilities = self.predict_proba(X)
        predicted: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

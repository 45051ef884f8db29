"""The classifier of ordinal codes: scikit-learn checks, block sums, saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikelca import CurrentDriver, LinkedLCA, OrdinalBlockClassifier, OrdinalDriver, load, save
from spikelca.metrics import block_sums
from spikelca.persistence import ModelFileError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@parametrize_with_checks(
    [
        OrdinalBlockClassifier(),
        OrdinalBlockClassifier(LinkedLCA(threshold="auto", sparse_output=True)),
    ]
)
def test_classifier_passes_all_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], np.array([f"n{label}" for label in y[:600]])


@pytest.fixture(scope="module")
def fitted(digits):
    return OrdinalBlockClassifier(random_state=0).fit(*digits)


def test_probabilities_are_fractions_of_block_sums(fitted, digits):
    X = digits[0]
    codes = fitted.lca_.transform(X)
    blocks = fitted.lca_.driver.neuron_classes(codes.shape[1])
    sums = block_sums(codes, blocks, 10)
    expected = sums / sums.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), expected)
    assert np.array_equal(fitted.predict(X), fitted.classes_[expected.argmax(axis=1)])
    assert np.array_equal(fitted.predict(sparse.csr_array(X)), fitted.predict(X))


def test_labels_of_unseen_digits_are_predicted(fitted):
    X, y = load_digits(return_X_y=True)
    assert fitted.score(X[600:], [f"n{label}" for label in y[600:]]) > 0.8


def test_sample_without_activity_has_prior_probabilities(digits):
    X, y = digits[0][:90], np.repeat(["a", "b"], [30, 60])
    classifier = OrdinalBlockClassifier(random_state=0).fit(X, y)
    blank = np.zeros((1, X.shape[1]))
    np.testing.assert_allclose(classifier.predict_proba(blank), [[1 / 3, 2 / 3]])
    assert classifier.predict(blank) == ["b"]


def test_signed_codes_count_by_magnitude(digits):
    X, y = digits
    lca = LinkedLCA(100, threshold="auto", two_sided=True, random_state=0)
    probabilities = OrdinalBlockClassifier(lca).fit(X - X.mean(axis=0), y).predict_proba(X)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_given_driver_and_seed_are_kept(digits):
    X, y = digits
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    driver = OrdinalDriver(10, excitation=0.0, inhibition=0.05)
    lca = LinkedLCA(100, driver=driver, random_state=3)
    classifier = OrdinalBlockClassifier(lca).fit(X, y)
    assert classifier.lca_.driver == driver
    assert np.array_equal(classifier.lca_.components_, lca.fit(X, y).components_)


def test_grid_search_reaches_nested_parameters(digits):
    X, y = digits
    classifier = OrdinalBlockClassifier(LinkedLCA(80), random_state=0)
    grid = GridSearchCV(classifier, {"lca__n_active": [3, 8]}, cv=2, error_score="raise")
    assert grid.fit(X, y).best_score_ > 0.5


@pytest.mark.parametrize("lca", [None, LinkedLCA(80, threshold=1.0, random_state=1)])
def test_classifier_is_saved_and_loaded(lca, digits, tmp_path):
    X, y = digits
    model = OrdinalBlockClassifier(lca, random_state=2).fit(X, y)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert repr(loaded) == repr(model)
    assert loaded.n_features_in_ == 64
    assert np.array_equal(loaded.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_unfitted_classifier_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        save(OrdinalBlockClassifier(), tmp_path / "model")


@pytest.mark.parametrize("lca", [OrdinalDriver(2), LinkedLCA(8, driver=CurrentDriver(0.01))])
def test_other_estimator_or_driver_raises(lca, digits):
    model = OrdinalBlockClassifier()
    model.lca = lca
    with pytest.raises(TypeError, match="lca"):
        model.fit(*digits)


@pytest.mark.parametrize("prior", [[0.5, 0.5, 0.0], [1.0], [[0.5, 0.5]], [0.5, np.nan], None])
def test_forged_fractions_of_classes_are_rejected(prior, digits, tmp_path):
    X, y = digits[0][:60], np.arange(60) % 2
    model = OrdinalBlockClassifier(random_state=0).fit(X, y)
    model.class_prior_ = None if prior is None else np.array(prior)
    save(model, tmp_path / "model")
    with pytest.raises(ModelFileError):
        load(tmp_path / "model")

"""Thresholds for any scale of the data: lambda_max, "auto", n_active, and one warning per fit."""

from __future__ import annotations

import os
import warnings
from functools import partial

import numpy as np
import pytest
from circuits import random_circuit, random_stimuli
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import NotFittedError

from spikelca import LCACoder, LinkedLCA, OrdinalDriver, load, save
from spikelca.datasets import load_images
from spikelca.metrics import lambda_max

TABLES = {
    "wine": lambda: load_wine().data,
    "cancer": lambda: load_breast_cancer().data,
    "diabetes": lambda: load_diabetes().data,
    "digits": lambda: load_digits().data * 255 / 16,
}


def count_active(codes):
    return np.count_nonzero(codes, axis=1)


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.fixture
def X():
    return unit(np.random.default_rng(0).random((60, 12)))


@pytest.fixture
def atoms():
    return unit(np.random.default_rng(1).random((20, 12)))


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_lambda_max_is_the_smallest_threshold_of_zero_codes(atoms, two_sided, sign):
    X = sign * np.random.default_rng(0).normal(size=(30, 12))
    coder = LCACoder(atoms, two_sided=two_sided, tol=1e-10)
    largest = coder.lambda_max(X)
    assert not coder.set_params(threshold=largest * (1 + 1e-12)).transform(X).any()
    assert coder.set_params(threshold=largest * (1 - 1e-3)).transform(X).any()


def test_lambda_max_of_circuit_takes_all_modalities_and_chunks(monkeypatch):
    circuit = random_circuit()
    stimuli = random_stimuli(circuit)
    expected = circuit.drive(stimuli).max()
    monkeypatch.setattr("spikelca.metrics.CHUNK_SAMPLES", 2)
    assert lambda_max(circuit, stimuli) == pytest.approx(expected, rel=1e-12)
    assert lambda_max(circuit, {name: -X for name, X in stimuli.items()}) >= 0


def test_lambda_max_of_estimator_is_of_observed_modalities(X):
    lca = LinkedLCA(8, {"a": 8, "b": 4}, "a", random_state=0).fit(X)
    assert lca.lambda_max(X) == lca.lambda_max(X[:, :8])
    assert not lca.set_params(threshold=lca.lambda_max(X) * (1 + 1e-12)).transform(X).any()


@pytest.mark.parametrize("name", TABLES)
def test_auto_threshold_fits_any_table_without_a_warning(name):
    X = TABLES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = LinkedLCA(threshold="auto", random_state=0).fit_transform(X)
    assert 0.05 <= (codes != 0).mean() <= 0.5


@pytest.mark.parametrize("name", TABLES)
def test_default_threshold_warns_once_of_the_scale(name):
    X = TABLES[name]()
    lca = LinkedLCA(random_state=0)
    with pytest.warns(UserWarning, match=r"^threshold=0.1 .* Use threshold='auto'") as record:
        lca.fit_transform(X)
    assert len(record) == 1
    assert "did not converge" not in str(record[0].message)
    assert lca.encode(X).gap.max() <= 1e-4


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_auto_threshold_scales_with_the_samples(X, factor):
    lca = LinkedLCA(24, threshold="auto", random_state=0)
    expected = lca.fit(X).threshold_
    codes = lca.transform(X)
    assert lca.fit(factor * X).threshold_ == pytest.approx(factor * expected, rel=1e-3)
    np.testing.assert_allclose(lca.transform(factor * X), factor * codes, atol=1e-2 * factor)


@pytest.mark.parametrize("n_active", [3, 10])
def test_n_active_is_reached_on_unseen_samples(n_active):
    deviations = []
    for seed in range(4):
        X = np.random.default_rng(seed).permutation(load_digits().data)
        learned, unseen = X[:900], X[900:]
        lca = LinkedLCA(100, n_active=n_active, random_state=0).fit(learned)
        counts = count_active(lca.transform(unseen))
        # Both the 180 samples that choose the threshold and the unseen ones are random.
        error = counts.std() * np.sqrt(1 / 180 + 1 / len(unseen))
        deviations.append((counts.mean() - n_active) / error)
    # In standard errors: those of one split, and of the mean of four.
    assert np.abs(deviations).max() < 3
    assert abs(np.mean(deviations)) < 2 / np.sqrt(4)


@pytest.mark.parametrize("transfer", ["soft", "hard"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_n_active_is_reached_by_a_given_dictionary(X, atoms, transfer, two_sided):
    coder = LCACoder(atoms, n_active=3, transfer=transfer, two_sided=two_sided).fit(X)
    assert count_active(coder.transform(X)).mean() == pytest.approx(3, abs=2 / len(X))


@pytest.mark.mnist
@pytest.mark.skipif("SPIKELCA_DATA" not in os.environ, reason="names the folder with MNIST")
@pytest.mark.parametrize("n_active", [10, 20])
def test_n_active_is_reached_on_unseen_mnist(n_active):
    images = load_images("mnist").X_train
    X = np.random.default_rng(0).permutation(images).astype(np.float32)
    lca = LinkedLCA(256, n_active=n_active, random_state=0).fit(X[:20_000])
    counts = count_active(lca.transform(X[-10_000:]))
    assert counts.mean() == pytest.approx(n_active, rel=0.02)


def test_training_uses_the_threshold_of_the_codes(X):
    lca = LinkedLCA(24, n_active=3, random_state=0).fit(X)
    assert lca.circuit_.transfer.threshold == lca.threshold_
    learned = lca.threshold_
    assert lca.partial_fit(X).threshold_ == learned


def test_partial_fit_chooses_the_threshold_at_first_call(X):
    lca = LinkedLCA(24, n_active=3, random_state=0).partial_fit(X)
    assert count_active(lca.transform(X)).mean() == pytest.approx(3, abs=0.1)


def test_automatic_threshold_works_with_a_driver(X):
    y = np.arange(len(X)) % 2
    driver = OrdinalDriver(2, excitation=0.0, inhibition=0.1)
    lca = LinkedLCA(24, {"a": 8, "b": 4}, "a", n_active=3, driver=driver, random_state=0).fit(X, y)
    assert count_active(lca.transform(X)).mean() == pytest.approx(3, abs=1)


@pytest.mark.parametrize("make", [partial(LinkedLCA, 24, random_state=0), None])
@pytest.mark.parametrize("params", [{"threshold": "auto"}, {"n_active": 3}])
def test_automatic_threshold_is_saved(make, params, X, atoms, tmp_path):
    model = (make or partial(LCACoder, atoms))(**params).fit(X)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.threshold_ == model.threshold_
    assert np.array_equal(loaded.transform(X), model.transform(X))


ERRORS = {
    "both": ({"threshold": 0.1, "n_active": 3}, "threshold and n_active must not both be given"),
    "too many": ({"n_active": 20}, "n_active must be at most"),
    "negative": ({"n_active": -1}, "n_active must be a finite number > 0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_invalid_number_of_active_neurons_raises(name, X, atoms):
    params, message = ERRORS[name]
    for model in (LinkedLCA(20, random_state=0, **params), LCACoder(atoms, **params)):
        with pytest.raises(ValueError, match=message):
            model.fit(X)


def test_automatic_threshold_requires_fit(X, atoms):
    with pytest.raises(NotFittedError):
        LCACoder(atoms, threshold="auto").transform(X)


@pytest.mark.parametrize("changed", [{"n_active": 4}, {"n_active": None, "threshold": "auto"}])
def test_changed_number_of_active_neurons_requires_fit(X, atoms, changed):
    for model in (LinkedLCA(20, n_active=3, random_state=0), LCACoder(atoms, n_active=3)):
        model.fit(X).set_params(**changed)
        with pytest.raises(ValueError, match="must be those of the last fit"):
            model.transform(X)
        model.set_params(n_active=None, threshold=0.2)
        assert model.transform(X).shape == (60, 20)


def test_blank_samples_give_no_threshold(atoms):
    with pytest.raises(ValueError, match="zero at any threshold"):
        LCACoder(atoms, threshold="auto").fit(np.zeros((5, 12)))


SIGNED = np.random.default_rng(2).normal(size=(100, 12))
LABELS = np.arange(60) % 2
WARNINGS = {
    "zero codes": (LinkedLCA(20, threshold=2.0), lambda X: X, "of the codes are zero.*Use thres"),
    "small threshold": (LinkedLCA(20), lambda X: 1e3 * X, "too small for sparse codes. Use thres"),
    "dense codes": (
        LCACoder(np.eye(12), threshold=0.003), lambda X: X, "neurons are active, and the rank"
    ),
    "few samples": (LinkedLCA(70), lambda X: X, "more than the 60 samples.*Use fewer neurons"),
    "negative half": (LCACoder(np.eye(12)), lambda X: SIGNED, "negative.*Use two_sided=True"),
    "modality": (
        LinkedLCA(20, {"a": 6, "b": 6}), lambda X: X * np.r_[np.ones(6), np.full(6, 0.01)],
        r"modalities \['b'\] have less than 1% .*Scale each modality",
    ),
    "weak currents": (
        LinkedLCA(20, driver=OrdinalDriver(2, excitation=0, inhibition=1e-4)), lambda X: X,
        "hardly any effect. Scale the samples",
    ),
    "strong currents": (
        LinkedLCA(20, driver=OrdinalDriver(2, inhibition=5.0)), lambda X: X, "use mode='clamp'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_fit_warns_once_with_a_remedy(name, X):
    model, change, message = WARNINGS[name]
    if isinstance(model, LinkedLCA):
        model.set_params(random_state=0)
    with pytest.warns(UserWarning, match=message) as record:
        model.fit(change(X), LABELS if isinstance(model, LinkedLCA) else None)
    assert len(record) == 1


@pytest.mark.parametrize("two_sided", [False, True])
def test_scaled_samples_give_no_warning(two_sided, X):
    X = unit(SIGNED) if two_sided else X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinkedLCA(20, two_sided=two_sided, random_state=0).fit(X)
        LCACoder(X[:20], two_sided=two_sided).fit(X)


def test_warning_does_not_change_what_is_learned(X, monkeypatch):
    expected = LinkedLCA(20, random_state=0).fit(X).components_
    monkeypatch.setattr("spikelca.estimators.linked_lca.warn_of_scale", lambda *args: None)
    assert np.array_equal(LinkedLCA(20, random_state=0).fit(X).components_, expected)


def test_default_number_of_neurons_follows_the_columns(X):
    assert len(LinkedLCA(random_state=0).fit(X).components_) == 24
    assert len(LinkedLCA(random_state=0).fit(np.abs(X[:, :1])).components_) == 1


@pytest.mark.parametrize("engine", ["brian2", "reference"])
def test_other_engines_and_neurons_choose_the_same_threshold(engine, X, atoms):
    expected = LCACoder(atoms, n_active=3).fit(X).threshold_
    other = LCACoder(atoms, n_active=3, neuron="spiking", engine=engine).fit(X)
    assert other.threshold_ == expected

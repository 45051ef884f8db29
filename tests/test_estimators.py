"""Estimators: scikit-learn checks, pipelines, columns, and drivers off at inference."""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest
from models import assert_same_circuit
from sklearn.base import clone
from sklearn.decomposition import SparseCoder
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikelca import Fade, IdleAtoms, LCACoder, LinkedLCA, OrdinalDriver
from spikelca.datasets import linked_bars
from spikelca.learning import learn
from spikelca.metrics import block_selectivity
from spikelca.model.atoms import gram_matrix
from spikelca.model.drivers import Driver, Injection


class Eye:
    """``numpy.eye``, whose repr contains no memory address, because tests are named after it."""

    def __call__(self, n_features):
        return np.eye(n_features)

    def __repr__(self):
        return "eye"


CHECKED = [
    LinkedLCA(n_components=6, batch_size=10, neuron="spiking"),
    LCACoder(Eye(), neuron="spiking"),
    LinkedLCA(n_components=6, batch_size=10),
    LinkedLCA(n_components=6, batch_size=10, sparse_output=True),
    LCACoder(Eye()),
    LCACoder(Eye(), sparse_output=True),
]


def expected_failures(estimator):
    reason = "mini-batches and initial atoms depend on the number of samples"
    names = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    return dict.fromkeys(names, reason) if isinstance(estimator, LinkedLCA) else {}


@parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures)
def test_estimators_pass_all_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def bars():
    return linked_bars(n_samples=400, size=4, random_state=0)


@pytest.fixture(scope="module")
def X(bars):
    return np.hstack([bars.X["bars"], bars.X["marks"]])


@pytest.fixture(scope="module")
def y(bars):
    return bars.codes.argmax(axis=1) % 2


def make(**more):
    settings = {"threshold": 0.05, "n_epochs": 2, "batch_size": 50, "random_state": 0} | more
    return LinkedLCA(8, {"bars": 16, "marks": 24}, observe="bars", **settings)


def test_fits_with_one_seed_are_bit_identical(X):
    first, second = make().fit(X), make().fit(X)
    assert np.array_equal(first.components_, second.components_)
    again = first.components_.copy()
    assert np.array_equal(first.fit(X).components_, again)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_initial_atoms_depend_on_the_seed(X, method):
    made = [make(n_epochs=1, random_state=seed) for seed in range(64)]
    found = {getattr(lca, method)(X[:100]).components_.tobytes() for lca in made}
    assert len(found) == 64


def test_transform_uses_observed_columns_only(X, bars):
    lca = make().fit(X)
    full, observed = lca.transform(X), lca.transform(bars.X["bars"])
    assert np.array_equal(full, observed)
    other = X.copy()
    other[:, 16:] = 7.0
    assert np.array_equal(lca.transform(other), observed)


def test_driver_is_off_in_transform(X, y):
    driver = OrdinalDriver(n_classes=2, inhibition=0.04)
    lca = make(driver=driver).fit(X, y)
    bare = lca.circuit_.without_drivers().observe("bars")
    code = bare.encode({"bars": X[:, :16]}, lca.tol).code
    assert np.array_equal(lca.transform(X), code)


@pytest.mark.parametrize("classes", [["cat", "dog"], [7, 3]], ids=str)
def test_blocks_follow_class_order(classes):
    """One cause in a sample, four of each class, four neurons in a block: all order is there."""
    world = linked_bars(n_samples=400, size=4, n_active=1, random_state=0)
    X, owner = np.hstack([world.X["bars"], world.X["marks"]]), np.repeat([0, 1], 4)
    number = world.codes.argmax(axis=1) % 2
    for labels in (np.asarray(classes)[number], np.asarray(classes)[1 - number]):
        driver = OrdinalDriver(2, inhibition=0.3)
        lca = make(driver=driver, n_epochs=5).fit(X, labels)
        assert list(lca.classes_) == sorted(classes)
        found = np.searchsorted(lca.classes_, labels)
        share = block_selectivity(lca.transform(X), found, owner, 2)
        np.testing.assert_allclose(share, np.eye(2), atol=0.02)


class RecordingDriver(Driver):
    """A driver without a current that keeps the fractions it is faded by."""

    def __init__(self):
        self.fractions = []

    def inject(self, labels, n_samples, n_neurons):
        return Injection(np.zeros((1, n_neurons)))

    def check(self, n_neurons, transfer):
        pass

    def at_progress(self, progress):
        self.fractions.append(progress)
        return self


def test_driver_fades_over_all_batches(X, y):
    driver = RecordingDriver()
    make(driver=driver).fit(X, y)  # cloned estimators share a driver, which is a value
    assert driver.fractions == [batch / 16 for batch in range(16)]


def test_fade_to_full_strength_is_constant(X, y):
    atoms = [
        make(driver=OrdinalDriver(2, inhibition=0.04, fade=fade)).fit(X, y).components_
        for fade in (None, Fade(floor=1.0), Fade(floor=0.0, until=0.5))
    ]
    assert np.array_equal(atoms[0], atoms[1])
    assert not np.array_equal(atoms[0], atoms[2])


def test_translate_reconstructs_the_unobserved_modality(X, bars):
    lca = make(n_epochs=20).fit(X)
    recalled = lca.translate(bars.X["bars"], to="marks")
    error = np.square(recalled - bars.X["marks"]).sum() / np.square(bars.X["marks"]).sum()
    assert error < 0.1
    assert recalled.shape == bars.X["marks"].shape


def test_inverse_transform_gives_all_columns_or_one_modality(X):
    lca = make(n_epochs=20).fit(X)
    codes = lca.transform(X)
    both = lca.inverse_transform(codes)
    assert np.array_equal(both[:, :16], lca.inverse_transform(codes, modality="bars"))
    assert np.square(both - X).sum() < 0.1 * np.square(X).sum()


@pytest.mark.parametrize("fitted", [False, True])
def test_partial_fit_takes_the_steps_of_learn(X, y, fitted):
    driver = OrdinalDriver(2, inhibition=0.04, fade=Fade())
    lca = make(driver=driver, idle=IdleAtoms(patience=5))
    lca = lca.fit(X[:100], y[:100]) if fitted else lca.partial_fit(X[:100], y[:100])
    n_iter, circuit, rng = lca.n_iter_, lca.circuit_, deepcopy(lca._rng)
    assert n_iter == (lca.n_epochs if fitted else 1)
    assert lca.n_steps_ == n_iter * -(-100 // lca.batch_size)
    for call, first in enumerate((100, 200, 300), start=1):
        rows = [slice(first, first + 50), slice(first + 50, first + 100)]
        batches = [({"bars": X[r, :16], "marks": X[r, 16:]}, y[r]) for r in rows]
        *_, (circuit, report) = learn(circuit, batches, first=lca.n_steps_, rng=rng)
        lca.partial_fit(X[first : first + 100], y[first : first + 100])
        assert_same_circuit(lca.circuit_, circuit)
        assert (lca.n_iter_, lca.n_steps_) == (n_iter + call, report.batch)
    assert lca.n_redrawn_ > 0
    stacked = np.hstack([d.atoms for d in circuit.dictionaries])
    assert np.array_equal(lca.components_, stacked)


PARAMETERS = {
    "threshold": 0.2, "transfer": "hard", "two_sided": True, "neuron": "spiking",
}  # fmt: skip


def fitted_estimators(X):
    yield make().fit(X), X[:4, :16] - 0.1  # signed, for two-sided codes
    atoms = np.random.default_rng(0).random((9, X.shape[1]))
    yield LCACoder(atoms / np.linalg.norm(atoms, axis=1, keepdims=True)).fit(X), X[:4] - 0.1


@pytest.mark.parametrize("name", PARAMETERS)
def test_circuit_is_kept_until_a_parameter_changes(X, name, monkeypatch):
    n_made = [0]

    def count(atoms, weights):
        n_made[0] += 1
        return gram_matrix(atoms, weights)

    for model, rows in fitted_estimators(X):
        monkeypatch.setattr("spikelca.circuit.circuit.gram_matrix", gram_matrix)
        first = model.transform(rows)
        monkeypatch.setattr("spikelca.circuit.circuit.gram_matrix", count)
        n_made[0] = 0
        np.testing.assert_array_equal(model.transform(rows), first)
        assert n_made[0] == 0
        model.set_params(**{name: PARAMETERS[name]})
        changed = model.transform(rows)
        assert n_made[0] == 1
        assert not np.array_equal(changed, first)
        fresh = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(fresh.transform(rows), changed)


def test_kept_circuit_follows_atoms_and_precision(X):
    (linked, part), (coder, rows) = fitted_estimators(X)
    before = coder.transform(rows)
    assert coder.transform(rows.astype(np.float32)).dtype == np.float32
    coder.set_params(dictionary=coder.dictionary[::-1].copy())
    np.testing.assert_allclose(coder.transform(rows), before[:, ::-1], atol=1e-3)
    before = linked.transform(part)
    linked.partial_fit(X)
    expected = linked.circuit_.without_drivers().observe("bars").encode({"bars": part}).code
    np.testing.assert_array_equal(linked.transform(part), expected)
    assert not np.array_equal(expected, before)
    linked.set_params(observe="marks")
    marks = X[:4, 16:]
    expected = linked.circuit_.without_drivers().observe("marks").encode({"marks": marks}).code
    np.testing.assert_array_equal(linked.transform(marks), expected)


def test_encode_returns_codes_of_transform_with_gaps(X):
    for model, rows in fitted_estimators(X):
        response = model.encode(rows)
        np.testing.assert_array_equal(response.code, model.transform(rows))
        assert response.gap.max() <= model.tol
        assert len(response.residual) == len(rows)


def test_pipeline_and_grid_search_work(X, y):
    pipeline = make_pipeline(make(), LogisticRegression())
    search = GridSearchCV(pipeline, {"linkedlca__threshold": [0.05, 0.1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    assert clone(pipeline).get_params()["linkedlca__n_components"] == 8


def test_set_output_names_the_components(X):
    pytest.importorskip("pandas")
    frame = make().set_output(transform="pandas").fit(X).transform(X)
    assert list(frame.columns[:2]) == ["linkedlca0", "linkedlca1"]


def test_lca_coder_agrees_with_sparse_coder():
    rng = np.random.default_rng(0)
    D = rng.normal(size=(12, 8))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    Z = rng.normal(size=(30, 8))
    theirs = SparseCoder(
        D, transform_algorithm="lasso_cd", transform_alpha=0.3, positive_code=True,
        transform_max_iter=10_000,
    ).transform(Z)  # fmt: skip
    ours = LCACoder(D, threshold=0.3, tol=1e-8).transform(Z)

    def energy(codes):
        return 0.5 * ((Z - codes @ D) ** 2).sum(axis=1) + 0.3 * np.abs(codes).sum(axis=1)

    # The tolerance of SparseCoder depends on its version.
    assert np.allclose(ours, theirs, atol=5e-3)
    assert (energy(ours) <= energy(theirs) + 1e-12).all()


def test_lca_coder_reconstructs():
    D = np.eye(3)
    coder = LCACoder(D, threshold=1e-3).fit(D)
    assert np.allclose(coder.inverse_transform(coder.transform(D)), D, atol=2e-3)


BAD = {
    "no labels with a driver": (lambda X, y: make(driver=OrdinalDriver(2)).fit(X), "requires y"),
    "a missing class": (
        lambda X, y: make(driver=OrdinalDriver(4)).fit(X, y),
        "must have 4 classes.* got 2",
    ),
    "too many blocks": (
        lambda X, y: make(driver=OrdinalDriver(2, block=5)).fit(X, y),
        "n_neurons must be at least 10 .* got 8",
    ),
    "labels of another length": (
        lambda X, y: make(driver=OrdinalDriver(2)).fit(X, y[:-1]),
        "y must have shape",
    ),
    "columns that the modalities do not fill": (
        lambda X, y: make().fit(X[:, :30]),
        "must have 40 features.* got 30",
    ),
    "weights of an unknown modality": (
        lambda X, y: make(weights={"sound": 1.0}).fit(X),
        "sound",
    ),
    "an unknown neuron": (lambda X, y: make(neuron="glia").fit(X).transform(X), "'glia'"),
    "an unknown transfer": (lambda X, y: make(transfer="firm").fit(X), "'firm'"),
    "an unknown engine": (lambda X, y: make(engine="steam").fit(X), "'steam'"),
    "a threshold of zero": (lambda X, y: make(threshold=0.0).fit(X), "threshold must be"),
    "no neurons": (lambda X, y: LinkedLCA(0).fit(X), "n_components must be"),
    "a modality that is not there": (lambda X, y: make().fit(X).translate(X, to="sound"), "sound"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_raises_clear_error(name, X, y):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call(X, y)


def test_failed_fit_does_not_change_the_estimator(X):
    lca = make().fit(X)
    before, state = lca.components_, dict(vars(lca))
    broken = X.copy()
    broken[3, 5] = np.nan
    with pytest.raises(ValueError, match=r"NaN at index \(3, 5\)"):
        lca.fit(broken)
    with pytest.raises(ValueError, match="features"):
        lca.fit(X[:, :7])
    assert lca.components_ is before
    assert vars(lca) == state


def test_unknown_class_in_partial_fit_changes_nothing(X, y):
    lca = make(driver=OrdinalDriver(2)).partial_fit(X[:100], y[:100])
    before = lca.circuit_
    with pytest.raises(ValueError, match="labels from the classes"):
        lca.partial_fit(X[:100], y[:100] + 1)
    assert lca.circuit_ is before

"""Estimators with own data: names of columns, labels, and parameters that change or are wrong."""

from __future__ import annotations

import io
import sys
from typing import ClassVar

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from spikelca import (
    Circuit,
    Contrast,
    Dictionary,
    Fade,
    Hebbian,
    IdleAtoms,
    LCACoder,
    LinkedLCA,
    OrdinalDriver,
    SoftThreshold,
    SpikingNeuron,
    load,
    save,
)
from spikelca.persistence import ModelFileError

WIDTHS = {"top": 6, "mid": 4, "bottom": 2}
NAMES = [f"p{i}" for i in range(12)]


@pytest.fixture(scope="module")
def X():
    rows = np.random.default_rng(0).random((60, 12))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def frame(X):
    return pd.DataFrame(X, columns=NAMES)


@pytest.fixture
def y():
    return np.arange(60) % 3


def make(**more):
    settings = {"threshold": 0.05, "n_epochs": 1, "batch_size": 20, "random_state": 0} | more
    return LinkedLCA(9, WIDTHS, **{"observe": "top", **settings})


# -------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("observe", ["top", "bottom", ("bottom", "top"), None], ids=str)
def test_observed_columns_are_checked_by_name(frame, observe):
    lca = make(observe=observe).fit(frame)
    names = list(WIDTHS) if observe is None else [n for n in WIDTHS if n in observe]
    columns = np.split(np.array(NAMES), [6, 10])
    part = list(np.concatenate([columns[list(WIDTHS).index(name)] for name in names]))
    np.testing.assert_array_equal(lca.transform(frame[part]), lca.transform(frame))
    foreign = frame[part].rename(columns={part[0]: "other"})
    for wrong in (frame[part[::-1]], foreign):
        for method in (lca.transform, lca.encode):
            with pytest.raises(ValueError, match="feature names"):
                method(wrong)


def test_columns_of_another_modality_are_rejected(X):
    frame = pd.DataFrame(X[:, :8], columns=NAMES[:8])
    lca = LinkedLCA(5, {"top": 4, "bottom": 4}, observe="top", random_state=0).fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        lca.transform(frame[NAMES[4:8]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        lca.transform(X[:, :4])


def test_observed_columns_are_read_in_order_of_x(X):
    lca = make(observe=("bottom", "mid")).fit(X)
    expected = lca.circuit_.observe("mid", "bottom").encode(
        {"mid": X[:, 6:10], "bottom": X[:, 10:]}, lca.tol
    )
    for given in (X, X[:, 6:]):
        np.testing.assert_array_equal(lca.transform(given), expected.code)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_only_observed_values_must_be_finite(frame, bad):
    lca = make(observe="mid").fit(frame)
    expected = lca.transform(frame)
    other = frame.copy()
    other.loc[:, NAMES[:6]] = bad
    for given in (other, other.astype(object)):
        np.testing.assert_array_equal(lca.transform(given), expected)
    other.iloc[3, 7] = bad
    with pytest.raises(ValueError, match=r"'mid' must contain finite .* at index \(3, 1\)"):
        lca.transform(other)


MASKED = np.ma.array(np.full((60, 12), 0.1), mask=np.eye(60, 12))


@pytest.mark.parametrize(
    "call",
    [
        lambda lca, X, y: lca.fit(MASKED, y),
        lambda lca, X, y: lca.partial_fit(MASKED, y),
        lambda lca, X, y: lca.fit(X, y).transform(MASKED),
        lambda lca, X, y: lca.fit(X, y).transform(MASKED[:, :6]),
        lambda lca, X, y: lca.fit(X, y).encode(MASKED),
        lambda lca, X, y: lca.fit(X, np.ma.array(y, mask=y == 1)),
        lambda lca, X, y: LCACoder(np.eye(12)).fit(MASKED),
        lambda lca, X, y: LCACoder(np.eye(12)).transform(MASKED),
        lambda lca, X, y: LCACoder(np.ma.array(np.eye(12), mask=np.eye(12))).transform(X),
        lambda lca, X, y: LCACoder(np.eye(12)).inverse_transform(MASKED),
        lambda lca, X, y: lca.fit(X, y).inverse_transform(MASKED[:, :9]),
    ],
)
def test_masked_arrays_are_rejected(X, y, call):
    with pytest.raises(ValueError, match="masked values"):
        call(make(driver=OrdinalDriver(3)), X, y)


# --------------------------------------------------------------------------------------- labels


def with_labels(labels, **more):
    rows = np.random.default_rng(0).random((60, 12))
    return make(driver=OrdinalDriver(3)).fit(rows, labels, **more)


def test_fold_without_a_class_is_learned_with_classes(X, y):
    pipeline = make_pipeline(make(driver=OrdinalDriver(3)), LogisticRegression())
    given = {"linkedlca__classes": [0, 1, 2]}
    scores = cross_val_score(
        pipeline, X, np.sort(y), cv=KFold(3), params=given, error_score="raise"
    )
    assert scores.shape == (3,)
    lca = with_labels(y % 2, classes=[2, 1, 0])
    assert lca.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"must have 3 classes.*got 2.*classes="):
        with_labels(y % 2)


BAD_LABELS = {
    "None": ([None, 1, 2], "'missing value', 'number'"),
    "NaN": (np.array([np.nan, 1.0, 2.0]), "'missing value', 'number'"),
    "infinity": ([np.inf, 1.0, 2.0], "'missing value', 'number'"),
    "pandas NA": (pd.array([None, 1, 2], dtype="Int64"), "'missing value', 'number'"),
    "missing word": (pd.Series(["a", None, "b"]), "'missing value', 'string'"),
    "mixed list": (["a", 1, 2], "'number', 'string'"),
    "mixed array": (np.array(["a", 1, 2], dtype=object), "'number', 'string'"),
    "other objects": ([(1, 2), (3,), ()], "'tuple'"),
    "bytes": (np.array([b"a", b"b", b"c"]), "'bytes'"),
    "dates": (np.array(["2020-01-01"] * 3, dtype="datetime64[D]"), "'date'"),
    "carriage return": (["a\r", "b\r", "c\r"], r"line break, got 'a\\r'"),
    "newline": (np.array(["a", "b\n", "c"]), r"line break, got 'b\\n'"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_rejected_by_name(name):
    labels, message = BAD_LABELS[name]
    with pytest.raises(ValueError, match=f"y must .*{message}"):
        with_labels(np.resize(np.asarray(labels, dtype=object), 60))
    with pytest.raises(ValueError, match=f"classes must .*{message}"):
        with_labels(np.arange(60) % 3, classes=labels)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 2], dtype=object),
        np.array(["a", "b", "c"], dtype=object),
        np.array([0.5, 1, 2], dtype=object),
        np.array([False, 1, 2], dtype=object),
        pd.Series(["a", "b", "c"], dtype="category"),
        pd.array([0, 1, 2], dtype="Int64"),
        ["a", "b", "c"],
    ],
    ids=repr,
)
def test_labels_of_one_kind_are_learned_and_saved(tmp_path, labels):
    lca = with_labels(np.resize(np.asarray(labels), 60))
    assert lca.classes_.tolist() == list(labels)
    save(lca, tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.classes_.dtype == lca.classes_.dtype
    assert loaded.classes_.tolist() == list(labels)


def test_column_of_labels_warns_and_is_learned(y):
    with pytest.warns(DataConversionWarning, match="y must be 1D"):
        column = with_labels(y[:, None])
    assert np.array_equal(column.components_, with_labels(y).components_)


class RecordedLabels(OrdinalDriver):
    """An ordinal driver that keeps the labels of every injection."""

    seen: ClassVar[list] = []

    def inject(self, labels, n_samples, n_neurons):
        self.seen.extend(np.asarray(labels).tolist())
        return super().inject(labels, n_samples, n_neurons)


@pytest.mark.parametrize("mode", ["current", "linked", "clamp"])
def test_unlabelled_samples_are_not_driven(X, y, mode):
    labels = np.where(np.arange(60) < 45, y, -1)
    RecordedLabels.seen = []
    driver = RecordedLabels(3, mode=mode, excitation=0.04, inhibition=0.2, gain=1.0)
    lca = make(driver=driver).partial_fit(X, labels)
    assert set(RecordedLabels.seen) == {0, 1, 2}
    assert len(RecordedLabels.seen) == 45
    assert lca.classes_.tolist() == [0, 1, 2]
    before = lca.circuit_
    lca.partial_fit(X[:20], np.full(20, -1))
    undriven = make().partial_fit(X)
    undriven.circuit_ = before.without_drivers()
    undriven._rng = None
    assert np.array_equal(undriven.partial_fit(X[:20]).components_, lca.components_)


def test_minus_one_among_the_classes_is_a_class(X):
    labels = np.where(np.arange(60) % 2, 1, -1)
    driver = OrdinalDriver(2)
    assert make(driver=driver).fit(X, labels, classes=[-1, 1]).classes_.tolist() == [-1, 1]
    with pytest.raises(ValueError, match=r"got 1 classes \[1\] \(-1 means unlabelled\)"):
        make(driver=driver).fit(X, labels)


# ----------------------------------------------------------------------- parameters that change

APPLIED = {
    "threshold": (0.2, lambda c: c.transfer.threshold),
    "transfer": ("hard", lambda c: type(c.transfer).__name__ == "HardThreshold" and "hard"),
    "two_sided": (True, lambda c: c.transfer.two_sided),
    "plasticity": (Hebbian(decay=0.5), lambda c: c.dictionaries[2].plasticity),
    "idle": (IdleAtoms(patience=7), lambda c: c.idle),
    "driver": (OrdinalDriver(3, inhibition=0.01), lambda c: c.drivers[0]),
}


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("name", APPLIED)
def test_partial_fit_applies_changed_parameter(X, y, name):
    value, find = APPLIED[name]
    lca, twin = (make(driver=OrdinalDriver(3, inhibition=0.04)).fit(X, y) for _ in range(2))
    twin.partial_fit(X, y)
    lca.set_params(**{name: value}).partial_fit(X, y)
    assert find(lca.circuit_) == value
    if name not in ("two_sided", "idle"):  # without an effect on these samples
        assert not np.array_equal(lca.components_, twin.components_)


@pytest.mark.parametrize("loaded", [False, True])
def test_driver_can_be_removed_and_added(X, y, tmp_path, loaded):
    lca = make(driver=OrdinalDriver(3)).fit(X, y).set_params(driver=None)
    for method in ("partial_fit", "fit"):
        getattr(lca, method)(X)
        assert not lca.circuit_.drivers
        assert not hasattr(lca, "classes_")
    if loaded:
        save(lca, tmp_path / "m")
        lca = load(tmp_path / "m")
    lca.set_params(driver=OrdinalDriver(3)).partial_fit(X, y)
    assert lca.classes_.tolist() == [0, 1, 2]
    assert lca.circuit_.drivers == (OrdinalDriver(3),)


FIXED = {
    "n_components": (12, "n_components must not change"),
    "weights": ({"top": 2.0}, "weights must not change"),
    "modalities": ({"bottom": 6, "mid": 4, "top": 2}, "modalities must not change"),
    "observe": ("zz", "observe must be"),
    "driver": (OrdinalDriver(4), "must have 4 classes"),
    "threshold": (0.001, "excitation must be below the threshold"),
}


@pytest.mark.parametrize("name", FIXED)
def test_partial_fit_rejects_change_and_keeps_state(X, y, name):
    value, message = FIXED[name]
    lca = make(driver=OrdinalDriver(3)).fit(X, y)
    state = {k: v for k, v in vars(lca).items() if k != name}
    with pytest.raises(ValueError, match=message):
        lca.set_params(**{name: value}).partial_fit(X, y)
    assert {k: v for k, v in vars(lca).items() if k != name} == state


def test_classes_must_not_change(X, y):
    lca = make(driver=OrdinalDriver(3)).partial_fit(X, y)
    lca.partial_fit(X, y % 2, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        lca.partial_fit(X, y, classes=[0, 1, 3])


# ------------------------------------------------------------------------ parameters that are wrong

WRONG = {
    "observe": ["zz", (), ["top", "zz"], 3, [["top"]]],
    "neuron": ["lif", 3, ["rate"], None],
    "engine": ["steam", None, ["numba"]],
    "transfer": ["firm", SoftThreshold(0.1), ["soft"]],
    "threshold": ["a", -1, np.nan, [0.1, "b"]],
    "tol": [-1, 0, "a", None, np.nan],
    "duration": [-3, 0, "a"],
    "dt": [-1e-4, 0, "a"],
    "max_iter": [0, 1.5, None],
    "n_jobs": [0, 1.5, "a"],
    "modalities": [
        {"top": 14, "bottom": -2},
        {"top": 12, "bottom": 0},
        {"top": 6.5, "bottom": 5.5},
        ["top", "bottom"],
        {1: 12},
        {"top": "12"},
    ],
    "weights": [{"zz": 1.0}, {"top": -1.0}, {"top": "a"}, 3.0],
    "driver": ["ordinal", 0.1, OrdinalDriver],
    "plasticity": ["hebbian", Hebbian],
    "idle": [5000, IdleAtoms],
    "contrast": [0.5, "yes"],
    "n_components": [0, 2.5, "a"],
    "n_epochs": [0, 1.5],
    "batch_size": [0, None],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_wrong_parameter_is_named_before_learning(X, y, name, method, monkeypatch):
    def learn(*arguments, **options):
        pytest.fail("learned with a wrong parameter")

    monkeypatch.setattr("spikelca.estimators.linked_lca.learn", learn)
    for value in WRONG[name]:
        lca = make().set_params(**{name: value})
        with pytest.raises((ValueError, TypeError), match=name):
            getattr(lca, method)(X, y)
        assert not hasattr(lca, "circuit_")


@pytest.mark.parametrize(
    "name", ["neuron", "engine", "transfer", "threshold", "tol", "duration", "dt", "n_jobs"]
)
def test_coder_names_wrong_parameter_in_fit(X, name):
    for value in WRONG[name]:
        with pytest.raises((ValueError, TypeError), match=name):
            LCACoder(np.eye(12), **{name: value}).fit(X)


# ------------------------------------------------------------------------------- small batches


def test_decay_counts_samples_instead_of_calls(X):
    lca = make(plasticity=Hebbian(decay=0.5)).partial_fit(X)
    usage = lca.circuit_.plasticity.usage
    for n_rows in (1, 1, 3, 15):
        lca.partial_fit(np.zeros((n_rows, 12)))
    np.testing.assert_allclose(lca.circuit_.plasticity.usage, 0.5 * usage, rtol=1e-12)


def test_single_rows_teach_as_well_as_batches():
    rows = load_digits().data
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def learn_in_steps(n_rows):
        lca = LinkedLCA(40, threshold=0.05, random_state=0).partial_fit(rows[:200])
        for start in range(200, 1200, n_rows):
            lca.partial_fit(rows[start : start + n_rows])
        return np.square(rows - lca.inverse_transform(lca.transform(rows))).sum(axis=1).mean()

    assert learn_in_steps(1) < 1.05 * learn_in_steps(25)


# ------------------------------------------------------------------------- output and progress


@pytest.mark.parametrize("output", ["pandas", "polars", "default"])
def test_set_output_survives_saving(tmp_path, X, output):
    for model in (make().fit(X), LCACoder(np.eye(12)), LCACoder(np.eye(12)).fit(X)):
        save(model.set_output(transform=output), tmp_path / "m")
        loaded = load(tmp_path / "m")
        assert loaded._sklearn_output_config == {"transform": output}
        if hasattr(loaded, "n_features_in_"):
            assert type(loaded.transform(X)) is type(model.transform(X))


def test_unknown_output_in_a_file_is_rejected():
    from spikelca.persistence import _set_output

    with pytest.raises(ValueError, match="set_output must be"):
        _set_output(LCACoder(np.eye(2)), {"set_output": "csv"})


class Terminal(io.StringIO):
    """A text stream that counts as a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_verbose_shows_progress_anywhere(X, monkeypatch, stream, method):
    monkeypatch.setattr("sys.stderr", stream())
    getattr(make(), method)(X)
    assert not sys.stderr.getvalue()
    getattr(make(verbose=True), method)(X)
    shown = sys.stderr.getvalue()
    assert "learn" in shown
    if stream is io.StringIO:  # the last state stays in a log
        assert "3/3" in shown or method == "partial_fit"
        assert shown.count("\r") <= 2


# ------------------------------------------------------------------------------ spiking neurons


def spiking_models(X):
    atoms = np.random.default_rng(1).random((9, 12))
    yield make(neuron="spiking", observe=("bottom", "top")).fit(X)
    yield make(neuron="spiking", transfer="hard").partial_fit(X)
    yield make(threshold=0.2, weights={"top": 4.0}).fit(X).set_params(neuron=SpikingNeuron())
    yield LCACoder(atoms, neuron="spiking").fit(X)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_spiking_code_does_not_depend_on_other_rows(tmp_path, X):
    for model in spiking_models(X):
        codes = model.transform(X)
        assert codes.any()
        np.testing.assert_allclose(model.transform(X[5:6])[0], codes[5], atol=1e-12)
        np.testing.assert_allclose(model.transform(X[::-1]), codes[::-1], atol=1e-12)
        save(model, tmp_path / "m")
        loaded = load(tmp_path / "m")
        assert loaded.dt_ == model.dt_
        np.testing.assert_array_equal(loaded.transform(X), codes)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_dt_suits_every_row_of_the_norms_in_fit(X):
    for model in spiking_models(X):
        if isinstance(model, LinkedLCA):
            circuit = model._inference_circuit(*model._observed_names(WIDTHS))
        else:
            circuit = model._inference_circuit(X)
        # The strongest possible drive: a multiple of an atom.
        atoms = np.hstack([d.atoms for d in circuit.dictionaries])
        for d in circuit.dictionaries:
            norms = np.linalg.norm(
                model._validate(X) if d.name == "x" else split(X, d.name), axis=1
            )
            assert model.largest_norms_[d.name] == pytest.approx(norms.max())
        limit = np.sqrt(
            sum(d.weight * model.largest_norms_[d.name] ** 2 for d in circuit.dictionaries)
        )
        weights = np.concatenate([[d.weight] * d.n_inputs for d in circuit.dictionaries])
        stacked = np.linalg.norm(atoms * np.sqrt(weights), axis=1)
        aligned = limit * atoms / stacked[:, None]
        assert model.transform(aligned).any()
        with pytest.raises(ValueError, match=r"a dt of at most .* s\."):
            model.transform(np.vstack([X[:, : aligned.shape[1]], 300 * aligned[:1]]))


def split(X, name):
    return X[:, {"top": slice(0, 6), "mid": slice(6, 10), "bottom": slice(10, 12)}[name]]


def test_given_dt_is_used(X):
    coder = LCACoder(np.eye(12), neuron="spiking", dt=1e-4)
    expected = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(12))])
    code = expected.simulate({"x": X}, 20 * SpikingNeuron().tau, 1e-4).code
    np.testing.assert_array_equal(coder.transform(X), code)
    assert coder.fit(X).dt_ == 1e-4
    assert not hasattr(make().fit(X), "dt_")
    with pytest.raises(NotFittedError, match=r"must be fitted.*dt="):
        LCACoder(np.eye(12), neuron="spiking").transform(X)


# --------------------------------------------------------------- scores, error curve, threads


def test_error_curve_has_the_error_of_every_batch(tmp_path, X):
    lca = make(n_epochs=3, observe=None).fit(X)
    assert lca.errors_.shape == (9, 3)
    assert (lca.errors_[-3:].mean(axis=0) < lca.errors_[:3].mean(axis=0)).all()
    start = make(observe=None).partial_fit(X[:20])
    circuit, tol = start.circuit_, 1e-9
    start.set_params(tol=tol).partial_fit(X[20:40])
    code = circuit.encode({n: split(X[20:40], n) for n in WIDTHS}, 1e-3).code
    for column, name in enumerate(WIDTHS):
        x = split(X[20:40], name)
        error = np.square(x - circuit.reconstruct(code, name)).sum() / np.square(x).sum()
        assert start.errors_[1, column] == pytest.approx(error)
    save(start, tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").errors_, start.errors_)


def test_error_curve_survives_an_interrupt(tmp_path, X, monkeypatch):
    expected, path = make(n_epochs=3).fit(X), tmp_path / "c"

    def interrupt(self, state):
        self.write(state)
        if state.n_steps == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("spikelca.learning.checkpoint.Checkpoint.write_if_due", interrupt)
        lca = make(n_epochs=3)
        with pytest.raises(KeyboardInterrupt):
            lca.fit(X, checkpoint=path)
    np.testing.assert_array_equal(lca.errors_, expected.errors_[:4])
    resumed = make(n_epochs=3).fit(X, checkpoint=path, resume=True)
    np.testing.assert_array_equal(resumed.errors_, expected.errors_)
    assert resumed.largest_norms_ == expected.largest_norms_


def test_score_is_the_explained_energy(X):
    lca = make(weights={"top": 2.0}).fit(X)
    for given in (X, X[:, :6]):
        names = list(WIDTHS) if given is X else ["top"]
        code = lca.transform(given)
        error = energy = 0.0
        for name in names:
            weight = 2.0 if name == "top" else 1.0
            x, y = split(X, name), lca.inverse_transform(code, name)
            error += weight * np.square(x - y).sum()
            energy += weight * np.square(x).sum()
        assert lca.score(given) == pytest.approx(1 - error / energy)
    missing = X.copy()
    missing[:, 6:] = np.nan
    assert lca.score(missing) == pytest.approx(lca.score(X[:, :6]))
    assert LCACoder(np.eye(12), threshold=1e-6).score(X) == pytest.approx(1)


def test_unsupervised_grid_search_finds_the_better_dictionary(X):
    for model, grid in (
        (LinkedLCA(threshold=0.05, random_state=0), {"n_components": [1, 9]}),
        (LCACoder(np.eye(12)), {"threshold": [0.3, 0.01]}),
    ):
        search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X)
        assert search.best_index_ == 1


def test_n_jobs_limits_the_threads(X, monkeypatch):
    from spikelca.engines.numba.jit import parallel

    expected, limits = make().fit(X), []
    set_threads = parallel.numba.set_num_threads
    monkeypatch.setattr(
        parallel.numba, "set_num_threads", lambda n: limits.append(n) or set_threads(n)
    )
    limited, coder = make(n_jobs=1).fit(X), LCACoder(np.eye(12), n_jobs=1)
    np.testing.assert_array_equal(limited.components_, expected.components_)
    for call in (limited.partial_fit, limited.transform, limited.encode, coder.transform):
        limits.clear()
        call(X)
        assert limits[0] == 1
    assert make(n_jobs=-1).fit(X).transform(X).shape == (60, 9)


def test_max_iter_reaches_the_solver(X):
    atoms = np.random.default_rng(0).random((20, 12))
    settings = {"threshold": 1e-4, "tol": 1e-9, "max_iter": 1}
    coder = LCACoder(atoms, **settings)
    linked = LinkedLCA(20, random_state=0, **settings)
    calls = [coder.transform, coder.encode, coder.set_params(sparse_output=True).transform]
    for call in (*calls, linked.fit, linked.partial_fit, linked.transform, linked.encode):
        with pytest.warns(ConvergenceWarning, match="max_iter, now 1"):
            call(X)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_samples_too_small_for_the_precision_are_rejected(X):
    for scale, dtype in ((1e-30, np.float32), (1e-160, np.float64)):
        tiny = (X * scale).astype(dtype)
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=r"X must have samples with a norm of at least"):
                getattr(make(threshold=scale / 10), method)(tiny)
    assert make(threshold=1e-6).fit(X * 1e-5).n_steps_ == 3


# ---------------------------------------------------------------------------------- small cases


@pytest.mark.parametrize("two_sided", [False, True])
def test_one_observed_feature_needs_one_neuron(two_sided):
    X = np.random.default_rng(0).random((50, 3)) - 0.5 * two_sided
    settings = {"two_sided": two_sided, "random_state": 0}
    column, widths = X[:, :1], {"left": 1, "right": 2}
    with pytest.raises(ValueError, match=r"at most . for 1 feature\(s\).*got 3"):
        LinkedLCA(3, **settings).fit(column)
    with pytest.raises(ValueError, match=r"observed modalities \['left'\], got 3"):
        LinkedLCA(3, widths, observe="left", **settings).fit(X)
    for lca, rows in ((LinkedLCA(1, **settings), column), (LinkedLCA(2, widths, **settings), X)):
        lca.set_params(threshold=1e-6).fit(rows)
        codes = lca.transform(rows)
        assert codes.shape == (50, lca.n_components)
    one = LinkedLCA(1, threshold=0.01, **settings).fit(column)
    assert abs(abs(one.components_[0, 0]) - 1) < 1e-12


def test_coder_rejects_atoms_without_unique_codes():
    atoms = np.array([[0.0, 1.0], [0.6, 0.8], [-0.6, -0.8]])
    assert LCACoder(atoms).transform([[-0.6, -0.8]])[0].round(3).tolist() == [0, 0, 0.9]
    for model in (
        LCACoder(atoms, two_sided=True),
        LCACoder(atoms[[0, 1, 1]]),
        LCACoder(-atoms[[0, 1, 1]], two_sided=True),
    ):
        with pytest.raises(ValueError, match="got equal atoms 1 and 2"):
            model.transform([[0.6, 0.8]])
    parallel = LCACoder(np.array([[0.6, 0.8], [1.2, 1.6]]), threshold=0.1, tol=1e-9)
    assert parallel.transform([[0.6, 0.8]]).round(6).tolist() == [[0, 0.475]]


def test_repr_keeps_the_order_of_modalities():
    widths = {"z": 60, "a": 4}
    lca = LinkedLCA(20, widths)
    assert repr(lca) == str(lca) == "LinkedLCA(modalities={'z': 60, 'a': 4}, n_components=20)"
    assert lca.modalities is widths


# ---------------------------------------------------------------------------- nested parameters


def test_fields_of_values_are_parameters(X, y):
    driver = OrdinalDriver(3, inhibition=0.04, fade=Fade(until=0.5))
    lca = make(driver=driver, plasticity=Hebbian(), neuron=SpikingNeuron())
    params = lca.get_params()
    assert params["driver__inhibition"] == 0.04
    assert params["driver__fade__until"] == 0.5
    assert not any("__" in name for name in lca.get_params(deep=False))
    changes = {"driver__fade__until": 0.7, "driver__excitation": 0.02, "neuron__quantum": 0.05}
    other = clone(lca).set_params(**changes, plasticity__decay=0.5, threshold=0.06)
    assert other.driver == OrdinalDriver(3, excitation=0.02, inhibition=0.04, fade=Fade(until=0.7))
    assert (other.neuron.quantum, other.plasticity.decay, other.threshold) == (0.05, 0.5, 0.06)
    assert lca.driver is driver
    pipeline = make_pipeline(lca.set_params(neuron="rate"), LogisticRegression())
    grid = {"linkedlca__driver__inhibition": [0.0, 0.3], "linkedlca__plasticity__rate": [0.5]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_[0].circuit_.drivers[0].inhibition in (0.0, 0.3)
    assert search.best_estimator_[0].circuit_.dictionaries[0].plasticity.rate == 0.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("driver__inhibiton", 0.1, "driver__inhibiton must be a parameter or a field"),
        ("driver__fade__until", 0.5, "driver__fade__until must be .* got driver__fade=None"),
        ("idle__patience", 5, "idle__patience must be .* got idle=None"),
        ("zz__a", 1, "zz__a must be"),
        ("neuron__tau", 1, "neuron__tau must be .* got neuron='rate'"),
        ("driver__inhibition", -1, "inhibition must be >= 0"),
    ],
)
def test_unknown_field_is_rejected(name, value, message):
    lca = make(driver=OrdinalDriver(3))
    with pytest.raises(ValueError, match=message):
        lca.set_params(**{name: value})
    assert lca.driver == OrdinalDriver(3)
    assert not hasattr(lca, "zz")


# ------------------------------------------------------------------------- modalities as tables


def as_mapping(X, kind):
    tables = {name: split(X, name) for name in ("mid", "bottom", "top")}  # in another order
    if kind == "frames":
        return {n: pd.DataFrame(x).rename(columns=f"{n}{{}}".format) for n, x in tables.items()}
    return tables


@pytest.mark.parametrize("kind", ["arrays", "frames"])
def test_mapping_of_modalities_equals_stacked_columns(tmp_path, X, kind):
    tables, expected = as_mapping(X, kind), make().fit(X)
    lca = make().fit(tables)
    np.testing.assert_array_equal(lca.components_, expected.components_)
    assert list(lca.circuit_.widths) == list(WIDTHS)
    one = {"top": tables["top"]}
    for given in (tables, one):
        np.testing.assert_array_equal(lca.transform(given), expected.transform(X))
    np.testing.assert_array_equal(
        lca.partial_fit(tables).components_, expected.partial_fit(X).components_
    )
    free = make(observe="bottom").set_params(modalities=None).fit(tables)
    assert free.circuit_.widths == {"mid": 4, "bottom": 2, "top": 6}
    save(free, tmp_path / "m")
    codes = load(tmp_path / "m").transform({"bottom": tables["bottom"]})
    np.testing.assert_array_equal(codes, free.transform(tables))
    assert free.partial_fit(tables).n_steps_ == 6


def test_wrong_mappings_are_rejected(X):
    tables, lca = as_mapping(X, "frames"), make()
    fitted = make().fit(tables)
    shuffled = tables | {"top": tables["top"].iloc[::-1]}
    for method in (lca.fit, lca.partial_fit):
        for wrong, message in (
            ({"top": tables["top"]}, r"missing \['mid', 'bottom'\]"),
            (tables | {"zz": tables["top"]}, r"unknown \['zz'\]"),
            (tables | {"top": tables["mid"]}, r"X\['top'\] must have 6 columns, got 4"),
            (tables | {"top": tables["top"][:50]}, "same number of samples"),
            (shuffled, "same index"),
            (tables | {"top": MASKED[:, :6]}, "must not have masked values"),
            (tables | {"top": X[0]}, r"X\['top'\] must be a 2D array"),
        ):
            with pytest.raises(ValueError, match=message):
                method(wrong)
    with pytest.raises(ValueError, match=r"missing \['top'\]"):
        fitted.transform({"mid": tables["mid"]})
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform({"top": tables["top"][tables["top"].columns[::-1]]})


@pytest.mark.parametrize("module", ["pandas", "polars"])
def test_columns_of_a_modality_are_taken_by_name(tmp_path, frame, module):
    columns = {"top": NAMES[6:], "bottom": [NAMES[5], *NAMES[:5]]}
    table = frame if module == "pandas" else polars.from_pandas(frame)
    lca = LinkedLCA(9, columns, observe="bottom", threshold=0.05, random_state=0).fit(table)
    stacked = frame[columns["top"] + columns["bottom"]].to_numpy()
    expected = clone(lca).set_params(modalities={"top": 6, "bottom": 6}).fit(stacked)
    np.testing.assert_array_equal(lca.components_, expected.components_)
    codes = expected.transform(stacked)
    for given in (table, table[NAMES[::-1]], table[NAMES[:6]]):
        np.testing.assert_array_equal(lca.transform(given), codes)
    save(lca, tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").transform(table[NAMES[5::-1]]), codes)
    renamed = frame.rename(columns={"p1": "q"})
    with pytest.raises(ValueError, match=r"missing \['p1'\], unknown \['q'\]"):
        lca.fit(renamed if module == "pandas" else polars.from_pandas(renamed))
    with pytest.raises(TypeError, match="X must be a data frame"):
        lca.fit(stacked)


def test_observe_can_differ_per_call(X):
    lca, other = make().fit(X), make(observe=["mid", "bottom"]).fit(X)
    for method in ("transform", "translate", "encode"):
        more = {"to": "top"} if method == "translate" else {}
        for given in (X, X[:, 6:]):
            found = getattr(lca, method)(given, observe=["bottom", "mid"], **more)
            expected = getattr(other, method)(given, **more)
            np.testing.assert_array_equal(
                getattr(found, "code", found), getattr(expected, "code", expected)
            )
    codes = other.transform(X)
    np.testing.assert_array_equal(
        lca.inverse_transform(codes, "top", observe=["mid", "bottom"]),
        other.inverse_transform(codes, "top"),
    )
    with pytest.raises(ValueError, match="observe must be"):
        lca.transform(X, observe="zz")
    assert lca.observe == "top"


# ------------------------------------------------------------------------ weights, initial atoms


@pytest.mark.parametrize("contrast", [None, Contrast(fraction=1.0)])
def test_weights_count_samples_of_one_batch(X, y, contrast):
    """In one batch with given initial atoms, a weight of two is the same as two samples."""
    settings = {"batch_size": 1000, "dict_init": X[:9], "driver": OrdinalDriver(3)}
    weights = np.arange(60) // 3 % 3
    twice = np.repeat(np.arange(60), weights)
    lca = make(contrast=contrast, **settings).fit(X, y, sample_weight=weights)
    copies = make(contrast=contrast, **settings).fit(X[twice], y[twice])
    np.testing.assert_allclose(lca.components_, copies.components_, rtol=1e-9)
    np.testing.assert_allclose(lca.errors_, copies.errors_, rtol=1e-9)
    usage = [model.circuit_.plasticity.usage for model in (lca, copies)]
    np.testing.assert_allclose(*usage, rtol=1e-9)
    plain = make(**settings).partial_fit(X, y)
    equal = make(**settings).partial_fit(X, y, sample_weight=np.full(60, 3.0))
    np.testing.assert_allclose(equal.components_, plain.components_, rtol=1e-9)


def test_samples_of_weight_zero_have_no_effect(X):
    weights = np.where(np.arange(60) < 20, 0.0, 1.0)
    other = X.copy()
    other[:20] = X[40:][::-1]
    for method in ("fit", "partial_fit"):
        idle = {"idle": IdleAtoms(patience=1), "threshold": 0.3}
        first, second = (
            getattr(make(**idle), method)(rows, sample_weight=weights) for rows in (X, other)
        )
        assert np.array_equal(first.components_, second.components_)
        assert first.n_redrawn_ == second.n_redrawn_ > 0


BAD_WEIGHTS = {
    "length": np.ones(59),
    "column": np.ones((60, 1)),
    "negative": np.r_[-1, np.ones(59)],
    "NaN": np.r_[np.nan, np.ones(59)],
    "infinite": np.r_[np.inf, np.ones(59)],
    "zero": np.zeros(60),
    "masked": np.ma.array(np.ones(60), mask=np.eye(60)[0]),
    "words": np.full(60, "1"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_rejected(X, name):
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match="sample_weight must"):
            getattr(make(), method)(X, sample_weight=BAD_WEIGHTS[name])


def test_initial_atoms_can_be_given(tmp_path, X):
    atoms = 3 * X[20:29]
    lca = make(dict_init=atoms, plasticity=Hebbian(rate=1e-12), weights={"top": 4.0})
    lca.fit(X.astype(np.float32))
    assert lca.components_.dtype == np.float32
    scale = np.sqrt(np.repeat([4.0, 1.0], [6, 6]))
    expected = atoms / np.linalg.norm(atoms * scale, axis=1, keepdims=True)
    np.testing.assert_allclose(lca.components_, expected, rtol=1e-5)
    save(lca, tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").dict_init, atoms)
    for wrong in (atoms[:8], atoms[:, :11], np.where(atoms > 1, np.nan, atoms), atoms[[0] * 9]):
        with pytest.raises(ValueError, match=r"dict_init must|equal atoms"):
            make(dict_init=wrong).fit(X)


@pytest.mark.parametrize("contrast", [None, Contrast(fraction=1.0)])
@pytest.mark.parametrize("source", ["sample", "residual"])
def test_positive_dict_keeps_atoms_non_negative(tmp_path, X, contrast, source):
    rows = X - X.mean()
    settings = {"two_sided": True, "contrast": contrast, "n_epochs": 4, "threshold": 0.2}
    settings["idle"] = IdleAtoms(source, patience=2)
    lca = make(positive_dict=True, **settings).fit(rows)
    assert lca.n_redrawn_ > 0 or contrast is not None
    for model in (lca, lca.partial_fit(rows)):
        assert model.components_.min() >= 0
        stacked = np.linalg.norm(model.components_, axis=1)
        np.testing.assert_allclose(stacked, 1, rtol=1e-6)
    assert make(**settings).fit(rows).components_.min() < 0
    save(lca, tmp_path / "m")
    assert load(tmp_path / "m").circuit_.dictionaries[0].plasticity == Hebbian(non_negative=True)
    with pytest.raises(ValueError, match="positive_dict must not change"):
        lca.set_params(positive_dict=False).partial_fit(rows)
    circuit = lca.circuit_.replace(wiring="residual", transfer=SoftThreshold(0.2))
    with pytest.raises(NotImplementedError, match="non_negative"):
        circuit.learn_in_simulation({n: split(X, n) for n in WIDTHS})


# --------------------------------------------------------------------------------- forged files


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("errors_", np.zeros((4, 3))),
        ("errors_", np.zeros((3, 2))),
        ("errors_", np.zeros(3)),
        ("errors_", np.zeros((3, 3), dtype=np.int64)),
        ("largest_norms_", {"top": 1.0, "mid": 1.0}),
        ("largest_norms_", {"top": 1.0, "mid": 1.0, "bottom": -1.0}),
        ("largest_norms_", {"top": 1.0, "mid": 1.0, "bottom": "a"}),
        ("largest_norms_", [1.0, 1.0, 1.0]),
    ],
)
def test_forged_history_is_rejected(tmp_path, X, name, value):
    lca = make().fit(X)
    setattr(lca, name, value)
    save(lca, tmp_path / "m")
    with pytest.raises(ModelFileError, match=name):
        load(tmp_path / "m")


@pytest.mark.parametrize("observe", ["left", None])
def test_plain_arrays_are_encoded_as_other_forms(observe):
    """A plain array of floats skips the conversion by scikit-learn, and only that."""
    X = np.random.default_rng(0).random((40, 6))
    lca = LinkedLCA(5, {"left": 4, "right": 2}, observe, threshold=0.05, random_state=0).fit(X)
    rows = X[:3, :4] if observe else X[:3]
    expected = lca.transform(rows)
    assert expected.any()
    for form in (
        rows.tolist(),
        np.asfortranarray(rows),
        rows.astype(">f8"),
        rows[:, ::-1][:, ::-1],
    ):
        np.testing.assert_allclose(lca.transform(form), expected, atol=1e-12)
    assert lca.transform(rows.astype(np.float32)).dtype == np.float32
    for wrong in (rows[:0], rows[0], rows[:, :3], rows * np.nan, rows * 1j):
        with pytest.raises((ValueError, TypeError)):
            lca.transform(wrong)

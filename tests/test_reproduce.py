"""Pipeline of `spikelca reproduce` on small data: table, files and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quickly import HANGS, quick_results
from sklearn.dummy import DummyClassifier

from spikelca.cli import main
from spikelca.datasets import load_images
from spikelca.experiments import linked, scoring, settings, table
from spikelca.experiments.scoring import LOGISTIC, RBF_SVM, ClassifierSpec, score, tune


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return quick_results(tmp_path_factory)


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_results_follow_their_schema(results):
    assert {"data", "font", "settings", "versions", "rows", "recall", "block_readout"} <= set(
        results
    )
    assert results["data"].startswith("digits")
    assert "Arimo" in results["font"]
    for row in results["rows"]:
        assert {"name", "seed", "lr", "svm_linear", "svm_rbf", "active", "gap"} <= set(row)
        assert all(0 <= row[key] <= 1 for key in ("lr", "svm_linear", "svm_rbf"))
    names = [row["name"] for row in results["rows"]]
    assert {"raw", "single", "linked", "ordinal"} <= set(names)
    assert set(results["recall"]) == {"linked", "ordinal"}


def test_quick_run_is_far_above_chance(results):
    scores = {row["name"]: row["lr"] for row in results["rows"]}
    assert min(scores[name] for name in ("single", "linked", "ordinal")) > 0.85
    assert results["block_readout"] > 0.8
    assert min(results["recall"].values()) > 0.8


def test_every_rate_code_converges_to_tol(results):
    rows = [row for row in results["rows"] if row["name"] in ("single", "linked", "ordinal")]
    assert all(row["gap"] < 1.5e-4 for row in rows)


def test_leaky_rows_have_higher_accuracy(results):
    scores = {row["name"]: row["lr"] for row in results["rows"]}
    assert scores["linked-LEAKY"] > scores["linked"]
    assert scores["linked-LEAKY"] > 0.99


def test_dictionaries_are_written(out):
    with np.load(out / "dictionary_ordinal.npz") as arrays:
        assert arrays["handwritten"].shape == (50, 64)
        assert arrays["printed"].shape == (50, 64)


def test_test_labels_do_not_affect_learning():
    images = load_images("digits")
    data = linked.make_linked_data(images)
    rng = np.random.default_rng(0)
    shuffled = linked.make_linked_data(
        type(images)(
            images.name, images.X_train, images.y_train, images.X_test,
            rng.permutation(images.y_test), images.image_shape,
        )
    )  # fmt: skip
    chosen = replace(settings.QUICK, thresholds=(0.03, 0.05))
    thresholds = [linked.choose_thresholds(["linked"], d, chosen, 0) for d in (data, shuffled)]
    assert thresholds[0] == thresholds[1]
    models = [linked.fit_kind("ordinal", d, settings.QUICK, 0.05, 0) for d in (data, shuffled)]
    assert np.array_equal(models[0].components_, models[1].components_)


def test_constants_depend_on_training_rows_only():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    test = rng.normal(size=(30, 4)).astype(np.float32)
    zeros = score(LOGISTIC, X, y, test, np.zeros(30, np.int64), 90, 0)
    ones = score(LOGISTIC, X, y, test, np.ones(30, np.int64), 90, 0)
    assert zeros.constants == ones.constants
    assert zeros.accuracy + ones.accuracy == pytest.approx(1.0)
    assert tune(LOGISTIC, X, y, 0)[0] in LOGISTIC.grid


def test_successive_halving_drops_worse_constants(monkeypatch):
    fitted: list[tuple[int, float]] = []

    def stump(constants):
        class Flip(DummyClassifier):
            def fit(self, X, y):
                fitted.append((len(y), constants["C"]))
                self.classes_ = np.unique(y)
                return self

            def predict(self, X):
                return np.where(
                    np.arange(len(X)) < constants["C"] * len(X), X[:, 0] > 0, X[:, 0] < 0
                )

        return Flip()

    monkeypatch.setattr(scoring, "HALVING_ROWS", 60)
    X = np.random.default_rng(0).normal(size=(120, 1)).astype(np.float32)
    classifier = ClassifierSpec("stump", stump, [{"C": c} for c in (0.1, 0.9, 0.3, 1.0)])
    constants, accuracy = tune(classifier, X, (X[:, 0] > 0).astype(np.int64), 0)
    assert (constants, accuracy) == ({"C": 1.0}, 1.0)
    assert {c for n, c in fitted if n == 40} == {0.1, 0.9, 0.3, 1.0}
    assert {c for n, c in fitted if n == 80} == {0.9, 1.0}


def test_precomputed_kernels_give_the_same_accuracies():
    images = load_images("digits")
    X, y = images.X_train[:300].astype(np.float32), images.y_train[:300]
    direct = replace(RBF_SVM, make_trials=None)
    expected, scores = (scoring._cross_validate(c, c.grid, X, y, 0) for c in (direct, RBF_SVM))
    assert len(set(expected)) > 3
    assert np.array_equal(scores, expected)


def test_interrupt_stops_the_scoring(monkeypatch):
    started = []

    def interrupted(classifier, *_):
        started.append(classifier.name)
        if len(started) > 1:
            time.sleep(0.5)  # gives the other thread time to stop
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "score", interrupted)
    data = linked.make_linked_data(load_images("digits"))
    codes = [table.CodeSet(f"code {k}", 0, data.train, data.test) for k in range(20)]
    with pytest.raises(KeyboardInterrupt):
        table._score_all(codes, data, settings.QUICK)
    assert 1 <= len(started) < len(codes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/no/such/folder"], "no/such/folder"),
        (["--quick", "--font", "No Such Face"], "No Such Face"),
        (["--quick", "--out", "/proc/nowhere"], "nowhere"),
    ],
)
def test_failure_is_reported_in_one_line(arguments, message, capsys):
    assert main(["reproduce", *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_wrong_usage_exits_with_2():
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "--transfer", "firm"])
    assert stop.value.code == 2


@pytest.mark.parametrize("mode", ["linked", "clamp"])
def test_other_driver_modes_order_the_code(mode):
    data = linked.make_linked_data(load_images("digits"))
    chosen = replace(settings.QUICK, driver_mode=mode)
    model = linked.fit_kind("ordinal", data, chosen, 0.05, 0)
    codes = model.transform(data.test)
    assert linked.block_readout_accuracy(model, codes, data.images.y_test) > 0.7


def test_hard_threshold_learns_and_encodes():
    data = linked.make_linked_data(load_images("digits"))
    chosen = replace(settings.QUICK, transfer="hard", thresholds=(0.1,))
    model = linked.fit_kind("linked", data, chosen, 0.1, 0)
    codes = model.transform(data.test)
    assert codes[codes > 0].min() > 0.1
    assert linked.recall_accuracy(model, codes, data) > 0.7


def test_readme_snippets_run():
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    snippets = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(snippets) >= 2
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", "\n".join(snippets)],
        capture_output=True, text=True, timeout=HANGS, env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "active neurons" in run.stdout
    assert "True" in run.stdout

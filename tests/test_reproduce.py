"""The main job, on small data: from images to the table, its files and its errors."""

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
def found(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_results_follow_their_schema(found):
    assert {"data", "font", "settings", "versions", "rows", "recall", "block_readout"} <= set(found)
    assert found["data"].startswith("digits")
    assert "Arimo" in found["font"]
    for row in found["rows"]:
        assert {"name", "seed", "lr", "svm_linear", "svm_rbf", "active", "gap"} <= set(row)
        assert all(0 <= row[key] <= 1 for key in ("lr", "svm_linear", "svm_rbf"))
    names = [row["name"] for row in found["rows"]]
    assert {"raw", "single", "linked", "ordinal"} <= set(names)
    assert set(found["recall"]) == {"linked", "ordinal"}


def test_even_a_quick_look_codes_far_better_than_chance(found):
    scores = {row["name"]: row["lr"] for row in found["rows"]}
    assert min(scores[name] for name in ("single", "linked", "ordinal")) > 0.85
    assert found["block_readout"] > 0.8
    assert min(found["recall"].values()) > 0.8


def test_every_code_of_the_table_carries_its_certificate(found):
    rate = [row for row in found["rows"] if row["name"] in ("single", "linked", "ordinal")]
    assert all(row["gap"] < 1.5e-4 for row in rate)


def test_the_leaky_rows_stand_apart_and_beat_the_honest_ones(found):
    scores = {row["name"]: row["lr"] for row in found["rows"]}
    assert scores["linked-LEAKY"] > scores["linked"]
    assert scores["linked-LEAKY"] > 0.99


def test_the_dictionaries_are_written(out):
    with np.load(out / "dictionary_ordinal.npz") as arrays:
        assert arrays["handwritten"].shape == (50, 64)
        assert arrays["printed"].shape == (50, 64)


def test_shuffled_test_labels_do_not_change_what_is_learned():
    images = load_images("digits")
    material = linked.make_linked_data(images)
    rng = np.random.default_rng(0)
    shuffled = linked.make_linked_data(
        type(images)(
            images.name, images.X_train, images.y_train, images.X_test,
            rng.permutation(images.y_test), images.image_shape,
        )
    )  # fmt: skip
    chosen = replace(settings.QUICK, thresholds=(0.03, 0.05))
    picks = [linked.choose_thresholds(["linked"], m, chosen, 0) for m in (material, shuffled)]
    assert picks[0] == picks[1]
    models = [linked.fit_kind("ordinal", m, settings.QUICK, 0.05, 0) for m in (material, shuffled)]
    assert np.array_equal(models[0].components_, models[1].components_)


def test_constants_are_chosen_on_training_rows_only():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    test = rng.normal(size=(30, 4)).astype(np.float32)
    honest = score(LOGISTIC, X, y, test, np.zeros(30, np.int64), 90, 0)
    other = score(LOGISTIC, X, y, test, np.ones(30, np.int64), 90, 0)
    assert honest.constants == other.constants
    assert honest.accuracy + other.accuracy == pytest.approx(1.0)
    assert tune(LOGISTIC, X, y, 0)[0] in LOGISTIC.grid


def test_what_is_clearly_worse_on_a_part_of_the_rows_is_not_tried_on_all_of_them(monkeypatch):
    seen: list[tuple[int, float]] = []

    def stump(constants):
        class Flip(DummyClassifier):
            def fit(self, X, y):
                seen.append((len(y), constants["C"]))
                self.classes_ = np.unique(y)
                return self

            def predict(self, X):
                return np.where(
                    np.arange(len(X)) < constants["C"] * len(X), X[:, 0] > 0, X[:, 0] < 0
                )

        return Flip()

    monkeypatch.setattr(scoring, "HALVING_ROWS", 60)
    X = np.random.default_rng(0).normal(size=(120, 1)).astype(np.float32)
    candidate = ClassifierSpec("stump", stump, [{"C": c} for c in (0.1, 0.9, 0.3, 1.0)])
    constants, accuracy = tune(candidate, X, (X[:, 0] > 0).astype(np.int64), 0)
    assert (constants, accuracy) == ({"C": 1.0}, 1.0)
    assert {c for n, c in seen if n == 40} == {0.1, 0.9, 0.3, 1.0}
    assert {c for n, c in seen if n == 80} == {0.9, 1.0}


def test_ready_kernels_give_the_accuracies_of_the_classifier_itself():
    images = load_images("digits")
    X, y = images.X_train[:300].astype(np.float32), images.y_train[:300]
    plain = replace(RBF_SVM, trials=None)
    slow, quick = (scoring._cross_validated(c, c.grid, X, y, 0) for c in (plain, RBF_SVM))
    assert len(set(slow)) > 3
    assert np.array_equal(slow, quick)


def test_after_an_interrupt_no_further_classifier_is_fitted(monkeypatch):
    begun = []

    def interrupted(candidate, *_):
        begun.append(candidate.name)
        if len(begun) > 1:
            time.sleep(0.5)  # which gives the other thread time to stop, however busy the machine
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "score", interrupted)
    material = linked.make_linked_data(load_images("digits"))
    codes = [table.CodeSet(f"code {k}", 0, material.train, material.test) for k in range(20)]
    with pytest.raises(KeyboardInterrupt):
        table._score_all(codes, material, settings.QUICK)
    assert 1 <= len(begun) < len(codes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/no/such/folder"], "no/such/folder"),
        (["--quick", "--font", "No Such Face"], "No Such Face"),
        (["--quick", "--out", "/proc/nowhere"], "nowhere"),
    ],
)
def test_what_fails_says_why_in_one_line(arguments, message, capsys):
    assert main(["reproduce", *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_wrong_usage_ends_with_two():
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "--transfer", "firm"])
    assert stop.value.code == 2


@pytest.mark.parametrize("reading", ["linked", "clamp"])
def test_the_other_readings_of_the_driver_order_the_code(reading):
    material = linked.make_linked_data(load_images("digits"))
    chosen = replace(settings.QUICK, reading=reading)
    model = linked.fit_kind("ordinal", material, chosen, 0.05, 0)
    codes = model.transform(material.test)
    assert linked.block_readout_accuracy(model, codes, material.images.y_test) > 0.7


def test_the_hard_threshold_learns_and_codes():
    material = linked.make_linked_data(load_images("digits"))
    chosen = replace(settings.QUICK, transfer="hard", thresholds=(0.1,))
    model = linked.fit_kind("linked", material, chosen, 0.1, 0)
    codes = model.transform(material.test)
    assert codes[codes > 0].min() > 0.1
    assert linked.recall_accuracy(model, codes, material) > 0.7


def test_the_snippets_of_the_readme_run():
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

"""Pipeline of `spikelca reproduce` on small data: table, files and errors."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import Future
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from quickly import HANGS, quick_results
from sklearn.dummy import DummyClassifier

from spikelca import Contrast, LinkedLCA, SpikingNeuron
from spikelca.cli import main
from spikelca.datasets import load_images
from spikelca.experiments import linked, report, reproduce, scoring, settings, table
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


@pytest.mark.parametrize("kind", ["linked", "ordinal"])
def test_written_dictionaries_have_unit_norm(out, kind):
    with np.load(out / f"dictionary_{kind}.npz") as arrays:
        parts = [arrays[name] for name in ("handwritten", "printed")]
    assert [atoms.shape for atoms in parts] == [(50, 64), (50, 64)]
    np.testing.assert_allclose((np.hstack(parts) ** 2).sum(axis=1), 1, atol=1e-5)


ROWS = (
    table.Row("raw", 0, 0.5, 0.5, 0.5),
    table.Row("linked", 0, 0.9, 0.25, 0.6, active=10.0, gap=1e-5),
    table.Row("linked", 1, 0.8, 0.25, 0.6, active=13.0, gap=2e-5),
    table.Row("linked-LEAKY", 0, 1.0, 1.0, 1.0, active=5.0, gap=3e-5),
)


def text_of(rows):
    data = SimpleNamespace(
        images=SimpleNamespace(name="noise"), printed=SimpleNamespace(font="none")
    )
    return report.format_table(table.Table(rows, {}, []), data, (0, 1), settings.QUICK)


def test_text_fits_80_columns(capsys):
    names = [f"{kind}{suffix}" for kind in ("single", "linked", "ordinal")
             for suffix in ("", "-spiking", "-LEAKY")]  # fmt: skip
    rows = [table.Row(n, s, 0.9, 0.25, 0.6, 100.0, 1e-5) for n in ["raw", *names] for s in (0, 1)]
    long = SimpleNamespace(
        images=SimpleNamespace(name="a name " * 20), printed=SimpleNamespace(font="f " * 60)
    )
    recall = {"linked": [0.9, 0.8], "ordinal": [0.9, 0.8]}
    text = report.format_table(
        table.Table(tuple(rows), recall, [0.5, 0.6]), long, range(40), settings.MNIST
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "paper: ordinal           0.9541" in text


def page_of(rows, command=""):
    rest = {"data": "noise", "font": "none", "settings": {}, "versions": {}}
    return report.render_html({"rows": [asdict(row) for row in rows], **rest}, "", command, [])


def test_text_and_page_show_mean_spread_and_gap():
    lines = {line.split()[0]: line.split() for line in text_of(ROWS).splitlines() if line}
    assert lines["raw"][1:4] == ["0.5000"] * 3
    assert lines["linked"][1:9] == [
        "0.8500", "±0.0707", "0.2500", "±0.0000", "0.6000", "±0.0000", "11.5", "2e-05"
    ]  # fmt: skip
    assert lines["linked-LEAKY"][1:6] == ["1.0000", "1.0000", "1.0000", "5.0", "3e-05"]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page_of(ROWS).partition("</table>")[0])
    assert cells[:6] == ["raw", "0.5000", "0.5000", "0.5000", "", ""]
    assert cells[7:13] == [
        "linked", "0.8500 ±0.0707", "0.2500 ±0.0000", "0.6000 ±0.0000", "11.5", "2e-05"
    ]  # fmt: skip
    assert cells[14:20] == ["linked-LEAKY", "1.0000", "1.0000", "1.0000", "5.0", "3e-05"]


def test_text_and_page_warn_of_leaky_rows():
    assert report.LEAKAGE_NOTE in " ".join(text_of(ROWS).split())
    assert report.LEAKAGE_NOTE not in " ".join(text_of(ROWS[:3]).split())
    assert "at test time. They" in page_of(ROWS)
    assert "at test time. They" not in page_of(ROWS[:3])
    assert report.QUICK_NOTE in page_of((), "spikelca reproduce --quick")
    assert report.QUICK_NOTE not in page_of((), "spikelca reproduce")


def test_drivers_scale_with_the_threshold():
    one, four = (settings.MNIST.make_driver(10, threshold) for threshold in (0.05, 0.2))
    assert four.excitation == pytest.approx(4 * one.excitation)
    assert four.inhibition == pytest.approx(4 * one.inhibition)
    assert four.gain == pytest.approx(2 * one.gain)  # its square is what enters the Gram matrix


def test_spiking_codes_are_those_of_spiking_neurons():
    X = np.random.default_rng(0).random((30, 8))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    model = LinkedLCA(6, {"handwritten": 8, "printed": 8}, observe="handwritten", n_epochs=1)
    model = model.set_params(threshold=0.05, random_state=0, duration=0.4).fit(np.hstack([X, X]))
    shown = SimpleNamespace(train=X[:5], test=X[5:12])
    codes = table._spiking_codes("linked-spiking", 0, model, shown)
    circuit = model.circuit_.without_drivers().observe("handwritten")
    spiking = circuit.replace(neuron=SpikingNeuron())
    dt = copy(model).set_params(neuron="spiking").dt_
    for part, found in ((shown.train, codes.train), (shown.test, codes.test)):
        expected = spiking.simulate({"handwritten": part}, model.duration, dt).code
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(codes.test - model.transform(shown.test)).max() > 1e-4


def test_single_dictionary_has_no_contrast():
    one = settings.Settings(contrast_kappa=0.5, contrast_fraction=0.125)
    assert one.make_contrast("linked") == one.make_contrast("ordinal") == Contrast(0.5, 0.125)
    assert one.make_contrast("single") is None
    assert replace(one, contrast_fraction=0).make_contrast("linked") is None


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
    started, all_cancelled, cancel = [], threading.Event(), Future.cancel
    n_jobs = 20 * len(table.CLASSIFIERS)
    cancels = itertools.count(1)

    def cancelled(future):
        done = cancel(future)
        if next(cancels) == n_jobs - 1:
            all_cancelled.set()
        return done

    def interrupted(classifier, *_):
        started.append(classifier.name)
        # One of the two threads stops at once; the job of the other lasts until all are cancelled.
        assert len(started) == 1 or all_cancelled.wait(HANGS)
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "cancel", cancelled)
    monkeypatch.setattr(table, "score", interrupted)
    data = linked.make_linked_data(load_images("digits"))
    codes = [table.CodeSet(f"code {k}", 0, data.train, data.test) for k in range(20)]
    with pytest.raises(KeyboardInterrupt):
        table._score_all(codes, data, settings.QUICK)
    assert 1 <= len(started) <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/no/such/folder"], "no/such/folder"),
        (["--quick", "--font", "No Such Face"], "No Such Face"),
        (["--quick", "--out", "/proc/nowhere"], "nowhere"),
    ],
)
def test_failure_is_reported_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # results are written to the current folder
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


@pytest.mark.parametrize("plain", [False, True])
def test_plain_learning_has_no_contrastive_part(plain, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def make_table(data, chosen, *args, **options):
        raise Reached(chosen.contrast_fraction)

    monkeypatch.setattr(reproduce, "make_table", make_table)
    with pytest.raises(Reached) as caught:
        reproduce.reproduce_paper(out=tmp_path, plain=plain, log=lambda text: None)
    [fraction] = caught.value.args
    assert (fraction == 0) == plain


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_unit_scale_gives_pairs_of_rows_mean_squared_distance_one(scale):
    X = scale * np.random.default_rng(0).standard_normal((30, 4)) + 3
    X *= scoring.unit_scale(X)
    distance = ((X[:, None] - X) ** 2).sum(axis=2)
    assert distance.mean() == pytest.approx(1, rel=1e-9)
    assert scoring.unit_scale(np.ones((5, 2))) == 1.0

"""Figures of the paper: plotted arrays, captions and files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from quickly import quick_results

from spikelca import LinkedLCA
from spikelca.datasets import load_images
from spikelca.experiments import figures, settings
from spikelca.experiments.figures import growth
from spikelca.experiments.figures.base import new_figure, write_caption, write_figure
from spikelca.experiments.figures.clusters import choose_images, measure_clusters
from spikelca.experiments.linked import fit_kind, make_linked_data
from spikelca.experiments.table import Row, Table


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return quick_results(tmp_path_factory)


@pytest.fixture(scope="module")
def inputs():
    data = make_linked_data(load_images("digits"))
    models = {
        kind: fit_kind(kind, data, settings.QUICK, 0.05, 0)
        for kind in ("single", "linked", "ordinal")
    }
    table = Table((Row("raw", 0, 0.0, 0.0, 0.0),), {}, [], models)
    return figures.collect_inputs(table, data, settings.QUICK)


@pytest.mark.parametrize("number", range(1, 8))
def test_every_figure_has_caption_and_data(out, number):
    with Image.open(out / f"figure{number}.png") as image:
        caption = image.text["Description"]
        assert min(image.size) > 400
    assert caption.startswith(f"Figure {number}. ")
    assert "digits (scikit-learn, 8x8)" in caption
    assert "Arimo" in caption
    with np.load(out / f"figure{number}.npz", allow_pickle=False) as arrays:
        assert str(arrays["caption"]) == caption
        assert len(arrays.files) > 1


def test_no_temporary_file_is_left(out):
    suffixes = {".json", ".npz", ".png", ".html"}
    assert {path.suffix for path in out.iterdir()} <= suffixes


def test_results_contain_cluster_measures(out):
    clusters = json.loads((out / "results.json").read_text(encoding="utf-8"))["clusters"]
    panels = {(fact["code"], fact["plane"]) for fact in clusters}
    codes = ("raw", "single", "linked", "ordinal")
    assert panels == {(code, plane) for code in codes for plane in ("pca", "tsne", "full")}
    assert all(-1 <= fact["silhouette"] <= 1 and 0 <= fact["knn10"] <= 1 for fact in clusters)
    assert all(fact["n_samples"] == 200 for fact in clusters)


def test_results_contain_driver_strengths(out):
    control = json.loads((out / "results.json").read_text(encoding="utf-8"))["control"]
    assert [fact["strength"] for fact in control] == sorted(fact["strength"] for fact in control)
    assert control[-1]["own_block"] > control[0]["own_block"]


def test_ten_neighbours_exclude_the_image_itself():
    X = np.concatenate([np.arange(11), 100 + np.arange(11)])[:, None].astype(float)
    labels = np.repeat([0, 1], 11)
    labels[5] = 1  # the other ten points of its cluster belong to another class
    assert measure_clusters(X, labels, 0)["knn10"] == pytest.approx(21 / 22)


def test_distant_clusters_have_silhouette_near_one():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    X = rng.normal(size=(100, 2)) + 100 * labels[:, None]
    measured = measure_clusters(X, labels, 0)
    assert measured["silhouette"] > 0.95
    assert measured["knn10"] == 1


def test_large_image_sets_are_subsampled():
    rows = choose_images(12_000, 0)
    assert len(rows) == len(set(rows)) == 10_000
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(choose_images(500, 0), np.arange(500))


def test_figure_1_contains_atoms_of_both_modalities(inputs):
    output = figures.FIGURES[0](inputs)
    circuit = inputs.models["linked"].circuit_
    for name in ("handwritten", "printed"):
        assert np.array_equal(output.arrays[name], circuit.dictionary(name).atoms)
    assert len(output.figure.axes) == 2


def test_errors_of_figure_2_decrease_with_training(inputs):
    arrays = figures.FIGURES[1](inputs).arrays
    for name in ("error_handwritten", "error_printed"):
        assert arrays[name][-1].mean() < arrays[name][0].mean()
    assert arrays["active_printed"].shape == arrays["error_printed"].shape


def test_figure_2_learns_batches_of_the_settings(inputs, monkeypatch):
    batches, partial_fit = [], LinkedLCA.partial_fit
    monkeypatch.setattr(
        LinkedLCA, "partial_fit", lambda model, X: batches.append(X) or partial_fit(model, X)
    )
    measured = growth.learn_and_measure(inputs, np.array([1, 3, 5]))
    assert {len(values) for values in measured.values()} == {3}
    assert [len(batch) for batch in batches] == [inputs.settings.batch_size] * 5
    train = inputs.data.stack()
    order = np.random.default_rng(inputs.seed).permutation(len(train))
    rows = np.resize(order, 5 * inputs.settings.batch_size)
    np.testing.assert_array_equal(np.vstack(batches), train[rows])


def test_figure_3_marks_wrong_reconstructions(inputs):
    arrays = figures.FIGURES[2](inputs).arrays
    first, failed = arrays["rows"][:10], arrays["rows"][10:]
    assert np.array_equal(arrays["labels"][first], np.arange(10))
    assert (arrays["found"][failed] != arrays["labels"][failed]).all()


def test_figure_6_counts_every_image_once(inputs):
    arrays = figures.FIGURES[5](inputs).arrays
    assert np.allclose(arrays["confusion"].sum(axis=1), 1)
    accuracy = np.mean(arrays["winner"] == arrays["labels"])
    fractions = np.bincount(arrays["labels"]) / len(arrays["labels"])
    assert arrays["confusion"].diagonal() @ fractions == pytest.approx(accuracy)


def test_caption_and_figure_are_not_cropped(tmp_path):
    figure = new_figure(4, 3)
    figure.subplots().set_title("title")
    output = figures.FigureOutput("t", "many words " * 30, figure, {"x": np.zeros(2)})
    path = write_figure(output, 9, tmp_path)
    assert figure.texts[0].get_text().count("\n") > 3
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels[0].min() == pixels[-1].min() == pixels[:, 0].min() == pixels[:, -1].min() == 255


def test_caption_is_as_wide_as_the_axes():
    figure = new_figure(5, 3)
    figure.subplots().set_title("title")
    write_caption(figure, "of many words in lines " * 20)
    [caption] = figure.texts
    axes_box = figure.axes[0].get_tightbbox()
    caption_box = caption.get_window_extent()
    assert caption_box.y1 < axes_box.y0
    assert abs(caption_box.x0 - axes_box.x0) < 0.02 * axes_box.width
    assert 0.85 * axes_box.width < caption_box.width <= axes_box.width


def test_codes_below_pixels_are_reported():
    facts = [
        {"code": code, "plane": "tsne", "knn10": value}
        for code, value in (("raw", 0.9), ("single", 0.8), ("linked", 0.95), ("ordinal", 0.9))
    ]
    assert figures.format_clusters(facts).endswith("ordinal codes are NOT above raw pixels here")
    facts[-1]["knn10"] = 0.91
    assert figures.format_clusters(facts).endswith("ordinal codes are above raw pixels")

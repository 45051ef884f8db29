"""The paper's figures: what they are drawn from, what they say, and how they are written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from quickly import quick_results

from spikelca.datasets import load_images
from spikelca.experiments import figures, settings
from spikelca.experiments.figures.base import new_figure, write_caption, write_figure
from spikelca.experiments.figures.clusters import choose_images, measures
from spikelca.experiments.linked import fit_kind, make_linked_data
from spikelca.experiments.table import Row, Table


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return quick_results(tmp_path_factory)


@pytest.fixture(scope="module")
def evidence():
    material = make_linked_data(load_images("digits"))
    models = {
        kind: fit_kind(kind, material, settings.QUICK, 0.05, 0)
        for kind in ("single", "linked", "ordinal")
    }
    table = Table((Row("raw", 0, 0.0, 0.0, 0.0),), {}, [], models)
    return figures.collect_inputs(table, material, settings.QUICK)


@pytest.mark.parametrize("number", range(1, 8))
def test_every_figure_is_written_with_its_caption_and_the_data_behind_it(out, number):
    with Image.open(out / f"figure{number}.png") as picture:
        caption = picture.text["Description"]
        assert min(picture.size) > 400
    assert caption.startswith(f"Figure {number}. ")
    assert "digits (scikit-learn, 8x8)" in caption
    assert "Arimo" in caption
    with np.load(out / f"figure{number}.npz", allow_pickle=False) as arrays:
        assert str(arrays["caption"]) == caption
        assert len(arrays.files) > 1


def test_no_half_written_file_is_left(out):
    known = {".json", ".npz", ".png", ".html"}
    assert {path.suffix for path in out.iterdir()} <= known


def test_the_numbers_of_the_clusters_are_in_the_results(out):
    clusters = json.loads((out / "results.json").read_text(encoding="utf-8"))["clusters"]
    found = {(one["code"], one["plane"]) for one in clusters}
    codes = ("raw", "single", "linked", "ordinal")
    assert found == {(code, plane) for code in codes for plane in ("pca", "tsne", "full")}
    assert all(-1 <= one["silhouette"] <= 1 and 0 <= one["knn10"] <= 1 for one in clusters)
    assert all(one["n_samples"] == 500 for one in clusters)


def test_the_price_of_control_is_in_the_results(out):
    control = json.loads((out / "results.json").read_text(encoding="utf-8"))["control"]
    assert [one["strength"] for one in control] == sorted(one["strength"] for one in control)
    assert control[-1]["own_block"] > control[0]["own_block"]


def test_ten_neighbours_do_not_count_the_image_itself():
    X = np.concatenate([np.arange(11), 100 + np.arange(11)])[:, None].astype(float)
    labels = np.repeat([0, 1], 11)
    labels[5] = 1  # eleven points around it, and none of its own class among the other ten
    assert measures(X, labels, 0)["knn10"] == pytest.approx(21 / 22)


def test_far_clusters_have_a_silhouette_near_one():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    X = rng.normal(size=(100, 2)) + 100 * labels[:, None]
    found = measures(X, labels, 0)
    assert found["silhouette"] > 0.95
    assert found["knn10"] == 1


def test_more_images_than_worth_the_time_are_drawn_at_random_and_sorted():
    rows = choose_images(12_000, 0)
    assert len(rows) == len(set(rows)) == 10_000
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(choose_images(500, 0), np.arange(500))


def test_the_first_figure_holds_the_atoms_of_both_modalities(evidence):
    picture = figures.FIGURES[0](evidence)
    circuit = evidence.models["linked"].circuit_
    for name in ("handwritten", "printed"):
        assert np.array_equal(picture.arrays[name], circuit.dictionary(name).atoms)
    assert len(picture.figure.axes) == 2


def test_learning_lowers_the_error_that_the_second_figure_shows(evidence):
    arrays = figures.FIGURES[1](evidence).arrays
    for name in ("error_handwritten", "error_printed"):
        assert arrays[name][-1].mean() < arrays[name][0].mean()
    assert arrays["active_printed"].shape == arrays["error_printed"].shape


def test_the_third_figure_marks_exactly_what_was_recalled_wrong(evidence):
    arrays = figures.FIGURES[2](evidence).arrays
    first, failed = arrays["rows"][:10], arrays["rows"][10:]
    assert np.array_equal(arrays["labels"][first], np.arange(10))
    assert (arrays["found"][failed] != arrays["labels"][failed]).all()


def test_the_confusion_of_the_sixth_figure_counts_every_image_once(evidence):
    arrays = figures.FIGURES[5](evidence).arrays
    assert np.allclose(arrays["confusion"].sum(axis=1), 1)
    right = np.mean(arrays["winner"] == arrays["labels"])
    share = np.bincount(arrays["labels"]) / len(arrays["labels"])
    assert arrays["confusion"].diagonal() @ share == pytest.approx(right)


def test_a_caption_is_written_below_the_figure_and_nothing_is_cut(tmp_path):
    figure = new_figure(4, 3)
    figure.subplots().set_title("title")
    picture = figures.FigureOutput("t", "many words " * 30, figure, {"x": np.zeros(2)})
    path = write_figure(picture, 9, tmp_path)
    assert figure.texts[0].get_text().count("\n") > 3
    with Image.open(path) as drawn:
        pixels = np.asarray(drawn.convert("L"))
    assert pixels[0].min() == pixels[-1].min() == pixels[:, 0].min() == pixels[:, -1].min() == 255


def test_a_caption_is_as_wide_as_its_picture_and_no_wider():
    figure = new_figure(5, 3)
    figure.subplots().set_title("title")
    write_caption(figure, "of many words in lines " * 20)
    [caption] = figure.texts
    drawn = figure.axes[0].get_tightbbox()
    box = caption.get_window_extent()
    assert box.y1 < drawn.y0
    assert 0.85 * drawn.width < box.width <= drawn.width


def test_where_codes_do_not_cluster_better_than_pixels_it_is_said():
    facts = [
        {"code": code, "plane": "tsne", "knn10": value}
        for code, value in (("raw", 0.9), ("single", 0.8), ("linked", 0.95), ("ordinal", 0.9))
    ]
    assert figures.format_clusters(facts).endswith("ordinal codes do NOT lie above raw pixels here")
    facts[-1]["knn10"] = 0.91
    assert figures.format_clusters(facts).endswith("ordinal codes lie above raw pixels")

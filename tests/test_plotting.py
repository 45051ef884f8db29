"""Properties of figures; their pixels differ between machines."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from circuits import SPIKING, random_circuit, random_stimuli
from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from spikelca import LinkedLCA, OrdinalDriver
from spikelca import plotting as draw
from spikelca.cli.figures import draw_run
from spikelca.datasets import linked_bars
from spikelca.plotting.codes import dot_size
from spikelca.plotting.images import (
    block_runs,
    image_pitch,
    image_shape_of,
    scale_images,
    tile_images,
)
from spikelca.plotting.style import DIVERGING, SEQUENTIAL, colour_limits

RNG = np.random.default_rng(0)
ATOMS, POTENTIALS = RNG.random((7, 12)), RNG.random((20, 15))
POINTS, NEURONS = RNG.random((9, 2)), RNG.integers(0, 7, 20)
TIMES = np.linspace(0, 0.1, 20)
CLASSES = np.array([0, 0, 0, 1, 1, 1, -1])

FIGURES = {
    "dictionary": lambda ax: draw.draw_dictionary(
        ATOMS, (3, 4), ax, neuron_classes=CLASSES, title="title"
    ),
    "membrane": lambda ax: draw.draw_membrane(
        TIMES, POTENTIALS, ax, threshold=0.2, title="title"
    ),
    "raster": lambda ax: draw.draw_raster(
        TIMES, NEURONS, ax, neuron_classes=CLASSES, title="title"
    ),
    "code": lambda ax: draw.draw_code(ATOMS[:, 0], ax, neuron_classes=CLASSES, title="title"),
    "codes": lambda ax: draw.draw_code(ATOMS.T, ax, neuron_classes=CLASSES, title="title"),
    "energy": lambda ax: draw.draw_energy(TIMES, {"a": TIMES, "b": TIMES + 1}, ax, title="title"),
    "blocks": lambda ax: draw.draw_blocks(np.eye(3), ax, title="title"),
    "embedding": lambda ax: draw.draw_embedding(
        POINTS, np.arange(9) % 3, ax, note="note", title="title"
    ),
    "recall": lambda ax: draw.draw_recall(
        [ATOMS, ATOMS], ["observed", "recalled"], (3, 4), ax, wrong=CLASSES < 0, title="title"
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def fitted():
    bars = linked_bars(n_samples=400, size=4, random_state=0)
    X = np.hstack([bars.X["bars"], bars.X["marks"]])
    y = (bars.X["bars"][:, :8].sum(axis=1) > bars.X["bars"][:, 8:].sum(axis=1)).astype(int)
    driver = OrdinalDriver(2, excitation=0.0, inhibition=0.05)
    lca = LinkedLCA(
        8, {"bars": 16, "marks": 24}, observe="bars", driver=driver, n_epochs=3, batch_size=50,
        random_state=0,
    )  # fmt: skip
    return lca.fit(X, y), bars.X["bars"], y


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_on_given_axes(name):
    ax = Figure(layout="constrained").subplots()
    assert FIGURES[name](ax) is ax
    assert ax.get_title() == "title"
    ax.figure.canvas.draw()


@pytest.mark.parametrize("name", FIGURES)
def test_pyplot_is_unused_with_given_axes(name, monkeypatch):
    ax = Figure().subplots()
    for function in ("gca", "gcf", "subplots", "figure", "sca"):
        monkeypatch.delattr(pyplot, function)
    FIGURES[name](ax)


@pytest.mark.parametrize("name", FIGURES)
def test_new_figure_is_made_without_axes(name):
    before = set(pyplot.get_fignums())
    ax = FIGURES[name](None)
    assert isinstance(ax, Axes)
    assert len(set(pyplot.get_fignums()) - before) == 1


@pytest.mark.parametrize("name", FIGURES)
def test_inputs_are_not_modified(name):
    atoms = ATOMS.copy()
    FIGURES[name](Figure().subplots())
    assert np.array_equal(ATOMS, atoms)


@pytest.mark.parametrize("name", ["membrane", "raster", "code", "codes", "energy", "blocks"])
def test_axes_have_labels(name):
    ax = FIGURES[name](Figure().subplots())
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_nonnegative_values_use_sequential_colours():
    image = draw.draw_dictionary(ATOMS, (3, 4)).images[0]
    assert image.get_cmap().name == SEQUENTIAL
    assert image.get_clim()[0] == 0
    assert colormaps[SEQUENTIAL](0.0)[:3] == (1, 1, 1)


def test_signed_values_use_diverging_colours():
    image = draw.draw_code(np.array([[-0.2, 0.5]])).images[0]
    assert image.get_cmap().name == DIVERGING
    assert image.get_clim() == (-0.5, 0.5)
    assert min(colormaps[DIVERGING](0.5)[:3]) > 0.95


def test_image_of_zeros_has_colour_limits():
    assert colour_limits(np.zeros((2, 2)))["vmax"] > 0


def test_atoms_are_tiled_row_by_row():
    tiled = tile_images(ATOMS, (3, 4), 3)
    assert tiled.shape == (3 * 4 - 1, 3 * 5 - 1)
    assert np.array_equal(tiled[4:7, 5:9], ATOMS[4].reshape(3, 4))
    assert np.isnan(tiled[3]).all()
    assert np.isnan(tiled[8:, 5:]).all()


def test_images_are_scaled_by_their_largest_value():
    images = scale_images(np.array([[0.0, 2.0], [-4.0, 1.0], [0.0, 0.0]]))
    assert np.array_equal(np.abs(images).max(axis=1), [1, 1, 0])
    assert images[1, 0] == -1


def test_blocks_are_framed_in_class_colours():
    ax = draw.draw_dictionary(ATOMS, (3, 4), neuron_classes=CLASSES, n_columns=3)
    frames = {to_rgb(patch.get_edgecolor()) for patch in ax.patches}
    assert frames == {to_rgb(draw.colour_of(number)) for number in (0, 1, -1)}
    assert [text.get_text() for text in ax.texts] == ["0", "1", "free"]
    assert block_runs(CLASSES, 4)[:2] == [(0, (0, 0, 2)), (1, (0, 3, 3))]


def _simulate_deuteranopia(colour):
    """Linear RGB as seen with green blindness (Vienot, Brettel and Mollon 1999)."""
    linear = np.array(to_rgb(colour)) ** 2.2
    matrix = np.array([[0.29275, 0.70725, -0.02978], [0.29275, 0.70725, 0.02978], [0.0, 0.0, 1.0]])
    return np.clip(matrix[[0, 0, 2]] @ linear, 0, 1)


def test_class_colours_differ_with_green_blindness():
    colours = [_simulate_deuteranopia(colour) for colour in draw.CLASS_COLOURS]
    differences = [np.abs(a - b).max() for n, a in enumerate(colours) for b in colours[:n]]
    assert min(differences) > 0.02


def test_legend_lists_highest_potentials_only():
    u = np.tile(np.arange(15.0), (20, 1))
    legend = draw.draw_membrane(TIMES, u, n_coloured=3).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "neuron 14",
        "neuron 13",
        "neuron 12",
    ]


def test_times_are_shown_in_milliseconds():
    spikes = draw.draw_raster([0.25], [1]).collections[0].get_offsets()
    assert np.allclose(spikes, [[250, 1]])


def test_raster_without_spikes_is_empty():
    assert draw.draw_raster([], np.zeros(0, int), n_neurons=4).get_ylim() == (-0.5, 3.5)


def test_energy_above_optimum_has_logarithmic_scale():
    ax = draw.draw_energy([0, 1], [4.0, 2.2], optimum=2.0)
    assert np.allclose(ax.lines[0].get_ydata(), [1.0, 0.1])
    assert "optimum" in ax.get_ylabel()


def test_class_number_is_at_cluster_centre():
    ax = draw.draw_embedding([[0, 0], [2, 2], [9, 9]], [3, 3, 7])
    assert [(text.get_text(), text.get_position()) for text in ax.texts] == [
        ("3", (1, 1)),
        ("7", (9, 9)),
    ]


def test_class_number_is_inside_larger_cluster():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.random((30, 2)), 10 + rng.random((20, 2))])
    [text] = draw.draw_embedding(points, np.zeros(50, int)).texts
    assert max(text.get_position()) < 1


def test_dots_are_smaller_for_many_points():
    assert dot_size(10) > dot_size(1_000) > dot_size(10_000) > 0


def test_colour_bar_has_height_of_image():
    ax = draw.draw_blocks(np.eye(3), Figure(figsize=(4, 9)).subplots())
    ax.figure.draw_without_rendering()
    [bar] = ax.child_axes
    assert bar.get_window_extent().height == pytest.approx(ax.get_window_extent().height)


def test_frames_of_blocks_do_not_touch():
    ax = draw.draw_dictionary(ATOMS[:6], (3, 4), neuron_classes=np.repeat([0, 1], 3), n_columns=3)
    upper, lower = (patch.get_bbox() for patch in ax.patches)
    assert upper.y1 < lower.y0


def test_frame_encloses_the_images_of_its_block():
    ax = draw.draw_dictionary(ATOMS[:3], (3, 4), neuron_classes=[0, 0, 1], n_columns=3)
    left, right = (patch.get_bbox() for patch in ax.patches)
    pitch = image_pitch((3, 4))[1]
    assert left.x0 < -0.5
    assert pitch + 3.5 < left.x1 < right.x0 < 2 * pitch - 0.5
    assert 2 * pitch + 3.5 < right.x1 < 3 * pitch
    assert left.y0 == right.y0 < -0.5
    assert left.y1 == right.y1 > 2.5


@pytest.mark.parametrize(
    ("n_pixels", "given", "shape"),
    [(16, None, (4, 4)), (12, None, (1, 12)), (1, None, (1, 1)), (16, (2, 8), (2, 8))],
)
def test_images_are_square_if_possible_and_else_lines(n_pixels, given, shape):
    assert image_shape_of(n_pixels, given) == shape


def test_classes_and_all_atoms_are_within_the_axes():
    """Atoms of 6 x 6 pixels in rows of three with a gap of one."""
    ax = draw.draw_dictionary(
        np.eye(7, 36), neuron_classes=[0, 0, 0, 1, 1, 1, 2], n_columns=3
    )  # fmt: skip
    assert ax.images[0].get_array().shape == (20, 20)
    assert [text.xy[1] for text in ax.texts] == [2.5, 9.5, 16.5]
    bottom, top = ax.get_ylim()
    assert ax.get_xlim()[0] < -0.5 < 19.5 < ax.get_xlim()[1]
    assert top < -0.5 < 19.5 < bottom


@pytest.mark.parametrize("codes", [ATOMS[:, 0], ATOMS.T], ids=["bars", "image"])
def test_classes_are_written_at_the_middle_of_their_blocks(codes):
    ax = draw.draw_code(codes, neuron_classes=CLASSES)
    [top] = [axes for axes in ax.child_axes if axes.xaxis.get_ticks_position() == "top"]
    assert [text.get_text() for text in top.get_xticklabels()] == ["0", "1"]  # not the free neuron
    np.testing.assert_allclose(top.get_xticks(), [1, 4])


def test_recall_names_rows_and_marks_columns_at_their_middle():
    """Images of 6 x 6 pixels with a gap of one."""
    images = np.ones((5, 36))
    wrong = [True, False, False, True, False]
    ax = draw.draw_recall([images] * 3, ["a", "b", "c"], wrong=wrong)
    np.testing.assert_allclose(ax.get_yticks(), [2.5, 9.5, 16.5])
    np.testing.assert_allclose(ax.get_xticks(), [2.5, 23.5])


def test_recall_figure_grows_with_images_and_rows():
    sizes = [
        draw.draw_recall([np.ones((n, 36))] * rows, ["name"] * rows).figure.get_size_inches()
        for n, rows in [(5, 2), (10, 2), (5, 4)]
    ]
    (width, height), more_images, more_rows = sizes
    assert more_images[0] > 1.5 * width
    assert more_rows[1] > 1.5 * height


def test_wrong_reconstructions_are_marked():
    ax = draw.draw_recall([np.eye(4)] * 2, ["a", "b"], wrong=[False, True, False, False])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["✗"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw.draw_dictionary(ATOMS, (5, 5)), "must have 12 pixels"),
        (lambda: draw.draw_dictionary(ATOMS[0]), "shape"),
        (lambda: draw.draw_raster([0.1], [1, 2]), "1 times and 2 neurons"),
        (lambda: draw.draw_embedding(ATOMS, np.zeros(7)), "(n_samples, 2)"),
        (lambda: draw.draw_recall([ATOMS], ["a", "b"]), "one name each"),
    ],
)
def test_invalid_shapes_raise(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert message in str(error.value)


def test_dictionary_display_frames_blocks(fitted):
    lca, _, _ = fitted
    display = draw.DictionaryDisplay.from_estimator(lca, "bars")
    assert display.ax_.get_title() == "bars"
    assert len(display.ax_.patches) == 2
    again = display.plot(Figure().subplots())
    assert again.figure_ is again.ax_.figure


def test_blocks_display_shows_shares(fitted):
    lca, X, y = fitted
    display = draw.BlocksDisplay.from_estimator(lca, X, y)
    assert display.shares.shape == (2, 2)
    assert np.allclose(display.shares.sum(axis=1), 1)


def test_blocks_display_requires_ordinal_driver(fitted):
    _, X, _ = fitted
    plain = LinkedLCA(4, random_state=0, n_epochs=1).fit(X)
    with pytest.raises(ValueError, match="no ordinal driver"):
        draw.BlocksDisplay.from_estimator(plain, X, np.zeros(len(X)))


def test_recall_display_labels_its_rows(fitted):
    _, X, _ = fitted
    plain = LinkedLCA(8, {"a": 16, "b": 16}, observe="a", random_state=0, n_epochs=1)
    plain.fit(np.hstack([X, X[:, ::-1]]))
    display = draw.RecallDisplay.from_estimator(plain, X[:5], "b", expected=X[:5, ::-1])
    names = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert names == ["observed", "recalled b", "expected b"]


def test_background_of_nonnegative_atoms_is_grey():
    assert draw.draw_dictionary(ATOMS, (3, 4)).get_facecolor()[:3] != (1, 1, 1)
    assert draw.draw_dictionary(ATOMS - 0.5, (3, 4)).get_facecolor()[:3] == (1, 1, 1)


def test_simulation_is_drawn_with_its_spikes():
    circuit = random_circuit(SPIKING)
    X = random_stimuli(circuit, n_samples=3, size=0.5)
    run = circuit.simulate(X, 0.1, 4e-4, record=("u", "spikes"))
    alone = circuit.simulate(X, 0.1, 4e-4, record=("u",))
    membrane, raster = draw_run(run, 0.1, "three").axes
    assert membrane.get_title() == "three"
    own = run.spikes.sample == 0
    assert 0 < own.sum() < len(own)
    drawn = raster.collections[0].get_offsets()
    np.testing.assert_allclose(drawn[:, 0], run.spikes.step[own] * 0.4)
    np.testing.assert_array_equal(drawn[:, 1], run.spikes.neuron[own])
    assert len(draw_run(alone, 0.1, "three").axes) == 1
    images = {"image": np.eye(4)[:1], "from code": np.eye(4)[1:2]}
    axes = draw_run(run, 0.1, "three", images).axes
    pictures = {ax.get_title(): ax.images[0].get_array() for ax in axes if ax.images}
    assert len(axes) == 4
    assert list(pictures) == list(images)
    for name, image in images.items():
        np.testing.assert_array_equal(pictures[name].ravel(), image[0])

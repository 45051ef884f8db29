"""Pictures, held to what they must show; pixels differ between machines, properties do not."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from spikelca import LinkedLCA, OrdinalDriver
from spikelca import plotting as draw
from spikelca.datasets import linked_bars
from spikelca.plotting.codes import dot_size
from spikelca.plotting.images import block_runs, scale_images, tile_images
from spikelca.plotting.style import DIVERGING, SEQUENTIAL, colour_limits

RNG = np.random.default_rng(0)
ATOMS, POTENTIALS = RNG.random((7, 12)), RNG.random((20, 15))
POINTS, NEURONS = RNG.random((9, 2)), RNG.integers(0, 7, 20)
TIMES = np.linspace(0, 0.1, 20)
CLASSES = np.array([0, 0, 0, 1, 1, 1, -1])

PICTURES = {
    "dictionary": lambda ax: draw.draw_dictionary(ATOMS, (3, 4), ax, neuron_classes=CLASSES, title="title"),
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
        [ATOMS, ATOMS], ["seen", "recalled"], (3, 4), ax, wrong=CLASSES < 0, title="title"
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
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


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_on_the_axes_that_are_given(name):
    ax = Figure(layout="constrained").subplots()
    assert PICTURES[name](ax) is ax
    assert ax.get_title() == "title"
    ax.figure.canvas.draw()


@pytest.mark.parametrize("name", PICTURES)
def test_given_axes_are_drawn_on_without_pyplot(name, monkeypatch):
    ax = Figure().subplots()
    for function in ("gca", "gcf", "subplots", "figure", "sca"):
        monkeypatch.delattr(pyplot, function)
    PICTURES[name](ax)


@pytest.mark.parametrize("name", PICTURES)
def test_without_axes_a_figure_of_its_own_is_made(name):
    before = set(pyplot.get_fignums())
    ax = PICTURES[name](None)
    assert isinstance(ax, Axes)
    assert len(set(pyplot.get_fignums()) - before) == 1


@pytest.mark.parametrize("name", PICTURES)
def test_no_picture_changes_what_it_was_given(name):
    atoms = ATOMS.copy()
    PICTURES[name](Figure().subplots())
    assert np.array_equal(ATOMS, atoms)


@pytest.mark.parametrize("name", ["membrane", "raster", "code", "codes", "energy", "blocks"])
def test_axes_with_numbers_say_what_they_count(name):
    ax = PICTURES[name](Figure().subplots())
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_what_cannot_be_negative_is_drawn_from_white_to_black():
    image = draw.draw_dictionary(ATOMS, (3, 4)).images[0]
    assert image.get_cmap().name == SEQUENTIAL
    assert image.get_clim()[0] == 0
    assert colormaps[SEQUENTIAL](0.0)[:3] == (1, 1, 1)


def test_what_can_be_negative_is_drawn_around_a_white_zero():
    image = draw.draw_code(np.array([[-0.2, 0.5]])).images[0]
    assert image.get_cmap().name == DIVERGING
    assert image.get_clim() == (-0.5, 0.5)
    assert min(colormaps[DIVERGING](0.5)[:3]) > 0.95


def test_an_image_of_nothing_has_limits_too():
    assert colour_limits(np.zeros((2, 2)))["vmax"] > 0


def test_every_atom_stands_where_its_number_says():
    laid = tile_images(ATOMS, (3, 4), 3)
    assert laid.shape == (3 * 4 - 1, 3 * 5 - 1)
    assert np.array_equal(laid[4:7, 5:9], ATOMS[4].reshape(3, 4))
    assert np.isnan(laid[3]).all()
    assert np.isnan(laid[8:, 5:]).all()


def test_each_atom_is_scaled_by_its_own_size_and_a_blank_one_stays_blank():
    images = scale_images(np.array([[0.0, 2.0], [-4.0, 1.0], [0.0, 0.0]]))
    assert np.array_equal(np.abs(images).max(axis=1), [1, 1, 0])
    assert images[1, 0] == -1


def test_blocks_are_framed_row_by_row_in_the_colour_of_their_class():
    ax = draw.draw_dictionary(ATOMS, (3, 4), neuron_classes=CLASSES, n_columns=3)
    frames = {to_rgb(patch.get_edgecolor()) for patch in ax.patches}
    assert frames == {to_rgb(draw.colour_of(number)) for number in (0, 1, -1)}
    assert [text.get_text() for text in ax.texts] == ["0", "1", "free"]
    assert block_runs(CLASSES, 4)[:2] == [(0, (0, 0, 2)), (1, (0, 3, 3))]


def _seen_by_deuteranopes(colour):
    """Linear RGB as a green-blind eye sees it (Vienot, Brettel and Mollon 1999)."""
    linear = np.array(to_rgb(colour)) ** 2.2
    sight = np.array([[0.29275, 0.70725, -0.02978], [0.29275, 0.70725, 0.02978], [0.0, 0.0, 1.0]])
    return np.clip(sight[[0, 0, 2]] @ linear, 0, 1)


def test_no_two_class_colours_are_one_to_a_green_blind_eye():
    seen = [_seen_by_deuteranopes(colour) for colour in draw.CLASS_COLOURS]
    apart = [np.abs(a - b).max() for n, a in enumerate(seen) for b in seen[:n]]
    assert min(apart) > 0.02


def test_only_the_strongest_membranes_get_a_name():
    u = np.tile(np.arange(15.0), (20, 1))
    legend = draw.draw_membrane(TIMES, u, most=3).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "neuron 14",
        "neuron 13",
        "neuron 12",
    ]


def test_times_are_shown_in_milliseconds():
    spikes = draw.draw_raster([0.25], [1]).collections[0].get_offsets()
    assert np.allclose(spikes, [[250, 1]])


def test_a_raster_without_spikes_is_an_empty_picture():
    assert draw.draw_raster([], np.zeros(0, int), n_neurons=4).get_ylim() == (-0.5, 3.5)


def test_energy_above_the_optimum_stands_on_a_logarithmic_scale():
    ax = draw.draw_energy([0, 1], [4.0, 2.2], optimum=2.0)
    assert np.allclose(ax.lines[0].get_ydata(), [1.0, 0.1])
    assert "optimum" in ax.get_ylabel()


def test_every_class_is_written_at_the_heart_of_its_points():
    ax = draw.draw_embedding([[0, 0], [2, 2], [9, 9]], [3, 3, 7])
    assert [(text.get_text(), text.get_position()) for text in ax.texts] == [
        ("3", (1, 1)),
        ("7", (9, 9)),
    ]


def test_a_class_of_two_clusters_is_named_inside_the_larger_one():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.random((30, 2)), 10 + rng.random((20, 2))])
    [text] = draw.draw_embedding(points, np.zeros(50, int)).texts
    assert max(text.get_position()) < 1


def test_many_dots_are_smaller_than_few():
    assert dot_size(10) > dot_size(1_000) > dot_size(10_000) > 0


def test_a_colour_bar_is_as_high_as_its_image():
    ax = draw.draw_blocks(np.eye(3), Figure(figsize=(4, 9)).subplots())
    ax.figure.draw_without_rendering()
    [bar] = ax.child_axes
    assert bar.get_window_extent().height == pytest.approx(ax.get_window_extent().height)


def test_the_frames_of_two_blocks_do_not_touch():
    ax = draw.draw_dictionary(ATOMS[:6], (3, 4), neuron_classes=np.repeat([0, 1], 3), n_columns=3)
    upper, lower = (patch.get_bbox() for patch in ax.patches)
    assert upper.y1 < lower.y0


def test_wrong_recalls_are_marked_below_their_column():
    ax = draw.draw_recall([np.eye(4)] * 2, ["a", "b"], wrong=[False, True, False, False])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["✗"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw.draw_dictionary(ATOMS, (5, 5)), "25 pixels; the rows hold 12"),
        (lambda: draw.draw_dictionary(ATOMS[0]), "shape"),
        (lambda: draw.draw_raster([0.1], [1, 2]), "1 times and 2 neurons"),
        (lambda: draw.draw_embedding(ATOMS, np.zeros(7)), "(n_samples, 2)"),
        (lambda: draw.draw_recall([ATOMS], ["a", "b"]), "one name each"),
    ],
)
def test_what_cannot_be_drawn_says_what_was_awaited(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert message in str(error.value)


def test_a_display_draws_the_dictionary_of_an_estimator_with_its_blocks(fitted):
    lca, _, _ = fitted
    display = draw.DictionaryDisplay.from_estimator(lca, "bars")
    assert display.ax_.get_title() == "bars"
    assert len(display.ax_.patches) == 2
    again = display.plot(Figure().subplots())
    assert again.figure_ is again.ax_.figure


def test_a_display_draws_the_order_of_an_ordinal_code(fitted):
    lca, X, y = fitted
    display = draw.BlocksDisplay.from_estimator(lca, X, y)
    assert display.shares.shape == (2, 2)
    assert np.allclose(display.shares.sum(axis=1), 1)


def test_a_code_without_a_driver_has_no_blocks_to_draw(fitted):
    _, X, _ = fitted
    plain = LinkedLCA(4, random_state=0, n_epochs=1).fit(X)
    with pytest.raises(ValueError, match="no ordinal driver"):
        draw.BlocksDisplay.from_estimator(plain, X, np.zeros(len(X)))


def test_a_display_draws_what_is_recalled(fitted):
    _, X, _ = fitted
    plain = LinkedLCA(8, {"a": 16, "b": 16}, observe="a", random_state=0, n_epochs=1)
    plain.fit(np.hstack([X, X[:, ::-1]]))
    display = draw.RecallDisplay.from_estimator(plain, X[:5], "b", expected=X[:5, ::-1])
    names = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert names == ["seen", "recalled b", "expected b"]


def test_atoms_that_are_white_at_zero_stand_apart_on_grey():
    assert draw.draw_dictionary(ATOMS, (3, 4)).get_facecolor()[:3] != (1, 1, 1)
    assert draw.draw_dictionary(ATOMS - 0.5, (3, 4)).get_facecolor()[:3] == (1, 1, 1)

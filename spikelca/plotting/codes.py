"""Figures of codes, of the activity of their blocks, and of their embedding in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from spikelca.plotting.style import (
    GREY,
    TEXT_COLOUR,
    add_colour_bar,
    as_neuron_classes,
    check_array,
    colour_limits,
    get_axes,
    get_colours,
    hide_spines,
    set_title,
)

MAX_POINTS = 500
"""Maximum number of points from which the centre of a cluster is computed."""


def draw_code(
    codes: ArrayLike,
    ax: Axes | None = None,
    *,
    neuron_classes: ArrayLike | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one code as bars, or many as an image with one row per sample.

    Parameters
    ----------
    codes : (n_neurons,) or (n_samples, n_neurons)
        Codes.
    ax : Axes, optional
        Axes to draw on (default: new figure).
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron, for the colour of bars or for lines between blocks.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Examples
    --------
    >>> draw_code([0.0, 0.7, 0.0]).get_ylabel()
    'activity a'
    """
    values = check_array(codes, "codes", 1, 2)
    classes = as_neuron_classes(neuron_classes)
    ax = get_axes(ax, (6.0, 2.8))
    (_draw_bars if values.ndim == 1 else _draw_image)(ax, values, classes)
    ax.set_xlabel("neuron")
    return set_title(ax, title)


def _draw_bars(ax: Axes, code: NDArray[Any], neuron_classes: NDArray[Any] | None) -> None:
    active = np.flatnonzero(code)
    ax.vlines(active, 0, code[active], colors=get_colours(neuron_classes, active), linewidth=1.5)
    ax.axhline(0, color=GREY, linewidth=0.5)
    ax.set(ylabel="activity a", xlim=(-0.5, len(code) - 0.5))
    if neuron_classes is not None:
        _label_blocks(ax, neuron_classes)
    hide_spines(ax)


def _draw_image(ax: Axes, codes: NDArray[Any], neuron_classes: NDArray[Any] | None) -> None:
    image = ax.imshow(codes, aspect="auto", interpolation="nearest", **colour_limits(codes))
    ax.set_ylabel("sample")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    add_colour_bar(ax, image, "activity a")
    if neuron_classes is not None:
        _label_blocks(ax, neuron_classes)


def _label_blocks(ax: Axes, neuron_classes: NDArray[Any]) -> None:
    """Draw a thin line at the end of each block, and write its class above."""
    edges = np.flatnonzero(np.diff(neuron_classes)) + 0.5
    for edge in edges:
        ax.axvline(edge, color=GREY, linewidth=0.5)
    numbers = [number for number in np.unique(neuron_classes) if number >= 0]
    middles = [np.flatnonzero(neuron_classes == number).mean() for number in numbers]
    top = ax.secondary_xaxis("top")
    top.set_xticks(middles, [str(number) for number in numbers])
    top.tick_params(length=0)
    top.spines["top"].set_visible(False)


def draw_blocks(
    shares: ArrayLike,
    ax: Axes | None = None,
    *,
    classes: Sequence[Any] | None = None,
    columns: str = "block",
    title: str | None = None,
) -> Axes:
    """Draw the shares of blocks in each class as a matrix, with percentages in its cells.

    Parameters
    ----------
    shares : (n_classes, n_blocks)
        Shares in [0, 1], one row per class, as from `spikelca.metrics.block_selectivity`.
    ax : Axes, optional
        Axes to draw on (default: new figure).
    classes : sequence, optional
        Names of the classes (default: their numbers).
    columns : str, default="block"
        Label of the columns.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = draw_blocks([[0.9, 0.1], [0.2, 0.8]])
    >>> [text.get_text() for text in ax.texts]
    ['90', '10', '20', '80']
    """
    table = check_array(shares, "shares", 2)
    ax = get_axes(ax, (4.8, 4.2))
    image = ax.imshow(table, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(table):
        if round(100 * share) > 0:
            colour = "white" if share > 0.5 else TEXT_COLOUR
            text = f"{100 * share:.0f}"
            ax.text(column, row, text, ha="center", va="center", color=colour, size="x-small")
    names = list(range(len(table)) if classes is None else classes)
    ax.set_xticks(range(table.shape[1]), [str(name) for name in names[: table.shape[1]]])
    ax.set_yticks(range(len(table)), [str(name) for name in names])
    ax.set(xlabel=columns, ylabel="class of the image")
    add_colour_bar(ax, image, "share (cells in per cent)", format=PercentFormatter(1.0))
    return set_title(ax, title)


def draw_embedding(
    points: ArrayLike,
    labels: ArrayLike,
    ax: Axes | None = None,
    *,
    note: str | None = None,
    title: str | None = None,
) -> Axes:
    """Draw points of a plane in the colour of their class, with its number at the centre.

    Parameters
    ----------
    points : (n_samples, 2)
        Points, as from PCA or t-SNE of codes.
    labels : (n_samples,) int
        Class of each point.
    ax : Axes, optional
        Axes to draw on (default: new figure).
    note : str, optional
        Text below the axes.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the numbers of points and labels differ, or points are not in a plane.

    Examples
    --------
    >>> ax = draw_embedding([[0, 0], [1, 1], [4, 4]], [0, 0, 1])
    >>> [text.get_text() for text in ax.texts]
    ['0', '1']
    """
    plane, classes = check_array(points, "points", 2), check_array(labels, "labels", 1)
    if plane.shape != (len(classes), 2):
        raise ValueError(
            "`points` must have shape (n_samples, 2) and `labels` shape (n_samples,), got "
            f"{plane.shape} and {classes.shape}."
        )
    ax = get_axes(ax, (4.2, 4.2))
    dots: dict[str, Any] = {"s": dot_size(len(plane)), "linewidths": 0, "alpha": 0.8}
    ax.scatter(plane[:, 0], plane[:, 1], c=get_colours(classes), rasterized=True, **dots)
    for number in np.unique(classes):
        x, y = cluster_centre(plane[classes == number])
        text = ax.text(x, y, str(number), ha="center", va="center", weight="bold")
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    ax.set(xticks=[], yticks=[])
    if note:
        ax.set_xlabel(note, size="small")
    return set_title(ax, title)


def dot_size(n_points: int) -> float:
    """Compute the area of a dot in square points, smaller for many points."""
    return float(np.clip(4_000 / max(n_points, 1), 1.5, 12.0))


def cluster_centre(points: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the mean of the most compact half of some points.

    It is inside a cluster even if there are several.

    Examples
    --------
    >>> import numpy as np
    >>> cluster_centre(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 1.0], [9.0, 9.0]]))
    array([0., 1.])
    """
    if len(points) > MAX_POINTS:
        points = points[:: -(-len(points) // MAX_POINTS)]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    nearest_half = np.argsort(distances, axis=1)[:, : len(points) // 2 + 1]
    radii = np.take_along_axis(distances, nearest_half, axis=1).max(axis=1)
    return np.asarray(points[nearest_half[radii.argmin()]].mean(axis=0), dtype=np.float64)

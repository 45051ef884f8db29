"""What a code looks like: itself, the order of its blocks, its place among the others."""

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
"""Points of a class that are enough to find its heart."""


def draw_code(
    codes: ArrayLike,
    ax: Axes | None = None,
    *,
    neuron_classes: ArrayLike | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one code as bars, or many as an image with one line for each.

    Parameters
    ----------
    codes : (n_neurons,) or (n_samples, n_neurons)
    ax : Axes, optional
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron: bars take its colour, an image gets a line between blocks.
    title : str, optional

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
    drawn = ax.imshow(codes, aspect="auto", interpolation="nearest", **colour_limits(codes))
    ax.set_ylabel("sample")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    add_colour_bar(ax, drawn, "activity a")
    if neuron_classes is not None:
        _label_blocks(ax, neuron_classes)


def _label_blocks(ax: Axes, neuron_classes: NDArray[Any]) -> None:
    """A thin line at the end of each block, and its class above."""
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
    """Draw how the samples of each class fall into blocks, with every share written in its cell.

    Parameters
    ----------
    shares : (n_classes, n_blocks)
        Rows: class of the sample. Shares in [0, 1], such as `spikelca.metrics.block_selectivity`.
    ax : Axes, optional
    classes : sequence, optional
        Names of the classes; their numbers unless told.
    columns : str, default="block"
        What a column is.
    title : str, optional

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
    drawn = ax.imshow(table, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(table):
        if round(100 * share) > 0:
            colour = "white" if share > 0.5 else TEXT_COLOUR
            text = f"{100 * share:.0f}"
            ax.text(column, row, text, ha="center", va="center", color=colour, size="x-small")
    names = list(range(len(table)) if classes is None else classes)
    ax.set_xticks(range(table.shape[1]), [str(name) for name in names[: table.shape[1]]])
    ax.set_yticks(range(len(table)), [str(name) for name in names])
    ax.set(xlabel=columns, ylabel="class of the image")
    add_colour_bar(ax, drawn, "share (cells in per cent)", format=PercentFormatter(1.0))
    return set_title(ax, title)


def draw_embedding(
    points: ArrayLike,
    labels: ArrayLike,
    ax: Axes | None = None,
    *,
    note: str | None = None,
    title: str | None = None,
) -> Axes:
    """Draw points of a plane in the colour of their class, with the class written at its heart.

    Parameters
    ----------
    points : (n_samples, 2)
        Such as PCA or t-SNE of codes.
    labels : (n_samples,) int
        Class numbers.
    ax : Axes, optional
    note : str, optional
        Numbers that belong to the picture; written below it.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one label for each point, or points do not lie in a plane.

    Examples
    --------
    >>> ax = draw_embedding([[0, 0], [1, 1], [4, 4]], [0, 0, 1])
    >>> [text.get_text() for text in ax.texts]
    ['0', '1']
    """
    plane, classes = check_array(points, "points", 2), check_array(labels, "labels", 1)
    if plane.shape != (len(classes), 2):
        raise ValueError(
            f"points has shape {plane.shape} and labels {classes.shape}; (n_samples, 2) and one "
            "label for each were awaited."
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
    """Area of a dot in square points: many of them stay apart, few can be seen."""
    return float(np.clip(4_000 / max(n_points, 1), 1.5, 12.0))


def cluster_centre(points: NDArray[Any]) -> NDArray[np.float64]:
    """Middle of the closest half of some points: inside a cluster even if there are several.

    Examples
    --------
    >>> import numpy as np
    >>> cluster_centre(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 1.0], [9.0, 9.0]]))
    array([0., 1.])
    """
    if len(points) > MAX_POINTS:
        points = points[:: -(-len(points) // MAX_POINTS)]
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    half = np.argsort(apart, axis=1)[:, : len(points) // 2 + 1]
    reach = np.take_along_axis(apart, half, axis=1).max(axis=1)
    return np.asarray(points[half[reach.argmin()]].mean(axis=0), dtype=np.float64)

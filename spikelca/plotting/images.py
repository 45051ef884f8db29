"""Figures of images: atoms of a dictionary, and reconstructions.

Small images are tiled into a large one. The gaps between them, about a ninth of an image wide,
contain NaN and stay white.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from spikelca.plotting.style import (
    LIGHT_GREY,
    SEQUENTIAL,
    check_array,
    colour_limits,
    colour_of,
    get_axes,
    hide_axes,
    set_title,
)


def gap_width(shape: tuple[int, int]) -> int:
    """Compute the number of pixels between two images, at least one."""
    return max(min(shape) // 9, 1)


def image_pitch(shape: tuple[int, int]) -> tuple[int, int]:
    """Compute height and width of an image with the gap after it."""
    return shape[0] + gap_width(shape), shape[1] + gap_width(shape)


def image_shape_of(n_pixels: int, image_shape: tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width of images: as given, else a square if possible, else one line.

    Raises
    ------
    ValueError
        If the pixels do not fill the shape.
    """
    side = math.isqrt(n_pixels)
    shape = image_shape or ((side, side) if side * side == n_pixels else (1, n_pixels))
    if shape[0] * shape[1] != n_pixels:
        raise ValueError(
            f"`image_shape` must have {n_pixels} pixels, as the rows do, got {shape} with "
            f"{shape[0] * shape[1]} pixels. Pass height and width of one image."
        )
    return shape


def tile_images(
    images: NDArray[Any], shape: tuple[int, int], n_columns: int
) -> NDArray[np.float64]:
    """Tile images row by row into one, with NaN between them and in empty positions."""
    gap, (height, width) = gap_width(shape), image_pitch(shape)
    n_rows = -(-len(images) // n_columns)
    tiled = np.full((n_rows * height - gap, n_columns * width - gap), np.nan)
    for number, image in enumerate(images):
        top, left = (number // n_columns) * height, (number % n_columns) * width
        tiled[top : top + shape[0], left : left + shape[1]] = image.reshape(shape)
    return tiled


def scale_images(images: NDArray[Any]) -> NDArray[np.float64]:
    """Divide each image by its largest absolute value."""
    peak = np.abs(images).max(axis=1, keepdims=True)
    return np.asarray(np.divide(images, peak, out=np.zeros(images.shape), where=peak > 0))


def draw_dictionary(
    atoms: ArrayLike,
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
    *,
    n_columns: int | None = None,
    neuron_classes: ArrayLike | None = None,
    each: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw the atoms of one dictionary as images, in rows from the upper left.

    Parameters
    ----------
    atoms : (n_neurons, n_inputs)
        Atoms, as ``circuit.dictionary(name).atoms``.
    image_shape : (height, width), optional
        Shape of one atom in pixels (default: a square if possible).
    ax : Axes, optional
        Axes to draw on (default: new figure).
    n_columns : int, optional
        Atoms per row (default: about the number of rows).
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron, negative if it belongs to no block
        (`OrdinalDriver.neuron_classes`). If given, blocks are framed.
    each : bool, default=True
        Whether to scale each atom by its largest absolute value; if False, all share one scale.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the atoms do not have ``image_shape``.

    Examples
    --------
    >>> import numpy as np
    >>> draw_dictionary(np.eye(4), title="four pixels").get_title()
    'four pixels'
    """
    images = check_array(atoms, "atoms", 2)
    shape = image_shape_of(images.shape[1], image_shape)
    n_columns = n_columns or math.ceil(math.sqrt(len(images)))
    ax = get_axes(ax, (4.5, 4.5))
    tiled = tile_images(scale_images(images) if each else images, shape, n_columns)
    colours = colour_limits(tiled)
    ax.imshow(tiled, interpolation="nearest", **colours)
    hide_axes(ax)
    if colours["cmap"] == SEQUENTIAL:  # its zero is white, as the gaps between the atoms
        ax.set_facecolor(LIGHT_GREY)
    if neuron_classes is not None:
        _frame_blocks(ax, check_array(neuron_classes, "neuron_classes", 1), shape, n_columns)
    return set_title(ax, title)


def _frame_blocks(
    ax: Axes, neuron_classes: NDArray[Any], shape: tuple[int, int], n_columns: int
) -> None:
    """Frame neighbouring neurons of one class, and write the class at the left.

    Frames are drawn in the gaps, slightly inside their middle, so that neighbouring frames do not
    touch.
    """
    gap, (height, width) = gap_width(shape), image_pitch(shape)
    inset = gap / 5
    edge = inset - (gap + 1) / 2
    for number, (row, first, last) in block_runs(neuron_classes, n_columns):
        corner = first * width + edge, row * height + edge
        size = (last - first + 1) * width - 2 * inset, height - 2 * inset
        style: dict[str, Any] = {"edgecolor": colour_of(number), "linewidth": 1.2, "fill": False}
        ax.add_patch(Rectangle(corner, *size, **style))
        if first == 0:
            middle, name = row * height + (shape[0] - 1) / 2, "free" if number < 0 else str(number)
            offset: dict[str, Any] = {"xytext": (-5, 0), "textcoords": "offset points"}
            ax.annotate(name, (edge, middle), ha="right", va="center", size="small", **offset)
    n_rows = -(-len(neuron_classes) // n_columns)
    ax.set(xlim=(-gap, n_columns * width), ylim=(n_rows * height, -gap))


def block_runs(
    neuron_classes: NDArray[Any], n_columns: int
) -> list[tuple[int, tuple[int, int, int]]]:
    """List runs of one class in each row, as class and (row, first column, last column).

    Examples
    --------
    >>> import numpy as np
    >>> block_runs(np.array([0, 0, 1, 1]), 3)
    [(0, (0, 0, 1)), (1, (0, 2, 2)), (1, (1, 0, 0))]
    """
    runs = []
    for row in range(-(-len(neuron_classes) // n_columns)):
        line = neuron_classes[row * n_columns : (row + 1) * n_columns]
        starts = np.flatnonzero(np.diff(line, prepend=line[0] - 1))
        ends = [*(starts[1:] - 1), len(line) - 1]
        runs += [(int(line[i]), (row, int(i), int(j))) for i, j in zip(starts, ends, strict=True)]
    return runs


def draw_recall(
    rows: Sequence[ArrayLike],
    names: Sequence[str],
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
    *,
    wrong: ArrayLike | None = None,
    title: str | None = None,
) -> Axes:
    """Draw inputs, reconstructions and expected images, one row of images for each.

    Parameters
    ----------
    rows : sequence of (n_images, n_pixels)
        Images of each row, as ``[handwritten, recalled, expected]``; images of one column belong
        to one sample.
    names : sequence of str
        Label of each row.
    image_shape : (height, width), optional
        Shape of one image in pixels (default: a square if possible).
    ax : Axes, optional
        Axes to draw on (default: new figure).
    wrong : (n_images,) bool, optional
        Columns to mark with a cross, for wrong reconstructions.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the rows differ in shape, or the numbers of rows and names differ.

    Examples
    --------
    >>> import numpy as np
    >>> ax = draw_recall([np.eye(4), np.eye(4)], ["observed", "recalled"])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['observed', 'recalled']
    """
    lines = [check_array(row, "a row of images", 2) for row in rows]
    if len(lines) != len(names) or len({line.shape for line in lines}) != 1:
        raise ValueError(
            "`rows` must have one shape and one name each, got shapes "
            f"{[line.shape for line in lines]} and {len(names)} names."
        )
    n_images, n_pixels = lines[0].shape
    shape = image_shape_of(n_pixels, image_shape)
    ax = get_axes(ax, (0.55 * n_images + 1.2, 0.6 * len(lines) + 0.5))
    height, width = image_pitch(shape)
    tiled = tile_images(np.vstack([scale_images(line) for line in lines]), shape, n_images)
    ax.imshow(tiled, interpolation="nearest", **colour_limits(tiled))
    hide_axes(ax)
    middles = np.arange(len(lines)) * height + (shape[0] - 1) / 2
    ax.set_yticks(middles, list(names))
    ax.tick_params(length=0)
    if wrong is not None:
        columns = np.flatnonzero(check_array(wrong, "wrong", 1))
        ax.set_xticks(columns * width + (shape[1] - 1) / 2, ["✗"] * len(columns))
    return set_title(ax, title)

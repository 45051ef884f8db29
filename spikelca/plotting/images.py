"""What looks like an image: the atoms of a dictionary, and what a code recalls.

Many small images are laid into one large one, with a gap of about a ninth of an image between them
that holds NaN and stays white.
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
    """Pixels between two images: enough to be seen, and never none."""
    return max(min(shape) // 9, 1)


def image_pitch(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image with the gap that follows it."""
    return shape[0] + gap_width(shape), shape[1] + gap_width(shape)


def image_shape_of(n_pixels: int, image_shape: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of images: as told, a square where that is possible, else one line.

    Raises
    ------
    ValueError
        If the pixels do not fill the shape.
    """
    side = math.isqrt(n_pixels)
    shape = image_shape or ((side, side) if side * side == n_pixels else (1, n_pixels))
    if shape[0] * shape[1] != n_pixels:
        raise ValueError(
            f"image_shape is {shape}, {shape[0] * shape[1]} pixels; the rows hold {n_pixels}. "
            "Hand the height and width of one image."
        )
    return shape


def tile_images(
    images: NDArray[Any], shape: tuple[int, int], n_columns: int
) -> NDArray[np.float64]:
    """Images laid row by row into one, NaN between them and where none is left."""
    gap, (height, width) = gap_width(shape), image_pitch(shape)
    n_rows = -(-len(images) // n_columns)
    laid = np.full((n_rows * height - gap, n_columns * width - gap), np.nan)
    for number, image in enumerate(images):
        top, left = (number // n_columns) * height, (number % n_columns) * width
        laid[top : top + shape[0], left : left + shape[1]] = image.reshape(shape)
    return laid


def scale_images(images: NDArray[Any]) -> NDArray[np.float64]:
    """Each image divided by its own largest size, so that faint ones can be seen."""
    largest = np.abs(images).max(axis=1, keepdims=True)
    return np.asarray(np.divide(images, largest, out=np.zeros(images.shape), where=largest > 0))


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
    """Draw the atoms of one dictionary, neuron by neuron, in rows from the upper left.

    Parameters
    ----------
    atoms : (n_neurons, n_inputs)
        Receptive fields, such as ``circuit.dictionary(name).atoms``.
    image_shape : (height, width), optional
        Of one atom; a square where that is possible.
    ax : Axes, optional
    n_columns : int, optional
        Atoms of a row; about as many as rows unless told.
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron, negative for free ones (`OrdinalDriver.neuron_classes`): blocks are framed.
    each : bool, default=True
        Scale each atom to its own largest value; otherwise all share one scale.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the atoms do not have this shape.

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
    laid = tile_images(scale_images(images) if each else images, shape, n_columns)
    colours = colour_limits(laid)
    ax.imshow(laid, interpolation="nearest", **colours)
    hide_axes(ax)
    if colours["cmap"] == SEQUENTIAL:  # its zero is as white as the paper between the atoms
        ax.set_facecolor(LIGHT_GREY)
    if neuron_classes is not None:
        _frame_blocks(ax, check_array(neuron_classes, "neuron_classes", 1), shape, n_columns)
    return set_title(ax, title)


def _frame_blocks(
    ax: Axes, neuron_classes: NDArray[Any], shape: tuple[int, int], n_columns: int
) -> None:
    """Frame neighbours that one class owns, and write its number at the left.

    A frame runs in the gap around its images, a little inside the middle of the gap, so that the
    frames of two neighbours stay apart.
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
            beside: dict[str, Any] = {"xytext": (-5, 0), "textcoords": "offset points"}
            ax.annotate(name, (edge, middle), ha="right", va="center", size="small", **beside)
    n_rows = -(-len(neuron_classes) // n_columns)
    ax.set(xlim=(-gap, n_columns * width), ylim=(n_rows * height, -gap))


def block_runs(
    neuron_classes: NDArray[Any], n_columns: int
) -> list[tuple[int, tuple[int, int, int]]]:
    """Neighbours in a row that belong together: class, then row, first and last column.

    Examples
    --------
    >>> import numpy as np
    >>> block_runs(np.array([0, 0, 1, 1]), 3)
    [(0, (0, 0, 1)), (1, (0, 2, 2)), (1, (1, 0, 0))]
    """
    found = []
    for row in range(-(-len(neuron_classes) // n_columns)):
        line = neuron_classes[row * n_columns : (row + 1) * n_columns]
        starts = np.flatnonzero(np.diff(line, prepend=line[0] - 1))
        ends = [*(starts[1:] - 1), len(line) - 1]
        found += [(int(line[i]), (row, int(i), int(j))) for i, j in zip(starts, ends, strict=True)]
    return found


def draw_recall(
    rows: Sequence[ArrayLike],
    names: Sequence[str],
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
    *,
    wrong: ArrayLike | None = None,
    title: str | None = None,
) -> Axes:
    """Draw inputs, what was recalled from them and what was expected, one line of images for each.

    Parameters
    ----------
    rows : sequence of (n_images, n_pixels)
        For example ``[handwritten, recalled, expected]``; images of one column belong together.
    names : sequence of str
        What each line is.
    image_shape : (height, width), optional
    ax : Axes, optional
    wrong : (n_images,) bool, optional
        Columns that are marked with a cross below: recalled as another one than expected.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If lines and names do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> ax = draw_recall([np.eye(4), np.eye(4)], ["seen", "recalled"])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['seen', 'recalled']
    """
    lines = [check_array(row, "a row of images", 2) for row in rows]
    if len(lines) != len(names) or len({line.shape for line in lines}) != 1:
        raise ValueError(
            f"rows have the shapes {[line.shape for line in lines]} and {len(names)} names; lines "
            "of one shape with one name each were awaited."
        )
    n_images, n_pixels = lines[0].shape
    shape = image_shape_of(n_pixels, image_shape)
    ax = get_axes(ax, (0.55 * n_images + 1.2, 0.6 * len(lines) + 0.5))
    height, width = image_pitch(shape)
    laid = tile_images(np.vstack([scale_images(line) for line in lines]), shape, n_images)
    ax.imshow(laid, interpolation="nearest", **colour_limits(laid))
    hide_axes(ax)
    middles = np.arange(len(lines)) * height + (shape[0] - 1) / 2
    ax.set_yticks(middles, list(names))
    ax.tick_params(length=0)
    if wrong is not None:
        marks = np.flatnonzero(check_array(wrong, "wrong", 1))
        ax.set_xticks(marks * width + (shape[1] - 1) / 2, ["✗"] * len(marks))
    return set_title(ax, title)

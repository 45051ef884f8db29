"""Colours, colour limits and axes of all figures.

The ten class colours are Paul Tol's *muted* scheme (personal.sron.nl/~pault), which is
distinguishable with the common kinds of colour blindness; its pale grey is darkened for print.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

SEQUENTIAL = "gray_r"
"""Colour map of non-negative values; zero is white."""

DIVERGING = "RdBu_r"
"""Colour map of signed values; zero is white, positive red, negative blue."""

TEXT_COLOUR, ACCENT, GREY, LIGHT_GREY = "#222222", "#CC6677", "#888888", "#e4e4e4"

CLASS_COLOURS = (
    "#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE",
    "#882255", "#44AA99", "#999933", "#AA4499", "#777777",
)  # fmt: skip


def colour_of(number: int) -> str:
    """Return the colour of a class or neuron; colours repeat after the tenth.

    Parameters
    ----------
    number : int
        Number of the class; negative numbers (neurons of no block) are grey.

    Returns
    -------
    str
        Hexadecimal colour.

    Examples
    --------
    >>> colour_of(0), colour_of(10)
    ('#332288', '#332288')
    """
    return GREY if number < 0 else CLASS_COLOURS[number % len(CLASS_COLOURS)]


def get_colours(classes: NDArray[Any] | None, indices: NDArray[Any] | slice = slice(None)) -> Any:
    """Return the class colour of each neuron or point, or the text colour without classes."""
    if classes is None:
        return TEXT_COLOUR
    return [colour_of(int(number)) for number in classes[indices]]


def get_axes(ax: Axes | None, size: tuple[float, float] = (5.0, 3.2)) -> Axes:
    """Return the given axes, or the axes of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def colour_limits(values: NDArray[Any]) -> dict[str, Any]:
    """Choose colour map and limits of an image such that zero is white."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < 0:
        limit = max(-low, high)
        return {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    return {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": high or 1.0}


def check_array(values: ArrayLike, name: str, *ndims: int) -> NDArray[Any]:
    """Convert values to an array and check its number of dimensions.

    Raises
    ------
    ValueError
        If it is not one of ``ndims``.
    """
    array = np.asarray(values)
    if array.ndim not in ndims:
        expected = " or ".join(f"{n}" for n in ndims)
        raise ValueError(f"`{name}` must have {expected} dimensions, got shape {array.shape}.")
    return array


def hide_axes(ax: Axes) -> None:
    """Remove frame and ticks of axes with images."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def hide_spines(ax: Axes) -> Axes:
    """Remove the upper and right side of the frame, and return the axes."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def set_title(ax: Axes, title: str | None) -> Axes:
    """Set the title if there is one, and return the axes."""
    if title:
        ax.set_title(title, size="medium")
    return ax


def as_neuron_classes(neuron_classes: ArrayLike | None) -> NDArray[Any] | None:
    """Convert the class of each neuron to an array, or return None."""
    return None if neuron_classes is None else check_array(neuron_classes, "neuron_classes", 1)


def add_colour_bar(ax: Axes, image: Any, label: str, **kwargs: Any) -> Any:
    """Add a colour bar of the height of the axes, for images of any shape."""
    cax = ax.inset_axes((1.02, 0.0, 0.03, 1.0))
    return ax.figure.colorbar(image, cax=cax, label=label, **kwargs)

"""Colours and limits that all pictures share.

The ten class colours are Paul Tol's *muted* scheme (personal.sron.nl/~pault), told apart under the
common kinds of colour blindness; its pale grey is darkened so that it survives on paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

SEQUENTIAL = "gray_r"
"""Map of what cannot be negative: zero is paper white, and it prints."""

DIVERGING = "RdBu_r"
"""Map of what can: zero is white, excitation red, inhibition blue."""

TEXT_COLOUR, ACCENT, GREY, LIGHT_GREY = "#222222", "#CC6677", "#888888", "#e4e4e4"

CLASS_COLOURS = (
    "#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE",
    "#882255", "#44AA99", "#999933", "#AA4499", "#777777",
)  # fmt: skip


def colour_of(number: int) -> str:
    """Colour of a class or of a neuron; numbers behind the tenth start again.

    Parameters
    ----------
    number : int
        Class number; a negative one (a free neuron) is drawn in grey.

    Returns
    -------
    str

    Examples
    --------
    >>> colour_of(0), colour_of(10)
    ('#332288', '#332288')
    """
    return GREY if number < 0 else CLASS_COLOURS[number % len(CLASS_COLOURS)]


def get_colours(
    neuron_classes: NDArray[Any] | None, which: NDArray[Any] | slice = slice(None)
) -> Any:
    """One colour for each of these neurons or points by their class; ink if none was told."""
    return (
        TEXT_COLOUR
        if neuron_classes is None
        else [colour_of(int(number)) for number in neuron_classes[which]]
    )


def get_axes(ax: Axes | None, size: tuple[float, float] = (5.0, 3.2)) -> Axes:
    """The axes that were given, or the only ones of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def colour_limits(values: NDArray[Any]) -> dict[str, Any]:
    """Colour map and limits of an image: zero is at the white end, or in the white middle."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < 0:
        reach = max(-low, high)
        return {"cmap": DIVERGING, "vmin": -reach, "vmax": reach}
    return {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": high or 1.0}


def check_array(values: ArrayLike, name: str, *ndims: int) -> NDArray[Any]:
    """Values as an array of one of these numbers of dimensions.

    Raises
    ------
    ValueError
        If it has another number.
    """
    array = np.asarray(values)
    if array.ndim not in ndims:
        awaited = " or ".join(f"{n}" for n in ndims)
        raise ValueError(
            f"{name} has shape {array.shape}; an array of {awaited} dimensions was awaited."
        )
    return array


def hide_axes(ax: Axes) -> None:
    """Leave away the frame and the ticks of an axes that holds images."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def hide_spines(ax: Axes) -> Axes:
    """The same axes without its frame's upper and right side."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def set_title(ax: Axes, title: str | None) -> Axes:
    """The same axes, under its title if it has one."""
    if title:
        ax.set_title(title, size="medium")
    return ax


def as_neuron_classes(neuron_classes: ArrayLike | None) -> NDArray[Any] | None:
    """Class of each neuron, as an array if it was told."""
    return None if neuron_classes is None else check_array(neuron_classes, "neuron_classes", 1)


def add_colour_bar(ax: Axes, drawn: Any, label: str, **more: Any) -> Any:
    """A colour bar exactly as high as its axes, whatever shape the image has."""
    return ax.figure.colorbar(drawn, cax=ax.inset_axes((1.02, 0.0, 0.03, 1.0)), label=label, **more)

"""Figures of membrane potentials, spikes and energy over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from spikelca.plotting.style import (
    ACCENT,
    GREY,
    TEXT_COLOUR,
    as_neuron_classes,
    check_array,
    colour_of,
    get_axes,
    get_colours,
    hide_spines,
    set_title,
)

MAX_COLOURED = 8
"""Default number of coloured neurons. The tenth class colour is grey, as are the other neurons."""


def draw_membrane(
    times: ArrayLike,
    u: ArrayLike,
    ax: Axes | None = None,
    *,
    threshold: float | None = None,
    neurons: ArrayLike | None = None,
    n_coloured: int = MAX_COLOURED,
    title: str | None = None,
) -> Axes:
    """Draw membrane potentials over time, the highest in colour, the others in grey.

    Parameters
    ----------
    times : (n_times,)
        Times in seconds.
    u : (n_times, n_neurons)
        Potentials of one sample, as ``response.traces["u"][:, 0]``.
    ax : Axes, optional
        Axes to draw on (default: new figure).
    threshold : float, optional
        Threshold lam, drawn dashed.
    neurons : (n_neurons,) int, optional
        Numbers of the neurons for the legend, as ``response.neurons`` (default: 0, 1, ...).
    n_coloured : int, default=8
        Number of neurons in colour and in the legend, those with the highest final potential.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If an array has another number of dimensions, or ``neurons`` another length than u.

    Examples
    --------
    >>> ax = draw_membrane([0.0, 0.1], [[0.0, 0.0], [0.3, 0.1]], threshold=0.2, n_coloured=1)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['neuron 0', 'threshold']
    """
    milliseconds = check_array(times, "times", 1) * 1e3
    potentials = check_array(u, "u", 2)
    ax = get_axes(ax, (6.0, 3.2))
    names = (
        np.arange(potentials.shape[1]) if neurons is None else check_array(neurons, "neurons", 1)
    )
    if len(names) != potentials.shape[1]:
        raise ValueError(
            f"`neurons` must have {potentials.shape[1]} numbers, one for each column of u, got "
            f"{len(names)}."
        )
    order = np.argsort(-potentials[-1], kind="stable")
    faint = min(0.5, 20 / max(len(order) - n_coloured, 1))
    for neuron in order[n_coloured:]:
        ax.plot(milliseconds, potentials[:, neuron], color=GREY, linewidth=0.4, alpha=faint)
    for rank, neuron in enumerate(order[:n_coloured]):
        style: dict[str, Any] = {"color": colour_of(rank), "linewidth": 1.0}
        ax.plot(milliseconds, potentials[:, neuron], label=f"neuron {names[neuron]:g}", **style)
    if threshold is not None:
        ax.axhline(threshold, color=TEXT_COLOUR, linestyle="--", linewidth=1, label="threshold")
    ax.set(xlabel="time (ms)", ylabel="membrane potential u")
    ax.legend(fontsize="x-small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.margins(x=0)
    return set_title(hide_spines(ax), title)


def draw_raster(
    times: ArrayLike,
    neurons: ArrayLike,
    ax: Axes | None = None,
    *,
    n_neurons: int | None = None,
    neuron_classes: ArrayLike | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a spike raster, one tick per spike.

    Parameters
    ----------
    times : (n_spikes,)
        Times in seconds, as ``spikes.step * clock.dt``.
    neurons : (n_spikes,) int
        Neuron of each spike.
    ax : Axes, optional
        Axes to draw on (default: new figure).
    n_neurons : int, optional
        Number of neurons (default: up to the last one that spikes).
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron, for the colour of its spikes.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the numbers of times and neurons differ.

    Examples
    --------
    >>> draw_raster([0.01, 0.02], [0, 3], n_neurons=5).get_ylabel()
    'neuron'
    """
    milliseconds = check_array(times, "times", 1) * 1e3
    indices = check_array(neurons, "neurons", 1)
    if len(milliseconds) != len(indices):
        raise ValueError(
            "`times` and `neurons` must have one entry per spike, got "
            f"{len(milliseconds)} times and {len(indices)} neurons."
        )
    highest = int(indices.max()) + 1 if indices.size else 1
    ax = get_axes(ax, (6.0, 3.2))
    style: dict[str, Any] = {"marker": "|", "s": 12, "linewidths": 0.8}
    ax.scatter(
        milliseconds,
        indices,
        c=get_colours(as_neuron_classes(neuron_classes), indices.astype(int)),
        **style,
    )
    ax.margins(x=0.01)
    ax.set(xlabel="time (ms)", ylabel="neuron", ylim=(-0.5, (n_neurons or highest) - 0.5))
    return set_title(hide_spines(ax), title)


def draw_energy(
    steps: ArrayLike,
    energies: ArrayLike | Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    optimum: float | None = None,
    xlabel: str = "time (ms)",
    title: str | None = None,
) -> Axes:
    """Draw the energy over time.

    Parameters
    ----------
    steps : (n_steps,)
        Times, in the unit of ``xlabel``.
    energies : (n_steps,) or mapping of name to (n_steps,)
        One curve, or several with a legend.
    ax : Axes, optional
        Axes to draw on (default: new figure).
    optimum : float, optional
        Minimum of the energy. If given, the relative difference to it is drawn on a logarithmic
        scale.
    xlabel : str, default="time (ms)"
        Label of the horizontal axis.
    title : str, optional
        Title of the axes.

    Returns
    -------
    Axes

    Examples
    --------
    >>> draw_energy([0, 1, 2], [1.2, 1.02, 1.002], optimum=1.0).get_yscale()
    'log'
    """
    curves = energies if isinstance(energies, Mapping) else {"": energies}
    ax = get_axes(ax)
    for number, (name, curve) in enumerate(curves.items()):
        values = check_array(curve, "energies", 1)
        if optimum is not None:
            values = np.maximum((values - optimum) / abs(optimum), 1e-16)
        colour = ACCENT if len(curves) == 1 else colour_of(number)
        ax.plot(check_array(steps, "steps", 1), values, color=colour, label=name or None)
    if optimum is not None:
        ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel="energy E" if optimum is None else "relative energy above optimum")
    if isinstance(energies, Mapping):
        ax.legend(frameon=False, fontsize="small")
    return set_title(hide_spines(ax), title)

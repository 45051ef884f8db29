"""What runs in time: membrane potentials, spikes, energy."""

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
"""Neurons that get a colour; the tenth class colour is the grey of all the others."""


def draw_membrane(
    times: ArrayLike,
    u: ArrayLike,
    ax: Axes | None = None,
    *,
    threshold: float | None = None,
    most: int = MAX_COLOURED,
    title: str | None = None,
) -> Axes:
    """Draw membrane potentials over time: the strongest neurons in colour, the rest in grey.

    Parameters
    ----------
    times : (n_times,)
        Seconds.
    u : (n_times, n_neurons)
        Potentials of one sample, such as ``response.traces["u"][:, 0]``.
    ax : Axes, optional
    threshold : float, optional
        lam, drawn dashed.
    most : int, default=8
        Neurons that get a colour and a line in the legend: those that end highest.
    title : str, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = draw_membrane([0.0, 0.1], [[0.0, 0.0], [0.3, 0.1]], threshold=0.2, most=1)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['neuron 0', 'threshold']
    """
    milliseconds = check_array(times, "times", 1) * 1e3
    potentials = check_array(u, "u", 2)
    ax = get_axes(ax, (6.0, 3.2))
    order = np.argsort(-potentials[-1], kind="stable")
    faint = min(0.5, 20 / max(len(order) - most, 1))
    for neuron in order[most:]:
        ax.plot(milliseconds, potentials[:, neuron], color=GREY, linewidth=0.4, alpha=faint)
    for rank, neuron in enumerate(order[:most]):
        style: dict[str, Any] = {"color": colour_of(rank), "linewidth": 1.0}
        ax.plot(milliseconds, potentials[:, neuron], label=f"neuron {neuron}", **style)
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
    """Draw spikes: one tick for each, time to the right, neurons upwards.

    Parameters
    ----------
    times : (n_spikes,)
        Seconds, such as ``spikes.step * clock.dt``.
    neurons : (n_spikes,) int
    ax : Axes, optional
    n_neurons : int, optional
        Height of the picture; as many as spike unless told.
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron: spikes take its colour.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one neuron for each time.

    Examples
    --------
    >>> draw_raster([0.01, 0.02], [0, 3], n_neurons=5).get_ylabel()
    'neuron'
    """
    milliseconds = check_array(times, "times", 1) * 1e3
    cells = check_array(neurons, "neurons", 1)
    if len(milliseconds) != len(cells):
        raise ValueError(
            f"Found {len(milliseconds)} times and {len(cells)} neurons; one neuron for each spike "
            "time was awaited."
        )
    highest = int(cells.max()) + 1 if cells.size else 1
    ax = get_axes(ax, (6.0, 3.2))
    style: dict[str, Any] = {"marker": "|", "s": 12, "linewidths": 0.8}
    ax.scatter(
        milliseconds,
        cells,
        c=get_colours(as_neuron_classes(neuron_classes), cells.astype(int)),
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
    """Draw how the energy falls.

    Parameters
    ----------
    steps : (n_steps,)
        Times, in what ``xlabel`` says.
    energies : (n_steps,) or mapping of name to (n_steps,)
        One curve, or several with a legend.
    ax : Axes, optional
    optimum : float, optional
        The lowest energy there is. What is drawn then is the relative distance to it, on a
        logarithmic scale.
    xlabel : str, default="time (ms)"
    title : str, optional

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
        height = check_array(curve, "energies", 1)
        if optimum is not None:
            height = np.maximum((height - optimum) / abs(optimum), 1e-16)
        colour = ACCENT if len(curves) == 1 else colour_of(number)
        ax.plot(check_array(steps, "steps", 1), height, color=colour, label=name or None)
    if optimum is not None:
        ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel="energy E" if optimum is None else "relative energy above optimum")
    if isinstance(energies, Mapping):
        ax.legend(frameon=False, fontsize="small")
    return set_title(hide_spines(ax), title)

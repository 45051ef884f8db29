"""Whole pictures for commands and reports, and how a figure becomes a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spikelca.engines import Response
from spikelca.plotting import draw_membrane, draw_raster
from spikelca.plotting.traces import MAX_COLOURED
from spikelca.utils.atomic_write import write_atomic
from spikelca.utils.validation import FloatArray


def draw_run(response: Response, threshold: float, title: str) -> Figure:
    """Membrane potentials of the first sample, and its spikes below them if there are any.

    Parameters
    ----------
    response : Response
        Of a simulation that recorded "u" (and "spikes").
    threshold : float
        lam, drawn dashed.
    title : str

    Returns
    -------
    matplotlib Figure
    """
    u, spikes = response.traces["u"][:, 0], response.spikes
    figure = Figure(figsize=(8.0, 3.4 if spikes is None else 6.0), layout="constrained")
    axes = figure.subplots(1 if spikes is None else 2, 1, squeeze=False, sharex=True)[:, 0]
    draw_membrane(response.times, u, axes[0], threshold=threshold, title=title)
    if spikes is not None and response.clock is not None:
        axes[0].set_xlabel("")
        own = spikes.sample == 0
        times, cells = spikes.step[own] * response.clock.dt, spikes.neuron[own]
        rank = rank_neurons(u[-1])
        told = f"{len(cells)} spikes of {np.unique(cells).size} neurons, in the colours above"
        draw_raster(times, cells, axes[1], n_neurons=len(rank), neuron_classes=rank, title=told)
    return figure


def rank_neurons(u: FloatArray) -> NDArray[np.int64]:
    """Number of each neuron among those that `draw_membrane` colours, -1 for the others."""
    place = np.full(len(u), -1)
    strongest = np.argsort(-u, kind="stable")[:MAX_COLOURED]
    place[strongest] = np.arange(len(strongest))
    return place


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure in the format of the file's ending, as a whole or not at all."""
    with write_atomic(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), dpi=dpi)

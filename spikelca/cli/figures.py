"""Figure of a simulation, and figures written to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spikelca.engines import Response
from spikelca.plotting import draw_dictionary, draw_membrane, draw_raster
from spikelca.plotting.traces import MAX_COLOURED
from spikelca.utils.atomic_write import write_atomic
from spikelca.utils.validation import FloatArray


def draw_run(
    response: Response, threshold: float, title: str, images: Mapping[str, FloatArray] | None = None
) -> Figure:
    """Draw the membrane potentials of the first sample, and its spikes below if recorded.

    Parameters
    ----------
    response : Response
        Response of a simulation that recorded "u" (and "spikes").
    threshold : float
        Threshold lam, drawn dashed.
    title : str
        Title of the figure.
    images : mapping of str to (1, n_pixels), optional
        Images to draw on the right, by their names.

    Returns
    -------
    matplotlib Figure
    """
    u, spikes = response.traces["u"][:, 0], response.spikes
    figure = Figure(figsize=(8.0, 3.4 if spikes is None else 6.0), layout="constrained")
    part: Any = figure
    if images is not None:
        parts: Any = figure.subfigures(1, 2, width_ratios=(5, 1))
        panels = parts[1].subplots(len(images), 1, squeeze=False)[:, 0]
        for ax, (name, image) in zip(panels, images.items(), strict=True):
            draw_dictionary(image, ax=ax, title=name)
        part = parts[0]
    axes = part.subplots(1 if spikes is None else 2, 1, squeeze=False, sharex=True)[:, 0]
    draw_membrane(response.times, u, axes[0], threshold=threshold, title=title)
    if spikes is not None and response.clock is not None:
        axes[0].set_xlabel("")
        first = spikes.sample == 0
        times, neurons = spikes.times[first], spikes.neuron[first]
        rank = rank_neurons(u[-1])
        text = f"{len(neurons)} spikes of {np.unique(neurons).size} neurons, in the colours above"
        draw_raster(times, neurons, axes[1], n_neurons=len(rank), neuron_classes=rank, title=text)
    return figure


def rank_neurons(u: FloatArray) -> NDArray[np.int64]:
    """Rank the neurons that `draw_membrane` colours by their potential; -1 for the others."""
    rank = np.full(len(u), -1)
    strongest = np.argsort(-u, kind="stable")[:MAX_COLOURED]
    rank[strongest] = np.arange(len(strongest))
    return rank


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure atomically, in the format given by the suffix."""
    with write_atomic(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), dpi=dpi)

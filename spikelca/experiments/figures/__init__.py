"""The paper's figures 1 to 5, and two that it lacks, from the dictionaries behind Table I.

======  =====================================================================================
figure  what it shows
======  =====================================================================================
1       the linked dictionaries side by side, neuron by neuron
2       active neurons and reconstruction of each modality while the dictionaries are learned
3       handwritten digits, the printed digits recalled from them, those expected
4       the ordinal dictionary with its blocks
5       PCA and t-SNE of raw pixels, single, linked and ordinal codes, each with its numbers
6       the confusion of the block read-out, which is no classifier
7       accuracy against order as the driver grows: the price of control
======  =====================================================================================

Each figure is one function from `FigureInputs` to a `FigureOutput`: the figure, its caption and the arrays
that it was drawn from, written side by side as ``figure<n>.png`` and ``figure<n>.npz``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from spikelca.experiments.figures.base import (
    FigureInputs,
    FigureOutput,
    collect_inputs,
    write_figure,
)
from spikelca.experiments.figures.blocks import block_figure
from spikelca.experiments.figures.clusters import cluster_figure, format_clusters
from spikelca.experiments.figures.control import control_figure
from spikelca.experiments.figures.dictionaries import linked_figure, ordinal_figure
from spikelca.experiments.figures.growth import growth_figure
from spikelca.experiments.figures.recalled import recall_figure
from spikelca.experiments.linked import LinkedData
from spikelca.experiments.settings import Settings
from spikelca.experiments.table import Table

__all__ = [
    "FIGURES",
    "FigureInputs",
    "FigureOutput",
    "collect_inputs",
    "draw_figures",
    "format_clusters",
    "write_figure",
]

FIGURES: tuple[Callable[[FigureInputs], FigureOutput], ...] = (
    linked_figure,
    growth_figure,
    recall_figure,
    ordinal_figure,
    cluster_figure,
    block_figure,
    control_figure,
)
"""Figure 1 is the first."""


def draw_figures(
    table: Table,
    material: LinkedData,
    settings: Settings,
    folder: Path,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[Path, FigureOutput]]:
    """Draw and write one figure after the other.

    Parameters
    ----------
    table : Table
        With the first seed's models.
    material : Material
    settings : Settings
    folder : Path
    say : callable
        Hears what is being drawn.

    Yields
    ------
    (Path, Picture)
        The PNG file, and what was drawn.
    """
    evidence = collect_inputs(table, material, settings)
    for number, draw in enumerate(FIGURES, start=1):
        picture = draw(evidence)
        say(f"figure {number}: {picture.title}")
        yield write_figure(picture, number, folder), picture

"""Figures 1 to 5 of the paper and two additional ones, from the dictionaries of Table I.

======  =====================================================================================
figure  content
======  =====================================================================================
1       atoms of the two linked dictionaries
2       active neurons and reconstruction error of each modality during training
3       handwritten digits, printed digits reconstructed from them, expected printed digits
4       atoms of the ordinal dictionaries, one row per block
5       PCA and t-SNE of raw pixels and of single, linked and ordinal codes
6       confusion matrix of the block read-out
7       accuracy and order of the code as a function of the driver strength
======  =====================================================================================

Each figure is one function from `FigureInputs` to `FigureOutput`: the figure, its caption and the
plotted arrays, which are written as ``figure<n>.png`` and ``figure<n>.npz``.
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
"""Functions that draw the figures, in the order of their numbers."""


def draw_figures(
    table: Table,
    data: LinkedData,
    settings: Settings,
    folder: Path,
    log: Callable[[str], None],
) -> Iterator[tuple[Path, FigureOutput]]:
    """Draw and write all figures.

    Parameters
    ----------
    table : Table
        Table I with the estimators of the first seed.
    data : LinkedData
        Images and printed digits.
    settings : Settings
        Settings of the experiment.
    folder : Path
        Folder for the files.
    log : callable
        Function that prints progress.

    Yields
    ------
    (Path, FigureOutput)
        Path of the PNG file, and the figure.
    """
    inputs = collect_inputs(table, data, settings)
    for number, draw in enumerate(FIGURES, start=1):
        output = draw(inputs)
        log(f"figure {number}: {output.title}")
        yield write_figure(output, number, folder), output

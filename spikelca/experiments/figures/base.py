"""Inputs and output of the functions that draw figures, and figures written to files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from spikelca._version import __version__
from spikelca.estimators import LinkedLCA
from spikelca.experiments.linked import LinkedData
from spikelca.experiments.settings import Settings
from spikelca.experiments.table import Table
from spikelca.model.drivers import OrdinalDriver
from spikelca.utils.atomic_write import write_atomic
from spikelca.utils.validation import FloatArray

DPI = 150
CAPTION_SIZE, CAPTION_GAP = 9.0, 0.16
"""Font size in points, and distance between figure and caption in inches."""


@dataclass(frozen=True, eq=False)
class FigureInputs:
    """Dictionaries, and codes of the handwritten test images.

    Attributes
    ----------
    data : LinkedData
        Images and printed digits.
    settings : Settings
        Settings of the experiment.
    models : mapping of kind to LinkedLCA
        Estimators of the first seed.
    codes : mapping of kind to (n_test, n_neurons)
        Codes of the test images.
    seed : int
        The first seed.
    """

    data: LinkedData
    settings: Settings
    models: Mapping[str, LinkedLCA]
    codes: Mapping[str, FloatArray]
    seed: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes of the test images, used for colours and accuracies only."""
        return self.data.images.y_test

    @property
    def source(self) -> str:
        """Data set and font face of the printed digits, for a caption."""
        return f"Data: {self.data.images.name}; printed digits: {self.data.printed.font}."

    @property
    def neuron_classes(self) -> NDArray[np.int64]:
        """Class of each neuron of the ordinal dictionary."""
        driver = self.models["ordinal"].driver
        assert isinstance(driver, OrdinalDriver)
        return driver.neuron_classes(self.codes["ordinal"].shape[1])


@dataclass(frozen=True, eq=False)
class FigureOutput:
    """One figure, its caption, and the plotted arrays.

    Attributes
    ----------
    title : str
        Short title.
    caption : str
        Caption, without the number of the figure.
    figure : matplotlib Figure
        The figure.
    arrays : mapping of str to array
        Plotted arrays.
    facts : mapping of str to list of dict
        Entries of ``results.json``.
    """

    title: str
    caption: str
    figure: Figure
    arrays: Mapping[str, Any]
    facts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)


def collect_inputs(table: Table, data: LinkedData, settings: Settings) -> FigureInputs:
    """Encode the test images once for all figures."""
    codes = {kind: model.transform(data.test) for kind, model in table.models.items()}
    return FigureInputs(data, settings, table.models, codes, table.rows[0].seed)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure without a window, in a compressed layout with space for all labels."""
    return Figure(figsize=(width, height), dpi=DPI, layout="compressed")


def write_figure(output: FigureOutput, number: int, folder: Path) -> Path:
    """Write ``figure<n>.png`` with its caption, and ``figure<n>.npz`` with its arrays.

    Returns
    -------
    Path
        Path of the PNG file.
    """
    path = folder / f"figure{number}.png"
    caption = f"Figure {number}. {output.caption}"
    write_caption(output.figure, caption)
    metadata = {
        "Title": output.title, "Description": caption, "Software": f"spikelca {__version__}"
    }  # fmt: skip
    with write_atomic(path.with_suffix(".npz")) as file:
        np.savez_compressed(file, caption=caption, **output.arrays)
    with write_atomic(path) as file:
        output.figure.savefig(
            file, metadata=metadata, format="png", bbox_inches="tight", pad_inches=0.15
        )
    return path


def write_caption(figure: Figure, caption: str) -> None:
    """Write the caption below the axes, in their width, and freeze the layout."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    corner = box.x0 / width, (box.y0 - CAPTION_GAP) / height
    text = figure.text(*corner, "", va="top", size=CAPTION_SIZE, linespacing=1.35)
    text.set_text("\n".join(wrap_caption(text, caption, box.width * figure.dpi)))


def wrap_caption(text: Text, caption: str, width: float) -> list[str]:
    """Break a caption into lines of a width in pixels, in the font of ``text``."""
    lines = [""]
    for word in caption.split():
        text.set_text(f"{lines[-1]} {word}".strip())
        if lines[-1] and text.get_window_extent().width > width:
            lines.append(word)
        else:
            lines[-1] = text.get_text()
    return lines

"""What every figure is made from, and how it is written."""

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
"""Points, and inches between the picture and its caption."""


@dataclass(frozen=True, eq=False)
class FigureInputs:
    """Dictionaries, and codes of the test images, made from the handwritten image alone.

    Attributes
    ----------
    material : Material
    settings : Settings
    models : mapping of kind to LinkedLCA
        Of the first seed.
    codes : mapping of kind to (n_test, n_neurons)
    seed : int
    """

    material: LinkedData
    settings: Settings
    models: Mapping[str, LinkedLCA]
    codes: Mapping[str, FloatArray]
    seed: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes of the test images; figures colour and count with them, nothing is chosen."""
        return self.material.images.y_test

    @property
    def source(self) -> str:
        """The data and the face of the printed digits, for a caption."""
        return f"Data: {self.material.images.name}; print: {self.material.printed.font}."

    @property
    def neuron_classes(self) -> NDArray[np.int64]:
        """Class of each neuron of the ordinal dictionary."""
        driver = self.models["ordinal"].driver
        assert isinstance(driver, OrdinalDriver)
        return driver.neuron_classes(self.codes["ordinal"].shape[1])


@dataclass(frozen=True, eq=False)
class FigureOutput:
    """One figure, its caption, and the arrays that it shows.

    Attributes
    ----------
    title : str
    caption : str
    figure : matplotlib Figure
    arrays : mapping of str to array
        The data behind the figure.
    facts : mapping of str to list of dict
        Numbers for `results.json`, and the key they stand under.
    """

    title: str
    caption: str
    figure: Figure
    arrays: Mapping[str, Any]
    facts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)


def collect_inputs(table: Table, material: LinkedData, settings: Settings) -> FigureInputs:
    """Encode the test images once for all figures."""
    codes = {kind: model.transform(material.test) for kind, model in table.models.items()}
    return FigureInputs(material, settings, table.models, codes, table.rows[0].seed)


def new_figure(width: float, height: float) -> Figure:
    """A figure that belongs to no window, with room made for all labels and none to spare."""
    return Figure(figsize=(width, height), dpi=DPI, layout="compressed")


def write_figure(picture: FigureOutput, number: int, folder: Path) -> Path:
    """Write ``figure<n>.png`` with its caption below it, and ``figure<n>.npz`` with its data.

    Returns
    -------
    Path
        Of the PNG file.
    """
    path = folder / f"figure{number}.png"
    caption = f"Figure {number}. {picture.caption}"
    write_caption(picture.figure, caption)
    metadata = {
        "Title": picture.title, "Description": caption, "Software": f"spikelca {__version__}"
    }  # fmt: skip
    with write_atomic(path.with_suffix(".npz")) as file:
        np.savez_compressed(file, caption=caption, **picture.arrays)
    with write_atomic(path) as file:
        picture.figure.savefig(
            file, metadata=metadata, format="png", bbox_inches="tight", pad_inches=0.15
        )
    return path


def write_caption(figure: Figure, caption: str) -> None:
    """Write the caption close below what was drawn, exactly as wide; nothing moves any more."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    corner = drawn.x0 / width, (drawn.y0 - CAPTION_GAP) / height
    text = figure.text(*corner, "", va="top", size=CAPTION_SIZE, linespacing=1.35)
    text.set_text("\n".join(wrap_caption(text, caption, drawn.width * figure.dpi)))


def wrap_caption(text: Text, words: str, width: float) -> list[str]:
    """Lines that fill a width in pixels, measured in the letters of this text."""
    lines = [""]
    for word in words.split():
        text.set_text(f"{lines[-1]} {word}".strip())
        if lines[-1] and text.get_window_extent().width > width:
            lines.append(word)
        else:
            lines[-1] = text.get_text()
    return lines

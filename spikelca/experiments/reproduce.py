"""`spikelca reproduce`: from images to Table I and its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from spikelca.datasets import load_images
from spikelca.experiments import report, settings
from spikelca.experiments.figures import draw_figures, format_clusters
from spikelca.experiments.linked import make_linked_data
from spikelca.experiments.report import write_html
from spikelca.experiments.table import Table, make_table


def choose_settings(shape: tuple[int, int], quick: bool) -> settings.Settings:
    """Settings that fit the size of the images."""
    if quick:
        return settings.QUICK
    return settings.DIGITS if shape[0] * shape[1] <= 256 else settings.MNIST


def check_folder(out: Path) -> Path:
    """Make the output folder and see that it can be written, before anything is computed.

    Raises
    ------
    OSError
        If it cannot.
    """
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".spikelca-probe"
    probe.touch()
    probe.unlink()
    return out


def reproduce(
    data: str = "digits",
    out: str | Path = "results",
    seeds: Sequence[int] = (0,),
    *,
    quick: bool = False,
    transfer: str = "soft",
    driver: str = "current",
    plain: bool = False,
    leaky: bool = False,
    font: str | None = None,
    command: str | None = None,
    log: Callable[[str], None] = print,
) -> Table:
    """Compute Table I and the figures, and write them.

    Parameters
    ----------
    data : str, default="digits"
        "digits", "mnist", or a folder of IDX files.
    out : path, default="results"
        Folder for ``results.json``, the dictionaries and the figures.
    seeds : sequence of int
    quick : bool
        The whole road in seconds, with figures that mean nothing.
    transfer : {"soft", "hard"}
        "hard" is Eq. 2 as it is printed.
    driver : {"current", "linked", "clamp"}
        Reading of the paper's third input.
    plain : bool
        Learn by Eq. 4 alone, as the paper does, without the contrastive last part.
    leaky : bool
        Also show what the printed digit is worth at test time.
    font : str, optional
        Face of the printed digits, see `spikelca.datasets.printed_digits`.
    command : str, optional
        The command to name in ``report.html``, one file with everything; without it none is made.
    log : callable
        Hears the progress and the table.

    Raises
    ------
    DataError
        If the data cannot be had.
    OSError
        If the folder cannot be written.
    """
    folder = check_folder(Path(out))
    images = load_images(data)
    material = make_linked_data(images, font)
    chosen = replace(choose_settings(images.image_shape, quick), transfer=transfer, reading=driver)
    if plain:
        chosen = replace(chosen, contrast_share=0.0)
    log(f"data: {images.name}; printed digits: {material.printed.font}")
    table = make_table(material, chosen, seeds, leaky=leaky, log=log)
    text = report.format_table(table, material, seeds, chosen)
    log("\n" + text)
    found = report.collect_results(table, material, chosen, seeds)
    paths = [report.write_results(found, folder), *report.save_dictionaries(table, folder)]
    for path, picture in draw_figures(table, material, chosen, folder, log):
        paths.append(path)
        found |= picture.facts
    report.write_results(found, folder)
    log(format_clusters(found["clusters"]))
    if command is not None:
        paths.append(write_html(found, text, command, folder))
    log("\nwritten: " + ", ".join(str(path) for path in paths))
    return table

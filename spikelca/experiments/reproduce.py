"""Full pipeline of ``spikelca reproduce``, from images to Table I, figures and report."""

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
    """Choose the settings for the size of the images."""
    if quick:
        return settings.QUICK
    return settings.DIGITS if shape[0] * shape[1] <= 256 else settings.MNIST


def check_folder(out: Path) -> Path:
    """Create the output folder and check that it is writable, before the computation.

    Raises
    ------
    OSError
        If it is not writable.
    """
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".spikelca-probe"
    probe.touch()
    probe.unlink()
    return out


def reproduce_paper(
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
    seeds : sequence of int, default=(0,)
        Seeds of the dictionaries.
    quick : bool, default=False
        Whether to run a smoke test in seconds, whose results are not meaningful.
    transfer : {"soft", "hard"}, default="soft"
        Transfer function; "hard" is Eq. 2 as printed.
    driver : {"current", "linked", "clamp"}, default="current"
        Mode of the ordinal driver, the third input of the paper.
    plain : bool, default=False
        Whether to learn by Eq. 4 only, as in the paper, without the contrastive last part.
    leaky : bool, default=False
        Whether to score codes of the printed digit, too, to show the effect of label leakage.
    font : str, optional
        Font face of the printed digits, see `spikelca.datasets.printed_digits`.
    command : str, optional
        Command line for ``report.html``. If None, no report is written.
    log : callable
        Function that prints progress and table.

    Returns
    -------
    Table

    Raises
    ------
    DataError
        If the data cannot be loaded.
    OSError
        If the folder cannot be written.
    """
    folder = check_folder(Path(out))
    images = load_images(data)
    linked_data = make_linked_data(images, font)
    chosen = replace(
        choose_settings(images.image_shape, quick), transfer=transfer, driver_mode=driver
    )
    if plain:
        chosen = replace(chosen, contrast_fraction=0.0)
    log(f"data: {images.name}; printed digits: {linked_data.printed.font}")
    table = make_table(linked_data, chosen, seeds, leaky=leaky, log=log)
    text = report.format_table(table, linked_data, seeds, chosen)
    log("\n" + text)
    results = report.collect_results(table, linked_data, chosen, seeds)
    paths = [report.write_results(results, folder), *report.save_dictionaries(table, folder)]
    for path, output in draw_figures(table, linked_data, chosen, folder, log):
        paths.append(path)
        results |= output.facts
    report.write_results(results, folder)
    log(format_clusters(results["clusters"]))
    if command is not None:
        paths.append(write_html(results, text, command, folder))
    log("\nwritten: " + ", ".join(str(path) for path in paths))
    return table

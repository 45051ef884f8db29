"""Full pipeline of ``spikelca reproduce``, from images to Table I, figures and report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spikelca.datasets import ImageData, load_images
from spikelca.estimators import LinkedLCA
from spikelca.experiments import report, settings
from spikelca.experiments.figures import draw_figures, format_clusters
from spikelca.experiments.linked import LinkedData, make_linked_data
from spikelca.experiments.report import write_html
from spikelca.experiments.table import Table, make_table


def choose_settings(shape: tuple[int, int], quick: bool) -> settings.Settings:
    """Choose the settings for the size of the images."""
    if quick:
        return settings.QUICK
    return settings.DIGITS if shape[0] * shape[1] <= 256 else settings.MNIST


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Create the output folder, check that it is writable, and remove it if it stays empty.

    Raises
    ------
    OSError
        If it is not writable.
    """
    created = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        probe = out / ".spikelca-probe"
        probe.touch()
        probe.unlink()
        yield out
    finally:
        with suppress(OSError):  # it has files
            for path in created:
                path.rmdir()


def reduce_images(images: ImageData) -> ImageData:
    """Return the first images only, for a smoke test."""
    n_train, n_test = settings.QUICK_IMAGES
    return replace(
        images,
        name=f"{images.name}, first {n_train} training and {n_test} test images",
        X_train=images.X_train[:n_train],
        y_train=images.y_train[:n_train],
        X_test=images.X_test[:n_test],
        y_test=images.y_test[:n_test],
    )


def make_and_keep(
    data: LinkedData, chosen: settings.Settings, seeds: Sequence[int], folder: Path, **kwargs: Any
) -> Table:
    """Make the table, and write each dictionary of the first seed as soon as it is learned."""
    kept: list[str] = []

    def keep(kind: str, model: LinkedLCA) -> None:
        kept.append(report.save_dictionary(folder, kind, model).name)

    try:
        return make_table(data, chosen, seeds, keep=keep, **kwargs)
    except KeyboardInterrupt:
        written = f"{folder} has {', '.join(kept)}. The next run starts from the beginning."
        raise KeyboardInterrupt(*([written] if kept else [])) from None


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
    verify: bool = True,
    command: str | None = None,
    log: Callable[[str], None] = tqdm.write,
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
    verify : bool, default=True
        Whether the files of a folder must be those of MNIST, see
        `spikelca.datasets.load_mnist_folder`.
    command : str, optional
        Command line for ``report.html``. If None, no report is written.
    log : callable
        Function that prints progress and table (default: above the progress bars).

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
    images = load_images(data, verify)
    linked_data = make_linked_data(reduce_images(images) if quick else images, font)
    chosen = replace(
        choose_settings(images.image_shape, quick), transfer=transfer, driver_mode=driver
    )
    if plain:
        chosen = replace(chosen, contrast_fraction=0.0)
    log(report.wrap_line(f"data: {linked_data.images.name}"))
    log(report.wrap_line(f"printed digits: {linked_data.printed.font}"))
    with output_folder(Path(out)) as folder:
        table = make_and_keep(linked_data, chosen, seeds, folder, leaky=leaky, log=log)
        text = report.format_table(table, linked_data, seeds, chosen)
        log("\n" + text)
        results = report.collect_results(table, linked_data, chosen, seeds)
        report.write_results(results, folder)
        for _, output in draw_figures(table, linked_data, chosen, folder, log):
            results |= output.facts
        report.write_results(results, folder)
        log(report.wrap_line(format_clusters(results["clusters"])))
        first = folder / "figure1.png"
        if command is not None:
            first = write_html(results, text, command, folder)
    log(f"\nresults: {folder}\nopen:    {first}")
    return table

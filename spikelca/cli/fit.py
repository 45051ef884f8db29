"""``spikelca fit``: learn dictionaries, linked if there are several modalities."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from spikelca.cli.common import (
    DATA_HELP,
    SCALE_HELP,
    Commands,
    add_quiet,
    add_scheduler,
    add_seed,
    make_printer,
)

EXAMPLES = """\
examples:
  spikelca fit digits -o model.spikelca                handwritten and printed digits, linked
  spikelca fit digits --ordinal -o ordinal.spikelca    one block of neurons for each digit
  spikelca fit patches.npy -o model.spikelca           one modality, your own rows
  spikelca fit seen=a.npy heard=b.npz:spectra --observe seen -o model.spikelca
                                                       two modalities, row by row together
  spikelca fit x.npy --labels y.npy --ordinal -o model.spikelca
  spikelca fit mnist -o m.spikelca --checkpoint m.checkpoint --resume
                                                       again after a crash: goes on where it was
  spikelca fit images.zarr --batch-size 4096 -o m.spikelca --scheduler local:4
                                                       more than fits into memory
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Describe the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="learn dictionaries and save the model",
        description="Learn one dictionary for each modality, linked by one sparse code.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option("data", nargs="+", metavar="[NAME=]DATA", help=DATA_HELP)
    option("-o", "--out", required=True, type=Path, metavar="MODEL", help="file for the model")
    option("--neurons", type=int, default=100, metavar="N", help="default 100")
    option("--threshold", type=float, default=0.05, metavar="LAM", help="default 0.05")
    option("--transfer", choices=("soft", "hard"), default="soft", help="default soft")
    option("--epochs", type=int, default=20, metavar="N", help="passes over the data, default 20")
    option("--batch-size", type=int, default=100, metavar="N", help="default 100")
    option("--observe", metavar="NAME", help="the modality seen at use (default: the first)")
    option("--labels", metavar="FILE", help="classes, for --ordinal")
    option("--ordinal", action="store_true", help="order the code by class with a driver current")
    option("--no-scale", action="store_true", help=SCALE_HELP)
    option("--checkpoint", type=Path, metavar="FILE", help="keep the learning there as it goes on")
    option("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    add_seed(command)
    add_scheduler(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    import numpy as np

    from spikelca.cli.files import check_suffix
    from spikelca.persistence import save

    say = make_printer(arguments)
    check_suffix(arguments.out, (arguments.out.suffix,))
    say(f"reading {' '.join(arguments.data)}")
    with dask_workers(arguments):
        stimuli, labels = read_modalities(arguments)
        model = make_estimator(arguments, {name: X.shape[1] for name, X in stimuli.items()}, labels)
        X = stack_modalities(list(stimuli.values()), uses_dask(arguments))
        model.fit(X, labels, checkpoint=arguments.checkpoint, resume=arguments.resume)
        save(model, arguments.out)
        first = arguments.observe or next(iter(stimuli))
        shown = np.asarray(stimuli[first][:1000])
    active = np.count_nonzero(model.transform(shown), axis=1).mean()
    seen = ", ".join(f"{name} ({X.shape[1]})" for name, X in stimuli.items())
    say(f"learned {model.n_components} neurons from {len(X)} samples of {seen}")
    say(f"{active:.1f} neurons are active for {model.observe} alone; written: {arguments.out}")


def uses_dask(arguments: argparse.Namespace) -> bool:
    """Whether the samples go to Dask: a scheduler is named, or they may not fit into memory."""
    sources = (Path(word.rpartition("=")[2]) for word in arguments.data)
    return arguments.scheduler is not None or any(path.is_dir() for path in sources)


def dask_workers(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """The Dask workers of this run, if it needs any."""
    if not uses_dask(arguments):
        return nullcontext()
    from spikelca.distributed import connect

    return connect(arguments.scheduler)


def stack_modalities(arrays: Sequence[Any], lazily: bool) -> Any:
    """All modalities as the columns of one array, a Dask array if asked."""
    import numpy as np

    if not lazily:
        return np.hstack(arrays)
    from spikelca.cli.files import CHUNK_ROWS
    from spikelca.distributed import is_dask, require

    array = require("dask.array")
    lazy = [X if is_dask(X) else array.from_array(X, chunks=(CHUNK_ROWS, -1)) for X in arrays]
    return array.concatenate(lazy, axis=1)


def make_estimator(arguments: argparse.Namespace, widths: dict[str, int], labels: Any) -> Any:
    """The estimator that the options describe, not yet learned."""
    import numpy as np

    from spikelca import LinkedLCA, OrdinalDriver

    if arguments.ordinal and labels is None:
        raise ValueError("--ordinal needs the class of every sample: name a file with --labels.")
    if arguments.observe is not None and arguments.observe not in widths:
        raise ValueError(f"--observe is {arguments.observe}; one of {list(widths)} was awaited.")
    driver = None
    if arguments.ordinal:
        driver = OrdinalDriver(
            len(np.unique(labels)), excitation=0.0, inhibition=arguments.threshold
        )
    return LinkedLCA(
        arguments.neurons,
        widths,
        arguments.observe or next(iter(widths)),
        threshold=arguments.threshold,
        transfer=arguments.transfer,
        driver=driver,
        n_epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        random_state=arguments.seed,
        verbose=not arguments.quiet,
    )


def read_modalities(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """The samples of each modality, and their labels."""
    from spikelca.cli.files import BUILT_IN_DATA, read_array, read_rows, read_rows_lazily

    if arguments.data[0] in BUILT_IN_DATA and len(arguments.data) == 1:
        return load_linked_digits(arguments.data[0])
    named = [word.rpartition("=")[::2] for word in arguments.data]
    names = [name or ("x" if len(named) == 1 else f"x{i}") for i, (name, _) in enumerate(named)]
    if len(set(names)) < len(names):
        raise ValueError(f"Found the names {names}; a name of its own for each was awaited.")
    scale = not arguments.no_scale
    read = read_rows_lazily if uses_dask(arguments) else read_rows
    stimuli = {name: read(source, scale) for name, (_, source) in zip(names, named, strict=True)}
    rows = {name: len(X) for name, X in stimuli.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"The modalities have {rows} rows; one number of rows was awaited.")
    labels = None if arguments.labels is None else read_array(arguments.labels).ravel()
    return stimuli, labels


def load_linked_digits(source: str) -> tuple[dict[str, Any], Any]:
    """Handwritten training images, the printed digit of each, and the labels."""
    from spikelca.cli.files import normalise_rows
    from spikelca.datasets import glyphs_for, load_images, printed_digits

    images = load_images(source)
    glyphs = glyphs_for(images.y_train, printed_digits(images.image_shape))
    stimuli = {"handwritten": normalise_rows(images.X_train), "printed": normalise_rows(glyphs)}
    return stimuli, images.y_train

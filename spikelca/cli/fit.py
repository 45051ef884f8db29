"""``spikelca fit``: learn one dictionary per modality, linked by one sparse code."""

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
  spikelca fit digits --ordinal -o ordinal.spikelca    one block of neurons per digit
  spikelca fit patches.npy -o model.spikelca           one modality, other data
  spikelca fit image=a.npy sound=b.npz:spectra --observe image -o model.spikelca
                                                       two modalities, paired by row
  spikelca fit x.npy --labels y.npy --ordinal -o model.spikelca
  spikelca fit mnist -o m.spikelca --checkpoint m.checkpoint --resume
                                                       resume after a crash
  spikelca fit images.zarr --batch-size 4096 -o m.spikelca --scheduler local:4
                                                       data larger than memory
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command and its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="learn dictionaries and save the model",
        description="Learn one dictionary per modality, linked by one sparse code.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option("data", nargs="+", metavar="[NAME=]DATA", help=DATA_HELP)
    option("-o", "--out", required=True, type=Path, metavar="MODEL", help="file for the model")
    option("--neurons", type=int, default=100, metavar="N", help="number of neurons (default: 100)")
    option(
        "--threshold",
        type=float,
        default=0.05,
        metavar="LAM",
        help="threshold of the neurons (default: 0.05)",
    )
    option(
        "--transfer",
        choices=("soft", "hard"),
        default="soft",
        help="transfer function (default: soft)",
    )
    option("--epochs", type=int, default=20, metavar="N", help="passes over the data (default: 20)")
    option(
        "--batch-size", type=int, default=100, metavar="N", help="samples per batch (default: 100)"
    )
    option("--observe", metavar="NAME", help="modality observed at inference (default: first)")
    option("--labels", metavar="FILE", help="class of each sample, required by --ordinal")
    option("--ordinal", action="store_true", help="order the code by class with a driver current")
    option("--no-scale", action="store_true", help=SCALE_HELP)
    option("--checkpoint", type=Path, metavar="FILE", help="file for the state of the training run")
    option("--resume", action="store_true", help="resume from the checkpoint if the file exists")
    add_seed(command)
    add_scheduler(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Fit the model and save it."""
    import numpy as np

    from spikelca.cli.files import check_suffix
    from spikelca.persistence import save

    log = make_printer(arguments)
    check_suffix(arguments.out, (arguments.out.suffix,))
    log(f"reading {' '.join(arguments.data)}")
    with dask_workers(arguments):
        stimuli, labels = read_modalities(arguments)
        model = make_estimator(arguments, {name: X.shape[1] for name, X in stimuli.items()}, labels)
        X = stack_modalities(list(stimuli.values()), uses_dask(arguments))
        model.fit(X, labels, checkpoint=arguments.checkpoint, resume=arguments.resume)
        save(model, arguments.out)
        name = arguments.observe or next(iter(stimuli))
        observed = np.asarray(stimuli[name][:1000])
    active = np.count_nonzero(model.transform(observed), axis=1).mean()
    widths = ", ".join(f"{name} ({X.shape[1]})" for name, X in stimuli.items())
    log(f"learned {model.n_components} neurons from {len(X)} samples of {widths}")
    log(f"{active:.1f} neurons active on average for {model.observe}; written: {arguments.out}")


def uses_dask(arguments: argparse.Namespace) -> bool:
    """Whether samples are read by Dask (a scheduler is given, or the data are out of core)."""
    sources = (Path(word.rpartition("=")[2]) for word in arguments.data)
    return arguments.scheduler is not None or any(path.is_dir() for path in sources)


def dask_workers(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Connect to Dask workers if the run uses Dask."""
    if not uses_dask(arguments):
        return nullcontext()
    from spikelca.distributed import connect

    return connect(arguments.scheduler)


def stack_modalities(arrays: Sequence[Any], use_dask: bool) -> Any:
    """Stack the modalities as columns of one array, or of one Dask array."""
    import numpy as np

    if not use_dask:
        return np.hstack(arrays)
    from spikelca.cli.files import CHUNK_ROWS
    from spikelca.distributed import is_dask
    from spikelca.utils.optional import require

    dask_array = require("dask.array", "dask")
    lazy = [X if is_dask(X) else dask_array.from_array(X, chunks=(CHUNK_ROWS, -1)) for X in arrays]
    return dask_array.concatenate(lazy, axis=1)


def make_estimator(arguments: argparse.Namespace, widths: dict[str, int], labels: Any) -> Any:
    """Make the unfitted estimator that the options describe."""
    import numpy as np

    from spikelca import LinkedLCA, OrdinalDriver

    if arguments.ordinal and labels is None:
        raise ValueError("--ordinal requires the class of each sample. Give a file with --labels.")
    if arguments.observe is not None and arguments.observe not in widths:
        raise ValueError(f"--observe must be one of {list(widths)}, got {arguments.observe!r}.")
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
    """Read the samples of each modality, and their labels."""
    from spikelca.cli.files import BUILT_IN_DATA, read_array, read_rows, read_rows_lazily

    if arguments.data[0] in BUILT_IN_DATA and len(arguments.data) == 1:
        return load_linked_digits(arguments.data[0])
    pairs = [word.rpartition("=")[::2] for word in arguments.data]
    names = [name or ("x" if len(pairs) == 1 else f"x{i}") for i, (name, _) in enumerate(pairs)]
    if len(set(names)) < len(names):
        raise ValueError(f"The names of the modalities must be different, got {names}.")
    scale = not arguments.no_scale
    read = read_rows_lazily if uses_dask(arguments) else read_rows
    stimuli = {name: read(source, scale) for name, (_, source) in zip(names, pairs, strict=True)}
    n_rows = {name: len(X) for name, X in stimuli.items()}
    if len(set(n_rows.values())) > 1:
        raise ValueError(f"The modalities must have the same number of rows, got {n_rows}.")
    labels = None if arguments.labels is None else read_array(arguments.labels).ravel()
    return stimuli, labels


def load_linked_digits(source: str) -> tuple[dict[str, Any], Any]:
    """Load handwritten training images, the printed digit of each, and the labels."""
    from spikelca.cli.files import normalise_rows
    from spikelca.datasets import glyphs_for, load_images, printed_digits

    images = load_images(source)
    glyphs = glyphs_for(images.y_train, printed_digits(images.image_shape))
    stimuli = {"handwritten": normalise_rows(images.X_train), "printed": normalise_rows(glyphs)}
    return stimuli, images.y_train

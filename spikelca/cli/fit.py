"""``spikelca fit``: learn one dictionary per modality, linked by one sparse code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from spikelca.cli.common import (
    DATA_HELP,
    Commands,
    add_quiet,
    add_scheduler,
    add_seed,
    add_table,
    make_printer,
    scales_rows,
    shows_progress,
    table_options,
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
    add_variants(command)
    option("--checkpoint", type=Path, metavar="FILE", help="file for the state of the training run")
    option("--resume", action="store_true", help="resume from the checkpoint if the file exists")
    add_table(command)
    add_seed(command)
    add_scheduler(command)
    add_quiet(command)
    return command


def add_variants(command: argparse.ArgumentParser) -> None:
    """Add the options for variants of the code, the learning rule and the rows."""
    option = command.add_argument
    option("--two-sided", action="store_true", help="learn signed codes")
    option(
        "--weights",
        nargs="+",
        type=parse_weight,
        metavar="NAME=W",
        help="weights of modalities in the code (default: 1)",
    )
    option("--contrast", action="store_true", help="make the last part of training contrastive")
    option(
        "--no-scale",
        action="store_true",
        help="do not scale the rows, now and with the model (default: scale each to unit norm)",
    )


def parse_weight(word: str) -> tuple[str, float]:
    """Parse NAME=W."""
    name, _, weight = word.rpartition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be NAME=W with a number W, got {word!r}") from None


def run(arguments: argparse.Namespace) -> None:
    """Fit the model and save it."""
    import numpy as np

    log = make_printer(arguments)
    check_files(arguments)
    log(f"reading {' '.join(arguments.data)}")
    with dask_workers(arguments):
        stimuli, labels = read_modalities(arguments)
        model = make_estimator(arguments, {name: X.shape[1] for name, X in stimuli.items()}, labels)
        X = stack_modalities(list(stimuli.values()), uses_dask(arguments))
        try:
            model.fit(X, labels, checkpoint=arguments.checkpoint, resume=arguments.resume)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(keep_result(model, arguments)) from None
        save_model(model, arguments.out, arguments)
        name = arguments.observe or next(iter(stimuli))
        observed = np.asarray(stimuli[name][:1000])
    active = np.count_nonzero(model.transform(observed), axis=1).mean()
    widths = ", ".join(f"{name} ({X.shape[1]})" for name, X in stimuli.items())
    log(f"learned {len(model.components_)} neurons from {len(X)} samples of {widths}")
    log(f"{active:.1f} neurons active on average for {model.observe}; written: {arguments.out}")


def check_files(arguments: argparse.Namespace) -> None:
    """Raise an error if an output would replace an input or a file of another kind.

    Raises
    ------
    ValueError
        Also if an option has no effect.
    """
    from spikelca.cli.files import check_output, check_suffix
    from spikelca.persistence import ModelFileError, load

    out, sources = arguments.out, [word.rpartition("=")[2] for word in arguments.data]
    check_suffix(out, (out.suffix,))
    check_output(out, [*sources, arguments.labels, arguments.checkpoint])
    if arguments.checkpoint is not None:
        check_output(arguments.checkpoint, [*sources, arguments.labels])
    elif arguments.resume:
        raise ValueError("--resume requires the file of the training run: give --checkpoint FILE.")
    if arguments.labels is not None and not arguments.ordinal:
        raise ValueError("--labels requires --ordinal, because only the driver uses the labels.")
    if out.is_file() and out.stat().st_size:
        try:
            load(out)
        except ModelFileError as error:
            raise ValueError(
                f"The output {out} must be a new file or a model, got another file ({error}). "
                "Use another name, or delete the file."
            ) from None


def keep_result(model: Any, arguments: argparse.Namespace) -> str:
    """Keep the state of an interrupted training run, and describe how to use it."""
    if arguments.checkpoint is not None:
        resume = "" if arguments.resume else " --resume"
        return (
            f"The state is in {arguments.checkpoint}. Resume with: {arguments.command_line}{resume}"
        )
    if not getattr(model, "n_steps_", 0):
        return "Nothing was learned yet."
    path = arguments.out.with_name(f"{arguments.out.stem}.interrupted{arguments.out.suffix}")
    save_model(model, path, arguments)
    return (
        f"The model after {model.n_steps_} batches is in {path}. A run with --checkpoint FILE can "
        "be resumed."
    )


def save_model(model: Any, path: Path, arguments: argparse.Namespace) -> None:
    """Save the model with the scaling of the rows, which other commands apply."""
    from spikelca.persistence import save

    model.row_scaling_ = "unit norm" if scales_rows(arguments) else "none"
    save(model, path)


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
    """Stack the modalities as columns of one array, of `Rows` on disk, or of one Dask array."""
    from spikelca.cli.files import CHUNK_ROWS, Rows

    if not use_dask:
        rows = Rows([source for X in arrays for source in X.sources], arrays[0].scale)
        return rows[:] if rows.is_in_memory else rows
    from spikelca.distributed import is_dask
    from spikelca.utils.optional import require

    dask_array = require("dask.array", "dask")
    lazy = [X if is_dask(X) else dask_array.from_array(X, chunks=(CHUNK_ROWS, -1)) for X in arrays]
    return dask_array.concatenate(lazy, axis=1)


def make_estimator(arguments: argparse.Namespace, widths: dict[str, int], labels: Any) -> Any:
    """Make the unfitted estimator that the options describe."""
    import numpy as np

    from spikelca import Contrast, LinkedLCA, OrdinalDriver

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
        two_sided=arguments.two_sided,
        weights=dict(arguments.weights) if arguments.weights else None,
        contrast=Contrast() if arguments.contrast else None,
        driver=driver,
        n_epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        random_state=arguments.seed,
        verbose=shows_progress(arguments),
    )


def read_modalities(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Read the samples of each modality, and their labels."""
    from spikelca.cli.files import BUILT_IN_DATA, open_rows, read_labels, read_rows_lazily

    pairs = [word.rpartition("=")[::2] for word in arguments.data]
    files = [source for _, source in pairs] + [arguments.labels or ""]
    table, scale = table_options(arguments, files), scales_rows(arguments)
    if arguments.data[0] in BUILT_IN_DATA and len(arguments.data) == 1:
        if arguments.labels is not None:
            raise ValueError(
                f"--labels must not be given with {arguments.data[0]}, which has them."
            )
        return load_linked_digits(arguments.data[0], scale)
    names = [name or ("x" if len(pairs) == 1 else f"x{i}") for i, (name, _) in enumerate(pairs)]
    if len(set(names)) < len(names):
        raise ValueError(f"The names of the modalities must be different, got {names}.")
    read = read_rows_lazily if uses_dask(arguments) else open_rows
    stimuli = {
        name: read(source, scale, **table) for name, (_, source) in zip(names, pairs, strict=True)
    }
    n_rows = {name: len(X) for name, X in stimuli.items()}
    if len(set(n_rows.values())) > 1:
        raise ValueError(f"The modalities must have the same number of rows, got {n_rows}.")
    if arguments.labels is None:
        return stimuli, None
    return stimuli, read_labels(arguments.labels, n_rows[names[0]], **table)


def load_linked_digits(source: str, scale: bool) -> tuple[dict[str, Any], Any]:
    """Load handwritten training images, the printed digit of each, and the labels."""
    from spikelca.cli.files import Rows
    from spikelca.datasets import glyphs_for, load_images, printed_digits

    images = load_images(source)
    glyphs = glyphs_for(images.y_train, printed_digits(images.image_shape))
    stimuli = {"handwritten": images.X_train, "printed": glyphs}
    return {name: Rows([(name, X)], scale) for name, X in stimuli.items()}, images.y_train

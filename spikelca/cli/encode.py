"""``spikelca encode``: from images to codes with their certificates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelca.cli.common import (
    DATA_HELP,
    SCALE_HELP,
    Commands,
    add_quiet,
    add_scheduler,
    inference_circuit,
    make_printer,
)

if TYPE_CHECKING:
    from spikelca.circuit import Circuit

BATCH_ROWS = 1000
EXAMPLES = """\
examples:
  spikelca encode model.spikelca digits -o codes.npz           code, gap, residual, n_iter
  spikelca encode model.spikelca images.npy -o codes.csv       one line for each image
  spikelca encode model.spikelca train-images-idx3-ubyte -o codes.npz
  spikelca encode model.spikelca digits --recall printed -o codes.npz
                                                               also what each code recalls
  spikelca encode model.spikelca images.zarr -o codes.zarr --scheduler local:4
                                                               more than fits into memory
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Describe the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "encode",
        help="turn images into sparse codes",
        description="Settle the code of every image; the observed modality alone, drivers off.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option("model", type=Path, metavar="MODEL", help="file from 'spikelca fit' or spikelca.save")
    option("data", metavar="DATA", help=DATA_HELP)
    option("-o", "--out", required=True, type=Path, metavar="FILE", help=".npz, .csv or .zarr")
    option("--tol", type=float, default=1e-4, help="relative duality gap to reach, default 1e-4")
    option("--recall", metavar="NAME", help="a modality to recall (.npz only)")
    option("--no-scale", action="store_true", help=SCALE_HELP)
    add_scheduler(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    import numpy as np

    from spikelca.cli.files import check_suffix, read_rows, write_arrays
    from spikelca.persistence import load

    check_suffix(arguments.out, (".npz", ".csv", ".zarr"))
    if arguments.scheduler or arguments.out.suffix == ".zarr" or Path(arguments.data).is_dir():
        return run_on_workers(arguments)
    model = load(arguments.model)
    circuit = inference_circuit(model)
    rows = read_rows(arguments.data, not arguments.no_scale)
    found = encode_with_progress(circuit, rows, arguments.tol, arguments.quiet)
    if arguments.recall is not None:
        whole = getattr(model, "circuit_", model)
        recalled = whole.reconstruct(found["code"], arguments.recall, list(circuit.widths))
        found[f"recalled_{arguments.recall}"] = recalled
    write_arrays(arguments.out, found, "code")
    active = np.count_nonzero(found["code"], axis=1).mean()
    certificate = "gap" if "gap" in found else "residual"
    say = make_printer(arguments)
    say(f"{len(rows)} codes, {active:.1f} of {circuit.n_neurons} neurons active in the mean")
    say(f"largest {certificate} {found[certificate].max():.1e}; written: {arguments.out}")


def run_on_workers(arguments: argparse.Namespace) -> None:
    """Do it on Dask workers: those of a scheduler, or the threads of this process."""
    import numpy as np

    from spikelca.cli.files import read_rows_lazily, write_arrays
    from spikelca.distributed import connect, encode_with_certificates, to_memory, write_zarr
    from spikelca.persistence import load

    if arguments.recall is not None:
        raise ValueError("--recall needs the codes in one place: leave out --scheduler and .zarr.")
    circuit = require_one_modality(inference_circuit(load(arguments.model)))
    say = make_printer(arguments)
    with connect(arguments.scheduler):
        rows = read_rows_lazily(arguments.data, not arguments.no_scale)
        found = encode_with_certificates(circuit, rows, arguments.tol)
        if arguments.out.suffix == ".zarr":
            write_zarr(arguments.out, found, progress=not arguments.quiet)
        else:
            held = to_memory(found, progress=not arguments.quiet)
            write_arrays(arguments.out, held, "code")
            say(f"{np.count_nonzero(held['code'], axis=1).mean():.1f} neurons active in the mean")
    say(f"{len(rows)} codes of {circuit.n_neurons} neurons; written: {arguments.out}")


def require_one_modality(circuit: Circuit) -> Circuit:
    """The circuit, if it sees one modality.

    Raises
    ------
    ValueError
        If it sees several: rows of one would not say which.
    """
    if len(circuit.widths) != 1:
        raise ValueError(
            f"The model observes {list(circuit.widths)}; one modality was awaited. Learn it with "
            "--observe NAME, or use the library."
        )
    return circuit


def encode_with_progress(circuit: Any, rows: Any, tol: float, quiet: bool) -> dict[str, Any]:
    """Codes and certificates, piece by piece, with the remaining time on a terminal."""
    import numpy as np
    from tqdm import tqdm

    [name] = require_one_modality(circuit).widths
    pieces = []
    with tqdm(None, "encode", len(rows), False, unit="image", disable=quiet or None) as bar:
        for start in range(0, len(rows), BATCH_ROWS):
            pieces.append(circuit.encode({name: rows[start : start + BATCH_ROWS]}, tol))
            bar.update(len(pieces[-1].code))
    keys = ("code", "gap", "residual", "n_iter")
    kept = [key for key in keys if getattr(pieces[0], key) is not None]
    return {key: np.concatenate([getattr(piece, key) for piece in pieces]) for key in kept}

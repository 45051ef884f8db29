"""``spikelca encode``: from images to codes with their certificates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spikelca.cli.common import (
    DATA_HELP,
    SCALE_HELP,
    Commands,
    add_quiet,
    circuit_of,
    sayer,
)

PIECE = 1000
EXAMPLES = """\
examples:
  spikelca encode model.spikelca digits -o codes.npz           code, gap, residual, n_iter
  spikelca encode model.spikelca images.npy -o codes.csv       one line for each image
  spikelca encode model.spikelca train-images-idx3-ubyte -o codes.npz
  spikelca encode model.spikelca digits --recall printed -o codes.npz
                                                               also what each code recalls
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
    option("-o", "--out", required=True, type=Path, metavar="FILE", help=".npz or .csv")
    option("--tol", type=float, default=1e-4, help="relative duality gap to reach, default 1e-4")
    option("--recall", metavar="NAME", help="a modality to recall (.npz only)")
    option("--no-scale", action="store_true", help=SCALE_HELP)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    import numpy as np

    from spikelca.cli.files import check_ending, read_rows, write_arrays
    from spikelca.persistence import load

    check_ending(arguments.out, (".npz", ".csv"))
    model = load(arguments.model)
    circuit = circuit_of(model)
    rows = read_rows(arguments.data, not arguments.no_scale)
    found = settle(circuit, rows, arguments.tol, arguments.quiet)
    if arguments.recall is not None:
        whole = getattr(model, "circuit_", model)
        recalled = whole.reconstruct(found["code"], arguments.recall, list(circuit.widths))
        found[f"recalled_{arguments.recall}"] = recalled
    write_arrays(arguments.out, found, "code")
    active = np.count_nonzero(found["code"], axis=1).mean()
    certificate = "gap" if "gap" in found else "residual"
    say = sayer(arguments)
    say(f"{len(rows)} codes, {active:.1f} of {circuit.n_neurons} neurons active in the mean")
    say(f"largest {certificate} {found[certificate].max():.1e}; written: {arguments.out}")


def settle(circuit: Any, rows: Any, tol: float, quiet: bool) -> dict[str, Any]:
    """Codes and certificates, piece by piece, with the remaining time on a terminal.

    Raises
    ------
    ValueError
        If the circuit sees several modalities: rows of one would not say which.
    """
    import numpy as np
    from tqdm import tqdm

    if len(circuit.widths) != 1:
        raise ValueError(
            f"The model observes {list(circuit.widths)}; one modality was awaited. Learn it with "
            "--observe NAME, or use the library."
        )
    [name] = circuit.widths
    pieces = []
    with tqdm(None, "encode", len(rows), False, unit="image", disable=quiet or None) as bar:
        for start in range(0, len(rows), PIECE):
            pieces.append(circuit.encode({name: rows[start : start + PIECE]}, tol))
            bar.update(len(pieces[-1].code))
    keys = ("code", "gap", "residual", "n_iter")
    kept = [key for key in keys if getattr(pieces[0], key) is not None]
    return {key: np.concatenate([getattr(piece, key) for piece in pieces]) for key in kept}

"""``spikelca encode``: steady-state codes of images, each with its duality gap."""

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
  spikelca encode model.spikelca images.npy -o codes.csv       one line per image
  spikelca encode model.spikelca train-images-idx3-ubyte -o codes.npz
  spikelca encode model.spikelca digits --recall printed -o codes.npz
                                                               and reconstruct a modality
  spikelca encode model.spikelca images.zarr -o codes.zarr --scheduler local:4
                                                               data larger than memory
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command and its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        "encode",
        help="encode images as sparse codes",
        description=(
            "Compute the steady-state code of every image from the observed modality, without "
            "drivers."
        ),
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option("model", type=Path, metavar="MODEL", help="file from 'spikelca fit' or spikelca.save")
    option("data", metavar="DATA", help=DATA_HELP)
    option(
        "-o",
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="file for the codes (.npz, .csv or .zarr)",
    )
    option("--tol", type=float, default=1e-4, help="relative duality gap (default: 1e-4)")
    option(
        "--recall",
        metavar="NAME",
        help="modality to reconstruct, .npz only (default: none)",
    )
    option("--no-scale", action="store_true", help=SCALE_HELP)
    add_scheduler(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Encode the images and write the codes."""
    import numpy as np

    from spikelca.cli.files import check_suffix, read_rows, write_arrays
    from spikelca.persistence import load

    check_suffix(arguments.out, (".npz", ".csv", ".zarr"))
    if arguments.scheduler or arguments.out.suffix == ".zarr" or Path(arguments.data).is_dir():
        return run_on_workers(arguments)
    model = load(arguments.model)
    circuit = inference_circuit(model)
    rows = read_rows(arguments.data, not arguments.no_scale)
    arrays = encode_with_progress(circuit, rows, arguments.tol, arguments.quiet)
    if arguments.recall is not None:
        learned_circuit = getattr(model, "circuit_", model)
        recalled = learned_circuit.reconstruct(
            arrays["code"], arguments.recall, list(circuit.widths)
        )
        arrays[f"recalled_{arguments.recall}"] = recalled
    write_arrays(arguments.out, arrays, "code")
    active = np.count_nonzero(arrays["code"], axis=1).mean()
    certificate = "gap" if "gap" in arrays else "residual"
    log = make_printer(arguments)
    log(f"{len(rows)} codes, {active:.1f} of {circuit.n_neurons} neurons active on average")
    log(f"largest {certificate} {arrays[certificate].max():.1e}; written: {arguments.out}")


def run_on_workers(arguments: argparse.Namespace) -> None:
    """Encode on the workers of a Dask scheduler, or lazily in the threads of this process."""
    import numpy as np

    from spikelca.cli.files import read_rows_lazily, write_arrays
    from spikelca.distributed import connect, encode_with_certificates, to_memory, write_zarr
    from spikelca.persistence import load

    if arguments.recall is not None:
        raise ValueError("--recall must not be given with --scheduler or .zarr files.")
    circuit = require_one_modality(inference_circuit(load(arguments.model)))
    log = make_printer(arguments)
    with connect(arguments.scheduler):
        rows = read_rows_lazily(arguments.data, not arguments.no_scale)
        lazy = encode_with_certificates(circuit, rows, arguments.tol)
        if arguments.out.suffix == ".zarr":
            write_zarr(arguments.out, lazy, progress=not arguments.quiet)
        else:
            arrays = to_memory(lazy, progress=not arguments.quiet)
            write_arrays(arguments.out, arrays, "code")
            log(f"{np.count_nonzero(arrays['code'], axis=1).mean():.1f} neurons active on average")
    log(f"{len(rows)} codes of {circuit.n_neurons} neurons; written: {arguments.out}")


def require_one_modality(circuit: Circuit) -> Circuit:
    """Return the circuit if it has one modality.

    Raises
    ------
    ValueError
        If it has several, because the rows of a file belong to one modality.
    """
    if len(circuit.widths) != 1:
        raise ValueError(
            f"The model must observe one modality, got {list(circuit.widths)}. Fit it with "
            "--observe NAME, or use the library."
        )
    return circuit


def encode_with_progress(circuit: Any, rows: Any, tol: float, quiet: bool) -> dict[str, Any]:
    """Compute codes and certificates in batches, with a progress bar on a terminal."""
    import numpy as np
    from tqdm import tqdm

    [name] = require_one_modality(circuit).widths
    responses = []
    with tqdm(None, "encode", len(rows), False, unit="image", disable=quiet or None) as bar:
        for start in range(0, len(rows), BATCH_ROWS):
            responses.append(circuit.encode({name: rows[start : start + BATCH_ROWS]}, tol))
            bar.update(len(responses[-1].code))
    fields = ("code", "gap", "residual", "n_iter")
    names = [name for name in fields if getattr(responses[0], name) is not None]
    return {name: np.concatenate([getattr(r, name) for r in responses]) for name in names}

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
    add_table,
    inference_circuit,
    make_printer,
    scales_rows,
    set_neuron,
    table_options,
)

if TYPE_CHECKING:
    from spikelca.circuit import Circuit

BATCH_ROWS, TOL = 1000, 1e-4
N_TAU = 20
"""Simulated time per image, in time constants."""

EXAMPLES = """\
examples:
  spikelca encode model.spikelca digits -o codes.npz           code, gap, residual, n_iter
  spikelca encode model.spikelca images.npy -o codes.csv       one line per image
  spikelca encode model.spikelca table.csv --index -o codes.npy
                                                               without the first column
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
        help="file for the codes (.npz, .npy, .csv or .zarr)",
    )
    option("--tol", type=float, help="relative duality gap of rate neurons (default: 1e-4)")
    option(
        "--neuron",
        choices=("rate", "spiking"),
        default="rate",
        help="steady-state code, or rates of simulated spikes (default: rate)",
    )
    option(
        "--dt",
        type=float,
        metavar="S",
        help="integration step of spiking neurons in seconds (default: from the strongest row)",
    )
    option(
        "--recall",
        metavar="NAME",
        help="modality to reconstruct, .npz only (default: none)",
    )
    option("--no-scale", action="store_true", help=SCALE_HELP)
    add_table(command)
    add_scheduler(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Encode the images and write the codes."""
    import numpy as np

    from spikelca.cli.files import check_output, check_suffix, open_rows, write_arrays
    from spikelca.persistence import load

    check_suffix(arguments.out, (".npz", ".npy", ".csv", ".zarr"))
    check_output(arguments.out, [arguments.model, arguments.data])
    check_options(arguments)
    table = table_options(arguments, [arguments.data])
    if uses_workers(arguments):
        return run_on_workers(arguments, table)
    model = load(arguments.model)
    circuit = set_neuron(inference_circuit(model), arguments.neuron)
    rows = open_rows(arguments.data, scales_rows(arguments, model), **table)
    arrays = encode_with_progress(circuit, rows, arguments)
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


def uses_workers(arguments: argparse.Namespace) -> bool:
    """Whether the rows are read and encoded by Dask."""
    is_store = arguments.out.suffix == ".zarr" or Path(arguments.data).is_dir()
    return arguments.scheduler is not None or is_store


def check_options(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options that would have no effect."""
    if arguments.recall is not None and (uses_workers(arguments) or arguments.out.suffix != ".npz"):
        raise ValueError(
            "--recall requires an output in .npz and data in one file, without --scheduler, got "
            f"{arguments.data} and {arguments.out}."
        )
    if arguments.neuron == "rate" and arguments.dt is not None:
        raise ValueError("--dt requires --neuron spiking. Leave it out.")
    if arguments.neuron == "spiking" and (uses_workers(arguments) or arguments.tol is not None):
        raise ValueError(
            "--neuron spiking must not be given with --tol, --scheduler or .zarr files. Leave one "
            "of them out."
        )


def run_on_workers(arguments: argparse.Namespace, table: dict[str, bool | None]) -> None:
    """Encode on the workers of a Dask scheduler, or lazily in the threads of this process."""
    import numpy as np

    from spikelca.cli.files import read_rows_lazily, write_arrays
    from spikelca.distributed import connect, encode_with_certificates, to_memory, write_zarr
    from spikelca.persistence import load

    model = load(arguments.model)
    circuit = require_one_modality(inference_circuit(model))
    log = make_printer(arguments)
    with connect(arguments.scheduler):
        rows = read_rows_lazily(arguments.data, scales_rows(arguments, model), **table)
        lazy = encode_with_certificates(circuit, rows, arguments.tol or TOL)
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


def encode_with_progress(circuit: Any, rows: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compute codes and certificates in batches, with a progress bar on a terminal."""
    import numpy as np
    from tqdm import tqdm

    [name] = require_one_modality(circuit).widths
    starts, responses = range(0, len(rows), BATCH_ROWS), []
    batches = ({name: rows[start : start + BATCH_ROWS]} for start in starts)
    is_spiking, duration = arguments.neuron == "spiking", N_TAU * circuit.neuron.tau
    dt = arguments.dt
    if is_spiking and dt is None:
        # One step for all rows, so that codes do not depend on the batches.
        drives = (circuit.drive({name: rows[s : s + BATCH_ROWS]}) for s in starts)
        size = np.abs if circuit.transfer.two_sided else np.asarray
        peaks = np.concatenate([size(drive).max(axis=1) for drive in drives])
        strongest = rows[[int(peaks.argmax())]]
        dt = circuit.simulate({name: strongest}, duration).clock.dt
    disable = arguments.quiet or None
    with tqdm(None, "encode", len(rows), False, unit="image", disable=disable) as bar:
        for stimuli in batches:
            response = (
                circuit.simulate(stimuli, duration, dt)
                if is_spiking
                else circuit.encode(stimuli, arguments.tol or TOL)
            )
            responses.append(response)
            bar.update(len(response.code))
    fields = ("code", "gap", "residual", "n_iter")
    names = [name for name in fields if getattr(responses[0], name) is not None]
    return {name: np.concatenate([getattr(r, name) for r in responses]) for name in names}

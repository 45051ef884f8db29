"""Options that several commands share, and circuits from model files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelca.circuit import Circuit

Commands = Any
"""Return type of ``ArgumentParser.add_subparsers``, which argparse keeps private."""

DATA_HELP = (
    "images, one per row: FILE.npy, FILE.npz (FILE.npz:KEY if it contains several arrays), "
    "FILE.csv, an IDX file, 'digits' or 'mnist'; out of core: FOLDER.zarr or a folder of .npy "
    "files"
)
SCHEDULER_HELP = (
    "Dask workers: address of a scheduler, or local:N for N processes on this machine "
    "(default: none)"
)
SCALE_HELP = "do not scale the rows (default: scale each row to unit norm)"


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    command.add_argument("--quiet", action="store_true", help="print results and errors only")


def add_scheduler(command: argparse.ArgumentParser) -> None:
    """Add ``--scheduler``."""
    command.add_argument("--scheduler", metavar="ADDRESS|local:N", help=SCHEDULER_HELP)


def add_seed(command: argparse.ArgumentParser) -> None:
    """Add ``--seed``."""
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of random numbers (default: 0)"
    )


def add_neuron(command: argparse.ArgumentParser, default: str) -> None:
    """Add ``--neuron`` and ``--engine``."""
    option = command.add_argument
    option(
        "--neuron",
        choices=("rate", "spiking"),
        default=default,
        help=f"neuron model (default: {default})",
    )
    option(
        "--engine",
        choices=("numba", "brian2", "reference"),
        default="numba",
        help="simulation engine (default: numba)",
    )


def make_printer(arguments: argparse.Namespace) -> Any:
    """Return ``print``, or with ``--quiet`` a function that prints nothing."""
    return (lambda _: None) if arguments.quiet else print


def inference_circuit(model: Any) -> Circuit:
    """Return the circuit of a model for inference: observed modalities, without drivers.

    Raises
    ------
    TypeError
        If the model is neither a circuit nor a `LinkedLCA`.
    """
    from spikelca.circuit import Circuit

    if isinstance(model, Circuit):
        return model.without_drivers()
    if not hasattr(model, "circuit_"):
        raise TypeError(
            f"The model must be a LinkedLCA or a Circuit, got {type(model).__name__}. Make one "
            "with: spikelca fit DATA -o model.spikelca"
        )
    names = model.observe or tuple(model.circuit_.widths)
    observed = (names,) if isinstance(names, str) else tuple(names)
    circuit: Circuit = model.circuit_.without_drivers().observe(*observed)
    return circuit

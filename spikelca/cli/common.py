"""What several commands share: options of one name and one meaning, and circuits from files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelca.circuit import Circuit

Commands = Any
"""What ``ArgumentParser.add_subparsers`` returns."""

DATA_HELP = (
    "images, one a row: FILE.npy, FILE.npz (FILE.npz:KEY if it holds several arrays), FILE.csv, an "
    "IDX file, or the words 'digits' and 'mnist'; also FOLDER.zarr, or a folder of .npy files, "
    "which need not fit into memory"
)
SCHEDULER_HELP = (
    "compute on Dask workers: the address of a scheduler, or local:N for N processes here"
)
SCALE_HELP = "leave the rows as they are (default: scale each to unit norm)"


def add_quiet(command: argparse.ArgumentParser) -> None:
    """``--quiet``: results and errors only."""
    command.add_argument("--quiet", action="store_true", help="no progress, no remarks")


def add_scheduler(command: argparse.ArgumentParser) -> None:
    """``--scheduler``."""
    command.add_argument("--scheduler", metavar="ADDRESS|local:N", help=SCHEDULER_HELP)


def add_seed(command: argparse.ArgumentParser) -> None:
    """``--seed``."""
    command.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of all that is drawn; default 0",
    )


def add_neuron(command: argparse.ArgumentParser, default: str) -> None:
    """``--neuron`` and ``--engine``."""
    option = command.add_argument
    option("--neuron", choices=("rate", "spiking"), default=default, help=f"default {default}")
    option(
        "--engine",
        choices=("numba", "brian2", "reference"),
        default="numba",
        help="who computes it; default numba",
    )


def make_printer(arguments: argparse.Namespace) -> Any:
    """A function that prints remarks, or swallows them when asked to be quiet."""
    return (lambda _: None) if arguments.quiet else print


def inference_circuit(model: Any) -> Circuit:
    """The circuit that a model file holds, as it is used to predict: observed part, drivers off.

    Raises
    ------
    TypeError
        If the file holds neither a circuit nor a `LinkedLCA`.
    """
    from spikelca.circuit import Circuit

    if isinstance(model, Circuit):
        return model.without_drivers()
    if not hasattr(model, "circuit_"):
        raise TypeError(
            f"The file holds a {type(model).__name__}; a LinkedLCA or a Circuit was awaited. Make "
            "one with: spikelca fit DATA -o model.spikelca"
        )
    names = model.observe or tuple(model.circuit_.widths)
    observed = (names,) if isinstance(names, str) else tuple(names)
    circuit: Circuit = model.circuit_.without_drivers().observe(*observed)
    return circuit

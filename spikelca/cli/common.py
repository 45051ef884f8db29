"""Options that several commands share, and circuits from model files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelca.circuit import Circuit

Commands = Any
"""Return type of ``ArgumentParser.add_subparsers``, which argparse keeps private."""

DATA_HELP = (
    "images, one per row: FILE.npy, FILE.npz (FILE.npz:KEY if it contains several arrays), "
    "FILE.csv (also .tsv, .txt), an IDX file, 'digits' or 'mnist'; out of core: FOLDER.zarr or a "
    "folder of .npy files"
)
SCHEDULER_HELP = (
    "Dask workers: address of a scheduler, or local:N for N processes on this machine "
    "(default: none)"
)
SCALE_HELP = "do not scale the rows (default: as in training, or each row to unit norm)"


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    command.add_argument("--quiet", action="store_true", help="print results and errors only")


def add_table(command: argparse.ArgumentParser) -> None:
    """Add the options of text files: ``--header``, ``--no-header`` and ``--index``."""
    option = command.add_mutually_exclusive_group().add_argument
    option("--header", action="store_true", help="the first line of text files is a header")
    option("--no-header", action="store_true", help="the first line of text files is a sample")
    command.add_argument(
        "--index", action="store_true", help="leave out the first column of text files"
    )


def table_options(arguments: argparse.Namespace, sources: Sequence[str]) -> dict[str, bool | None]:
    """Return the parameters of `spikelca.datasets.read_csv` from the options.

    Raises
    ------
    ValueError
        If there are options and no text file.
    """
    from spikelca.cli.files import TABLE_SUFFIXES

    given = [name for name in ("header", "no_header", "index") if getattr(arguments, name)]
    if given and not any(Path(name).suffix.lower() in TABLE_SUFFIXES for name in sources):
        raise ValueError(
            f"--{given[0].replace('_', '-')} requires a text file ({', '.join(TABLE_SUFFIXES)}), "
            f"got {' '.join(sources)}. Leave the option out."
        )
    is_given = arguments.header or arguments.no_header
    return {"header": arguments.header if is_given else None, "index": arguments.index}


def scales_rows(arguments: argparse.Namespace, model: Any = None) -> bool:
    """Whether to scale rows to unit norm: by ``--no-scale``, or as the model was trained."""
    return not arguments.no_scale and getattr(model, "row_scaling_", "") != "none"


def add_no_verify(command: argparse.ArgumentParser) -> None:
    """Add ``--no-verify``."""
    command.add_argument(
        "--no-verify", action="store_true", help="accept IDX files of other data than MNIST"
    )


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


def set_neuron(circuit: Circuit, kind: str) -> Circuit:
    """Return the circuit with a neuron of this kind; one of the circuit's kind stays as it is."""
    from spikelca import RateNeuron, SpikingNeuron

    neuron_type = SpikingNeuron if kind == "spiking" else RateNeuron
    if isinstance(circuit.neuron, neuron_type):
        return circuit
    changed: Circuit = circuit._replace(neuron=neuron_type())
    return changed


def make_printer(arguments: argparse.Namespace) -> Any:
    """Return a function that prints above progress bars, or nothing with ``--quiet``."""
    from tqdm import tqdm

    return (lambda _: None) if arguments.quiet else tqdm.write


def shows_progress(arguments: argparse.Namespace) -> bool:
    """Whether to show progress bars: on a terminal, without ``--quiet``."""
    return not arguments.quiet and sys.stderr.isatty()


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

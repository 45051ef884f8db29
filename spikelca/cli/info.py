"""``spikelca info``: description of the installation, a model or a data file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spikelca.cli.common import Commands, add_table, table_options

EXAMPLES = """\
examples:
  spikelca info                       versions and number of cores, for a bug report
  spikelca info model.spikelca        neurons, modalities and drivers of a model
  spikelca info images.npz            names of the arrays in a file
  spikelca info images.npz:train      shape and dtype of an array
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command and its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        "info",
        help="describe a model, a data file or the installation",
        description="Describe a model, a data file or the installation.",
        epilog=EXAMPLES,
    )
    command.add_argument(
        "file", nargs="?", metavar="FILE", help="model or array file (default: the installation)"
    )
    add_table(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Print one property per line."""
    table = table_options(arguments, [arguments.file or "no file"])
    is_file = arguments.file is not None
    facts = _describe_file(arguments.file, table) if is_file else _describe_installation()
    width = max(len(name) for name, _ in facts)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in facts))


def _describe_installation() -> list[tuple[str, Any]]:
    import os

    from spikelca.datasets.load import FOLDER_VARIABLE
    from spikelca.engines.numba.jit.intrinsics import USE_SIMD
    from spikelca.utils.system import versions

    folder = os.environ.get(FOLDER_VARIABLE, "not set: 'mnist' would be downloaded")
    loops = "SIMD" if USE_SIMD else "plain loops"
    facts = [("cores", os.cpu_count()), ("kernels", loops), (FOLDER_VARIABLE, folder)]
    return [*versions().items(), *facts]


def _describe_file(name: str, table: dict[str, Any]) -> list[tuple[str, Any]]:
    """Describe arrays if the name has the suffix of an array file, else a model."""
    from spikelca.cli.files import TABLE_SUFFIXES, file_of, read_array

    path = file_of(name)
    if not path.exists():
        raise FileNotFoundError(f"{name}: no such file. Give a model, or a file of arrays.")
    if name.endswith(".npz"):
        return [("file", name), *_list_arrays(path)]
    if path.suffix.lower() in (".npy", ".npz", *TABLE_SUFFIXES) or "ubyte" in path.name:
        array = read_array(name, text=path.suffix in (".npy", ".npz"), **table)
        return [("file", name), ("shape", array.shape), ("dtype", array.dtype)]
    from spikelca.persistence import load

    return _describe_model(load(path))


def _list_arrays(path: Path) -> list[tuple[str, Any]]:
    """Describe each array of a file."""
    from spikelca.datasets.npy import list_npz, read_npz

    arrays = {key: read_npz(path, key, text=True) for key in list_npz(path)}
    return [(key, f"shape {X.shape}, dtype {X.dtype}") for key, X in arrays.items()]


def _describe_model(model: Any) -> list[tuple[str, Any]]:
    circuit = getattr(model, "circuit_", model)
    facts: list[tuple[str, Any]] = [("model", type(model).__name__)]
    if hasattr(circuit, "widths"):
        facts += [("neurons", circuit.n_neurons), ("threshold", circuit.transfer)]
        facts += [
            (f"modality {d.name}", f"{d.n_inputs} inputs, weight {d.weight:g}")
            for d in circuit.dictionaries
        ]
        facts += [("driver", driver) for driver in circuit.drivers]
    for name in ("observe", "row_scaling_", "n_iter_", "n_steps_", "n_redrawn_"):
        if getattr(model, name, None) is not None:
            facts.append((name.rstrip("_"), getattr(model, name)))
    return facts

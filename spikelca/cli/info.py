"""``spikelca info``: description of the installation, a model or a data file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spikelca.cli.common import Commands

EXAMPLES = """\
examples:
  spikelca info                       versions and number of cores, for a bug report
  spikelca info model.spikelca        neurons, modalities and drivers of a model
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
    return command


def run(arguments: argparse.Namespace) -> None:
    """Print one property per line."""
    facts = _describe_installation() if arguments.file is None else _describe_file(arguments.file)
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


def _describe_file(name: str) -> list[tuple[str, Any]]:
    """Describe an array if the name has the suffix of an array file, else a model."""
    path = Path(name)
    if path.suffix in (".npy", ".npz", ".csv") or ".npz:" in name or "ubyte" in path.name:
        return _describe_array(name)
    from spikelca.persistence import load

    return _describe_model(load(path))


def _describe_array(name: str) -> list[tuple[str, Any]]:
    from spikelca.cli.files import read_array

    array = read_array(name)
    return [("file", name), ("shape", array.shape), ("dtype", array.dtype)]


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
    for name in ("observe", "n_iter_", "n_steps_", "n_redrawn_"):
        if getattr(model, name, None) is not None:
            facts.append((name.rstrip("_"), getattr(model, name)))
    return facts

"""How results are printed and written."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from spikelca._version import __version__
from spikelca.atomic import replacing, write_text
from spikelca.experiments.linked import Material
from spikelca.experiments.settings import PAPER, Settings
from spikelca.experiments.table import Row, Table

LEAK = (
    "LEAKY rows saw the printed digit, which is a function of the label, at test time. "
    "They show why it must not be: they are no results."
)


def versions() -> dict[str, str]:
    """Versions of all that a result depends on."""
    packages = ("numpy", "scipy", "scikit-learn", "numba", "brian2", "matplotlib")
    return {
        "spikelca": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def results(
    table: Table, material: Material, settings: Settings, seeds: Sequence[int]
) -> dict[str, Any]:
    """`results.json` as a dictionary."""
    return {
        "data": material.images.name,
        "font": material.printed.font,
        "settings": settings.as_dict() | {"seeds": list(seeds)},
        "versions": versions(),
        **table.as_dict(),
        "clusters": [],
    }


def write_results(found: dict[str, Any], folder: Path) -> Path:
    """Write `results.json`; returns its path."""
    path = folder / "results.json"
    write_text(path, json.dumps(found, indent=1) + "\n")
    return path


def save_dictionaries(table: Table, folder: Path) -> list[Path]:
    """Write the atoms of the first seed's dictionaries as ``dictionary_<kind>.npz``."""
    paths = []
    for kind, model in table.models.items():
        path = folder / f"dictionary_{kind}.npz"
        atoms: dict[str, Any] = {d.name: d.atoms for d in model.circuit_.dictionaries}
        with replacing(path) as file:
            np.savez(file, **atoms)
        paths.append(path)
    return paths


def rule_of(settings: Settings) -> str:
    """By which rule the linked and the ordinal dictionary learn, as a sentence."""
    if settings.contrast_share == 0:
        return "learning: Eq. 4 alone"
    return (
        f"learning: Eq. 4; linked and ordinal: the last {settings.contrast_share:.0%} contrastive "
        f"(kappa {settings.contrast_amount:g})"
    )


def format_table(table: Table, material: Material, seeds: Sequence[int], settings: Settings) -> str:
    """Table I as text, beside the paper's figures."""
    columns = "".join(f"{name:>15}" for name in ("LR", "linear SVM", "RBF SVM"))
    head = f"{'code':<18}{columns}{'active':>8}{'gap':>9}   paper (MNIST)"
    lines = [
        f"data: {material.images.name};  printed digits: {material.printed.font}",
        f"test accuracy on the handwritten image alone, drivers off; seeds {list(seeds)}",
        rule_of(settings),
        "",
        head,
        "-" * len(head),
    ]
    names = list(dict.fromkeys(row.name for row in table.rows))
    lines += [_line(name, [row for row in table.rows if row.name == name]) for name in names]
    lines.append("")
    for kind, values in table.recall.items():
        lines.append(f"recall of the printed digit, {kind:<8} {_mean(values)}")
    if table.block_readout:
        lines.append(f"block readout, no classifier      {_mean(table.block_readout)}")
    if any("LEAKY" in name for name in names):
        lines += ["", LEAK]
    return "\n".join(lines)


def _line(name: str, rows: Sequence[Row]) -> str:
    scores = [_mean([getattr(row, key) for row in rows]) for key in ("lr", "svm_linear", "svm_rbf")]
    active = "" if rows[0].active is None else f"{np.mean([row.active for row in rows]):.1f}"
    gap = "" if rows[0].gap is None else f"{max(row.gap or 0 for row in rows):.0e}"
    paper = "  ".join(f"{value:.4f}" for value in PAPER.get(name, ()))
    return (
        f"{name:<18}"
        + "".join(f"{s:>15}" for s in scores)
        + f"{active:>8}{gap:>9}   {paper}".rstrip()
    )


def _mean(values: Sequence[float]) -> str:
    """Mean, and with several seeds the spread around it."""
    spread = f" ±{np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"

"""How results are printed and written.

``report.html``: table, figures, settings, versions and the command, in one file.

The file holds its pictures itself and asks for nothing from outside, so that it can be mailed, kept
and opened years later.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from spikelca.experiments.linked import LinkedData
from spikelca.experiments.settings import PAPER, Settings
from spikelca.experiments.table import Row, Table
from spikelca.utils.atomic_write import write_atomic, write_text
from spikelca.utils.system import versions

LEAKAGE_NOTE = (
    "LEAKY rows saw the printed digit, which is a function of the label, at test time. "
    "They show why it must not be: they are no results."
)


def collect_results(
    table: Table, material: LinkedData, settings: Settings, seeds: Sequence[int]
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
        with write_atomic(path) as file:
            np.savez(file, **atoms)
        paths.append(path)
    return paths


def describe_rule(settings: Settings) -> str:
    """By which rule the linked and the ordinal dictionary learn, as a sentence."""
    if settings.contrast_share == 0:
        return "learning: Eq. 4 alone"
    return (
        f"learning: Eq. 4; linked and ordinal: the last {settings.contrast_share:.0%} contrastive "
        f"(kappa {settings.contrast_amount:g})"
    )


def format_table(
    table: Table, material: LinkedData, seeds: Sequence[int], settings: Settings
) -> str:
    """Table I as text, beside the paper's figures."""
    columns = "".join(f"{name:>15}" for name in ("LR", "linear SVM", "RBF SVM"))
    head = f"{'code':<18}{columns}{'active':>8}{'gap':>9}   paper (MNIST)"
    lines = [
        f"data: {material.images.name};  printed digits: {material.printed.font}",
        f"test accuracy on the handwritten image alone, drivers off; seeds {list(seeds)}",
        describe_rule(settings),
        "",
        head,
        "-" * len(head),
    ]
    names = list(dict.fromkeys(row.name for row in table.rows))
    lines += [_format_row(name, [row for row in table.rows if row.name == name]) for name in names]
    lines.append("")
    for kind, values in table.recall.items():
        lines.append(f"recall of the printed digit, {kind:<8} {_format_mean(values)}")
    if table.block_readout:
        lines.append(f"block readout, no classifier      {_format_mean(table.block_readout)}")
    if any("LEAKY" in name for name in names):
        lines += ["", LEAKAGE_NOTE]
    return "\n".join(lines)


def _format_row(name: str, rows: Sequence[Row]) -> str:
    scores = [
        _format_mean([getattr(row, key) for row in rows]) for key in ("lr", "svm_linear", "svm_rbf")
    ]
    active = "" if rows[0].active is None else f"{np.mean([row.active for row in rows]):.1f}"
    gap = "" if rows[0].gap is None else f"{max(row.gap or 0 for row in rows):.0e}"
    paper = "  ".join(f"{value:.4f}" for value in PAPER.get(name, ()))
    return (
        f"{name:<18}"
        + "".join(f"{s:>15}" for s in scores)
        + f"{active:>8}{gap:>9}   {paper}".rstrip()
    )


def _format_mean(values: Sequence[float]) -> str:
    """Mean, and with several seeds the spread around it."""
    spread = f" ±{np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


COLUMNS = {"lr": "logistic regression", "svm_linear": "linear SVM", "svm_rbf": "RBF SVM"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto;
       padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } td { white-space: nowrap; }
thead th { border-bottom: 2px solid #222; }
.paper { color: #666; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
figure { margin: 2rem 0; } img { max-width: 100%; height: auto; }
.warning { border-left: 4px solid #CC6677; padding-left: .8rem; }
.beside { display: flex; flex-wrap: wrap; gap: 0 4rem; }
"""


def write_html(found: Mapping[str, Any], text: str, command: str, folder: Path) -> Path:
    """Write ``report.html`` from the results and the figures in the folder.

    Parameters
    ----------
    found : mapping
        What `results.json` holds.
    text : str
        The table as it was printed.
    command : str
        The command that made it.
    folder : Path

    Returns
    -------
    Path
    """
    path = folder / "report.html"
    drawn = [folder / f"figure{number}.png" for number in range(1, 8)]
    figures = [(picture.stem, read_caption(picture), picture.read_bytes()) for picture in drawn]
    write_text(path, render_html(found, text, command, figures))
    return path


def read_caption(picture: Path) -> str:
    """The caption that stands with a figure's data."""
    with np.load(picture.with_suffix(".npz"), allow_pickle=False) as arrays:
        return str(arrays["caption"])


def render_html(
    found: Mapping[str, Any], text: str, command: str, figures: Sequence[tuple[str, str, bytes]]
) -> str:
    """The whole page.

    Parameters
    ----------
    found : mapping
    text : str
    command : str
    figures : sequence of (name, caption, PNG bytes)
    """
    parts = [
        f"<h1>Linked sparse codes of {escape(found['data'])}</h1>",
        f"<p>Printed digits: {escape(found['font'])}. At test time the handwritten image is all "
        "that is seen, and every driver is off.</p>",
        f"<h2>Table I: test accuracy</h2>{render_table(found['rows'])}",
        *_warning(found, command),
        *_without_classifier(found),
        f"<details><summary>as it was printed</summary><pre>{escape(text)}</pre></details>",
        "<h2>Figures</h2>",
        *(_figure(*one) for one in figures),
        f"<h2>How it was made</h2><pre id='command'>{escape(command)}</pre>",
        f"<div class='beside'><div><h3>Settings</h3>{render_pairs(found['settings'])}</div>",
        f"<div><h3>Versions</h3>{render_pairs(found['versions'])}</div></div>",
    ]
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>spikelca: "
        f"{escape(found['data'])}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def render_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Table I, mean and spread over the seeds, the paper's figures beside it."""
    heads = ["code", *COLUMNS.values(), "active neurons", "largest gap", "paper (MNIST)"]
    names = dict.fromkeys(row["name"] for row in rows)
    lines = [
        _html_line(name, [row for row in rows if row["name"] == name], PAPER.get(name, ()))
        for name in names
    ]
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table id='table'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_line(name: str, rows: Sequence[Mapping[str, Any]], paper: Sequence[float]) -> str:
    cells = [escape(name)]
    for key in COLUMNS:
        values = [row[key] for row in rows]
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.4f}{spread}")
    known = rows[0]["active"] is not None
    cells.append(f"{np.mean([row['active'] for row in rows]):.1f}" if known else "")
    gaps = [row["gap"] for row in rows if row["gap"] is not None]
    cells.append(f"{max(gaps):.0e}" if gaps else "")
    told = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"{told}<td class='paper'>{' / '.join(f'{value:.4f}' for value in paper)}</td>"


def _warning(found: Mapping[str, Any], command: str) -> Iterator[str]:
    if "--quick" in command.split():
        yield (
            "<p class='warning'>A quick run: it shows the whole road in seconds, and its figures "
            "mean nothing.</p>"
        )
    if any("LEAKY" in row["name"] for row in found["rows"]):
        yield (
            "<p class='warning'>LEAKY rows saw the printed digit, which is a function of the "
            "label, at test time. They are no results.</p>"
        )


def _without_classifier(found: Mapping[str, Any]) -> Iterator[str]:
    """What the codes say by themselves, if it was measured."""
    said = {
        f"recall of the printed digit, {kind}": value
        for kind, value in found.get("recall", {}).items()
    }
    if found.get("block_readout") is not None:
        said["strongest block of the ordinal code"] = found["block_readout"]
    for one in found.get("clusters", ()):
        if one["plane"] == "tsne":
            said[f"ten nearest neighbours in the t-SNE plane, {one['code']}"] = one["knn10"]
    if said:
        told = render_pairs({name: f"{value:.4f}" for name, value in said.items()})
        yield f"<h3>Without a classifier</h3>{told}"


def _figure(name: str, caption: str, png: bytes) -> str:
    code = base64.b64encode(png).decode()
    alt = escape(re.sub(r"\s+", " ", caption), quote=True)
    return f'<figure><img id="{name}" alt="{alt}" src="data:image/png;base64,{code}"></figure>'


def render_pairs(values: Mapping[str, Any]) -> str:
    """Names and values as a small table."""
    lines = (
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(lines)}</table>"

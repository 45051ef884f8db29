"""Results as text, JSON and HTML.

`summarise_rows` computes Table I once; `format_table` writes it as text, `render_table` as HTML.
``report.html`` contains table, figures, settings, versions and the command. It is self-contained:
images are embedded and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from spikelca.estimators import LinkedLCA
from spikelca.experiments.linked import LinkedData
from spikelca.experiments.settings import PAPER, Settings
from spikelca.experiments.table import Table
from spikelca.utils.atomic_write import write_atomic, write_text
from spikelca.utils.system import versions

LEAKAGE_NOTE = (
    "LEAKY rows were encoded with the printed digit, which is a function of the label, at test "
    "time. They show the effect of label leakage and are not results."
)
QUICK_NOTE = "Smoke test of the full pipeline on a reduced problem. Its results are not meaningful."
COLUMNS = {"lr": "logistic regression", "svm_linear": "linear SVM", "svm_rbf": "RBF SVM"}
TEXT_WIDTH = 80
"""Characters per line of the printed results."""

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
.columns { display: flex; flex-wrap: wrap; gap: 0 4rem; }
"""


@dataclass(frozen=True)
class SummaryRow:
    """One printed line of Table I: a code, over all seeds.

    Attributes
    ----------
    name : str
        Name of the code.
    scores : list of str
        Test accuracy of each classifier, with the standard deviation of several seeds.
    active : str
        Mean number of active neurons, "" for raw pixels.
    gap : str
        Relative duality gap (`Row.gap`), the largest over the seeds; "" where there is none.
    paper : list of str
        Accuracies of the paper on MNIST.
    """

    name: str
    scores: list[str]
    active: str
    gap: str
    paper: list[str]


def summarise_rows(rows: Sequence[Mapping[str, Any]]) -> list[SummaryRow]:
    """Summarise the rows of ``results.json`` over their seeds.

    Parameters
    ----------
    rows : sequence of mapping
        One row per code and seed.

    Returns
    -------
    list of SummaryRow
    """
    names = dict.fromkeys(row["name"] for row in rows)
    return [_summarise(name, [row for row in rows if row["name"] == name]) for name in names]


def _summarise(name: str, rows: Sequence[Mapping[str, Any]]) -> SummaryRow:
    active = [row["active"] for row in rows if row["active"] is not None]
    gaps = [row["gap"] for row in rows if row["gap"] is not None]
    return SummaryRow(
        name,
        [_format_mean([row[key] for row in rows]) for key in COLUMNS],
        f"{np.mean(active):.1f}" if active else "",
        f"{max(gaps):.0e}" if gaps else "",
        [f"{value:.4f}" for value in PAPER.get(name, ())],
    )


def _format_mean(values: Sequence[float]) -> str:
    """Format the mean and, for several seeds, the standard deviation."""
    spread = f" ±{np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def collect_results(
    table: Table, data: LinkedData, settings: Settings, seeds: Sequence[int]
) -> dict[str, Any]:
    """Collect the content of ``results.json``."""
    return {
        "data": data.images.name,
        "font": data.printed.font,
        "settings": settings.as_dict() | {"seeds": list(seeds)},
        "versions": versions(),
        **table.as_dict(),
        "clusters": [],
    }


def write_results(results: dict[str, Any], folder: Path) -> Path:
    """Write ``results.json`` and return its path."""
    path = folder / "results.json"
    write_text(path, json.dumps(results, indent=1) + "\n")
    return path


def save_dictionary(folder: Path, kind: str, model: LinkedLCA) -> Path:
    """Write the atoms of a dictionary as ``dictionary_<kind>.npz`` and return its path."""
    path = folder / f"dictionary_{kind}.npz"
    atoms: dict[str, Any] = {d.name: d.atoms for d in model.circuit_.dictionaries}
    with write_atomic(path) as file:
        np.savez(file, **atoms)
    return path


def describe_rule(settings: Settings) -> str:
    """Describe the learning rule of the linked and the ordinal dictionary."""
    if settings.contrast_fraction == 0:
        return "learning: Eq. 4 only"
    return (
        f"learning: Eq. 4; linked and ordinal: last {settings.contrast_fraction:.0%} contrastive "
        f"(kappa {settings.contrast_kappa:g})"
    )


def format_table(table: Table, data: LinkedData, seeds: Sequence[int], settings: Settings) -> str:
    """Format Table I as text, with the numbers of the paper."""
    columns = "".join(f"{name:>15}" for name in ("LR", "linear SVM", "RBF SVM"))
    head = f"{'code':<16}{columns}{'active':>8}{'gap':>9}"
    rows = summarise_rows(table.as_dict()["rows"])
    paper = [SummaryRow(f"paper: {row.name}", row.paper, "", "", []) for row in rows if row.paper]
    lines = [
        f"data: {data.images.name}",
        f"printed digits: {data.printed.font}",
        f"test accuracy from the handwritten image only, without drivers; seeds {list(seeds)}",
        describe_rule(settings),
        "",
        head,
        "-" * len(head),
        *(_format_row(row) for row in [*rows, *paper]),
        "",
    ]
    if paper:
        lines += ["The rows of the paper are its Table I, for MNIST.", ""]
    for kind, values in table.recall.items():
        lines.append(f"recall of the printed digit, {kind:<8} {_format_mean(values)}")
    if table.block_readout:
        lines.append(f"block read-out, no classifier     {_format_mean(table.block_readout)}")
    if any("LEAKY" in row.name for row in rows):
        lines += ["", LEAKAGE_NOTE]
    return "\n".join(wrap_line(line) for line in lines)


def wrap_line(line: str) -> str:
    """Break a line of text into lines of at most `TEXT_WIDTH` characters."""
    return line if len(line) <= TEXT_WIDTH else textwrap.fill(line, TEXT_WIDTH)


def _format_row(row: SummaryRow) -> str:
    scores = "".join(f"{score:>15}" for score in row.scores)
    return f"{row.name:<16}{scores}{row.active:>8}{row.gap:>9}".rstrip()


def write_html(results: Mapping[str, Any], text: str, command: str, folder: Path) -> Path:
    """Write ``report.html`` from the results and the figures in the folder.

    Parameters
    ----------
    results : mapping
        Content of ``results.json``.
    text : str
        Table I as text.
    command : str
        Command line of the run.
    folder : Path
        Folder with the figures.

    Returns
    -------
    Path
        Path of the report.
    """
    path = folder / "report.html"
    images = [folder / f"figure{number}.png" for number in range(1, 8)]
    figures = [(image.stem, read_caption(image), image.read_bytes()) for image in images]
    write_text(path, render_html(results, text, command, figures))
    return path


def read_caption(image: Path) -> str:
    """Read the caption of a figure from its data file."""
    with np.load(image.with_suffix(".npz"), allow_pickle=False) as arrays:
        return str(arrays["caption"])


def render_html(
    results: Mapping[str, Any], text: str, command: str, figures: Sequence[tuple[str, str, bytes]]
) -> str:
    """Render the report.

    Parameters
    ----------
    results : mapping
        Content of ``results.json``.
    text : str
        Table I as text.
    command : str
        Command line of the run.
    figures : sequence of (name, caption, PNG bytes)
        Figures to embed.

    Returns
    -------
    str
    """
    sections = [
        f"<h1>Linked sparse codes of {escape(results['data'])}</h1>",
        f"<p>Printed digits: {escape(results['font'])}. At test time only the handwritten image is "
        "observed, without drivers.</p>",
        f"<h2>Table I: test accuracy</h2>{render_table(results['rows'])}",
        *_render_notes(results, command),
        *_render_readouts(results),
        f"<details><summary>As text</summary><pre>{escape(text)}</pre></details>",
        "<h2>Figures</h2>",
        *(_render_figure(*figure) for figure in figures),
        f"<h2>Command and settings</h2><pre id='command'>{escape(command)}</pre>",
        f"<div class='columns'><div><h3>Settings</h3>{render_pairs(results['settings'])}</div>",
        f"<div><h3>Versions</h3>{render_pairs(results['versions'])}</div></div>",
    ]
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>spikelca: "
        f"{escape(results['data'])}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def render_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Render Table I as HTML, with the numbers of the paper."""
    heads = ["code", *COLUMNS.values(), "active neurons", "largest gap", "paper (MNIST)"]
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{_render_row(row)}</tr>" for row in summarise_rows(rows))
    return f"<table id='table'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _render_row(row: SummaryRow) -> str:
    cells = (escape(row.name), *row.scores, row.active, row.gap)
    return (
        "".join(f"<td>{cell}</td>" for cell in cells)
        + f"<td class='paper'>{' / '.join(row.paper)}</td>"
    )


def _render_notes(results: Mapping[str, Any], command: str) -> Iterator[str]:
    if "--quick" in command.split():
        yield f"<p class='warning'>{QUICK_NOTE}</p>"
    if any("LEAKY" in row["name"] for row in results["rows"]):
        yield f"<p class='warning'>{LEAKAGE_NOTE}</p>"


def _render_readouts(results: Mapping[str, Any]) -> Iterator[str]:
    """Render the accuracies that need no classifier, if there are any."""
    values = {
        f"recall of the printed digit, {kind}": value
        for kind, value in results.get("recall", {}).items()
    }
    if results.get("block_readout") is not None:
        values["strongest block of the ordinal code"] = results["block_readout"]
    for cluster in results.get("clusters", ()):
        if cluster["plane"] == "tsne":
            name = f"ten nearest neighbours in the t-SNE plane, {cluster['code']}"
            values[name] = cluster["knn10"]
    if values:
        pairs = render_pairs({name: f"{value:.4f}" for name, value in values.items()})
        yield f"<h3>Without a classifier</h3>{pairs}"


def _render_figure(name: str, caption: str, png: bytes) -> str:
    code = base64.b64encode(png).decode()
    alt = escape(re.sub(r"\s+", " ", caption), quote=True)
    return f'<figure><img id="{name}" alt="{alt}" src="data:image/png;base64,{code}"></figure>'


def render_pairs(values: Mapping[str, Any]) -> str:
    """Render names and values as a table."""
    lines = (
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(lines)}</table>"

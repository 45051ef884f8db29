"""Figure 7: the price of control, accuracy against order as the driver grows.

Short learnings with drivers of growing strength, and a classifier whose constant is fixed: the
figure shows a trend and is not Table I. It is measured on training images that were held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.linear_model import LogisticRegression

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.experiments.linked import make_estimator
from spikelca.experiments.scoring import unit_scale
from spikelca.experiments.settings import PRINTED
from spikelca.metrics import block_selectivity, block_sums
from spikelca.plotting.style import colour_of, hide_spines, set_title
from spikelca.utils.system import map_two_threads

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)
DRIVER_PARAMETER = {"current": "inhibition", "linked": "gain"}
MEASURES = {
    "accuracy": ("accuracy of logistic regression", "o-", 0),
    "block_readout": ("block read-out, no classifier", "s--", 0),
    "recall": ("recall of the printed digit", "^:", 0),
    "own_block": ("activity in the block of the own class", "D-", 1),
}
CURVE_COLOURS = (0, 1, 2, 8)
LEGEND_MARGIN = 0.4
"""Of the height of the curves, above them, for the legend."""
PANELS = (
    ("(a) accuracy", "share of held-out images"),
    ("(b) order", "share of activity in the own block"),
)


def control_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 7."""
    knob = DRIVER_PARAMETER.get(evidence.settings.reading, "inhibition")
    found = list(map_two_threads(measure, [(evidence, knob, strength) for strength in STRENGTHS]))
    arrays = {name: np.array([one[name] for one in found]) for name in MEASURES}
    unit = "λ" if knob == "inhibition" else "√λ"
    figure = _draw(arrays, f"{knob} of the driver, in {unit}")
    caption = (
        f"The price of control: {len(STRENGTHS)} ordinal dictionaries, learned for "
        f"{evidence.settings.tuning_batches} batches under drivers of growing {knob} (no fading, "
        "one seed), and measured on held-out training images seen alone, so that small steps on "
        "the left are chance. Without any current the blocks still start from samples of their "
        f"class. {evidence.source}"
    )
    facts = [{"strength": s, **one} for s, one in zip(STRENGTHS, found, strict=True)]
    arrays["strength"] = np.array(STRENGTHS)
    return FigureOutput("the price of control", caption, figure, arrays, {"control": facts})


def _draw(arrays: Mapping[str, Any], xlabel: str) -> Figure:
    figure = new_figure(9.0, 4.0)
    axes = figure.subplots(1, 2)
    for number, (name, (label, style, column)) in enumerate(MEASURES.items()):
        colour = colour_of(CURVE_COLOURS[number])
        axes[column].plot(STRENGTHS, arrays[name], style, color=colour, label=label)
    for ax, (title, what) in zip(axes, PANELS, strict=True):
        ax.set(xlabel=xlabel, ylabel=what)
        ax.set_xticks(STRENGTHS, [f"{strength:g}" for strength in STRENGTHS])
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        set_title(hide_spines(ax), title)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + LEGEND_MARGIN * (high - low))
    axes[0].legend(frameon=False, loc="upper left", fontsize="small")
    return figure


def measure(evidence: FigureInputs, knob: str, strength: float) -> dict[str, float]:
    """Learn with a driver of this strength; accuracy, block read-out and recall."""
    material, model = evidence.material, evidence.models["ordinal"]
    turned: dict[str, Any] = {knob: strength}
    settings = replace(evidence.settings, fade_floor=1.0, **turned)
    y = material.images.y_train
    rows = np.random.default_rng(evidence.seed).permutation(len(y))
    held = rows[: min(settings.tuning_samples, len(y) // 3)]
    shown = rows[len(held) :]
    learned = make_estimator(
        "ordinal", material, settings, model.threshold, evidence.seed,
        n_batches=settings.tuning_batches, n_samples=len(shown),
    ).fit(material.linked(shown), y[shown])  # fmt: skip
    train = learned.transform(material.train[shown[: settings.tuning_samples]])
    codes = learned.transform(material.train[held])
    scale = train.dtype.type(unit_scale(train))
    classifier = LogisticRegression(C=100.0, max_iter=500)
    classifier.fit(train * scale, y[shown[: settings.tuning_samples]])
    recalled = learned.inverse_transform(codes, modality=PRINTED)
    sums = block_sums(codes, evidence.neuron_classes, material.n_classes)
    selectivity = block_selectivity(codes, y[held], evidence.neuron_classes, material.n_classes)
    return {
        "accuracy": float(classifier.score(codes * scale, y[held])),
        "block_readout": float((sums.argmax(axis=1) == y[held]).mean()),
        "recall": float(((recalled @ material.glyphs.T).argmax(axis=1) == y[held]).mean()),
        "own_block": float(selectivity.diagonal().mean()),
    }

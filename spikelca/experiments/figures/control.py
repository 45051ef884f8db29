"""Figure 7: accuracy and order of the code as a function of the driver strength.

Short training runs and a classifier with a fixed constant show a trend; the accuracies are not
those of Table I. They are computed on held-out training images.
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
    "own_block": ("activity in the block of the true class", "D-", 1),
}
CURVE_COLOURS = (0, 1, 2, 8)
LEGEND_MARGIN = 0.4
"""Space for the legend above the curves, relative to their height."""
PANELS = (
    ("(a) accuracy", "share of held-out images"),
    ("(b) order", "share of activity in the true block"),
)


def control_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 7: accuracy, block read-out and recall for each driver strength."""
    parameter = DRIVER_PARAMETER.get(inputs.settings.driver_mode, "inhibition")
    jobs = [(inputs, parameter, strength) for strength in STRENGTHS]
    results = list(map_two_threads(measure_strength, jobs))
    arrays = {name: np.array([result[name] for result in results]) for name in MEASURES}
    unit = "λ" if parameter == "inhibition" else "√λ"
    figure = _draw(arrays, f"{parameter} of the driver, in {unit}")
    caption = (
        f"Accuracy and order of {len(STRENGTHS)} ordinal dictionaries as a function of the "
        f"{parameter} of the driver ({inputs.settings.tuning_batches} batches, no fading, one "
        "seed), computed on held-out handwritten training images. Small differences on the left "
        "are within chance. Without current, the blocks are still initialised with samples of "
        f"their class. {inputs.source}"
    )
    facts = [{"strength": s, **result} for s, result in zip(STRENGTHS, results, strict=True)]
    arrays["strength"] = np.array(STRENGTHS)
    title = "accuracy and order against driver strength"
    return FigureOutput(title, caption, figure, arrays, {"control": facts})


def _draw(arrays: Mapping[str, Any], xlabel: str) -> Figure:
    figure = new_figure(9.0, 4.0)
    axes = figure.subplots(1, 2)
    for number, (name, (label, style, column)) in enumerate(MEASURES.items()):
        colour = colour_of(CURVE_COLOURS[number])
        axes[column].plot(STRENGTHS, arrays[name], style, color=colour, label=label)
    for ax, (title, ylabel) in zip(axes, PANELS, strict=True):
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.set_xticks(STRENGTHS, [f"{strength:g}" for strength in STRENGTHS])
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        set_title(hide_spines(ax), title)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + LEGEND_MARGIN * (high - low))
    axes[0].legend(frameon=False, loc="upper left", fontsize="small")
    return figure


def measure_strength(inputs: FigureInputs, parameter: str, strength: float) -> dict[str, float]:
    """Learn with a driver of this strength and compute accuracy, block read-out and recall."""
    data, model = inputs.data, inputs.models["ordinal"]
    fields: dict[str, Any] = {parameter: strength}
    settings = replace(inputs.settings, fade_floor=1.0, **fields)
    y = data.images.y_train
    rows = np.random.default_rng(inputs.seed).permutation(len(y))
    validation = rows[: min(settings.tuning_samples, len(y) // 3)]
    training = rows[len(validation) :]
    estimator = make_estimator(
        "ordinal", data, settings, model.threshold_, inputs.seed,
        n_batches=settings.tuning_batches, n_samples=len(training),
    ).fit(data.stack(training), y[training])  # fmt: skip
    train = estimator.transform(data.train[training[: settings.tuning_samples]])
    codes = estimator.transform(data.train[validation])
    scale = train.dtype.type(unit_scale(train))
    classifier = LogisticRegression(C=100.0, max_iter=500)
    classifier.fit(train * scale, y[training[: settings.tuning_samples]])
    recalled = estimator.inverse_transform(codes, modality=PRINTED)
    sums = block_sums(codes, inputs.neuron_classes, data.n_classes)
    selectivity = block_selectivity(codes, y[validation], inputs.neuron_classes, data.n_classes)
    return {
        "accuracy": float(classifier.score(codes * scale, y[validation])),
        "block_readout": float((sums.argmax(axis=1) == y[validation]).mean()),
        "recall": float(((recalled @ data.glyphs.T).argmax(axis=1) == y[validation]).mean()),
        "own_block": float(selectivity.diagonal().mean()),
    }

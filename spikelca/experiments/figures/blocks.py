"""Figure 6: block read-out of the ordinal code."""

from __future__ import annotations

import numpy as np

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.metrics import block_selectivity, block_sums
from spikelca.plotting import draw_blocks


def block_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 6: activity of the blocks for each class, and the strongest block."""
    codes, labels, neuron_classes = (
        inputs.codes["ordinal"],
        inputs.labels,
        inputs.neuron_classes,
    )
    n_classes = inputs.data.n_classes
    strongest = block_sums(codes, neuron_classes, n_classes).argmax(axis=1)
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, (labels, strongest), 1)
    confusion /= confusion.sum(axis=1, keepdims=True)
    activity = block_selectivity(codes, labels, neuron_classes, n_classes)
    figure = new_figure(10.0, 5.2)
    axes = figure.subplots(1, 2, gridspec_kw={"wspace": 0.03})
    draw_blocks(activity, axes[0], title="(a) share of the activity of a class")
    draw_blocks(
        confusion, axes[1], columns="strongest block", title="(b) share of the images of a class"
    )
    caption = (
        "Order of the ordinal code of the handwritten test images, without driver. (a) "
        "Distribution of the activity of a class over the blocks. (b) Strongest block of the "
        f"images of a class; it is the right one for {np.mean(strongest == labels):.2%} of "
        f"{len(labels)} images, without a classifier. {inputs.source}"
    )
    arrays = {"activity": activity, "confusion": confusion, "winner": strongest, "labels": labels}
    return FigureOutput("confusion matrix of the block read-out", caption, figure, arrays)

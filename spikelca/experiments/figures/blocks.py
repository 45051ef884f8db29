"""Figure 6: what the blocks of the ordinal code say, without any classifier."""

from __future__ import annotations

import numpy as np

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.metrics import block_selectivity, block_sums
from spikelca.plotting import draw_blocks


def block_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 6: where the activity goes, and which block wins."""
    codes, labels, neuron_classes = (
        evidence.codes["ordinal"],
        evidence.labels,
        evidence.neuron_classes,
    )
    n_classes = evidence.material.n_classes
    winner = block_sums(codes, neuron_classes, n_classes).argmax(axis=1)
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, (labels, winner), 1)
    confusion /= confusion.sum(axis=1, keepdims=True)
    activity = block_selectivity(codes, labels, neuron_classes, n_classes)
    figure = new_figure(10.0, 5.2)
    axes = figure.subplots(1, 2, gridspec_kw={"wspace": 0.03})
    draw_blocks(activity, axes[0], title="(a) share of the activity of a class")
    draw_blocks(
        confusion, axes[1], columns="strongest block", title="(b) share of the images of a class"
    )
    caption = (
        "Order of the ordinal code of the handwritten test image alone, the driver off. (a) How "
        "the activity of a class is spread over the blocks. (b) How often each block is the "
        f"strongest: right for {np.mean(winner == labels):.2%} of {len(labels)} images, with no "
        f"classifier. {evidence.source}"
    )
    arrays = {"activity": activity, "confusion": confusion, "winner": winner, "labels": labels}
    return FigureOutput("confusion of the block read-out", caption, figure, arrays)

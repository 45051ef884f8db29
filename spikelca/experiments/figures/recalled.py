"""Figure 3: what a handwritten digit recalls."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import normalize

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.experiments.settings import PRINTED
from spikelca.plotting import draw_recall

N_COLUMNS = 10


def recall_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 3: the first test image of each class, and the first that recall a wrong digit."""
    model, material, labels = evidence.models["linked"], evidence.material, evidence.labels
    recalled = model.inverse_transform(evidence.codes["linked"], modality=PRINTED)
    found = (normalize(recalled) @ material.glyphs.T).argmax(axis=1)
    first = np.array([np.flatnonzero(labels == c)[0] for c in range(material.n_classes)])
    failed = np.flatnonzero(found != labels)[:N_COLUMNS]
    figure = new_figure(8.0, 6.0 if failed.size else 3.4)
    spaced = {"hspace": 0.06}
    axes = figure.subplots(2 if failed.size else 1, 1, squeeze=False, gridspec_kw=spaced)[:, 0]
    titles = ("the first test image of each digit", "the first that recall another digit")
    for ax, rows, title in zip(axes, (first, failed), titles, strict=False):
        wrong = found[rows] != labels[rows]
        draw_recall(
            [material.test[rows], np.maximum(recalled[rows], 0), material.glyphs[labels[rows]]],
            ["(a) input", "(b) recalled, Φ₂a", "(c) expected"],
            material.images.image_shape,
            ax,
            wrong=wrong,
            title=title,
        )
        ax.set_xticks(ax.get_xticks(), [f"✗ {digit}" for digit in found[rows][wrong]])
    caption = (
        "(a) A handwritten digit, the only thing seen. (b) The printed digit that its code "
        "recalls, its ink cut at zero. (c) The printed digit expected. By cosine "
        f"{np.mean(found == labels):.2%} of {len(labels)} test images recall the right digit of "
        f"ten; a cross marks the others and names the digit recalled. {evidence.source}"
    )
    arrays = {
        "rows": np.concatenate([first, failed]), "recalled": recalled, "found": found,
        "labels": labels,
    }  # fmt: skip
    return FigureOutput("recall of the printed digit", caption, figure, arrays)

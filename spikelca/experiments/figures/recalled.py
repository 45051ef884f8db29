"""Figure 3: printed digits reconstructed from handwritten ones."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import normalize

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.experiments.settings import PRINTED
from spikelca.plotting import draw_recall

N_COLUMNS = 10


def recall_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 3: the first test image of each class, and the first wrong reconstructions."""
    model, data, labels = inputs.models["linked"], inputs.data, inputs.labels
    recalled = model.inverse_transform(inputs.codes["linked"], modality=PRINTED)
    predicted = (normalize(recalled) @ data.glyphs.T).argmax(axis=1)
    first = np.array([np.flatnonzero(labels == c)[0] for c in range(data.n_classes)])
    failed = np.flatnonzero(predicted != labels)[:N_COLUMNS]
    figure = new_figure(8.0, 6.0 if failed.size else 3.4)
    spacing = {"hspace": 0.06}
    axes = figure.subplots(2 if failed.size else 1, 1, squeeze=False, gridspec_kw=spacing)[:, 0]
    titles = ("first test image of each digit", "first wrong reconstructions")
    for ax, rows, title in zip(axes, (first, failed), titles, strict=False):
        wrong = predicted[rows] != labels[rows]
        draw_recall(
            [data.test[rows], np.maximum(recalled[rows], 0), data.glyphs[labels[rows]]],
            ["(a) input", "(b) recalled, Φ₂a", "(c) expected"],
            data.images.image_shape,
            ax,
            wrong=wrong,
            title=title,
        )
        ax.set_xticks(ax.get_xticks(), [f"✗ {digit}" for digit in predicted[rows][wrong]])
    caption = (
        "(a) Handwritten digit, the only input. (b) Printed digit reconstructed from its code, "
        "clipped at zero. (c) Expected printed digit. By cosine similarity, the reconstruction is "
        f"closest to the right digit for {np.mean(predicted == labels):.2%} of {len(labels)} test "
        f"images; a cross marks wrong ones, with the digit that is closest. {inputs.source}"
    )
    arrays = {
        "rows": np.concatenate([first, failed]), "recalled": recalled, "found": predicted,
        "labels": labels,
    }  # fmt: skip
    return FigureOutput("recall of the printed digit", caption, figure, arrays)

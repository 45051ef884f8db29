"""Figure 2: active neurons and reconstruction error of each modality during training.

The training run of Table I does not record its course. Its first batches are repeated with the
same settings, and the model is evaluated on test images after some of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.estimators import LinkedLCA
from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.experiments.linked import make_estimator
from spikelca.experiments.settings import HANDWRITTEN, PRINTED
from spikelca.metrics import squared_error
from spikelca.plotting.style import colour_of, hide_spines, set_title

MAX_BATCHES, N_EVALUATIONS, N_IMAGES = 200, 12, 300
TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
PANELS = {
    f"active_{HANDWRITTEN}": "(a) code of the handwritten digit",
    f"active_{PRINTED}": "(b) code of the printed digit",
    f"error_{HANDWRITTEN}": "(c) handwritten, from its own code",
    f"error_{PRINTED}": "(d) printed, recalled from handwritten",
}


def growth_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 2: active neurons and reconstruction error against the number of batches."""
    n_batches = min(inputs.settings.n_batches, MAX_BATCHES)
    evaluated = np.unique(np.geomspace(1, n_batches, N_EVALUATIONS).astype(int))
    arrays = learn_and_measure(inputs, evaluated)
    ticks = [tick for tick in TICKS if tick <= n_batches]
    figure = new_figure(9.0, 6.2)
    axes = figure.subplots(2, 2, sharey="row", gridspec_kw={"hspace": 0.08})
    for ax, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        low, median, high = np.percentile(arrays[name], (10, 50, 90), axis=1)
        ax.fill_between(evaluated, low, high, color=colour_of(4), alpha=0.4, linewidth=0)
        ax.plot(evaluated, median, color=colour_of(0), marker=".")
        ax.set(xscale="log", ylim=(0, None), xlabel="batches learned")
        ax.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        ax.minorticks_off()
        set_title(hide_spines(ax), title)
    axes[0, 0].set_ylabel("active neurons")
    axes[1, 0].set_ylabel("relative squared error")
    caption = (
        f"First {n_batches} batches of {inputs.settings.batch_size} samples of the training of "
        f"linked dictionaries, evaluated on {N_IMAGES} test images (line: median; band: 10th to "
        "90th percentile). (a), (c), (d): only the handwritten image is observed; (b): only the "
        f"printed digit. Reconstruction in (d) requires linked dictionaries. {inputs.source}"
    )
    return FigureOutput(
        "active neurons and reconstruction", caption, figure, {"batch": evaluated, **arrays}
    )


def learn_and_measure(
    inputs: FigureInputs, evaluated: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Learn batch by batch and evaluate after some: (n_evaluations, n_images) for each panel."""
    data, settings = inputs.data, inputs.settings
    model = make_estimator(
        "linked", data, settings, inputs.models["linked"].threshold_, inputs.seed
    )
    order = np.random.default_rng(inputs.seed).permutation(len(data.train))
    rows = np.resize(order, evaluated[-1] * settings.batch_size).reshape(evaluated[-1], -1)
    measured: dict[str, list[NDArray[np.float64]]] = {name: [] for name in PANELS}
    for batch, chosen in enumerate(rows, start=1):
        model.partial_fit(data.stack(chosen))
        if batch in evaluated:
            for name, values in measure_model(model, inputs).items():
                measured[name].append(values)
    return {name: np.array(values) for name, values in measured.items()}


def measure_model(model: LinkedLCA, inputs: FigureInputs) -> dict[str, NDArray[np.float64]]:
    """Compute active neurons and relative errors on the first test images."""
    circuit, glyphs = model.circuit_, inputs.data.glyphs
    images, labels = inputs.data.test[:N_IMAGES], inputs.labels[:N_IMAGES]
    code = circuit.encode({HANDWRITTEN: images}, 1e-3).code
    active = np.count_nonzero(circuit.encode({PRINTED: glyphs}, 1e-3).code, axis=1)
    measured = {
        f"active_{HANDWRITTEN}": np.count_nonzero(code, axis=1).astype(np.float64),
        f"active_{PRINTED}": active[labels].astype(np.float64),
    }
    for name, target in ((HANDWRITTEN, images), (PRINTED, glyphs[labels])):
        recalled = circuit.reconstruct(code, name, [HANDWRITTEN])
        measured[f"error_{name}"] = _relative_error(target, recalled)
    return measured


def _relative_error(target: NDArray[Any], recalled: NDArray[Any]) -> NDArray[np.float64]:
    """Compute ``|x - y|^2 / |x|^2`` for the best scaling of y, as recall uses the cosine, too."""
    power = np.einsum("ij,ij->i", recalled, recalled)
    overlap = np.einsum("ij,ij->i", target, recalled)
    scale = np.divide(overlap, power, out=np.zeros_like(overlap), where=power > 0)
    error = squared_error(target, np.eye(target.shape[1]), recalled * scale[:, None])
    return np.asarray(error / np.einsum("ij,ij->i", target, target))

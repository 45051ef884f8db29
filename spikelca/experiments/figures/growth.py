"""Figure 2: active neurons and reconstruction of each modality while the dictionaries are learned.

The learning of Table I keeps no film of itself, so its beginning is run once more, with the same
settings, and stopped now and then to look at test images that it does not learn from.
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

MAX_BATCHES, N_LOOKS, N_SHOWN = 200, 12, 300
TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
PANELS = {
    f"active_{HANDWRITTEN}": "(a) code of the handwritten digit",
    f"active_{PRINTED}": "(b) code of the printed digit",
    f"error_{HANDWRITTEN}": "(c) handwritten, from its own code",
    f"error_{PRINTED}": "(d) printed, recalled from handwritten",
}


def growth_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 2."""
    n_batches = min(evidence.settings.n_batches, MAX_BATCHES)
    looks = np.unique(np.geomspace(1, n_batches, N_LOOKS).astype(int))
    seen = learn_and_measure(evidence, looks)
    marks = [mark for mark in TICKS if mark <= n_batches]
    figure = new_figure(9.0, 6.2)
    axes = figure.subplots(2, 2, sharey="row", gridspec_kw={"hspace": 0.08})
    for ax, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        low, middle, high = np.percentile(seen[name], (10, 50, 90), axis=1)
        ax.fill_between(looks, low, high, color=colour_of(4), alpha=0.4, linewidth=0)
        ax.plot(looks, middle, color=colour_of(0), marker=".")
        ax.set(xscale="log", ylim=(0, None), xlabel="batches learned")
        ax.set_xticks(marks, [str(mark) for mark in marks], minor=False)
        ax.minorticks_off()
        set_title(hide_spines(ax), title)
    axes[0, 0].set_ylabel("active neurons")
    axes[1, 0].set_ylabel("relative squared error")
    caption = (
        f"The first {n_batches} batches of {evidence.settings.batch_size} of a linked learning, "
        f"looked at on {N_SHOWN} test images (line: median; band: 10 to 90 per cent). (a), (c), "
        "(d): the handwritten image alone is seen; (b): the printed digit alone. The recall in (d) "
        f"needs the links. {evidence.source}"
    )
    return FigureOutput(
        "active neurons and reconstruction", caption, figure, {"batch": looks, **seen}
    )


def learn_and_measure(
    evidence: FigureInputs, looks: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Learn batch by batch, and look after some of them: (n_looks, n_shown) for each panel."""
    material, settings = evidence.material, evidence.settings
    model = make_estimator(
        "linked", material, settings, evidence.models["linked"].threshold, evidence.seed
    )
    order = np.random.default_rng(evidence.seed).permutation(len(material.train))
    rows = np.resize(order, looks[-1] * settings.batch_size).reshape(looks[-1], -1)
    seen: dict[str, list[NDArray[np.float64]]] = {name: [] for name in PANELS}
    for batch, chosen in enumerate(rows, start=1):
        model.partial_fit(material.linked(chosen))
        if batch in looks:
            for name, values in measure_model(model, evidence).items():
                seen[name].append(values)
    return {name: np.array(values) for name, values in seen.items()}


def measure_model(model: LinkedLCA, evidence: FigureInputs) -> dict[str, NDArray[np.float64]]:
    """Active neurons and relative errors on the first test images."""
    circuit, glyphs = model.circuit_, evidence.material.glyphs
    written, labels = evidence.material.test[:N_SHOWN], evidence.labels[:N_SHOWN]
    code = circuit.encode({HANDWRITTEN: written}, 1e-3).code
    active = np.count_nonzero(circuit.encode({PRINTED: glyphs}, 1e-3).code, axis=1)
    found = {
        f"active_{HANDWRITTEN}": np.count_nonzero(code, axis=1).astype(np.float64),
        f"active_{PRINTED}": active[labels].astype(np.float64),
    }
    for name, target in ((HANDWRITTEN, written), (PRINTED, glyphs[labels])):
        recalled = circuit.reconstruct(code, name, [HANDWRITTEN])
        found[f"error_{name}"] = _relative_error(target, recalled)
    return found


def _relative_error(target: NDArray[Any], recalled: NDArray[Any]) -> NDArray[np.float64]:
    """``|x - y|^2 / |x|^2`` after the best scaling of y: recall is read by cosine too."""
    power = np.einsum("ij,ij->i", recalled, recalled)
    overlap = np.einsum("ij,ij->i", target, recalled)
    scale = np.divide(overlap, power, out=np.zeros_like(overlap), where=power > 0)
    error = squared_error(target, np.eye(target.shape[1]), recalled * scale[:, None])
    return np.asarray(error / np.einsum("ij,ij->i", target, target))

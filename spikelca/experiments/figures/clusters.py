"""Figure 5: clusters of raw pixels and codes of the handwritten test images.

Each code is embedded in a plane by PCA and by t-SNE. Each panel shows two numbers: the mean
silhouette of the true classes, and the accuracy of ten nearest neighbours (each image excluded from
its own neighbours). Codes are computed without printed digits and drivers; labels are used for
colours and these numbers only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.plotting import draw_embedding
from spikelca.utils.system import map_two_threads
from spikelca.utils.validation import FloatArray

MAX_IMAGES, MAX_SILHOUETTES, SMALL_SIZE = 10_000, 5_000, 1_000
N_NEIGHBOURS, PERPLEXITY = 10, 30.0
PLANES = ("pca", "tsne")
NAMES = {
    "raw": "raw pixels", "single": "single dictionary", "linked": "linked dictionaries",
    "ordinal": "ordinal-linked",
}  # fmt: skip


def cluster_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 5: PCA and t-SNE of raw pixels and three codes."""
    rows = choose_images(len(inputs.labels), inputs.seed)
    labels = inputs.labels[rows]
    codes = {"raw": inputs.data.images.X_test, **inputs.codes}
    codes = {name: codes[name][rows] for name in NAMES}
    jobs = [(name, plane) for plane in reversed(PLANES) for name in NAMES]
    planes = map_two_threads(embed, [(codes[name], plane, inputs.seed) for name, plane in jobs])
    points = dict(zip(jobs, planes, strict=True))
    facts = [
        {"code": name, "plane": plane, "n_samples": len(rows), "seed": inputs.seed}
        | measure_clusters(X, labels, inputs.seed)
        for (name, plane), X in [*points.items(), *(((n, "full"), X) for n, X in codes.items())]
    ]
    caption = (
        f"{describe_subset(len(rows), len(inputs.labels))} handwritten test images, without "
        "printed digits and driver. PCA (top) and t-SNE (bottom, perplexity 30) of raw pixels and "
        "of three codes. Numbers: mean silhouette of the true classes in the plane, and accuracy "
        f"of ten nearest neighbours in the plane. {inputs.source}"
    )
    arrays: dict[str, Any] = {f"{plane}_{name}": X for (name, plane), X in points.items()}
    arrays |= {"labels": labels, "rows": rows}
    return FigureOutput(
        "clusters", caption, _draw(points, labels, facts), arrays, {"clusters": facts}
    )


def _draw(points: dict[tuple[str, str], FloatArray], labels: Any, facts: list[Any]) -> Any:
    figure = new_figure(12.0, 7.2)
    axes = figure.subplots(len(PLANES), len(NAMES))
    by_panel = {(fact["code"], fact["plane"]): fact for fact in facts}
    for i, plane in enumerate(PLANES):
        for j, name in enumerate(NAMES):
            fact = by_panel[name, plane]
            title = f"({'abcd'[j]}) {NAMES[name]}" if i == 0 else None
            note = f"silhouette {fact['silhouette']:.3f}, 10-NN {fact['knn10']:.3f}"
            draw_embedding(points[name, plane], labels, axes[i, j], note=note, title=title)
        axes[i, 0].set_ylabel({"pca": "PCA", "tsne": "t-SNE"}[plane], size="large")
    return figure


def format_clusters(facts: list[dict[str, Any]]) -> str:
    """Format the accuracies of figure 5, and whether codes are above raw pixels."""
    accuracies = {fact["code"]: fact["knn10"] for fact in facts if fact["plane"] == "tsne"}
    text = ", ".join(f"{name} {value:.4f}" for name, value in accuracies.items())
    below = [name for name in ("linked", "ordinal") if accuracies[name] <= accuracies["raw"]]
    comparison = "linked and ordinal codes are above raw pixels"
    if below:
        comparison = f"{' and '.join(below)} codes are NOT above raw pixels here"
    return f"ten nearest neighbours in the t-SNE plane: {text}; {comparison}"


def describe_subset(n_shown: int, n_images: int) -> str:
    """Describe the number of images shown."""
    return f"All {n_images:,}" if n_shown == n_images else f"{n_shown:,} of {n_images:,}"


def choose_images(n_images: int, seed: int) -> NDArray[np.int64]:
    """Choose all test images, or at most `MAX_IMAGES` at random."""
    if n_images <= MAX_IMAGES:
        return np.arange(n_images)
    return np.sort(np.random.default_rng(seed).permutation(n_images)[:MAX_IMAGES])


def embed(X: FloatArray, plane: str, seed: int) -> NDArray[np.float64]:
    """Embed X in a plane by PCA or t-SNE, as (n_samples, 2)."""
    if plane == "pca":
        return np.asarray(PCA(2, random_state=seed).fit_transform(X), dtype=np.float64)
    perplexity = min(PERPLEXITY, (len(X) - 1) / 3)
    max_iter = 500 if len(X) <= SMALL_SIZE else 1000
    tsne = TSNE(2, perplexity=perplexity, init="pca", max_iter=max_iter, random_state=seed)
    # Two embeddings run in parallel; further threads would compete for the same cores.
    with threadpool_limits(1):
        return np.asarray(tsne.fit_transform(X), dtype=np.float64)


def measure_clusters(X: FloatArray, labels: NDArray[np.int64], seed: int) -> dict[str, float]:
    """Compute the silhouette of the true classes and the accuracy of ten nearest neighbours."""
    size = MAX_SILHOUETTES if len(X) > MAX_SILHOUETTES else None
    indices = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(X).kneighbors(return_distance=False)
    votes = (labels[indices][:, :, None] == np.arange(labels.max() + 1)).sum(axis=1)
    return {
        "silhouette": float(silhouette_score(X, labels, sample_size=size, random_state=seed)),
        "knn10": float((votes.argmax(axis=1) == labels).mean()),
    }

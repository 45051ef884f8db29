"""Figure 5: how raw pixels and codes of the handwritten test images cluster.

Each code is flattened to a plane by PCA and by t-SNE, and each panel carries two numbers: the mean
silhouette of the true classes, and the share of images whose class is that of the majority among
their ten nearest neighbours (themselves left out). No code here has seen a printed digit or felt a
driver; labels only colour and count.
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

MAX_IMAGES, MAX_SILHOUETTES, FEW_IMAGES = 10_000, 5_000, 1_000
N_NEIGHBOURS, PERPLEXITY = 10, 30.0
PLANES = ("pca", "tsne")
NAMES = {
    "raw": "raw pixels", "single": "single dictionary", "linked": "linked dictionaries",
    "ordinal": "ordinal-linked",
}  # fmt: skip


def cluster_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 5: PCA above t-SNE, of raw pixels and three codes."""
    rows = choose_images(len(evidence.labels), evidence.seed)
    labels = evidence.labels[rows]
    spaces = {"raw": evidence.material.images.X_test, **evidence.codes}
    spaces = {name: spaces[name][rows] for name in NAMES}
    jobs = [(name, plane) for plane in reversed(PLANES) for name in NAMES]
    flat = map_two_threads(embed, [(spaces[name], plane, evidence.seed) for name, plane in jobs])
    points = dict(zip(jobs, flat, strict=True))
    facts = [
        {"code": name, "plane": plane, "n_samples": len(rows), "seed": evidence.seed}
        | measures(X, labels, evidence.seed)
        for (name, plane), X in [*points.items(), *(((n, "full"), X) for n, X in spaces.items())]
    ]
    caption = (
        f"{describe_subset(len(rows), len(evidence.labels))} handwritten test images, seen alone, the "
        "driver off. Above PCA, below t-SNE (perplexity 30), of raw pixels and of three codes. "
        "Numbers: mean silhouette of the true classes in this plane, and accuracy of ten nearest "
        f"neighbours in it. {evidence.source}"
    )
    arrays: dict[str, Any] = {f"{plane}_{name}": X for (name, plane), X in points.items()}
    arrays |= {"labels": labels, "rows": rows}
    return FigureOutput(
        "clusters", caption, _draw(points, labels, facts), arrays, {"clusters": facts}
    )


def _draw(points: dict[tuple[str, str], FloatArray], labels: Any, facts: list[Any]) -> Any:
    figure = new_figure(12.0, 7.2)
    axes = figure.subplots(len(PLANES), len(NAMES))
    said = {(fact["code"], fact["plane"]): fact for fact in facts}
    for i, plane in enumerate(PLANES):
        for j, name in enumerate(NAMES):
            fact, title = said[name, plane], f"({'abcd'[j]}) {NAMES[name]}" if i == 0 else None
            note = f"silhouette {fact['silhouette']:.3f}, 10-NN {fact['knn10']:.3f}"
            draw_embedding(points[name, plane], labels, axes[i, j], note=note, title=title)
        axes[i, 0].set_ylabel({"pca": "PCA", "tsne": "t-SNE"}[plane], size="large")
    return figure


def format_clusters(facts: list[dict[str, Any]]) -> str:
    """The claim behind figure 5 in words: whether codes cluster better than pixels do."""
    plane = {fact["code"]: fact["knn10"] for fact in facts if fact["plane"] == "tsne"}
    told = ", ".join(f"{name} {value:.4f}" for name, value in plane.items())
    below = [name for name in ("linked", "ordinal") if plane[name] <= plane["raw"]]
    verdict = "linked and ordinal codes lie above raw pixels"
    if below:
        verdict = f"{' and '.join(below)} codes do NOT lie above raw pixels here"
    return f"ten nearest neighbours in the t-SNE plane: {told}; {verdict}"


def describe_subset(n_shown: int, n_images: int) -> str:
    """How many of the images are shown, in words."""
    return f"All {n_images:,}" if n_shown == n_images else f"{n_shown:,} of {n_images:,}"


def choose_images(n_images: int, seed: int) -> NDArray[np.int64]:
    """All test images, or as many as are worth the time, drawn at random."""
    if n_images <= MAX_IMAGES:
        return np.arange(n_images)
    return np.sort(np.random.default_rng(seed).permutation(n_images)[:MAX_IMAGES])


def embed(X: FloatArray, plane: str, seed: int) -> NDArray[np.float64]:
    """X in a plane: (n_samples, 2)."""
    if plane == "pca":
        return np.asarray(PCA(2, random_state=seed).fit_transform(X), dtype=np.float64)
    perplexity = min(PERPLEXITY, (len(X) - 1) / 3)
    rounds = 500 if len(X) <= FEW_IMAGES else 1000
    tsne = TSNE(2, perplexity=perplexity, init="pca", max_iter=rounds, random_state=seed)
    # Two of them run side by side; threads of their own would fight for the same cores.
    with threadpool_limits(1):
        return np.asarray(tsne.fit_transform(X), dtype=np.float64)


def measures(X: FloatArray, labels: NDArray[np.int64], seed: int) -> dict[str, float]:
    """Silhouette of the true classes, and accuracy of ten nearest neighbours, self left out."""
    size = MAX_SILHOUETTES if len(X) > MAX_SILHOUETTES else None
    near = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(X).kneighbors(return_distance=False)
    votes = (labels[near][:, :, None] == np.arange(labels.max() + 1)).sum(axis=1)
    return {
        "silhouette": float(silhouette_score(X, labels, sample_size=size, random_state=seed)),
        "knn10": float((votes.argmax(axis=1) == labels).mean()),
    }

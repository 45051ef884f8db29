"""The linked experiment: images, printed digits, and the dictionaries learned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from spikelca.datasets import ImageData, PrintedDigits, glyphs_for, printed_digits
from spikelca.estimators import LinkedLCA
from spikelca.experiments.scoring import TUNING_CLASSIFIERS, tune
from spikelca.experiments.settings import HANDWRITTEN, PRINTED, Settings
from spikelca.metrics import block_sums
from spikelca.model.drivers import OrdinalDriver
from spikelca.utils.system import map_two_threads
from spikelca.utils.validation import FloatArray

KINDS = ("single", "linked", "ordinal")


@dataclass(frozen=True, eq=False)
class LinkedData:
    """Unit-norm images, the printed digit of each, and the labels.

    Attributes
    ----------
    images : ImageData
    train, test : (n_samples, n_pixels) float32
        Handwritten images of unit norm.
    printed : PrintedDigits
    glyphs : (10, n_pixels) float32
        Printed digits of unit norm.
    """

    images: ImageData
    train: FloatArray
    test: FloatArray
    printed: PrintedDigits
    glyphs: FloatArray

    @property
    def n_pixels(self) -> int:
        """Pixels of an image, handwritten or printed."""
        return int(self.train.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of digits."""
        return len(self.glyphs)

    def linked(self, rows: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """Handwritten and printed training images side by side."""
        return np.hstack([self.train[rows], self.glyphs[self.images.y_train[rows]]])


def make_linked_data(images: ImageData, font: str | None = None) -> LinkedData:
    """Scale images and printed digits to unit norm; render the digits at the images' size."""
    printed = printed_digits(images.image_shape, font)
    return LinkedData(
        images,
        normalize(images.X_train),
        normalize(images.X_test),
        printed,
        normalize(glyphs_for(np.arange(10), printed)),
    )


def make_estimator(
    kind: str, material: LinkedData, settings: Settings, threshold: float, seed: int, **more: Any
) -> LinkedLCA:
    """One of the three dictionaries of the paper, not yet learned."""
    n_samples = more.pop("n_samples", len(material.train))
    n_batches = more.pop("n_batches", settings.n_batches)
    n_pixels = material.n_pixels
    alone = kind == "single"
    return LinkedLCA(
        settings.n_neurons,
        {HANDWRITTEN: n_pixels} if alone else {HANDWRITTEN: n_pixels, PRINTED: n_pixels},
        observe=HANDWRITTEN,
        weights=None if alone else {PRINTED: settings.printed_weight},
        threshold=threshold,
        transfer=settings.transfer,
        driver=settings.driver(material.n_classes, threshold) if kind == "ordinal" else None,
        contrast=settings.contrast(kind),
        n_epochs=max(round(n_batches * settings.batch_size / n_samples), 1),
        batch_size=settings.batch_size,
        random_state=seed,
        verbose=True,
        **more,
    )


def fit_kind(
    kind: str, material: LinkedData, settings: Settings, threshold: float, seed: int
) -> LinkedLCA:
    """Learn one dictionary on all training images."""
    X = material.train if kind == "single" else material.linked()
    model = make_estimator(kind, material, settings, threshold, seed)
    return model.fit(X, material.images.y_train)


def choose_thresholds(
    kinds: Sequence[str], material: LinkedData, settings: Settings, seed: int
) -> dict[str, float]:
    """For each kind the lam whose codes classify held-out *training* images best.

    Each candidate learns a short dictionary on one part of the training images; a linear and an RBF
    SVM are cross-validated on codes of another part. The test set is not seen.
    """
    candidates = settings.thresholds
    if len(candidates) == 1:
        return dict.fromkeys(kinds, candidates[0])
    jobs = [
        (kind, material, settings, threshold, seed) for kind in kinds for threshold in candidates
    ]
    marks = np.reshape(list(map_two_threads(score_threshold, jobs)), (len(kinds), -1))
    best = marks.argmax(axis=1)
    return {kind: candidates[k] for kind, k in zip(kinds, best, strict=True)}


def score_threshold(
    kind: str, material: LinkedData, settings: Settings, threshold: float, seed: int
) -> float:
    """How well the codes of a short learning with this lam are read, summed over the judges."""
    y = material.images.y_train
    rows = np.random.default_rng(seed).permutation(len(y))
    n_scored = min(settings.tuning_samples, len(y) // 3)
    held, shown = rows[:n_scored], rows[n_scored:]
    X = material.train[shown] if kind == "single" else material.linked(shown)
    model = make_estimator(
        kind, material, settings, threshold, seed,
        n_batches=settings.tuning_batches, n_samples=len(shown),
    )  # fmt: skip
    codes = model.fit(X, y[shown]).transform(material.train[held])
    return sum(tune(judge, codes, y[held], seed)[1] for judge in TUNING_CLASSIFIERS)


def recall_accuracy(model: LinkedLCA, codes: FloatArray, material: LinkedData) -> float:
    """Share of test images whose recalled printed digit is, by cosine, the right one of ten."""
    recalled = normalize(model.inverse_transform(codes, modality=PRINTED))
    found = (recalled @ material.glyphs.T).argmax(axis=1)
    return float((found == material.images.y_test).mean())


def block_readout_accuracy(model: LinkedLCA, codes: FloatArray, labels: NDArray[np.int64]) -> float:
    """Share of test images whose most active block is that of their class; no classifier."""
    driver = model.driver
    assert isinstance(driver, OrdinalDriver)
    sums = block_sums(codes, driver.neuron_classes(codes.shape[1]), driver.n_classes)
    return float((model.classes_[sums.argmax(axis=1)] == labels).mean())


def leaky_codes(model: LinkedLCA, material: LinkedData, part: str) -> FloatArray:
    """Codes made with the printed digit in view: what must never be reported as a result."""
    images, labels = (
        (material.train, material.images.y_train)
        if part == "train"
        else (material.test, material.images.y_test)
    )
    both: Mapping[str, FloatArray] = {HANDWRITTEN: images, PRINTED: material.glyphs[labels]}
    circuit = model.circuit_.without_drivers()
    return circuit.encode(both, model.tol, engine=model.engine).code

"""Linked experiment: images, printed digits, and the dictionaries learned from them."""

from __future__ import annotations

import sys
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
    """Images of unit norm, the printed digit of each, and the labels.

    Attributes
    ----------
    images : ImageData
        Handwritten images as loaded, with labels.
    train, test : (n_samples, n_pixels) float32
        Handwritten images of unit norm.
    printed : PrintedDigits
        Printed digits as rendered.
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
        """Number of pixels of an image, handwritten or printed."""
        return int(self.train.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of digits."""
        return len(self.glyphs)

    def stack(self, rows: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """Stack handwritten and printed training images as columns."""
        return np.hstack([self.train[rows], self.glyphs[self.images.y_train[rows]]])


def make_linked_data(images: ImageData, font: str | None = None) -> LinkedData:
    """Render printed digits at the size of the images, and scale both to unit norm."""
    printed = printed_digits(images.image_shape, font)
    return LinkedData(
        images,
        normalize(images.X_train),
        normalize(images.X_test),
        printed,
        normalize(glyphs_for(np.arange(10), printed)),
    )


def make_estimator(
    kind: str, data: LinkedData, settings: Settings, threshold: float, seed: int, **kwargs: Any
) -> LinkedLCA:
    """Make the unfitted estimator of one of the three dictionaries of the paper."""
    n_samples = kwargs.pop("n_samples", len(data.train))
    n_batches = kwargs.pop("n_batches", settings.n_batches)
    n_pixels = data.n_pixels
    is_single = kind == "single"
    return LinkedLCA(
        settings.n_neurons,
        {HANDWRITTEN: n_pixels} if is_single else {HANDWRITTEN: n_pixels, PRINTED: n_pixels},
        observe=HANDWRITTEN,
        weights=None if is_single else {PRINTED: settings.printed_weight},
        threshold=threshold,
        transfer=settings.transfer,
        driver=settings.make_driver(data.n_classes, threshold) if kind == "ordinal" else None,
        contrast=settings.make_contrast(kind),
        n_epochs=max(round(n_batches * settings.batch_size / n_samples), 1),
        batch_size=settings.batch_size,
        random_state=seed,
        verbose=sys.stderr.isatty(),
        **kwargs,
    )


def fit_kind(
    kind: str, data: LinkedData, settings: Settings, threshold: float, seed: int
) -> LinkedLCA:
    """Fit one estimator on all training images."""
    X = data.train if kind == "single" else data.stack()
    model = make_estimator(kind, data, settings, threshold, seed)
    return model.fit(X, data.images.y_train)


def choose_thresholds(
    kinds: Sequence[str], data: LinkedData, settings: Settings, seed: int
) -> dict[str, float]:
    """Choose lam of each kind by the accuracy on held-out training images.

    For each candidate, a dictionary is learned on one subset of the training images in a short
    training run. A linear and an RBF SVM are cross-validated on codes of another subset. The test
    set is not used.
    """
    candidates = settings.thresholds
    if len(candidates) == 1:
        return dict.fromkeys(kinds, candidates[0])
    jobs = [(kind, data, settings, threshold, seed) for kind in kinds for threshold in candidates]
    scores = np.reshape(list(map_two_threads(score_threshold, jobs)), (len(kinds), -1))
    best = scores.argmax(axis=1)
    return {kind: candidates[k] for kind, k in zip(kinds, best, strict=True)}


def score_threshold(
    kind: str, data: LinkedData, settings: Settings, threshold: float, seed: int
) -> float:
    """Sum the cross-validated accuracies of codes of a short training run with this lam."""
    y = data.images.y_train
    rows = np.random.default_rng(seed).permutation(len(y))
    n_scored = min(settings.tuning_samples, len(y) // 3)
    validation, training = rows[:n_scored], rows[n_scored:]
    X = data.train[training] if kind == "single" else data.stack(training)
    model = make_estimator(
        kind, data, settings, threshold, seed,
        n_batches=settings.tuning_batches, n_samples=len(training),
    )  # fmt: skip
    codes = model.fit(X, y[training]).transform(data.train[validation])
    return sum(tune(spec, codes, y[validation], seed)[1] for spec in TUNING_CLASSIFIERS)


def recall_accuracy(model: LinkedLCA, codes: FloatArray, data: LinkedData) -> float:
    """Compute the share of test images whose reconstructed printed digit is the right one.

    The reconstruction is compared with the ten printed digits by cosine similarity.
    """
    recalled = normalize(model.inverse_transform(codes, modality=PRINTED))
    predicted = (recalled @ data.glyphs.T).argmax(axis=1)
    return float((predicted == data.images.y_test).mean())


def block_readout_accuracy(model: LinkedLCA, codes: FloatArray, labels: NDArray[np.int64]) -> float:
    """Compute the share of samples whose most active block is that of their class."""
    driver = model.driver
    assert isinstance(driver, OrdinalDriver)
    sums = block_sums(codes, driver.neuron_classes(codes.shape[1]), driver.n_classes)
    return float((model.classes_[sums.argmax(axis=1)] == labels).mean())


def encode_with_leakage(model: LinkedLCA, data: LinkedData, subset: str) -> FloatArray:
    """Encode image and printed digit together; not a valid result because of label leakage."""
    images, labels = (
        (data.train, data.images.y_train) if subset == "train" else (data.test, data.images.y_test)
    )
    stimuli: Mapping[str, FloatArray] = {HANDWRITTEN: images, PRINTED: data.glyphs[labels]}
    circuit = model.circuit_.without_drivers()
    return circuit.encode(stimuli, model.tol, engine=model.engine).code

"""The main job on the real MNIST, short enough for every run; `SPIKELCA_DATA` names the folder."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from spikelca.datasets import load_images
from spikelca.experiments import linked, settings

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(
        "SPIKELCA_DATA" not in os.environ, reason="SPIKELCA_DATA names no folder with MNIST"
    ),
]

BRIEF = replace(settings.MNIST, n_batches=240)


@pytest.fixture(scope="module")
def material():
    return linked.make_linked_data(load_images("mnist"))


@pytest.fixture(scope="module")
def ordinal(material):
    return linked.fit_kind("ordinal", material, BRIEF, 0.05, 0)


def test_mnist_is_whole(material):
    assert material.train.shape == (60_000, 784)
    assert material.test.shape == (10_000, 784)
    assert "MNIST" in material.images.name


def test_one_epoch_gives_an_ordered_code_that_recalls_and_classifies(material, ordinal):
    codes = ordinal.transform(material.test)
    labels = material.images.y_test
    assert linked.block_readout_accuracy(ordinal, codes, labels) > 0.93
    assert linked.recall_accuracy(ordinal, codes, material) > 0.92
    rows = slice(0, 10_000)
    train = ordinal.transform(material.train[rows])
    scale = 1 / train.std()
    classifier = LogisticRegression(max_iter=300).fit(train * scale, material.images.y_train[rows])
    assert classifier.score(codes * scale, labels) > 0.95


def test_every_test_image_is_coded_within_its_gap(material, ordinal):
    seen = ordinal.circuit_.without_drivers().observe(settings.HANDWRITTEN)
    response = seen.encode({settings.HANDWRITTEN: material.test}, tol=1e-4)
    assert response.gap.max() <= 1e-4
    active = np.count_nonzero(response.code, axis=1).mean()
    assert 10 < active < 40

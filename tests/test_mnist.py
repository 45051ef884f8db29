"""Linked and ordinal dictionaries on MNIST, from the folder in `SPIKELCA_DATA`."""

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
        "SPIKELCA_DATA" not in os.environ, reason="SPIKELCA_DATA must name a folder with MNIST"
    ),
]

SHORT = replace(settings.MNIST, n_batches=240)


@pytest.fixture(scope="module")
def data():
    return linked.make_linked_data(load_images("mnist"))


@pytest.fixture(scope="module")
def ordinal(data):
    return linked.fit_kind("ordinal", data, SHORT, 0.05, 0)


def test_mnist_has_its_published_shape(data):
    assert data.train.shape == (60_000, 784)
    assert data.test.shape == (10_000, 784)
    assert "MNIST" in data.images.name


def test_one_epoch_learns_ordered_codes(data, ordinal):
    codes = ordinal.transform(data.test)
    labels = data.images.y_test
    assert linked.block_readout_accuracy(ordinal, codes, labels) > 0.93
    assert linked.recall_accuracy(ordinal, codes, data) > 0.92
    rows = slice(0, 10_000)
    train = ordinal.transform(data.train[rows])
    scale = 1 / train.std()
    classifier = LogisticRegression(max_iter=300).fit(train * scale, data.images.y_train[rows])
    assert classifier.score(codes * scale, labels) > 0.95


def test_every_test_image_converges_to_tol(data, ordinal):
    circuit = ordinal.circuit_.without_drivers().observe(settings.HANDWRITTEN)
    response = circuit.encode({settings.HANDWRITTEN: data.test}, tol=1e-4)
    assert response.gap.max() <= 1e-4
    active = np.count_nonzero(response.code, axis=1).mean()
    assert 10 < active < 40

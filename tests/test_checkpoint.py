"""Checkpoints: resumed training is bit-identical, and other checkpoints are rejected."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_same_circuit, steered

from spikelca import LinkedLCA, OrdinalDriver, load, save
from spikelca.learning.checkpoint import Checkpoint, read_checkpoint
from spikelca.persistence import ModelFileError


@pytest.fixture(scope="module")
def X():
    return np.abs(np.random.default_rng(5).normal(size=(60, 8))) / 3


@pytest.fixture(scope="module")
def y():
    return np.arange(60) % 2


@pytest.fixture
def trail(tmp_path):
    return tmp_path / "learning.checkpoint"


class Stop(Exception):
    pass


def stopped(monkeypatch, lca, X, y, path, after, error=Stop, every=3):
    """Fit until so many batches are learned, then have it broken off by an exception."""
    original = Checkpoint.write_if_due

    def limited(self, mark):
        original(self, mark)
        if mark.n_steps == after:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write_if_due", limited)
        with pytest.raises(error):
            lca.fit(X, y, checkpoint=path, checkpoint_every=every)


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("every", [1, 3])
def test_killed_and_resumed_run_is_bit_identical(monkeypatch, trail, X, y, after, every):
    whole = steered().fit(X, y)
    stopped(monkeypatch, steered(), X, y, trail, after, every=every)
    resumed = steered().fit(X, y, checkpoint=trail, checkpoint_every=every, resume=True)
    assert_same_circuit(resumed.circuit_, whole.circuit_)
    assert (resumed.n_steps_, resumed.n_redrawn_) == (whole.n_steps_, whole.n_redrawn_)
    assert resumed.n_redrawn_ > 0
    again, straight = resumed.partial_fit(X, y), whole.partial_fit(X, y)
    assert_same_circuit(again.circuit_, straight.circuit_)


def test_checkpoint_does_not_change_training(trail, X, y):
    followed = steered().fit(X, y, checkpoint=trail, checkpoint_every=1)
    assert_same_circuit(followed.circuit_, steered().fit(X, y).circuit_)


def test_finished_run_is_loaded_and_not_repeated(monkeypatch, trail, X, y):
    done = steered().fit(X, y, checkpoint=trail)
    monkeypatch.setattr(LinkedLCA, "_learn_batches", lambda *a: iter(()))
    assert_same_circuit(steered().fit(X, y, checkpoint=trail, resume=True).circuit_, done.circuit_)


def test_resume_without_file_starts_new_run(trail, X, y):
    resumed = steered().fit(X, y, checkpoint=trail, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)
    with pytest.raises(ValueError, match="checkpoint must be a file"):
        steered().fit(X, y, resume=True)


def test_interrupt_leaves_fitted_estimator_and_checkpoint(monkeypatch, trail, X, y):
    lca = steered()
    stopped(monkeypatch, lca, X, y, trail, 4, KeyboardInterrupt, every=100)
    assert (lca.n_steps_, lca.n_iter_) == (4, 2)
    assert lca.transform(X).shape == (60, 6)
    resumed = steered().fit(X, y, checkpoint=trail, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)


def test_full_disk_raises_and_keeps_learned_state(monkeypatch, trail, X, y):
    lca, original = steered(), Checkpoint.write

    def full(self, mark):
        if mark.n_steps > 3:
            raise OSError(28, "No space left on device")
        original(self, mark)

    monkeypatch.setattr(Checkpoint, "write", full)
    with pytest.raises(OSError, match="No space"):
        lca.fit(X, y, checkpoint=trail, checkpoint_every=1)
    assert lca.n_steps_ == 4
    assert read_checkpoint(trail)[0].n_steps == 3


def test_unfinished_run_is_not_overwritten(monkeypatch, trail, X, y):
    stopped(monkeypatch, steered(), X, y, trail, 4)
    before = trail.read_bytes()
    with pytest.raises(ValueError, match=r"stopped after 3 of 9 batches.*resume=True"):
        steered().fit(X, y, checkpoint=trail)
    assert trail.read_bytes() == before


OTHERS = {
    "another threshold": (
        lambda X, y: (steered(threshold=0.06), X, y),
        "0.05 in the file, 0.06 now",
    ),
    "another seed": (
        lambda X, y: (steered(random_state=1), X, y),
        "random_state: 0 in the file, 1 now",
    ),
    "another driver": (lambda X, y: (steered(driver=OrdinalDriver(2)), X, y), "driver"),
    "another engine": (lambda X, y: (steered(engine="reference"), X, y), "engine"),
    "other samples": (lambda X, y: (steered(), X + 1e-9, y), "left.*right"),
    "another precision": (lambda X, y: (steered(), X.astype(np.float32), y), "float32"),
    "other labels": (lambda X, y: (steered(), X, 1 - y), "labels"),
    "other names of classes": (lambda X, y: (steered(), X, y + 5), "classes"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_checkpoint_of_another_run_is_rejected(monkeypatch, trail, X, y, name):
    stopped(monkeypatch, steered(), X, y, trail, 4)
    make, message = OTHERS[name]
    lca, *data = make(X, y)
    with pytest.raises(ValueError, match=message):
        lca.fit(*data, checkpoint=trail, resume=True)
    assert not hasattr(lca, "circuit_")


def test_parameters_without_effect_on_training_may_change(monkeypatch, trail, X, y):
    stopped(monkeypatch, steered(), X, y, trail, 4)
    other = steered(observe="right", neuron="spiking", verbose=True, duration=0.1)
    resumed = other.fit(np.asfortranarray(X), y, checkpoint=trail, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)


def test_other_model_file_is_not_overwritten(trail, X, y):
    save(steered().fit(X, y), trail)
    before = trail.read_bytes()
    with pytest.raises(ModelFileError, match="a saved LinkedLCA"):
        steered().fit(X, y, checkpoint=trail)
    trail.write_bytes(b"my notes")
    with pytest.raises(ModelFileError):
        steered().fit(X, y, checkpoint=trail)
    assert trail.read_bytes() == b"my notes" != before
    trail.unlink()
    steered().fit(X, y, checkpoint=trail)
    with pytest.raises(ModelFileError, match="resume=True"):
        load(trail)


@pytest.mark.parametrize("every", [0, 2.5, None])
def test_invalid_checkpoint_every_is_rejected(trail, X, y, every):
    with pytest.raises(ValueError, match="checkpoint_every"):
        steered().fit(X, y, checkpoint=trail, checkpoint_every=every)


def test_missing_folder_fails_before_training(monkeypatch, trail, X, y):
    monkeypatch.setattr(LinkedLCA, "_learn_batches", None)
    with pytest.raises(FileNotFoundError):
        steered().fit(X, y, checkpoint=trail / "nowhere" / "x")

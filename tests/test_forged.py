"""Model files in which an array or a list has another shape are rejected."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import M, repacked
from models import make_circuit, make_linked

from spikelca import LCACoder, OrdinalDriver, load, save
from spikelca.modelfile import read_archive, write_archive
from spikelca.persistence import ModelFileError

rng = np.random.default_rng(0)
X = rng.random((40, 8))


def make_table():
    """X with named columns."""
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=[f"c{i}" for i in range(8)])


def fit_linked(labels):
    """An estimator with an array in every attribute and parameter that can be an array."""
    driver, state = OrdinalDriver(2, inhibition=0.02), np.random.RandomState(3)
    model = make_linked(driver=driver, random_state=state)
    return model.fit(make_table(), np.asarray(labels)[np.arange(40) % 2])


MODELS = {
    "a circuit": make_circuit,
    "a linked model": lambda: fit_linked([3, 7]),
    "a linked model of float32 classes": lambda: fit_linked(np.array([0.5, 1.5], np.float32)),
    "a coder": lambda: LCACoder(rng.random((5, 8))).fit(make_table()),
}
SHAPES = {
    "one longer": lambda A: np.concatenate([A, A[-1:]]),
    "one shorter": lambda A: A[:-1],
    "one wider": lambda A: np.concatenate([A, A[..., -1:]], axis=-1),
    "one narrower": lambda A: A[..., :-1],
    "an axis in front": lambda A: A[None],
    "an axis behind": lambda A: A[..., None],
}
ATOMS = [f"circuit.dictionaries.{i}.atoms" for i in (0, 1)]
WAVE = "circuit.drivers.1.waveform.second.array"
VALID = {(path, change) for path in ATOMS for change in ("one wider", "one narrower")}
"""A circuit has any number of inputs; the shape of a waveform is checked with its run."""
VALID |= {(WAVE, change) for change in SHAPES}
WORDS = {
    "one longer": lambda words: [*words, "more"],
    "one shorter": lambda words: words[:-1],
    "an axis in front": lambda words: [words],
    "an axis behind": lambda words: [[word] for word in words],
}


def is_rejected(path):
    """Whether a file is rejected with the error of model files."""
    try:
        load(path)
    except ModelFileError:
        return True
    return False


@pytest.mark.parametrize("name", MODELS)
def test_array_of_another_shape_is_rejected(tmp_path, name):
    path = tmp_path / "model"
    save(MODELS[name](), path)
    model, arrays = read_archive(path)
    assert arrays
    accepted = set()
    for name_of_array, array in arrays.items():
        for change, make in SHAPES.items():
            write_archive(path, model, arrays | {name_of_array: make(array)})
            if not is_rejected(path):
                accepted.add((name_of_array, change))
    assert accepted == (VALID if name == "a circuit" else set())


@pytest.mark.parametrize("labels", [["b", "a"], [3, 7]], ids=str)
def test_list_of_strings_of_another_length_is_rejected(tmp_path, labels):
    path = tmp_path / "model"
    save(fit_linked(labels), path)
    data = path.read_bytes()
    lists = {name: value for name, value in read_attributes(data) if "words" in value}
    assert set(lists) == {"feature_names_in_", *(["classes_"] if labels == ["b", "a"] else [])}
    accepted = [
        (name, change)
        for name, value in lists.items()
        for change, make in WORDS.items()
        if not is_rejected_with(path, data, name, value | {"words": make(value["words"])})
    ]
    assert not accepted


def read_attributes(data):
    """Names and values of the attributes in the manifest."""
    pairs = []
    repacked(data, lambda manifest: pairs.extend(attribute_pairs(manifest)))
    return [(name, value) for name, value in pairs if isinstance(value, dict)]


def attribute_pairs(manifest):
    """The pairs of the attributes in a manifest."""
    return manifest[M[0]][M[1]]["attributes"]["map"]


def is_rejected_with(path, data, name, value):
    """Whether the file with another value of an attribute is rejected."""

    def change(manifest):
        pair = next(pair for pair in attribute_pairs(manifest) if pair[0] == name)
        pair[1] = value

    path.write_bytes(repacked(data, change))
    return is_rejected(path)


@pytest.mark.parametrize("value", ["l1", "", None, True, 1.0, {"list": []}], ids=str)
def test_unknown_row_scaling_is_rejected(tmp_path, value):
    model, path = fit_linked([3, 7]), tmp_path / "model"
    model.row_scaling_ = "unit norm"
    save(model, path)
    assert load(path).row_scaling_ == "unit norm"
    data = path.read_bytes()
    assert is_rejected_with(path, data, "row_scaling_", value)
    del model.row_scaling_
    save(model, path)
    assert not hasattr(load(path), "row_scaling_")

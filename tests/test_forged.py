"""A model file in which an array has another shape is rejected, whichever array it is."""

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


def table():
    """X with named columns."""
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=[f"c{i}" for i in range(8)])


def linked(labels):
    """An estimator with an array in every attribute and parameter that can hold one."""
    driver, state = OrdinalDriver(2, inhibition=0.02), np.random.RandomState(3)
    model = make_linked(driver=driver, random_state=state)
    return model.fit(table(), np.asarray(labels)[np.arange(40) % 2])


MODELS = {
    "a circuit": make_circuit,
    "a linked model": lambda: linked([3, 7]),
    "a linked model of float32 classes": lambda: linked(np.array([0.5, 1.5], np.float32)),
    "a coder": lambda: LCACoder(rng.random((5, 8))).fit(table()),
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
FREE = {(place, change) for place in ATOMS for change in ("one wider", "one narrower")}
"""A circuit sees any number of inputs, and a waveform has any shape until a run is known."""
FREE |= {(WAVE, change) for change in SHAPES}
WORDS = {
    "one longer": lambda words: [*words, "more"],
    "one shorter": lambda words: words[:-1],
    "an axis in front": lambda words: [words],
    "an axis behind": lambda words: [[word] for word in words],
}


def rejected(path):
    """Whether a file is rejected with the error of model files."""
    try:
        load(path)
    except ModelFileError:
        return True
    return False


@pytest.mark.parametrize("name", MODELS)
def test_an_array_of_another_shape_is_rejected(tmp_path, name):
    path = tmp_path / "model"
    save(MODELS[name](), path)
    found, held = read_archive(path)
    assert held
    accepted = set()
    for place, array in held.items():
        for change, make in SHAPES.items():
            write_archive(path, found, held | {place: make(array)})
            if not rejected(path):
                accepted.add((place, change))
    assert accepted == (FREE if name == "a circuit" else set())


@pytest.mark.parametrize("labels", [["b", "a"], [3, 7]], ids=str)
def test_a_list_of_words_of_another_length_is_rejected(tmp_path, labels):
    path = tmp_path / "model"
    save(linked(labels), path)
    data = path.read_bytes()
    found = {name: value for name, value in attributes(data) if "words" in value}
    assert set(found) == {"feature_names_in_", *(["classes_"] if labels == ["b", "a"] else [])}
    accepted = [
        (name, change)
        for name, value in found.items()
        for change, make in WORDS.items()
        if not rejected_with(path, data, name, value | {"words": make(value["words"])})
    ]
    assert not accepted


def attributes(data):
    """Names and values of the attributes, as the manifest holds them."""
    held = []
    repacked(data, lambda manifest: held.extend(place(manifest)))
    return [(name, value) for name, value in held if isinstance(value, dict)]


def place(manifest):
    """The pairs of the attributes in a manifest."""
    return manifest[M[0]][M[1]]["attributes"]["map"]


def rejected_with(path, data, name, value):
    """Whether the file with another value of an attribute is rejected."""

    def change(manifest):
        pair = next(pair for pair in place(manifest) if pair[0] == name)
        pair[1] = value

    path.write_bytes(repacked(data, change))
    return rejected(path)

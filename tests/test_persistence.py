"""Models are saved and loaded bit for bit; any other file raises `ModelFileError`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE, M, packed, put, repacked, zip_tricks
from models import assert_same_circuit, atoms, make_circuit, make_linked
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from spikelca import (
    Circuit,
    Contrast,
    CurrentDriver,
    Dictionary,
    Fade,
    Hebbian,
    IdleAtoms,
    LCACoder,
    LinkedLCA,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    load,
    save,
)
from spikelca.model import waveforms
from spikelca.model.plasticity import PlasticityState
from spikelca.modelfile import read_archive, write_archive
from spikelca.modelfile.circuits import rng_from_json, rng_to_json
from spikelca.modelfile.values import SERIALISABLE, ArrayStore, from_json, to_json
from spikelca.persistence import ModelFileError
from spikelca.utils.atomic_write import write_atomic


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.spikelca"


@pytest.fixture
def saved(path):
    save(make_circuit(), path)
    return path.read_bytes()


# ------------------------------------------------------------------ save and load


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_circuit_is_restored_bit_for_bit(path, dtype):
    circuit = make_circuit(dtype)
    save(circuit, path)
    assert_same_circuit(load(path), circuit)


def test_unusual_floats_are_restored_bit_for_bit(path):
    odd = np.array([[5e-324, -0.0, 1 / 3], [1e30, np.pi, 2**-1022]])
    save(Circuit(RateNeuron(1e-300), SoftThreshold(1e-9), [Dictionary("x", odd)]), path)
    restored = load(path).dictionaries[0].atoms
    assert restored.tobytes() == odd.tobytes()


def test_equal_learned_atoms_are_restored(path):
    equal = np.ones((3, 2)) / np.sqrt(2)
    dictionaries, state = [Dictionary("x", atoms(3, 2))], PlasticityState.initial(3)
    circuit = make_circuit(dictionaries=dictionaries, drivers=[], plasticity=state)
    learned_circuit = circuit._replace(dictionaries=(circuit.dictionaries[0]._with_atoms(equal),))
    save(learned_circuit, path)
    assert_same_circuit(load(path), learned_circuit)


@pytest.fixture(scope="module")
def X():
    return np.abs(np.random.default_rng(5).normal(size=(60, 8))) / 3


@pytest.fixture(scope="module")
def y():
    return np.arange(60) % 2


@pytest.mark.parametrize(
    "labels", [["b", "a"], np.array(["x", "yy"], dtype=object), np.array([7, 3], np.uint8)]
)
def test_fitted_estimator_is_restored(path, X, y, labels):
    driver = OrdinalDriver(2, inhibition=0.02, fade=Fade())
    lca = make_linked(driver=driver, weights={"right": 0.3}, idle=IdleAtoms("residual", 30))
    lca.fit(X, np.asarray(labels)[y])
    save(lca, path)
    loaded = load(path)
    assert loaded.get_params(deep=False) == lca.get_params(deep=False)
    assert_same_circuit(loaded.circuit_, lca.circuit_)
    assert np.array_equal(loaded.transform(X), lca.transform(X))
    assert np.array_equal(loaded.components_, lca.components_)
    assert loaded.classes_.dtype == lca.classes_.dtype
    assert np.array_equal(loaded.classes_, lca.classes_)
    names = ("n_iter_", "n_steps_", "n_redrawn_", "n_features_in_")
    assert [getattr(loaded, n) for n in names] == [getattr(lca, n) for n in names]


def test_loaded_estimator_continues_learning_identically(path, X):
    lca = make_linked(threshold=0.4, idle=IdleAtoms(patience=8)).fit(X)
    save(lca, path)
    original, loaded = lca.partial_fit(X[::-1]), load(path).partial_fit(X[::-1])
    assert original.n_redrawn_ == loaded.n_redrawn_ > 0
    assert_same_circuit(original.circuit_, loaded.circuit_)


def test_feature_names_are_restored(path, X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(8)])
    lca = make_linked().fit(frame)
    save(lca, path)
    assert list(load(path).feature_names_in_) == list(frame.columns)


def test_random_state_is_restored(path, X):
    lca = make_linked(random_state=np.random.RandomState(3)).fit(X)
    save(lca, path)
    assert np.array_equal(load(path).random_state.rand(5), lca.random_state.rand(5))


UNWRITTEN = [
    {"words": "ab", "dtype": "U"}, {"words": ["a", 1], "dtype": "U"}, {"words": [], "dtype": "S"},
    {"words": ["a"], "dtype": None}, {"words": ["a"]}, {"map": ["ab"]}, {"map": [["a"]]},
    {"map": [[1, 2]]}, {"map": [["a", 1], ["a", 2]]}, {"list": "ab"}, {"tuple": "ab"},
    {"float": "1.0"}, {"set": []}, {}, [], float("inf"),
]  # fmt: skip


@pytest.mark.parametrize("found", UNWRITTEN, ids=str)
def test_unknown_json_value_is_rejected(found):
    with pytest.raises(ValueError, match="place"):
        from_json(found, "place", ArrayStore())


@pytest.mark.parametrize(
    "part",
    [
        {"position": -1}, {"position": 625}, {"position": 3.0}, {"position": True},
        {"has_gauss": 2}, {"gauss": 1}, {"gauss": None}, {"key": "int64"}, {"key": None},
    ],
    ids=str,
)  # fmt: skip
def test_forged_random_state_is_rejected(part):
    arrays = ArrayStore()
    state = to_json(np.random.RandomState(3), "place", arrays)["mt19937"]
    with pytest.raises(ValueError, match="place"):
        from_json({"mt19937": state | part}, "place", arrays)


@pytest.mark.parametrize(
    ("name", "number"), [("usage", np.nan), ("usage", np.inf), ("usage", -1.0), ("silent", -1)]
)
def test_bad_numbers_of_learning_states_are_rejected(path, name, number):
    circuit = make_circuit().replace(plasticity=PlasticityState.initial(6))
    save(circuit, path)
    found, held = read_archive(path)
    (place,) = (place for place in held if place.endswith(name))
    for index in (0, 5):
        forged = held[place].copy()
        forged[index] = number
        write_archive(path, found, held | {place: forged})
        with pytest.raises(ModelFileError, match="plasticity"):
            load(path)


@pytest.mark.parametrize("number", [-1, 256])
def test_number_out_of_dtype_range_is_rejected(number):
    assert ArrayStore({"place": np.array([0, 255])}).pop("place", "uint8").dtype == np.uint8
    with pytest.raises(ValueError, match="uint8"):
        ArrayStore({"place": np.array([0, number])}).pop("place", "uint8")


GENERATOR = np.random.PCG64(3).state


def test_every_state_of_a_generator_comes_back():
    top = {"state": {"state": (1 << 128) - 1, "inc": 1}, "has_uint32": 1, "uinteger": (1 << 32) - 1}
    for state in (GENERATOR, GENERATOR | top, GENERATOR | {"state": {"state": 0, "inc": 3}}):
        assert rng_from_json(rng_to_json(state), "place") == state


@pytest.mark.parametrize(
    "part",
    [
        {"state": "x"}, {"state": str(1 << 128)}, {"state": "-1"}, {"state": 1},
        {"state": "9" * 40},
        {"inc": "2"}, {"inc": str((1 << 128) + 1)}, {"inc": None}, {"has_uint32": 2},
        {"has_uint32": -1}, {"has_uint32": True}, {"uinteger": 1 << 32}, {"uinteger": -1},
        {"uinteger": "0"},
    ],
    ids=str,
)  # fmt: skip
def test_forged_generator_is_rejected(part):
    with pytest.raises(ValueError, match="place"):
        rng_from_json(rng_to_json(GENERATOR) | part, "place")


@pytest.mark.parametrize("position", [0, 1, 624])
def test_every_position_of_a_random_state_comes_back(position):
    arrays, state = ArrayStore(), np.random.RandomState(3)
    state.set_state((*state.get_state()[:2], position, 1, 0.25))
    back = from_json(to_json(state, "place", arrays), "place", arrays)
    assert str(back.get_state()) == str(state.get_state())
    assert np.array_equal(back.normal(size=3), state.normal(size=3))


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a", 1], dtype=object), np.array([["a"], ["b"]]), np.array([1j]), {1: 2},
        np.random.RandomState(np.random.PCG64(0)),
    ],
    ids=str,
)  # fmt: skip
def test_unsupported_value_is_not_saved(value):
    with pytest.raises(TypeError, match="place"):
        to_json(value, "place", ArrayStore())


@pytest.mark.parametrize(
    "dictionary", [atoms(5, 8), atoms(5, 8, np.float32), np.eye(8, dtype=np.int32), np.eye]
)
@pytest.mark.parametrize("fitted", [True, False])
def test_coder_is_restored(path, X, dictionary, fitted):
    coder = LCACoder(dictionary, threshold=0.02, transfer="soft", two_sided=True)
    coder = coder.fit(X) if fitted else coder
    save(coder, path)
    loaded = load(path)
    assert np.array_equal(loaded.transform(X), coder.transform(X))
    assert vars(loaded).keys() == vars(coder).keys()
    if not callable(dictionary):
        assert loaded.dictionary.dtype == np.asarray(dictionary).dtype


def test_equal_models_give_equal_files(path, saved):
    save(make_circuit(), path)
    assert path.read_bytes() == saved


def test_table_of_values_lists_every_field():
    for cls, types in SERIALISABLE.items():
        assert list(types) == [f.name for f in fields(cls)], cls


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e308, -0.0, 3, True, None, "é", (1, [2.5])])
def test_parameter_is_restored(value):
    data = json.loads(json.dumps(to_json(value, "x", ArrayStore()), allow_nan=False))
    assert repr(from_json(data, "x", ArrayStore())) == repr(value)


def test_zipfile_and_numpy_read_the_file(path, saved):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "manifest.json"
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("manifest.json"))["schema"] == 3
    with np.load(path, allow_pickle=False) as arrays:
        stored = arrays["circuit.dictionaries.0.atoms"]
    assert np.array_equal(stored, make_circuit().dictionaries[0].atoms)


DATA = Path(__file__).with_name("data")


def random_atoms():
    A = np.random.default_rng(0).random((6, 5))
    return A / np.linalg.norm(A, axis=1, keepdims=True)


def test_circuit_of_schema_2_is_read():
    A, X = random_atoms(), Dictionary
    phi = A.astype(np.float32)
    dictionaries = [X("x", phi[:, :3], 1.0, Hebbian(0.5, 0.9)), X("y", phi[:, 3:], 2.0, None)]
    ordinal = OrdinalDriver(3, mode="linked", gain=0.3, fade=Fade(0.5, 0.6))
    drivers = [ordinal, CurrentDriver(waveforms.Noise(0.01, 2), shared=True)]
    expected = Circuit(RateNeuron(0.02), SoftThreshold(0.1), dictionaries, drivers)
    assert_same_circuit(load(DATA / "circuit_schema2.spikelca"), expected)


def make_schema_2_estimator():
    contrast = Contrast(0.5, 0.25, 0.3)
    driver = OrdinalDriver(2, mode="clamp", fade=Fade())
    return LinkedLCA(6, {"x": 3, "y": 2}, observe="x", driver=driver, plasticity=Hebbian(0.8, 0.9),
                     contrast=contrast, threshold=0.05, batch_size=10, random_state=0)  # fmt: skip


def test_estimator_of_schema_2_is_read():
    model = load(DATA / "linked_schema2.spikelca")
    assert model.get_params() == make_schema_2_estimator().get_params()
    assert model.circuit_.drivers[0].mode == "clamp"
    assert model.transform(random_atoms()[:, :3]).shape == (6, 6)


def test_checkpoint_of_schema_2_is_resumed(tmp_path):
    X = np.random.default_rng(0)
    X.random((6, 5))
    X = X.random((40, 5))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y, checkpoint = np.arange(40) % 2, tmp_path / "checkpoint"
    checkpoint.write_bytes((DATA / "checkpoint_schema2").read_bytes())
    model = make_schema_2_estimator().fit(X, y, checkpoint=checkpoint, resume=True)
    saved = load(DATA / "linked_schema2.spikelca")
    assert_same_circuit(model.circuit_, saved.circuit_)


def test_old_and_new_field_together_are_rejected():
    fields = {"rate": 1.0, "memory": 0.5}
    data = {"value": "Hebbian", "fields": fields}
    assert from_json(data, "x", ArrayStore()) == Hebbian(1.0, 0.5)
    data["fields"] = fields | {"decay": fields["memory"]}
    with pytest.raises(ValueError, match="must have the entries"):
        from_json(data, "x", ArrayStore())


def test_file_of_schema_1_is_read(path):
    def downgrade(manifest):
        manifest["schema"] = 1
        for dictionary in manifest["model"]["model"]["dictionaries"]:
            del dictionary["inputs"]

    circuit = make_circuit(dictionaries=[Dictionary("x", atoms(6, 4))])
    save(circuit, path)
    path.write_bytes(repacked(path.read_bytes(), downgrade))
    assert_same_circuit(load(path), circuit)


# ------------------------------------------------------------------ rejected on saving


class MyNeuron(RateNeuron):
    pass


UNSUPPORTED = {
    "a waveform that is a function": lambda: make_circuit(
        drivers=[CurrentDriver(waveforms.Callable(abs))]
    ),
    "a dictionary that is a function": lambda: LCACoder(lambda n: np.eye(n)),
    "an engine object": lambda: LCACoder(np.eye(2), engine=object()),
    "a neuron of a custom class": lambda: make_circuit(neuron=MyNeuron()),
    "a pipeline": lambda: make_pipeline(LCACoder(np.eye(2))),
    "complex numbers": lambda: LCACoder(np.eye(2) * 1j),
    "objects": lambda: LCACoder(np.array([[object()]])),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_model_raises_and_keeps_old_file(path, saved, name):
    with pytest.raises(TypeError, match=r"must be one of|cannot hold|got objects"):
        save(UNSUPPORTED[name](), path)
    assert path.read_bytes() == saved


def test_unfitted_estimator_is_not_saved(path):
    with pytest.raises(NotFittedError):
        save(make_linked(), path)
    assert not path.exists()


def test_unreadable_manifest_is_not_written(path):
    with pytest.raises(ValueError, match="at most 1048576"):
        write_archive(path, "x" * (1 << 20), {})
    with pytest.raises(ValueError, match="shape"):
        write_archive(path, None, {"empty": np.zeros((0, 3))})
    assert not path.exists()


# ------------------------------------------------------------------ rejected on loading


@pytest.mark.parametrize("name", HOSTILE)
def test_malicious_file_raises_error_with_file_and_reason(path, saved, name):
    change, message = HOSTILE[name]
    path.write_bytes(repacked(saved, change))
    if message is None:
        load(path)
        return
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_unused_array_is_rejected(path):
    model, arrays = save_and_read(make_circuit(), path)
    write_archive(path, model, arrays | {"additional": np.ones(3)})
    with pytest.raises(ModelFileError, match="additional"):
        load(path)


def save_and_read(circuit, path):
    save(circuit, path)
    return read_archive(path)


@pytest.mark.parametrize(
    "change",
    [
        {"circuit.dictionaries.0.atoms": np.full((6, 4), np.nan, np.float32)},
        {"circuit.dictionaries.0.atoms": np.ones((5, 4), np.float32)},
        {"circuit.dictionaries.0.atoms": np.ones((6, 4))},
        {"circuit.dictionaries.0.atoms": np.ones(6, np.float32)},
        {"circuit.plasticity.usage": np.full(6, np.inf)},
        {"circuit.plasticity.usage": np.ones(7)},
        {"circuit.plasticity.silent": -np.ones(6, np.int64)},
        {"circuit.plasticity.silent": np.ones(6)},
    ],
)
def test_inconsistent_arrays_are_rejected(path, change):
    model, arrays = save_and_read(make_circuit(), path)
    write_archive(path, model, arrays | change)
    with pytest.raises(ModelFileError):
        load(path)


def test_estimator_must_match_its_circuit(path, X):
    save(make_linked().fit(X), path)
    data = path.read_bytes()
    params = sorted(make_linked().get_params(deep=False))
    for entry, value in [
        (["params", "map", params.index("n_components"), 1], 7),
        (["attributes", "map", 3, 1], 9),
        (["attributes", "map", 0, 1], -1),
        (["attributes", "map", 0, 0], "__class__"),
        (["params", "map", 0, 0], "__init__"),
        (["rng", "inc"], "2"),
        (["rng", "state"], "1" * 60),
        (["rng", "state"], 5),
    ]:
        path.write_bytes(repacked(data, put([*M, *entry], value)))
        with pytest.raises(ModelFileError):
            load(path)


TRICKS = list(zip_tricks(packed({"manifest.json": b"{}", "a.npy": b"x"}, b"{}")))


@pytest.mark.parametrize("name", TRICKS)
def test_zip_written_in_another_way_is_rejected(path, saved, name):
    path.write_bytes(zip_tricks(saved)[name])
    with pytest.raises(ModelFileError, match=r"model\.spikelca"):
        load(path)


def test_loading_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for not_a_file in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ModelFileError, match="regular file"):
            load(not_a_file)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")


def test_booleans_must_be_zero_or_one(path):
    write_archive(path, None, {"flags": np.array([True, False])})
    assert read_archive(path)[1]["flags"].tolist() == [True, False]
    data = path.read_bytes()
    digest = hashlib.sha256(b"\7\0").hexdigest()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        body = archive.read("flags.npy")[:-2] + b"\7\0"
    path.write_bytes(repacked(data, put(["arrays", 0, "sha256"], digest), {"flags.npy": body}))
    with pytest.raises(ModelFileError, match="neither true nor false"):
        read_archive(path)


# ------------------------------------------------------------------ writing


def test_replaced_file_keeps_its_permissions(path):
    path.write_bytes(b"old")
    path.chmod(0o640)
    save(make_circuit(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_symbolic_link_is_followed(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    save(make_circuit(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_same_circuit(load(path), make_circuit())


def test_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        save(make_circuit(), tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_failed_write_keeps_old_file(path, saved):
    def interrupt():
        with write_atomic(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert path.read_bytes() == saved
    assert list(path.parent.iterdir()) == [path]


def test_stale_temporaries_are_removed(path):
    stale = path.with_name(f".{path.name}.0123abcd.spikelca-part")
    other = path.with_name(f".other.{path.name}.0123abcd.spikelca-part")
    stale.write_bytes(b"half")
    other.write_bytes(b"of another file")
    with write_atomic(path) as outer:
        outer.write(b"outer")
        with write_atomic(path) as inner:
            inner.write(b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"
    assert sorted(path.parent.iterdir()) == [other, path]


def test_circuits_are_saved_without_scikit_learn(path):
    save(make_circuit(), path)
    code = (
        "import sys; from spikelca import load, save; p = sys.argv[1]; save(load(p), p); "
        "print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr

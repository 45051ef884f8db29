"""Models come back to the last bit; a file that is anything else has one error."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from dataclasses import fields

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    Fade,
    HardThreshold,
    Hebbian,
    IdleAtoms,
    LCACoder,
    LinkedLCA,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    SpikingNeuron,
    load,
    save,
    waveforms,
)
from spikelca.atomic import replacing
from spikelca.checkpoint import Checkpoint, read_checkpoint
from spikelca.modelfile import layout, read_archive, write_archive
from spikelca.modelfile.arrays import Arrays
from spikelca.modelfile.values import KNOWN, plain, read_value
from spikelca.persistence import ModelFileError
from spikelca.plasticity import PlasticityState

WAVE = waveforms.Sum(
    waveforms.Noise(0.1, seed=3), waveforms.Array(np.arange(6.0).reshape(3, 2), dt=0.5)
)


def atoms(n_neurons, n_inputs, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(n_neurons, n_inputs)).astype(dtype)


def make_circuit(dtype=np.float32, **more):
    parts = {
        "neuron": SpikingNeuron(tau=0.02, quantum=0.1 + 0.2),
        "transfer": HardThreshold(0.07, two_sided=True),
        "dictionaries": [
            Dictionary("../a\u00e9 b", atoms(6, 4, dtype), 1 / 3, Hebbian(0.1, 0.7)),
            Dictionary("fixed", atoms(6, 3, dtype, seed=1), plasticity=None),
        ],
        "drivers": [
            OrdinalDriver(2, reading="clamp", fade=Fade(0.1, 0.9)),
            CurrentDriver(WAVE, neurons=[4, 1], samples=[0]),
        ],
        "wiring": "residual",
        "idle": IdleAtoms("residual", 17),
        "plasticity": PlasticityState(np.arange(6) / 7, np.arange(6), 2),
    }
    return Circuit(**parts | more)


def assert_same_circuit(one, two):
    names = ("neuron", "transfer", "wiring", "idle")
    assert [getattr(one, n) for n in names] == [getattr(two, n) for n in names]
    assert [repr(d) for d in one.drivers] == [repr(d) for d in two.drivers]
    assert list(one.dictionaries) == list(two.dictionaries)
    for name in ("usage", "silent", "redrawn"):
        first, second = (np.asarray(getattr(c.plasticity, name)) for c in (one, two))
        assert first.dtype == second.dtype
        assert np.array_equal(first, second)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.spikelca"


@pytest.fixture
def saved(path):
    save(make_circuit(), path)
    return path.read_bytes()


# ------------------------------------------------------------------ what comes back


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_circuit_comes_back_to_the_last_bit(path, dtype):
    circuit = make_circuit(dtype)
    save(circuit, path)
    assert_same_circuit(load(path), circuit)


def test_odd_floats_come_back_to_the_last_bit(path):
    odd = np.array([[5e-324, -0.0, 1 / 3], [1e30, np.pi, 2**-1022]])
    save(Circuit(RateNeuron(1e-300), SoftThreshold(1e-9), [Dictionary("x", odd)]), path)
    found = load(path).dictionaries[0].atoms
    assert found.tobytes() == odd.tobytes()


def test_atoms_that_learning_made_equal_come_back(path):
    equal = np.ones((3, 2)) / np.sqrt(2)
    circuit = make_circuit(dictionaries=[Dictionary("x", atoms(3, 2))], drivers=[])
    learned = circuit.with_parts(
        dictionaries=(circuit.dictionaries[0].with_atoms(equal),),
        plasticity=PlasticityState.fresh(3),
    )
    save(learned, path)
    assert_same_circuit(load(path), learned)


def make_linked(**more):
    settings = {"threshold": 0.05, "n_epochs": 1, "batch_size": 20, "random_state": 0}
    settings |= {"observe": ["left"]} | more
    return LinkedLCA(6, {"left": 3, "right": 5}, **settings)


@pytest.fixture(scope="module")
def X():
    return np.abs(np.random.default_rng(5).normal(size=(60, 8))) / 3


@pytest.fixture(scope="module")
def y():
    return np.arange(60) % 2


@pytest.mark.parametrize(
    "labels", [["b", "a"], np.array(["x", "yy"], dtype=object), np.array([7, 3], np.uint8)]
)
def test_a_fitted_estimator_comes_back_and_codes_alike(path, X, y, labels):
    driver = OrdinalDriver(2, inhibition=0.02, fade=Fade())
    lca = make_linked(driver=driver, weights={"right": 0.3}, idle=IdleAtoms("residual", 30))
    lca.fit(X, np.asarray(labels)[y])
    save(lca, path)
    back = load(path)
    assert back.get_params(deep=False) == lca.get_params(deep=False)
    assert_same_circuit(back.circuit_, lca.circuit_)
    assert np.array_equal(back.transform(X), lca.transform(X))
    assert np.array_equal(back.components_, lca.components_)
    assert back.classes_.dtype == lca.classes_.dtype
    assert np.array_equal(back.classes_, lca.classes_)
    kept = ("n_iter_", "n_steps_", "n_redrawn_", "n_features_in_")
    assert [getattr(back, n) for n in kept] == [getattr(lca, n) for n in kept]


def test_learning_goes_on_alike_after_a_rest_on_disk(path, X):
    lca = make_linked(threshold=0.4, idle=IdleAtoms(patience=8)).fit(X)
    save(lca, path)
    here, there = lca.partial_fit(X[::-1]), load(path).partial_fit(X[::-1])
    assert here.n_redrawn_ == there.n_redrawn_ > 0
    assert_same_circuit(here.circuit_, there.circuit_)


def test_names_of_features_come_back(path, X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(8)])
    lca = make_linked().fit(frame)
    save(lca, path)
    assert list(load(path).feature_names_in_) == list(frame.columns)


def test_a_random_state_comes_back_where_it_was(path, X):
    lca = make_linked(random_state=np.random.RandomState(3)).fit(X)
    save(lca, path)
    assert np.array_equal(load(path).random_state.rand(5), lca.random_state.rand(5))


@pytest.mark.parametrize(
    "dictionary", [atoms(5, 8), atoms(5, 8, np.float32), np.eye(8, dtype=np.int32), np.eye]
)
@pytest.mark.parametrize("fitted", [True, False])
def test_a_coder_comes_back_and_codes_alike(path, X, dictionary, fitted):
    coder = LCACoder(dictionary, threshold=0.02, transfer="soft", two_sided=True)
    coder = coder.fit(X) if fitted else coder
    save(coder, path)
    back = load(path)
    assert np.array_equal(back.transform(X), coder.transform(X))
    assert vars(back).keys() == vars(coder).keys()
    if not callable(dictionary):
        assert back.dictionary.dtype == np.asarray(dictionary).dtype


def test_the_same_model_is_the_same_bytes(path, saved):
    save(make_circuit(), path)
    assert path.read_bytes() == saved


def test_the_table_of_values_names_every_field():
    for cls, types in KNOWN.items():
        assert list(types) == [f.name for f in fields(cls)], cls


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e308, -0.0, 3, True, None, "é", (1, [2.5])])
def test_a_parameter_comes_back_as_it_was(value):
    told = json.loads(json.dumps(plain(value, "x", Arrays()), allow_nan=False))
    back = read_value(told, "x", Arrays())
    assert repr(back) == repr(value)


def test_other_programs_read_the_file(path, saved):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "manifest.json"
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("manifest.json"))["schema"] == 1
    with np.load(path, allow_pickle=False) as arrays:
        found = arrays["circuit.dictionaries.0.atoms"]
    assert np.array_equal(found, make_circuit().dictionaries[0].atoms)


# ------------------------------------------------------------------ what is not saved


class MyNeuron(RateNeuron):
    pass


REFUSED = {
    "a waveform that is a function": lambda: make_circuit(
        drivers=[CurrentDriver(waveforms.Callable(abs))]
    ),
    "a dictionary that is a function": lambda: LCACoder(lambda n: np.eye(n)),
    "an engine object": lambda: LCACoder(np.eye(2), engine=object()),
    "a neuron of a class of one's own": lambda: make_circuit(neuron=MyNeuron()),
    "a pipeline": lambda: make_pipeline(LCACoder(np.eye(2))),
    "complex numbers": lambda: LCACoder(np.eye(2) * 1j),
    "objects": lambda: LCACoder(np.array([[object()]])),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_need_trust_is_refused_and_leaves_the_old_file(path, saved, name):
    with pytest.raises(TypeError, match=r"awaited|cannot hold"):
        save(REFUSED[name](), path)
    assert path.read_bytes() == saved


def test_an_estimator_that_has_learned_nothing_is_not_saved(path):
    with pytest.raises(NotFittedError):
        save(make_linked(), path)
    assert not path.exists()


def test_a_manifest_that_could_not_be_read_is_not_written(path):
    with pytest.raises(ValueError, match="at most 1048576"):
        write_archive(path, "x" * (1 << 20), {})
    with pytest.raises(ValueError, match="shape"):
        write_archive(path, None, {"empty": np.zeros((0, 3))})
    assert not path.exists()


# ------------------------------------------------------------------ what is not loaded


def repacked(data, change, arrays=None):
    """The file with another manifest, all digests right: what an attacker would write."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        bodies = {n: archive.read(n) for n in archive.namelist()[1:]}
    change(manifest)
    raw = json.dumps(manifest).encode()
    parts = {"manifest.json": raw, **bodies, **(arrays or {})}
    return _packed(parts, raw)


def _packed(parts, manifest):
    out, written = b"", []
    for name, body in parts.items():
        written.append(layout.Written(name, len(body), zlib.crc32(body), len(out)))
        out += layout.header(name, len(body), zlib.crc32(body)) + body
    return out + layout.directory(written, hashlib.sha256(manifest).hexdigest())


def put(place, value):
    """A change of the manifest: the entry at a place becomes another."""

    def change(manifest):
        *way, last = place
        for step in way:
            manifest = manifest[step]
        if way == ["arrays", ATOMS]:
            assert manifest["name"] == "circuit.dictionaries.0.atoms"
        manifest[last] = value

    return change


M = ("model", "model")
ATOMS = 1  # behind the array of a driver's waveform
HOSTILE = {
    "a newer schema": (put(["schema"], 2), "schema version 2.*Update spikelca"),
    "no schema": (put(["schema"], None), "schema version None"),
    "another format": (put(["format"], "pickle"), "format"),
    "an entry too many": (put(["code"], "print(1)"), "entries"),
    "a kind that is none": (put(["model", "kind"], "os.system"), "'os.system'"),
    "a kind that is a list": (put(["model", "kind"], []), "one of"),
    "a checkpoint": (put(["model", "kind"], "checkpoint"), "resume=True"),
    "a class from elsewhere": (put([*M, "neuron", "value"], "subprocess.Popen"), "Popen"),
    "a class in the wrong place": (
        put([*M, "neuron"], {"value": "Fade", "fields": {"floor": 0, "until": 1}}),
        "belongs elsewhere",
    ),
    "a field too many": (put([*M, "neuron", "fields", "x"], 1), "entries"),
    "a field of another type": (put([*M, "neuron", "fields", "tau"], "1"), "int or float"),
    "a field that makes no sense": (put([*M, "neuron", "fields", "tau"], -1), "above zero"),
    "a true for a number": (put([*M, "neuron", "fields", "tau"], True), "int or float"),
    "a wiring that is none": (put([*M, "wiring"], "wireless"), "wiring"),
    "a wiring that is a map": (put([*M, "wiring"], {}), "wiring"),
    "no dictionaries": (put([*M, "dictionaries"], []), "dictionary"),
    "a weight of zero": (put([*M, "dictionaries", 0, "weight"], 0.0), "weight"),
    "one name twice": (put([*M, "dictionaries", 1, "name"], "../a\u00e9 b"), "names"),
    "a driver too large": (
        put([*M, "drivers", "tuple", 0, "fields", "n_classes"], 10**30),
        "neurons",
    ),
    "a driver of a neuron that is not there": (
        put([*M, "drivers", "tuple", 1, "fields", "neurons"], {"tuple": [99]}),
        "99",
    ),
    "a rule that is left out": (put([*M, "dictionaries", 0, "plasticity"], None), None),
    "an array of another dtype": (put([*M, "dictionaries", 0, "atoms"], {"array": "O"}), "array"),
    "an array that is not there": (
        put([*M, "neuron", "fields", "tau"], {"array": "float64"}),
        "no array",
    ),
    "a pickled dtype": (put(["arrays", ATOMS, "dtype"], "|O"), "dtype"),
    "a dtype that is a list": (put(["arrays", ATOMS, "dtype"], [["f", "<f4"]]), "dtype"),
    "a path that climbs out": (put(["arrays", ATOMS, "name"], "../../etc/passwd"), "named"),
    "an absolute path": (put(["arrays", ATOMS, "name"], "/tmp/x"), "named"),
    "one array twice": (
        put(["arrays", ATOMS + 1, "name"], "circuit.dictionaries.0.atoms"),
        "two arrays of one name",
    ),
    "a huge shape": (put(["arrays", ATOMS, "shape"], [2**31, 2**31]), "shape"),
    "a shape as large as it may be": (put(["arrays", ATOMS, "shape"], [2**31]), "bytes"),
    "a shape of no end": (put(["arrays", ATOMS, "shape"], [10**400]), "shape"),
    "a negative shape": (put(["arrays", ATOMS, "shape"], [-6, -4]), "shape"),
    "a shape of floats": (put(["arrays", ATOMS, "shape"], [6.0, 4]), "shape"),
    "a shape that swaps": (put(["arrays", ATOMS, "shape"], [4, 6]), "header"),
    "a digest of something else": (put(["arrays", ATOMS, "sha256"], "0" * 64), "SHA-256"),
    "too many arrays": (put(["arrays"], [{}] * 2000), "list of at most"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_has_one_error_that_names_file_and_fault(path, saved, name):
    change, fault = HOSTILE[name]
    path.write_bytes(repacked(saved, change))
    if fault is None:
        load(path)
        return
    with pytest.raises(ModelFileError, match=fault) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_an_array_that_belongs_to_nothing_is_refused(path):
    _, held = read_archive_of(make_circuit(), path)
    found, _ = read_archive(path)
    write_archive(path, found, held | {"stowaway": np.ones(3)})
    with pytest.raises(ModelFileError, match="stowaway"):
        load(path)


def read_archive_of(circuit, path):
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
def test_arrays_that_do_not_fit_together_are_refused(path, change):
    found, held = read_archive_of(make_circuit(), path)
    write_archive(path, found, held | change)
    with pytest.raises(ModelFileError):
        load(path)


def test_an_estimator_that_does_not_fit_its_circuit_is_refused(path, X):
    save(make_linked().fit(X), path)
    data = path.read_bytes()
    params = sorted(make_linked().get_params(deep=False))
    for place, value in [
        (["params", "map", params.index("n_components"), 1], 7),
        (["attributes", "map", 3, 1], 9),
        (["attributes", "map", 0, 1], -1),
        (["attributes", "map", 0, 0], "__class__"),
        (["params", "map", 0, 0], "__init__"),
        (["rng", "inc"], "2"),
        (["rng", "state"], "1" * 60),
        (["rng", "state"], 5),
    ]:
        path.write_bytes(repacked(data, put([*M, *place], value)))
        with pytest.raises(ModelFileError):
            load(path)


def _alone(manifest):
    return _packed({"manifest.json": manifest}, manifest)


def zip_tricks(data):
    """The same members, told by a zip in other ways."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}

    def rezip(compression=zipfile.ZIP_STORED, extra=()):
        out = io.BytesIO()
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w") as archive:
            for name, body in [*parts.items(), *extra]:
                archive.writestr(zipfile.ZipInfo(name), body, compression)
        return out.getvalue()

    end = data.rindex(b"PK\x05\x06")
    zip64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 6, 6, 100, 2**60)
    return {
        "rezipped": rezip(),
        "compressed": rezip(zipfile.ZIP_DEFLATED),
        "a doubled member": rezip(extra=list(parts.items())[-1:]),
        "a member too many": rezip(extra=[("../../evil", b"x")]),
        "a pickle": rezip(extra=[("data.pkl", b"cos\nsystem\n(S'true'\ntR.")]),
        "something before it": b"#!/bin/sh\n" + data,
        "something behind it": data + b"\0",
        "two of them": data + data,
        "a zip64 record": data[:end] + zip64 + data[end:],
        "no directory": data[: data.index(b"PK\x01\x02")],
        "half of it": data[: len(data) // 2],
        "nothing": b"",
        "one byte": b"P",
        "a huge manifest": data[:18] + b"\xff\xff\xff\x7f" * 2 + data[26:],
        "deep nesting": _alone(b"[" * 900_000),
        "many numbers": _alone(b"[" + b"{}," * 300_000 + b"{}]"),
        "one name twice in the manifest": _alone(b'{"a":1,"a":2}'),
        "a NaN in the manifest": _alone(b"NaN"),
        "a pickle alone": b"\x80\x04\x95",
    }  # fmt: skip


TRICKS = list(zip_tricks(_packed({"manifest.json": b"{}", "a.npy": b"x"}, b"{}")))


@pytest.mark.parametrize("name", TRICKS)
def test_a_zip_that_was_written_in_another_way_is_refused(path, saved, name):
    path.write_bytes(zip_tricks(saved)[name])
    with pytest.raises(ModelFileError, match=r"model\.spikelca"):
        load(path)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for strange in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ModelFileError, match="regular file"):
            load(strange)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def test_a_file_that_is_not_a_boolean_one_is_refused(path):
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


def test_a_file_is_replaced_with_the_permissions_it_had(path):
    path.write_bytes(b"old")
    path.chmod(0o640)
    save(make_circuit(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_is_followed(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    save(make_circuit(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_same_circuit(load(path), make_circuit())


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        save(make_circuit(), tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_failed_block_leaves_the_old_file_and_nothing_else(path, saved):
    def broken_off():
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_bytes() == saved
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_left_alone(path):
    left = path.with_name(f".{path.name}.0123abcd.spikelca-part")
    other = path.with_name(f".other.{path.name}.0123abcd.spikelca-part")
    left.write_bytes(b"half")
    other.write_bytes(b"another file's")
    with replacing(path) as outer:
        outer.write(b"outer")
        with replacing(path) as inner:
            inner.write(b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"
    assert sorted(path.parent.iterdir()) == [other, path]


def test_circuits_are_saved_and_loaded_without_scikit_learn(path):
    save(make_circuit(), path)
    code = (
        "import sys; from spikelca import load, save; p = sys.argv[1]; save(load(p), p); "
        "print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# ------------------------------------------------------------------ checkpoints


@pytest.fixture
def trail(tmp_path):
    return tmp_path / "learning.checkpoint"


class Stop(Exception):
    pass


def stopped(monkeypatch, lca, X, y, path, after, error=Stop, every=3):
    """Fit until so many batches are learned, then have it broken off by an exception."""
    original = Checkpoint.after

    def limited(self, mark):
        original(self, mark)
        if mark.n_steps == after:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "after", limited)
        with pytest.raises(error):
            lca.fit(X, y, checkpoint=path, checkpoint_every=every)


def steered(**more):
    driver = OrdinalDriver(2, inhibition=0.2, fade=Fade(0.0, 0.9))
    settings = {"driver": driver, "n_epochs": 3, "idle": IdleAtoms(patience=8)}
    return make_linked(**settings | more)


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("every", [1, 3])
def test_a_learning_that_was_broken_off_ends_in_the_same_bits(
    monkeypatch, trail, X, y, after, every
):
    whole = steered().fit(X, y)
    stopped(monkeypatch, steered(), X, y, trail, after, every=every)
    resumed = steered().fit(X, y, checkpoint=trail, checkpoint_every=every, resume=True)
    assert_same_circuit(resumed.circuit_, whole.circuit_)
    assert (resumed.n_steps_, resumed.n_redrawn_) == (whole.n_steps_, whole.n_redrawn_)
    assert resumed.n_redrawn_ > 0
    again, straight = resumed.partial_fit(X, y), whole.partial_fit(X, y)
    assert_same_circuit(again.circuit_, straight.circuit_)


def test_following_a_learning_does_not_change_it(trail, X, y):
    followed = steered().fit(X, y, checkpoint=trail, checkpoint_every=1)
    assert_same_circuit(followed.circuit_, steered().fit(X, y).circuit_)


def test_a_learning_that_is_done_is_read_back_and_not_learned_again(monkeypatch, trail, X, y):
    done = steered().fit(X, y, checkpoint=trail)
    monkeypatch.setattr(LinkedLCA, "_run", lambda *a: iter(()))
    assert_same_circuit(steered().fit(X, y, checkpoint=trail, resume=True).circuit_, done.circuit_)


def test_resume_without_a_file_starts_anew(trail, X, y):
    resumed = steered().fit(X, y, checkpoint=trail, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)
    with pytest.raises(ValueError, match="name its file"):
        steered().fit(X, y, resume=True)


def test_an_interrupt_leaves_a_usable_estimator_and_a_checkpoint(monkeypatch, trail, X, y):
    lca = steered()
    stopped(monkeypatch, lca, X, y, trail, 4, KeyboardInterrupt, every=100)
    assert (lca.n_steps_, lca.n_iter_) == (4, 2)
    assert lca.transform(X).shape == (60, 6)
    resumed = steered().fit(X, y, checkpoint=trail, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)


def test_a_disk_that_fills_up_is_told_and_what_was_learned_is_kept(monkeypatch, trail, X, y):
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


def test_a_learning_that_is_not_done_is_not_overwritten(monkeypatch, trail, X, y):
    stopped(monkeypatch, steered(), X, y, trail, 4)
    before = trail.read_bytes()
    with pytest.raises(ValueError, match=r"stopped after 3 of 9 batches.*resume=True"):
        steered().fit(X, y, checkpoint=trail)
    assert trail.read_bytes() == before


OTHERS = {
    "another threshold": (lambda X, y: (steered(threshold=0.06), X, y), "0.05 there, 0.06 here"),
    "another seed": (lambda X, y: (steered(random_state=1), X, y), "random_state: 0 there, 1 here"),
    "another driver": (lambda X, y: (steered(driver=OrdinalDriver(2)), X, y), "driver"),
    "another engine": (lambda X, y: (steered(engine="reference"), X, y), "engine"),
    "other samples": (lambda X, y: (steered(), X + 1e-9, y), "left.*right"),
    "another precision": (lambda X, y: (steered(), X.astype(np.float32), y), "float32"),
    "other labels": (lambda X, y: (steered(), X, 1 - y), "labels"),
    "other names of classes": (lambda X, y: (steered(), X, y + 5), "classes"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_learning_is_refused(monkeypatch, trail, X, y, name):
    stopped(monkeypatch, steered(), X, y, trail, 4)
    make, message = OTHERS[name]
    lca, *data = make(X, y)
    with pytest.raises(ValueError, match=message):
        lca.fit(*data, checkpoint=trail, resume=True)
    assert not hasattr(lca, "circuit_")


def test_what_learning_does_not_depend_on_may_change(monkeypatch, trail, X, y):
    stopped(monkeypatch, steered(), X, y, trail, 4)
    other = steered(observe="right", neuron="spiking", verbose=True, duration=0.1)
    resumed = other.fit(np.asfortranarray(X), y, checkpoint=trail, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)


def test_a_file_that_is_no_checkpoint_is_not_overwritten(trail, X, y):
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
def test_a_bad_number_of_batches_is_told(trail, X, y, every):
    with pytest.raises(ValueError, match="checkpoint_every"):
        steered().fit(X, y, checkpoint=trail, checkpoint_every=every)


def test_a_folder_that_is_not_there_is_told_before_anything_is_learned(monkeypatch, trail, X, y):
    monkeypatch.setattr(LinkedLCA, "_run", None)
    with pytest.raises(FileNotFoundError):
        steered().fit(X, y, checkpoint=trail / "nowhere" / "x")

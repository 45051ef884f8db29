"""Errors that no other test raises, each raised by a call of the public interface."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from circuits import RATE, SPIKING, random_circuit, random_stimuli
from hostile import M, packed, put, repacked
from models import make_linked
from sklearn.exceptions import NotFittedError

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    LCACoder,
    LinkedLCA,
    SoftThreshold,
    SpikingNeuron,
    load,
    save,
)
from spikelca.cli import main
from spikelca.datasets import DataError, read_npz
from spikelca.datasets.fonts import read_faces
from spikelca.datasets.glyphs import render
from spikelca.engines.brian2 import Brian2Engine
from spikelca.learning.checkpoint import read_checkpoint
from spikelca.model.waveforms import Array, Callable, Pulse, Sine
from spikelca.modelfile import ModelFileError, archive, read_archive, write_archive
from spikelca.readout import membrane

ROWS = np.random.default_rng(0).random((20, 8))


def simulated(driver=None, neuron=SPIKING, **options):
    """A short run of a small circuit."""
    circuit = random_circuit(neuron, drivers=[] if driver is None else [driver])
    return circuit.simulate(random_stimuli(circuit), 0.02, 4e-4, **options)


# ---------------------------------------------------------------- circuits and simulation


def encoded(driver, **parts):
    circuit = random_circuit(drivers=[driver], **parts)
    return circuit.encode(random_stimuli(circuit))


def without_brian2(monkeypatch):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "brian2":
                raise ImportError("no brian2 here")

    monkeypatch.delitem(sys.modules, "brian2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    simulated(engine="brian2")


CIRCUITS = {
    "a code under a pulse": (
        lambda: encoded(CurrentDriver(Pulse(0.2, 0.0, 0.01))), ValueError,
        r"Pulse.*without_drivers"),
    "a code under a wave": (
        lambda: encoded(CurrentDriver(Sine(0.2, 9.0))), ValueError, r"Sine.*circuit\.simulate"),
    "a code under a current into a sample": (
        lambda: encoded(CurrentDriver(0.1, samples=[1])), ValueError, r"samples \(1,\)"),
    "a spike generator above zero": (
        lambda: SpikingNeuron(floor=0.1), ValueError, r"floor .*0\.1"),
    "a spike generator without a floor": (
        lambda: SpikingNeuron(floor=-np.inf), ValueError, r"floor .*-inf"),
    "a window of less than a step": (
        lambda: simulated(window=0.001), ValueError, r"50 steps.*got 0\.001"),
    "a window between two recorded steps": (
        lambda: membrane(simulated(record=("u",), every=30), SoftThreshold(0.1)),
        ValueError, "every=1"),
    "a pulse that ends before it starts": (
        lambda: Pulse(0.1, 2.0, 1.0), ValueError, r"start=2\.0 s and stop=1\.0 s"),
    "an array of no time": (lambda: Array([], 0.1), ValueError, r"got \(0,\)"),
    "an array of four axes": (
        lambda: Array(np.zeros((2, 2, 2, 2)), 0.1), ValueError, r"got \(2, 2, 2, 2\)"),
    "a function of another shape": (
        lambda: simulated(CurrentDriver(Callable(lambda t: np.zeros(7)))), ValueError,
        r"11 neuron.*shape \(7,\)"),
    "a sparse dictionary": (
        lambda: Dictionary("x", scipy.sparse.eye_array(3)), TypeError, r"'x'.*toarray"),
    "a batch of no samples": (
        lambda: Brian2Engine(batch_size=0), ValueError, "batch_size must be .* got 0"),
    "an unknown target": (
        lambda: random_circuit().to_brian2(target="fortran"), ValueError, "'fortran'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CIRCUITS)
def test_invalid_circuit_raises(case):
    act, kind, message = CIRCUITS[case]
    with pytest.raises(kind, match=message):
        act()


def test_missing_brian2_raises_with_remedy(monkeypatch):
    with pytest.raises(ImportError, match=r"no brian2 here.*engine='numba'"):
        without_brian2(monkeypatch)


# ---------------------------------------------------------------- estimators


UNFITTED = {
    "transform": lambda: make_linked().transform(ROWS),
    "translate": lambda: make_linked().translate(ROWS, to="left"),
    "inverse_transform": lambda: make_linked().inverse_transform(np.ones((2, 6))),
    "get_feature_names_out": lambda: make_linked().get_feature_names_out(),
    "inverse_transform of a function": lambda: LCACoder(np.eye).inverse_transform(np.eye(3)),
    "names of a function": lambda: LCACoder(np.eye).get_feature_names_out(),
}


@pytest.mark.parametrize("case", UNFITTED)
def test_unfitted_estimator_raises(case):
    with pytest.raises(NotFittedError, match="fit"):
        UNFITTED[case]()


@pytest.mark.parametrize("method", ["fit", "transform"])
def test_dictionary_of_other_width_raises(method):
    with pytest.raises(ValueError, match=r"8 features.*expecting 3 features"):
        getattr(LCACoder(np.eye(3)), method)(ROWS)


# ---------------------------------------------------------------- model files


def neuron(value):
    """A change of the manifest: tau of the neuron is something else."""
    return put([*M, "neuron", "fields", "tau"], value)


FORGED = {
    "an array without a name": (put(["arrays", 0], {}), "must have exactly name"),
    "a digest that is none": (put(["arrays", 0, "sha256"], "xyz"), "SHA-256 .* got 'xyz'"),
    "an object of nothing": (neuron({"strange": 1}), "got {'strange': 1}"),
    "a bare list": (neuron([1]), r"got \[1\]"),
    "a float of words": (neuron({"float": "big"}), "'big'"),
    "a tuple of a number": (neuron({"tuple": 5}), "must be a list, got 5"),
    "a map without pairs": (neuron({"map": [1]}), r"\[1\]"),
    "a map with a name twice": (neuron({"map": [["a", 1], ["a", 2]]}), "pairs"),
    "words that are numbers": (neuron({"words": [1], "dtype": "U"}), r"\[1\]"),
    "words without end": (neuron({"words": ["x" * 5000, *"y" * 999], "dtype": "U"}), "16 MB"),
    "a generator of no state": (
        neuron({"mt19937": {"key": "uint32", "position": -1, "has_gauss": 0, "gauss": 0.0}}),
        "no array|MT19937"),
    "a number beyond float64": (neuron("@"), "range of float64"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_forged_manifest_raises(tmp_path, case):
    path, (change, message) = tmp_path / "model", FORGED[case]
    circuit = Circuit(RATE, SoftThreshold(0.1), [Dictionary("x", np.eye(3))])
    save(circuit, path)
    path.write_bytes(with_large_number(repacked(path.read_bytes(), change)))
    with pytest.raises(ModelFileError, match=message):
        load(path)


def with_large_number(data):
    """The file with 1e999 in the place of "@", which JSON can hold and float64 cannot."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["manifest.json"] = parts["manifest.json"].replace(b'"@"', b"1e999")
    return packed(parts, parts["manifest.json"])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model"
    save(make_linked(random_state=np.random.RandomState(1)).fit(ROWS), path)
    return path


def test_state_of_generator_is_checked(saved):
    found, held = read_archive(saved)
    key = next(name for name in held if name.endswith(".key"))
    for state in (held[key][:-1], held[key][None]):
        write_archive(saved, found, held | {key: state})
        with pytest.raises(ModelFileError, match="MT19937"):
            load(saved)


def test_numbers_beyond_their_type_raise(tmp_path):
    path = tmp_path / "model"
    save(LCACoder(np.eye(3, dtype=np.uint8)), path)
    found, held = read_archive(path)
    write_archive(path, found, {name: 300 * array for name, array in held.items()})
    with pytest.raises(ModelFileError, match="uint8"):
        load(path)


def test_altered_zip_header_raises(saved):
    data = bytearray(saved.read_bytes())
    data[data.index(b"PK\3\4", 4) + 10] ^= 1  # the time of an array's member
    saved.write_bytes(data)
    with pytest.raises(ModelFileError, match="altered zip header"):
        load(saved)


def test_file_truncated_while_reading_raises(saved, monkeypatch):
    monkeypatch.setattr(archive, "_verify", lambda file, *_: os.truncate(saved, 3000))
    with pytest.raises(ModelFileError, match="end of file"):
        load(saved)


def with_weights(weights):
    return make_linked().fit(ROWS).set_params(weights=weights)


UNSAVED = {
    "numbers beyond int64": (
        lambda: LCACoder(np.array([[2**63]], np.uint64)), TypeError, "int64"),
    "names that are numbers": (lambda: with_weights({1: 0.5}), TypeError, r"strings, got \[1\]"),
    "another generator": (
        lambda: make_linked(random_state=np.random.RandomState(np.random.PCG64(1))).fit(ROWS),
        TypeError, "MT19937"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAVED)
def test_model_that_cannot_be_saved_raises(tmp_path, case):
    make, kind, message = UNSAVED[case]
    with pytest.raises(kind, match=message):
        save(make(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_model_larger_than_size_limit_raises(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE", 500)
    with pytest.raises(ValueError, match="at most 500 bytes"):
        save(LCACoder(np.eye(3)), tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_steps", 10**6, "1000000 of"),
        ("n_redrawn", -1, "batches"),
        ("owner", ["x"], "run parameters"),
        ("owner", {"X": 1}, "run parameters"),
    ],
)
def test_forged_checkpoint_raises(tmp_path, name, value, message):
    path = tmp_path / "checkpoint"
    make_linked().fit(ROWS, checkpoint=path)
    found, held = read_archive(path)
    found["model"][name] = value
    write_archive(path, found, held)
    with pytest.raises(ModelFileError, match=message):
        read_checkpoint(path)


# ---------------------------------------------------------------- data files


def npz(tmp_path, content, compression=zipfile.ZIP_DEFLATED, more=0):
    """A .npz file that declares that its member unpacks to some more bytes than it has."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", content)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = (len(content) + more).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


NPZ = {
    "another compression": (
        lambda path: npz(path, npy(np.ones(9)), zipfile.ZIP_LZMA), "not compressed by deflate"),
    "a bomb": (lambda path: npz(path, npy(np.ones(9)), more=10**8), "cannot decompress"),
    "a member cut short": (
        lambda path: npz(path, npy(np.ones(9))[:-8], more=8), "declares 72 bytes, got 64"),
}  # fmt: skip


@pytest.mark.parametrize("case", NPZ)
def test_damaged_npz_file_raises(tmp_path, case):
    make, message = NPZ[case]
    path = make(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


def test_one_of_several_arrays_must_be_named(tmp_path):
    np.savez(tmp_path / "x.npz", left=[1.0], right=[2.0])
    for key in ("", "middle"):
        with pytest.raises(DataError, match=r"'left', 'right'.*x\.npz:left"):
            read_npz(tmp_path / "x.npz", key)


def test_font_without_names_raises(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"\0\1\0\0" + bytes(8))
    with pytest.raises(DataError, match="no table 'name'"):
        read_faces(tmp_path / "x.ttf")


@pytest.mark.parametrize(
    ("font", "shape", "message"),
    [
        ("DejaVuSans.ttf", (1, 1), "several digits have the same image"),
        ("cmex10.ttf", (28, 28), r"digit 0.*28 by 28"),
    ],
)
def test_digits_that_cannot_be_drawn_raise(font, shape, message):
    import matplotlib

    [face] = read_faces(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", font))
    with pytest.raises(DataError, match=message):
        render(face, shape)


# ---------------------------------------------------------------- Dask


def of_names(path):
    import zarr

    zarr.save_group(path / "x.zarr", a=ROWS, b=ROWS)
    return path / "x.zarr"


def of_complex(path):
    import zarr

    zarr.save_array(path / "x.zarr", ROWS * 1j)
    return path / "x.zarr"


def of_widths(path):
    for i, width in enumerate((3, 4)):
        np.save(path / f"{i}.npy", np.ones((2, width)))
    return path


def cut_short(path):
    (path / "0.npy").write_bytes(npy(ROWS)[:-3])
    return path


FOLDERS = {
    "an empty folder": (lambda path: path, FileNotFoundError, "neither"),
    "a group": (of_names, ValueError, r"group.*'a', 'b'"),
    "complex numbers": (of_complex, ValueError, "complex128"),
    "rows of two widths": (of_widths, ValueError, r"\(2, 3\).*\(2, 4\)"),
    "an array cut short": (cut_short, ValueError, r"0\.npy.*complete"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folder_without_rows_raises(tmp_path, case):
    pytest.importorskip("zarr")
    from spikelca.distributed import read_lazily

    make, kind, message = FOLDERS[case]
    with pytest.raises(kind, match=message):
        read_lazily(make(tmp_path))


def test_dask_array_without_rows_raises():
    array = pytest.importorskip("dask.array")
    X = array.from_array(ROWS, chunks=(10, -1))
    with pytest.raises(ValueError, match="0 sample"):
        LinkedLCA(3).fit(X[X[:, 0] > 2])  # how many there are is known once they are computed


def test_work_that_kills_its_workers_is_named():
    scheduler = pytest.importorskip("distributed.scheduler")
    from spikelca.distributed.cluster import translate_errors

    with pytest.raises(ChildProcessError, match=r"'piece'.*memory"), translate_errors():
        raise scheduler.KilledWorker("'piece'", SimpleNamespace(address="tcp://gone"), 3)


# ---------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Samples in files, a coder and an estimator that observes all of its two modalities."""
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "rows.npy", ROWS)
    np.save(folder / "few.npy", ROWS[:5])
    np.save(folder / "vector.npy", ROWS[0])
    save(LCACoder(np.eye(8)), folder / "coder")
    save(make_linked(observe=None).fit(ROWS), folder / "both")
    save(make_linked(observe="left").fit(ROWS), folder / "left")
    return folder


COMMANDS = {
    "a coder": (["encode", "coder", "rows.npy", "-o", "c.npz"], "LCACoder"),
    "two modalities": (["encode", "both", "rows.npy", "-o", "c.npz"], "'left', 'right'"),
    "recall on workers": (
        ["encode", "left", "rows.npy", "--recall", "right", "-o", "c.zarr"], "--recall"),
    "a vector": (["fit", "vector.npy", "-o", "m"], "array of shape (8,)"),
    "a vector to be coded": (["encode", "left", "vector.npy", "-o", "c.npz"], "shape (8,)"),
    "an order without labels": (["fit", "rows.npy", "--ordinal", "-o", "m"], "--labels"),
    "one name for two": (["fit", "a=rows.npy", "a=rows.npy", "-o", "m"], "['a', 'a']"),
    "other numbers of rows": (["fit", "a=rows.npy", "b=few.npy", "-o", "m"], "'a': 20, 'b': 5"),
}  # fmt: skip


@pytest.mark.parametrize("case", COMMANDS)
def test_failed_command_prints_reason(files, monkeypatch, capsys, case):
    words, message = COMMANDS[case]
    monkeypatch.chdir(files)
    before = set(files.iterdir())
    assert main(words) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert set(files.iterdir()) == before

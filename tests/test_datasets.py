"""Data sets: shapes and digests of loaded data, and one error for invalid files."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import os
import pickle
import re
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from counting import count_calls
from quickly import HANGS

from spikelca.datasets import (
    DataError,
    ImageData,
    download_mnist,
    linked_bars,
    load_images,
    load_mnist_folder,
    openml,
    read_idx,
)
from spikelca.datasets.idx import MNIST_SHA256, idx_header

ROLES = list(MNIST_SHA256)
FILES = {role: f"{role}-idx{3 if role.endswith('images') else 1}-ubyte" for role in MNIST_SHA256}

# ---------------------------------------------------------------------------- helpers


def idx(array: np.ndarray) -> bytes:
    """Bytes of the IDX file of an array."""
    return idx_header(array) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def make_small_arrays(n: int = 6, shape: tuple[int, int] = (3, 4)) -> dict[str, np.ndarray]:
    """A small data set in the four roles of MNIST."""
    rng = np.random.default_rng(0)
    return {
        role: rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        if role.endswith("images")
        else rng.integers(0, 10, n, dtype=np.uint8)
        for role in ROLES
    }


def write_folder(folder: Path, arrays: dict[str, np.ndarray], name: str = "{}") -> Path:
    folder.mkdir(exist_ok=True)
    for role, array in arrays.items():
        file = folder / name.format(FILES[role])
        file.write_bytes(gzip.compress(idx(array)) if file.suffix == ".gz" else idx(array))
    return folder


def list_arrays(data: ImageData) -> list[np.ndarray]:
    return [data.X_train, data.y_train, data.X_test, data.y_test]


# ---------------------------------------------------------------------------- digits


def test_digits_have_documented_shapes_and_range():
    data = load_images("digits")
    assert data.name == "digits (scikit-learn, 8x8)"
    assert [a.shape for a in list_arrays(data)] == [(1297, 64), (1297,), (500, 64), (500,)]
    assert [a.dtype for a in list_arrays(data)] == [np.float32, np.int64, np.float32, np.int64]
    assert data.X_train.min() == 0
    assert data.X_train.max() == 1
    assert data.image_shape == (8, 8)


def test_split_of_digits_is_stratified():
    data = load_images("digits")
    share = np.bincount(data.y_train) / len(data.y_train)
    np.testing.assert_allclose(np.bincount(data.y_test) / len(data.y_test), share, atol=1 / 500)


def test_split_of_digits_is_complete_and_fixed():
    from sklearn.datasets import load_digits

    data = load_images("digits")
    images = np.vstack([data.X_train, data.X_test]) * 16
    expected = load_digits().data
    assert sorted(map(bytes, images.astype(np.uint8))) == sorted(
        map(bytes, expected.astype(np.uint8))
    )
    assert data.y_test[:10].tolist() == [4, 8, 8, 3, 9, 0, 6, 3, 9, 8]
    np.testing.assert_array_equal(data.X_test, load_images().X_test)


def test_loaded_arrays_are_readonly():
    for array in list_arrays(load_images("digits")):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_arrays_of_the_caller_stay_writable():
    X = np.zeros((1, 4), np.float32)
    ImageData("custom", X, np.zeros(1, np.int64), X, np.zeros(1, np.int64), (2, 2))
    X[0] = 1


def test_image_data_pickles_and_has_short_repr():
    data = load_images("digits")
    loaded = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(loaded.X_test, data.X_test)
    assert repr(data) == "ImageData(name='digits (scikit-learn, 8x8)', image_shape=(8, 8))"


# ---------------------------------------------------------------------------- load_images


def test_misspelt_source_raises():
    with pytest.raises(DataError, match=r"must be 'digits', 'mnist' or .* got 'mnits'"):
        load_images("mnits")


def test_empty_source_raises():
    with pytest.raises(DataError, match="must be 'digits'"):
        load_images("")


def test_invalid_folder_variable_raises_without_download(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKELCA_DATA", str(tmp_path / "gone"))
    monkeypatch.setattr(openml, "_fetch", lambda home: pytest.fail("downloaded"))
    with pytest.raises(DataError, match=r"SPIKELCA_DATA must be a folder .*gone"):
        load_images("mnist")


def test_mnist_is_read_from_folder_variable(monkeypatch, tmp_path):
    write_folder(tmp_path / "own", make_small_arrays())
    monkeypatch.setenv("SPIKELCA_DATA", str(tmp_path / "own"))
    monkeypatch.setattr(openml, "_fetch", lambda home: pytest.fail("downloaded"))
    with pytest.raises(DataError, match="SHA-256"):  # the folder was read, but is not MNIST
        load_images("mnist")


def test_importing_datasets_imports_no_optional_package():
    code = (
        "import sys, spikelca.datasets.glyphs, spikelca.datasets.openml;"
        "print([m for m in ('matplotlib', 'PIL', 'pandas', 'brian2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------- IDX, valid files


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_idx_round_trip_of_every_dtype(tmp_path, dtype, pack):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    file = tmp_path / "block"
    file.write_bytes(pack(idx(array)))
    loaded = read_idx(file)
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype
    assert loaded.dtype.isnative
    assert not loaded.flags.writeable


@pytest.mark.parametrize("name", ["{}", "{}.gz"])
@pytest.mark.parametrize("dot", [False, True], ids=["hyphen", "dot"])
def test_all_usual_file_names_are_found(tmp_path, name, dot):
    arrays = make_small_arrays()
    folder = write_folder(tmp_path / "own", arrays, name)
    if dot:
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("-idx", ".idx"))
    data = load_mnist_folder(folder, verify=False)
    assert data.name == "IDX files in own (not verified)"
    assert data.image_shape == (3, 4)
    pixels = arrays["train-images"].reshape(6, 12)
    np.testing.assert_array_equal(np.rint(data.X_train * 255), pixels)
    np.testing.assert_array_equal(data.y_test, arrays["t10k-labels"])


def test_folder_with_name_of_a_file_is_skipped(tmp_path):
    folder = write_folder(tmp_path / "own", make_small_arrays(), "{}.gz")
    alone = load_mnist_folder(folder, verify=False).X_train
    (folder / FILES["train-images"]).mkdir()
    np.testing.assert_array_equal(load_mnist_folder(folder, verify=False).X_train, alone)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_in_folders_of_their_names_are_found(tmp_path, suffix):
    folder = write_folder(tmp_path / "own", make_small_arrays(), "{}" + suffix)
    alone = load_mnist_folder(folder, verify=False)
    for path in list(folder.iterdir()):
        inner = path.rename(tmp_path / path.name)
        path.with_suffix("").mkdir(exist_ok=True)
        inner.rename(path.with_suffix("") / path.name)
    found = load_mnist_folder(folder, verify=False)
    np.testing.assert_array_equal(found.X_train, alone.X_train)
    for path in folder.rglob("*train-images*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte \(a folder\)"):
        load_mnist_folder(folder, verify=False)


def test_other_data_are_loaded_by_name_without_verification(tmp_path):
    folder = write_folder(tmp_path / "own", make_small_arrays())
    assert "not verified" in load_images(folder, verify=False).name
    with pytest.raises(DataError, match=r"load_images\(folder, verify=False\).*--no-verify"):
        load_images(folder)


# ---------------------------------------------------------------------------- IDX, invalid files

GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
GZ = gzip.compress(GOOD)
BAD = {
    "empty": (b"", "not an IDX file"),
    "three bytes": (GOOD[:3], "not an IDX file"),
    "wrong magic": (b"\x89PNG" + GOOD[4:], "first bytes 89 50 4e 47"),
    "unknown dtype": (b"\0\0\x0a\x03" + GOOD[4:], "not an IDX file"),
    "little-endian magic": (b"\x03\x08\0\0" + GOOD[4:], "not an IDX file"),
    "no dimension": (b"\0\0\x08\0" + GOOD[4:], "got 0 dimensions"),
    "200 dimensions": (b"\0\0\x08\xc8" + bytes(1000), "got 200 dimensions"),
    "truncated header": (GOOD[:10], "each with a size >= 1"),
    "a size of zero": (b"\0\0\x08\x01" + bytes(4), "each with a size >= 1"),
    "a zero and two huge sizes": (
        b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 0),
        "each with a size >= 1",
    ),
    "truncated payload": (GOOD[:-1], r"declares 24 bytes .* got 23 bytes"),
    "an additional byte": (GOOD + b"\0", "got more bytes"),
    "huge sizes in a small file": (
        b"\0\0\x0e\x04" + struct.pack(">4I", *[2**32 - 1] * 4),
        "cannot contain more than",
    ),
    "truncated gzip": (GZ[:-12], "cannot be read to its end"),
    "gzip without its checksum": (GZ[:-8], "cannot be read to its end"),
    "gzip with a wrong checksum": (GZ[:-8] + b"\1\2\3\4" + GZ[-4:], "cannot be read to its end"),
    "gzip header only": (GZ[:5], "cannot be read to its end"),
    "gzip with bytes after it": (GZ + b"garbage", "cannot be read to its end"),
    "two gzip files": (GZ + GZ, "got more bytes"),
    "gzip in gzip": (gzip.compress(GZ), "first bytes 1f 8b"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_file_raises_error_with_path(tmp_path, case):
    content, message = BAD[case]
    file = tmp_path / "block-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(file)
    assert str(file) in str(caught.value)


def test_missing_file_and_folder_raise(tmp_path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path)


def test_truncated_gzip_raises(tmp_path):
    folder = write_folder(tmp_path / "own", make_small_arrays(), "{}.gz")
    file = folder / (FILES["t10k-images"] + ".gz")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t10k-images.*Get a complete IDX file"):
        load_mnist_folder(folder, verify=False)


def measure_peak_of_failing_read(file: Path) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(file)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_huge_declared_shape_takes_no_memory(tmp_path, pack):
    file = tmp_path / "giant"
    file.write_bytes(pack(b"\0\0\x08\x03" + struct.pack(">3I", 60_000, 10_000, 10_000) + GOOD))
    assert measure_peak_of_failing_read(file) < 2e6


def test_gzip_bomb_takes_no_memory(tmp_path):
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(GOOD + bytes(100_000_000)))
    assert measure_peak_of_failing_read(file) < 2e6


def with_labels_as_images(arrays):
    return arrays | {"train-images": arrays["train-labels"]}


def with_images_as_labels(arrays):
    return arrays | {"t10k-labels": arrays["t10k-images"]}


def with_floats(arrays):
    return arrays | {"train-images": arrays["train-images"].astype(np.float32)}


def with_missing_label(arrays):
    return arrays | {"train-labels": arrays["train-labels"][:-1]}


def with_other_shape(arrays):
    return arrays | {"t10k-images": arrays["t10k-images"][:, :, :-1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_labels_as_images,
            r"train-images.*must contain a stack of images.*got a list \(labels\)",
        ),
        (
            with_images_as_labels,
            r"t10k-labels.*must contain a list \(labels\).*got a stack of images",
        ),
        (with_floats, r"a stack of images of uint8 .* got a stack of images of float32"),
        (with_missing_label, "got 6 train images and 5 train labels"),
        (with_other_shape, r"got train images of \(3, 4\) and t10k images of \(3, 3\)"),
    ],
)
def test_inconsistent_files_are_rejected(tmp_path, change, message):
    folder = write_folder(tmp_path / "own", change(make_small_arrays()))
    with pytest.raises(DataError, match=message):
        load_mnist_folder(folder, verify=False)


def test_missing_file_is_named(tmp_path):
    folder = write_folder(tmp_path / "own", make_small_arrays())
    (folder / FILES["t10k-labels"]).unlink()
    with pytest.raises(DataError, match=r"no file t10k-labels-idx1-ubyte.*contains t10k-images"):
        load_mnist_folder(folder, verify=False)
    with pytest.raises(DataError, match="contains nothing"):
        load_mnist_folder(tmp_path / "gone")


def test_other_data_require_verify_false(tmp_path):
    folder = write_folder(tmp_path / "own", make_small_arrays())
    with pytest.raises(DataError, match=r"verify=False"):
        load_mnist_folder(folder)


def mutants(seed: int, n: int):
    """Damaged copies of a valid file: bytes changed, cut, repeated or inserted."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        original = bytearray(GZ if rng.random() < 0.5 else GOOD)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(original) or 1))
            match rng.integers(4):
                case 0:
                    original[at : at + 1] = rng.bytes(1)
                case 1:
                    del original[at:]
                case 2:
                    original[at:at] = rng.bytes(int(rng.integers(1, 9)))
                case _:
                    original += original[at:]
        content = bytes(original)
        yield gzip.compress(content) if rng.random() < 0.3 else content


def test_damaged_files_raise_data_errors_only(tmp_path):
    file, n_rejected, calls = tmp_path / "mutant", 0, {}

    def read():
        nonlocal n_rejected
        try:
            assert read_idx(file).nbytes <= 1032 * len(content)
        except DataError:
            n_rejected += 1

    for whole in (GOOD, GZ, gzip.compress(GZ)):
        file.write_bytes(content := whole)
        read()
        calls[whole] = count_calls(read)
    n_rejected = 0
    for content in mutants(seed=0, n=600):
        file.write_bytes(content)
        assert count_calls(read) < 4 * max(calls.values())
    assert n_rejected > 300


# ---------------------------------------------------------------------------- MNIST


@pytest.fixture(scope="module")
def mnist_folder() -> str:
    folder = os.environ.get("SPIKELCA_DATA", "")
    if not Path(folder).is_dir() or not folder:
        pytest.skip("SPIKELCA_DATA must name a folder with the IDX files of MNIST")
    return folder


@pytest.mark.mnist
def test_mnist_is_verified(mnist_folder):
    data = load_images("mnist")
    assert data.name == "MNIST (IDX files, SHA-256 verified)"
    assert [a.shape for a in list_arrays(data)] == [(60000, 784), (60000,), (10000, 784), (10000,)]
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.X_train.dtype == np.float32
    assert data.X_train.max() == 1
    assert data.image_shape == (28, 28)


@pytest.mark.mnist
def test_changed_pixel_of_mnist_is_detected(mnist_folder, tmp_path):
    arrays = {role: find_array(Path(mnist_folder), role) for role in ROLES}
    arrays["t10k-images"] = arrays["t10k-images"].copy()
    arrays["t10k-images"][9_999, 27, 27] ^= 1
    folder = write_folder(tmp_path / "own", arrays)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: wrong SHA-256"):
        load_mnist_folder(folder)


@pytest.mark.mnist
def test_openml_table_equals_mnist(mnist_folder, monkeypatch, tmp_path):
    arrays = {role: find_array(Path(mnist_folder), role) for role in ROLES}
    images = np.concatenate([arrays["train-images"], arrays["t10k-images"]]).reshape(-1, 784)
    labels = np.concatenate([arrays["train-labels"], arrays["t10k-labels"]]).astype(str)
    table = SimpleNamespace(data=images.astype(np.int64), target=labels.astype(object))
    monkeypatch.setattr(openml, "connection_error", lambda url, timeout: "")
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *args, **kwargs: table)
    data = download_mnist(tmp_path)
    assert data.name == "MNIST (OpenML, SHA-256 verified)"
    for array, expected in zip(list_arrays(data), list_arrays(load_images("mnist")), strict=True):
        np.testing.assert_array_equal(array, expected)
    table.data[3, 400] += 1
    with pytest.raises(DataError, match="mnist_784 of OpenML: wrong SHA-256"):
        download_mnist(tmp_path)


def find_array(folder: Path, role: str) -> np.ndarray:
    return read_idx(next(file for file in folder.iterdir() if file.name.startswith(role)))


# ---------------------------------------------------------------------------- OpenML


def test_error_without_network_names_alternatives(monkeypatch, tmp_path):
    monkeypatch.delenv("SPIKELCA_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(openml, "connection_error", lambda url, timeout: "no route to host")
    monkeypatch.setattr(
        "sklearn.datasets.fetch_openml", lambda *a, **k: pytest.fail("the server was contacted")
    )
    with pytest.raises(DataError, match="no route to host") as caught:
        load_images("mnist")
    for alternative in ("--data DIR", "SPIKELCA_DATA", "--data digits"):
        assert alternative in str(caught.value)


def test_cached_table_needs_no_network(monkeypatch, tmp_path):
    cached = tmp_path / "openml.org" / "data" / "mnist_784.arff.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"")
    monkeypatch.setattr(openml, "connection_error", lambda *a: pytest.fail("the network was used"))
    table = SimpleNamespace(data=np.zeros((2, 784)), target=np.array(["1", "2"], object))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *a, **k: table)
    with pytest.raises(DataError, match=r"got \(2, 784\) and \(2,\)"):
        download_mnist(tmp_path)


@pytest.mark.parametrize(("shape", "n_labels"), [((70_000, 700), 70_000), ((70_000, 784), 69_999)])
def test_openml_table_of_other_size_is_rejected(shape, n_labels):
    table, labels = np.broadcast_to(0.0, shape), np.broadcast_to(0.0, n_labels)
    with pytest.raises(DataError, match=r"must have \(70000, 784\) numbers and \(70000,\) labels"):
        openml._verify(table, labels)


@pytest.mark.parametrize(
    "failure", [URLError("reset"), ValueError("md5 checksum"), EOFError("short"), OSError("full")]
)
def test_error_of_failed_download_names_alternatives(monkeypatch, tmp_path, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(openml, "connection_error", lambda url, timeout: "")
    monkeypatch.setattr("sklearn.datasets.fetch_openml", fail)
    with pytest.raises(DataError, match=r"could not be downloaded.*--data digits"):
        download_mnist(tmp_path)


def test_connection_check_has_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        # The server accepts the connection and does not answer.
        assert re.search("timed out|no response", openml.connection_error(url, timeout=0.3))


def test_http_error_counts_as_a_response():
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert openml.connection_error(url, HANGS) == ""
    assert os.strerror(errno.ECONNREFUSED) in openml.connection_error(url, HANGS)


# ---------------------------------------------------------------------------- linked bars


def test_stacked_atoms_have_unit_norm():
    bars = linked_bars(n_samples=1, size=5)
    for atoms in bars.atoms.values():
        np.testing.assert_allclose((atoms**2).sum(axis=1), 0.5)
    assert {name: atoms.shape for name, atoms in bars.atoms.items()} == {
        "bars": (10, 25),
        "marks": (10, 30),
    }


def test_atoms_are_dissimilar_in_both_modalities():
    for atoms in linked_bars(n_samples=1, size=8).atoms.values():
        similarity = 2 * atoms @ atoms.T - np.eye(16)
        assert np.abs(similarity).max() < 0.15
        assert np.linalg.matrix_rank(atoms) >= 15  # horizontal and vertical bars have equal sums


def test_both_modalities_share_a_nonnegative_code():
    bars = linked_bars(n_samples=300, size=6)
    active = (bars.codes > 0).sum(axis=1)
    assert set(active) == {2, 3}
    assert bars.codes[bars.codes > 0].min() >= 0.5
    assert bars.codes.min() == 0
    for name, X in bars.X.items():
        np.testing.assert_allclose(X, bars.codes @ bars.atoms[name])


def test_noise_has_the_given_standard_deviation():
    clean, noisy = linked_bars(noise=0.0), linked_bars(noise=0.2)
    np.testing.assert_array_equal(clean.codes, noisy.codes)
    for name in ("bars", "marks"):
        assert (noisy.X[name] - clean.X[name]).std() == pytest.approx(0.2, rel=0.02)


def test_seed_determines_all_samples():
    first, same, other = linked_bars(50), linked_bars(50), linked_bars(50, random_state=1)
    np.testing.assert_array_equal(first.X["marks"], same.X["marks"])
    assert not np.array_equal(first.codes, other.codes)
    assert (linked_bars(20, n_active=1).codes > 0).sum() == 20


def test_arrays_of_linked_bars_are_readonly():
    bars = linked_bars(4)
    for array in (*bars.X.values(), *bars.atoms.values(), bars.codes):
        assert not array.flags.writeable


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_samples": 0},
        {"size": 1},
        {"n_active": 0},
        {"n_active": (3, 2)},
        {"n_active": (2, 99)},
        {"noise": -1.0},
        {"noise": float("nan")},
    ],
)
def test_parameters_out_of_range_raise(parameters):
    with pytest.raises(ValueError, match=r"must .* got"):
        linked_bars(**parameters)


def test_digests_have_the_length_of_sha256():
    assert {len(digest) for digest in MNIST_SHA256.values()} == {hashlib.sha256().digest_size * 2}

"""Laws of the data room: what is loaded is what was asked for, or one error that teaches."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest

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
    """The IDX file of an array, as bytes."""
    return idx_header(array) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def small_parts(n: int = 6, shape: tuple[int, int] = (3, 4)) -> dict[str, np.ndarray]:
    """A tiny data set in MNIST's four roles."""
    rng = np.random.default_rng(0)
    return {
        role: rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        if role.endswith("images")
        else rng.integers(0, 10, n, dtype=np.uint8)
        for role in ROLES
    }


def write_folder(folder: Path, parts: dict[str, np.ndarray], name: str = "{}") -> Path:
    folder.mkdir(exist_ok=True)
    for role, array in parts.items():
        file = folder / name.format(FILES[role])
        file.write_bytes(gzip.compress(idx(array)) if file.suffix == ".gz" else idx(array))
    return folder


def arrays_of(data: ImageData) -> list[np.ndarray]:
    return [data.X_train, data.y_train, data.X_test, data.y_test]


# ---------------------------------------------------------------------------- digits


def test_digits_have_the_promised_shapes_types_and_range():
    data = load_images("digits")
    assert data.name == "digits (scikit-learn, 8x8)"
    assert [a.shape for a in arrays_of(data)] == [(1297, 64), (1297,), (500, 64), (500,)]
    assert [a.dtype for a in arrays_of(data)] == [np.float32, np.int64, np.float32, np.int64]
    assert data.X_train.min() == 0
    assert data.X_train.max() == 1
    assert data.image_shape == (8, 8)


def test_every_digit_has_the_same_share_in_both_parts():
    data = load_images("digits")
    share = np.bincount(data.y_train) / len(data.y_train)
    np.testing.assert_allclose(np.bincount(data.y_test) / len(data.y_test), share, atol=1 / 500)


def test_the_division_of_the_digits_is_complete_and_never_changes():
    from sklearn.datasets import load_digits

    data = load_images("digits")
    both = np.vstack([data.X_train, data.X_test]) * 16
    everything = load_digits().data
    assert sorted(map(bytes, both.astype(np.uint8))) == sorted(
        map(bytes, everything.astype(np.uint8))
    )
    assert data.y_test[:10].tolist() == [4, 8, 8, 3, 9, 0, 6, 3, 9, 8]
    np.testing.assert_array_equal(data.X_test, load_images().X_test)


def test_loaded_arrays_are_read_only():
    for array in arrays_of(load_images("digits")):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_freezing_a_value_leaves_the_callers_arrays_writable():
    own = np.zeros((1, 4), np.float32)
    ImageData("own", own, np.zeros(1, np.int64), own, np.zeros(1, np.int64), (2, 2))
    own[0] = 1


def test_image_data_can_be_pickled_and_shows_itself_in_one_line():
    data = load_images("digits")
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.X_test, data.X_test)
    assert repr(data) == "ImageData(name='digits (scikit-learn, 8x8)', image_shape=(8, 8))"


# ---------------------------------------------------------------------------- one door


def test_a_misspelt_source_is_one_error_that_names_the_choices():
    with pytest.raises(DataError, match=r"found no folder 'mnits'; awaited 'digits', 'mnist' or"):
        load_images("mnits")


def test_an_empty_source_is_not_the_current_folder():
    with pytest.raises(DataError, match="awaited 'digits'"):
        load_images("")


def test_a_variable_that_names_no_folder_is_an_error_and_not_a_download(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKELCA_DATA", str(tmp_path / "gone"))
    monkeypatch.setattr(openml, "_fetch", lambda home: pytest.fail("downloaded"))
    with pytest.raises(DataError, match=r"SPIKELCA_DATA is set to .*gone"):
        load_images("mnist")


def test_mnist_is_read_from_the_folder_that_the_variable_names(monkeypatch, tmp_path):
    write_folder(tmp_path / "own", small_parts())
    monkeypatch.setenv("SPIKELCA_DATA", str(tmp_path / "own"))
    monkeypatch.setattr(openml, "_fetch", lambda home: pytest.fail("downloaded"))
    with pytest.raises(DataError, match="SHA-256"):  # read, and found not to be MNIST
        load_images("mnist")


def test_importing_the_data_room_imports_nothing_for_pictures_or_tables():
    code = (
        "import sys, spikelca.datasets.glyphs, spikelca.datasets.openml;"
        "print([m for m in ('matplotlib', 'PIL', 'pandas', 'brian2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------- IDX, good files


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_every_kind_of_number_survives_the_round_trip(tmp_path, dtype, pack):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    file = tmp_path / "block"
    file.write_bytes(pack(idx(array)))
    found = read_idx(file)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert not found.flags.writeable


@pytest.mark.parametrize("name", ["{}", "{}.gz"])
@pytest.mark.parametrize("dot", [False, True], ids=["hyphen", "dot"])
def test_all_customary_file_names_are_found(tmp_path, name, dot):
    parts = small_parts()
    folder = write_folder(tmp_path / "own", parts, name)
    if dot:
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("-idx", ".idx"))
    data = load_mnist_folder(folder, verify=False)
    assert data.name == "IDX files in own (not verified)"
    assert data.image_shape == (3, 4)
    np.testing.assert_array_equal(np.rint(data.X_train * 255), parts["train-images"].reshape(6, 12))
    np.testing.assert_array_equal(data.y_test, parts["t10k-labels"])


def test_a_folder_under_a_files_name_is_passed_by(tmp_path):
    folder = write_folder(tmp_path / "own", small_parts(), "{}.gz")
    (folder / FILES["train-images"]).mkdir()
    assert load_mnist_folder(folder, verify=False).X_train.shape == (6, 12)


# ---------------------------------------------------------------------------- IDX, bad files

GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
GZ = gzip.compress(GOOD)
BAD = {
    "empty": (b"", "other|another kind of file"),
    "three bytes": (GOOD[:3], "another kind of file"),
    "wrong magic": (b"\x89PNG" + GOOD[4:], "first bytes 89 50 4e 47"),
    "unknown kind of number": (b"\0\0\x0a\x03" + GOOD[4:], "another kind of file"),
    "little-endian magic": (b"\x03\x08\0\0" + GOOD[4:], "another kind of file"),
    "no dimension": (b"\0\0\x08\0" + GOOD[4:], "found 0 dimensions"),
    "200 dimensions": (b"\0\0\x08\xc8" + bytes(1000), "found 200 dimensions"),
    "header cut short": (GOOD[:10], "each with a size above zero"),
    "a size of zero": (b"\0\0\x08\x01" + bytes(4), "each with a size above zero"),
    "zero beside a giant": (
        b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 0),
        "each with a size above zero",
    ),
    "payload cut short": (GOOD[:-1], "found 23 bytes after a header that declares 24"),
    "one byte too many": (GOOD + b"\0", "found more bytes than that"),
    "a giant in a small file": (
        b"\0\0\x0e\x04" + struct.pack(">4I", *[2**32 - 1] * 4),
        "cannot hold more than",
    ),
    "gzip cut short": (GZ[:-12], "cannot be read to its end"),
    "gzip without its checksum": (GZ[:-8], "cannot be read to its end"),
    "gzip with a wrong checksum": (GZ[:-8] + b"\1\2\3\4" + GZ[-4:], "cannot be read to its end"),
    "gzip header only": (GZ[:5], "cannot be read to its end"),
    "gzip with garbage behind": (GZ + b"garbage", "cannot be read to its end"),
    "gzip with a second file behind": (GZ + GZ, "found more bytes than that"),
    "gzip in gzip": (gzip.compress(GZ), "first bytes 1f 8b"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_error_that_names_it(tmp_path, case):
    content, message = BAD[case]
    file = tmp_path / "block-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(file)
    assert str(file) in str(caught.value)
    assert "awaited" in str(caught.value)


def test_a_missing_file_and_a_folder_are_errors_too(tmp_path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path)


def test_truncated_gz_is_one_clear_error(tmp_path):
    folder = write_folder(tmp_path / "own", small_parts(), "{}.gz")
    file = folder / (FILES["t10k-images"] + ".gz")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t10k-images.*Fetch it again"):
        load_mnist_folder(folder, verify=False)


def peak_bytes_of_failing_read(file: Path) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(file)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_a_declared_giant_takes_no_memory(tmp_path, pack):
    file = tmp_path / "giant"
    file.write_bytes(pack(b"\0\0\x08\x03" + struct.pack(">3I", 60_000, 10_000, 10_000) + GOOD))
    assert peak_bytes_of_failing_read(file) < 2e6


def test_a_gzip_bomb_is_not_unpacked_behind_the_declared_size(tmp_path):
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(GOOD + bytes(100_000_000)))
    assert peak_bytes_of_failing_read(file) < 2e6


def wrong_kind(parts):
    return parts | {"train-images": parts["train-labels"]}


def swapped_back(parts):
    return parts | {"t10k-labels": parts["t10k-images"]}


def of_floats(parts):
    return parts | {"train-images": parts["train-images"].astype(np.float32)}


def one_label_less(parts):
    return parts | {"train-labels": parts["train-labels"][:-1]}


def other_shape(parts):
    return parts | {"t10k-images": parts["t10k-images"][:, :, :-1]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_kind, r"train-images.*found a list \(labels\).*awaited a stack of images"),
        (swapped_back, r"t10k-labels.*found a stack of images.*awaited a list \(labels\)"),
        (of_floats, r"of float32; awaited a stack of images of uint8"),
        (one_label_less, "found 6 train images and 5 train labels"),
        (other_shape, r"found train images of \(3, 4\) and t10k images of \(3, 3\)"),
    ],
)
def test_four_files_that_do_not_belong_together_are_refused(tmp_path, spoil, message):
    folder = write_folder(tmp_path / "own", spoil(small_parts()))
    with pytest.raises(DataError, match=message):
        load_mnist_folder(folder, verify=False)


def test_a_missing_role_is_named_beside_what_is_there(tmp_path):
    folder = write_folder(tmp_path / "own", small_parts())
    (folder / FILES["t10k-labels"]).unlink()
    with pytest.raises(DataError, match=r"found t10k-images-idx3.*awaited t10k-labels-idx1-ubyte"):
        load_mnist_folder(folder, verify=False)
    with pytest.raises(DataError, match="found nothing"):
        load_mnist_folder(tmp_path / "gone")


def test_files_that_are_not_mnist_are_refused_unless_told_otherwise(tmp_path):
    folder = write_folder(tmp_path / "own", small_parts())
    with pytest.raises(DataError, match=r"verify=False"):
        load_mnist_folder(folder)


def mutants(seed: int, n: int):
    """Damaged copies of a good file: bytes changed, cut, doubled, put in, raw or gzipped."""
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


def test_no_damaged_file_gets_past_the_reader_with_anything_but_a_data_error(tmp_path):
    file, began, refused = tmp_path / "mutant", time.perf_counter(), 0
    for content in mutants(seed=0, n=600):
        file.write_bytes(content)
        try:
            assert read_idx(file).nbytes <= 1032 * len(content)
        except DataError:
            refused += 1
    assert refused > 300
    assert time.perf_counter() - began < 5


# ---------------------------------------------------------------------------- MNIST itself


@pytest.fixture(scope="module")
def mnist_folder() -> str:
    folder = os.environ.get("SPIKELCA_DATA", "")
    if not Path(folder).is_dir() or not folder:
        pytest.skip("SPIKELCA_DATA names no folder with MNIST's IDX files")
    return folder


@pytest.mark.mnist
def test_mnist_is_mnist(mnist_folder):
    data = load_images("mnist")
    assert data.name == "MNIST (IDX files, SHA-256 verified)"
    assert [a.shape for a in arrays_of(data)] == [(60000, 784), (60000,), (10000, 784), (10000,)]
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.X_train.dtype == np.float32
    assert data.X_train.max() == 1
    assert data.image_shape == (28, 28)


@pytest.mark.mnist
def test_one_changed_pixel_of_mnist_is_noticed(mnist_folder, tmp_path):
    parts = {role: find_part(Path(mnist_folder), role) for role in ROLES}
    parts["t10k-images"] = parts["t10k-images"].copy()
    parts["t10k-images"][9_999, 27, 27] ^= 1
    folder = write_folder(tmp_path / "own", parts)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: found decoded bytes with SHA-256"):
        load_mnist_folder(folder)


@pytest.mark.mnist
def test_openmls_table_becomes_the_same_mnist(mnist_folder, monkeypatch, tmp_path):
    parts = {role: find_part(Path(mnist_folder), role) for role in ROLES}
    images = np.concatenate([parts["train-images"], parts["t10k-images"]]).reshape(-1, 784)
    labels = np.concatenate([parts["train-labels"], parts["t10k-labels"]]).astype(str)
    table = SimpleNamespace(data=images.astype(np.int64), target=labels.astype(object))
    monkeypatch.setattr(openml, "connection_error", lambda url, patience: "")
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *args, **kwargs: table)
    data = download_mnist(tmp_path)
    assert data.name == "MNIST (OpenML, SHA-256 verified)"
    for found, awaited in zip(arrays_of(data), arrays_of(load_images("mnist")), strict=True):
        np.testing.assert_array_equal(found, awaited)
    table.data[3, 400] += 1
    with pytest.raises(DataError, match="OpenML's mnist_784: found decoded bytes"):
        download_mnist(tmp_path)


def find_part(folder: Path, role: str) -> np.ndarray:
    return read_idx(next(file for file in folder.iterdir() if file.name.startswith(role)))


# ---------------------------------------------------------------------------- OpenML


def test_without_a_network_the_error_names_the_ways_on(monkeypatch, tmp_path):
    monkeypatch.delenv("SPIKELCA_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(openml, "connection_error", lambda url, patience: "no route to host")
    monkeypatch.setattr(
        "sklearn.datasets.fetch_openml", lambda *a, **k: pytest.fail("asked a dead server")
    )
    with pytest.raises(DataError, match="no route to host") as caught:
        load_images("mnist")
    for way in ("--data DIR", "SPIKELCA_DATA", "--data digits"):
        assert way in str(caught.value)


def test_a_cached_table_needs_no_network(monkeypatch, tmp_path):
    cached = tmp_path / "openml.org" / "data" / "mnist_784.arff.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"")
    monkeypatch.setattr(openml, "connection_error", lambda *a: pytest.fail("asked the network"))
    table = SimpleNamespace(data=np.zeros((2, 784)), target=np.array(["1", "2"], object))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *a, **k: table)
    with pytest.raises(DataError, match=r"found \(2, 784\) numbers and \(2,\) labels"):
        download_mnist(tmp_path)


@pytest.mark.parametrize(
    "failure", [URLError("reset"), ValueError("md5 checksum"), EOFError("short"), OSError("full")]
)
def test_a_failing_download_is_one_error_with_the_ways_on(monkeypatch, tmp_path, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(openml, "connection_error", lambda url, patience: "")
    monkeypatch.setattr("sklearn.datasets.fetch_openml", fail)
    with pytest.raises(DataError, match=r"could not be downloaded.*--data digits"):
        download_mnist(tmp_path)


def test_a_server_that_never_answers_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.perf_counter()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert openml.connection_error(url, patience=0.3)
        assert time.perf_counter() - began < 2


def test_a_closed_door_and_an_open_one_are_told_apart():
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert openml.connection_error(url, patience=2.0) == ""
    assert openml.connection_error(url, patience=2.0)


# ---------------------------------------------------------------------------- linked bars


def test_stacked_atoms_have_unit_norm_and_both_modalities_weigh_the_same():
    world = linked_bars(n_samples=1, size=5)
    for atoms in world.atoms.values():
        np.testing.assert_allclose((atoms**2).sum(axis=1), 0.5)
    assert {name: atoms.shape for name, atoms in world.atoms.items()} == {
        "bars": (10, 25),
        "marks": (10, 30),
    }


def test_no_two_causes_look_alike_in_either_modality():
    for atoms in linked_bars(n_samples=1, size=8).atoms.values():
        likeness = 2 * atoms @ atoms.T - np.eye(16)
        assert np.abs(likeness).max() < 0.15
        assert np.linalg.matrix_rank(atoms) >= 15  # all bars of one direction sum to the other's


def test_both_modalities_are_made_by_the_same_positive_code():
    world = linked_bars(n_samples=300, size=6)
    active = (world.codes > 0).sum(axis=1)
    assert set(active) == {2, 3}
    assert world.codes[world.codes > 0].min() >= 0.5
    assert world.codes.min() == 0
    for name, X in world.X.items():
        np.testing.assert_allclose(X, world.codes @ world.atoms[name])


def test_noise_has_the_standard_deviation_asked_for():
    clean, noisy = linked_bars(noise=0.0), linked_bars(noise=0.2)
    np.testing.assert_array_equal(clean.codes, noisy.codes)
    for name in ("bars", "marks"):
        assert (noisy.X[name] - clean.X[name]).std() == pytest.approx(0.2, rel=0.02)


def test_the_seed_decides_everything():
    one, same, other = linked_bars(50), linked_bars(50), linked_bars(50, random_state=1)
    np.testing.assert_array_equal(one.X["marks"], same.X["marks"])
    assert not np.array_equal(one.codes, other.codes)
    assert (linked_bars(20, n_active=1).codes > 0).sum() == 20


def test_the_arrays_of_the_bars_are_read_only():
    world = linked_bars(4)
    for array in (*world.X.values(), *world.atoms.values(), world.codes):
        assert not array.flags.writeable


@pytest.mark.parametrize(
    "wrong",
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
def test_a_number_out_of_range_says_what_was_awaited(wrong):
    with pytest.raises(ValueError, match=r"found .* awaited"):
        linked_bars(**wrong)


def test_the_digests_are_of_sha256():
    assert {len(digest) for digest in MNIST_SHA256.values()} == {hashlib.sha256().digest_size * 2}

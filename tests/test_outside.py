"""Out-of-core data: rows are read in chunks, with the results of arrays in memory."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from spikelca import LCACoder, LinkedLCA, OrdinalDriver, load, save
from spikelca.datasets import DataError, RowFile
from spikelca.estimators.samples import iter_batches
from spikelca.utils import out_of_core


class Shelf:
    """Hands out rows as HDF5 does: numpy arrays, in their own order only, each once."""

    def __init__(self, rows):
        self._rows, self.largest = rows, 0
        self.shape, self.dtype, self.ndim = rows.shape, rows.dtype, rows.ndim

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, key):
        if not isinstance(key, slice) and np.any(np.diff(key) <= 0):
            raise TypeError("Indexing elements must be in increasing order")
        found = self._rows[key].copy()
        self.largest = max(self.largest, len(found))
        return found


SMAPS = Path("/proc/self/smaps")
SOURCES = {
    "memory map": lambda path: np.load(path, mmap_mode="r"),
    "row file": RowFile,
    "shelf": lambda path: Shelf(np.load(path)),
}
SOURCE = pytest.mark.parametrize("source", SOURCES)
KINDS = pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 64)


def rows_of(dtype, n=300, width=30):
    scale = 200 if dtype == "uint8" else 1
    return (np.random.default_rng(0).random((n, width)) * scale).astype(dtype)


def make(X, **more):
    scale = 200 if X.dtype == np.uint8 else 1
    settings = {"threshold": 0.5 * scale, "batch_size": 50, "n_epochs": 2, "random_state": 0}
    return LinkedLCA(12, {"a": 10, "b": 20}, observe="a", **settings | more)


@pytest.fixture
def placed(tmp_path):
    def place(X, source):
        np.save(tmp_path / "rows.npy", X)
        return SOURCES[source](tmp_path / "rows.npy")

    return place


# ---------------------------------------------------------------- results


@KINDS
@SOURCE
def test_results_equal_those_of_array_in_memory(placed, source, dtype):
    X = rows_of(dtype)
    there = placed(X, source)
    fitted, fitted_there = make(X).fit(X), make(X).fit(there)
    assert np.array_equal(fitted.components_, fitted_there.components_)
    assert fitted.components_.dtype == fitted_there.components_.dtype
    partly, partly_there = make(X).partial_fit(X), make(X).partial_fit(there)
    assert np.array_equal(partly.components_, partly_there.components_)
    codes, codes_there = fitted.transform(X), fitted.transform(there)
    assert codes.any()
    assert codes.dtype == codes_there.dtype
    assert np.array_equal(codes, codes_there)
    assert np.array_equal(fitted.translate(X, to="b"), fitted.translate(there, to="b"))


@SOURCE
def test_lca_coder_and_circuit_accept_lazy_arrays(placed, source):
    X = rows_of("uint8")
    coder, there = LCACoder(np.eye(30), threshold=20.0).fit(X), placed(X, source)
    assert np.array_equal(coder.fit(there).transform(there), coder.transform(X))
    circuit = make(X).fit(X).circuit_.observe("b")
    part = there[:, 10:] if source == "memory map" else Shelf(X[:, 10:])
    assert np.array_equal(circuit.encode({"b": part}).code, circuit.encode({"b": X[:, 10:]}).code)


def test_generated_batches_give_same_result_as_array():
    X = rows_of("float64")
    # The first atoms are drawn from the samples of the first call.
    whole, pieces = (make(X).partial_fit(X[:100]) for _ in range(2))
    whole.partial_fit(X[100:])
    for first in (100, 200):
        pieces.partial_fit(X[first : first + 100])
    assert np.array_equal(whole.components_, pieces.components_)
    codes = [pieces.transform(X[first : first + 70]) for first in range(0, 300, 70)]
    assert np.array_equal(np.vstack(codes), whole.transform(X))


def test_checkpoint_of_training_from_a_file(placed, tmp_path):
    X = rows_of("uint8")
    there, path = placed(X, "row file"), tmp_path / "checkpoint"
    make(X).fit(there, checkpoint=path)
    assert np.array_equal(
        make(X).fit(there, checkpoint=path, resume=True).components_, make(X).fit(X).components_
    )


# ---------------------------------------------------------------- little memory


def test_arrays_are_never_read_as_a_whole():
    X = rows_of("uint8", n=1000)
    shelf = Shelf(X)
    lca = make(X).partial_fit(shelf)
    lca.set_params(sparse_output=True).transform(shelf)
    assert shelf.largest <= 64


def test_memory_grows_with_active_neurons_only(tmp_path):
    atoms = np.eye(256, 20) + np.random.default_rng(1).random((256, 20))
    coder, peaks = LCACoder(atoms, threshold=7.0, sparse_output=True), []
    coder.transform(rows_of("float32", 10, 20))
    for n in (1000, 10_000):
        np.save(tmp_path / "rows.npy", rows_of("float32", n, 20))
        there = RowFile(tmp_path / "rows.npy")
        tracemalloc.start()
        codes = coder.transform(there)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    dense = 4 * np.prod(codes.shape)
    assert 0 < codes.nnz < 0.1 * np.prod(codes.shape)
    assert peaks[1] - peaks[0] < dense / 4


def read_all_ways(X):
    """Read every row by each function that releases pages of a memory map."""
    coder = LCACoder(np.eye(X.shape[1]), threshold=0.5)
    coder.fit(X).transform(X)
    coder.set_params(sparse_output=True).transform(X)
    LinkedLCA(4, threshold=0.5, batch_size=64, random_state=0).partial_fit(X)


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_changed_memory_map_keeps_every_byte(tmp_path, mode):
    path, changed = tmp_path / "rows.npy", rows_of("float64", 700)
    np.save(path, changed[::-1])
    before, X = path.read_bytes(), np.load(path, mmap_mode=mode)
    X[:] = changed
    read_all_ways(X)
    assert np.array_equal(X, changed)
    # The changes of a private map exist nowhere else; those of "r+" are in the file.
    X.flush()
    assert (path.read_bytes() == before) == (mode == "c")


def resident_bytes(path):
    """Bytes of a file that are mapped into this process and resident, from the kernel's table."""
    found, inside = 0, False
    for line in SMAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        word = line.split()[0]
        if "-" in word:
            inside = line.endswith(str(path.resolve()))
        elif inside and word == "Rss:":
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not SMAPS.exists(), reason="this system does not list resident pages")
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_resident_pages_do_not_grow_with_rows(tmp_path, mode):
    path = tmp_path / "rows.npy"
    np.save(path, rows_of("float32", 32 * 64, 256))  # 32 chunks of 64 KiB
    X = np.load(path, mmap_mode=mode)
    coder = LCACoder(np.eye(256), threshold=20.0)
    X.sum()
    assert resident_bytes(path) > 0
    for read in (
        coder.transform,
        coder.set_params(sparse_output=True).transform,
        out_of_core.check_lazy,
        lambda X: list(iter_batches({"x": X}, None, None, 64)),
    ):
        X.sum()
        read(X)
        assert resident_bytes(path) < X.nbytes / 8


# ---------------------------------------------------------------- sparse codes


@pytest.mark.parametrize("more", [{}, {"two_sided": True}, {"transfer": "hard"}], ids=str)
@KINDS
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_sparse_codes_equal_dense_codes(dtype, more):
    X = rows_of(dtype)
    lca = make(X, **more).fit(X)
    dense = lca.transform(X)
    codes = lca.set_params(sparse_output=True).transform(X)
    assert isinstance(codes, sparse.csr_array)
    assert (codes.dtype, codes.shape, codes.nnz) == (dense.dtype, dense.shape, (dense != 0).sum())
    assert np.array_equal(codes.toarray(), dense)
    assert np.array_equal(lca.inverse_transform(codes), lca.inverse_transform(dense))
    recalled = lca.translate(X, to="b")
    assert np.array_equal(recalled, lca.set_params(sparse_output=False).translate(X, to="b"))


def test_sparse_codes_of_spiking_neurons_and_lca_coder():
    X = rows_of("float64", 20)
    for more in ({}, {"neuron": "spiking", "duration": 0.05}):
        coder = LCACoder(np.eye(30), threshold=0.5, **more).fit(X)
        dense = coder.transform(X)
        codes = coder.set_params(sparse_output=True).transform(X)
        assert isinstance(codes, sparse.csr_array)
        assert np.array_equal(codes.toarray(), dense)
        assert np.array_equal(coder.inverse_transform(codes), coder.inverse_transform(dense))


def test_unconverged_codes_warn_once_for_all_chunks():
    X = rows_of("float64")
    lca = make(X, tol=1e-300).fit(X)
    for is_sparse in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            lca.set_params(sparse_output=is_sparse).transform(X)
        [message] = [str(w.message) for w in caught if w.category is ConvergenceWarning]
        assert "of 300 codes did not converge" in message


def test_sparse_codes_in_pipeline_file_and_table(tmp_path):
    X = rows_of("float64")
    y = np.arange(300) % 2
    pipeline = make_pipeline(make(X, sparse_output=True), LogisticRegression()).fit(X, y)
    dense = make_pipeline(make(X), LogisticRegression()).fit(X, y)
    assert np.array_equal(pipeline.predict(X), dense.predict(X))
    save(pipeline[0], tmp_path / "model")
    assert isinstance(load(tmp_path / "model").transform(X), sparse.csr_array)
    with pytest.raises(ValueError, match="sparse matrix"):
        make(X, sparse_output=True).set_output(transform="pandas").fit_transform(X)


# ---------------------------------------------------------------- validation


@SOURCE
def test_invalid_value_is_located_and_changes_nothing(placed, source):
    X = rows_of("float32")
    lca = make(X).partial_fit(X)
    atoms, state = lca.components_.copy(), lca._rng.bit_generator.state
    X[177, 5] = np.nan
    there = placed(X, source)
    for act in (lca.partial_fit, make(X).fit, lca.transform, LCACoder(np.eye(30)).fit):
        with pytest.raises(ValueError, match=r"NaN at index \(177, 5\)"):
            act(there)
    assert np.array_equal(lca.components_, atoms)
    assert lca._rng.bit_generator.state == state
    with pytest.raises(ValueError, match="features"):
        lca.transform(placed(X[:, :7], source))


def test_arrays_without_numbers_are_rejected(tmp_path):
    lca = make(rows_of("float64")).fit(rows_of("float64"))
    complex_ = np.memmap(tmp_path / "c", np.complex64, "w+", shape=(3, 10))
    with pytest.raises(ValueError, match="Complex"):
        lca.transform(complex_)
    with pytest.raises(ValueError, match="2D"):
        lca.transform(Shelf(np.zeros((3, 5, 2))))


# ---------------------------------------------------------------- the file


def test_row_file_is_indexed_like_an_array(tmp_path):
    X = np.arange(60, dtype=">i2").reshape(5, 3, 4)
    np.save(tmp_path / "x.npy", X)
    rows, flat = RowFile(tmp_path / "x.npy"), X.reshape(5, 12)
    assert (rows.shape, rows.ndim, len(rows), rows.dtype) == ((5, 12), 2, 5, np.dtype("i2"))
    mask, none = np.array([True, False, True, False, False]), np.array([], int)
    for key in (slice(1, 4), slice(None, None, 2), slice(9, 10), [4, 0, 4], [-1], mask, -2, none):
        assert np.array_equal(rows[key], flat[key])
    assert np.array_equal(rows[1:, 3:5], flat[1:, 3:5])
    assert np.array_equal(np.asarray(rows), flat)
    for bad in ([5], [-6], [0.5], "a"):
        with pytest.raises(IndexError, match="Rows"):
            rows[bad]


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros(3), "no rows"),
        (np.zeros((4, 3), order="F"), "Fortran order"),
        (np.zeros((2, 2), complex), "real numbers"),
    ],
)
def test_file_without_rows_is_rejected(tmp_path, array, word):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=word):
        RowFile(tmp_path / "x.npy")


def test_truncated_file_is_rejected(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((50, 4)))
    rows, whole = RowFile(path), path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="truncated"):
        rows[40:]
    with pytest.raises(DataError, match="declares"):
        RowFile(path)
    with pytest.raises(FileNotFoundError):
        RowFile(tmp_path / "missing.npy")


# ---------------------------------------------------------------- names


def named(labels, n_components=8, **driver):
    X, y = rows_of("float64", 100), np.asarray(labels)[np.arange(100) % len(labels)]
    driver = OrdinalDriver(len(labels), inhibition=0.04, **driver)
    lca = LinkedLCA(n_components, driver=driver, n_epochs=1, random_state=0)
    return lca.fit(X, y), X


def test_ordinal_neurons_are_named_after_class_and_index():
    lca, _ = named(range(10), 256)
    names = lca.get_feature_names_out()
    assert names[3 * 25 + 11] == "digit3_12"
    assert list(names[[0, 24, 25, 249, 250, 255]]) == [
        "digit0_1", "digit0_25", "digit1_1", "digit9_25", "linkedlca250", "linkedlca255",
    ]  # fmt: skip
    assert len(set(names)) == 256


def test_feature_names_use_words_or_class_numbers():
    lca, _ = named(["cat", "dog"], 5)
    assert list(lca.get_feature_names_out()) == ["cat_1", "cat_2", "dog_1", "dog_2", "linkedlca4"]
    lca, _ = named([3, 7], block=3)
    assert list(lca.get_feature_names_out()[[0, 3, 5, 6]]) == [
        "class3_1", "class7_1", "class7_3", "linkedlca6",
    ]  # fmt: skip


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_have_feature_names(library, tmp_path):
    pytest.importorskip(library)
    lca, X = named(range(10), 32)
    save(lca, tmp_path / "model")
    for model in (lca, load(tmp_path / "model")):
        table = model.set_output(transform=library).transform(X)
        assert type(table).__module__.startswith(library)
        assert list(table.columns) == list(lca.get_feature_names_out())
        assert np.array_equal(table.to_numpy(), lca.set_output(transform="default").transform(X))

"""Sparse samples: the codes of dense ones, without a dense copy of the whole matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from spikelca import Circuit, Dictionary, LCACoder, LinkedLCA, RateNeuron, SoftThreshold
from spikelca.utils import sparse_rows

pd = pytest.importorskip("pandas")

FORMS = {
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
    "coo_matrix": sparse.coo_matrix,
    "frame": lambda X: pd.DataFrame.sparse.from_spmatrix(
        sparse.csr_matrix(X), columns=[f"c{i}" for i in range(X.shape[1])]
    ),
}
FORM = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    X = rng.random((300, 30)) * (rng.random((300, 30)) < 0.2)
    X[7] = 0
    return X


def make(**params):
    params = {"threshold": 0.1, "batch_size": 64, "n_epochs": 2, "random_state": 0} | params
    return LinkedLCA(12, {"a": 20, "b": 10}, "a", **params)


@FORM
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_samples_are_learned_as_dense_ones(form, dtype, X):
    X = (10 * X).astype(dtype)
    dense, other = make().fit(X), make().fit(FORMS[form](X))
    assert np.array_equal(other.components_, dense.components_)
    assert np.array_equal(other.transform(FORMS[form](X)), dense.transform(X))
    observed = FORMS[form](X[:, :20])
    assert np.array_equal(other.transform(observed), dense.transform(X[:, :20]))
    assert np.array_equal(other.encode(observed).code, dense.encode(X[:, :20]).code)
    learned = make().partial_fit(FORMS[form](X)).components_
    assert np.array_equal(learned, make().partial_fit(X).components_)


@FORM
@pytest.mark.parametrize("sparse_output", [False, True])
def test_coder_encodes_sparse_samples_in_blocks(form, sparse_output, X, monkeypatch):
    coder = LCACoder(X[10:22], threshold=0.05, sparse_output=sparse_output)
    expected = coder.transform(X)
    monkeypatch.setattr(sparse_rows, "BLOCK_BYTES", 64 * 8 * 30)
    codes = coder.fit(FORMS[form](X)).transform(FORMS[form](X))
    assert type(codes) is type(expected)
    assert (codes != expected).sum() == 0


def test_wide_sparse_samples_are_never_dense():
    X = sparse.random(4000, 20_000, density=1e-3, format="csr", random_state=0, dtype=np.float32)
    coder = LCACoder(np.eye(8, 20_000, dtype=np.float32), threshold=0.1)
    coder.transform(X[:10])
    tracemalloc.start()
    codes = coder.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes.shape == (4000, 8)
    assert peak < X.shape[0] * X.shape[1]  # a quarter of the dense matrix


def test_names_of_sparse_columns_are_checked(X):
    frame = FORMS["frame"](X)
    lca = make(threshold=0.2).fit(frame)
    assert lca.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        lca.transform(frame[frame.columns[::-1]])


@FORM
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_invalid_value_of_sparse_samples_is_located(form, value, X):
    X[41, 3] = value
    for call in (make().fit, make().partial_fit, LCACoder(np.eye(30)).transform):
        with pytest.raises(ValueError, match=r"X must contain finite .* at index \(41, 3\)"):
            call(FORMS[form](X))


def test_complex_sparse_samples_raise(X):
    with pytest.raises(ValueError, match="Complex data not supported"):
        make().fit(sparse.csr_array(X * 1j))


def test_text_and_one_hot_columns_are_encoded():
    words = ["red green", "green blue blue", "red red blue", "blue green"] * 5
    text = make_pipeline(TfidfVectorizer(), LinkedLCA(3, threshold=0.05, random_state=0))
    assert (text.fit_transform(words) > 0).any(axis=1).all()
    colours = np.array([["red", "small"], ["blue", "large"], ["red", "large"]] * 5)
    one_hot = make_pipeline(OneHotEncoder(), LinkedLCA(3, threshold=0.05, random_state=0))
    assert one_hot.fit_transform(colours).shape == (15, 3)


IMAGES = np.random.default_rng(0).random((20, 4, 4))
FLAT = IMAGES.reshape(20, -1)
CIRCUIT = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", FLAT[:5])])
FITTED = LinkedLCA(5, random_state=0)
ENTRIES = {
    "LinkedLCA.fit": lambda X: LinkedLCA(5, random_state=0).fit(X),
    "LinkedLCA.partial_fit": lambda X: LinkedLCA(5, random_state=0).partial_fit(X),
    "LinkedLCA.transform": lambda X: FITTED.fit(FLAT).transform(X),
    "LinkedLCA.encode": lambda X: FITTED.fit(FLAT).encode(X),
    "LinkedLCA.lambda_max": lambda X: FITTED.fit(FLAT).lambda_max(X),
    "LinkedLCA.translate": lambda X: FITTED.fit(FLAT).translate(X, "x"),
    "LinkedLCA.inverse_transform": lambda X: FITTED.fit(FLAT).inverse_transform(X),
    "LCACoder.fit": lambda X: LCACoder(FLAT[:5]).fit(X),
    "LCACoder.transform": lambda X: LCACoder(FLAT[:5]).transform(X),
    "LCACoder.encode": lambda X: LCACoder(FLAT[:5]).encode(X),
    "LCACoder.lambda_max": lambda X: LCACoder(FLAT[:5]).lambda_max(X),
    "LCACoder.inverse_transform": lambda X: LCACoder(FLAT[:5]).inverse_transform(X),
    "dictionary": lambda X: LCACoder(X).transform(FLAT),
    "Dictionary": lambda X: Dictionary("x", X),
    "Circuit.drive": lambda X: CIRCUIT.drive({"x": X}),
    "Circuit.encode": lambda X: CIRCUIT.encode({"x": X}),
    "Circuit.simulate": lambda X: CIRCUIT.simulate({"x": X}, 0.01),
    "Circuit.energy": lambda X: CIRCUIT.energy({"x": X}, np.ones((20, 5))),
    "Circuit.reconstruct": lambda X: CIRCUIT.reconstruct(X, "x"),
    "Circuit.learn_step": lambda X: CIRCUIT.learn_step({"x": X}, np.ones((20, 5))),
    "Circuit.learn_in_simulation": lambda X: CIRCUIT.replace(wiring="residual").learn_in_simulation(
        {"x": X}, 0.01
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_three_dimensional_images_raise_everywhere(name, backed, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    X = np.load(tmp_path / "images.npy", mmap_mode="r") if backed else IMAGES
    with pytest.raises(ValueError, match=r"2D|dim 3|\(20, 4, 4\)"):
        ENTRIES[name](X)

"""Small data: one column, one row, equal samples. They work, or an error gives the remedy."""

from __future__ import annotations

import numpy as np
import pytest

from spikelca import LCACoder, LinkedLCA, OrdinalDriver

ONE_COLUMN = np.random.default_rng(0).random((50, 1)) + 0.1
SIGNS = np.where(np.arange(50) % 2, 1.0, -1.0)[:, None]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_too_many_neurons_for_one_column_raise(dtype, shift):
    X = (ONE_COLUMN + shift).astype(dtype)
    for n_components in (2, 30):
        with pytest.raises(
            ValueError, match=r"1 feature.s.*, got .* Use one neuron, or more features"
        ):
            LinkedLCA(n_components, random_state=0).fit(X)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_column_is_encoded():
    lca = LinkedLCA(random_state=0).fit(ONE_COLUMN)
    np.testing.assert_allclose(lca.transform(ONE_COLUMN), np.maximum(ONE_COLUMN - 0.1, 0))
    both = LinkedLCA(2, n_epochs=1, random_state=2).fit(ONE_COLUMN * SIGNS)
    assert sorted(both.components_.ravel()) == pytest.approx([-1, 1])
    error = both.inverse_transform(both.transform(ONE_COLUMN * SIGNS)) - ONE_COLUMN * SIGNS
    assert np.abs(error).max() <= 0.1 + 1e-12


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n_columns", [2, 12])
@pytest.mark.parametrize("params", [{}, {"threshold": "auto"}, {"n_active": 1}])
def test_one_row_is_learned(n_columns, params):
    X = np.random.default_rng(0).random((1, n_columns)) + 0.1
    lca = LinkedLCA(2, random_state=0, **params).fit(X)
    assert lca.transform(X).any()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_equal_samples_give_different_atoms():
    X = np.tile([[0.6, 0.8, 0.0]], (20, 1))
    lca = LinkedLCA(6, random_state=0).fit(X)
    assert len(np.unique(lca.components_.round(6), axis=0)) == 6
    driver = OrdinalDriver(2, block=3)
    assert LinkedLCA(6, driver=driver, random_state=0).fit(X, np.arange(20) % 2).transform(X).any()


def test_opposite_atoms_raise_for_signed_codes():
    atoms = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    with pytest.raises(ValueError, match=r"up to the sign\), got equal atoms 0 and 2"):
        LCACoder(atoms, two_sided=True).transform([[1.0, 2.0]])
    assert LCACoder(atoms).transform([[-1.0, 2.0]]).round(2).tolist() == [[0, 1.9, 0.9]]

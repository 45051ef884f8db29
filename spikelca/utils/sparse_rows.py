"""Sparse matrices, read as dense rows on demand and never converted as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spikelca.utils.validation import MAX_ABS, as_float, check_finite

BLOCK_BYTES = 2**26
"""Bytes of the dense rows that are encoded at a time."""


class SparseRows:
    """A sparse matrix whose rows are converted to dense ones on demand.

    Parameters
    ----------
    X : (n_samples, n_features) sparse matrix, sparse array or data frame of sparse columns
    """

    def __init__(self, X: Any) -> None:
        rows = X.sparse.to_coo() if hasattr(X, "iloc") else X
        self.rows = sparse.csr_array(rows)
        self.rows.data = as_float(self.rows.data, "X")
        self.shape, self.dtype, self.ndim = self.rows.shape, self.rows.dtype, self.rows.ndim
        invalid = np.flatnonzero(~(np.abs(self.rows.data) <= MAX_ABS[self.dtype]))
        if invalid.size:
            row = int(np.searchsorted(self.rows.indptr, invalid[0], side="right")) - 1
            check_finite(self[row : row + 1], "X", row)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        dense: NDArray[Any] = self.rows[rows].toarray()
        return dense

    @property
    def block(self) -> int:
        """Number of rows of at most `BLOCK_BYTES`; at least one."""
        return max(1, BLOCK_BYTES // (8 * max(self.shape[1], 1)))


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse matrix, a sparse array or a data frame of sparse columns."""
    if hasattr(X, "iloc") and hasattr(X, "dtypes"):
        return X.ndim == 2 and all(hasattr(dtype, "fill_value") for dtype in X.dtypes)
    return bool(sparse.issparse(X))

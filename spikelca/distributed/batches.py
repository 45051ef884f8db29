"""Samples for learning on Dask workers: batches are encoded and summed where the samples are.

For each block of a batch, every chunk provides the rows that belong to the block; one task sorts
them into the order of presentation and encodes them. This process receives one set of sums per
batch and sends the new circuit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import (
    BatchStatistics,
    BatchSums,
    BlockQueries,
    EncodedBlock,
    make_block,
    pairwise_reduce,
    split_blocks,
    sum_block,
)
from spikelca.distributed.arrays import delay_circuit
from spikelca.distributed.cluster import single_threaded, translate_errors
from spikelca.engines import Engine
from spikelca.learning import RemoteBatch
from spikelca.learning.checkpoint import DIGEST_ROWS, combine_digests, digest_rows
from spikelca.learning.loop import encode_labelled
from spikelca.utils.optional import require
from spikelca.utils.validation import FloatArray, check_values


class DaskColumn:
    """One modality of samples on workers, indexed by rows like an array."""

    def __init__(self, X: Any) -> None:
        self.X, self.dtype = X, X.dtype

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Any) -> FloatArray:
        with translate_errors():
            return np.asarray(self.X[rows])

    def digest(self) -> str:
        """Compute the digest that `digest_array` computes of an array in memory."""
        chunks = self.X.rechunk((DIGEST_ROWS, -1)).to_delayed().ravel()
        dask = require("dask", "dask")
        with translate_errors():
            digests = dask.compute(*map(dask.delayed(digest_rows), chunks))
        return combine_digests(self.X.shape, self.dtype, digests)


class DaskSamples(Mapping[str, DaskColumn]):
    """Samples on workers, of one or several modalities stacked as columns.

    Parameters
    ----------
    X : dask.array.Array of (n_samples, n_features)
        Samples from `check_dask`.
    widths : mapping of modality to int
        Number of columns of each modality.
    keep : bool
        Whether the samples stay in the memory of the workers, for several passes in any order.
        Otherwise a chunk is read with the first batch that requires it, and released after the
        last.
    """

    def __init__(self, X: Any, widths: Mapping[str, int], keep: bool) -> None:
        with translate_errors():
            self.X = X.persist() if keep else X
            if np.isnan(X.shape[0]):
                self.X = self.X.compute_chunk_sizes()
        if not len(self.X):
            raise ValueError("X must have at least 1 sample, got 0 sample(s).")
        self.widths, self.keep = dict(widths), keep
        self._edges = np.cumsum([0, *self.X.chunks[0]])
        self._chunks = self.X.to_delayed().ravel()
        self._read: dict[int, Any] = dict(enumerate(self._chunks)) if keep else {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.widths)

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, name: str) -> DaskColumn:
        names = list(self.widths)
        start = sum(self.widths[earlier] for earlier in names[: names.index(name)])
        return DaskColumn(self.X[:, start : start + self.widths[name]])

    def batch(self, rows: NDArray[np.int64]) -> DaskBatch:
        """Return the batch of these rows, in this order."""
        chunk_index = np.searchsorted(self._edges, rows, side="right") - 1
        needed = sorted({int(chunk) for chunk in chunk_index})
        self._prefetch(needed)
        blocks = [self._block(rows[block], chunk_index[block]) for block in split_blocks(len(rows))]
        return DaskBatch(blocks, self.widths)

    def _prefetch(self, needed: Sequence[int]) -> None:
        """Read chunks, and prefetch the next one while these are encoded."""
        ahead = range(needed[-1] + 1, min(needed[-1] + 2, len(self._chunks)))
        if new := [c for c in [*needed, *ahead] if c not in self._read]:
            with translate_errors():
                read = require("dask", "dask").persist(*(self._chunks[c] for c in new))
            self._read.update(zip(new, read, strict=True))
        if not self.keep:
            for released in [c for c in self._read if c < needed[0]]:
                del self._read[released]

    def _block(
        self, rows: NDArray[np.int64], chunk_index: NDArray[np.int64]
    ) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the rows of each chunk, and the indices that restore their order."""
        take = require("dask", "dask").delayed(_take_rows)
        rows_by_chunk = [
            take(self._read[int(c)], rows[chunk_index == c] - self._edges[c])
            for c in np.unique(chunk_index)
        ]
        return rows_by_chunk, np.argsort(np.argsort(chunk_index, kind="stable"))


def _take_rows(chunk: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
    return chunk[rows]


class DaskBatch(RemoteBatch):
    """A batch on workers: for each block its rows, chunk by chunk, and their order."""

    def __init__(
        self, blocks: Sequence[tuple[list[Any], NDArray[np.int64]]], widths: Mapping[str, int]
    ) -> None:
        self.blocks, self.widths = blocks, widths

    def compute_statistics(
        self, circuit: Circuit, labels: Any, tol: float, engine: Engine
    ) -> BatchStatistics:
        """Encode the blocks and add their sums in the fixed pairwise order."""
        dask, circuit_key = require("dask", "dask"), delay_circuit(circuit)
        encode, add = (
            dask.delayed(partial(_encode_block, tol, engine, self.widths)),
            dask.delayed(_sum_block),
        )
        block_rows = split_blocks(sum(len(order) for _, order in self.blocks))
        block_labels = [None if labels is None else labels[rows] for rows in block_rows]
        learn = tuple(d.name for d in circuit.dictionaries if d.plasticity is not None)
        with translate_errors():
            blocks = dask.persist(
                *(
                    encode(circuit_key, rows_by_chunk, order, y)
                    for (rows_by_chunk, order), y in zip(self.blocks, block_labels, strict=True)
                )
            )
            sums = pairwise_reduce(lambda i: add(blocks[i], learn), 0, len(blocks)).compute()
        return BatchStatistics(sums, partial(_query_blocks, blocks))


def _encode_block(
    tol: float,
    engine: Engine,
    widths: Mapping[str, int],
    circuit: Circuit,
    rows_by_chunk: Sequence[FloatArray],
    order: NDArray[np.int64],
    labels: Any,
) -> EncodedBlock:
    X, edges = np.concatenate(rows_by_chunk)[order], np.cumsum([0, *widths.values()])
    # Contiguous as on a single machine, because the rounding of products depends on the layout.
    stimuli = {
        name: np.ascontiguousarray(X[:, start:stop])
        for name, start, stop in zip(widths, edges[:-1], edges[1:], strict=True)
    }
    with single_threaded():
        checked = check_values(stimuli, circuit.dtype)
        code = encode_labelled(circuit, checked, labels, tol, engine)
        return make_block(circuit.dictionaries, checked, code)


def _sum_block(block: EncodedBlock, learn: Sequence[str]) -> BatchSums:
    with single_threaded():
        return sum_block(block, learn)


def _query_blocks(blocks: Sequence[Any], queries: BlockQueries) -> Sequence[Any]:
    dask = require("dask", "dask")
    evaluate = dask.delayed(_query_block)
    with translate_errors():
        results: Sequence[Any] = dask.compute(*(evaluate(q, blocks[i]) for i, q in queries.items()))
    return results


def _query_block(query: Any, block: EncodedBlock) -> Any:
    return query(block)

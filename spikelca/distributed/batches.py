"""Samples for learning that live on workers: batches are taken from them where they are.

For each block of a batch every chunk hands over those of its rows that the block wants; one task
brings them into the order in which they are shown, and settles them. What travels to this process
is one set of sums for each batch; what travels back is the circuit.
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
from spikelca.utils.optional import require
from spikelca.utils.validation import FloatArray, check_values


class DaskColumn:
    """One modality of samples on workers, as far as an array is asked for it."""

    def __init__(self, X: Any) -> None:
        self.X, self.dtype = X, X.dtype

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Any) -> FloatArray:
        with translate_errors():
            return np.asarray(self.X[rows])

    def digest(self) -> str:
        """The digest that `spikelca.checkpoint.digest` takes on one machine."""
        dask = require("dask", "dask")
        stretches = self.X.rechunk((DIGEST_ROWS, -1)).to_delayed().ravel()
        with translate_errors():
            parts = dask.compute(*map(dask.delayed(digest_rows), stretches))
        return combine_digests(self.X.shape, self.dtype, parts)


class DaskSamples(Mapping[str, DaskColumn]):
    """Samples on workers, of one or several modalities side by side.

    Parameters
    ----------
    X : dask.array.Array of (n_samples, n_features)
        From `checked`.
    widths : mapping of modality to int
        How many columns each takes.
    keep : bool
        Whether the samples are held in the memory of the workers, for many passes in any order.
        Otherwise a chunk is read when the first batch wants it, and let go once batches have passed
        it by.
    """

    def __init__(self, X: Any, widths: Mapping[str, int], keep: bool) -> None:
        with translate_errors():
            self.X = X.persist() if keep else X
            if np.isnan(X.shape[0]):
                self.X = self.X.compute_chunk_sizes()
        if not len(self.X):
            raise ValueError("X is empty: found 0 sample(s); at least 1 awaited.")
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
        first = sum(self.widths[other] for other in names[: names.index(name)])
        return DaskColumn(self.X[:, first : first + self.widths[name]])

    def take(self, rows: NDArray[np.int64]) -> DaskBatch:
        """The batch of these rows, in this order."""
        home = np.searchsorted(self._edges, rows, side="right") - 1
        wanted = sorted({int(chunk) for chunk in home})
        self._turn_to(wanted)
        blocks = [self._block(rows[part], home[part]) for part in split_blocks(len(rows))]
        return DaskBatch(blocks, self.widths)

    def _turn_to(self, wanted: Sequence[int]) -> None:
        """Have chunks read, and the one behind them: it is read while these settle."""
        ahead = range(wanted[-1] + 1, min(wanted[-1] + 2, len(self._chunks)))
        if new := [c for c in [*wanted, *ahead] if c not in self._read]:
            with translate_errors():
                read = require("dask", "dask").persist(*(self._chunks[c] for c in new))
            self._read.update(zip(new, read, strict=True))
        if not self.keep:
            for passed in [c for c in self._read if c < wanted[0]]:
                del self._read[passed]

    def _block(
        self, rows: NDArray[np.int64], home: NDArray[np.int64]
    ) -> tuple[list[Any], NDArray[np.int64]]:
        """What each chunk hands over, and the places from which the order is made."""
        take = require("dask", "dask").delayed(_take_rows)
        parts = [
            take(self._read[int(c)], rows[home == c] - self._edges[c]) for c in np.unique(home)
        ]
        return parts, np.argsort(np.argsort(home, kind="stable"))


def _take_rows(chunk: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
    return chunk[rows]


class DaskBatch(RemoteBatch):
    """A batch on workers: for each block its parts and the order in which they are shown."""

    def __init__(
        self, blocks: Sequence[tuple[list[Any], NDArray[np.int64]]], widths: Mapping[str, int]
    ) -> None:
        self.blocks, self.widths = blocks, widths

    def lesson(self, circuit: Circuit, labels: Any, tol: float, engine: Engine) -> BatchStatistics:
        """Settle the blocks, and add their sums in the fixed tree."""
        dask, everywhere = require("dask", "dask"), delay_circuit(circuit)
        settle, add = (
            dask.delayed(partial(_encode_block, tol, engine, self.widths)),
            dask.delayed(_sum_block),
        )
        places = split_blocks(sum(len(order) for _, order in self.blocks))
        shown = [None if labels is None else labels[rows] for rows in places]
        learn = tuple(d.name for d in circuit.dictionaries if d.plasticity is not None)
        with translate_errors():
            blocks = dask.persist(
                *(
                    settle(everywhere, parts, order, own)
                    for (parts, order), own in zip(self.blocks, shown, strict=True)
                )
            )
            sums = pairwise_reduce(lambda i: add(blocks[i], learn), 0, len(blocks)).compute()
        return BatchStatistics(sums, partial(_query_blocks, blocks))


def _encode_block(
    tol: float,
    engine: Engine,
    widths: Mapping[str, int],
    circuit: Circuit,
    parts: Sequence[FloatArray],
    order: NDArray[np.int64],
    labels: Any,
) -> EncodedBlock:
    X, edges = np.concatenate(parts)[order], np.cumsum([0, *widths.values()])
    # One after the other in memory, as on one machine: products could else round in another way.
    stimuli = {
        name: np.ascontiguousarray(X[:, first:last])
        for name, first, last in zip(widths, edges[:-1], edges[1:], strict=True)
    }
    with single_threaded():
        seen = check_values(stimuli, circuit.dtype)
        code = circuit.encode(seen, tol, labels=labels, engine=engine).code
        return make_block(circuit.dictionaries, seen, code)


def _sum_block(block: EncodedBlock, learn: Sequence[str]) -> BatchSums:
    with single_threaded():
        return sum_block(block, learn)


def _query_blocks(blocks: Sequence[Any], questions: BlockQueries) -> Sequence[Any]:
    dask = require("dask", "dask")
    answer = dask.delayed(_query_block)
    with translate_errors():
        answers: Sequence[Any] = dask.compute(*(answer(q, blocks[i]) for i, q in questions.items()))
    return answers


def _query_block(question: Any, block: EncodedBlock) -> Any:
    return question(block)

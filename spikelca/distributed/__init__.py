"""Encoding and learning with Dask arrays, for samples that exceed one machine.

Workers call the same functions as a single machine, so the results are bit-identical.

* `encode_lazily`: a lazy array of codes, chunk by chunk. Samples are independent, so the result
  does not depend on the chunks.
* `DaskSamples`: samples for learning. A batch is split into the blocks of
  `spikelca.circuit.batch_statistics`; workers encode and sum them, the sums are added in the fixed
  pairwise order, and the learning step is taken in this process.

A task computes in one thread, because the worker has its own thread pool. A circuit is one key of
the graph; like a block, it is computed again if it is lost with a worker.
"""

from __future__ import annotations

from spikelca.distributed.arrays import check_dask, encode_lazily, encode_with_certificates, is_dask
from spikelca.distributed.batches import DaskSamples
from spikelca.distributed.cluster import connect
from spikelca.distributed.stores import read_lazily, to_memory, write_zarr

__all__ = [
    "DaskSamples",
    "check_dask",
    "connect",
    "encode_lazily",
    "encode_with_certificates",
    "is_dask",
    "read_lazily",
    "to_memory",
    "write_zarr",
]

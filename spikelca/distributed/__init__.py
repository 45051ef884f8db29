"""The same encode and learn over Dask arrays, when the samples outgrow the machine.

Nothing here computes codes or steps of its own: workers call what one machine calls, so that the
bits are those of one machine.

* `encode_lazily`: a lazy array of codes, chunk by chunk. Rows never meet, hence chunks do not matter.
* `DaskSamples`: samples for learning. A batch is cut into the blocks of `spikelca.lessons`; workers settle
  and sum them, the sums are added in the fixed tree, and the step is taken once, here.

A task computes in one thread: the pool of the worker is the only one. A circuit is one key of the
graph. Whoever loses it with a worker gets it again, as it gets a block again.
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

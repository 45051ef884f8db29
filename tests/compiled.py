"""LLVM code of the kernels: ``python tests/compiled.py "active set"`` prints that of one kernel.

Kernels are compiled with the options of `spikelca.engines.numba.jit.compile`, without a cache.
"""

from __future__ import annotations

import sys

import numba
import numpy as np
from numba import types

from spikelca.engines.numba.encode.active_set import active_set_rows
from spikelca.engines.numba.encode.drive import accumulate_tile, add_drive
from spikelca.engines.numba.encode.exact_active_set import exact_active_set_rows
from spikelca.engines.numba.encode.hard_threshold import hard_threshold_rows
from spikelca.engines.numba.jit.compile import _FAST_FLAGS
from spikelca.engines.numba.jit.layout import tile_lateral
from spikelca.engines.numba.simulate.rate_lateral import integrate_rate_lateral, make_span_workspace
from spikelca.engines.numba.simulate.recording import RateParams, TraceBuffers

ENTRIES = {
    "active set": active_set_rows,
    "exact active set": exact_active_set_rows,
    "drive": add_drive,
    "hard threshold": hard_threshold_rows,
}
REAL, INDEX = types.float32, types.int64
TILE_SIGNATURE = (REAL[:, ::1], INDEX[::1], types.int32[:, ::1], REAL[:, ::1], REAL[:, ::1], INDEX)


def code_of(function, signature):
    """Return the code of a function, compiled for a signature."""
    compiled = numba.njit(signature, nogil=True, error_model="numpy", fastmath=_FAST_FLAGS)(
        function
    )
    return compiled.inspect_llvm(compiled.signatures[0])


def code_of_simulation():
    """Return the code of a simulation in single precision, compiled for its arguments."""
    function = numba.njit(
        integrate_rate_lateral.py_func, fastmath={"contract"}, error_model="numpy"
    )
    one, many = np.zeros((1, 64), np.float32), np.zeros((0, 1, 1), np.float32)
    params = RateParams(np.float32(0.1), np.float32(0.1), False, True, np.float32(1))
    traces = TraceBuffers(1, np.arange(0), many, many, many, many, many)
    workspace, tiles = (
        make_span_workspace(64, one.dtype),
        tile_lateral(np.eye(64, dtype=np.float32)),
    )
    values = (0, one, many, one, tiles, params, 1, traces, np.array([-1]), one, one,
              workspace)  # fmt: skip
    function.compile(tuple(numba.typeof(value) for value in values))
    (code,) = function.inspect_llvm().values()
    return code


def main(name):
    if name == "simulation":
        print(code_of_simulation())
    elif name == "tile":
        print(code_of(accumulate_tile.py_func, TILE_SIGNATURE))
    else:
        entry = ENTRIES[name]
        print(code_of(entry.function, entry.signature(REAL)))


if __name__ == "__main__":
    main(*sys.argv[1:])

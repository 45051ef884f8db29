"""How kernels are compiled: cached on disk where a cache can be kept, and free of the GIL.

Kernels are serial and release the GIL. Samples never meet, so that threads are plain Python threads
over blocks of samples (`threads.py`): results do not depend on their number, and neither forks nor
concurrent callers can trip over a threading layer.

``fastmath`` is given flag by flag: sums may be reassociated and contracted, but NaN and infinity
keep their meaning (a clamped neuron has an infinite threshold).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_FAST = {"reassoc", "contract", "nsz", "arcp"}


def kernel(function: Function) -> Function:
    """Compile a hot loop whose sums may be reordered."""
    return _compile(function, _FAST)


def exact_kernel(function: Function) -> Function:
    """Compile a hot loop that rounds exactly as it is written: for trajectories."""
    return _compile(function, False)


def _compile(function: Function, fastmath: Any) -> Function:
    try:
        return numba.njit(nogil=True, cache=True, fastmath=fastmath, error_model="numpy")(function)  # type: ignore[no-any-return]
    except RuntimeError:
        # No folder can be written to: compile anew in each process rather than fail.
        return numba.njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)  # type: ignore[no-any-return]

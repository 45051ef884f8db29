"""How kernels are compiled: cached on disk where a cache can be kept, and free of the GIL.

Kernels are serial and release the GIL. Samples never meet, so that threads are plain Python threads
over blocks of samples (`threads.py`): results do not depend on their number, and neither forks nor
concurrent callers can trip over a threading layer.

Numba's cache looks at the file of an entry and not at those of the kernels it calls, so that after
an upgrade old kernels could live on inside an entry that has not changed. Here the name under which
a kernel is cached carries a digest of all files of the engine and the version of the library: what
was compiled from other files is not found. The name carries the precision too, because processes
that fill an empty cache at the same moment would otherwise number their files alike.

``fastmath`` is given flag by flag: sums may be reassociated and contracted, but NaN and infinity
keep their meaning (a clamped neuron has an infinite threshold).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types

from spikelca._version import __version__

Function = TypeVar("Function", bound=Callable[..., Any])

_FAST_FLAGS = {"reassoc", "contract", "nsz", "arcp"}


def digest_sources(folder: Path) -> str:
    """Twelve digits that change with the library's version and with every file of a folder."""
    found = hashlib.sha256(__version__.encode())
    for path in sorted(folder.rglob("*.py")):
        found.update(
            path.relative_to(folder).as_posix().encode()
            + b"\0"
            + hashlib.sha256(path.read_bytes()).digest()
        )
    return found.hexdigest()[:12]


_SOURCE_DIGEST = digest_sources(Path(__file__).parent.parent)


def kernel(function: Function) -> Function:
    """Compile a part of a hot loop, whose sums may be reordered; it is inlined where it is called.

    Only other kernels can call it: a wrapper for Python would double the time to compile it.
    """
    return _compile(function, _FAST_FLAGS, forceinline=True, no_cpython_wrapper=True)


def routine(function: Function) -> Function:
    """The same for what runs once for a sample, or rarely: it stays a call of its own."""
    return _compile(function, _FAST_FLAGS, no_cpython_wrapper=True)


def exact_kernel(function: Function) -> Function:
    """Compile a hot loop that rounds exactly as it is written: for trajectories."""
    return _compile(function, False)


def ordered_kernel(function: Function) -> Function:
    """Compile a hot loop that keeps the order of its sums, and adds a product in one rounding."""
    return _compile(function, {"contract"})


def ordered_part(function: Function) -> Function:
    """The same for a part of it, which is inlined where it is called."""
    return _compile(function, {"contract"}, forceinline=True, no_cpython_wrapper=True)


def _compile(function: Any, fastmath: Any, signature: Any = None, **more: Any) -> Any:
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy", **more}
    precision = "" if signature is None else f"_{signature[0].dtype}"
    function.__qualname__ = (
        f"{function.__name__}_{_SOURCE_DIGEST}{precision}"  # names the cached file
    )
    try:
        return numba.njit(signature, cache=True, **options)(function)
    except RuntimeError:
        # No folder can be written to: compile anew in each process rather than fail.
        return numba.njit(signature, **options)(function)


def body(function: Function) -> Function:
    """The same for what is called from one place only: it is compiled as a part of that."""
    return _compile(function, _FAST_FLAGS, inline="always", no_cpython_wrapper=True)


class PrecisionDispatcher:
    """A kernel that is called from Python: compiled once for each precision, when first needed.

    Left to itself, Numba compiles again for every mix of read-only, strided and writable arrays and
    of Python and NumPy scalars. Here the signature is fixed; only the precision varies.

    Parameters
    ----------
    function : callable
        Its first argument is an array of the precision that counts.
    signature : callable
        From the scalar type to the types of the arguments.
    """

    def __init__(
        self, function: Callable[..., Any], signature: Callable[[Any], tuple[Any, ...]]
    ) -> None:
        self.function = function
        self.signature = signature
        self.compiled: dict[np.dtype[Any], Any] = {}
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> Any:
        dtype = args[0].dtype
        ready = self.compiled.get(dtype)
        return (ready or self.compile(dtype))(*args)

    def compile(self, dtype: np.dtype[Any]) -> Any:
        """The compiled function for a precision."""
        with self._lock:
            if dtype not in self.compiled:
                real = types.float32 if dtype == np.float32 else types.float64
                self.compiled[dtype] = _compile(self.function, _FAST_FLAGS, self.signature(real))
        return self.compiled[dtype]


def dispatch_precision(
    signature: Callable[[Any], tuple[Any, ...]],
) -> Callable[[Callable[..., Any]], PrecisionDispatcher]:
    """Decorate a kernel that is called from Python with its signature, see `PrecisionDispatcher`."""
    return lambda function: PrecisionDispatcher(function, signature)


def readonly_array(real: Any, ndim: int) -> Any:
    """The type of an array that a kernel only reads."""
    return types.Array(real, ndim, "C", readonly=True)


def writable_array(real: Any, ndim: int) -> Any:
    """The type of an array that a kernel writes to."""
    return types.Array(real, ndim, "C")


def float_tuple(count: int) -> Any:
    """The type of a tuple of float64 settings."""
    return types.UniTuple(types.float64, count)  # type: ignore[no-untyped-call]

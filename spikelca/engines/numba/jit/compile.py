"""Compilation of kernels with Numba: without the GIL, and cached on disk where possible.

Kernels are serial and release the GIL. Samples do not interact, so blocks of samples run in Python
threads (`parallel.py`). Hence results do not depend on the number of threads, and the process can
be forked and can call kernels from several threads, because no threading layer of Numba is used.

Numba's cache checks the file of a cached function, but not the files of the kernels that it calls.
After an upgrade, stale kernels could therefore remain in use. To prevent this, the name of each
cached function contains a digest of all files of this engine and of the version of the library. The
name also contains the precision, because processes that fill an empty cache at the same time would
otherwise choose the same file names. A damaged file, for example after a full disk, counts as
absent.

``fastmath`` is set flag by flag: sums may be reassociated and contracted, but NaN and infinity keep
their meaning (a clamped neuron has an infinite threshold).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import numba
import numpy as np
from numba import types
from numba.core.caching import FunctionCache

from spikelca._version import __version__
from spikelca.engines.numba.jit.intrinsics import USE_SIMD

Function = TypeVar("Function", bound=Callable[..., Any])

_FAST_FLAGS = {"reassoc", "contract", "nsz", "arcp"}
_FASTMATH: dict[str, Any] = {"fast": _FAST_FLAGS, "fma": {"contract"}, "strict": False}
_INLINE: dict[str | None, dict[str, Any]] = {
    None: {},
    "llvm": {"forceinline": True},
    "numba": {"inline": "always"},
}


def digest_sources(folder: Path) -> str:
    """Compute 12 hexadecimal digits from the version and all Python files of a folder."""
    digest = hashlib.sha256(__version__.encode())
    for path in sorted(folder.rglob("*.py")):
        digest.update(
            path.relative_to(folder).as_posix().encode()
            + b"\0"
            + hashlib.sha256(path.read_bytes()).digest()
        )
    return digest.hexdigest()[:12]


_SOURCE_DIGEST = digest_sources(Path(__file__).parent.parent) + ("" if USE_SIMD else "_plain")


def jit(
    fastmath: Literal["fast", "fma", "strict"],
    inline: Literal["llvm", "numba"] | None = None,
    *,
    from_python: bool = False,
    plain: Callable[..., Any] | None = None,
) -> Callable[[Function], Function]:
    """Decorate a kernel that is compiled for the types of its arguments.

    Parameters
    ----------
    fastmath : {"fast", "fma", "strict"}
        Rounding: "fast" allows any order of sums; "fma" keeps the order, but adds a product with
        one rounding where the processor can; "strict" rounds each operation as it is written.
    inline : {"llvm", "numba"}, optional
        "llvm" for the inner parts of a hot loop, which LLVM inlines in compiled code; "numba" for
        a function with a single caller, which Numba compiles as a part of that caller.
    from_python : bool, default=False
        Whether Python can call the kernel. The wrapper doubles the compilation time.
    plain : callable, optional
        Twin of a kernel with SIMD intrinsics, compiled instead of it if these are not used.
    """
    options = dict(_INLINE[inline])
    if not from_python:
        options["no_cpython_wrapper"] = True
    use_plain = plain is not None and not USE_SIMD
    return lambda function: _compile(
        plain if use_plain else function, _FASTMATH[fastmath], **options
    )


def _compile(function: Any, fastmath: Any, signature: Any = None, **options: Any) -> Any:
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy", **options}
    precision = "" if signature is None else f"_{signature[0].dtype}"
    # Numba names the cached file by the qualified name.
    function.__qualname__ = f"{function.__name__}_{_SOURCE_DIGEST}{precision}"
    dispatcher = numba.njit(**options)(function)
    # Where no cache folder is writable, each process compiles again.
    with suppress(RuntimeError):
        dispatcher._cache = _RecoveringCache(function)  # type: ignore[no-untyped-call]
    if signature is not None:
        dispatcher.compile(signature)
        dispatcher.disable_compile()
    return dispatcher


class _RecoveringCache(FunctionCache):
    """Numba's cache of a function, emptied if a file cannot be read or is of another function."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None, after which Numba compiles it."""
        try:
            overload = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            if overload is None or overload.fndesc.qualname == self._py_func.__qualname__:
                return overload
        except Exception:  # damaged bytes raise almost any exception when unpickled
            pass
        self.flush()  # type: ignore[no-untyped-call]
        return None


class PrecisionDispatcher:
    """A kernel that is called from Python and compiled at first use, once for each precision.

    By default, Numba compiles a function again for every combination of read-only, strided and
    writable arrays and of Python and NumPy scalars. Here the signature is fixed, except for the
    precision.

    Parameters
    ----------
    function : callable
        Its first argument is an array that determines the precision.
    signature : callable
        Maps the scalar type to the types of the arguments.
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
        compiled = self.compiled.get(dtype)
        return (compiled or self.compile(dtype))(*args)

    def compile(self, dtype: np.dtype[Any]) -> Any:
        """Return the compiled function for a precision."""
        with self._lock:
            if dtype not in self.compiled:
                real = types.float32 if dtype == np.float32 else types.float64
                self.compiled[dtype] = _compile(self.function, _FAST_FLAGS, self.signature(real))
        return self.compiled[dtype]


def dispatch_precision(
    signature: Callable[[Any], tuple[Any, ...]],
) -> Callable[[Callable[..., Any]], PrecisionDispatcher]:
    """Decorate a kernel that is called from Python, see `PrecisionDispatcher`."""
    return lambda function: PrecisionDispatcher(function, signature)


def readonly_array(real: Any, ndim: int) -> Any:
    """Return the type of an array that a kernel only reads."""
    return types.Array(real, ndim, "C", readonly=True)


def writable_array(real: Any, ndim: int) -> Any:
    """Return the type of an array that a kernel writes to."""
    return types.Array(real, ndim, "C")


def float_tuple(count: int) -> Any:
    """Return the type of a tuple of float64 parameters."""
    return types.UniTuple(types.float64, count)  # type: ignore[no-untyped-call]

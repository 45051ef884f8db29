"""System resources: BLAS thread limit, two parallel threads, free memory and versions.

Training consists of thousands of small matrix products. Several BLAS threads would spend most of
their time waiting for each other, and the rounding of a sum would depend on their number; so BLAS
is limited to one thread. Kernels, products and solvers release the GIL, so two threads can run two
training runs at a time, with results bit-identical to those of a single run.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from spikelca._version import __version__


@cache
def _controller() -> Any:
    return ThreadpoolController()


def _claim_controller() -> None:
    """Allow this thread to set the number of BLAS threads.

    Since threadpoolctl 3.8, only the first thread that set the number can change it; requests of
    other threads are ignored without an error.
    """
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


class _SharedLimit:
    """One BLAS limit shared by all threads of the process, lifted when the last user leaves.

    BLAS has one number of threads per process. If every thread set and restored it separately, one
    thread would lift the limit while another still requires it.
    """

    def __init__(self) -> None:
        self.lock, self.n_users = Lock(), 0
        self.limit: Any = None

    def enter(self) -> None:
        with self.lock:
            if self.n_users == 0:
                _claim_controller()
                self.limit = _controller().limit(limits=1, user_api="blas")
            self.n_users += 1

    def leave(self) -> None:
        with self.lock:
            self.n_users -= 1
            if self.n_users == 0:
                _claim_controller()
                self.limit.restore_original_limits()
                _claim_controller()


_SHARED_LIMIT = _SharedLimit()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit NumPy's BLAS to one thread while the block runs."""
    _SHARED_LIMIT.enter()
    try:
        yield
    finally:
        _SHARED_LIMIT.leave()


FALLBACK_BYTES = 8 * 2**30
"""Free memory assumed where the system does not report it."""


def available_bytes() -> int:
    """Return the number of bytes that this process may still allocate."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return _free_page_bytes()


def _free_page_bytes() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return FALLBACK_BYTES


def format_bytes(n_bytes: float) -> str:
    """Format a number of bytes with a binary unit.

    Examples
    --------
    >>> format_bytes(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


Result = TypeVar("Result")


def map_two_threads(
    function: Callable[..., Result], args: Iterable[tuple[Any, ...]]
) -> Iterator[Result]:
    """Yield ``function(*a)`` for each ``a`` in ``args``, two at a time, in order.

    After an error, or Ctrl-C, no further call starts.
    """
    with single_blas_thread(), ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda a: function(*a), args)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which results depend."""
    packages = ("numpy", "scipy", "scikit-learn", "numba", "brian2", "matplotlib")
    return {
        "spikelca": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }

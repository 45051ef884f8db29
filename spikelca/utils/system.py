"""BLAS held to one thread around many small products.

Learning is made of thousands of products too small to share: handed to two threads they wait for
each other most of the time, and the last bits of a sum would depend on how many there are.

How much memory is free, as far as the system tells.

Two jobs side by side.

Kernels, products and solvers let go of the interpreter's lock, and BLAS is held to one thread: two
cores then do two learnings, and each gives the bits that it gives alone. After an error, or Ctrl-C,
no further job begins.
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
    """Let this thread set the number, whoever did so last.

    From threadpoolctl 3.8 on a thread that was not the first to set it is passed over in silence.
    """
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


class _SharedLimit:
    """One limit for all threads of the process: from the first that asks to the last that leaves.

    BLAS has one number of threads for the whole process. If every thread set it and put back what
    it had found, one would lift the limit under the feet of another.
    """

    def __init__(self) -> None:
        self.lock, self.holders = Lock(), 0
        self.limit: Any = None

    def enter(self) -> None:
        with self.lock:
            if self.holders == 0:
                _claim_controller()
                self.limit = _controller().limit(limits=1, user_api="blas")
            self.holders += 1

    def leave(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                _claim_controller()
                self.limit.restore_original_limits()
                _claim_controller()


_SHARED_LIMIT = _SharedLimit()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """A context in which NumPy's BLAS computes with one thread, in every thread that asks."""
    _SHARED_LIMIT.enter()
    try:
        yield
    finally:
        _SHARED_LIMIT.leave()


FALLBACK_BYTES = 8 * 2**30
"""Bytes taken as free where the system does not tell."""


def available_bytes() -> int:
    """Bytes that this process may still take."""
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
    """A number of bytes in words.

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
    work: Callable[..., Result], jobs: Iterable[tuple[Any, ...]]
) -> Iterator[Result]:
    """``work(*job)`` of each job, two at a time, in the order of the jobs."""
    with single_blas_thread(), ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda job: work(*job), jobs)


def versions() -> dict[str, str]:
    """Versions of all that a result depends on."""
    packages = ("numpy", "scipy", "scikit-learn", "numba", "brian2", "matplotlib")
    return {
        "spikelca": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }

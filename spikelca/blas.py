"""BLAS held to one thread around many small products.

Learning is made of thousands of products too small to share: handed to two threads they wait for
each other most of the time, and the last bits of a sum would depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> Any:
    return ThreadpoolController()


def _take_control() -> None:
    """Let this thread set the number, whoever did so last.

    From threadpoolctl 3.8 on a thread that was not the first to set it is passed over in silence.
    """
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


class _Shared:
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
                _take_control()
                self.limit = _controller().limit(limits=1, user_api="blas")
            self.holders += 1

    def leave(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                _take_control()
                self.limit.restore_original_limits()
                _take_control()


_SHARED = _Shared()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A context in which NumPy's BLAS computes with one thread, in every thread that asks."""
    _SHARED.enter()
    try:
        yield
    finally:
        _SHARED.leave()

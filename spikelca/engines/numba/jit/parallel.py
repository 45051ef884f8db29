"""Blocks of samples over threads.

Kernels release the GIL, so Python's own threads run them side by side. The pool lives for one call:
nothing is left behind that a fork could break.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numba

MIN_SAMPLES_PER_THREAD = 128
"""Fewer samples than this are not worth a second thread."""

MAX_BLOCK_SAMPLES = 256
"""Samples of a block at most."""

Workspace = TypeVar("Workspace")

_pool: dict[Callable[..., Any], tuple[Any, deque[Any]]] = {}


@contextmanager
def borrow_workspace(make: Callable[..., Workspace], *size: Any) -> Iterator[Workspace]:
    """What ``make(*size)`` gives, for one user at a time; what is given back is lent again.

    For scratch: to ask the system for memory costs more than to settle a sample. Of every maker one
    size is kept, the last that was used, and no more of it than there may be threads.
    """
    known, free = _pool.get(make, (None, None))
    try:
        room: Workspace = free.pop() if free is not None and known == size else make(*size)
    except IndexError:
        room = make(*size)
    yield room
    known, free = _pool.get(make, (None, None))
    if free is None or known != size:
        _pool[make] = known, free = size, deque(maxlen=max_threads())
    free.append(room)


def max_threads() -> int:
    """The threads that this library may use at most: ``NUMBA_NUM_THREADS``."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """A context in which kernels run on a number of threads, as far as there are so many."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(n_threads, max_threads()))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def no_workspace(n_rows: int) -> None:
    """For work that brings its own."""


def parallel_for(
    work: Callable[[slice, Workspace], None],
    n_samples: int,
    make: Callable[..., Workspace],
    *size: Any,
) -> None:
    """Call ``work(rows, room)`` for blocks that cover all samples.

    The number of threads is ``numba.get_num_threads()``, hence ``NUMBA_NUM_THREADS``. Every thread
    takes the next block when it is done with one, so that a slow block does not hold up the others;
    all its blocks use one room, ``make(n_rows, *size)``.
    """
    most = n_samples // MIN_SAMPLES_PER_THREAD
    n_threads = min(numba.get_num_threads(), most) if most > 1 else 1
    n_blocks = 4 * n_threads if n_threads > 1 else 1
    n_rows = max(min(MAX_BLOCK_SAMPLES, -(-n_samples // n_blocks)), 1)
    starts = iter(range(0, n_samples, n_rows))

    def take_turns() -> None:
        with borrow_workspace(make, n_rows, *size) as room:
            for first in starts:
                work(slice(first, min(first + n_rows, n_samples)), room)

    if n_threads == 1:
        take_turns()
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(take_turns) for _ in range(n_threads)]:
            done.result()

"""Blocks of samples over threads.

Kernels release the GIL, so Python's own threads run them side by side. The pool lives for one call:
nothing is left behind that a fork could break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba

SERIAL = 128
"""Fewer samples than this are not worth a second thread."""


def most_threads() -> int:
    """The threads that this library may use at most: ``NUMBA_NUM_THREADS``."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """A context in which kernels run on a number of threads, as far as there are so many."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(n_threads, most_threads()))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def over_blocks(work: Callable[[int, int], None], n_samples: int) -> None:
    """Call ``work(first, last)`` for blocks that cover all samples.

    The number of threads is ``numba.get_num_threads()``, hence ``NUMBA_NUM_THREADS``. Blocks are
    four to a thread, so that one slow block does not hold up all.
    """
    room = n_samples // SERIAL
    n_threads = min(numba.get_num_threads(), room) if room > 1 else 1
    if n_threads == 1:
        work(0, n_samples)
        return
    size = -(-n_samples // (4 * n_threads))
    edges = [(first, min(first + size, n_samples)) for first in range(0, n_samples, size)]
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(work, *edge) for edge in edges]:
            done.result()

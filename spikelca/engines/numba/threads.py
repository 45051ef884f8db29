"""Blocks of samples over threads.

Kernels release the GIL, so Python's own threads run them side by side. The pool lives for one call:
nothing is left behind that a fork could break.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numba

SERIAL = 128
"""Fewer samples than this are not worth a second thread."""

BLOCK = 256
"""Samples of a block at most."""

Room = TypeVar("Room")

_own = threading.local()


def kept(make: Callable[..., Room], *size: Any) -> Room:
    """What ``make(*size)`` gives, made anew only if this thread made another size before.

    For scratch, of which a thread needs one at a time: to ask for memory costs more than to settle
    a sample.
    """
    known = getattr(_own, make.__name__, None)
    if known is None or known[0] != size:
        known = (size, make(*size))
        setattr(_own, make.__name__, known)
    room: Room = known[1]
    return room


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


def over_blocks(
    work: Callable[[slice, Room], None], make_room: Callable[[int], Room], n_samples: int
) -> None:
    """Call ``work(rows, room)`` for blocks that cover all samples.

    The number of threads is ``numba.get_num_threads()``, hence ``NUMBA_NUM_THREADS``. Every thread
    takes the next block when it is done with one, so that a slow block does not hold up the others;
    all its blocks use one room, ``make_room(n_rows)``, whose memory stays near and is not asked of
    the system again and again.
    """
    n_threads = min(numba.get_num_threads(), max(n_samples // SERIAL, 1))
    size = max(min(BLOCK, -(-n_samples // (4 * n_threads if n_threads > 1 else 1))), 1)
    blocks = iter([slice(i, min(i + size, n_samples)) for i in range(0, n_samples, size)])

    def take_turns() -> None:
        room = make_room(size)
        for rows in blocks:
            work(rows, room)

    if n_threads == 1:
        take_turns()
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(take_turns) for _ in range(n_threads)]:
            done.result()

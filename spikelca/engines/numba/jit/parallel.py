"""Blocks of samples in parallel threads.

Kernels release the GIL, so that Python's threads run them in parallel. The thread pool exists for
one call only, so that a later fork of the process is safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numba

MIN_SAMPLES_PER_THREAD = 128
"""Smallest number of samples for which an additional thread saves time."""

MAX_BLOCK_SAMPLES = 256
"""Largest number of samples in a block."""

Workspace = TypeVar("Workspace")

_pool: dict[Callable[..., Any], tuple[Any, deque[Any]]] = {}


@contextmanager
def borrow_workspace(make: Callable[..., Workspace], *size: Any) -> Iterator[Workspace]:
    """Take a workspace ``make(*size)`` from a pool for a context; no other thread uses it.

    Allocating memory takes longer than encoding one sample, so that workspaces are reused. The
    pool of each function `make` contains workspaces of the last size only, at most one for each
    possible thread.
    """
    pooled_size, available = _pool.get(make, (None, None))
    try:
        is_match = pooled_size == size
        workspace: Workspace = available.pop() if available and is_match else make(*size)
    except IndexError:
        workspace = make(*size)
    yield workspace
    pooled_size, available = _pool.get(make, (None, None))
    if available is None or pooled_size != size:
        _pool[make] = pooled_size, available = size, deque(maxlen=max_threads())
    available.append(workspace)


def max_threads() -> int:
    """Return the largest number of threads that this library uses: ``NUMBA_NUM_THREADS``."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Limit the number of threads of the kernels in a context."""
    previous = numba.get_num_threads()
    numba.set_num_threads(min(n_threads, max_threads()))
    try:
        yield
    finally:
        numba.set_num_threads(previous)


def no_workspace(n_rows: int) -> None:
    """Return None, for loop bodies that allocate their own workspace."""


def parallel_for(
    body: Callable[[slice, Workspace], None],
    n_samples: int,
    make_workspace: Callable[..., Workspace],
    *size: Any,
    max_rows: int = MAX_BLOCK_SAMPLES,
) -> None:
    """Call ``body(rows, workspace)`` for blocks of at most ``max_rows`` rows, for all samples.

    The number of threads is ``numba.get_num_threads()`` (default: ``NUMBA_NUM_THREADS``). Each
    thread takes the next block when it has finished one, so that a slow block does not delay the
    others. All blocks of a thread use one workspace, ``make_workspace(n_rows, *size)``. After an
    interrupt or an error, no thread begins another block.
    """
    n_max = n_samples // MIN_SAMPLES_PER_THREAD
    n_threads = min(numba.get_num_threads(), n_max) if n_max > 1 else 1
    n_blocks = 4 * n_threads if n_threads > 1 else 1
    n_rows = max(min(max_rows, MAX_BLOCK_SAMPLES, -(-n_samples // n_blocks)), 1)
    starts = range(0, n_samples, n_rows)
    blocks = iter([slice(start, min(start + n_rows, n_samples)) for start in starts])
    if n_threads == 1:
        with borrow_workspace(make_workspace, n_rows, *size) as workspace:
            for rows in blocks:
                body(rows, workspace)
        return

    def run_blocks() -> None:
        with borrow_workspace(make_workspace, n_rows, *size) as workspace, no_more_on_error(blocks):
            for rows in blocks:
                body(rows, workspace)

    with ThreadPoolExecutor(n_threads) as pool, no_more_on_error(blocks):
        for future in [pool.submit(run_blocks) for _ in range(n_threads)]:
            future.result()


@contextmanager
def no_more_on_error(blocks: Iterator[slice]) -> Iterator[None]:
    """Exhaust the iterator if the context ends with an error or an interrupt."""
    try:
        yield
    except BaseException:
        deque(blocks, maxlen=0)
        raise

"""Two jobs side by side.

Kernels, products and solvers let go of the interpreter's lock, and BLAS is held to one thread: two
cores then do two learnings, and each gives the bits that it gives alone. After an error, or Ctrl-C,
no further job begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from spikelca.blas import one_blas_thread

Result = TypeVar("Result")


def side_by_side(work: Callable[..., Result], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
    """``work(*job)`` of each job, two at a time, in the order of the jobs."""
    with one_blas_thread(), ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda job: work(*job), jobs)

"""BLAS held to one thread around many small products.

Learning is made of thousands of products too small to share: handed to two threads they wait for
each other most of the time, and the last bits of a sum would depend on how many there are.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> Any:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context in which NumPy's BLAS computes with one thread."""
    limits: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limits

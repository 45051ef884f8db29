"""Progress of long computations on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY = 2.0
"""Seconds before a bar is shown, so that short computations show none."""


@contextmanager
def show_progress(total: int, description: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar in a context, if standard error is a terminal.

    Parameters
    ----------
    total : int
        Number of units of the whole computation.
    description, unit : str
        Words on the bar.

    Yields
    ------
    update : callable
        ``update(n)`` adds n units; threads can call it.

    Examples
    --------
    >>> with show_progress(3, "simulate", "step") as update:
    ...     update(3)
    """
    from tqdm import tqdm

    lock = threading.Lock()
    with tqdm(
        None, description, total, False, unit=unit, unit_scale=True, disable=None, delay=DELAY
    ) as bar:

        def update(n: int) -> None:
            with lock:
                bar.update(n)

        yield update

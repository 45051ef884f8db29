"""Measurement of ratios of times in interleaved rounds.

On a shared machine, times and ratios of median times are unreliable. Therefore all tasks run in
turn, round after round. Each round gives one ratio; the median of the ratios is the result, and
their quartiles describe its variation. A ratio is shown only if both sides solved the same problem:
their objectives must agree, and their duality gaps are listed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.jit.parallel import limit_threads

Task = Callable[[], Any]


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles of a value over the rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Quartiles:
        """Compute median and quartiles of some values."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(float(median), float(low), float(high), len(values))


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    suite, measure : str
        Name of the suite, and description of the measurement.
    value : Quartiles
        Result in ``unit``.
    unit : str
        Unit of the result, "x" for a ratio of times.
    target : str
        Target of the median, as ``">= 5"``.
    met : bool, optional
        Whether the target is met.
    times : mapping of name to float
        Microseconds per sample of each side.
    gaps : mapping of name to float
        Mean relative duality gap of each side.
    objectives : mapping of name to float
        Mean objective of each side.
    note : str
        Further information.
    """

    suite: str
    measure: str
    value: Quartiles
    unit: str = "x"
    target: str = ""
    met: bool | None = None
    times: Mapping[str, float] | None = None
    gaps: Mapping[str, float] | None = None
    objectives: Mapping[str, float] | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Convert the row to plain numbers and strings."""
        return asdict(self)


@contextmanager
def fix_threads(n_threads: int) -> Iterator[None]:
    """Set the number of threads of BLAS, OpenMP and spikelca."""
    from threadpoolctl import threadpool_limits

    limits = threadpool_limits(limits=n_threads)
    with limits, limit_threads(n_threads), warnings.catch_warnings():
        # The table shows the gap of a solver that does not converge.
        warnings.simplefilter("ignore")
        yield


def time_interleaved(
    tasks: Mapping[str, Task], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, NDArray[np.float64]]:
    """Measure the seconds of each task in each round, after one call that is not measured.

    The default clock is the processor time of all threads of this process, so that other processes
    are not counted. Latency and speed-up by threads are measured in wall-clock time.
    """
    for task in tasks.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = clock()
            task()
            seconds[name].append(clock() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def meets_target(value: float, target: str) -> bool | None:
    """Whether a value meets a target such as ``">= 5"`` or ``"<= 3.5"``; None without a target."""
    if not target:
        return None
    sign, limit = target.split()[:2]
    return value >= float(limit) if sign == ">=" else value <= float(limit)


def objectives_agree(objectives: Mapping[str, float], slack: float) -> bool:
    """Whether objectives differ by at most ``slack``, relative to the smallest."""
    values = list(objectives.values())
    return max(values) - min(values) <= slack * abs(min(values))

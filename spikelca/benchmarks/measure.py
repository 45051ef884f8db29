"""How the benchmark measures: side by side, over and over, as ratios.

On a shared machine a second is worth little and a ratio of two medians not much more. Here all
candidates run in turn, round after round, and each round gives one ratio; the median of these is
the figure, the quartiles are its spread. A ratio is shown only if both sides solved the same
problem: their objectives must agree, and the duality gap that each reached stands beside it.
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
    """Median and quartiles of one figure over the rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Quartiles:
        """The spread of some values."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(float(median), float(low), float(high), len(values))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    suite, measure : str
    value : Spread
        The figure: a ratio of times, or what `unit` says.
    unit : str
        "x" for a ratio.
    target : str
        What the figure should be.
    met : bool, optional
        Whether it is.
    times : mapping of name to microseconds a sample
    gaps : mapping of name to float
        Mean relative duality gap that each side reached.
    objectives : mapping of name to float
        Mean objective that each side reached.
    note : str
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
        """The row as plain numbers and words."""
        return asdict(self)


@contextmanager
def fix_threads(n_threads: int) -> Iterator[None]:
    """BLAS, OpenMP and this library held to a number of threads."""
    from threadpoolctl import threadpool_limits

    limits = threadpool_limits(limits=n_threads)
    with limits, limit_threads(n_threads), warnings.catch_warnings():
        # What a peer did not reach stands in the table as its gap.
        warnings.simplefilter("ignore")
        yield


def time_interleaved(
    tasks: Mapping[str, Task], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each task in each round; every task runs once before, unmeasured.

    The clock is the processor time of this process, all its threads together, so that neighbours
    on a shared machine are not counted; where threads or latency are the question it is the wall's.
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


def meets_target(figure: float, target: str) -> bool | None:
    """Whether a figure meets a target such as ``">= 5"`` or ``"<= 3.5"``; None without a target."""
    if not target:
        return None
    sign, limit = target.split()[:2]
    return figure >= float(limit) if sign == ">=" else figure <= float(limit)


def objectives_agree(objectives: Mapping[str, float], slack: float) -> bool:
    """Whether objectives differ by no more than a part of the smallest."""
    values = list(objectives.values())
    return max(values) - min(values) <= slack * abs(min(values))

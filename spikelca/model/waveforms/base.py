"""Base class of waveforms, and their sums, multiples and constants."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray, check_number, check_type

Shape = tuple[int, int]


@dataclass(frozen=True, eq=False)
class RunContext:
    """The run in which a waveform is injected.

    Parameters
    ----------
    dt : float
        Step of the run in seconds.
    driver : int
        Number of the driver in the circuit, which selects the random streams.
    samples : (n_driven,) int64
        Numbers of the samples that have a row of the waveform.
    rows : (n_rows,) int64
        Indices into ``samples`` of the rows to compute.
    shared : bool, default=False
        Whether all samples have the same noise.

    Examples
    --------
    >>> RunContext(dt=1e-4, driver=0, samples=np.array([3, 7]), rows=np.array([1])).selected
    array([7])
    """

    dt: float
    driver: int
    samples: NDArray[np.int64]
    rows: NDArray[np.int64]
    shared: bool = False

    @property
    def selected(self) -> NDArray[np.int64]:
        """Numbers of the samples whose noise is drawn: (n_rows,), or the first one if shared."""
        return np.zeros(1, np.int64) if self.shared else self.samples[self.rows]


class Waveform(ABC):
    """A current as a function of time.

    A subclass defines `values`, and `resolution` if it changes fast; arithmetic is inherited. If it
    differs between samples or depends on the step, it also defines `is_per_sample` and `in_run`.

    Examples
    --------
    >>> from spikelca.model import Pulse
    >>> total = 0.1 + 2 * Pulse(0.25, start=1.0, stop=2.0)
    >>> total.values(np.array([0.0, 1.0]), (1, 1)).ravel()
    array([0.1, 0.6])
    """

    @property
    def resolution(self) -> float:
        """Longest step in seconds that resolves the waveform; infinity for any step."""
        return math.inf

    def is_per_sample(self, shared: bool) -> bool:
        """Whether each sample has a current of its own, if noise is shared or not.

        Parameters
        ----------
        shared : bool
            Whether all samples have the same noise.

        Returns
        -------
        bool
        """
        return False

    def in_run(self, context: RunContext) -> Waveform:
        """Return the waveform in a run: with its step, its random streams, and some of its rows.

        Parameters
        ----------
        context : RunContext

        Returns
        -------
        Waveform
            Its `values` have one row for each of ``context.rows``.
        """
        is_whole = np.array_equal(context.rows, np.arange(len(context.samples)))
        return self if is_whole else SelectedRows(self, context)

    @abstractmethod
    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        """Compute the current at each time.

        Parameters
        ----------
        times : (n_times,) float64
            Seconds.
        shape : (n_rows, n_neurons)
            Number of driven samples and neurons.

        Returns
        -------
        array that broadcasts to ``(n_times, *shape)``
        """

    def __add__(self, other: Any) -> Waveform:
        """Return the sum with a waveform or a number."""
        if isinstance(other, Waveform):
            return Sum(self, other)
        if isinstance(other, numbers.Real):
            return Sum(self, Constant(float(other)))
        return NotImplemented

    def __radd__(self, other: float) -> Waveform:
        # `sum` starts from zero.
        return self if other == 0 else self + other

    def __mul__(self, factor: Any) -> Waveform:
        """Return the waveform multiplied by a number."""
        return Scaled(self, float(factor)) if isinstance(factor, numbers.Real) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Waveform:
        return Scaled(self, -1.0)

    def __sub__(self, other: Waveform | float) -> Waveform:
        """Return the difference to a waveform or a number."""
        return self + -other

    def __rsub__(self, other: float) -> Waveform:
        return -self + other


def broadcast(values: FloatArray) -> FloatArray:
    """Reshape one value per time to (n_times, 1, 1), equal in all neurons."""
    return values[:, None, None]


def held_index(times: NDArray[np.float64], hold: float) -> NDArray[np.int64]:
    """Return the index of the held value at each time; rounding errors of 1e-9 are ignored."""
    return np.floor(times / hold + 1e-9).astype(np.int64)


@dataclass(frozen=True, eq=False)
class SelectedRows(Waveform):
    """Some rows of a waveform, as returned by `Waveform.in_run`."""

    waveform: Waveform
    context: RunContext

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        values = self.waveform.values(times, (len(self.context.samples), shape[1]))
        return values if values.shape[1] == 1 else values[:, self.context.rows]


@dataclass(frozen=True)
class Sum(Waveform):
    """Sum of two waveforms, as returned by ``+``.

    Parameters
    ----------
    first, second : Waveform

    Examples
    --------
    >>> Sum(Constant(0.25), Constant(0.5)).values(np.zeros(1), (1, 1)).item()
    0.75
    """

    first: Waveform
    second: Waveform

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            check_type(getattr(self, name), name, Waveform, "a Waveform")

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return np.asarray(self.first.values(times, shape) + self.second.values(times, shape))

    @property
    def resolution(self) -> float:
        return min(self.first.resolution, self.second.resolution)

    def is_per_sample(self, shared: bool) -> bool:
        return self.first.is_per_sample(shared) or self.second.is_per_sample(shared)

    def in_run(self, context: RunContext) -> Sum:
        return Sum(self.first.in_run(context), self.second.in_run(context))


@dataclass(frozen=True)
class Scaled(Waveform):
    """A waveform multiplied by a number, as returned by ``*``.

    Parameters
    ----------
    waveform : Waveform
    factor : float

    Raises
    ------
    ValueError
        If the factor is not finite.

    Examples
    --------
    >>> Scaled(Constant(0.25), 2.0).values(np.zeros(1), (1, 1)).item()
    0.5
    """

    waveform: Waveform
    factor: float

    def __post_init__(self) -> None:
        check_type(self.waveform, "waveform", Waveform, "a Waveform")
        object.__setattr__(self, "factor", check_number(self.factor, "factor"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return np.asarray(self.factor * self.waveform.values(times, shape))

    @property
    def resolution(self) -> float:
        return self.waveform.resolution

    def is_per_sample(self, shared: bool) -> bool:
        return self.waveform.is_per_sample(shared)

    def in_run(self, context: RunContext) -> Scaled:
        return Scaled(self.waveform.in_run(context), self.factor)


@dataclass(frozen=True)
class Constant(Waveform):
    """d(t) = level.

    Parameters
    ----------
    level : float
        The current, in the unit of the membrane potential.

    Raises
    ------
    ValueError
        If the level is not finite.

    Examples
    --------
    >>> Constant(0.1).values(np.array([0.0, 1.0]), (1, 1)).ravel()
    array([0.1, 0.1])
    """

    level: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", check_number(self.level, "level"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return broadcast(np.full(len(times), self.level))

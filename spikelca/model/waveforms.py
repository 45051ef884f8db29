"""Waveforms: what a driver current does over time.

Small frozen siblings with one verb: ``values(times, shape)``, the current at each time for each of
``shape = (n_rows, n_neurons)`` cells. They add up: ``Sine(0.1, 20.0) + Noise(0.02, seed=1)``.
Currents have the unit of the membrane potential, times are seconds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.utils.validation import FloatArray, check_finite, to_positive_seconds, to_seconds

Shape = tuple[int, int]


class Waveform(ABC):
    """A current as a function of time.

    A subclass says its `values`; sums come with the class.

    Examples
    --------
    >>> both = Constant(0.1) + Pulse(0.5, start=1.0, stop=2.0)
    >>> both.values(np.array([0.0, 1.0]), (1, 1)).ravel()
    array([0.1, 0.6])
    """

    @abstractmethod
    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        """The current at each time.

        Parameters
        ----------
        times : (n_times,) float64
            Seconds.
        shape : (n_rows, n_neurons)
            The driven cells.

        Returns
        -------
        array that broadcasts to ``(n_times, *shape)``
        """

    def __add__(self, other: Waveform) -> Waveform:
        """Both currents at once."""
        return Sum(self, other)


def _check_number(value: Any, name: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; a finite number was awaited.")
    return number


def _broadcast(values: FloatArray) -> FloatArray:
    """One value for each time, the same in all cells."""
    return values[:, None, None]


@dataclass(frozen=True)
class Sum(Waveform):
    """Two waveforms at once, which ``+`` makes.

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

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return np.asarray(self.first.values(times, shape) + self.second.values(times, shape))


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
        If it is not finite.

    Examples
    --------
    >>> Constant(0.1).values(np.array([0.0, 1.0]), (1, 1)).ravel()
    array([0.1, 0.1])
    """

    level: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", _check_number(self.level, "level"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return _broadcast(np.full(len(times), self.level))


@dataclass(frozen=True)
class Pulse(Waveform):
    """d(t) = height for start <= t < stop, else 0.

    Parameters
    ----------
    height : float
    start, stop : float
        Seconds.

    Examples
    --------
    >>> Pulse(0.5, start=1.0, stop=2.0).values(np.array([0.0, 1.0, 2.0]), (1, 1)).ravel()
    array([0. , 0.5, 0. ])
    """

    height: float
    start: float
    stop: float

    def __post_init__(self) -> None:
        _check_interval(self, "height")

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        # Times are multiples of a step; half a billionth of it must not decide.
        slack = 1e-9 * (times[1] - times[0]) if len(times) > 1 else 0.0
        on = (times >= self.start - slack) & (times < self.stop - slack)
        return _broadcast(np.where(on, self.height, 0.0))


@dataclass(frozen=True)
class Ramp(Waveform):
    """d(t) rises in a straight line from 0 at start to height at stop, and stays there.

    Parameters
    ----------
    height : float
    start, stop : float
        Seconds.

    Examples
    --------
    >>> Ramp(1.0, start=0.0, stop=2.0).values(np.array([0.0, 1.0, 3.0]), (1, 1)).ravel()
    array([0. , 0.5, 1. ])
    """

    height: float
    start: float
    stop: float

    def __post_init__(self) -> None:
        _check_interval(self, "height")

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        part = np.clip((times - self.start) / (self.stop - self.start), 0.0, 1.0)
        return _broadcast(self.height * part)


@dataclass(frozen=True)
class Sine(Waveform):
    """d(t) = amplitude sin(2 pi frequency t + phase); frequency in hertz, phase in radians.

    Parameters
    ----------
    amplitude : float
    frequency : float
        Hertz.
    phase : float, default=0.0
        Radians.

    Examples
    --------
    >>> Sine(2.0, frequency=1.0).values(np.array([0.0, 0.25]), (1, 1)).ravel()
    array([0., 2.])
    """

    amplitude: float
    frequency: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "frequency", "phase"):
            object.__setattr__(self, name, _check_number(getattr(self, name), name))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return _broadcast(self.amplitude * np.sin(2 * np.pi * self.frequency * times + self.phase))


@dataclass(frozen=True)
class Noise(Waveform):
    """Gaussian noise of standard deviation ``sd``, independent in each cell.

    A value is held for ``hold`` seconds: the noise does not change when the step does. It is the
    same in every run of one seed.

    Parameters
    ----------
    sd : float
        Standard deviation.
    seed : int
    hold : float, default=1 ms
        Seconds.

    Examples
    --------
    >>> noise = Noise(0.1, seed=0)
    >>> bool((noise.values(np.arange(3.0), (1, 2)) == noise.values(np.arange(3.0), (1, 2))).all())
    True
    """

    sd: float
    seed: int
    hold: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "hold", to_positive_seconds(self.hold, "hold"))
        if not (math.isfinite(self.sd) and self.sd >= 0):
            raise ValueError(f"sd is {self.sd}; a finite number at or above zero was awaited.")

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        place = _sample_index(times, self.hold)
        drawn = np.random.default_rng(self.seed).normal(0.0, self.sd, (place[-1] + 1, *shape))
        return drawn[place]


@dataclass(frozen=True, eq=False)
class Array(Waveform):
    """Values given one by one, each held for ``dt`` seconds.

    Parameters
    ----------
    array : (n_times,), (n_times, n_neurons) or (n_times, n_samples, n_neurons)
        Of the driven neurons and samples.
    dt : float or Brian2 quantity
        Seconds from one value to the next.

    Raises
    ------
    ValueError
        If a value is not finite; or, once the run is known, if the array is shorter than the run or
        has another number of neurons or samples than the driver.

    Examples
    --------
    >>> Array([0.0, 0.3], dt=0.5).values(np.array([0.0, 0.4, 0.5]), (1, 1)).ravel()
    array([0. , 0. , 0.3])
    """

    array: ArrayLike
    dt: float

    def __post_init__(self) -> None:
        array = np.array(self.array, dtype=np.float64)
        check_finite(array, "the array of a driver")
        if array.ndim not in (1, 2, 3) or not len(array):
            raise ValueError(
                f"The array of a driver has shape {array.shape}; (n_times,), (n_times, n_neurons) "
                "or (n_times, n_samples, n_neurons) was awaited."
            )
        array.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "dt", to_positive_seconds(self.dt, "dt"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        array = np.asarray(self.array)
        place = _sample_index(times, self.dt)
        if place[-1] >= len(array):
            raise ValueError(
                f"A driver's array holds {len(array)} values of {self.dt:g} s, and the run needs "
                f"{place[-1] + 1}. Give a longer array or simulate for a shorter time."
            )
        wide = array.reshape(len(array), *(1,) * (3 - array.ndim), *array.shape[1:])
        if wide.shape[2] not in (1, shape[1]) or wide.shape[1] not in (1, shape[0]):
            raise ValueError(
                f"A driver's array has shape {array.shape}, for {wide.shape[2]} neurons of "
                f"{wide.shape[1]} samples; the driver reaches {shape[1]} neurons of {shape[0]}."
            )
        return wide[place]


@dataclass(frozen=True)
class Callable(Waveform):
    """``function(t)`` for each time in seconds: a number, or an array of one value per driven cell.

    Parameters
    ----------
    function : callable
        From seconds to a number, (n_neurons,) or (n_samples, n_neurons).

    Raises
    ------
    ValueError
        Once the run is known, if what it gives is not finite or of another shape.

    Examples
    --------
    >>> Callable(lambda t: t**2).values(np.array([1.0, 3.0]), (1, 1)).ravel()
    array([1., 9.])
    """

    function: abc.Callable[[float], ArrayLike]

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        rows = [np.asarray(self.function(float(t)), dtype=np.float64) for t in times]
        try:
            found = np.stack([np.broadcast_to(row, shape) for row in rows])
        except ValueError:
            raise ValueError(
                f"A driver's function gave an array of shape {rows[0].shape}; a number or an array "
                f"for {shape[0]} sample(s) and {shape[1]} neurons was awaited."
            ) from None
        check_finite(found, "what a driver's function gave")
        return found


def _sample_index(times: NDArray[np.float64], hold: float) -> NDArray[np.int64]:
    """Which held value each time falls to; a time within a billionth of an edge lies behind it."""
    return np.floor(times / hold + 1e-9).astype(np.int64)


def _check_interval(wave: Any, name: str) -> None:
    """Check the height and the two times of a pulse or a ramp."""
    object.__setattr__(wave, name, _check_number(getattr(wave, name), name))
    for edge in ("start", "stop"):
        object.__setattr__(wave, edge, to_seconds(getattr(wave, edge), edge))
    if not wave.start < wave.stop:
        raise ValueError(
            f"start is {wave.start} s and stop is {wave.stop} s; start before stop was awaited."
        )

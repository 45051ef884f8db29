"""Waveforms without randomness: pulses, ramps, sines, sampled values and functions."""

from __future__ import annotations

import math
from collections import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.model.waveforms.base import Shape, Waveform, broadcast, held_index
from spikelca.utils.validation import (
    FloatArray,
    check_finite,
    check_number,
    check_type,
    reject_dimension,
    to_hertz,
    to_positive_seconds,
    to_seconds,
)

STEPS_PER_PERIOD = 20
"""Number of steps that resolve a period of a sine."""


@dataclass(frozen=True)
class Pulse(Waveform):
    """d(t) = height for start <= t < stop, else 0.

    Parameters
    ----------
    height : float
        The current from start to stop.
    start, stop : float or Brian2 quantity
        Seconds.

    Raises
    ------
    ValueError
        If a number is not finite, or start is not before stop.

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
        # Times are multiples of the step; the slack absorbs their rounding error.
        slack = 4 * np.finfo(np.float64).eps * np.abs(times)
        on = (times >= self.start - slack) & (times < self.stop - slack)
        return broadcast(np.where(on, self.height, 0.0))

    @property
    def resolution(self) -> float:
        return (self.stop - self.start) / 2


@dataclass(frozen=True)
class PulseTrain(Waveform):
    """Pulses of ``width`` seconds every ``period`` seconds, else 0.

    Parameters
    ----------
    height : float
        The current in a pulse.
    width, period : float or Brian2 quantity
        Seconds.
    start : float or Brian2 quantity, default=0.0
        Start of the first pulse in seconds.
    stop : float or Brian2 quantity, optional
        Time in seconds from which no pulse begins (default: none).

    Raises
    ------
    ValueError
        If a number is not finite, width is not between zero and the period, or start is not before
        stop.

    Examples
    --------
    >>> train = PulseTrain(0.5, width=0.25, period=1.0, start=1.0)
    >>> train.values(np.array([0.0, 1.0, 1.5, 2.0, 3.125]), (1, 1)).ravel()
    array([0. , 0.5, 0. , 0.5, 0.5])
    """

    height: float
    width: float
    period: float
    start: float = 0.0
    stop: float | None = None

    def __post_init__(self) -> None:
        for name in ("width", "period"):
            object.__setattr__(self, name, to_positive_seconds(getattr(self, name), name))
        _check_interval(self, "height", endless=self.stop is None)
        if not self.width < self.period:
            raise ValueError(
                f"width must be below the period of {self.period} s, got {self.width} s. Use "
                "Pulse for a constant current."
            )

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        # Times are multiples of the step; the slack absorbs their rounding error.
        slack = 4 * np.finfo(np.float64).eps * np.abs(times)
        number = np.floor((times + slack - self.start) / self.period)
        begin = self.start + number * self.period
        stop = math.inf if self.stop is None else self.stop
        on = (number >= 0) & (begin < stop) & (times < begin + self.width - slack)
        return broadcast(np.where(on, self.height, 0.0))

    @property
    def resolution(self) -> float:
        return min(self.width, self.period - self.width) / 2


@dataclass(frozen=True)
class Ramp(Waveform):
    """d(t) rises linearly from 0 at start to height at stop and stays constant.

    Parameters
    ----------
    height : float
        The current after stop.
    start, stop : float or Brian2 quantity
        Seconds.

    Raises
    ------
    ValueError
        If a number is not finite, or start is not before stop.

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
        fraction = np.clip((times - self.start) / (self.stop - self.start), 0.0, 1.0)
        return broadcast(self.height * fraction)

    @property
    def resolution(self) -> float:
        return (self.stop - self.start) / 2


@dataclass(frozen=True)
class Sine(Waveform):
    """d(t) = amplitude sin(2 pi frequency t + phase); frequency in hertz, phase in radians.

    Parameters
    ----------
    amplitude : float
        Largest current.
    frequency : float or quantity of frequency
        Hertz.
    phase : float, default=0.0
        Radians.

    Raises
    ------
    ValueError
        If a number is not finite.

    Examples
    --------
    >>> Sine(2.0, frequency=1.0).values(np.array([0.0, 0.25]), (1, 1)).ravel()
    array([0., 2.])
    """

    amplitude: float
    frequency: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "phase"):
            object.__setattr__(self, name, check_number(getattr(self, name), name))
        object.__setattr__(self, "frequency", to_hertz(self.frequency, "frequency"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return broadcast(self.amplitude * np.sin(2 * np.pi * self.frequency * times + self.phase))

    @property
    def resolution(self) -> float:
        return 1 / (STEPS_PER_PERIOD * abs(self.frequency)) if self.frequency else math.inf


@dataclass(frozen=True)
class Chirp(Waveform):
    """A sine whose frequency changes linearly within ``duration`` seconds, and then stays.

    Parameters
    ----------
    amplitude : float
        Largest current.
    first, last : float or quantity of frequency
        Frequency at time zero and from ``duration`` on, in hertz.
    duration : float or Brian2 quantity
        Seconds.

    Raises
    ------
    ValueError
        If a number is not finite, or the duration is not > 0.

    Examples
    --------
    >>> chirp = Chirp(1.0, first=0.0, last=2.0, duration=1.0)
    >>> chirp.values(np.array([0.0, 0.5, 1.125]), (1, 1)).ravel().round(6)
    array([0., 1., 1.])
    """

    amplitude: float
    first: float
    last: float
    duration: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "amplitude", check_number(self.amplitude, "amplitude"))
        object.__setattr__(self, "duration", to_positive_seconds(self.duration, "duration"))
        for name in ("first", "last"):
            object.__setattr__(self, name, to_hertz(getattr(self, name), name))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        # The number of periods is the integral of the frequency.
        t = np.minimum(times, self.duration)
        slope = (self.last - self.first) / self.duration
        periods = self.first * t + slope * t * t / 2 + self.last * (times - t)
        return broadcast(self.amplitude * np.sin(2 * np.pi * periods))

    @property
    def resolution(self) -> float:
        highest = max(abs(self.first), abs(self.last))
        return 1 / (STEPS_PER_PERIOD * highest) if highest else math.inf


@dataclass(frozen=True, eq=False)
class Array(Waveform):
    """Sampled values, each held for ``dt`` seconds.

    Parameters
    ----------
    array : (n_times,), (n_times, n_neurons) or (n_times, n_samples, n_neurons)
        Values of the driven neurons and samples.
    dt : float or Brian2 quantity
        Seconds from one value to the next.

    Raises
    ------
    ValueError
        If a value is not finite; or, in a run, if the array is shorter than the run or has another
        number of neurons or samples than the driver.

    Examples
    --------
    >>> Array([0.0, 0.3], dt=0.5).values(np.array([0.0, 0.4, 0.5]), (1, 1)).ravel()
    array([0. , 0. , 0.3])
    """

    array: ArrayLike
    dt: float

    def __post_init__(self) -> None:
        reject_dimension(self.array, "The array of a driver")
        array = np.array(self.array, dtype=np.float64)
        check_finite(array, "The array of a driver")
        if array.ndim not in (1, 2, 3) or not len(array):
            raise ValueError(
                "The array of a driver must have shape (n_times,), (n_times, n_neurons) or "
                f"(n_times, n_samples, n_neurons), got {array.shape}."
            )
        array.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "dt", to_positive_seconds(self.dt, "dt"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        array = np.asarray(self.array)
        index = held_index(times, self.dt)
        if index[-1] >= len(array):
            raise ValueError(
                f"The array of a driver must have at least {index[-1] + 1} values of {self.dt:g} s "
                f"for this run, got {len(array)}. Use a longer array or a shorter simulation."
            )
        wide = array.reshape(len(array), *(1,) * (3 - array.ndim), *array.shape[1:])
        if wide.shape[2] not in (1, shape[1]) or wide.shape[1] not in (1, shape[0]):
            raise ValueError(
                f"The array of a driver must have values for {shape[1]} neuron(s) and {shape[0]} "
                f"sample(s), got shape {array.shape}, for {wide.shape[2]} neuron(s) and "
                f"{wide.shape[1]} sample(s)."
            )
        return wide[index]

    @property
    def resolution(self) -> float:
        return self.dt

    def is_per_sample(self, shared: bool) -> bool:
        array = np.asarray(self.array)
        return array.ndim == 3 and array.shape[1] > 1


@dataclass(frozen=True)
class Callable(Waveform):
    """``function(t)`` of each time in seconds: a number, or one value per driven neuron.

    Parameters
    ----------
    function : callable
        From seconds to a number, or an array (n_neurons,) or (n_samples, n_neurons).

    Raises
    ------
    ValueError
        In a run, if the function returns values that are not finite, or another shape.

    Examples
    --------
    >>> Callable(lambda t: t**2).values(np.array([1.0, 3.0]), (1, 1)).ravel()
    array([1., 9.])
    """

    function: abc.Callable[[float], ArrayLike]

    def __post_init__(self) -> None:
        check_type(self.function, "function", abc.Callable, "a function of the time in seconds")

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        rows = [np.asarray(self.function(float(t)), dtype=np.float64) for t in times]
        try:
            values = np.stack([np.broadcast_to(row, shape) for row in rows])
        except ValueError:
            raise ValueError(
                "The function of a driver must return a number or an array for "
                f"{shape[0]} sample(s) and {shape[1]} neuron(s), got shape {rows[0].shape}."
            ) from None
        check_finite(values, "The return value of a driver's function")
        return values


def _check_interval(wave: Any, name: str, endless: bool = False) -> None:
    """Check the height and the two times of pulses or a ramp; if endless, there is no stop."""
    object.__setattr__(wave, name, check_number(getattr(wave, name), name))
    for edge in ("start",) if endless else ("start", "stop"):
        object.__setattr__(wave, edge, to_seconds(getattr(wave, edge), edge))
    if not endless and not wave.start < wave.stop:
        raise ValueError(
            f"start must be before stop, got start={wave.start} s and stop={wave.stop} s."
        )

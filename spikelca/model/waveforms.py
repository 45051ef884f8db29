"""Waveforms: the currents of drivers as functions of time.

Each is a frozen value with one method, ``values(times, shape)``: the current at each time for each
of ``shape = (n_rows, n_neurons)`` neurons. Waveforms can be added, subtracted and scaled, also with
numbers: ``0.1 + 2 * Sine(0.1, 20.0) - Noise(0.02, seed=1)``.
Currents have the unit of the membrane potential, times are seconds.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.utils.validation import (
    FloatArray,
    check_finite,
    check_integer,
    check_number,
    reject_dimension,
    to_hertz,
    to_positive_seconds,
    to_seconds,
)

Shape = tuple[int, int]

STEPS_PER_PERIOD = 20
"""Number of steps that resolve a period of a sine."""

VALUES_PER_DRAW = 256
"""Number of values of noise that are drawn from one random stream."""


class Waveform(ABC):
    """A current as a function of time.

    A subclass defines `values`, and `resolution` if it changes fast; arithmetic is inherited.

    Examples
    --------
    >>> total = 0.1 + 2 * Pulse(0.25, start=1.0, stop=2.0)
    >>> total.values(np.array([0.0, 1.0]), (1, 1)).ravel()
    array([0.1, 0.6])
    """

    @property
    def resolution(self) -> float:
        """Longest step in seconds that resolves the waveform; infinity for any step."""
        return math.inf

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


def _broadcast(values: FloatArray) -> FloatArray:
    """Reshape one value per time to (n_times, 1, 1), equal in all neurons."""
    return values[:, None, None]


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

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return np.asarray(self.first.values(times, shape) + self.second.values(times, shape))

    @property
    def resolution(self) -> float:
        return min(self.first.resolution, self.second.resolution)


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
        object.__setattr__(self, "factor", check_number(self.factor, "factor"))

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return np.asarray(self.factor * self.waveform.values(times, shape))

    @property
    def resolution(self) -> float:
        return self.waveform.resolution


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
        return _broadcast(np.full(len(times), self.level))


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
        return _broadcast(np.where(on, self.height, 0.0))

    @property
    def resolution(self) -> float:
        return (self.stop - self.start) / 2


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
        return _broadcast(self.height * fraction)

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
        return _broadcast(self.amplitude * np.sin(2 * np.pi * self.frequency * times + self.phase))

    @property
    def resolution(self) -> float:
        return 1 / (STEPS_PER_PERIOD * abs(self.frequency)) if self.frequency else math.inf


@dataclass(frozen=True)
class Noise(Waveform):
    """Gaussian noise of standard deviation ``sd``, independent in each neuron.

    Each value is held for ``hold`` seconds, so the noise does not depend on the step. It is the
    same in every run with the same seed, and in every driver: two drivers with the same seed inject
    one and the same noise. Further neurons or samples do not change the noise of the first ones.

    Parameters
    ----------
    sd : float
        Standard deviation.
    seed : int
        Seed of the noise.
    hold : float or Brian2 quantity, default=1 ms
        Duration of each value.

    Raises
    ------
    ValueError
        If sd is < 0 or not finite, the seed is not a whole number >= 0, or hold is not a time > 0.

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
        object.__setattr__(self, "sd", check_number(self.sd, "sd"))
        object.__setattr__(self, "seed", check_integer(self.seed, "seed", 0))
        object.__setattr__(self, "hold", to_positive_seconds(self.hold, "hold"))
        if self.sd < 0:
            raise ValueError(f"sd must be >= 0, got {self.sd}.")

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        index = _sample_index(times, self.hold)
        first, last = index[0] // VALUES_PER_DRAW, index[-1] // VALUES_PER_DRAW
        noise = np.concatenate([self._draw(block, shape) for block in range(first, last + 1)])
        return noise[index - first * VALUES_PER_DRAW]

    @property
    def resolution(self) -> float:
        return self.hold

    def _draw(self, block: int, shape: Shape) -> FloatArray:
        """Draw the values of a block of intervals, which is the same in a run in pieces."""
        n_rows, n_neurons = shape
        streams = (np.random.default_rng([self.seed, row, block]) for row in range(n_rows))
        rows = [rng.normal(0.0, self.sd, (n_neurons, VALUES_PER_DRAW)) for rng in streams]
        return np.stack(rows).transpose(2, 0, 1)


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
        index = _sample_index(times, self.dt)
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


def _sample_index(times: NDArray[np.float64], hold: float) -> NDArray[np.int64]:
    """Return the index of the held value at each time; rounding errors of 1e-9 are ignored."""
    return np.floor(times / hold + 1e-9).astype(np.int64)


def _check_interval(wave: Any, name: str) -> None:
    """Check the height and the two times of a pulse or a ramp."""
    object.__setattr__(wave, name, check_number(getattr(wave, name), name))
    for edge in ("start", "stop"):
        object.__setattr__(wave, edge, to_seconds(getattr(wave, edge), edge))
    if not wave.start < wave.stop:
        raise ValueError(
            f"start must be before stop, got start={wave.start} s and stop={wave.stop} s."
        )

"""Drivers: external currents and class-wise bias currents into chosen neurons.

`CurrentDriver` injects a current of any waveform. `OrdinalDriver` assigns one block of neurons to
each class: the paper orders its code by "a vector of 0s and 1s as our third input". This sentence
has three interpretations, and all are implemented:

``current``
    d is added to the drive: excitation inside the block, inhibition outside it. A subthreshold
    current cannot activate a neuron without input; it only biases the competition.
``linked``
    a third modality with a fixed identity dictionary of gain g: it adds ``g^2 d`` to the drive
    *and* ``g^2`` to the diagonal of the Gram matrix.
``clamp``
    the code of the neurons outside the block is held at zero.

The driver contains the label. It is on in training only and off whenever a code is used to predict.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.model.transfer import Transfer
from spikelca.model.waveforms import Constant, RunContext, Waveform
from spikelca.utils.validation import (
    FloatArray,
    check_bool,
    check_indices,
    check_integer,
    check_labels,
    check_number,
    check_type,
)


@dataclass(frozen=True, eq=False)
class Injection:
    """The effect of drivers on a batch; None or zero has no effect.

    Attributes
    ----------
    current : (1 or n_samples, n_neurons)
        Added to the drive.
    allowed : (n_samples, n_neurons) bool, optional
        False where the code is held at zero.
    gain : float, default=0.0
        g^2, added to the diagonal of the Gram matrix.
    offset : (n_samples,), optional
        Added to the squared norm of the stimulus.

    Examples
    --------
    >>> total = Injection(np.array([[0.1, 0.0]])) + Injection(np.array([[0.0, -0.2]]), gain=0.04)
    >>> total.current, total.gain
    (array([[ 0.1, -0.2]]), 0.04)
    """

    current: FloatArray
    allowed: NDArray[np.bool_] | None = None
    gain: float = 0.0
    offset: FloatArray | None = None

    def __add__(self, other: Injection) -> Injection:
        """Combine the effects of two drivers."""
        return Injection(
            self.current + other.current,
            _combine(self.allowed, other.allowed, np.logical_and),
            self.gain + other.gain,
            _combine(self.offset, other.offset, np.add),
        )


def _combine(
    first: FloatArray | None, second: FloatArray | None, join: Callable[..., FloatArray]
) -> FloatArray | None:
    if first is None or second is None:
        return second if first is None else first
    return join(first, second)


class Driver(ABC):
    """Base class of everything that injects current into the neurons of a circuit.

    A subclass defines its effect on a batch (`inject`) and the circuits it fits (`check`).

    Examples
    --------
    >>> from spikelca import CurrentDriver, OrdinalDriver
    >>> issubclass(OrdinalDriver, Driver) and issubclass(CurrentDriver, Driver)
    True
    """

    @abstractmethod
    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        """Return the effect of the driver on a batch of steady-state codes.

        Parameters
        ----------
        labels : (n_samples,) int, optional
            Class of each sample.
        n_samples, n_neurons : int
            Size of the batch and of the circuit.

        Returns
        -------
        Injection

        Raises
        ------
        ValueError
            If the driver requires labels and there are none, or its current varies over time.
        """

    @abstractmethod
    def check(self, n_neurons: int, transfer: Transfer) -> None:
        """Raise ValueError if the driver does not fit a circuit.

        Parameters
        ----------
        n_neurons : int
        transfer : Transfer
            Transfer function of the circuit.

        Raises
        ------
        ValueError
            If the driver does not fit the number of neurons or the threshold.
        """

    def assignment(
        self, labels: ArrayLike | None, n_samples: int, n_neurons: int
    ) -> NDArray[np.bool_] | None:
        """Return the neurons to which each sample is assigned, None if this driver assigns none.

        Parameters
        ----------
        labels : (n_samples,) int, optional
        n_samples, n_neurons : int

        Returns
        -------
        (n_samples, n_neurons) bool, or None
        """
        return None

    def at_progress(self, progress: float) -> Driver:
        """Return the driver as it is at this fraction of the training run.

        Parameters
        ----------
        progress : float in [0, 1]
            Fraction of the training run that is done.

        Returns
        -------
        Driver
        """
        return self


@dataclass(frozen=True)
class CurrentDriver(Driver):
    """External current of any waveform into chosen neurons, as from an electrode.

    Parameters
    ----------
    waveform : Waveform or float
        See `spikelca.model.waveforms`; a number is a constant current.
    neurons : list of int, optional
        Neurons that receive the current (default: all).
    samples : list of int, optional
        Samples of a simulation that receive the current (default: all).
    shared : bool, default=False
        Whether all samples receive the same noise. If False, noise is independent in each sample.

    Raises
    ------
    ValueError
        If a neuron or a sample is out of range, or a steady-state code is computed under a current
        that varies over time.

    Examples
    --------
    >>> from spikelca.model.waveforms import Pulse
    >>> driver = CurrentDriver(Pulse(0.2, start=0.05, stop=0.1), neurons=[3, 4])
    >>> CurrentDriver(0.1, neurons=[1]).inject(None, n_samples=1, n_neurons=3).current
    array([[0. , 0.1, 0. ]])
    """

    waveform: Waveform | float
    neurons: ArrayLike | None = None
    samples: ArrayLike | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.waveform, Waveform):
            object.__setattr__(self, "waveform", _as_constant(self.waveform))
        for name in ("neurons", "samples"):
            indices = getattr(self, name)
            if indices is not None:
                object.__setattr__(self, name, tuple(np.atleast_1d(indices).tolist()))
        object.__setattr__(self, "shared", check_bool(self.shared, "shared"))

    def check(self, n_neurons: int, transfer: Transfer) -> None:
        check_indices(self.neurons, n_neurons, "neurons of a driver")

    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        if self.samples is not None or not isinstance(self.waveform, Constant):
            raise ValueError(
                f"CurrentDriver must be one constant current for all samples in encode, got "
                f"{self.waveform} into samples {self.samples or 'all'}. Use circuit.simulate, or "
                "remove the drivers with circuit.without_drivers()."
            )
        return Injection(self.current_at(np.zeros(1), n_samples, n_neurons)[0])

    @property
    def per_sample(self) -> bool:
        """Whether the current can differ between samples."""
        assert isinstance(self.waveform, Waveform)
        return self.samples is not None or self.waveform.is_per_sample(self.shared)

    def current_at(
        self,
        times: NDArray[np.float64],
        n_samples: int,
        n_neurons: int,
        *,
        dt: float | None = None,
        driver: int = 0,
        rows: NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """Compute the current at each time.

        Parameters
        ----------
        times : (n_times,) float64
            Seconds, ascending.
        n_samples, n_neurons : int
        dt : float, optional
            Step of the run, on which white noise depends.
        driver : int, default=0
            Number of the driver in the circuit, which selects its random streams.
        rows : (n_rows,) int64, optional
            Samples to compute, in ascending order (default: all).

        Returns
        -------
        (n_times, or 1 if constant; 1 or n_rows; n_neurons)
        """
        assert isinstance(self.waveform, Waveform)
        neurons = check_indices(self.neurons, n_neurons, "neurons of a driver")
        driven = check_indices(self.samples, n_samples, "samples of a driver")
        times = times[:1] if isinstance(self.waveform, Constant) else times
        if not self.per_sample:
            rows, driven = np.zeros(1, np.int64), np.zeros(1, np.int64)
        rows = np.arange(n_samples) if rows is None else rows
        targets = np.flatnonzero(np.isin(rows, driven))
        current = np.zeros((len(times), len(rows), n_neurons))
        if len(targets):
            order = np.argsort(driven)
            places = order[np.searchsorted(driven, rows[targets], sorter=order)]
            context = RunContext(
                math.nan if dt is None else dt, driver, driven, places, self.shared
            )
            waveform = self.waveform.in_run(context)
            values = waveform.values(times, (len(places), len(neurons)))
            current[:, targets[:, None], neurons] = values
        return current


def _as_constant(value: Any) -> Constant:
    """Return a number as a waveform; the error for other values names the waveform to use."""
    if callable(value):
        remedy = f"{value.__name__}(...)" if isinstance(value, type) else "Callable(function)"
        raise TypeError(f"waveform must be a Waveform or a number, got {value!r}. Use {remedy}.")
    if np.ndim(value):
        raise TypeError(
            f"waveform must be a Waveform or a number, got an array of shape {np.shape(value)}. "
            "Use Array(values, dt=...)."
        )
    return Constant(value)


@dataclass(frozen=True)
class Fade:
    """Strength of a driver over a training run: linear from 1 to ``floor`` at ``until``.

    Parameters
    ----------
    floor : float in [0, 1], default=0.0
        Final strength.
    until : float in (0, 1], default=0.8
        Fraction of the training run at which the final strength is reached.

    Examples
    --------
    >>> Fade(floor=0.2, until=0.5).strength(0.25)
    0.6
    """

    floor: float = 0.0
    until: float = 0.8

    def __post_init__(self) -> None:
        for name in ("floor", "until"):
            object.__setattr__(self, name, check_number(getattr(self, name), name))
        if not (0 <= self.floor <= 1 and 0 < self.until <= 1):
            raise ValueError(
                "floor must be in [0, 1] and until in (0, 1], "
                f"got floor={self.floor} and until={self.until}."
            )

    def strength(self, progress: float) -> float:
        """Compute the strength at a fraction of the training run.

        Parameters
        ----------
        progress : float in [0, 1]

        Returns
        -------
        float in [floor, 1]
        """
        return 1 - (1 - self.floor) * min(progress / self.until, 1.0)


@dataclass(frozen=True)
class OrdinalDriver(Driver):
    """Class-wise bias current: one block of neurons per class (the paper's ordinal code).

    Neurons ``c * block`` to ``(c + 1) * block - 1`` belong to class c; neurons after the last
    block are unassigned and receive no current.

    Parameters
    ----------
    n_classes : int, default=10
        Number of classes.
    block : int, optional
        Neurons per class (default: ``n_neurons // n_classes``).
    mode : {"current", "linked", "clamp"}, default="current"
        Interpretation of the third input, see `spikelca.model.drivers`.
    excitation : float, default=0.01
        Current into the block of the sample's class (mode "current"), below the threshold.
    inhibition : float, default=0.05
        Current subtracted from the neurons of all other blocks (mode "current").
    gain : float, default=0.2
        g, the gain of the identity dictionary (mode "linked").
    fade : Fade, optional
        Strength of the driver over a training run; None for a constant driver. A clamp is not
        scaled: it holds until ``fade.until`` and is then released.

    Raises
    ------
    ValueError
        If a number is out of its range; or, from the circuit, if the blocks need more neurons than
        there are, or the current alone would activate a neuron without input (an excitation, in a
        two-sided circuit also an inhibition, at or above the threshold).

    Examples
    --------
    >>> driver = OrdinalDriver(n_classes=2, block=2, excitation=0.0, inhibition=0.1)
    >>> driver.inject([1, 0], n_samples=2, n_neurons=5).current
    array([[-0.1, -0.1,  0. ,  0. ,  0. ],
           [ 0. ,  0. , -0.1, -0.1,  0. ]])
    """

    n_classes: int = 10
    block: int | None = None
    mode: str = "current"
    excitation: float = 0.01
    inhibition: float = 0.05
    gain: float = 0.2
    fade: Fade | None = None

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"mode must be one of {list(_MODES)}, got {self.mode!r}.")
        check_type(self.fade, "fade", Fade | None, "Fade(...) or None")
        object.__setattr__(self, "n_classes", check_integer(self.n_classes, "n_classes", 1))
        if self.block is not None:
            object.__setattr__(self, "block", check_integer(self.block, "block", 1))
        for name in ("excitation", "inhibition", "gain"):
            strength = check_number(getattr(self, name), name)
            object.__setattr__(self, name, strength)
            if strength < 0:
                raise ValueError(f"{name} must be >= 0, got {strength}.")

    def block_size(self, n_neurons: int) -> int:
        """Return the number of neurons per class.

        Parameters
        ----------
        n_neurons : int
            Of the circuit.

        Returns
        -------
        int
        """
        return n_neurons // self.n_classes if self.block is None else self.block

    def neuron_classes(self, n_neurons: int) -> NDArray[np.int64]:
        """Return the class of each neuron, -1 for unassigned neurons.

        Parameters
        ----------
        n_neurons : int
            Of the circuit.

        Returns
        -------
        (n_neurons,) int64
        """
        neuron_classes = np.arange(n_neurons) // max(self.block_size(n_neurons), 1)
        return np.where(neuron_classes < self.n_classes, neuron_classes, -1)

    def check(self, n_neurons: int, transfer: Transfer) -> None:
        block = self.block_size(n_neurons)
        if block < 1 or block * self.n_classes > n_neurons:
            raise ValueError(
                f"n_neurons must be at least {self.n_classes * max(block, 1)} for "
                f"{self.n_classes} classes with blocks of {max(block, 1)}, got {n_neurons}. "
                "Use more neurons or a smaller block."
            )
        if self.mode == "current":
            self._check_subthreshold(transfer)

    def _check_subthreshold(self, transfer: Transfer) -> None:
        lam = transfer.threshold
        if self.excitation >= lam:
            raise ValueError(
                f"excitation must be below the threshold {lam}, got {self.excitation}. "
                "A larger current alone would activate neurons without input."
            )
        if transfer.two_sided and self.inhibition >= lam:
            raise ValueError(
                f"inhibition must be below the threshold {lam} in a two-sided circuit, got "
                f"{self.inhibition}. A larger current alone would activate neurons without input "
                "(u < -lam). Use a smaller inhibition, or mode='clamp'."
            )

    def at_progress(self, progress: float) -> OrdinalDriver:
        if self.fade is None:
            return self
        strength = self.fade.strength(progress)
        is_released = self.mode == "clamp" and progress >= self.fade.until
        return replace(
            self,
            mode="current" if is_released else self.mode,
            excitation=0.0 if is_released else self.excitation * strength,
            inhibition=0.0 if is_released else self.inhibition * strength,
            gain=self.gain * strength,
            fade=None,
        )

    def assignment(
        self, labels: ArrayLike | None, n_samples: int, n_neurons: int
    ) -> NDArray[np.bool_] | None:
        if labels is None:
            return None
        neuron_classes = self.neuron_classes(n_neurons)
        in_block = check_labels(labels, n_samples, self.n_classes)[:, None] == neuron_classes
        return np.asarray(in_block | (neuron_classes == -1))

    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        if labels is None:
            raise ValueError(
                "labels must contain the class of every sample for OrdinalDriver, got None. Pass "
                "labels, or remove the drivers with circuit.without_drivers()."
            )
        neuron_classes = self.neuron_classes(n_neurons)
        in_block = check_labels(labels, n_samples, self.n_classes)[:, None] == neuron_classes
        return _MODES[self.mode](self, in_block, (neuron_classes >= 0) & ~in_block)


def _inject_current(
    driver: OrdinalDriver, in_block: NDArray[np.bool_], out_of_block: NDArray[np.bool_]
) -> Injection:
    current = driver.excitation * in_block - driver.inhibition * out_of_block
    return Injection(np.asarray(current, dtype=np.float64))


def _inject_linked(
    driver: OrdinalDriver, in_block: NDArray[np.bool_], out_of_block: NDArray[np.bool_]
) -> Injection:
    squared = driver.gain**2
    current = squared * in_block.astype(np.float64)
    return Injection(current, gain=squared, offset=np.asarray(squared * in_block.sum(axis=1)))


def _inject_clamp(
    driver: OrdinalDriver, in_block: NDArray[np.bool_], out_of_block: NDArray[np.bool_]
) -> Injection:
    return Injection(np.zeros((1, in_block.shape[1])), allowed=~out_of_block)


_MODES: Mapping[str, Callable[[OrdinalDriver, NDArray[np.bool_], NDArray[np.bool_]], Injection]] = {
    "current": _inject_current,
    "linked": _inject_linked,
    "clamp": _inject_clamp,
}

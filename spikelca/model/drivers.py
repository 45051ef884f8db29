"""`OrdinalDriver`: one block of neurons for each class.

The paper gives its code an ordinal order by "a vector of 0s and 1s as our third input", one block
of neurons for each class. That sentence can be read in three ways, and all are here:

``current``
    d is added to the drive: excitation inside the block, inhibition outside it. Below the
    threshold a current alone never fires a cell, it only tips the competition.
``linked``
    a third modality with a fixed identity dictionary of gain g: it adds ``g^2 d`` to the drive
    *and* ``g^2`` to the diagonal of the Gram matrix.
``clamp``
    the code of the neurons outside the block is held at zero.

The driver carries the label. It steers learning and is off whenever a code is used to predict.

What every driver does to a batch, and what that is told by.

`CurrentDriver`: what an experimenter's electrode does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.model.transfer import Transfer
from spikelca.model.waveforms import Constant, Waveform
from spikelca.utils.validation import FloatArray, check_indices, check_labels


@dataclass(frozen=True, eq=False)
class Injection:
    """What drivers do to a batch; what is None or zero does nothing.

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
    >>> both = Injection(np.array([[0.1, 0.0]])) + Injection(np.array([[0.0, -0.2]]), gain=0.04)
    >>> both.current, both.gain
    (array([[ 0.1, -0.2]]), 0.04)
    """

    current: FloatArray
    allowed: NDArray[np.bool_] | None = None
    gain: float = 0.0
    offset: FloatArray | None = None

    def __add__(self, other: Injection) -> Injection:
        """Both drivers at once."""
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
    """Something that injects current into the neurons of a circuit.

    A subclass says what it does to a batch (`inject`) and which circuits it fits (`check`).

    Examples
    --------
    >>> from spikelca import CurrentDriver, OrdinalDriver
    >>> issubclass(OrdinalDriver, Driver) and issubclass(CurrentDriver, Driver)
    True
    """

    @abstractmethod
    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        """What the driver does to a batch of settled codes.

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
            If the driver needs labels and there are none, or its current never stands still.
        """

    @abstractmethod
    def check(self, n_neurons: int, transfer: Transfer) -> None:
        """See that the driver fits a circuit.

        Parameters
        ----------
        n_neurons : int
        transfer : Transfer
            That of the circuit.

        Raises
        ------
        ValueError
            If it does not.
        """

    def assignment(
        self, labels: ArrayLike | None, n_samples: int, n_neurons: int
    ) -> NDArray[np.bool_] | None:
        """Which neurons each sample belongs to, if this driver has an opinion.

        Parameters
        ----------
        labels : (n_samples,) int, optional
        n_samples, n_neurons : int

        Returns
        -------
        (n_samples, n_neurons) bool, or None
        """
        return None

    def faded(self, fraction: float) -> Driver:
        """The driver after a part of the learning is done.

        Parameters
        ----------
        fraction : float in [0, 1]
            How much of the learning is done.

        Returns
        -------
        Driver
        """
        return self


@dataclass(frozen=True)
class CurrentDriver(Driver):
    """A current of any waveform into chosen neurons: what an experimenter's electrode does.

    Parameters
    ----------
    waveform : Waveform or float
        See `spikelca.waveforms`; a number is a constant current.
    neurons : list of int, optional
        The neurons that it reaches; all unless told.
    samples : list of int, optional
        The samples of a simulation that it reaches, each with a waveform of its own where the
        waveform has one (noise, arrays); all alike unless told.

    Raises
    ------
    ValueError
        If a neuron or a sample is out of range, or a code is to settle under a current that never
        does.

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

    def __post_init__(self) -> None:
        if not isinstance(self.waveform, Waveform):
            object.__setattr__(self, "waveform", Constant(self.waveform))
        for name in ("neurons", "samples"):
            chosen = getattr(self, name)
            if chosen is not None:
                object.__setattr__(self, name, tuple(np.atleast_1d(chosen).tolist()))

    def check(self, n_neurons: int, transfer: Transfer) -> None:
        check_indices(self.neurons, n_neurons, "neurons of a driver")

    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        if self.samples is not None or not isinstance(self.waveform, Constant):
            raise ValueError(
                f"{self.waveform} into samples {self.samples or 'all'}: a code settles only under "
                "one constant current for all. Use circuit.simulate, or take the driver off with "
                "circuit.without_drivers()."
            )
        return Injection(self.current_at(np.zeros(1), n_samples, n_neurons)[0])

    def current_at(self, times: NDArray[np.float64], n_samples: int, n_neurons: int) -> FloatArray:
        """The current at each time.

        Parameters
        ----------
        times : (n_times,) float64
            Seconds.
        n_samples, n_neurons : int

        Returns
        -------
        (n_times or 1 if constant, 1 or n_samples, n_neurons)
        """
        assert isinstance(self.waveform, Waveform)
        neurons = check_indices(self.neurons, n_neurons, "neurons of a driver")
        samples = check_indices(self.samples, n_samples, "samples of a driver")
        if self.samples is None:
            samples = samples[:1]
        if isinstance(self.waveform, Constant):
            times = times[:1]
        values = self.waveform.values(times, (len(samples), len(neurons)))
        current = np.zeros((len(times), 1 if self.samples is None else n_samples, n_neurons))
        current[:, samples[:, None], neurons] = values
        return current


@dataclass(frozen=True)
class Fade:
    """A driver's strength over learning: from 1 down to ``floor``, reached at ``until``.

    Parameters
    ----------
    floor : float in [0, 1], default=0.0
        Strength that is left at the end.
    until : float in (0, 1], default=0.8
        Fraction of the learning at which the floor is reached; in between the fall is linear.

    Examples
    --------
    >>> Fade(floor=0.2, until=0.5).strength(0.25)
    0.6
    """

    floor: float = 0.0
    until: float = 0.8

    def __post_init__(self) -> None:
        if not (0 <= self.floor <= 1 and 0 < self.until <= 1):
            raise ValueError(
                f"floor is {self.floor} and until is {self.until}; "
                "floor in [0, 1] and until in (0, 1] were awaited."
            )

    def strength(self, fraction: float) -> float:
        """Strength after a part of the learning.

        Parameters
        ----------
        fraction : float in [0, 1]

        Returns
        -------
        float in [floor, 1]
        """
        return 1 - (1 - self.floor) * min(fraction / self.until, 1.0)


@dataclass(frozen=True)
class OrdinalDriver(Driver):
    """One block of neurons for each class, in order: the ordinal code of the paper.

    Neurons ``c * block`` to ``(c + 1) * block - 1`` belong to class c; neurons behind the last
    block are free and never driven.

    Parameters
    ----------
    n_classes : int, default=10
        Number of classes.
    block : int, optional
        Neurons of one class; ``n_neurons // n_classes`` unless told.
    reading : {"current", "linked", "clamp"}, default="current"
        How the third input acts; see the module's docstring.
    excitation : float, default=0.01
        Current into the block of the sample's class ("current"). Keep it below the threshold.
    inhibition : float, default=0.05
        Current taken from the neurons of all other blocks ("current").
    gain : float, default=0.2
        g, the gain of the identity dictionary ("linked").
    fade : Fade, optional
        How the driver weakens while learning goes on; None for a constant driver. A clamp has no
        half: it holds until ``fade.until`` and then lets go.

    Raises
    ------
    ValueError
        If a number makes no sense, or (from the circuit) if the blocks need more neurons than
        there are, or the current would fire a cell that sees nothing: an excitation at or above
        the threshold, and in a two-sided circuit an inhibition too.

    Examples
    --------
    >>> driver = OrdinalDriver(n_classes=2, block=2, excitation=0.0, inhibition=0.1)
    >>> driver.inject([1, 0], n_samples=2, n_neurons=5).current
    array([[-0.1, -0.1,  0. ,  0. ,  0. ],
           [ 0. ,  0. , -0.1, -0.1,  0. ]])
    """

    n_classes: int = 10
    block: int | None = None
    reading: str = "current"
    excitation: float = 0.01
    inhibition: float = 0.05
    gain: float = 0.2
    fade: Fade | None = None

    def __post_init__(self) -> None:
        if self.reading not in _MODES:
            raise ValueError(f"reading is {self.reading!r}; one of {list(_MODES)} was awaited.")
        if self.n_classes < 1 or (self.block is not None and self.block < 1):
            raise ValueError(
                f"n_classes is {self.n_classes} and block is {self.block}; "
                "one or more of each was awaited."
            )
        strengths = (self.excitation, self.inhibition, self.gain)
        if not all(np.isfinite(s) and s >= 0 for s in strengths):
            raise ValueError(
                f"excitation, inhibition and gain are {strengths}; "
                "finite numbers at or above zero were awaited."
            )

    def block_size(self, n_neurons: int) -> int:
        """Neurons of one class.

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
        """Class of each neuron, -1 for the free ones.

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
                f"{self.n_classes} classes with blocks of {max(block, 1)} need "
                f"{self.n_classes * max(block, 1)} neurons; the circuit has {n_neurons}. "
                "Take more neurons or a smaller block."
            )
        if self.reading == "current":
            self._check_that_none_fires(transfer)

    def _check_that_none_fires(self, transfer: Transfer) -> None:
        lam = transfer.threshold
        if self.excitation >= lam:
            raise ValueError(
                f"excitation is {self.excitation}, at or above the threshold {lam}: it would "
                "fire cells that see nothing. Take an excitation below the threshold."
            )
        if transfer.two_sided and self.inhibition >= lam:
            raise ValueError(
                f"inhibition is {self.inhibition}, at or above the threshold {lam} of a two-sided "
                "circuit: a cell pushed below -lam fires downwards, though it sees nothing. Take "
                "an inhibition below the threshold, or hold the cells at zero: reading='clamp'."
            )

    def faded(self, fraction: float) -> OrdinalDriver:
        if self.fade is None:
            return self
        strength = self.fade.strength(fraction)
        released = self.reading == "clamp" and fraction >= self.fade.until
        return replace(
            self,
            reading="current" if released else self.reading,
            excitation=0.0 if released else self.excitation * strength,
            inhibition=0.0 if released else self.inhibition * strength,
            gain=self.gain * strength,
            fade=None,
        )

    def assignment(
        self, labels: ArrayLike | None, n_samples: int, n_neurons: int
    ) -> NDArray[np.bool_] | None:
        if labels is None:
            return None
        neuron_classes = self.neuron_classes(n_neurons)
        own = check_labels(labels, n_samples, self.n_classes)[:, None] == neuron_classes
        return np.asarray(own | (neuron_classes == -1))

    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        if labels is None:
            raise ValueError(
                "An ordinal driver needs the label of every sample: hand labels, or take the "
                "driver off with circuit.without_drivers()."
            )
        neuron_classes = self.neuron_classes(n_neurons)
        inside = check_labels(labels, n_samples, self.n_classes)[:, None] == neuron_classes
        return _MODES[self.reading](self, inside, (neuron_classes >= 0) & ~inside)


def _inject_current(
    driver: OrdinalDriver, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Injection:
    current = driver.excitation * inside - driver.inhibition * outside
    return Injection(np.asarray(current, dtype=np.float64))


def _inject_linked(
    driver: OrdinalDriver, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Injection:
    squared = driver.gain**2
    current = squared * inside.astype(np.float64)
    return Injection(current, gain=squared, offset=np.asarray(squared * inside.sum(axis=1)))


def _inject_clamp(
    driver: OrdinalDriver, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Injection:
    return Injection(np.zeros((1, inside.shape[1])), allowed=~outside)


_MODES: Mapping[str, Callable[[OrdinalDriver, NDArray[np.bool_], NDArray[np.bool_]], Injection]] = {
    "current": _inject_current,
    "linked": _inject_linked,
    "clamp": _inject_clamp,
}

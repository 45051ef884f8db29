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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.drivers.base import Driver, Injection
from spikelca.transfer import Transfer
from spikelca.validation import check_labels, finite, whole


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
        for name in ("floor", "until"):
            object.__setattr__(self, name, finite(getattr(self, name), name))
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
        if self.reading not in _READINGS:
            raise ValueError(f"reading is {self.reading!r}; one of {list(_READINGS)} was awaited.")
        object.__setattr__(self, "n_classes", whole(self.n_classes, "n_classes", 1))
        if self.block is not None:
            object.__setattr__(self, "block", whole(self.block, "block", 1))
        for name in ("excitation", "inhibition", "gain"):
            strength = finite(getattr(self, name), name)
            object.__setattr__(self, name, strength)
            if strength < 0:
                raise ValueError(f"{name} must be a number of 0 or more, got {strength}.")

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

    def owner(self, n_neurons: int) -> NDArray[np.int64]:
        """Class of each neuron, -1 for the free ones.

        Parameters
        ----------
        n_neurons : int
            Of the circuit.

        Returns
        -------
        (n_neurons,) int64
        """
        owner = np.arange(n_neurons) // max(self.block_size(n_neurons), 1)
        return np.where(owner < self.n_classes, owner, -1)

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

    def favours(
        self, labels: ArrayLike | None, n_samples: int, n_neurons: int
    ) -> NDArray[np.bool_] | None:
        if labels is None:
            return None
        owner = self.owner(n_neurons)
        own = check_labels(labels, n_samples, self.n_classes)[:, None] == owner
        return np.asarray(own | (owner == -1))

    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        if labels is None:
            raise ValueError(
                "An ordinal driver needs the label of every sample: hand labels, or take the "
                "driver off with circuit.without_drivers()."
            )
        owner = self.owner(n_neurons)
        inside = check_labels(labels, n_samples, self.n_classes)[:, None] == owner
        return _READINGS[self.reading](self, inside, (owner >= 0) & ~inside)


def _as_current(
    driver: OrdinalDriver, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Injection:
    current = driver.excitation * inside - driver.inhibition * outside
    return Injection(np.asarray(current, dtype=np.float64))


def _as_linked(
    driver: OrdinalDriver, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Injection:
    squared = driver.gain**2
    current = squared * inside.astype(np.float64)
    return Injection(current, gain=squared, offset=np.asarray(squared * inside.sum(axis=1)))


def _as_clamp(
    driver: OrdinalDriver, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Injection:
    return Injection(np.zeros((1, inside.shape[1])), allowed=~outside)


_READINGS: Mapping[
    str, Callable[[OrdinalDriver, NDArray[np.bool_], NDArray[np.bool_]], Injection]
] = {"current": _as_current, "linked": _as_linked, "clamp": _as_clamp}

"""What every driver does to a batch, and what that is told by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.transfer import Transfer
from spikelca.validation import FloatArray


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
            _both(self.allowed, other.allowed, np.logical_and),
            self.gain + other.gain,
            _both(self.offset, other.offset, np.add),
        )


def _both(
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

    def favours(
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

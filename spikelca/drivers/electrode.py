"""`CurrentDriver`: what an experimenter's electrode does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.drivers.base import Driver, Injection
from spikelca.transfer import Transfer
from spikelca.validation import FloatArray, indices
from spikelca.waveforms import Constant, Waveform


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
    >>> from spikelca.waveforms import Pulse
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
        indices(self.neurons, n_neurons, "neurons of a driver")

    def inject(self, labels: ArrayLike | None, n_samples: int, n_neurons: int) -> Injection:
        if self.samples is not None or not isinstance(self.waveform, Constant):
            raise ValueError(
                f"{self.waveform} into samples {self.samples or 'all'}: a code settles only under "
                "one constant current for all. Use circuit.simulate, or take the driver off with "
                "circuit.without_drivers()."
            )
        return Injection(self.over_time(np.zeros(1), n_samples, n_neurons)[0])

    def over_time(self, times: NDArray[np.float64], n_samples: int, n_neurons: int) -> FloatArray:
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
        neurons = indices(self.neurons, n_neurons, "neurons of a driver")
        samples = indices(self.samples, n_samples, "samples of a driver")
        if self.samples is None:
            samples = samples[:1]
        if isinstance(self.waveform, Constant):
            times = times[:1]
        values = self.waveform.values(times, (len(samples), len(neurons)))
        current = np.zeros((len(times), 1 if self.samples is None else n_samples, n_neurons))
        current[:, samples[:, None], neurons] = values
        return current

"""Random waveforms, which are the same in every run with the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelca.model.waveforms.base import Shape, Waveform, held_index
from spikelca.utils.validation import FloatArray, check_integer, check_number, to_positive_seconds

VALUES_PER_DRAW = 256
"""Number of values of noise that are drawn from one random stream."""


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
        index = held_index(times, self.hold)
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

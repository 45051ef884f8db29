"""Random waveforms, which are the same in every run with the same seed.

Each driver, sample and neuron has its own random stream. The streams depend on nothing else, so
that a further neuron or sample, or a run in pieces, does not change the values.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelca.model.waveforms.base import RunContext, Shape, Waveform, held_index
from spikelca.utils.validation import FloatArray, check_integer, check_number, to_positive_seconds

VALUES_PER_DRAW = 256
"""Number of values of noise that are drawn from one random stream."""

MEMORY_TIMES = 37
"""Number of correlation times after which a value has no effect in float64: exp(-37) < 2^-53."""


class RandomWaveform(Waveform):
    """A random waveform: the current of each sample and neuron is independent.

    A subclass defines `draw`, and a ``stream`` number that differs from those of other subclasses.
    """

    stream: int

    def is_per_sample(self, shared: bool) -> bool:
        return not shared

    def in_run(self, context: RunContext) -> Waveform:
        return Realisation(self, context)

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        rows = np.arange(shape[0])
        return self.draw(times, shape[1], RunContext(math.nan, 0, rows, rows))

    @abstractmethod
    def draw(self, times: NDArray[np.float64], n_neurons: int, context: RunContext) -> FloatArray:
        """Compute the current at each time.

        Parameters
        ----------
        times : (n_times,) float64
            Seconds, ascending.
        n_neurons : int
        context : RunContext

        Returns
        -------
        (n_times, n_rows, n_neurons)
        """


@dataclass(frozen=True, eq=False)
class Realisation(Waveform):
    """A random waveform in a run, as returned by `RandomWaveform.in_run`."""

    waveform: RandomWaveform
    context: RunContext

    def values(self, times: NDArray[np.float64], shape: Shape) -> FloatArray:
        return self.waveform.draw(times, shape[1], self.context)


def draw_blocks(
    seed: int, stream: int, context: RunContext, blocks: range, size: int, n_neurons: int
) -> FloatArray:
    """Draw standard normal values: (n_rows, n_neurons, len(blocks) * size).

    Each sample and block has its own stream, from which the neurons draw one after the other.
    """
    return np.concatenate([
        np.stack([
            np.random.default_rng([seed, stream, context.driver, sample, block])
            .standard_normal((n_neurons, size))
            for sample in context.selected
        ])
        for block in blocks
    ], axis=2)  # fmt: skip


@dataclass(frozen=True)
class Noise(RandomWaveform):
    """Gaussian noise of standard deviation ``sd``, independent in each neuron.

    Each value is held for ``hold`` seconds, so the noise does not depend on the step. It is the
    same in every run with the same seed. Drivers, samples and neurons have independent noise;
    further ones do not change the noise of the first ones.

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

    stream = 0
    sd: float
    seed: int
    hold: float = 1e-3

    def __post_init__(self) -> None:
        _check_noise(self, "sd")
        object.__setattr__(self, "hold", to_positive_seconds(self.hold, "hold"))

    def draw(self, times: NDArray[np.float64], n_neurons: int, context: RunContext) -> FloatArray:
        return self.sd * _hold_white(times, self.hold, self, n_neurons, context)

    @property
    def resolution(self) -> float:
        return self.hold


@dataclass(frozen=True)
class WhiteNoise(RandomWaveform):
    """Gaussian white noise: a new value ``intensity / sqrt(dt)`` times N(0, 1) in each step.

    Its effect on the membrane does not depend on the step: without input and inhibition, u has the
    variance ``intensity^2 / (tau (2 - dt / tau))``. For noise of the standard deviation s in a
    membrane, use ``intensity = s * sqrt(2 * tau)``.

    Parameters
    ----------
    intensity : float
        Standard deviation of the current, averaged over one second; its unit is that of the
        membrane potential times the square root of a second.
    seed : int
        Seed of the noise.

    Raises
    ------
    ValueError
        If the intensity is < 0 or not finite, or the seed is not a whole number >= 0; or if values
        are computed without a run, which has the step.

    Examples
    --------
    >>> run = RunContext(dt=1e-4, driver=0, samples=np.arange(1), rows=np.arange(1))
    >>> WhiteNoise(0.01, seed=0).in_run(run).values(np.arange(3) * 1e-4, (1, 2)).shape
    (3, 1, 2)
    """

    stream = 1
    intensity: float
    seed: int

    def __post_init__(self) -> None:
        _check_noise(self, "intensity")

    def draw(self, times: NDArray[np.float64], n_neurons: int, context: RunContext) -> FloatArray:
        if math.isnan(context.dt):
            raise ValueError(
                "WhiteNoise must be in a run, whose step its values depend on. Use "
                "waveform.in_run(context).values(times, shape)."
            )
        white = _hold_white(times, context.dt, self, n_neurons, context)
        return self.intensity / math.sqrt(context.dt) * white


@dataclass(frozen=True)
class OrnsteinUhlenbeck(RandomWaveform):
    """Gaussian noise with the autocorrelation ``sd^2 exp(-|t| / tau)`` (Ornstein-Uhlenbeck).

    Fluctuating synaptic input is often modelled so. The process is stationary from the start. Its
    values are exact at multiples of ``hold``, and held in between.

    Parameters
    ----------
    sd : float
        Standard deviation.
    tau : float or Brian2 quantity
        Correlation time in seconds.
    seed : int
        Seed of the noise.
    hold : float or Brian2 quantity, default=1 ms
        Duration of each value.

    Raises
    ------
    ValueError
        If sd is < 0 or not finite, the seed is not a whole number >= 0, or tau or hold is not a
        time > 0.

    Examples
    --------
    >>> noise = OrnsteinUhlenbeck(0.1, tau=0.02, seed=0)
    >>> float(noise.values(np.arange(100) * 1e-3, (1, 2000)).std().round(2))
    0.1
    """

    stream = 2
    sd: float
    tau: float
    seed: int
    hold: float = 1e-3

    def __post_init__(self) -> None:
        _check_noise(self, "sd")
        for name in ("tau", "hold"):
            object.__setattr__(self, name, to_positive_seconds(getattr(self, name), name))

    @property
    def resolution(self) -> float:
        return self.hold

    def draw(self, times: NDArray[np.float64], n_neurons: int, context: RunContext) -> FloatArray:
        from scipy.signal import lfilter  # its import takes long

        # x_i = c x_{i-1} + sqrt(1 - c^2) n_i. The sum starts one block earlier with x = 0, which
        # has no effect left in float64. So the values do not depend on where a run is cut.
        size = max(VALUES_PER_DRAW, math.ceil(MEMORY_TIMES * self.tau / self.hold))
        index = held_index(times, self.hold)
        first, last = index[0] // size, index[-1] // size
        c = math.exp(-self.hold / self.tau)
        parts = []
        for block in range(first, last + 1):
            white = draw_blocks(
                self.seed, self.stream, context, range(block, block + 2), size, n_neurons
            )
            parts.append(lfilter([math.sqrt(1 - c * c)], [1.0, -c], white, axis=2)[:, :, size:])
        noise = np.concatenate(parts, axis=2).transpose(2, 0, 1)
        return np.asarray(self.sd * noise[index - first * size])


def _hold_white(
    times: NDArray[np.float64],
    hold: float,
    waveform: Noise | WhiteNoise,
    n_neurons: int,
    context: RunContext,
) -> FloatArray:
    """Draw one standard normal value per interval of ``hold`` seconds, at the given times."""
    index = held_index(times, hold)
    first, last = index[0] // VALUES_PER_DRAW, index[-1] // VALUES_PER_DRAW
    blocks = range(first, last + 1)
    white = draw_blocks(waveform.seed, waveform.stream, context, blocks, VALUES_PER_DRAW, n_neurons)
    return white.transpose(2, 0, 1)[index - first * VALUES_PER_DRAW]


def _check_noise(waveform: Noise | WhiteNoise | OrnsteinUhlenbeck, strength: str) -> None:
    """Check the strength and the seed of a random waveform."""
    value = check_number(getattr(waveform, strength), strength)
    object.__setattr__(waveform, strength, value)
    object.__setattr__(waveform, "seed", check_integer(waveform.seed, "seed", 0))
    if value < 0:
        raise ValueError(f"{strength} must be >= 0, got {value}.")

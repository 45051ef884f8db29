"""Waveforms: the currents of drivers as functions of time.

Each is a frozen value with one method, ``values(times, shape)``: the current at each time for each
of ``shape = (n_rows, n_neurons)`` neurons. Waveforms can be added, subtracted and scaled, also with
numbers: ``0.1 + 2 * Sine(0.1, 20.0) - Noise(0.02, seed=1)``.
Currents have the unit of the membrane potential, times are seconds.
"""

from spikelca.model.waveforms.base import Constant, RunContext, Scaled, Sum, Waveform
from spikelca.model.waveforms.noise import Noise, OrnsteinUhlenbeck, WhiteNoise
from spikelca.model.waveforms.shapes import Array, Callable, Chirp, Pulse, PulseTrain, Ramp, Sine

__all__ = [
    "Array",
    "Callable",
    "Chirp",
    "Constant",
    "Noise",
    "OrnsteinUhlenbeck",
    "Pulse",
    "PulseTrain",
    "Ramp",
    "RunContext",
    "Scaled",
    "Sine",
    "Sum",
    "Waveform",
    "WhiteNoise",
]

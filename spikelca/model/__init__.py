"""The model: neurons, thresholds, dictionaries, inputs, drivers, waveforms and plasticity.

Frozen values with their equations. Codes and time steps are computed by `spikelca.engines`.
"""

from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import CurrentDriver, Driver, Fade, Injection, OrdinalDriver
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.neurons import Neuron, RateNeuron, SpikingNeuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms, PlasticityState
from spikelca.model.transfer import HardThreshold, SoftThreshold, Transfer
from spikelca.model.waveforms import (
    Array,
    Callable,
    Chirp,
    Constant,
    Noise,
    OrnsteinUhlenbeck,
    Pulse,
    PulseTrain,
    Ramp,
    RunContext,
    Scaled,
    Sine,
    Sum,
    Waveform,
    WhiteNoise,
)

__all__ = [
    "AnalogInput",
    "Array",
    "Callable",
    "Chirp",
    "Constant",
    "Contrast",
    "CurrentDriver",
    "Dictionary",
    "Driver",
    "Fade",
    "HardThreshold",
    "Hebbian",
    "IdleAtoms",
    "Injection",
    "Neuron",
    "Noise",
    "OrdinalDriver",
    "OrnsteinUhlenbeck",
    "PlasticityState",
    "PoissonInput",
    "Pulse",
    "PulseTrain",
    "Ramp",
    "RateNeuron",
    "RunContext",
    "Scaled",
    "Sine",
    "SoftThreshold",
    "SpikingNeuron",
    "SpikingResidual",
    "Sum",
    "Transfer",
    "Waveform",
    "WhiteNoise",
]

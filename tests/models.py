"""Models with a value in every field, and a bitwise comparison of circuits."""

from __future__ import annotations

import numpy as np

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    Fade,
    HardThreshold,
    Hebbian,
    IdleAtoms,
    LinkedLCA,
    OrdinalDriver,
    SpikingNeuron,
)
from spikelca.model import waveforms
from spikelca.model.inputs import PoissonInput, SpikingResidual
from spikelca.model.plasticity import PlasticityState

WAVE = waveforms.Sum(
    waveforms.Noise(0.1, seed=3), waveforms.Array(np.arange(6.0).reshape(3, 2), dt=0.5)
)


def atoms(n_neurons, n_inputs, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(n_neurons, n_inputs)).astype(dtype)


def make_circuit(dtype=np.float32, **params):
    fields = {
        "neuron": SpikingNeuron(tau=0.02, quantum=0.1 + 0.2),
        "transfer": HardThreshold(0.07, two_sided=True),
        "dictionaries": [
            Dictionary(
                "../a\u00e9 b", atoms(6, 4, dtype), 1 / 3, Hebbian(0.1, 0.7), PoissonInput(0.3, 7)
            ),
            Dictionary("fixed", atoms(6, 3, dtype, seed=1), 1.0, None, SpikingResidual(0.1)),
        ],
        "drivers": [
            OrdinalDriver(2, mode="clamp", fade=Fade(0.1, 0.9)),
            CurrentDriver(WAVE, neurons=[4, 1], samples=[0]),
        ],
        "wiring": "residual",
        "idle": IdleAtoms("residual", 17),
        "plasticity": PlasticityState(np.arange(6) / 7, np.arange(6), 2),
    }
    return Circuit(**fields | params)


def assert_same_circuit(first, second):
    names = ("neuron", "transfer", "wiring", "idle")
    assert [getattr(first, n) for n in names] == [getattr(second, n) for n in names]
    assert [repr(d) for d in first.drivers] == [repr(d) for d in second.drivers]
    assert list(first.dictionaries) == list(second.dictionaries)
    for name in ("usage", "silent", "redrawn"):
        a, b = (np.asarray(getattr(c.plasticity, name)) for c in (first, second))
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def make_linked(**params):
    settings = {"threshold": 0.05, "n_epochs": 1, "batch_size": 20, "random_state": 0}
    settings |= {"observe": ["left"]} | params
    return LinkedLCA(6, {"left": 3, "right": 5}, **settings)


def steered(**params):
    driver = OrdinalDriver(2, inhibition=0.2, fade=Fade(0.0, 0.9))
    settings = {"driver": driver, "n_epochs": 3, "idle": IdleAtoms(patience=8)}
    return make_linked(**settings | params)

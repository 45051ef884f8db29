"""Small random circuits for tests of simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np

from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold, SpikingNeuron
from spikelca.engines import Spikes

RATE = RateNeuron(tau=10e-3)
SPIKING = SpikingNeuron(tau=10e-3, quantum=0.05)


def random_circuit(
    neuron=RATE,
    transfer=None,
    *,
    seed=0,
    n_neurons=11,
    widths=(9, 5),
    weights=(1.0, 0.7),
    drivers=(),
    wiring="lateral",
    dtype=np.float64,
):
    """Make a circuit with modalities a, b, ... and stacked atoms of unit norm."""
    transfer = SoftThreshold(0.1) if transfer is None else transfer
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal if transfer.two_sided else rng.random
    atoms = [draw((n_neurons, width)) for width in widths]
    pairs = list(zip(atoms, weights, strict=True))
    norms = np.sqrt(sum(w * (phi**2).sum(axis=1) for phi, w in pairs))[:, None]
    dictionaries = [
        Dictionary(name, (phi / norms).astype(dtype), weight)
        for name, (phi, weight) in zip("abcdef", pairs, strict=False)
    ]
    return Circuit(neuron, transfer, dictionaries, drivers, wiring)


def with_inputs(circuit, *kinds):
    """Return the circuit with other kinds of inputs, one for each modality."""
    pairs = zip(circuit.dictionaries, kinds, strict=True)
    return replace(circuit, dictionaries=[replace(d, inputs=kind) for d, kind in pairs])


def random_stimuli(circuit, n_samples=5, seed=1, size=0.8):
    """Draw a stimulus of norm ``size`` for each sample and modality, signed if codes are."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal if circuit.transfer.two_sided else rng.random
    X = {name: draw((n_samples, width)) for name, width in circuit.widths.items()}
    return {name: size * x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in X.items()}


def same(first, second):
    """Assert that two responses are equal in every field, arrays bit by bit."""
    for part in fields(first):
        one, other = getattr(first, part.name), getattr(second, part.name)
        if isinstance(one, Spikes):
            one, other = (dict(enumerate(spikes)) for spikes in (one, other))
        if isinstance(one, Mapping):
            assert one.keys() == other.keys(), part.name
            for key in one:
                np.testing.assert_array_equal(one[key], other[key], f"{part.name} {key}")
        elif isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, part.name)
        else:
            assert one == other, part.name

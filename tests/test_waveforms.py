"""Waveforms and signed codes in time: laws of sign, and runs of one step."""

from __future__ import annotations

import re

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli

from spikelca import CurrentDriver, HardThreshold, SoftThreshold
from spikelca.model import (
    Array,
    Callable,
    Chirp,
    Constant,
    Noise,
    OrnsteinUhlenbeck,
    Pulse,
    PulseTrain,
    Ramp,
    Sine,
    WhiteNoise,
)

DT = 4e-4
CURVE = np.cos(np.arange(200.0))
WAVES = {
    "constant": Constant,
    "pulse": lambda h: Pulse(h, start=0.0, stop=0.02),
    "ramp": lambda h: Ramp(h, start=-0.005, stop=0.02),
    "sine": lambda h: Sine(h, 40.0, phase=0.3),
    "array": lambda h: Array(h * CURVE, DT),
    "function": lambda h: Callable(lambda t: h * np.cos(t / 0.003)),
    "pulses": lambda h: PulseTrain(h, 0.005, 0.01),
    "chirp": lambda h: Chirp(h, 20.0, 80.0, 0.02),
    "sum": lambda h: Sine(h, 30.0) + Constant(h / 2),
}
KINDS = {"soft": SoftThreshold(0.1, True), "hard": HardThreshold(0.1, True)}


def outcome(neuron, transfer, wiring, wave, sign, dt):
    """Code of a run with stimuli and current of a sign, or the error in its place."""
    driver = CurrentDriver(wave, neurons=[1, 4])
    circuit = random_circuit(neuron, transfer, wiring=wiring, drivers=[driver])
    X = {name: sign * x for name, x in random_stimuli(circuit, size=0.3).items()}
    try:
        response = circuit.simulate(X, 0.03, dt, record=("current",))
    except ValueError as error:
        # Of a pair of cells the other one is named.
        return re.sub(r"cell (\d+)", lambda m: f"cell {int(m[1]) % 11}", str(error))
    return sign * response.code, sign * response.traces["current"]


@pytest.mark.parametrize("dt", [DT, None], ids=["step", "automatic step"])
@pytest.mark.parametrize("wave", WAVES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_negated_input_negates_code_or_raises_alike(neuron, kind, wave, dt):
    failed = []
    for height in (0.05, 0.3, 20.0):
        for wiring in ("lateral", "residual"):
            make = WAVES[wave]
            there, back = (
                outcome(neuron, KINDS[kind], wiring, make(sign * height), sign, dt)
                for sign in (1, -1)
            )
            failed.append(isinstance(there, str))
            if isinstance(there, str) or isinstance(back, str):
                assert there == back
            else:
                np.testing.assert_allclose(back[0], there[0], rtol=0, atol=1e-12)
                np.testing.assert_array_equal(back[1], there[1])
    assert not all(failed)
    assert not any(failed) or neuron is SPIKING  # only spikes saturate
    assert any(failed) or neuron is RATE or dt is None


ONE_STEP = {name: make(0.3) for name, make in WAVES.items()} | {
    "noise": Noise(0.1, seed=1), "white": WhiteNoise(0.1 * DT**0.5, seed=1),
    "fluctuation": OrnsteinUhlenbeck(0.1, 0.01, seed=1),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["numba", "reference", "brian2"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_one_step_is_the_first_of_many(neuron, engine):
    some = [[0, 2], None]
    alone = [[CurrentDriver(wave, [1, 4])] for wave in ONE_STEP.values()]
    all_at_once = [CurrentDriver(w, [i % 11], some[i % 2]) for i, w in enumerate(ONE_STEP.values())]
    for drivers in [all_at_once, *(alone if engine != "brian2" else [])]:
        circuit = random_circuit(neuron, drivers=drivers)
        X = random_stimuli(circuit, n_samples=3)
        one, two = (
            circuit.simulate(X, n * DT, DT, engine=engine, record=("u", "current"), window=1.0)
            for n in (1, 2)
        )
        assert len(one.times) == 1
        assert two.traces["current"].any()
        np.testing.assert_array_equal(one.traces["current"], two.traces["current"][:1])
        np.testing.assert_array_equal(one.state["u"], two.traces["u"][1])

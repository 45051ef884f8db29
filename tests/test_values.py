"""Frozen values mean the same in whatever form their numbers come."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from spikelca.model import waveforms
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import CurrentDriver, Fade, OrdinalDriver
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms
from spikelca.model.transfer import HardThreshold, SoftThreshold
from spikelca.modelfile.values import SERIALISABLE

# All numbers are exact in float32.
PLAIN = [
    RateNeuron(0.25),
    SpikingNeuron(0.25, 0.5, -0.125),
    SoftThreshold(0.5, True),
    SoftThreshold(0.5, False),
    HardThreshold(0.5, True),
    AnalogInput(),
    PoissonInput(0.5, 3),
    SpikingResidual(0.5),
    Hebbian(0.5, 0.25),
    Contrast(0.5, 0.25, 0.125, 2.0),
    IdleAtoms("residual", 17),
    Fade(0.25, 0.5),
    OrdinalDriver(3, 2, "clamp", 0.25, 0.5, 0.125, Fade()),
    CurrentDriver(waveforms.Constant(0.5), (1, 2), (0,), True),
    waveforms.Constant(0.5),
    waveforms.Pulse(0.5, 0.25, 2.0),
    waveforms.Ramp(0.5, 0.25, 2.0),
    waveforms.Sine(0.5, 20.0, 0.25),
    waveforms.Noise(0.5, 3, 0.25),
    waveforms.WhiteNoise(0.5, 3),
    waveforms.OrnsteinUhlenbeck(0.5, 0.25, 3, 0.125),
    waveforms.PulseTrain(0.5, 0.25, 2.0, 0.125, 8.0),
    waveforms.Chirp(0.5, 20.0, 40.0, 2.0),
    waveforms.Array(np.array([0.5, 0.25]), 0.125),
    waveforms.Sum(waveforms.Constant(0.5), waveforms.Constant(0.25)),
    waveforms.Scaled(waveforms.Constant(0.5), 0.25),
    Dictionary("x", np.eye(2), 0.5),
]
TIMES = {"tau", "start", "stop", "hold", "dt", "width", "period", "duration"}
FORMS = {
    bool: {"NumPy bool": np.bool_, "whole number": int, "array of no axis": np.array},
    int: {"int64": np.int64, "uint8": np.uint8, "float": float, "array of no axis": np.array},
    float: {"float64": np.float64, "float32": np.float32, "array of no axis": np.array},
}
CASES = [
    pytest.param(value, f.name, id=f"{type(value).__name__}.{f.name}-{getattr(value, f.name)}")
    for value in PLAIN
    for f in fields(value)
    if type(getattr(value, f.name)) in FORMS
]


def test_every_value_of_a_model_file_is_here():
    assert {type(value) for value in PLAIN} >= set(SERIALISABLE)


@pytest.mark.parametrize(("value", "name"), CASES)
def test_numeric_types_are_equivalent(value, name):
    number = getattr(value, name)
    for form, make in FORMS[type(number)].items():
        other = replace(value, **{name: make(number)})
        assert type(getattr(other, name)) is type(number), form
        assert repr(other) == repr(value), form
        assert other == value or isinstance(value, waveforms.Array), form


@pytest.mark.parametrize(("value", "name"), CASES)
def test_non_finite_number_is_rejected(value, name):
    if isinstance(getattr(value, name), bool):
        return
    for number in (np.nan, np.inf, -np.inf, np.float32(np.nan)):
        with pytest.raises(ValueError, match=name):
            replace(value, **{name: number})


@pytest.mark.parametrize(("value", "name"), [case for case in CASES if case.values[1] in TIMES])
def test_times_accept_brian2_units(value, name):
    from brian2 import ms, second

    number = getattr(value, name)
    for quantity in (number * second, 1e3 * number * ms):
        other = replace(value, **{name: quantity})
        assert type(getattr(other, name)) is float
        assert repr(other) == repr(value)


def test_neurons_and_samples_of_a_driver_are_tuples():
    plain = CurrentDriver(waveforms.Constant(0.5), (1, 2), (0,))
    for neurons, samples in (([1, 2], [0]), (np.array([1, 2], np.uint8), np.int64(0))):
        other = CurrentDriver(np.float32(0.5), neurons, samples)
        assert (other, repr(other)) == (plain, repr(plain))

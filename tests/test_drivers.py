"""Drivers: three interpretations of the paper's third input, blocks, fading and validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    Fade,
    HardThreshold,
    LinkedLCA,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
)
from spikelca.circuit.dictionary_update import eligible_samples
from spikelca.model.drivers import Injection
from spikelca.model.waveforms import Array, Callable, Noise

MODES = ["current", "linked", "clamp"]
LABELS = [1, 0]


def driver(**params):
    return OrdinalDriver(**({"n_classes": 2, "block": 2, "inhibition": 0.3} | params))


def circuit(n_neurons=5, threshold=0.1, drivers=(), **fields):
    atoms = np.random.default_rng(0).random((n_neurons, 8))
    return Circuit(
        RateNeuron(), SoftThreshold(threshold), [Dictionary("x", atoms)], drivers, **fields
    )


def test_blocks_follow_class_order():
    np.testing.assert_array_equal(driver().neuron_classes(5), [0, 0, 1, 1, -1])
    neuron_classes = OrdinalDriver(n_classes=10).neuron_classes(256)
    assert [(neuron_classes == c).sum() for c in range(-1, 10)] == [6] + [25] * 10
    assert (neuron_classes[250:] == -1).all()


def test_current_excites_own_block_and_inhibits_others():
    injection = driver(excitation=0.05).inject(LABELS, 2, 5)
    expected = [[-0.3, -0.3, 0.05, 0.05, 0], [0.05, 0.05, -0.3, -0.3, 0]]
    np.testing.assert_array_equal(injection.current, expected)
    assert injection.allowed is None
    assert injection.gain == 0
    assert injection.offset is None


def test_linked_is_third_modality_with_identity_dictionary():
    g = 0.5
    injection = driver(mode="linked", gain=g).inject(LABELS, 2, 5)
    third = g * np.array([[0, 0, 1, 1, 0], [1, 1, 0, 0, 0]])
    phi = g * np.eye(5)
    np.testing.assert_allclose(injection.current, third @ phi.T)
    np.testing.assert_allclose(injection.gain * np.eye(5), phi @ phi.T)
    np.testing.assert_allclose(injection.offset, (third**2).sum(axis=1))


def test_linked_code_equals_circuit_with_third_dictionary():
    rng, g, n = np.random.default_rng(3), 0.5, 6
    atoms = rng.random((n, 8))
    x, labels = rng.random((4, 8)), np.array([0, 1, 0, 1])
    neuron, transfer = RateNeuron(), SoftThreshold(0.3)
    ordinal = OrdinalDriver(n_classes=2, mode="linked", gain=g)
    driven = Circuit(neuron, transfer, [Dictionary("x", atoms)], [ordinal])
    explicit = Circuit(neuron, transfer, [Dictionary("x", atoms), Dictionary("d", g * np.eye(n))])
    third = g * (labels[:, None] == ordinal.neuron_classes(n))
    code = driven.encode({"x": x}, 1e-12, labels=labels).code
    np.testing.assert_allclose(code, explicit.encode({"x": x, "d": third}, 1e-12).code, atol=1e-12)


def test_clamp_holds_other_blocks_at_zero():
    injection = driver(mode="clamp").inject(LABELS, 2, 5)
    expected = [[False, False, True, True, True], [True, True, False, False, True]]
    np.testing.assert_array_equal(injection.allowed, expected)
    assert not injection.current.any()


def test_clamped_code_equals_circuit_without_other_neurons():
    full = circuit(4, drivers=[driver(mode="clamp")])
    x = np.random.default_rng(1).random((2, 8))
    code = full.encode({"x": x}, 1e-12, labels=LABELS).code
    for row, neurons in enumerate([[2, 3], [0, 1]]):
        small = Circuit(
            full.neuron, full.transfer, [Dictionary("x", full.dictionary("x").atoms[neurons])]
        )
        np.testing.assert_allclose(
            code[row, neurons], small.encode({"x": x[row : row + 1]}, 1e-12).code[0], atol=1e-12
        )
        assert not np.delete(code[row], neurons).any()


def test_drivers_add_up():
    both = driver(excitation=0.05).inject(LABELS, 2, 5) + driver(mode="clamp").inject(LABELS, 2, 5)
    np.testing.assert_array_equal(both.current[0], [-0.3, -0.3, 0.05, 0.05, 0])
    np.testing.assert_array_equal(both.allowed[0], [False, False, True, True, True])
    linked = driver(mode="linked", gain=0.5).inject(LABELS, 2, 5)
    twice = linked + linked
    assert twice.gain == 0.5
    np.testing.assert_array_equal(twice.offset, 2 * linked.offset)
    nothing = Injection(np.zeros((1, 5))) + linked
    np.testing.assert_array_equal(nothing.offset, linked.offset)


@pytest.mark.parametrize("mode", MODES)
def test_without_drivers_gives_undriven_code(mode):
    driven = circuit(drivers=[driver(mode=mode, excitation=0.05)])
    x = {"x": np.random.default_rng(1).random((2, 8))}
    plain = circuit().encode(x).code
    np.testing.assert_array_equal(driven.without_drivers().encode(x).code, plain)
    assert not np.array_equal(driven.encode(x, labels=LABELS).code, plain)


@pytest.mark.parametrize("mode", MODES)
def test_missing_labels_are_rejected(mode):
    with pytest.raises(ValueError, match="without_drivers"):
        circuit(drivers=[driver(mode=mode)]).encode({"x": np.ones((2, 8))})


@pytest.mark.parametrize(
    "labels",
    [[0, 2], [-1, 0], [0.5, 1], [np.nan, 0], ["a", "b"], [0], [0, 1, 1], [[0, 1]], 0, [None, 0]],
)
@pytest.mark.parametrize("method", ["encode", "drive", "learn"])
def test_invalid_labels_are_rejected(labels, method):
    driven = circuit(drivers=[driver()])
    x = {"x": np.ones((2, 8))}
    call = {
        "encode": lambda: driven.encode(x, labels=labels),
        "drive": lambda: driven.drive(x, labels),
        "learn": lambda: driven.learn_step(x, np.ones((2, 5)), labels=labels),
    }[method]
    with pytest.raises(ValueError, match="labels must"):
        call()


def test_more_blocks_than_neurons_are_rejected():
    with pytest.raises(ValueError, match=r"n_neurons must be at least 6 .* got 5"):
        circuit(5, drivers=[OrdinalDriver(n_classes=2, block=3)])
    with pytest.raises(ValueError, match=r"n_neurons must be at least 10 .* got 5"):
        circuit(5, drivers=[OrdinalDriver(n_classes=10)])


@pytest.mark.parametrize("excitation", [0.1, 0.2])
def test_excitation_above_threshold_is_rejected(excitation):
    with pytest.raises(ValueError, match="below the threshold"):
        circuit(threshold=0.1, drivers=[driver(excitation=excitation)])


@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
@pytest.mark.parametrize("inhibition", [0.1, 0.2])
def test_two_sided_inhibition_above_threshold_is_rejected(kind, inhibition):
    push, phi = driver(excitation=0.0, inhibition=inhibition), [Dictionary("x", np.eye(5))]
    with pytest.raises(ValueError, match=r"two-sided.*mode='clamp'"):
        Circuit(RateNeuron(), kind(0.1, two_sided=True), phi, [push])
    X, y = np.eye(4), [0, 0, 1, 1]
    signed = LinkedLCA(4, threshold=0.1, two_sided=True, driver=push, random_state=0)
    with pytest.raises(ValueError, match="two-sided circuit"):
        signed.fit(X, y)
    assert not hasattr(signed, "circuit_")
    Circuit(RateNeuron(), kind(0.1), phi, [push])  # inhibition cannot activate one-sided neurons


@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
@pytest.mark.parametrize("mode", ["current", "clamp"])
def test_two_sided_neuron_without_input_stays_silent(kind, mode):
    steering = driver(mode=mode, excitation=0.09, inhibition=0.09)
    blank = {"x": np.zeros((2, 5))}
    seeing = Circuit(
        RateNeuron(), kind(0.1, two_sided=True), [Dictionary("x", np.eye(5))], [steering]
    )
    for engine in ("numba", "reference"):
        assert not seeing.encode(blank, labels=LABELS, engine=engine).code.any()


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "nudge"},
        {"n_classes": 0},
        {"block": 0},
        {"excitation": -0.1},
        {"excitation": np.nan},
        {"inhibition": np.inf},
        {"gain": -1.0},
    ],
)
def test_invalid_driver_parameters_are_rejected(params):
    with pytest.raises(ValueError, match=f"{next(iter(params))} must be"):
        driver(**params)


@pytest.mark.parametrize(("floor", "until"), [(-0.1, 1), (1.1, 1), (0, 0), (0, 1.1), (np.nan, 1)])
def test_fade_out_of_range_is_rejected(floor, until):
    with pytest.raises(ValueError, match="must be"):
        Fade(floor, until)


def test_fade_falls_linearly_to_its_floor():
    fade = Fade(floor=0.2, until=0.5)
    strengths = [fade.strength(progress) for progress in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_allclose(strengths, [1, 0.6, 0.2, 0.2, 0.2])


def test_assignment_does_not_depend_on_other_drivers():
    ordinal, current = OrdinalDriver(2, block=2), CurrentDriver(0.01)
    alone = eligible_samples([ordinal], [0, 1], 2, 4)
    assert not alone.all()
    for drivers in ([ordinal, current], [current, ordinal]):
        np.testing.assert_array_equal(eligible_samples(drivers, [0, 1], 2, 4), alone)
    assert eligible_samples([current], [0, 1], 2, 4) is None


def test_faded_driver_keeps_mode_and_loses_strength():
    strong = driver(excitation=0.04, gain=0.8, fade=Fade(floor=0.5, until=0.5))
    assert strong.at_progress(0.0) == replace(strong, fade=None)
    weak = strong.at_progress(0.5)
    assert (weak.excitation, weak.inhibition, weak.gain) == (0.02, 0.15, 0.4)
    constant = driver()
    assert constant.at_progress(0.9) is constant


def test_clamp_is_released_at_end_of_fade():
    clamp = driver(mode="clamp", fade=Fade(until=0.5))
    assert clamp.at_progress(0.49).inject(LABELS, 2, 5).allowed is not None
    free = clamp.at_progress(0.5).inject(LABELS, 2, 5)
    assert free.allowed is None
    assert not free.current.any()


def test_circuit_fades_all_drivers_in_a_copy():
    driven = circuit(drivers=[driver(fade=Fade()), driver(mode="clamp")])
    faded = driven._at_progress(1.0)
    assert faded.drivers[0].inhibition == 0
    assert faded.drivers[1] is driven.drivers[1]
    assert driven.drivers[0].inhibition == 0.3


def test_samples_are_assigned_to_block_and_unassigned_neurons():
    expected = [[False, False, True, True, True], [True, True, False, False, True]]
    np.testing.assert_array_equal(driver().assignment(LABELS, 2, 5), expected)
    assert driver().assignment(None, 2, 5) is None


@pytest.mark.parametrize("sd", [-0.1, np.nan])
def test_noise_deviation_must_be_finite(sd):
    with pytest.raises(ValueError, match="sd"):
        Noise(sd, seed=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_function_values_must_be_finite(value):
    with pytest.raises(ValueError, match="function"):
        Callable(lambda t: value if t else 0.0).values(np.array([0.0, 1.0]), (1, 2))


def test_array_waveform_is_readonly_copy():
    values = np.array([0.1, 0.2])
    waveform = Array(values, dt=0.5)
    values[:] = 7.0
    np.testing.assert_array_equal(waveform.values(np.array([0.0, 0.5]), (1, 1)).ravel(), [0.1, 0.2])
    with pytest.raises(ValueError, match="read-only"):
        waveform.array[0] = 7.0
    assert Array([1, 2], dt=0.5).array.dtype == np.float64


@pytest.mark.parametrize("n_values", [1, 2, 5])
def test_array_waveform_covers_its_last_value(n_values):
    waveform, dt = Array(np.arange(1.0, n_values + 1), dt=0.5), 0.5
    times = np.arange(n_values) * dt + 0.4
    np.testing.assert_array_equal(waveform.values(times, (1, 1)).ravel(), np.arange(n_values) + 1)
    with pytest.raises(ValueError, match="longer array"):
        waveform.values(np.append(times, n_values * dt), (1, 1))

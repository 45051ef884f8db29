"""Drivers: three readings of the paper's third input, blocks, fading, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikelca import (
    Circuit,
    Dictionary,
    Fade,
    HardThreshold,
    LinkedLCA,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
)
from spikelca.model.drivers import Injection

READINGS = ["current", "linked", "clamp"]
LABELS = [1, 0]


def driver(**parts):
    return OrdinalDriver(**({"n_classes": 2, "block": 2, "inhibition": 0.3} | parts))


def circuit(n_neurons=5, threshold=0.1, drivers=(), **parts):
    atoms = np.random.default_rng(0).random((n_neurons, 8))
    return Circuit(
        RateNeuron(), SoftThreshold(threshold), [Dictionary("x", atoms)], drivers, **parts
    )


def test_blocks_follow_the_order_of_the_classes_and_the_rest_is_free():
    np.testing.assert_array_equal(driver().neuron_classes(5), [0, 0, 1, 1, -1])
    neuron_classes = OrdinalDriver(n_classes=10).neuron_classes(256)
    assert [(neuron_classes == c).sum() for c in range(-1, 10)] == [6] + [25] * 10
    assert (neuron_classes[250:] == -1).all()


def test_current_excites_the_block_inhibits_the_others_and_spares_the_free():
    injection = driver(excitation=0.05).inject(LABELS, 2, 5)
    expected = [[-0.3, -0.3, 0.05, 0.05, 0], [0.05, 0.05, -0.3, -0.3, 0]]
    np.testing.assert_array_equal(injection.current, expected)
    assert injection.allowed is None
    assert injection.gain == 0
    assert injection.offset is None


def test_linked_is_a_third_modality_with_an_identity_dictionary():
    g = 0.5
    injection = driver(reading="linked", gain=g).inject(LABELS, 2, 5)
    third = g * np.array([[0, 0, 1, 1, 0], [1, 1, 0, 0, 0]])
    phi = g * np.eye(5)
    np.testing.assert_allclose(injection.current, third @ phi.T)
    np.testing.assert_allclose(injection.gain * np.eye(5), phi @ phi.T)
    np.testing.assert_allclose(injection.offset, (third**2).sum(axis=1))


def test_linked_driver_gives_the_code_of_the_circuit_with_that_third_dictionary():
    rng, g, n = np.random.default_rng(3), 0.5, 6
    atoms = rng.random((n, 8))
    x, labels = rng.random((4, 8)), np.array([0, 1, 0, 1])
    neuron, transfer = RateNeuron(), SoftThreshold(0.3)
    ordinal = OrdinalDriver(n_classes=2, reading="linked", gain=g)
    driven = Circuit(neuron, transfer, [Dictionary("x", atoms)], [ordinal])
    explicit = Circuit(neuron, transfer, [Dictionary("x", atoms), Dictionary("d", g * np.eye(n))])
    third = g * (labels[:, None] == ordinal.neuron_classes(n))
    code = driven.encode({"x": x}, 1e-12, labels=labels).code
    np.testing.assert_allclose(code, explicit.encode({"x": x, "d": third}, 1e-12).code, atol=1e-12)


def test_clamp_holds_the_other_blocks_at_zero_and_adds_no_current():
    injection = driver(reading="clamp").inject(LABELS, 2, 5)
    expected = [[False, False, True, True, True], [True, True, False, False, True]]
    np.testing.assert_array_equal(injection.allowed, expected)
    assert not injection.current.any()


def test_clamped_code_is_the_code_of_a_circuit_without_the_other_neurons():
    full = circuit(4, drivers=[driver(reading="clamp")])
    x = np.random.default_rng(1).random((2, 8))
    code = full.encode({"x": x}, 1e-12, labels=LABELS).code
    for row, kept in enumerate([[2, 3], [0, 1]]):
        part = Circuit(
            full.neuron, full.transfer, [Dictionary("x", full.dictionary("x").atoms[kept])]
        )
        np.testing.assert_allclose(
            code[row, kept], part.encode({"x": x[row : row + 1]}, 1e-12).code[0], atol=1e-12
        )
        assert not np.delete(code[row], kept).any()


def test_drivers_add_up():
    both = driver(excitation=0.05).inject(LABELS, 2, 5) + driver(reading="clamp").inject(
        LABELS, 2, 5
    )
    np.testing.assert_array_equal(both.current[0], [-0.3, -0.3, 0.05, 0.05, 0])
    np.testing.assert_array_equal(both.allowed[0], [False, False, True, True, True])
    linked = driver(reading="linked", gain=0.5).inject(LABELS, 2, 5)
    twice = linked + linked
    assert twice.gain == 0.5
    np.testing.assert_array_equal(twice.offset, 2 * linked.offset)
    nothing = Injection(np.zeros((1, 5))) + linked
    np.testing.assert_array_equal(nothing.offset, linked.offset)


@pytest.mark.parametrize("reading", READINGS)
def test_a_driver_belongs_to_learning_and_can_be_taken_off(reading):
    driven = circuit(drivers=[driver(reading=reading, excitation=0.05)])
    x = {"x": np.random.default_rng(1).random((2, 8))}
    plain = circuit().encode(x).code
    np.testing.assert_array_equal(driven.without_drivers().encode(x).code, plain)
    assert not np.array_equal(driven.encode(x, labels=LABELS).code, plain)


@pytest.mark.parametrize("reading", READINGS)
def test_a_driver_needs_labels_and_says_how_to_go_without(reading):
    with pytest.raises(ValueError, match="without_drivers"):
        circuit(drivers=[driver(reading=reading)]).encode({"x": np.ones((2, 8))})


@pytest.mark.parametrize(
    "labels",
    [[0, 2], [-1, 0], [0.5, 1], [np.nan, 0], ["a", "b"], [0], [0, 1, 1], [[0, 1]], 0, [None, 0]],
)
@pytest.mark.parametrize("method", ["encode", "drive", "learn"])
def test_unseen_classes_and_misfitting_labels_are_refused(labels, method):
    driven = circuit(drivers=[driver()])
    x = {"x": np.ones((2, 8))}
    ask = {
        "encode": lambda: driven.encode(x, labels=labels),
        "drive": lambda: driven.drive(x, labels),
        "learn": lambda: driven.learn(x, np.ones((2, 5)), labels=labels),
    }[method]
    with pytest.raises(ValueError, match=r"labels .*awaited|labels holds"):
        ask()


def test_more_blocks_than_neurons_are_refused():
    with pytest.raises(ValueError, match="need 6 neurons; the circuit has 5"):
        circuit(5, drivers=[OrdinalDriver(n_classes=2, block=3)])
    with pytest.raises(ValueError, match="need 10 neurons; the circuit has 5"):
        circuit(5, drivers=[OrdinalDriver(n_classes=10)])


@pytest.mark.parametrize("excitation", [0.1, 0.2])
def test_an_excitation_that_fires_cells_on_its_own_is_refused(excitation):
    with pytest.raises(ValueError, match="below the threshold"):
        circuit(threshold=0.1, drivers=[driver(excitation=excitation)])


@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
@pytest.mark.parametrize("inhibition", [0.1, 0.2])
def test_an_inhibition_that_fires_two_sided_cells_on_its_own_is_refused(kind, inhibition):
    push, phi = driver(excitation=0.0, inhibition=inhibition), [Dictionary("x", np.eye(5))]
    with pytest.raises(ValueError, match=r"two-sided.*reading='clamp'"):
        Circuit(RateNeuron(), kind(0.1, two_sided=True), phi, [push])
    X, y = np.eye(4), [0, 0, 1, 1]
    signed = LinkedLCA(4, threshold=0.1, two_sided=True, driver=push, random_state=0)
    with pytest.raises(ValueError, match="fires downwards"):
        signed.fit(X, y)
    assert not hasattr(signed, "circuit_")
    Circuit(RateNeuron(), kind(0.1), phi, [push])  # one-sided cells are only held down


@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
@pytest.mark.parametrize("reading", ["current", "clamp"])
def test_no_two_sided_cell_fires_that_sees_nothing(kind, reading):
    steering = driver(reading=reading, excitation=0.09, inhibition=0.09)
    blank = {"x": np.zeros((2, 5))}
    seeing = Circuit(
        RateNeuron(), kind(0.1, two_sided=True), [Dictionary("x", np.eye(5))], [steering]
    )
    for engine in ("numba", "reference"):
        assert not seeing.encode(blank, labels=LABELS, engine=engine).code.any()


@pytest.mark.parametrize(
    "parts",
    [
        {"reading": "nudge"},
        {"n_classes": 0},
        {"block": 0},
        {"excitation": -0.1},
        {"excitation": np.nan},
        {"inhibition": np.inf},
        {"gain": -1.0},
    ],
)
def test_senseless_numbers_are_refused(parts):
    with pytest.raises(ValueError, match="awaited"):
        driver(**parts)


@pytest.mark.parametrize(("floor", "until"), [(-0.1, 1), (1.1, 1), (0, 0), (0, 1.1), (np.nan, 1)])
def test_a_fade_is_between_nothing_and_everything(floor, until):
    with pytest.raises(ValueError, match="awaited"):
        Fade(floor, until)


def test_fading_falls_linearly_to_the_floor_and_stays_there():
    fade = Fade(floor=0.2, until=0.5)
    strengths = [fade.strength(fraction) for fraction in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_allclose(strengths, [1, 0.6, 0.2, 0.2, 0.2])


def test_a_faded_driver_keeps_its_reading_and_loses_its_strength():
    strong = driver(excitation=0.04, gain=0.8, fade=Fade(floor=0.5, until=0.5))
    assert strong.faded(0.0) == replace(strong, fade=None)
    weak = strong.faded(0.5)
    assert (weak.excitation, weak.inhibition, weak.gain) == (0.02, 0.15, 0.4)
    constant = driver()
    assert constant.faded(0.9) is constant


def test_a_clamp_holds_until_the_fade_is_over_and_then_lets_go():
    clamp = driver(reading="clamp", fade=Fade(until=0.5))
    assert clamp.faded(0.49).inject(LABELS, 2, 5).allowed is not None
    free = clamp.faded(0.5).inject(LABELS, 2, 5)
    assert free.allowed is None
    assert not free.current.any()


def test_a_circuit_fades_all_its_drivers_and_stays_as_it_was():
    driven = circuit(drivers=[driver(fade=Fade()), driver(reading="clamp")])
    faded = driven.faded(1.0)
    assert faded.drivers[0].inhibition == 0
    assert faded.drivers[1] is driven.drivers[1]
    assert driven.drivers[0].inhibition == 0.3


def test_a_driver_favours_its_own_block_and_the_free_neurons():
    expected = [[False, False, True, True, True], [True, True, False, False, True]]
    np.testing.assert_array_equal(driver().assignment(LABELS, 2, 5), expected)
    assert driver().assignment(None, 2, 5) is None

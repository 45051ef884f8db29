"""Spiking neurons: one neuron, convergence to the LASSO, read-outs, invalid arguments."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli
from sklearn.datasets import load_digits
from sklearn.linear_model import Lasso

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    HardThreshold,
    OrdinalDriver,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.datasets import load_images
from spikelca.engines.numba.simulate import run
from spikelca.learning import learn
from spikelca.model.atoms import normalise_stacked
from spikelca.model.waveforms import Callable, Constant, Pulse, Sine
from spikelca.readout import event_energy, exponential, latency, membrane, spike_count, tapered

FINE = SpikingNeuron(tau=10e-3, quantum=0.02)
TAU = 10e-3


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def digits():
    """Unit-norm digits, and 48 of them as atoms."""
    X = unit(load_digits().data)
    return X[:48], X[600:632]


def relative_gap(circuit, X, code):
    """Compute the excess energy over the steady-state code, relative to its energy."""
    best = circuit.energy(X, circuit.encode(X, tol=1e-10).code)
    return (circuit.energy(X, code) - best) / best


def single(drive, transfer, neuron=FINE, duration=1.0, dt=2e-4):
    """Simulate one neuron with a constant drive, and record its spikes."""
    circuit = Circuit(neuron, transfer, [Dictionary("x", np.eye(1))])
    return circuit.simulate({"x": [[drive]]}, duration, dt, record=("u", "v", "spikes"))


# ---------------------------------------------------------------- one neuron


@pytest.mark.parametrize("drive", [0.05, 0.1, 0.13, 0.35, 0.9])
@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_firing_rate_equals_the_transfer_function(drive, kind, two_sided, sign):
    transfer = kind(0.1, two_sided)
    response = single(sign * drive, transfer)
    expected = transfer(np.array([[sign * drive]]))
    # A count is accurate to one spike.
    resolution = FINE.quantum / (0.5 / TAU)
    np.testing.assert_allclose(response.code, expected, atol=1.01 * resolution)


def test_reset_conserves_charge():
    """The charge that entered v was emitted in spikes or is still in v."""
    response = single(0.437, SoftThreshold(0.1))
    u = response.traces["u"][:, 0, 0]
    charged = (2e-4 / TAU) * (u[u > 0.1] - 0.1).sum()
    drained = (2e-4 / TAU) * np.where(u <= 0.1, (u - 0.1) * (response.traces["v"][:, 0, 0] > -0.02),
                                      0.0).sum()  # fmt: skip
    fired = FINE.quantum * len(response.spikes)
    assert fired + response.state["v"][0, 0] == pytest.approx(charged + drained, abs=1e-12)


def test_silent_neuron_stops_at_its_floor():
    response = single(0.0, SoftThreshold(0.1))
    step = 2e-4 / TAU * 0.1
    assert -FINE.quantum - step <= response.state["v"][0, 0] <= -FINE.quantum
    deep = single(0.0, SoftThreshold(0.1), replace(FINE, floor=-1.0))
    assert deep.state["v"][0, 0] < -0.9


def test_clamped_neuron_never_fires():
    driver = OrdinalDriver(2, mode="clamp")
    circuit = random_circuit(SPIKING, drivers=(driver,), n_neurons=10)
    response = circuit.simulate(random_stimuli(circuit), 0.1, 4e-4, labels=[0, 1, 1, 0, 1])
    assert not response.code[1, :5].any()
    assert response.code[1, 5:].any()


def test_current_pulse_makes_a_neuron_fire():
    driver = CurrentDriver(Pulse(0.5, start=0.1, stop=0.2), neurons=[1])
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(2))], [driver])
    spikes = circuit.simulate({"x": np.zeros((1, 2))}, 0.4, 2e-4, record=("spikes",)).spikes
    times = spikes.step * 2e-4
    assert set(spikes.neuron) == {1}
    assert times.min() > 0.1
    assert 0.2 < times.max() < 0.2 + 3 * TAU


# ---------------------------------------------------------------- the circuit


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_spike_rates_converge_to_the_lasso(digits, wiring):
    atoms, X = digits
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", atoms)], wiring=wiring)
    X = X[:8]
    lasso = Lasso(alpha=0.1 / 64, positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    best = np.array([lasso.fit(atoms.T, x).coef_ for x in X])
    optimum = circuit.energy({"x": X}, best)
    gaps = []
    for n_tau in (20, 50, 200):
        code = circuit.simulate({"x": X}, n_tau * TAU, 2e-4).code
        gaps.append(float(((circuit.energy({"x": X}, code) - optimum) / optimum).mean()))
    assert gaps[0] > 10 * gaps[2]
    assert gaps[2] < 2e-5
    assert gaps == sorted(gaps, reverse=True)


def test_duality_gap_bounds_the_returned_code(digits):
    atoms, X = digits
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", atoms)])
    response = circuit.simulate({"x": X}, 1.0, 2e-4)
    assert (relative_gap(circuit, {"x": X}, response.code) <= response.gap).all()
    assert response.residual.max() < 0.1


def test_signed_codes_converge_to_the_signed_lasso(digits):
    atoms, X = digits
    X = unit(X - X.mean(axis=0))
    atoms = unit(atoms - atoms.mean(axis=0))[:30]
    circuit = Circuit(FINE, SoftThreshold(0.05, two_sided=True), [Dictionary("x", atoms)])
    response = circuit.simulate({"x": X}, 2.0, 2e-4)
    assert (response.code < 0).sum() > 50
    assert response.counts.shape == (32, 60)
    assert relative_gap(circuit, {"x": X}, response.code).mean() < 2e-4


def test_linked_modalities_converge_to_the_code(digits):
    atoms, X = digits
    dictionaries = [Dictionary("top", atoms[:, :32]),
             Dictionary("bottom", atoms[:, 32:] * 2**0.5, weight=0.5)]  # fmt: skip
    circuit = Circuit(FINE, SoftThreshold(0.1), dictionaries)
    stimuli = {"top": X[:, :32], "bottom": X[:, 32:]}
    response = circuit.simulate(stimuli, 1.0, 2e-4)
    assert relative_gap(circuit, stimuli, response.code).mean() < 1e-4


def test_images_follow_each_other_without_reset(digits):
    """Without a floor, v of silent neurons would decrease too far to recover."""
    atoms, X = digits

    def stream(neuron):
        circuit = Circuit(neuron, SoftThreshold(0.1), [Dictionary("x", atoms)])
        state, codes = None, []
        for x in X:
            response = circuit.simulate({"x": x[None]}, 0.4, 2e-4, start=state)
            state = response.state
            codes.append(response.code[0])
        return relative_gap(circuit, {"x": X}, np.array(codes)).mean()

    assert stream(FINE) < 1e-3
    assert stream(replace(FINE, floor=-100.0)) > 1e-2


def test_hard_threshold_settles_at_a_fixed_point(digits):
    atoms, X = digits
    circuit = Circuit(FINE, HardThreshold(0.25), [Dictionary("x", atoms)])
    response = circuit.simulate({"x": X}, 2.0, 2e-4, record=("u",), every=5)
    # If no potential is close to the threshold, the spike count equals T(u).
    u = response.traces["u"][200:]
    clear = ((u > 0.25).all(axis=0) | (u < 0.25).all(axis=0)).all(axis=1)
    assert clear.sum() >= 8
    assert response.residual[clear].max() < 0.05
    assert response.gap is None


def test_float32_circuit_spikes_in_float64():
    narrow = random_circuit(SPIKING, dtype=np.float32)
    X = random_stimuli(narrow)
    response = narrow.simulate(X, 0.1, 4e-4)
    assert response.code.dtype == response.state["u"].dtype == np.float64


# ---------------------------------------------------------------- read-outs and counters


@pytest.fixture(scope="module")
def simulated():
    circuit = random_circuit(FINE)
    X = random_stimuli(circuit, size=0.6)
    response = circuit.simulate(X, 2.0, 2e-4, record=("u", "spikes"), every=5)
    return circuit, X, response


def test_code_is_quantum_times_rate_times_tau(simulated):
    _, _, response = simulated
    np.testing.assert_allclose(spike_count(response), 0.02 * TAU * response.rates())
    np.testing.assert_allclose(spike_count(response), response.code, atol=0.02 / (0.25 * 200))
    assert response.rates(window=0.25).shape == (5, 11)


@pytest.mark.parametrize("window", [0.1, 0.5, 1.0])
def test_rates_count_the_spikes_of_their_window(simulated, window):
    _, _, response = simulated
    late = response.spikes.step >= 10_000 - round(window * 10_000)
    total = response.rates(window).sum() * window * 2.0
    assert total == pytest.approx(late.sum())


def test_all_readouts_agree_with_the_code(simulated):
    circuit, X, response = simulated
    best = circuit.encode(X, tol=1e-10).code
    for read in (spike_count(response), exponential(response, tau=0.2),
                 membrane(response, circuit.transfer)):  # fmt: skip
        np.testing.assert_allclose(read, best, atol=5e-3)


@pytest.mark.parametrize("window", [0.1, 0.25, 1.0])
def test_returned_code_weights_spikes_by_a_parabola(simulated, window):
    circuit, X, response = simulated
    again = circuit.simulate(X, 2.0, 2e-4, window=window)
    n = round(window * 10_000)
    weights = np.zeros(10_000)
    weights[-n:] = np.arange(1, n + 1) * np.arange(n, 0, -1.0)
    spikes, expected = response.spikes, np.zeros((5, 11))
    np.add.at(expected, (spikes.sample, spikes.neuron), weights[spikes.step])
    expected *= 0.02 / (weights.sum() * 0.02)
    np.testing.assert_allclose(again.code, expected, rtol=1e-12)
    np.testing.assert_allclose(tapered(response, window), expected, rtol=1e-12)
    np.testing.assert_array_equal(tapered(again), again.code)


def test_tapered_code_is_more_accurate_than_a_count():
    """A count has an error of up to one spike; the tapered code is far more accurate."""
    response = single(0.437, SoftThreshold(0.1), duration=4.0)
    spike = FINE.quantum / (0.25 * 4.0 / TAU)
    assert abs(response.code[0, 0] - 0.337) < 0.02 * spike


def test_window_with_overflowing_weights_raises():
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(1))])
    with pytest.raises(ValueError, match="at most 3000000 steps"):
        circuit.simulate({"x": [[0.5]]}, 2e-4 * 12_000_100, 2e-4)


def test_mean_membrane_is_more_accurate_than_a_count(digits):
    atoms, X = digits
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", atoms)])
    response = circuit.simulate({"x": X}, 8.0, 2e-4, record=("u",))
    mean = relative_gap(circuit, {"x": X}, membrane(response, circuit.transfer)).mean()
    count = relative_gap(circuit, {"x": X}, spike_count(response)).mean()
    assert mean < 0.1 * count


def test_exponential_readout_of_a_steady_rate_is_unbiased():
    response = single(0.6, SoftThreshold(0.1), duration=0.5)
    late = single(0.6, SoftThreshold(0.1), duration=2.0)
    assert exponential(late, tau=0.3)[0, 0] == pytest.approx(0.5, abs=2e-3)
    assert exponential(response, tau=0.05)[0, 0] == pytest.approx(0.5, abs=6e-3)


def test_filter_keeps_five_time_constants(simulated):
    response = simulated[2]
    expected = exponential(response, tau=5 * response.tau)
    np.testing.assert_array_equal(exponential(response), expected)


def test_latency_decreases_with_the_drive():
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(4))])
    response = circuit.simulate({"x": [[0.9, 0.5, 0.2, 0.05]]}, 0.3, 2e-4, record=("spikes",))
    first = latency(response)[0]
    assert (np.diff(first) > 0).all()
    assert np.isinf(first[3])
    np.testing.assert_allclose(first[0], response.spikes.step.min() * 2e-4)


def test_signed_readouts_merge_on_and_off_cells():
    circuit = random_circuit(FINE, SoftThreshold(0.1, two_sided=True))
    X = random_stimuli(circuit, size=0.6)
    response = circuit.simulate(X, 2.0, 2e-4, record=("u", "spikes"), every=5)
    best = circuit.encode(X, tol=1e-10).code
    assert (best < -0.05).any()
    for read in (spike_count(response), exponential(response, tau=0.2),
                 membrane(response, circuit.transfer)):  # fmt: skip
        np.testing.assert_allclose(read, best, atol=6e-3)


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_events_are_counted(wiring):
    circuit = random_circuit(SPIKING, wiring=wiring)
    response = circuit.simulate(random_stimuli(circuit), 0.1, 4e-4, record=("spikes",))
    np.testing.assert_array_equal(response.events["spikes"],
                                  np.bincount(response.spikes.sample, minlength=5))  # fmt: skip
    fan_out = 10 if wiring == "lateral" else 9 + 5
    np.testing.assert_array_equal(
        response.events["synaptic_events"], fan_out * response.events["spikes"]
    )
    cost = event_energy(response, per_spike=2.0, per_synaptic_event=3.0)
    np.testing.assert_allclose(cost, (2 + 3 * fan_out) * response.events["spikes"])


# ---------------------------------------------------------------- invalid arguments


def test_saturating_rate_raises_with_a_remedy():
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(1))])
    with pytest.raises(ValueError, match=r"got 2.9.*quantum of at least 0.058"):
        circuit.simulate({"x": [[3.0]]}, 0.1, 2e-4)
    larger = replace(circuit, neuron=SpikingNeuron(quantum=0.058))
    assert larger.simulate({"x": [[3.0]]}, 1.0, 2e-4).code[0, 0] == pytest.approx(2.9, abs=2e-3)


def test_saturation_check_includes_currents():
    driver = CurrentDriver(Pulse(2.9, start=0.05, stop=0.1))
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(1))], [driver])
    with pytest.raises(ValueError, match="The code must be at most"):
        circuit.simulate({"x": [[0.1]]}, 0.2, 2e-4)


def test_saturation_is_judged_neuron_by_neuron():
    stimuli, wave = {"x": np.array([[0.9, 0.1]])}, Pulse(0.8, start=0.01, stop=0.02)
    for neuron, fits in ((1, True), (0, False)):
        driver = CurrentDriver(wave, neurons=[neuron])
        circuit = Circuit(SPIKING, SoftThreshold(0.1), [Dictionary("x", np.eye(2))], [driver])
        dt = SPIKING.tau * SPIKING.quantum  # a code of one is one spike per step
        if fits:
            circuit.simulate(stimuli, 0.03, dt)
        else:
            with pytest.raises(ValueError, match=r"got 1\.6"):
                circuit.simulate(stimuli, 0.03, dt)


def test_default_dt_decreases_with_a_strong_drive():
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(1))])
    response = circuit.simulate({"x": [[8.0]]}, 0.3)
    assert response.clock.dt <= FINE.quantum / 7.9 * TAU * 1.001
    assert response.code[0, 0] == pytest.approx(7.9, rel=1e-2)


@pytest.mark.parametrize("wave", [Constant(5.0), Pulse(5.0, 0.02, 0.05), Sine(5.0, 7.0)], ids=repr)
def test_strong_current_shortens_the_step(wave):
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(1))], [CurrentDriver(wave)])
    response = circuit.simulate({"x": [[0.1]]}, 0.1)
    assert response.clock.dt == pytest.approx(FINE.quantum / 5.0 * TAU, rel=1e-3)
    with pytest.raises(ValueError, match="dt of at most"):
        circuit.simulate({"x": [[0.1]]}, 0.1, 1.01 * response.clock.dt)


def test_current_without_a_bound_is_rejected():
    pole = CurrentDriver(Callable(lambda t: 1 / max(t, 1e-12)))
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.eye(1))], [pole])
    with pytest.raises(ValueError, match="The code must be at most"):
        circuit.simulate({"x": [[0.1]]}, 1e-3)


def test_saturation_by_excitation_raises_after_the_run():
    """Atoms of less than unit norm excite themselves: their code exceeds their drive."""
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", np.array([[0.3]]))])
    with pytest.raises(ValueError, match="one spike per step"):
        circuit.simulate({"x": [[3.0]]}, 1.0, 2e-4)


def test_dt_beyond_the_stability_limit_raises(digits):
    circuit = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", digits[0])])
    with pytest.raises(ValueError, match="stability limit"):
        circuit.simulate({"x": digits[1]}, 0.1, 2e-3)


def test_readouts_of_unrecorded_values_raise():
    circuit = random_circuit(SPIKING)
    X = random_stimuli(circuit)
    bare = circuit.simulate(X, 0.02, 4e-4)
    for read in (lambda: bare.rates(0.2), lambda: exponential(bare), lambda: latency(bare),
                 lambda: membrane(bare, circuit.transfer)):  # fmt: skip
        with pytest.raises(ValueError, match=r"record="):
            read()
    with pytest.raises(ValueError, match="got 2"):
        bare.rates(2.0)
    seldom = circuit.simulate(X, 0.02, 4e-4, record=("u",), every=30)
    with pytest.raises(ValueError, match="every=1"):
        membrane(seldom, circuit.transfer)
    rate = replace(circuit, neuron=RATE).simulate(X, 0.02, 4e-4)
    with pytest.raises(ValueError, match="SpikingNeuron"):
        rate.rates()
    with pytest.raises(ValueError, match="SpikingNeuron"):
        event_energy(rate, 1.0, 1.0)


def test_full_spike_log_grows(monkeypatch):
    circuit = random_circuit(SPIKING)
    X = random_stimuli(circuit)
    whole = circuit.simulate(X, 0.2, 4e-4, record=("spikes",)).spikes
    monkeypatch.setattr(run, "INITIAL_LOG_SIZE", 1)
    short = circuit.simulate(X, 0.2, 4e-4, record=("spikes",)).spikes
    for one, other in zip(whole, short, strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------- MNIST


def halves(X):
    return {"top": X[:, :392], "bottom": X[:, 392:]}


@pytest.fixture(scope="module")
def mnist():
    """Unit-norm training images, and 200 test images."""
    data = load_images("mnist")
    return unit(data.X_train.astype(np.float64)), unit(data.X_test[:200].astype(np.float64))


@pytest.mark.mnist
@pytest.mark.skipif("SPIKELCA_DATA" not in os.environ, reason="SPIKELCA_DATA names no folder")
@pytest.mark.parametrize("kind", ["one-sided", "two-sided", "linked"])
def test_mnist_spike_rates_converge(mnist, kind, figure):
    """256 learned atoms with the default read-out; then images without a reset."""
    rng, two_sided = np.random.default_rng(0), kind == "two-sided"
    train, test = (unit(X - mnist[0].mean(axis=0)) if two_sided else X for X in mnist)
    make_stimuli = halves if kind == "linked" else lambda X: {"mnist": X}
    first = make_stimuli(train[rng.choice(len(train), 256, replace=False)])
    # The lower half has less weight, so that the stacked atoms differ from the images.
    weights = {"mnist": 1.0, "top": 1.0, "bottom": 0.6}
    atoms = normalise_stacked(list(first.values()), [weights[name] for name in first])
    dictionaries = [Dictionary(n, phi, weights[n]) for n, phi in zip(first, atoms, strict=True)]
    circuit = Circuit(RATE, SoftThreshold(0.1, two_sided), dictionaries)
    batches = ((make_stimuli(train[rng.choice(len(train), 250)]), None) for _ in range(200))
    for learned, _ in learn(circuit, batches):
        circuit = learned
    circuit, X = replace(circuit, neuron=FINE), make_stimuli(test[:64])
    for n_tau, n_max in ((10, 2e-3), (20, 2e-4), (50, 1e-5), (100, 2e-6)):
        code = circuit.simulate(X, n_tau * TAU, 2e-4).code
        gap = relative_gap(circuit, X, code).mean()
        figure(f"gap {gap:.2e} after {n_tau} tau")
        assert gap <= n_max
    state, codes = None, []
    for image in test:
        response = circuit.simulate(make_stimuli(image[None]), 20 * TAU, 2e-4, start=state)
        state = response.state
        codes.append(response.code[0])
    streamed = relative_gap(circuit, make_stimuli(test), np.array(codes)).mean()
    figure(f"gap {streamed:.2e}, 200 images of 20 tau without a reset")
    assert streamed < 1e-3

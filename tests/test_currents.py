"""Currents of drivers: arithmetic of waveforms, the automatic step, and certificates."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, with_inputs

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    SoftThreshold,
    SpikingNeuron,
    load,
    save,
)
from spikelca.model import (
    Array,
    Callable,
    Chirp,
    Constant,
    Noise,
    OrnsteinUhlenbeck,
    PoissonInput,
    Pulse,
    PulseTrain,
    Ramp,
    Sine,
    WhiteNoise,
)
from spikelca.plotting import draw_membrane
from spikelca.readout import exponential, latency

TIMES = np.arange(40) * 1e-3
WAVES = {
    "constant": Constant(0.3),
    "pulse": Pulse(0.5, 0.01, 0.02),
    "ramp": Ramp(1.0, 0.0, 0.03),
    "sine": Sine(0.2, 40.0),
    "noise": Noise(0.1, seed=1),
    "fluctuation": OrnsteinUhlenbeck(0.1, 0.01, seed=1),
    "pulses": PulseTrain(0.5, 0.002, 0.007),
    "chirp": Chirp(0.2, 10.0, 40.0, 0.02),
    "array": Array(np.linspace(0, 1, 40), 1e-3),
}


def values(wave):
    return np.broadcast_to(wave.values(TIMES, (2, 3)), (40, 2, 3))


@pytest.mark.parametrize("name", WAVES)
def test_waveforms_form_an_algebra(name):
    wave, sine = WAVES[name], WAVES["sine"]
    v, s = values(wave), values(sine)
    for result, expected in (
        (wave + sine, v + s), (wave + 0.25, v + 0.25), (0.25 + wave, 0.25 + v), (-wave, -v),
        (2 * wave, 2 * v), (wave * np.float32(2), 2 * v), (wave - sine, v - s),
        (1 - wave, 1 - v), (wave - 1, v - 1), (sum([wave, sine, sine]), v + s + s),
    ):  # fmt: skip
        np.testing.assert_allclose(values(result), expected, atol=1e-15)


@pytest.mark.parametrize("wrong", ["1", None, [0.1, 0.2]])
def test_arithmetic_with_other_types_raises_at_once(wrong):
    for operation in (lambda: Sine(0.1, 5.0) + wrong, lambda: Sine(0.1, 5.0) * wrong):
        with pytest.raises(TypeError):
            operation()
    with pytest.raises(ValueError, match="factor"):
        np.nan * Sine(0.1, 5.0)


def test_driver_of_function_or_array_names_the_waveform():
    with pytest.raises(TypeError, match=r"Use Callable\(function\)"):
        CurrentDriver(lambda t: 0.1)
    with pytest.raises(TypeError, match=r"shape \(100,\). Use Array"):
        CurrentDriver(np.ones(100))


def test_scaled_waveform_is_saved_and_loaded(tmp_path):
    driver = CurrentDriver(0.1 - 2 * Sine(0.05, 5.0), neurons=[1])
    save(random_circuit(drivers=[driver]), tmp_path / "m")
    assert load(tmp_path / "m").drivers == (driver,)


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
@pytest.mark.parametrize("wave", [
    Pulse(0.05, 0.0105, 0.0107), 2 * Pulse(0.02, 0.0105, 0.0107),
    Array(np.r_[np.zeros(105), 0.05, np.zeros(400)], 1e-4), Sine(0.05, 2000.0),
    Noise(0.05, seed=0, hold=1e-4), OrnsteinUhlenbeck(0.05, 0.01, seed=0, hold=1e-4),
    PulseTrain(0.05, 0.0002, 0.001, 0.0105), Chirp(0.05, 50.0, 2000.0, 0.02),
    Ramp(0.05, 0.01, 0.01002),
])  # fmt: skip
def test_automatic_step_resolves_every_waveform(wave, neuron):
    circuit = random_circuit(neuron, drivers=[CurrentDriver(wave, neurons=[0])])
    response = circuit.simulate(random_stimuli(circuit, 1), 0.03, record=("current",))
    assert response.clock.dt <= wave.resolution
    assert np.abs(response.traces["current"]).max() > 0.02


@pytest.mark.parametrize(("dt", "warns"), [(1e-3, True), (2.5e-4, False), (None, False)])
def test_given_step_that_misses_a_pulse_warns(dt, warns):
    pulse = CurrentDriver(Pulse(1.0, 0.0505, 0.0510), neurons=[0])
    circuit = random_circuit(RATE, drivers=[pulse])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        response = circuit.simulate(random_stimuli(circuit, 1), 0.1, dt, record=("current",))
    assert response.traces["current"].any() != warns
    assert [("dt should be at most 0.00025 s" in str(w.message)) for w in caught] == [True] * warns
    assert all(warning.filename == __file__ for warning in caught)


def test_function_and_constant_do_not_limit_the_step():
    dt = []
    for drivers in ((), (CurrentDriver(0.01),), (CurrentDriver(Callable(lambda t: 0.01)),)):
        circuit = random_circuit(RATE, drivers=drivers)
        dt.append(circuit.simulate(random_stimuli(circuit), 0.02).clock.dt)
    assert dt[0] == dt[1] == dt[2]


@pytest.mark.parametrize("engine", ["numba", "reference", "brian2"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_certificates_use_the_current_at_the_end(neuron, engine):
    responses = []
    for wave in (0.05, Pulse(0.05, 0.0, 10.0)):
        circuit = random_circuit(neuron, drivers=[CurrentDriver(wave, neurons=[0, 3])])
        X = random_stimuli(circuit)
        responses.append(circuit.simulate(X, 1.2, 4e-4, engine=engine))
    constant, pulse = responses
    np.testing.assert_array_equal(constant.code, pulse.code)
    np.testing.assert_allclose(constant.residual, pulse.residual, atol=1e-12)
    np.testing.assert_allclose(constant.gap, pulse.gap, atol=1e-12)
    assert constant.gap.max() < (1e-4 if neuron is RATE else 0.1)


@pytest.mark.parametrize("engine", ["numba", "brian2"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_fixed_dictionary_never_changes(neuron, engine):
    circuit = random_circuit(neuron, wiring="residual")
    fixed, plastic = circuit.dictionaries
    fixed = Dictionary(fixed.name, fixed.atoms, fixed.weight, plasticity=None)
    circuit = circuit.replace(dictionaries=[fixed, plastic])
    X = random_stimuli(circuit)
    learned, _ = circuit.learn_in_simulation(X, 0.05, 4e-4, engine=engine)
    np.testing.assert_array_equal(learned.dictionaries[0].atoms, fixed.atoms)
    assert not np.array_equal(learned.dictionaries[1].atoms, plastic.atoms)
    squares = sum(d.weight * (d.atoms**2).sum(axis=1) for d in learned.dictionaries)
    np.testing.assert_allclose(squares, 1, rtol=1e-12)


def test_independent_loop_gives_the_same_spikes_with_a_driver():
    """Forward Euler in the documented order, in plain NumPy, for one sample."""
    atoms = np.random.default_rng(0).random((6, 8))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    x, dt, tau, theta, lam = np.random.default_rng(1).random(8) / 2, 2e-4, 10e-3, 0.03, 0.1
    wave = 0.1 + Sine(0.1, 50.0) + Pulse(0.2, 0.02, 0.03)
    u, v, k, spikes = np.zeros(6), np.zeros(6), dt / tau, []
    b, lateral = np.zeros(6), atoms @ atoms.T - np.eye(6)
    for value, phi in zip(x, atoms.T, strict=True):
        b += value * phi
    for step in range(500):
        t = step * dt
        d = np.where(np.arange(6) < 3, 0.1 + 0.1 * np.sin(2 * np.pi * 50 * t), 0.0)
        d[:3] += 0.2 * (100 <= step < 150)
        new_v = k * np.where((u > lam) | (v > -theta), u - lam, 0.0) + v
        u = k * ((b + d) - u) + u
        for j in np.flatnonzero(new_v >= theta):
            spikes.append((j, step))
            u -= lateral[:, j] * theta
        v = np.where(new_v >= theta, new_v - theta, new_v)
    driver = CurrentDriver(wave, neurons=[0, 1, 2])
    dictionaries = [Dictionary("x", atoms)]
    circuit = Circuit(SpikingNeuron(tau, theta), SoftThreshold(lam), dictionaries, [driver])
    response = circuit.simulate({"x": x[None]}, 0.1, dt, record=("spikes",))
    found = list(zip(response.spikes.neuron.tolist(), response.spikes.step.tolist(), strict=True))
    assert found == spikes
    assert len(spikes) > 100
    np.testing.assert_allclose(response.state["u"][0], u, atol=1e-12)


# ---------------------------------------------------------------- random streams


RANDOM = {
    "noise": Noise(0.1, seed=1),
    "white": WhiteNoise(0.1 * 1e-3**0.5, seed=1),
    "fluctuation": OrnsteinUhlenbeck(0.1, 0.002, seed=1),
}


def injected(drivers, n_samples=3, n_neurons=5, n_steps=700):
    """Current of a run without stimuli: (n_steps, n_samples, n_neurons)."""
    dictionaries = [Dictionary("x", np.eye(n_neurons))]
    circuit = Circuit(RATE, SoftThreshold(0.1), dictionaries, drivers)
    X = {"x": np.zeros((n_samples, n_neurons))}
    return circuit.simulate(X, n_steps * 1e-3, 1e-3, record=("current",)).traces["current"]


def assert_independent(*series):
    """No two series are correlated by more than five standard errors."""
    columns = np.concatenate([x.reshape(len(x), -1) for x in series], axis=1)
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    # Neighbouring values of the correlated noise count as one in five.
    assert np.abs(correlation).max() < 5 / np.sqrt(len(columns) / 5)


@pytest.mark.parametrize("name", RANDOM)
def test_noise_does_not_depend_on_others(name):
    """Not on the number of neurons and samples, nor on the selected samples, nor on the start."""
    wave = RANDOM[name]
    whole = injected([CurrentDriver(wave)])
    assert_independent(whole)
    np.testing.assert_allclose(whole.std(), 0.1, rtol=0.1)
    np.testing.assert_array_equal(injected([CurrentDriver(wave)], n_neurons=2), whole[:, :, :2])
    np.testing.assert_array_equal(injected([CurrentDriver(wave)], n_samples=2), whole[:, :2])
    some = injected([CurrentDriver(wave, samples=[2, 0])])
    np.testing.assert_array_equal(some[:, [0, 2]], whole[:, [0, 2]])
    assert not some[:, 1].any()


@pytest.mark.parametrize("name", RANDOM)
def test_equal_seeds_give_independent_noise_in_two_drivers(name):
    wave = RANDOM[name]
    first = injected([CurrentDriver(wave)])
    both = injected([CurrentDriver(wave), CurrentDriver(wave)])
    assert_independent(first, both - first)
    assert_independent(*(injected([CurrentDriver(other)]) for other in RANDOM.values()))


@pytest.mark.parametrize("samples", [None, [2, 0]])
@pytest.mark.parametrize("name", RANDOM)
def test_shared_noise_is_the_same_in_all_samples(name, samples):
    wave = RANDOM[name]
    alone = injected([CurrentDriver(wave)], n_samples=1)
    shared = injected([CurrentDriver(wave, samples=samples, shared=True)])
    for sample in samples or range(3):
        np.testing.assert_array_equal(shared[:, sample], alone[:, 0])


def test_rows_of_an_array_are_those_of_its_samples():
    array = np.cos(np.arange(2100.0)).reshape(700, 3, 1)
    current = injected([CurrentDriver(Array(array, 1e-3))])
    np.testing.assert_array_equal(current, np.broadcast_to(array, (700, 3, 5)))
    some = injected([CurrentDriver(Array(array[:, :2], 1e-3), samples=[2, 0])])
    np.testing.assert_array_equal(some[:, [2, 0]], np.broadcast_to(array[:, :2], (700, 2, 5)))
    with pytest.raises(ValueError, match="sample"):
        injected([CurrentDriver(Array(array[:, :2], 1e-3))])


@pytest.mark.parametrize("dt", [2e-3, 5e-4])
def test_variance_of_white_noise_in_the_membrane_follows_the_formula(dt):
    """sigma^2 / (tau (2 - dt / tau)) for any step, within four standard errors."""
    n, tau, sigma = 400, RATE.tau, 0.01
    driver = CurrentDriver(WhiteNoise(sigma, seed=0))
    circuit = Circuit(RATE, SoftThreshold(10.0), [Dictionary("x", np.eye(n))], [driver])
    u = circuit.simulate({"x": np.zeros((20, n))}, 10 * tau, dt).state["u"]
    expected = sigma**2 / (tau * (2 - dt / tau))
    assert abs(u.var() / expected - 1) < 4 * np.sqrt(2 / u.size)
    with pytest.raises(ValueError, match="WhiteNoise must be in a run"):
        WhiteNoise(sigma, seed=0).values(np.arange(2.0), (1, 1))


def test_fluctuation_has_its_autocorrelation_from_the_start():
    tau, n = 0.02, 4000
    wave = OrnsteinUhlenbeck(0.1, tau, seed=0)
    x = wave.values(np.arange(3000) * 1e-3, (1, n))[:, 0] / 0.1
    for start in (0, 2900):
        for lag in (0, 5, 20, 60):
            product = x[start] * x[start + lag]
            error = 4 * np.sqrt((1 + np.exp(-2 * lag * 1e-3 / tau)) / n)
            assert abs(product.mean() - np.exp(-lag * 1e-3 / tau)) < error


def test_pulse_train_is_a_sum_of_pulses():
    times = np.arange(1000) * 1e-4
    train = PulseTrain(0.5, 0.002, 0.007, start=0.01, stop=0.05).values(times, (1, 1))
    begins = [0.01 + i * 0.007 for i in range(6)]
    pulses = sum(Pulse(0.5, begin, begin + 0.002).values(times, (1, 1)) for begin in begins)
    np.testing.assert_array_equal(train, pulses)
    with pytest.raises(ValueError, match="width must be below the period"):
        PulseTrain(0.5, 0.007, 0.007)


def test_frequency_of_a_chirp_is_the_derivative_of_its_phase():
    chirp, times = Chirp(1.0, 10.0, 50.0, 0.5), np.arange(100_001) * 1e-5
    crossings = times[:-1][np.diff(np.signbit(chirp.values(times, (1, 1))[:, 0, 0])) != 0]
    frequency = 0.5 / np.diff(crossings)
    middle = (crossings[:-1] + crossings[1:]) / 2
    expected = np.where(middle < 0.5, 10 + 80 * middle, 50.0)
    np.testing.assert_allclose(frequency[1:], expected[1:], rtol=0.01)


@pytest.mark.parametrize("engine", ["numba", "reference", "brian2"])
def test_equal_seeds_are_independent_in_two_modalities(engine):
    atoms = np.eye(4)
    kinds = [Dictionary(name, atoms, inputs=PoissonInput(0.05, seed=0)) for name in ("a", "b")]
    circuit = Circuit(SpikingNeuron(), SoftThreshold(10.0), kinds)
    X = {name: np.full((300, 4), 0.4) for name in ("a", "b")}
    u = circuit.simulate(X, 0.05, 1e-3, engine=engine).state["u"]
    k = 0.1
    expected = 2 * 0.05 / (2 - k) * 0.4  # two independent inputs; one stream would be twice that
    error = u.var() / expected - 1
    assert abs(error) < 4 * np.sqrt(2 / u.size)


# ---------------------------------------------------------------- what a response contains


@pytest.mark.parametrize("engine", ["numba", "reference", "brian2"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_spikes_are_those_of_recorded_neurons_and_samples(two_sided, engine):
    circuit = random_circuit(SPIKING, SoftThreshold(0.1, two_sided))
    X, options = random_stimuli(circuit), {"engine": engine, "record": ("u", "spikes")}
    whole = circuit.simulate(X, 0.05, 4e-4, **options)
    part = circuit.simulate(X, 0.05, 4e-4, neurons=[3, 8], samples=[1, 4], **options)
    cells = [3, 8, 14, 19] if two_sided else [3, 8]
    kept = np.isin(whole.spikes.neuron, cells) & np.isin(whole.spikes.sample, [1, 4])
    assert 0 < kept.sum() < len(kept)
    for found, expected in zip(part.spikes, whole.spikes, strict=True):
        np.testing.assert_array_equal(found, expected[kept])
    np.testing.assert_array_equal(part.spikes.times, part.spikes.step * 4e-4)
    assert (part.neurons.tolist(), part.samples.tolist()) == ([3, 8], [1, 4])
    np.testing.assert_array_equal(part.code, whole.code)
    np.testing.assert_array_equal(part.rates(), whole.rates())
    with pytest.raises(ValueError, match="all neurons and samples"):
        part.rates(window=0.9)
    for readout in (latency, exponential):
        with pytest.raises(ValueError, match="all neurons and samples"):
            readout(part)
    assert whole.has_all_spikes
    assert not part.has_all_spikes


def test_plots_and_neo_use_recorded_neurons():
    pytest.importorskip("neo")
    from spikelca.interop import to_neo

    circuit = random_circuit(SPIKING)
    run = circuit.simulate(
        random_stimuli(circuit), 0.05, 4e-4, record=("u",), neurons=[3, 8], samples=[1]
    )
    [signal] = to_neo(run).segments[1].analogsignals
    assert signal.array_annotations["neuron"].tolist() == [3, 8]
    ax = draw_membrane(run.times, run.traces["u"][:, 0], neurons=run.neurons)
    texts = {text.get_text() for text in ax.get_legend().get_texts()}
    assert texts == {"neuron 3", "neuron 8"}
    with pytest.raises(ValueError, match="must have 2 numbers"):
        draw_membrane(run.times, run.traces["u"][:, 0], neurons=[1])


def test_trains_are_the_spike_times_of_each_neuron():
    circuit = random_circuit(SPIKING)
    X, start = random_stimuli(circuit), circuit.simulate(random_stimuli(circuit), 0.02, 4e-4)
    run = circuit.simulate(X, 0.05, record=("spikes",), neurons=[8, 3], samples=[1, 4], start=start)
    counts = np.zeros((5, 11), int)
    for sample in run.samples:
        trains = run.spikes.trains(run.neurons, sample)
        assert list(trains) == [8, 3]
        for neuron, times in trains.items():
            assert np.all(np.diff(times) > 0)
            assert np.all((times >= 0.02) & (times < 0.07))
            counts[sample, neuron] = len(times)
    np.testing.assert_array_equal(counts, run.spikes.counts(5, 11))
    assert counts.any()
    assert run.spikes.trains([0], 1)[0].shape == (0,)


@pytest.mark.parametrize("two_sided", [False, True])
def test_data_frames_have_recorded_neurons_and_samples(two_sided):
    pytest.importorskip("pandas")
    circuit = random_circuit(SPIKING, SoftThreshold(0.1, two_sided))
    options = {"record": ("u", "spikes"), "every": 7, "neurons": [8, 3], "samples": [4, 1]}
    run = circuit.simulate(random_stimuli(circuit), 0.05, 4e-4, **options)
    spikes = run.spikes.to_frame()
    assert list(spikes.columns) == ["sample", "neuron", "time"]
    np.testing.assert_array_equal(spikes.to_numpy().T, [*list(run.spikes)[:2], run.spikes.times])
    u = run.to_frame("u")
    cells = [8, 3, 19, 14] if two_sided else [8, 3]
    assert list(u.columns) == [(sample, cell) for sample in (4, 1) for cell in cells]
    np.testing.assert_array_equal(u.index, run.times)
    np.testing.assert_array_equal(u[1, 3], run.traces["u"][:, 1, 1])
    with pytest.raises(ValueError, match=r"one of the traces \['u'\], got 'v'"):
        run.to_frame("v")


def test_repr_of_a_response_is_short():
    circuit = random_circuit(SPIKING)
    X = random_stimuli(circuit)
    for response in (circuit.encode(X), circuit.simulate(X, 0.05, record=("u", "spikes"))):
        assert len(repr(response)) < 250
        assert "code (5, 11)" in repr(response)


def test_live_circuit_does_not_run_beyond_its_currents():
    from brian2 import ms

    driver = CurrentDriver(Pulse(0.3, 0.0, 1.0))
    circuit = random_circuit(SPIKING, drivers=[driver])
    live = circuit.to_brian2(random_stimuli(circuit), dt=4e-4, duration=0.04)
    live.run(30 * ms)
    live.run(10 * ms)
    with pytest.raises(ValueError, match=r"computed until 0\.04 s"):
        live.run(1 * ms)
    random = with_inputs(random_circuit(SPIKING), PoissonInput(0.1, 1), PoissonInput(0.1, 2))
    live = random.to_brian2(random_stimuli(random), dt=4e-4, duration=0.04)
    with pytest.raises(ValueError, match=r"random input spikes"):
        live.run(0.05)
    steady = random_circuit(SPIKING).to_brian2(random_stimuli(circuit), dt=4e-4, duration=0.01)
    steady.run(0.05)
    with pytest.raises(ValueError, match="record must not have 'current'"):
        circuit.to_brian2(random_stimuli(circuit), record=("current",))

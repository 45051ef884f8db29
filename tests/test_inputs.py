"""Input cells: the spikes they emit, agreement of the engines, and invalid arguments."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, same, with_inputs
from sklearn.datasets import load_digits

from spikelca import (
    Circuit,
    Dictionary,
    HardThreshold,
    OrdinalDriver,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.engines.brian2 import Brian2Engine
from spikelca.engines.numba.simulate import run
from spikelca.learning import learn
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual

TAU = 10e-3
FINE = SpikingNeuron(tau=TAU, quantum=0.02)
LABELS = [0, 1, 1, 0, 1]


@pytest.fixture(scope="module")
def digits():
    """48 unit-norm digits as atoms, and other digits as stimuli."""
    X = load_digits().data
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X[:48], {"x": X[600:616]}


@pytest.fixture(scope="module")
def learned():
    """48 atoms learned from digits, and other digits as stimuli."""
    X, rng = load_digits().data, np.random.default_rng(0)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    circuit = Circuit(RATE, SoftThreshold(0.1), [Dictionary("x", X[:48])])
    batches = (({"x": X[rng.choice(1200, 100)]}, None) for _ in range(200))
    for updated, _ in learn(circuit, batches):
        circuit = updated
    return circuit.dictionary("x").atoms, {"x": X[1300:1332]}


def mean_gap(circuit, X, **options):
    """Compute the mean relative excess energy of the spiking code over the steady state."""
    code = circuit.simulate(X, **options).code
    best = circuit.energy(X, circuit.encode(X, tol=1e-10).code)
    return float(((circuit.energy(X, code) - best) / best).mean())


# ---------------------------------------------------------------- equations of the cells


def test_mean_of_random_spikes_is_the_stimulus():
    """Within four standard errors of the Poisson count, for each of 400 inputs."""
    theta, k, n_steps = 0.02, 0.02, 20_000
    x = np.linspace(-0.6, 0.6, 400) * np.array([1.0, 0.01] * 200)
    steps, fired = PoissonInput(theta, seed=5).draw_spikes(x, k, n_steps, 0)
    counts, mean = np.bincount(fired, minlength=400), n_steps * k * np.abs(x) / theta
    error = (counts - mean) / np.sqrt(mean)
    assert np.abs(error).max() < 4
    # The errors are those of independent draws, without a bias and with the same variance.
    assert abs(error.mean()) < 4 / np.sqrt(400)
    assert abs(error.var() - 1) < 4 * np.sqrt(2 / 400)
    assert (np.diff(steps) >= 0).all()
    assert steps.max() < n_steps


@pytest.mark.parametrize("engine", ["numba", "brian2", "reference"])
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_poisson_inputs_add_no_current(wiring, engine):
    rare = PoissonInput(1e4, seed=0)
    circuit = with_inputs(random_circuit(SPIKING, wiring=wiring), rare, rare)
    response = circuit.simulate(random_stimuli(circuit), 0.02, 4e-4, engine=engine)
    assert not response.events["synaptic_events"].any()
    charged = [name for name, values in response.state.items() if values.any()]
    assert charged == ["v"]  # v falls to its floor without an input


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("k", [0.004, 0.02, 0.5, None])
def test_variance_of_silent_potentials_is_that_of_poisson_input(k, wiring):
    """Within three standard errors of q / (2 - k) sum_j w^2 Phi_ij^2 |x_j|, for any step."""
    n_samples, quantum, atoms = 3000, 0.05, np.array([[0.6, 0.8, 0.0], [0.0, -0.6, 0.8]])
    x = np.array([0.5, -0.3, 0.9])
    dictionary = Dictionary("x", atoms, inputs=PoissonInput(quantum, seed=1))
    circuit = Circuit(SpikingNeuron(), SoftThreshold(10.0), [dictionary], wiring=wiring)
    X = {"x": np.tile(x, (n_samples, 1))}
    # After ten time constants, the mean differs from its limit by less than 5e-5 of the input.
    response = circuit.simulate(X, 10 * 0.01, None if k is None else k * 0.01)
    k = response.clock.dt / 0.01
    u = response.state["u"] if wiring == "lateral" else response.state["r:x"] @ atoms.T
    expected = quantum / (2 - k) * (atoms**2 @ np.abs(x))
    # The fourth cumulant of filtered Poisson spikes enters the standard error of a variance.
    mean_counts = k * np.abs(x) / quantum
    fourth = ((atoms * quantum) ** 4 @ mean_counts) / (1 - (1 - k) ** 4)
    error = (u.var(axis=0) - expected) / np.sqrt((2 * expected**2 + fourth) / n_samples)
    assert np.abs(error).max() < 3
    assert np.abs(u.mean(axis=0) - atoms @ x).max() < 4 * np.sqrt(expected.max() / n_samples)


def test_zero_input_never_fires():
    _, fired = PoissonInput(0.02, seed=5).draw_spikes(np.array([0.0, 0.3, -0.0]), 0.02, 5000, 0)
    assert set(fired) == {1}


def test_spikes_depend_on_seed_and_sample_index():
    x = np.full(7, 0.4)
    first = PoissonInput(0.1, seed=3).draw_spikes(x, 0.1, 3000, 2)
    for seed, sample, n_steps, equal in ((3, 2, 3000, True), (4, 2, 3000, False),
                                         (3, 1, 3000, False)):  # fmt: skip
        other = PoissonInput(0.1, seed).draw_spikes(x, 0.1, n_steps, sample)
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True)) == equal
    pieces = [
        np.add(PoissonInput(0.1, seed=3).draw_spikes(x, 0.1, n_steps, 2, start), [[start], [0]])
        for start, n_steps in ((0, 1), (1, 1500), (1501, 1499))
    ]
    np.testing.assert_array_equal(first, np.concatenate(pieces, axis=1))


def test_signed_residual_neurons_conserve_charge():
    """The charge that entered p was emitted in spikes or is still in p."""
    circuit = with_inputs(random_circuit(SPIKING, wiring="residual"), AnalogInput(),
                          SpikingResidual(0.05))  # fmt: skip
    X = random_stimuli(circuit)
    response = circuit.simulate(X, 0.4, 4e-4, record=("r",))
    charge = 0.04 * response.traces["r:b"].sum(axis=0)
    emitted = charge - response.state["p:b"]
    np.testing.assert_allclose(emitted / 0.05, np.rint(emitted / 0.05), atol=1e-9)
    assert np.abs(response.state["p:b"]).max() < 0.05 + 1e-12
    assert response.events["input_spikes"].min() >= np.abs(np.rint(emitted / 0.05)).sum(1).min() > 0


# ---------------------------------------------------------------- engines

KINDS = {
    "random, lateral": ("lateral", PoissonInput(0.1, 0), AnalogInput()),
    "random, both": ("lateral", PoissonInput(0.1, 0), PoissonInput(0.08, 1)),
    "random, residual": ("residual", AnalogInput(), PoissonInput(0.1, 0)),
    "signed": ("residual", SpikingResidual(0.05), AnalogInput()),
    "signed, both": ("residual", SpikingResidual(0.05), SpikingResidual(0.04)),
    "signed and random": ("residual", PoissonInput(0.1, 1), SpikingResidual(0.05)),
}


@pytest.mark.parametrize("drivers", [(), (OrdinalDriver(2, mode="clamp"),)], ids=["", "clamp"])
@pytest.mark.parametrize("two_sided", [False, True], ids=["one-sided", "signed codes"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_engines_fire_the_same_spikes(kind, two_sided, drivers):
    wiring, *cells = KINDS[kind]
    transfer = SoftThreshold(0.1, two_sided)
    circuit = random_circuit(SPIKING, transfer, wiring=wiring, drivers=drivers)
    circuit, X = with_inputs(circuit, *cells), random_stimuli(circuit)
    record = ("u", "a", "v", "spikes", *(("r", "s") if wiring == "residual" else ()))
    # Brian2 builds a network for each block, which takes longer than the run.
    brian = Brian2Engine(batch_size=3) if drivers else "brian2"
    responses = [
        circuit.simulate(X, 0.06, 4e-4, engine=engine, record=record, every=3, labels=LABELS)
        for engine in ("reference", "numba", brian)
    ]
    assert len(responses[0].spikes) > 200
    for other in responses[1:]:
        same(responses[0], other)
        for name, counted in responses[0].events.items():
            np.testing.assert_array_equal(counted, other.events[name], err_msg=name)


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_blocks_get_random_spikes_of_their_own(wiring):
    cells = PoissonInput(0.1, 0), PoissonInput(0.08, 1)
    circuit = with_inputs(random_circuit(SPIKING, wiring=wiring), *cells)
    X = random_stimuli(circuit, n_samples=5)
    whole = circuit.simulate(X, 0.03, 4e-4, record=("spikes",))
    same(
        whole,
        circuit.simulate(X, 0.03, 4e-4, engine=Brian2Engine(batch_size=2), record=("spikes",)),
    )


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_full_spike_log_keeps_random_spikes(wiring, monkeypatch):
    circuit = with_inputs(random_circuit(SPIKING, wiring=wiring), *KINDS["random, both"][1:])
    X = random_stimuli(circuit)
    whole = circuit.simulate(X, 0.1, 4e-4, record=("spikes",))
    monkeypatch.setattr(run, "INITIAL_LOG_SIZE", 1)
    same(whole, circuit.simulate(X, 0.1, 4e-4, record=("spikes",)))


@pytest.mark.cython
def test_compiled_brian2_agrees_with_spiking_inputs(quick_compiler):
    for kind in ("random, lateral", "signed and random"):
        wiring, *cells = KINDS[kind]
        circuit = with_inputs(random_circuit(SPIKING, wiring=wiring), *cells)
        X = random_stimuli(circuit)
        fast = circuit.simulate(X, 0.06, 4e-4, record=("spikes",))
        compiled = Brian2Engine(target="cython")
        brian = circuit.simulate(X, 0.06, 4e-4, record=("spikes",), engine=compiled)
        for one, other in zip(fast.spikes, brian.spikes, strict=True):
            np.testing.assert_array_equal(one, other)


def test_engines_learn_bit_identically_from_signed_spikes():
    circuit = random_circuit(SPIKING, wiring="residual")
    circuit = with_inputs(circuit, SpikingResidual(0.05), AnalogInput())
    X = random_stimuli(circuit, n_samples=6)
    fast, brian = (
        circuit.learn_in_simulation(X, 0.08, 4e-4, engine=engine, record=("spikes",))[1]
        for engine in ("numba", "brian2")
    )
    for name in ("a", "b"):
        np.testing.assert_array_equal(fast.atoms[name], brian.atoms[name])
    np.testing.assert_array_equal(fast.code, brian.code)
    assert np.abs(fast.atoms["a"] - circuit.dictionary("a").atoms).max() > 0.02


def test_brian2_equations_contain_the_input_cells():
    circuit = with_inputs(random_circuit(SPIKING, wiring="residual"),
                          *KINDS["signed and random"][1:])  # fmt: skip
    X = random_stimuli(circuit)
    live = circuit.to_brian2(X, dt=4e-4, duration=0.04)
    for line in ("abs(p) >= quantum", "p -= sign(p)*quantum", "v = clip(v, v_floor, inf)",
                 "r_post += w"):  # fmt: skip
        assert line in live.equations
    live.run(0.04)
    np.testing.assert_array_equal(
        live.variable("p:b"), circuit.simulate(X, 0.04, 4e-4).state["p:b"]
    )
    with pytest.raises(NotImplementedError, match="random spikes"):
        live.set_stimuli(X)


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_synaptic_events_equal_a_direct_count(wiring):
    circuit = random_circuit(SPIKING, wiring=wiring)
    atoms = [np.where(d.atoms > np.median(d.atoms), d.atoms, 0.0) for d in circuit.dictionaries]
    dictionaries = [d._with_atoms(phi) for d, phi in zip(circuit.dictionaries, atoms, strict=True)]
    cells = PoissonInput(0.1, seed=4)
    circuit = with_inputs(circuit.replace(dictionaries=tuple(dictionaries)), cells, AnalogInput())
    X = random_stimuli(circuit)
    response = circuit.simulate(X, 0.06, 4e-4, record=("spikes",))
    for sample, x in enumerate(X["a"]):
        events = 0
        for neuron in response.spikes.neuron[response.spikes.sample == sample]:
            row = np.hstack(atoms)[neuron]
            if wiring == "lateral":
                row = np.delete(sum(phi @ phi[neuron] for phi in atoms), neuron)
            events += np.count_nonzero(row)
        _, input_spikes = cells.draw_spikes(x, 4e-4 / TAU, 150, sample, modality="a")
        for cell in input_spikes:
            # With residual wiring a spike charges the residual neuron of its own input only.
            events += np.count_nonzero(atoms[0][:, cell]) if wiring == "lateral" else 1
        assert response.events["synaptic_events"][sample] == events
        assert response.events["input_spikes"][sample] == len(input_spikes) > 0


# ---------------------------------------------------------------- codes


@pytest.mark.parametrize("threshold", [0.02, 0.1])
def test_signed_spikes_converge_like_analog_currents(learned, threshold, figure):
    """Quanta of five times that of the neurons converge, because the floor does not clip v."""
    atoms, X = learned
    analog = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", atoms)], wiring="residual")
    signed = with_inputs(analog, SpikingResidual(threshold))
    for n_tau, factor in ((20, 2.5), (50, 5)):
        gap, exact = (mean_gap(c, X, duration=n_tau * TAU, dt=2e-4) for c in (signed, analog))
        figure(f"threshold {threshold}: gap {gap:.1e}, analog {exact:.1e}, after {n_tau} tau")
        assert gap < factor * exact
    last = mean_gap(signed, X, duration=100 * TAU, dt=2e-4)
    figure(f"threshold {threshold}: gap {last:.1e} after 100 tau")
    assert last < (5e-6 if threshold == 0.02 else 5e-5)


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_noise_decreases_with_window_and_quantum(learned, wiring, figure):
    """The error in a long window is the bias of neurons near threshold: rectified noise."""
    atoms, X = learned

    def gap(quantum, n_tau, dt=2e-4):
        cells = PoissonInput(quantum, seed=0)
        dictionaries = [Dictionary("x", atoms, inputs=cells)]
        circuit = Circuit(FINE, SoftThreshold(0.1), dictionaries, wiring=wiring)
        return mean_gap(circuit, X, duration=n_tau * TAU, dt=dt, window=0.8)

    gaps = [gap(0.02, 20), gap(0.02, 100), gap(0.02, 400), gap(0.005, 400, dt=5e-5)]
    summary = ", ".join(f"{value:.1e}" for value in gaps)
    figure(f"quantum .02 after 20, 100, 400 tau, and .005 after 400: gap {summary}")
    assert gaps[0] > 2 * gaps[1]
    assert gaps[1] > 1.2 * gaps[2]  # mostly bias
    assert gaps[2] > 2 * gaps[3]
    assert gaps[3] < 5e-4


def test_signed_inputs_follow_images_without_reset(digits):
    """Generators of silent neurons that are charged directly stay above their floor."""
    atoms, X = digits
    dictionaries = [Dictionary("x", atoms, inputs=SpikingResidual(0.02))]
    circuit = Circuit(FINE, SoftThreshold(0.1), dictionaries, wiring="residual")
    state, codes = None, []
    for x in X["x"]:
        response = circuit.simulate({"x": x[None]}, 0.4, 2e-4, start=state)
        state = response.state
        codes.append(response.code[0])
        assert state["v"].min() >= FINE.v_floor - 2 * 0.02
    best = circuit.energy(X, circuit.encode(X, tol=1e-10).code)
    assert ((circuit.energy(X, np.array(codes)) - best) / best).mean() < 1e-3


# ---------------------------------------------------------------- invalid arguments


def test_saturating_input_cells_raise_with_a_remedy():
    circuit = random_circuit(SPIKING, wiring="residual")
    circuit = with_inputs(circuit, SpikingResidual(0.01), AnalogInput())
    X = random_stimuli(circuit)
    peak = X["a"].max()
    with pytest.raises(ValueError, match=rf"of at least {0.04 * peak:.3g}, or a dt of at"):
        circuit.simulate(X, 0.1, 4e-4)
    automatic = circuit.simulate(X, 0.05)
    assert automatic.clock.dt <= 0.01 / peak * TAU * 1.001


UNSUPPORTED = {
    "a rate neuron": (RATE, SoftThreshold(0.1), "residual", PoissonInput(0.1, 0), "SpikingNeuron"),
    "one layer": (SPIKING, SoftThreshold(0.1), "lateral", SpikingResidual(), "wiring='residual'"),
    "a hard threshold": (
        SPIKING, HardThreshold(0.1), "residual", SpikingResidual(), "SoftThreshold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_spiking_inputs_raise(case):
    neuron, transfer, wiring, kind, message = UNSUPPORTED[case]
    circuit = with_inputs(random_circuit(neuron, transfer, wiring=wiring), kind, AnalogInput())
    with pytest.raises(ValueError, match=message):
        circuit.simulate(random_stimuli(circuit), 0.02, 4e-4)


def test_learning_from_random_spikes_raises():
    circuit = random_circuit(SPIKING, wiring="residual")
    circuit = with_inputs(circuit, PoissonInput(0.1, 0), AnalogInput())
    with pytest.raises(NotImplementedError, match="PoissonInput"):
        circuit.learn_in_simulation(random_stimuli(circuit), 0.05, 4e-4)


@pytest.mark.parametrize("make_invalid", [
    lambda: PoissonInput(0.0, 0), lambda: PoissonInput(0.1, -1), lambda: PoissonInput(0.1, 0.5),
    lambda: SpikingResidual(float("nan")),
])  # fmt: skip
def test_invalid_input_parameters_raise(make_invalid):
    with pytest.raises(ValueError, match="must be"):
        make_invalid()


def test_unknown_input_kind_raises():
    with pytest.raises(TypeError, match=r"AnalogInput\(\), PoissonInput"):
        Dictionary("x", np.eye(2), inputs="poisson")

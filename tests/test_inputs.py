"""Input cells: what they bring in, the same spikes in every engine, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, same
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


def with_inputs(circuit, *cells):
    """The circuit with other input cells, one kind for each modality."""
    pairs = zip(circuit.dictionaries, cells, strict=True)
    return replace(circuit, dictionaries=[replace(d, inputs=kind) for d, kind in pairs])


@pytest.fixture(scope="module")
def digits():
    """48 unit-norm digits as atoms, and others to be coded."""
    X = load_digits().data
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X[:48], {"x": X[600:616]}


@pytest.fixture(scope="module")
def learnt():
    """48 atoms that were learnt on digits, and others to be coded."""
    X, rng = load_digits().data, np.random.default_rng(0)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    circuit = Circuit(RATE, SoftThreshold(0.1), [Dictionary("x", X[:48])])
    batches = (({"x": X[rng.choice(1200, 100)]}, None) for _ in range(200))
    for moved, _ in learn(circuit, batches):
        circuit = moved
    return circuit.dictionary("x").atoms, {"x": X[1300:1332]}


def gap_of(circuit, X, **options):
    """Mean excess of the energy of the spiking code over that of the settled one."""
    code = circuit.simulate(X, **options).code
    best = circuit.energy(X, circuit.encode(X, tol=1e-10).code)
    return float(((circuit.energy(X, code) - best) / best).mean())


# ---------------------------------------------------------------- the law of the cells


def test_random_spikes_bring_in_the_mean_stimulus():
    """Within four standard errors of the binomial count, for each of 400 inputs."""
    theta, k, n_steps = 0.02, 0.02, 20_000
    x = np.linspace(-0.6, 0.6, 400) * np.array([1.0, 0.01] * 200)
    steps, fired = PoissonInput(theta, seed=5).draw_spikes(x, k, n_steps, 0)
    counts, chance = np.bincount(fired, minlength=400), k * np.abs(x) / theta
    error = (counts - n_steps * chance) / np.sqrt(n_steps * chance * (1 - chance))
    assert np.abs(error).max() < 4
    # The errors are those of independent draws: neither a bias nor a spread of another size.
    assert abs(error.mean()) < 4 / np.sqrt(400)
    assert abs(error.var() - 1) < 4 * np.sqrt(2 / 400)
    assert (np.diff(steps) >= 0).all()
    assert steps.max() < n_steps


def test_an_input_of_zero_never_fires():
    _, fired = PoissonInput(0.02, seed=5).draw_spikes(np.array([0.0, 0.3, -0.0]), 0.02, 5000, 0)
    assert set(fired) == {1}


def test_a_seed_and_a_sample_number_make_the_spikes(monkeypatch):
    x = np.full(7, 0.4)
    first = PoissonInput(0.1, seed=3).draw_spikes(x, 0.1, 3000, 2)
    for seed, sample, n_steps, equal in ((3, 2, 3000, True), (4, 2, 3000, False),
                                         (3, 1, 3000, False)):  # fmt: skip
        other = PoissonInput(0.1, seed).draw_spikes(x, 0.1, n_steps, sample)
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True)) == equal
    monkeypatch.setattr("spikelca.model.inputs.STEPS_PER_DRAW", 11)
    again = PoissonInput(0.1, seed=3).draw_spikes(x, 0.1, 3000, 2)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_signed_residual_cells_send_all_of_the_error_and_keep_less_than_a_spike():
    """What flowed into p was sent in spikes or is still there."""
    circuit = with_inputs(random_circuit(SPIKING, wiring="residual"), AnalogInput(),
                          SpikingResidual(0.05))  # fmt: skip
    X = random_stimuli(circuit)
    response = circuit.simulate(X, 0.4, 4e-4, record=("r",))
    flowed = 0.04 * response.traces["r:b"].sum(axis=0)
    sent = flowed - response.state["p:b"]
    np.testing.assert_allclose(sent / 0.05, np.rint(sent / 0.05), atol=1e-9)
    assert np.abs(response.state["p:b"]).max() < 0.05 + 1e-12
    assert response.events["input_spikes"].min() >= np.abs(np.rint(sent / 0.05)).sum(1).min() > 0


# ---------------------------------------------------------------- engines

KINDS = {
    "random, lateral": ("lateral", PoissonInput(0.1, 0), AnalogInput()),
    "random, both": ("lateral", PoissonInput(0.1, 0), PoissonInput(0.08, 1)),
    "random, residual": ("residual", AnalogInput(), PoissonInput(0.1, 0)),
    "signed": ("residual", SpikingResidual(0.05), AnalogInput()),
    "signed, both": ("residual", SpikingResidual(0.05), SpikingResidual(0.04)),
    "signed and random": ("residual", PoissonInput(0.1, 1), SpikingResidual(0.05)),
}


@pytest.mark.parametrize("drivers", [(), (OrdinalDriver(2, reading="clamp"),)], ids=["", "clamp"])
@pytest.mark.parametrize("two_sided", [False, True], ids=["one-sided", "signed codes"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_fires_the_same_spikes(kind, two_sided, drivers):
    wiring, *cells = KINDS[kind]
    transfer = SoftThreshold(0.1, two_sided)
    circuit = random_circuit(SPIKING, transfer, wiring=wiring, drivers=drivers)
    circuit, X = with_inputs(circuit, *cells), random_stimuli(circuit)
    record = ("u", "a", "v", "spikes", *(("r", "s") if wiring == "residual" else ()))
    responses = [
        circuit.simulate(X, 0.06, 4e-4, engine=engine, record=record, every=3, labels=LABELS)
        for engine in ("reference", "numba", "brian2", Brian2Engine(block=2))
    ]
    assert len(responses[0].spikes) > 200
    for other in responses[1:]:
        same(responses[0], other)
        for name, counted in responses[0].events.items():
            np.testing.assert_array_equal(counted, other.events[name], err_msg=name)


def test_a_log_of_one_spike_loses_no_random_one(monkeypatch):
    circuit = with_inputs(random_circuit(SPIKING), *KINDS["random, both"][1:])
    X = random_stimuli(circuit)
    whole = circuit.simulate(X, 0.1, 4e-4, record=("spikes",))
    monkeypatch.setattr(run, "INITIAL_LOG_SIZE", 1)
    same(whole, circuit.simulate(X, 0.1, 4e-4, record=("spikes",)))


@pytest.mark.cython
def test_compiled_brian2_fires_the_same_spikes_from_spiking_inputs():
    for kind in ("random, lateral", "signed and random"):
        wiring, *cells = KINDS[kind]
        circuit = with_inputs(random_circuit(SPIKING, wiring=wiring), *cells)
        X = random_stimuli(circuit)
        fast = circuit.simulate(X, 0.06, 4e-4, record=("spikes",))
        compiled = Brian2Engine(target="cython")
        brian = circuit.simulate(X, 0.06, 4e-4, record=("spikes",), engine=compiled)
        for one, other in zip(fast.spikes, brian.spikes, strict=True):
            np.testing.assert_array_equal(one, other)


def test_both_engines_learn_the_same_bits_from_signed_spikes():
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


def test_live_objects_show_the_input_cells():
    circuit = with_inputs(random_circuit(SPIKING, wiring="residual"),
                          *KINDS["signed and random"][1:])  # fmt: skip
    X = random_stimuli(circuit)
    live = circuit.to_brian2(X, dt=4e-4, duration=0.04)
    for line in ("abs(p) >= quantum", "p -= sign(p)*quantum", "v = clip(v, v_floor, inf)",
                 "r_post += kick"):  # fmt: skip
        assert line in live.equations
    live.run(0.04)
    np.testing.assert_array_equal(
        live.variable("p:b"), circuit.simulate(X, 0.04, 4e-4).state["p:b"]
    )
    with pytest.raises(NotImplementedError, match="random spikes of"):
        live.set_stimuli(replace(live.problem))


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_synaptic_events_equal_a_count_by_hand(wiring):
    circuit = random_circuit(SPIKING, wiring=wiring)
    atoms = [np.where(d.atoms > np.median(d.atoms), d.atoms, 0.0) for d in circuit.dictionaries]
    parts = [d.with_atoms(phi) for d, phi in zip(circuit.dictionaries, atoms, strict=True)]
    cells = PoissonInput(0.1, seed=4)
    circuit = with_inputs(circuit.replace(dictionaries=tuple(parts)), cells, AnalogInput())
    X = random_stimuli(circuit)
    response = circuit.simulate(X, 0.06, 4e-4, record=("spikes",))
    for sample, x in enumerate(X["a"]):
        events = 0
        for neuron in response.spikes.neuron[response.spikes.sample == sample]:
            row = np.hstack(atoms)[neuron]
            if wiring == "lateral":
                row = np.delete(sum(phi @ phi[neuron] for phi in atoms), neuron)
            events += np.count_nonzero(row)
        _, arrived = cells.draw_spikes(x, 4e-4 / TAU, 150, sample)
        for cell in arrived:
            # In the residual wiring a spike charges the residual neuron of its own input.
            events += np.count_nonzero(atoms[0][:, cell]) if wiring == "lateral" else 1
        assert response.events["synaptic_events"][sample] == events
        assert response.events["input_spikes"][sample] == len(arrived) > 0


# ---------------------------------------------------------------- the code that comes of it


@pytest.mark.parametrize("threshold", [0.02, 0.1])
def test_signed_spikes_come_as_close_as_analog_currents_do(learnt, threshold, figure):
    """Quanta of five times the neurons' own still converge: v is not cut off where they waver."""
    atoms, X = learnt
    analog = Circuit(FINE, SoftThreshold(0.1), [Dictionary("x", atoms)], wiring="residual")
    signed = with_inputs(analog, SpikingResidual(threshold))
    for n_tau, factor in ((20, 2.5), (50, 5)):
        told, exact = (gap_of(c, X, duration=n_tau * TAU, dt=2e-4) for c in (signed, analog))
        figure(f"threshold {threshold}: gap {told:.1e}, analog {exact:.1e}, after {n_tau} tau")
        assert told < factor * exact
    last = gap_of(signed, X, duration=100 * TAU, dt=2e-4)
    figure(f"threshold {threshold}: gap {last:.1e} after 100 tau")
    assert last < (5e-6 if threshold == 0.02 else 5e-5)


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_the_noise_of_random_spikes_falls_with_the_window_and_with_the_quantum(
    learnt, wiring, figure
):
    """What stays in a long window is the bias of cells near threshold, whose noise is rectified."""
    atoms, X = learnt

    def gap(quantum, n_tau, dt=2e-4):
        cells = PoissonInput(quantum, seed=0)
        parts = [Dictionary("x", atoms, inputs=cells)]
        circuit = Circuit(FINE, SoftThreshold(0.1), parts, wiring=wiring)
        return gap_of(circuit, X, duration=n_tau * TAU, dt=dt, window=0.8)

    gaps = [gap(0.02, 20), gap(0.02, 100), gap(0.02, 400), gap(0.005, 400, dt=5e-5)]
    told = ", ".join(f"{value:.1e}" for value in gaps)
    figure(f"quantum .02 after 20, 100, 400 tau, and .005 after 400: gap {told}")
    assert gaps[0] > 2 * gaps[1]
    assert gaps[1] > 1.4 * gaps[2]
    assert gaps[2] > 2 * gaps[3]
    assert gaps[3] < 5e-4


def test_images_stream_past_signed_cells_without_a_reset(digits):
    """Generators of silent neurons that are charged directly are held at their floor."""
    atoms, X = digits
    parts = [Dictionary("x", atoms, inputs=SpikingResidual(0.02))]
    circuit = Circuit(FINE, SoftThreshold(0.1), parts, wiring="residual")
    state, codes = None, []
    for x in X["x"]:
        response = circuit.simulate({"x": x[None]}, 0.4, 2e-4, start=state)
        state = response.state
        codes.append(response.code[0])
        assert state["v"].min() >= FINE.v_floor - 2 * 0.02
    best = circuit.energy(X, circuit.encode(X, tol=1e-10).code)
    assert ((circuit.energy(X, np.array(codes)) - best) / best).mean() < 1e-3


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", [PoissonInput(0.01, 0), SpikingResidual(0.01)], ids=repr)
def test_input_cells_that_would_fire_twice_a_step_are_refused_with_the_remedy(kind):
    circuit = with_inputs(random_circuit(SPIKING, wiring="residual"), kind, AnalogInput())
    X = random_stimuli(circuit)
    peak = X["a"].max()
    with pytest.raises(ValueError, match=rf"spikes of at least {0.04 * peak:.3g} .*a dt of at"):
        circuit.simulate(X, 0.1, 4e-4)
    automatic = circuit.simulate(X, 0.05)
    assert automatic.clock.dt <= 0.01 / peak * TAU * 1.001


REFUSED = {
    "a rate neuron": (RATE, SoftThreshold(0.1), "residual", PoissonInput(0.1, 0), "SpikingNeuron"),
    "one layer": (SPIKING, SoftThreshold(0.1), "lateral", SpikingResidual(), "wiring='residual'"),
    "a hard threshold": (
        SPIKING, HardThreshold(0.1), "residual", SpikingResidual(), "SoftThreshold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_spiking_inputs_where_they_cannot_work_are_refused(case):
    neuron, transfer, wiring, kind, message = REFUSED[case]
    circuit = with_inputs(random_circuit(neuron, transfer, wiring=wiring), kind, AnalogInput())
    with pytest.raises(ValueError, match=message):
        circuit.simulate(random_stimuli(circuit), 0.02, 4e-4)


def test_synapses_do_not_learn_from_random_spikes():
    circuit = random_circuit(SPIKING, wiring="residual")
    circuit = with_inputs(circuit, PoissonInput(0.1, 0), AnalogInput())
    with pytest.raises(NotImplementedError, match="random spikes of"):
        circuit.learn_in_simulation(random_stimuli(circuit), 0.05, 4e-4)


@pytest.mark.parametrize("wrong", [
    lambda: PoissonInput(0.0, 0), lambda: PoissonInput(0.1, -1), lambda: PoissonInput(0.1, 0.5),
    lambda: SpikingResidual(float("nan")),
])  # fmt: skip
def test_input_cells_of_impossible_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=r"awaited|above zero"):
        wrong()


def test_inputs_of_a_foreign_kind_are_refused():
    with pytest.raises(TypeError, match=r"AnalogInput\(\), PoissonInput"):
        Dictionary("x", np.eye(2), inputs="poisson")

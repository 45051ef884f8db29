"""What no sample changes is made once for a circuit, and is what it was when made anew."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, same

import spikelca.circuit.simulation
import spikelca.engines.problem
from spikelca import OrdinalDriver, SoftThreshold
from spikelca.engines import Clock, Coupling
from spikelca.engines.postprocess import compute_certificates
from spikelca.metrics import fixed_point_residual, relative_gap
from spikelca.model.atoms import step_limit


@pytest.fixture
def sparse_gram():
    """A Gram matrix of which a part is zero, and not of unit diagonal."""
    rng = np.random.default_rng(0)
    atoms = rng.random((7, 12)) * (rng.random((7, 12)) < 0.3)
    atoms[3] = 0
    return atoms @ atoms.T


def test_what_follows_from_a_gram_matrix_is_what_the_sums_say(sparse_gram):
    coupling = Coupling(sparse_gram)
    lateral = sparse_gram - np.eye(7)
    np.testing.assert_array_equal(coupling.lateral, lateral)
    np.testing.assert_array_equal(coupling.inhibition(0.05), lateral * 0.05)
    np.testing.assert_array_equal(coupling.inhibition(0.02), lateral * 0.02)
    others = ~np.eye(7, dtype=bool)
    reached = [np.count_nonzero(sparse_gram[others[j], j]) for j in range(7)]
    np.testing.assert_array_equal(coupling.fan_out, reached)
    assert coupling.step_limit == step_limit(sparse_gram)
    assert coupling.default_step == min(0.5 * coupling.step_limit, 0.1)


def test_nobody_can_change_a_gram_matrix_behind_its_consequences(sparse_gram):
    with pytest.raises(ValueError, match="read-only"):
        Coupling(sparse_gram).gram[0, 0] = 2.0


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_the_spectrum_is_looked_at_once_for_each_circuit(neuron, monkeypatch):
    asked = []
    count = lambda gram: asked.append(len(gram)) or step_limit(gram)  # noqa: E731
    monkeypatch.setattr(spikelca.engines.problem, "step_limit", count)
    circuit = random_circuit(neuron)
    X = random_stimuli(circuit)
    first = circuit.simulate(X, 0.05)
    same(first, circuit.simulate(X, 0.05))
    assert len(asked) == 1
    learnt = circuit.learn(X, first.code)
    learnt.simulate(X, 0.05)
    assert len(asked) == 2
    assert learnt.coupling.step_limit != circuit.coupling.step_limit


def test_a_circuit_that_has_run_runs_like_one_that_has_not():
    used, fresh = random_circuit(SPIKING), random_circuit(SPIKING)
    X, keep = random_stimuli(used), {"record": ("u", "spikes")}
    used.simulate(random_stimuli(used, seed=5), 0.02, 4e-4)
    same(used.simulate(X, 0.05, 4e-4, **keep), fresh.simulate(X, 0.05, 4e-4, **keep))


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("widths", [(9,), (9, 5)])
def test_a_run_leaves_stimuli_and_synapses_as_they_were(wiring, widths):
    circuit = random_circuit(
        SPIKING, wiring=wiring, widths=widths, weights=(1.0, 0.7)[: len(widths)]
    )
    X = random_stimuli(circuit)
    before = {name: x.copy() for name, x in X.items()}
    atoms = [d.atoms.copy() for d in circuit.dictionaries]
    circuit.simulate(X, 0.05, 4e-4)
    if wiring == "residual":
        circuit.learn_in_simulation(X, 0.05, 4e-4)
    for name, x in X.items():
        assert x.flags.writeable
        np.testing.assert_array_equal(x, before[name])
    for d, phi in zip(circuit.dictionaries, atoms, strict=True):
        np.testing.assert_array_equal(d.atoms, phi)
        np.testing.assert_array_equal(d.synapses, phi.T)


def test_all_threads_get_one_layout_which_stays_behind_when_a_circuit_is_sent():
    made = []

    def slowly(array):
        made.append(array)
        time.sleep(0.01)
        return array.copy()

    derived = random_circuit(SPIKING).dictionaries[0].derived
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: derived.get(slowly), range(4)))
    assert all(one is found[0] and not one.flags.writeable for one in found)
    made.clear()
    assert derived.get(slowly) is found[0]
    assert not made
    sent = pickle.loads(pickle.dumps(derived))
    np.testing.assert_array_equal(sent.by(slowly), found[0])
    assert len(made) == 1


def test_rows_and_columns_of_a_larger_array_are_simulated_like_copies():
    circuit = random_circuit(SPIKING, widths=(9,), weights=(1.0,))
    large = np.zeros((10, 18))
    large[::2, ::2] = random_stimuli(circuit)["a"]
    part = large[::2, ::2]
    same(
        circuit.simulate({"a": part}, 0.05, 4e-4), circuit.simulate({"a": part.copy()}, 0.05, 4e-4)
    )


def test_free_memory_is_asked_for_only_if_something_is_recorded(monkeypatch):
    asked = []
    monkeypatch.setattr(
        spikelca.circuit.simulation, "available_bytes", lambda: asked.append(1) or 2**40
    )
    circuit = random_circuit(SPIKING)
    circuit.simulate(random_stimuli(circuit), 0.02, 4e-4)
    assert not asked
    circuit.simulate(random_stimuli(circuit), 0.02, 4e-4, record=("spikes",))
    assert asked


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("reading", [None, "current", "clamp", "linked"])
def test_both_certificates_of_a_run_are_those_of_the_public_functions(two_sided, reading):
    drivers = () if reading is None else (OrdinalDriver(2, reading=reading),)
    circuit = random_circuit(
        transfer=SoftThreshold(0.1, two_sided), drivers=drivers, dtype=np.float32
    )
    X = {name: x.astype(np.float32) for name, x in random_stimuli(circuit).items()}
    p = circuit.compile(X, np.arange(5) % 2)
    code = circuit.transfer(p.drive() * np.float32(0.3))
    if p.allowed is not None:
        code *= p.allowed
    residual, gap = compute_certificates(p, p.drive(), code)
    total = p.drive() + p.current
    awaited = fixed_point_residual(circuit.transfer, total, p.gram, code, p.allowed)
    np.testing.assert_allclose(residual, awaited, rtol=1e-6)
    energy = p.stimulus_energy()
    bound = relative_gap(circuit.transfer, p.drive(), p.gram, code, energy, p.current, p.allowed)
    np.testing.assert_array_equal(gap, bound)
    assert (gap > 1e-3).all()


def test_a_code_that_a_one_sided_circuit_cannot_have_has_no_gap():
    gram, drive = np.eye(2), np.array([[1.0, 0.2]])
    gap = relative_gap(SoftThreshold(0.5), drive, gram, np.array([[0.5, -0.1]]), np.ones(1))
    assert np.isnan(gap).all()


@pytest.mark.parametrize("n_steps", [4, 5, 7, 100, 1001])
@pytest.mark.parametrize("window", [1.0, 0.5, 0.25])
def test_the_weights_of_a_readout_add_up_as_they_are_said_to(n_steps, window):
    clock = Clock(1e-4, n_steps)
    assert clock.taper_sum(window) == clock.taper(window).sum()


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_a_run_that_is_recorded_is_the_run_that_is_not(neuron, wiring):
    circuit = random_circuit(neuron, wiring=wiring)
    X = random_stimuli(circuit)
    names = ("u", "s") if wiring == "residual" else ("u",)
    plain = circuit.simulate(X, 0.05, 4e-4)
    kept = circuit.simulate(X, 0.05, 4e-4, record=names, every=3, samples=[1], neurons=[4])
    np.testing.assert_array_equal(plain.code, kept.code)
    for name, values in plain.state.items():
        np.testing.assert_array_equal(values, kept.state[name])
    assert all(np.ptp(kept.traces[name]) > 0 for name in names)

"""Quantities derived from a circuit are computed once and equal recomputed ones."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, same
from quickly import HANGS

import spikelca.circuit.simulation
import spikelca.engines.problem
from spikelca import OrdinalDriver, SoftThreshold
from spikelca.engines import Clock, Coupling
from spikelca.engines.postprocess import compute_certificates
from spikelca.metrics import fixed_point_residual, relative_gap
from spikelca.model.atoms import largest_eigenvalue, step_limit


@pytest.fixture
def sparse_gram():
    """A Gram matrix of which a part is zero, and not of unit diagonal."""
    rng = np.random.default_rng(0)
    atoms = rng.random((7, 12)) * (rng.random((7, 12)) < 0.3)
    atoms[3] = 0
    return atoms @ atoms.T


def test_quantities_derived_from_gram_matrix_are_correct(sparse_gram):
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


@pytest.mark.parametrize("kind", ["rectified", "signed", "one atom", "equal atoms", "zero"])
def test_largest_eigenvalue_is_estimated_from_above(kind):
    for seed in range(40):
        atoms = np.random.default_rng(seed).normal(size=(1 if kind == "one atom" else 12, 16))
        atoms = {"rectified": np.abs(atoms), "equal atoms": atoms[:1].repeat(3, 0)}.get(kind, atoms)
        gram = atoms @ atoms.T * (kind != "zero")
        exact = np.linalg.eigvalsh(gram).max()
        estimate = largest_eigenvalue(gram)
        assert (1 - 1e-12) * exact <= estimate <= 1.05 * exact + 1e-12


def test_gram_matrix_is_readonly(sparse_gram):
    with pytest.raises(ValueError, match="read-only"):
        Coupling(sparse_gram).gram[0, 0] = 2.0


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_spectrum_is_computed_once_per_circuit(neuron, monkeypatch):
    asked = []
    count = lambda gram: asked.append(len(gram)) or step_limit(gram)  # noqa: E731
    monkeypatch.setattr(spikelca.engines.problem, "step_limit", count)
    circuit = random_circuit(neuron)
    X = random_stimuli(circuit)
    first = circuit.simulate(X, 0.05)
    same(first, circuit.simulate(X, 0.05))
    assert len(asked) == 1
    learned = circuit.learn_step(X, first.code)
    learned.simulate(X, 0.05)
    assert len(asked) == 2
    assert learned.coupling.step_limit != circuit.coupling.step_limit


def test_second_run_equals_run_of_new_circuit():
    used, fresh = random_circuit(SPIKING), random_circuit(SPIKING)
    X, keep = random_stimuli(used), {"record": ("u", "spikes")}
    used.simulate(random_stimuli(used, seed=5), 0.02, 4e-4)
    same(used.simulate(X, 0.05, 4e-4, **keep), fresh.simulate(X, 0.05, 4e-4, **keep))


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("widths", [(9,), (9, 5)])
def test_run_does_not_change_stimuli_and_synapses(wiring, widths):
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


def test_derived_arrays_are_shared_but_not_pickled():
    made, all_here = [], threading.Barrier(4)

    def together(array):
        made.append(array)
        all_here.wait(HANGS)  # until every thread makes it, because none has kept it yet
        return array.copy()

    derived = random_circuit(SPIKING).dictionaries[0].derived
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: derived.get(together), range(4)))
    assert len(made) == 4
    assert all(one is found[0] and not one.flags.writeable for one in found)
    assert derived.get(together) is found[0]
    assert len(made) == 4
    all_here = threading.Barrier(1)
    sent = pickle.loads(pickle.dumps(derived))
    np.testing.assert_array_equal(sent.get(together), found[0])
    assert len(made) == 5


def test_views_are_simulated_like_copies():
    circuit = random_circuit(SPIKING, widths=(9,), weights=(1.0,))
    large = np.zeros((10, 18))
    large[::2, ::2] = random_stimuli(circuit)["a"]
    part = large[::2, ::2]
    same(
        circuit.simulate({"a": part}, 0.05, 4e-4), circuit.simulate({"a": part.copy()}, 0.05, 4e-4)
    )


def test_free_memory_is_read_only_when_recording(monkeypatch):
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
@pytest.mark.parametrize("mode", [None, "current", "clamp", "linked"])
def test_run_certificates_equal_those_of_public_functions(two_sided, mode):
    drivers = () if mode is None else (OrdinalDriver(2, mode=mode),)
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
    expected = fixed_point_residual(circuit.transfer, total, p.gram, code, p.allowed)
    np.testing.assert_allclose(residual, expected, rtol=1e-6)
    energy = p.stimulus_energy()
    bound = relative_gap(circuit.transfer, p.drive(), p.gram, code, energy, p.current, p.allowed)
    np.testing.assert_array_equal(gap, bound)
    assert (gap > 1e-3).all()


def test_negative_one_sided_code_has_no_gap():
    gram, drive = np.eye(2), np.array([[1.0, 0.2]])
    gap = relative_gap(SoftThreshold(0.5), drive, gram, np.array([[0.5, -0.1]]), np.ones(1))
    assert np.isnan(gap).all()


@pytest.mark.parametrize("n_steps", [4, 5, 7, 100, 1001])
@pytest.mark.parametrize("window", [1.0, 0.5, 0.25])
def test_taper_weights_add_up_to_taper_sum(n_steps, window):
    clock = Clock(1e-4, n_steps)
    assert clock.taper_sum(window) == clock.taper(window).sum()


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_recording_does_not_change_the_run(neuron, wiring):
    circuit = random_circuit(neuron, wiring=wiring)
    X = random_stimuli(circuit)
    names = ("u", "s") if wiring == "residual" else ("u",)
    plain = circuit.simulate(X, 0.05, 4e-4)
    kept = circuit.simulate(X, 0.05, 4e-4, record=names, every=3, samples=[1], neurons=[4])
    np.testing.assert_array_equal(plain.code, kept.code)
    for name, values in plain.state.items():
        np.testing.assert_array_equal(values, kept.state[name])
    assert all(np.ptp(kept.traces[name]) > 0 for name in names)

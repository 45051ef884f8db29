"""Learning in simulation: agreement of the engines, and the learned atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli
from sklearn.datasets import load_digits

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    OrdinalDriver,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.engines.brian2 import Brian2Engine
from spikelca.model import Sine
from spikelca.model.atoms import normalise_stacked, stacked_norms

TRAIN, HELD_OUT = slice(0, 1500), slice(1500, 1797)


@pytest.fixture(scope="module")
def digits():
    """Unit-norm digits in random order, and their labels."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    X = data.data[order]
    return X / np.linalg.norm(X, axis=1, keepdims=True), data.target[order]


def make_circuit(neuron, *widths, drivers=(), seed=0):
    """Make 48 neurons with random non-negative atoms, modality x and optionally label."""
    rng = np.random.default_rng(seed)
    atoms = [
        scale * rng.random((48, width)) for width, scale in zip(widths, (1, 0.3), strict=False)
    ]
    atoms = normalise_stacked(atoms, [1.0] * len(atoms))
    dictionaries = [Dictionary(name, phi) for name, phi in zip(("x", "label"), atoms, strict=False)]
    return Circuit(neuron, SoftThreshold(0.1), dictionaries, drivers, wiring="residual")


def assert_equal(first, second):
    """Check that two results are bit-identical."""
    for name in ("atoms", "error_before", "error_after", "traces", "state"):
        one, other = getattr(first, name), getattr(second, name)
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=f"{name} {key}")
    np.testing.assert_array_equal(first.code, second.code)
    for one, other in zip(first.spikes or (), second.spikes or (), strict=True):
        np.testing.assert_array_equal(one, other)


DRIVERS = {
    "none": (),
    "current": (OrdinalDriver(2),),
    "clamp": (OrdinalDriver(2, mode="clamp"),),
    "linked": (OrdinalDriver(2, mode="linked"),),
}


@pytest.mark.parametrize("drivers", DRIVERS)
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_engines_learn_bit_identical_atoms(neuron, drivers):
    circuit = random_circuit(neuron, wiring="residual", drivers=DRIVERS[drivers])
    X = random_stimuli(circuit, n_samples=12)
    record = ("spikes",) if neuron is SPIKING else ()
    results = [
        circuit.learn_in_simulation(
            X, 0.08, 4e-4, labels=np.arange(12) % 2, engine=engine, record=record
        )[1]
        for engine in ("numba", "brian2")
    ]
    assert_equal(*results)
    assert np.abs(results[0].atoms["a"] - circuit.dictionary("a").atoms).max() > 0.02


def test_engines_learn_bit_identical_atoms_from_digits(digits):
    X, y = digits
    circuit = make_circuit(SPIKING, 64, 10)
    stimuli = {"x": X[:15], "label": 0.7 * np.eye(10)[y[:15]]}
    fast, brian = (
        circuit.learn_in_simulation(stimuli, 0.15, 5e-4, engine=engine, record=("spikes",))[1]
        for engine in ("numba", "brian2")
    )
    assert len(fast.spikes) > 2000
    assert_equal(fast, brian)


@pytest.mark.cython
def test_compiled_brian2_learns_the_same_atoms(digits, quick_compiler):
    X, _ = digits
    circuit = make_circuit(SPIKING, 64)
    fast, brian = (
        circuit.learn_in_simulation({"x": X[:10]}, 0.15, 5e-4, engine=engine)[1]
        for engine in ("numba", Brian2Engine(target="cython"))
    )
    np.testing.assert_allclose(fast.atoms["x"], brian.atoms["x"], atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_reconstruction_error_falls_below_a_quarter(digits, neuron, seed, figure):
    X, _ = digits
    start = make_circuit(neuron, 64, seed=seed)

    def unexplained(circuit):
        code = circuit.encode({"x": X[HELD_OUT]}, tol=1e-6).code
        return ((X[HELD_OUT] - circuit.reconstruct(code, "x")) ** 2).sum(axis=1).mean()

    learned, _ = start.learn_in_simulation({"x": X[:400]}, 0.15, 5e-4)
    remaining = unexplained(learned) / unexplained(start)
    figure(f"{remaining:.3f} of the held-out error remains after 400 presentations")
    assert remaining <= 0.25


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_linked_label_is_reconstructed_from_pixels(digits, seed, figure):
    X, y = digits
    circuit = make_circuit(SPIKING, 64, 10, seed=seed)
    stimuli = {"x": X[:400], "label": 0.7 * np.eye(10)[y[:400]]}
    learned, _ = circuit.learn_in_simulation(stimuli, 0.15, 5e-4)

    def accuracy(circuit):
        code = circuit.encode({"x": X[HELD_OUT]}, tol=1e-6).code
        read = circuit.reconstruct(code, "label", observed=["x"]).argmax(axis=1)
        return (read == y[HELD_OUT]).mean()

    figure(f"{accuracy(learned):.3f} of the held-out labels after 400 presentations")
    assert accuracy(learned) >= 0.85
    assert accuracy(circuit) < 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ordinal_driver_orders_ten_blocks(digits, seed):
    X, y = digits
    driver = OrdinalDriver(10, excitation=0.05, inhibition=0.05)
    circuit = make_circuit(SPIKING, 64, 10, drivers=(driver,), seed=seed)
    stimuli = {"x": X[:400], "label": 0.7 * np.eye(10)[y[:400]]}
    learned, _ = circuit.learn_in_simulation(stimuli, 0.15, 5e-4, labels=y[:400])
    labels_of = learned.dictionary("label").atoms
    neuron_classes = driver.neuron_classes(48)
    blocks = [int(labels_of[neuron_classes == c].sum(axis=0).argmax()) for c in range(10)]
    assert blocks == list(range(10))


def test_learning_rate_decreases_with_usage():
    """For one neuron and one image, H is the decayed sum of squared activities."""
    circuit = Circuit(RATE, SoftThreshold(0.1), [Dictionary("x", [[0.6, 0.8]])], wiring="residual")
    first, result = circuit.learn_in_simulation({"x": [[0.6, 0.8]] * 3}, 0.3, 5e-4, decay=0.5)
    a = result.code[:, 0]
    expected = 0.5 * (0.5 * (0.5 * 0 + a[0] ** 2) + a[1] ** 2) + a[2] ** 2
    assert first.plasticity.usage[0] == pytest.approx(expected, rel=1e-12)
    later, _ = first.learn_in_simulation({"x": [[0.8, 0.6]]}, 0.3, 5e-4)
    initial, _ = circuit.learn_in_simulation({"x": [[0.8, 0.6]]}, 0.3, 5e-4)
    change = [c.dictionary("x").atoms[0, 0] - 0.6 for c in (later, initial)]
    assert 0 < change[0] < change[1]


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_stacked_atoms_stay_on_the_unit_sphere(neuron):
    circuit = random_circuit(neuron, wiring="residual")
    learned, _ = circuit.learn_in_simulation(random_stimuli(circuit), 0.05, 4e-4)
    norms = stacked_norms([d.atoms for d in learned.dictionaries], [1.0, 0.7])
    np.testing.assert_allclose(norms, 1.0, rtol=1e-12)


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_continued_learning_equals_one_run(neuron):
    circuit = random_circuit(neuron, wiring="residual")
    X = random_stimuli(circuit, n_samples=8)
    whole, result = circuit.learn_in_simulation(X, 0.05, 4e-4)
    half, first = circuit.learn_in_simulation({k: x[:5] for k, x in X.items()}, 0.05, 4e-4)
    rest, second = half.learn_in_simulation(
        {k: x[5:] for k, x in X.items()}, 0.05, 4e-4, start=first.state
    )
    for name in ("a", "b"):
        np.testing.assert_array_equal(rest.dictionary(name).atoms, whole.dictionary(name).atoms)
    np.testing.assert_array_equal(np.vstack([first.code, second.code]), result.code)


def test_update_uses_the_presented_image():
    """For one neuron, the first presentation moves the atom towards the first image only."""
    circuit = Circuit(
        RATE, SoftThreshold(0.1), [Dictionary("x", [[1.0, 0.0, 0.0]])], wiring="residual"
    )
    X = np.array([[0.8, 0.6, 0.0], [0.8, 0.0, 0.6]])
    learned, _ = circuit.learn_in_simulation({"x": X[:1]}, 0.3, 5e-4)
    assert learned.dictionary("x").atoms[0, 1] > 0.1
    assert learned.dictionary("x").atoms[0, 2] == 0.0
    both, _ = circuit.learn_in_simulation({"x": X}, 0.3, 5e-4)
    assert both.dictionary("x").atoms[0, 2] > 0.1


def test_only_plastic_dictionaries_learn():
    atoms = normalise_stacked(
        [np.random.default_rng(0).random((4, 6)), np.random.default_rng(1).random((4, 3))],
        [1.0, 1.0],
    )
    circuit = Circuit(
        SPIKING, SoftThreshold(0.1),
        [Dictionary("x", atoms[0]), Dictionary("fixed", atoms[1], plasticity=None)],
        wiring="residual",
    )  # fmt: skip
    X = random_stimuli(random_circuit(widths=(6, 3)), n_samples=4)
    learned, _ = circuit.learn_in_simulation({"x": X["a"], "fixed": X["b"]}, 0.1, 4e-4)
    after = learned.dictionary("fixed").atoms
    # Its direction is constant; normalising the stacked atom may change its length.
    scale = after / atoms[1]
    np.testing.assert_allclose(scale, scale[:, :1] * np.ones(3), rtol=1e-12)
    turned = learned.dictionary("x").atoms / atoms[0]
    assert np.ptp(turned, axis=1).max() > 0.05


def test_silent_neuron_keeps_plastic_weights_of_zero():
    plastic = Dictionary("x", [[1.0, 0.0], [0.0, 0.0]])
    fixed = Dictionary("label", [[0.0, 0.0], [0.0, 0.5]], plasticity=None)
    circuit = Circuit(RATE, SoftThreshold(0.1), [plastic, fixed], wiring="residual")
    X = {"x": [[0.8, 0.6]] * 2, "label": np.zeros((2, 2))}
    learned, _ = circuit.learn_in_simulation(X, 0.1, 5e-4)
    first, second = learned.dictionary("x").atoms
    assert first[1] > 0.05
    np.testing.assert_array_equal(second, 0)
    np.testing.assert_array_equal(learned.dictionary("label").atoms, fixed.atoms)


@pytest.mark.parametrize("fixed_norm", [0.6, 1.0, 2.0])
def test_plastic_weights_keep_their_norm_next_to_long_fixed_weights(fixed_norm):
    """Otherwise the whole stacked atom has norm one."""
    plastic = Dictionary("x", 0.5 * np.array([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]]))
    fixed = Dictionary("label", fixed_norm * np.eye(2), plasticity=None)
    circuit = Circuit(RATE, SoftThreshold(0.1), [plastic, fixed], wiring="residual")
    X = {"x": [[0.6, 0.5, 0.4]] * 2, "label": 0.5 * np.eye(2)}
    learned, _ = circuit.learn_in_simulation(X, 0.1, 5e-4)
    atoms = learned.dictionary("x").atoms
    assert np.abs(atoms - plastic.atoms).max() > 0.01
    np.testing.assert_allclose(
        np.linalg.norm(atoms, axis=1), 0.8 if fixed_norm == 0.6 else 0.5, rtol=1e-12
    )


def test_learning_keeps_the_precision():
    circuit = random_circuit(SPIKING, wiring="residual", dtype=np.float32)
    learned, _ = circuit.learn_in_simulation(random_stimuli(circuit), 0.05, 4e-4)
    assert learned.dtype == np.float32


def test_learning_computes_in_float64():
    circuit = random_circuit(RATE, wiring="residual", dtype=np.float32)
    X = {name: x.astype(np.float32) for name, x in random_stimuli(circuit).items()}
    dictionaries = [replace(d, atoms=d.atoms.astype(float)) for d in circuit.dictionaries]
    expected = circuit.replace(dictionaries=dictionaries).learn_in_simulation(X, 0.02, 4e-4)[1]
    assert_equal(circuit.learn_in_simulation(X, 0.02, 4e-4)[1], expected)


def test_circuits_that_cannot_learn_raise():
    X = random_stimuli(random_circuit())
    with pytest.raises(ValueError, match="wiring='residual'"):
        random_circuit(SPIKING).learn_in_simulation(X)
    signed = random_circuit(SPIKING, SoftThreshold(0.1, two_sided=True), wiring="residual")
    with pytest.raises(NotImplementedError, match="would diverge"):
        signed.learn_in_simulation(X)
    circuit = random_circuit(SPIKING, wiring="residual")
    with pytest.raises(ValueError, match="rate must be"):
        circuit.learn_in_simulation(X, rate=0.0)
    with pytest.raises(NotImplementedError, match="does not support plastic synapses"):
        circuit.learn_in_simulation(X, 0.05, 4e-4, engine="reference")
    with pytest.raises(ValueError, match=r"must have shape \(1, 11\)"):
        circuit.learn_in_simulation(X, 0.05, 4e-4, start={"s": np.zeros((5, 11))})


def test_diverging_learning_raises():
    circuit = random_circuit(SPIKING, wiring="residual")
    with pytest.raises((FloatingPointError, ValueError), match=r"without bound|one spike per step"):
        circuit.learn_in_simulation(random_stimuli(circuit), 0.05, 4e-4, rate=1e200)


# ---------------------------------------------------------------- errors and traces


@pytest.mark.parametrize("engine", ["numba", "brian2"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_errors_are_those_of_the_atoms_before_and_after(neuron, engine):
    circuit = random_circuit(neuron, wiring="residual")
    X = random_stimuli(circuit, n_samples=3)
    _, result = circuit.learn_in_simulation(X, 0.06, 4e-4, engine=engine)
    start = None
    for i in range(3):
        part = {name: x[i : i + 1] for name, x in X.items()}
        learned, start = circuit.learn_in_simulation(part, 0.06, 4e-4, engine=engine, start=start)
        for name, x in part.items():
            for errors, of in ((result.error_before, circuit), (result.error_after, learned)):
                expected = ((x - of.reconstruct(result.code[i : i + 1], name)) ** 2).sum()
                assert errors[name][i] == pytest.approx(expected, rel=1e-12)
        circuit = learned


def test_error_before_falls_while_learning(digits):
    """The mean of 100 presentations, as the error of images that were never presented."""
    X, _ = digits
    _, result = make_circuit(SPIKING, 64).learn_in_simulation({"x": X[:400]}, 0.1, 5e-4)
    means = result.error_before["x"].reshape(4, 100).mean(axis=1)
    assert means[-1] < 0.7 * means[0]
    assert (result.error_after["x"] < result.error_before["x"]).mean() > 0.9


@pytest.mark.parametrize("engine", ["numba", "brian2"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_traces_of_chosen_presentations_are_those_of_single_runs(neuron, engine):
    """A presentation is a continued run; only its synapses change."""
    circuit = random_circuit(neuron, wiring="residual", drivers=DRIVERS["current"])
    X, labels = random_stimuli(circuit, n_samples=4), np.arange(4) % 2
    spiking = ("v", "spikes") if neuron is SPIKING else ()
    options = {"presentation": 0.02, "dt": 4e-4, "engine": engine}
    record = ("u", "a", "s", "r", "current", "weights", *spiking)
    learned, whole = circuit.learn_in_simulation(
        X, labels=labels, record=record, every=7, neurons=[2, 5], samples=[3, 1], **options
    )
    np.testing.assert_array_equal(whole.presentations, [1, 3])
    np.testing.assert_allclose(whole.times[1], 0.06 + np.arange(8) * 7 * 4e-4, rtol=1e-12)
    start, plain = None, circuit
    for i in range(4):
        part = {name: x[i : i + 1] for name, x in X.items()}
        before = plain
        plain, start = plain.learn_in_simulation(part, labels=labels[i : i + 1], start=start,
                                                 record=record, **options)  # fmt: skip
        if i in (1, 3):
            place = (i - 1) // 2
            assert whole.traces.keys() == start.traces.keys()
            for name, trace in whole.traces.items():
                full = start.traces[name][0, ::7]
                is_neuron = ":" not in name
                np.testing.assert_array_equal(trace[place], full[:, [2, 5]] if is_neuron else full)
            for d in before.dictionaries:
                weights = whole.traces[f"weights:{d.name}"][place]
                np.testing.assert_array_equal(weights[0], d.atoms)
                assert (neuron is SPIKING) == (not np.array_equal(weights[0], weights[-1]))
            if neuron is SPIKING:
                kept = np.isin(start.spikes.neuron, [2, 5])
                own = whole.spikes.sample == i
                np.testing.assert_array_equal(whole.spikes.neuron[own], start.spikes.neuron[kept])
                np.testing.assert_array_equal(whole.spikes.step[own], start.spikes.step[kept])
    for one, other in zip(learned.dictionaries, plain.dictionaries, strict=True):
        np.testing.assert_array_equal(one.atoms, other.atoms)


def test_engines_record_the_same_traces():
    circuit = random_circuit(SPIKING, wiring="residual", drivers=DRIVERS["linked"])
    X = random_stimuli(circuit, n_samples=4)
    options = {"record": ("u", "r", "v", "weights", "spikes"), "every": 9, "samples": [0, 2]}
    assert_equal(*(
        circuit.learn_in_simulation(
            X, 0.02, 4e-4, labels=[0, 1, 0, 1], engine=engine, **options
        )[1]
        for engine in ("numba", "brian2")
    ))  # fmt: skip


@pytest.mark.parametrize(("options", "error", "match"), [
    ({"record": ("p",)}, ValueError, "record must be a sequence of names from"),
    ({"record": ("u",), "samples": [5]}, ValueError, "samples must be from 0 to 4"),
    ({"recording": ("u",)}, TypeError, r"only the options .*, got \['recording'\]"),
])  # fmt: skip
def test_records_that_cannot_be_made_raise(options, error, match):
    circuit = random_circuit(RATE, wiring="residual")
    with pytest.raises(error, match=match):
        circuit.learn_in_simulation(random_stimuli(circuit), 0.02, 4e-4, **options)


def test_weights_are_recorded_in_learning_only():
    circuit = random_circuit(RATE, wiring="residual")
    with pytest.raises(ValueError, match="record must be a sequence of names"):
        circuit.simulate(random_stimuli(circuit), 0.02, 4e-4, record=("weights",))


def test_independent_loop_learns_the_same_with_a_driver():
    """Forward Euler and the plastic step in the documented order, in plain NumPy."""
    n, m, k, theta, lam, n_steps = 6, 8, 0.02, 0.05, 0.1, 300
    atoms, X = (np.random.default_rng(0).random(shape) for shape in ((n, m), (4, m)))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    driver = CurrentDriver(0.05 + 0.1 * Sine(1.0, 30.0), neurons=[0, 4])
    circuit = Circuit(SpikingNeuron(10e-3, theta), SoftThreshold(lam), [Dictionary("x", atoms)],
                      [driver], wiring="residual")  # fmt: skip
    phi, spikes = atoms.T.copy(), []
    r, s, v, usage = np.zeros(m), np.zeros(n), np.zeros(n), np.zeros(n)
    for number, x in enumerate(X):
        eta, counts = 1 / (usage + 0.03) * theta / (n_steps * k), np.zeros(n)
        for step in range(n_steps):
            time = (number * n_steps + step) * k * 10e-3
            d = np.where(np.isin(range(n), [0, 4]), 0.05 + 0.1 * np.sin(2 * np.pi * 30 * time), 0)
            u = phi.T @ r + s
            v = k * np.where((u > lam) | (v > -theta), u - lam, 0) + v
            r, s = k * (x - r) + r, k * (d - s) + s
            fired = np.flatnonzero(v >= theta)
            for j in fired:
                phi[:, j] += eta[j] * r
            for j in fired:
                v[j] -= theta
                s[j] += theta
                r = r - phi[:, j] * theta
                spikes.append((number, j, step))
            counts[fired] += 1
        usage = 0.995 * usage + (theta * counts / (n_steps * k)) ** 2
        phi /= np.linalg.norm(phi, axis=0)
    learned, result = circuit.learn_in_simulation(
        {"x": X}, n_steps * k * 10e-3, k * 10e-3, record=("spikes",)
    )
    assert len(spikes) > 500
    assert list(zip(*(column.tolist() for column in result.spikes), strict=True)) == spikes
    np.testing.assert_allclose(learned.dictionary("x").atoms, phi.T, atol=1e-12)
    np.testing.assert_allclose(result.usage, usage, rtol=1e-12)

"""Learning: the true atoms are found, the energy falls, and all else stays unchanged."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from spikelca import (
    Circuit,
    Dictionary,
    Fade,
    Hebbian,
    IdleAtoms,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
)
from spikelca.circuit import batch_statistics
from spikelca.datasets import linked_bars
from spikelca.learning import learn
from spikelca.model import atoms as model_atoms
from spikelca.model.atoms import draw_initial_atoms, stacked_norms
from spikelca.utils.system import single_blas_thread

WEIGHTS = {"bars": 1.0, "marks": 1.0}


def first_circuit(X, n_neurons, seed, weights=WEIGHTS, dtype=np.float64, **parts):
    """A circuit whose atoms are samples; the default Hebbian rule."""
    X = {name: x.astype(dtype) for name, x in X.items()}
    atoms = draw_initial_atoms(X, weights, n_neurons, np.random.default_rng(seed))
    dictionaries = [Dictionary(name, phi, weights[name]) for name, phi in atoms.items()]
    return Circuit(RateNeuron(), SoftThreshold(0.1), dictionaries, **parts)


def batches_of(X, n_batches, seed, size=50, labels=None):
    rng = np.random.default_rng(seed)
    n_samples = len(next(iter(X.values())))
    for _ in range(n_batches):
        rows = rng.integers(n_samples, size=size)
        yield {name: x[rows] for name, x in X.items()}, None if labels is None else labels[rows]


def learned(circuit, X, n_batches=200, seed=0, **parts):
    """The last circuit and all reports."""
    batches, rng = batches_of(X, n_batches, seed), np.random.default_rng(seed)
    circuits, reports = zip(*learn(circuit, batches, rng=rng, **parts), strict=True)
    return circuits[-1], reports


def cosines(found, true):
    """How well each learned atom matches each true one: (n_true, n_neurons)."""
    unit = [Z / np.linalg.norm(Z, axis=1)[:, None] for Z in (true, found)]
    return unit[0] @ unit[1].T


def stacked_norm(circuit):
    parts = circuit.dictionaries
    return stacked_norms([d.atoms for d in parts], [d.weight for d in parts])


# ---------------------------------------------------------------------- initial atoms


@pytest.mark.parametrize("rows", [1024, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_atoms_are_all_different(monkeypatch, dtype, rows):
    """Of the scaled copies of five samples, the first is kept and noise is added to the others."""
    monkeypatch.setattr(model_atoms, "COMPARED_ROWS", rows)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        base, scale = rng.random((5, 8)), rng.uniform(0.1, 10, (20, 1))
        X = {"x": (np.tile(base, (4, 1)) * scale).astype(dtype)}
        atoms = draw_initial_atoms(X, {"x": 1.0}, 20, rng)["x"].astype(float)
        assert np.abs(np.linalg.norm(atoms, axis=1) - 1).max() < 1e-6
        distances = np.linalg.norm(atoms[:, None] - atoms, axis=2) + np.eye(20)
        assert distances.min() > 1e-3
        unit = base / np.linalg.norm(base, axis=1, keepdims=True)
        unchanged = np.linalg.norm(atoms[:, None] - unit, axis=2) < 1e-6
        assert (unchanged.sum(axis=0) == 1).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_atoms_from_equal_samples_differ_by_a_little_noise(scale):
    """A normal number for each input, without its sign, and in all `JITTER` times the norm."""
    direction = np.random.default_rng(0).random(400)
    direction /= np.linalg.norm(direction)
    stimuli = {"x": np.tile(scale * direction, (5, 1))}
    atoms = draw_initial_atoms(stimuli, {"x": 1.0}, 5, np.random.default_rng(1))["x"]
    np.testing.assert_allclose(atoms[0], direction, rtol=1e-12)
    across = atoms[1:] / (atoms[1:] @ direction)[:, None] - direction
    # Some of the noise is along the sample and has no effect: at most 2 / pi of its square.
    size = np.linalg.norm(across, axis=1)
    assert (size > 0.4 * model_atoms.JITTER).all()
    assert (size < 1.2 * model_atoms.JITTER).all()


def test_blank_samples_start_atoms_without_a_warning():
    X = {"x": np.vstack([np.zeros((3, 5)), np.eye(5)])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms = draw_initial_atoms(X, {"x": 1.0}, 8, np.random.default_rng(0))["x"]
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1.0)


def test_initial_atoms_of_distinct_samples_are_the_samples():
    X = {"x": np.random.default_rng(0).random((12, 6))}
    X["x"] /= np.linalg.norm(X["x"], axis=1, keepdims=True)
    atoms = draw_initial_atoms(X, {"x": 1.0}, 12, np.random.default_rng(1))["x"]
    np.testing.assert_allclose(np.sort(atoms, axis=0), np.sort(X["x"], axis=0), rtol=1e-15)


# ---------------------------------------------------------------------- recovery


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_true_atoms_are_found_in_every_modality(seed, noise):
    # 16 causes, half as many neurons to spare, 200 batches of 50.
    world = linked_bars(2000, size=8, noise=noise, random_state=seed)
    circuit, _ = learned(first_circuit(world.X, 24, seed), world.X, seed=seed)
    best = {}
    for name, true in world.atoms.items():
        match = cosines(circuit.dictionary(name).atoms, true)
        assert (match.max(axis=1) > 0.95).mean() >= 0.95
        best[name] = match.argmax(axis=1)
    linked = best["bars"] == best["marks"]
    assert linked.mean() >= 0.95  # one neuron stands for one cause in both modalities


def test_atoms_are_found_with_weights_and_float32():
    world = linked_bars(2000, size=8, random_state=0)
    start = first_circuit(world.X, 24, 0, {"bars": 2.0, "marks": 0.5}, np.float32)
    circuit, _ = learned(start, world.X)
    assert circuit.dtype == np.float32
    for name, true in world.atoms.items():
        match = cosines(circuit.dictionary(name).atoms, true).max(axis=1)
        assert (match > 0.95).mean() >= 0.95


def test_code_of_one_modality_reconstructs_the_other():
    world = linked_bars(2000, size=8, random_state=0)
    circuit, _ = learned(first_circuit(world.X, 24, 0), world.X)
    fresh = linked_bars(200, size=8, random_state=np.random.default_rng(9))
    # The marks of another world lie elsewhere: show the true atoms of this one.
    marks, bars = (fresh.codes @ world.atoms[name] for name in ("marks", "bars"))
    code = circuit.encode({"marks": marks}).code
    recalled = circuit.reconstruct(code, "bars", observed=["marks"])
    cosine = np.einsum("ij,ij->i", recalled, bars)
    cosine /= np.linalg.norm(recalled, axis=1) * np.linalg.norm(bars, axis=1)
    assert np.median(cosine) > 0.95


# ---------------------------------------------------------------------- the energy


def test_energy_of_test_samples_falls():
    world = linked_bars(2000, size=8, noise=0.05, random_state=0)
    shown = {name: x[:1500] for name, x in world.X.items()}
    held = {name: x[1500:] for name, x in world.X.items()}
    circuit = first_circuit(shown, 24, 0)
    energies = [circuit.energy(held, circuit.encode(held).code).mean()]
    steps = learn(circuit, batches_of(shown, 200, 0))
    for circuit, progress in steps:
        if progress.batch % 50 == 0:
            energies.append(circuit.energy(held, circuit.encode(held).code).mean())
    assert np.diff(energies).max() < 0
    assert energies[-1] < 0.6 * energies[0]


def test_small_step_lowers_energy_of_its_batch():
    world = linked_bars(200, size=4, random_state=0)
    circuit = first_circuit(world.X, 10, 0)
    circuit = circuit.replace(
        dictionaries=tuple(
            Dictionary(d.name, d.atoms, plasticity=Hebbian(rate=0.01)) for d in circuit.dictionaries
        )
    )
    code = circuit.encode(world.X, 1e-8).code
    after = circuit.learn_step(world.X, code)
    before = circuit.energy(world.X, code).mean()
    assert after.energy(world.X, after.encode(world.X, 1e-8).code).mean() < before


# ---------------------------------------------------------------------- what holds after every step


@pytest.mark.parametrize("weights", [WEIGHTS, {"bars": 2.0, "marks": 0.3}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stacked_atoms_have_unit_norm_after_every_step(weights, dtype):
    world = linked_bars(500, size=4, random_state=0)
    start = first_circuit(world.X, 10, 0, weights, dtype, idle=IdleAtoms(patience=60))
    for circuit, _ in learn(start, batches_of(world.X, 40, 0), rng=np.random.default_rng(0)):
        np.testing.assert_allclose(stacked_norm(circuit), 1, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(np.diag(circuit.gram), 1, rtol=16 * np.finfo(dtype).eps)
        assert all(d.atoms.dtype == dtype for d in circuit.dictionaries)


def test_modality_without_stimuli_stays_unchanged_in_training():
    world = linked_bars(500, size=4, random_state=0)
    start = first_circuit(world.X, 10, 0)
    circuit, reports = learned(start, {"bars": world.X["bars"]}, 40)
    assert circuit.dictionary("marks") == start.dictionary("marks")
    assert circuit.dictionary("bars") != start.dictionary("bars")
    np.testing.assert_allclose(stacked_norm(circuit), 1, rtol=1e-12)
    assert reports[0].error.keys() == {"bars"}
    assert reports[-1].error["bars"] < reports[0].error["bars"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_is_bit_identical_for_one_seed(dtype):
    world = linked_bars(500, size=4, random_state=0)

    def run(seed):
        start = first_circuit(world.X, 12, 0, dtype=dtype, idle=IdleAtoms(patience=60))
        return learned(start, world.X, 40, seed)[0].dictionaries

    first, again, other = run(0), run(0), run(1)
    assert first == again
    assert first != other


def test_resumed_training_equals_uninterrupted_training():
    world = linked_bars(500, size=4, random_state=0)
    labels = world.codes.argmax(axis=1) % 2
    driver = OrdinalDriver(n_classes=2, excitation=0.0, inhibition=0.3, fade=Fade())
    start = first_circuit(world.X, 10, 0, drivers=[driver])
    batches = list(batches_of(world.X, 20, 0, labels=labels))
    *_, (whole, progress) = learn(start, batches, n_batches=20)
    *_, (half, _) = learn(start, batches[:10], n_batches=20)
    *_, (rest, resumed) = learn(half, batches[10:], n_batches=20, first=10)
    assert whole.dictionaries == rest.dictionaries
    assert progress == resumed
    assert progress.batch == 20


def test_drivers_fade_over_n_batches():
    world = linked_bars(500, size=4, random_state=0)
    labels = world.codes.argmax(axis=1) % 2
    driver = OrdinalDriver(n_classes=2, excitation=0.0, inhibition=0.3, fade=Fade(until=0.5))
    start = first_circuit(world.X, 10, 0, drivers=[driver])
    batches = list(batches_of(world.X, 10, 0, labels=labels))
    circuit = start
    for batch, (stimuli, own) in enumerate(batches):
        strength = max(1 - batch / 5, 0)
        weaker = OrdinalDriver(n_classes=2, excitation=0.0, inhibition=0.3 * strength)
        code = circuit.replace(drivers=(weaker,)).encode(stimuli, 1e-3, labels=own).code
        circuit = circuit.learn_step(stimuli, code, labels=own)
    *_, (faded, _) = learn(start, batches, n_batches=10)
    *_, (constant, _) = learn(start, batches)
    for d in circuit.dictionaries:
        np.testing.assert_allclose(faded.dictionary(d.name).atoms, d.atoms, rtol=0, atol=1e-9)
        assert np.abs(constant.dictionary(d.name).atoms - d.atoms).max() > 1e-3


def test_learned_circuit_has_driver_at_full_strength():
    world = linked_bars(500, size=4, random_state=0)
    labels = world.codes.argmax(axis=1) % 2
    driver = OrdinalDriver(n_classes=2, excitation=0.0, inhibition=0.3, fade=Fade())
    start = first_circuit(world.X, 10, 0, drivers=[driver])
    batches = batches_of(world.X, 5, 0, labels=labels)
    for circuit, _ in learn(start, batches, n_batches=5):
        assert circuit.drivers == (driver,)


# ---------------------------------------------------------------------- idle atoms and reports


def with_dead_atoms(world, n_dead=3):
    """A circuit some of whose atoms see only inputs that stay dark, and what it is shown."""
    dark = np.zeros((len(world.codes), n_dead))
    X = {name: np.hstack([x, dark]) for name, x in world.X.items()}
    circuit = first_circuit(X, 12, 0, idle=IdleAtoms(patience=100))
    dead = [np.array(d.atoms) for d in circuit.dictionaries]
    for phi in dead:
        phi[-n_dead:] = np.eye(n_dead, phi.shape[1], phi.shape[1] - n_dead) / np.sqrt(2)
    moved = (d._with_atoms(phi) for d, phi in zip(circuit.dictionaries, dead, strict=True))
    return circuit.replace(dictionaries=tuple(moved)), X


def test_progress_counts_reinitialised_atoms():
    start, X = with_dead_atoms(linked_bars(500, size=4, random_state=0))
    assert not start.encode(X).code[:, 9:].any()
    circuit, reports = learned(start, X, 40)
    redrawn = [progress.redrawn for progress in reports]
    assert redrawn[:3] == [0, 3, 0]
    assert (circuit.encode(X).code > 0).any(axis=0).all()


def test_idle_atoms_stay_inactive_without_generator():
    start, X = with_dead_atoms(linked_bars(500, size=4, random_state=0))
    *_, (circuit, progress) = learn(start, batches_of(X, 40, 0))
    assert progress.redrawn == 0
    assert (circuit.plasticity.silent[9:] == 40 * 50).all()
    for d, before in zip(circuit.dictionaries, start.dictionaries, strict=True):
        np.testing.assert_allclose(d.atoms[9:], before.atoms[9:], rtol=0, atol=1e-14)


def test_progress_contains_batch_statistics():
    world = linked_bars(500, size=4, random_state=0)
    start = first_circuit(world.X, 10, 0)
    batch = {name: x[:30] for name, x in world.X.items()}
    [(_, progress)] = learn(start, [(batch, None)], first=7)
    code = start.encode(batch, 1e-3).code
    assert progress.batch == 8
    assert progress.n_samples == 30
    assert progress.active == np.count_nonzero(code) / 30
    for name, x in batch.items():
        r = x - start.reconstruct(code, name)
        assert progress.error[name] == pytest.approx((r**2).sum() / (x**2).sum(), rel=1e-12)


def test_invalid_batch_raises_and_keeps_learned_circuit():
    world = linked_bars(500, size=4, random_state=0)
    good = {name: x[:50] for name, x in world.X.items()}
    bad = good | {"marks": np.full((50, 24), np.nan)}
    steps = learn(first_circuit(world.X, 10, 0), [(good, None), (bad, None)])
    circuit, _ = next(steps)
    before = [d.atoms.copy() for d in circuit.dictionaries]
    with pytest.raises(ValueError, match=r"'marks' must .*NaN"):
        next(steps)
    for d, atoms in zip(circuit.dictionaries, before, strict=True):
        np.testing.assert_array_equal(d.atoms, atoms)


def test_blank_samples_change_nothing():
    world = linked_bars(500, size=4, random_state=0)
    start = first_circuit(world.X, 10, 0, idle=IdleAtoms(patience=1))
    blank = {name: 0 * x[:50] for name, x in world.X.items()}
    steps = learn(start, [(blank, None)] * 3, rng=np.random.default_rng(0))
    for circuit, progress in steps:
        assert progress.redrawn == 0
        assert progress.error == {"bars": 0, "marks": 0}
        for d, before in zip(circuit.dictionaries, start.dictionaries, strict=True):
            np.testing.assert_allclose(d.atoms, before.atoms, rtol=0, atol=1e-15)


def test_learning_does_not_depend_on_block_size(monkeypatch):
    data = linked_bars(n_samples=200, size=4, random_state=0).X
    start = first_circuit(data, 8, seed=1, idle=IdleAtoms("residual", patience=20))
    learned = {}
    for block in (1024, 7):
        monkeypatch.setattr(batch_statistics, "BLOCK_SAMPLES", block)
        rng = np.random.default_rng(3)
        *_, (learned[block], progress) = learn(start, batches_of(data, 9, seed=2), rng=rng)
    for whole, cut in zip(learned[1024].dictionaries, learned[7].dictionaries, strict=True):
        assert np.allclose(whole.atoms, cut.atoms, atol=1e-12)
    assert np.array_equal(learned[1024].plasticity.silent, learned[7].plasticity.silent)
    assert progress.n_samples == 50


def test_new_atoms_are_the_drawn_samples(monkeypatch):
    monkeypatch.setattr(batch_statistics, "BLOCK_SAMPLES", 3)
    X = np.random.default_rng(0).random((10, 4)) + 0.1
    X[4], X[7] = 2 * X[1], 0
    statistics = batch_statistics.make_statistics(
        [Dictionary("x", np.eye(4))], {"x": X}, np.zeros((10, 4))
    )
    rows = np.array([8, 0, 9, 3])
    assert np.array_equal(statistics.candidates(rows, IdleAtoms())["x"], X[rows])
    marks = statistics.fingerprints(IdleAtoms())
    assert marks[7] == b""
    assert marks[4] == marks[1]
    assert len(set(marks)) == 9


def test_blas_limit_lasts_until_last_user_leaves():
    def most():
        return max(p["num_threads"] for p in threadpool_info() if "numpy" in p["filepath"])

    def elsewhere(work):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    with threadpool_limits(2, "blas"):
        before = most()
        first, second = single_blas_thread(), single_blas_thread()
        elsewhere(first.__enter__)
        second.__enter__()
        elsewhere(lambda: first.__exit__(None, None, None))
        assert (most(), elsewhere(most)) == (1, 1)
        elsewhere(lambda: second.__exit__(None, None, None))
        assert most() == before

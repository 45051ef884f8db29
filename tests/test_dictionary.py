"""Dictionaries and their plasticity: frozen values, Eq. 4, unit norm, idle atoms."""

from __future__ import annotations

import numpy as np
import pytest

from spikelca import (
    Circuit,
    Dictionary,
    Hebbian,
    IdleAtoms,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
)
from spikelca.model.atoms import normalise_stacked, stacked_norms
from spikelca.model.plasticity import Activity, PlasticityState, draw_samples


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def linked(rng, n_neurons=6, dtype=np.float64, **parts):
    """Two modalities of different width and weight, stacked atoms of unit norm."""
    weights = {"a": 2.0, "b": 0.5}
    atoms = [rng.random((n_neurons, width)).astype(dtype) for width in (8, 5)]
    atoms = normalise_stacked(atoms, list(weights.values()))
    dictionaries = [
        Dictionary(name, phi, weight)
        for (name, weight), phi in zip(weights.items(), atoms, strict=True)
    ]
    return Circuit(RateNeuron(), SoftThreshold(0.1), dictionaries, **parts)


def shown(circuit, rng, n_samples=20):
    return {name: rng.random((n_samples, width)) for name, width in circuit.widths.items()}


def stacked_norm(circuit):
    parts = circuit.dictionaries
    return stacked_norms([d.atoms for d in parts], [d.weight for d in parts])


# ---------------------------------------------------------------------- a dictionary is a value


def test_atoms_are_readonly_copies(rng):
    mine = rng.random((3, 4))
    d = Dictionary("x", mine)
    mine[0, 0] = 9
    assert d.atoms[0, 0] != 9
    with pytest.raises(ValueError, match="read-only"):
        d.atoms[0, 0] = 9


def test_dictionaries_with_equal_fields_are_equal(rng):
    atoms = rng.random((3, 4))
    d = Dictionary("x", atoms)
    assert d == Dictionary("x", atoms.copy())
    assert d != Dictionary("y", atoms)
    assert d != Dictionary("x", atoms, weight=2.0)
    assert d != Dictionary("x", atoms, plasticity=None)
    assert d != Dictionary("x", atoms.astype(np.float32))
    assert d != "x"


def test_new_atoms_keep_all_other_fields(rng):
    d = Dictionary("x", rng.random((3, 4)), 2.0, Hebbian(0.3))
    new = d._with_atoms(np.eye(3, 4))
    assert (new.name, new.weight, new.plasticity) == ("x", 2.0, Hebbian(0.3))
    np.testing.assert_array_equal(new.atoms, np.eye(3, 4))
    assert not new.atoms.flags.writeable


@pytest.mark.parametrize("weight", [0, -1, np.nan, np.inf])
def test_weight_must_be_finite_and_positive(weight):
    with pytest.raises(ValueError, match="weight of 'x'"):
        Dictionary("x", np.eye(2), weight)


@pytest.mark.parametrize(
    ("dictionaries", "message"),
    [
        ([], "at least one"),
        ([("x", np.eye(2)), ("x", np.eye(2))], "all different"),
        ([("x", np.eye(2)), ("y", np.eye(3))], "same number of neurons"),
        ([("x", np.eye(2)), ("y", np.eye(2, dtype=np.float32))], "same dtype"),
        ([("x", [[1.0, 0.0], [0.0, 0.0]])], "norm zero, the first at index 1"),
        ([("x", [[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])], "equal atoms 1 and 2"),
        ([("x", [[1.0, 0.0], [0.0, 0.6], [-0.0, 0.6]])], "equal atoms 1 and 2"),
    ],
)
def test_mismatched_dictionaries_are_rejected(dictionaries, message):
    made = [Dictionary(name, atoms) for name, atoms in dictionaries]
    with pytest.raises(ValueError, match=message):
        Circuit(RateNeuron(), SoftThreshold(0.1), made)


def test_atoms_may_be_equal_in_one_modality():
    first = Dictionary("x", [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    second = Dictionary("y", [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert Circuit(RateNeuron(), SoftThreshold(0.1), [first, second]).n_neurons == 3


# ---------------------------------------------------------------------- the unit sphere


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stacked_atoms_are_normalised(dtype, rng):
    weights = [2.0, 0.5]
    atoms = [rng.random((4, 3)).astype(dtype), 7 * rng.random((4, 2)).astype(dtype)]
    moved = normalise_stacked(atoms, weights)
    np.testing.assert_allclose(stacked_norms(moved, weights), 1, rtol=4 * np.finfo(dtype).eps)
    assert {phi.dtype for phi in moved} == {np.dtype(dtype)}
    for old, new in zip(atoms, moved, strict=True):
        ratio = new / old
        np.testing.assert_allclose(ratio, ratio[:, :1].repeat(old.shape[1], 1), rtol=1e-6)


def test_zero_atom_stays_zero():
    [moved] = normalise_stacked([np.array([[0.0, 0.0], [3.0, 4.0]])], [1.0])
    np.testing.assert_allclose(moved, [[0, 0], [0.6, 0.8]], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_atom_that_is_zero_where_observed_is_silent(dtype):
    x = Dictionary("x", np.array([[0.6, 0, 0], [0, 0, 0.8], [0, 0, 0]], dtype))
    y = Dictionary("y", np.array([[0.8, 0], [0, 0.6], [0, 1]], dtype))
    circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [x, y])
    code = circuit.observe("x").encode({"x": np.array([[0.5, 0, 0.3]])}).code
    np.testing.assert_allclose(code, [[0.4, 0.2, 0]], rtol=1e-6)
    # Of the stacked atoms, 0.6 and 0.8 are observed.
    recalled = circuit.reconstruct(code, "y", observed=["x"])
    np.testing.assert_allclose(recalled, [[0.4 * 0.8 / 0.6, 0.2 * 0.6 / 0.8]], rtol=1e-6)


# ---------------------------------------------------------------------- Hebb


def test_step_is_output_times_error_over_usage(rng):
    atoms, residual, code = rng.random((3, 4)), rng.standard_normal((5, 4)), rng.random((5, 3))
    usage = np.array([1.0, 2.0, 4.0])
    moved = Hebbian(rate=0.5).step(atoms, code.T @ residual, usage)
    by_hand = atoms.copy()
    for a, r in zip(code, residual, strict=True):
        by_hand += 0.5 * (a / usage)[:, None] * r
    np.testing.assert_allclose(moved, by_hand, rtol=1e-14)


def test_full_step_of_one_atom_is_least_squares(rng):
    a, x = rng.random((30, 1)), rng.random((30, 4))
    atom = rng.random((1, 4))
    usage = (a**2).sum(axis=0)
    moved = Hebbian(rate=1.0).step(atom, a.T @ (x - a @ atom), usage)
    np.testing.assert_allclose(moved, np.linalg.lstsq(a, x, rcond=None)[0], rtol=1e-12)


def test_atom_without_activity_does_not_change():
    code = np.array([[1.0, 0.0]])
    moved = Hebbian().step(np.eye(2), code.T @ np.ones((1, 2)), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(moved, [[2, 1], [0, 1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_inactive_atom_stays_finite_and_unchanged(dtype):
    activity = Activity.from_code(np.ones((1, 2), dtype))
    state = PlasticityState.initial(2).update(activity, decay=0.5)
    code, atoms = np.array([[1.0, 0.0]], dtype), np.eye(2, dtype=dtype)
    for _ in range(1200):
        state = state.update(Activity.from_code(code), decay=0.5)
        moved = Hebbian(decay=0.5).step(atoms, code.T @ np.ones((1, 2), dtype), state.usage)
        np.testing.assert_array_equal(moved[1], [0, 1])
    assert np.isfinite(moved).all()


def test_usage_is_a_decayed_sum_of_squared_activity():
    state = PlasticityState.initial(2)
    state = state.update(Activity.from_code(np.array([[1.0, 2.0], [3.0, 0.0]])), decay=0.5)
    np.testing.assert_array_equal(state.usage, [10, 4])
    state = state.update(Activity.from_code(np.array([[0.0, 1.0]])), decay=0.5)
    np.testing.assert_array_equal(state.usage, [5, 3])


def test_silence_counts_presentations_since_last_output():
    state = PlasticityState.initial(3).update(
        Activity.from_code(np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]])), 0.5
    )
    np.testing.assert_array_equal(state.silent, [2, 1, 3])
    state = state.update(Activity.from_code(np.array([[0, 0, -1.0]])), 0.5)
    np.testing.assert_array_equal(state.silent, [3, 2, 0])


@pytest.mark.parametrize(
    "parts", [{"rate": 0}, {"rate": np.nan}, {"decay": 1}, {"decay": -0.1}, {"decay": np.nan}]
)
def test_rule_out_of_range_is_rejected(parts):
    with pytest.raises(ValueError, match=f"{next(iter(parts))} must be"):
        Hebbian(**parts)


# ---------------------------------------------------------------------- one step of a circuit


def test_step_of_circuit_is_normalised_equation_four(rng):
    circuit = linked(rng)
    stimuli = shown(circuit, rng)
    code = circuit.encode(stimuli).code
    after = circuit.learn_step(stimuli, code)
    usage = np.maximum((code**2).sum(axis=0), 1e-300)[:, None]
    moved = [
        d.atoms + code.T @ (stimuli[d.name] - code @ d.atoms) / usage for d in circuit.dictionaries
    ]
    moved = normalise_stacked(moved, [2.0, 0.5])
    for d, expected in zip(after.dictionaries, moved, strict=True):
        np.testing.assert_allclose(d.atoms, expected, rtol=1e-12)
    np.testing.assert_allclose(stacked_norm(after), 1, rtol=1e-14)


def test_learning_returns_new_circuit_and_keeps_old_one(rng):
    circuit = linked(rng)
    before = [d.atoms.copy() for d in circuit.dictionaries]
    stimuli = shown(circuit, rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code)
    for d, atoms in zip(circuit.dictionaries, before, strict=True):
        np.testing.assert_array_equal(d.atoms, atoms)
        assert not np.array_equal(after.dictionary(d.name).atoms, atoms)
    assert not circuit.plasticity.usage.any()
    np.testing.assert_allclose(after.gram, after.gram.T, rtol=0, atol=0)
    np.testing.assert_allclose(np.diag(after.lateral), 0, atol=1e-14)


def test_modality_without_stimuli_does_not_learn(rng):
    circuit = linked(rng)
    stimuli = {"a": rng.random((20, 8))}
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code)
    assert after.dictionary("b") == circuit.dictionary("b")
    assert after.dictionary("a") != circuit.dictionary("a")
    np.testing.assert_allclose(stacked_norm(after), 1, rtol=1e-14)


def test_learning_one_modality_equals_observed_circuit(rng):
    circuit = linked(rng)
    stimuli = {"a": rng.random((20, 8))}
    code = circuit.encode(stimuli).code
    part = circuit.observe("a").learn_step(stimuli, code).dictionary("a").atoms
    whole = circuit.learn_step(stimuli, code).observe("a").dictionary("a").atoms
    np.testing.assert_allclose(whole, part, rtol=1e-12)


def test_synapses_without_plasticity_never_change(rng):
    circuit = linked(rng)
    fixed = Dictionary("b", circuit.dictionary("b").atoms, 0.5, plasticity=None)
    circuit = Circuit(circuit.neuron, circuit.transfer, [circuit.dictionaries[0], fixed])
    stimuli = shown(circuit, rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code)
    assert after.dictionary("b") == fixed
    assert after.dictionary("a") != circuit.dictionary("a")
    np.testing.assert_allclose(stacked_norm(after), 1, rtol=1e-14)


@pytest.mark.parametrize("fixed_norm", [1.0, 2.0])
def test_atoms_keep_norm_next_to_long_fixed_atoms(fixed_norm, rng):
    fixed = Dictionary("b", fixed_norm * np.eye(6), plasticity=None)
    moving = Dictionary("a", rng.random((6, 8)))
    circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [moving, fixed])
    stimuli = shown(circuit, rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code).dictionary("a").atoms
    lengths = np.linalg.norm(moving.atoms, axis=1)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), lengths, rtol=1e-14)
    assert not np.array_equal(after, moving.atoms)


@pytest.mark.parametrize("rows", [1, 19, 21])
def test_code_with_other_number_of_rows_is_rejected(rows, rng):
    circuit = linked(rng)
    stimuli = shown(circuit, rng)
    for method in (circuit.learn_step, circuit.energy):
        with pytest.raises(ValueError, match=f"code must have 20 rows, .* got {rows}"):
            method(stimuli, np.ones((rows, 6)))


# ---------------------------------------------------------------------- idle atoms


def silent_circuit(rng, patience=10, source="sample", **parts):
    """A circuit whose last two atoms answer to nothing that will be shown."""
    atoms = np.zeros((4, 6))
    atoms[0, 0] = atoms[1, 1] = atoms[2, 4] = atoms[3, 5] = 1
    return Circuit(
        RateNeuron(),
        SoftThreshold(0.1),
        [Dictionary("x", atoms)],
        idle=IdleAtoms(source, patience),
        **parts,
    )


def visible(rng, n_samples=10):
    x = np.zeros((n_samples, 6))
    x[:, :4] = rng.random((n_samples, 4)) + 0.2
    return {"x": x}


def test_idle_atoms_become_samples_and_are_counted(rng):
    circuit, stimuli = silent_circuit(rng), visible(rng)
    code = circuit.encode(stimuli).code
    after = circuit.learn_step(stimuli, code, rng=rng)
    assert after.plasticity.redrawn == 2
    fresh = after.dictionary("x").atoms[2:]
    samples = stimuli["x"] / np.linalg.norm(stimuli["x"], axis=1)[:, None]
    distance = np.abs(fresh[:, None] - samples).max(axis=2)
    np.testing.assert_allclose(distance.min(axis=1), 0, atol=1e-15)
    assert distance[0].argmin() != distance[1].argmin()
    assert (after.encode(stimuli).code[:, 2:] > 0).any(axis=0).all()


def test_idle_atoms_can_become_residuals(rng):
    circuit, stimuli = silent_circuit(rng, source="residual"), visible(rng)
    code = circuit.encode(stimuli).code
    after = circuit.learn_step(stimuli, code, rng=rng)
    left = stimuli["x"] - circuit.reconstruct(code, "x")
    left /= np.linalg.norm(left, axis=1)[:, None]
    for atom in after.dictionary("x").atoms[2:]:
        assert np.abs(left - atom).max(axis=1).min() < 1e-15


def test_new_atom_starts_without_history(rng):
    circuit, stimuli = silent_circuit(rng), visible(rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code, rng=rng)
    np.testing.assert_array_equal(after.plasticity.usage[2:], 0)
    np.testing.assert_array_equal(after.plasticity.silent[2:], 0)
    again = after.learn_step(stimuli, after.encode(stimuli).code, rng=rng)
    assert again.plasticity.redrawn == 0


def test_atoms_within_patience_stay(rng):
    circuit, stimuli = silent_circuit(rng, patience=11), visible(rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code, rng=rng)
    assert after.plasticity.redrawn == 0
    np.testing.assert_array_equal(
        after.dictionary("x").atoms[2:], circuit.dictionary("x").atoms[2:]
    )


def test_idle_atoms_stay_without_generator(rng):
    circuit, stimuli = silent_circuit(rng), visible(rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code)
    assert after.plasticity.redrawn == 0
    np.testing.assert_array_equal(
        after.dictionary("x").atoms[2:], circuit.dictionary("x").atoms[2:]
    )


def test_redrawn_counts_only_the_last_step(rng):
    circuit, stimuli = silent_circuit(rng), visible(rng)
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code, rng=rng)
    fixed = after.replace(
        dictionaries=(Dictionary("x", after.dictionary("x").atoms, plasticity=None),)
    )
    assert after.plasticity.redrawn == 2
    assert fixed.learn_step(stimuli, fixed.encode(stimuli).code, rng=rng).plasticity.redrawn == 0


def test_idle_atoms_are_samples_of_their_class(rng):
    driver = OrdinalDriver(n_classes=2, block=2, excitation=0.0, inhibition=0.0)
    atoms = np.zeros((4, 6))
    atoms[:, 5] = [1, 2, 3, 4]
    circuit = Circuit(
        RateNeuron(),
        SoftThreshold(0.1),
        [Dictionary("x", atoms)],
        [driver],
        idle=IdleAtoms(patience=10),
    )
    stimuli, labels = visible(rng), np.arange(10) % 2
    stimuli["x"][labels == 1, 0] = 0
    code = np.zeros((10, 4))
    after = circuit.learn_step(stimuli, code, labels=labels, rng=rng)
    assert after.plasticity.redrawn == 4
    fresh = after.dictionary("x").atoms
    assert (fresh[:2, 0] > 0).all()
    assert (fresh[2:, 0] == 0).all()


def test_idle_atom_stays_if_class_is_absent(rng):
    driver = OrdinalDriver(n_classes=2, block=2, excitation=0.0, inhibition=0.0)
    circuit = silent_circuit(rng, drivers=[driver])
    stimuli = visible(rng)
    code = circuit.encode(stimuli, labels=np.zeros(10, int)).code
    after = circuit.learn_step(stimuli, code, labels=np.zeros(10, int), rng=rng)
    assert after.plasticity.redrawn == 0
    assert (after.plasticity.silent[2:] == 10).all()


def test_samples_are_drawn_once_and_never_blank(rng):
    weight = np.array([1.0, 0.0, 2.0, 3.0])
    rows = draw_samples(rng, np.arange(5), weight, None)
    assert sorted(rows[:3]) == [0, 2, 3]
    np.testing.assert_array_equal(rows[3:], -1)
    np.testing.assert_array_equal(weight, [1, 0, 2, 3])


def test_equal_samples_do_not_become_equal_atoms(rng):
    circuit, stimuli = silent_circuit(rng), {"x": np.tile(visible(rng, 1)["x"], (10, 1))}
    after = circuit.learn_step(stimuli, circuit.encode(stimuli).code, rng=rng)
    assert after.plasticity.redrawn == 1
    assert len(np.unique(after.dictionary("x").atoms, axis=0)) == 4


@pytest.mark.parametrize(
    "parts", [{"source": "noise"}, {"patience": 0}, {"patience": -1}, {"patience": np.nan}]
)
def test_invalid_idle_atoms_are_rejected(parts):
    with pytest.raises(ValueError, match=f"{next(iter(parts))} must be"):
        IdleAtoms(**parts)

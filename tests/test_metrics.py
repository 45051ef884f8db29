"""Metrics of a code against their definitions, and duality gaps as upper bounds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from spikelca import (
    Circuit,
    Dictionary,
    HardThreshold,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    metrics,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_problem(rng, n=12, p=9, samples=7, signed=False):
    draw = rng.standard_normal if signed else rng.random
    atoms, x = draw((n, p)), draw((samples, p))
    return atoms / np.linalg.norm(atoms, axis=1)[:, None], x


def lasso(atoms, x, lam, positive):
    """Codes of scikit-learn, to the last digits."""
    model = Lasso(lam / x.shape[1], positive=positive, fit_intercept=False, tol=1e-15)
    model.max_iter = 1_000_000
    return np.array([model.fit(atoms.T, row).coef_ for row in x])


def energies(atoms, x, code, transfer):
    return metrics.energy({"x": x}, [Dictionary("x", atoms)], code, transfer)


# ---------------------------------------------------------------------- energy and error


def test_squared_error_is_sum_over_inputs(rng):
    atoms, x = random_problem(rng)
    code = rng.random((7, 12))
    by_hand = [((row - a @ atoms) ** 2).sum() for row, a in zip(x, code, strict=True)]
    np.testing.assert_allclose(metrics.squared_error(x, atoms, code), by_hand)


@pytest.mark.parametrize(
    ("transfer", "cost"),
    [
        (SoftThreshold(0.3, True), lambda a: 0.3 * np.abs(a).sum(axis=1)),
        (HardThreshold(0.3, True), lambda a: 0.045 * (a != 0).sum(axis=1)),
    ],
)
def test_energy_is_weighted_error_plus_transfer_cost(transfer, cost, rng):
    first, x = random_problem(rng)
    second, y = random_problem(rng, p=4)
    code = np.round(rng.standard_normal((7, 12)), 0)
    dictionaries = [Dictionary("x", first, 2.0), Dictionary("y", second, 0.5)]
    error = metrics.squared_error(x, first, code)
    expected = error + 0.25 * metrics.squared_error(y, second, code) + cost(code)
    found = metrics.energy({"x": x, "y": y}, dictionaries, code, transfer)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(
        metrics.energy({"x": x}, dictionaries, code, transfer), error + cost(code)
    )


def test_metrics_of_float32_codes_are_float64(rng):
    atoms, x = random_problem(rng)
    code = rng.random((7, 12)).astype(np.float32)
    transfer = SoftThreshold(0.1)
    narrow = energies(atoms.astype(np.float32), x.astype(np.float32), code, transfer)
    wide = energies(atoms.astype(np.float32).astype(float), x.astype(np.float32), code, transfer)
    assert narrow.dtype == np.float64
    np.testing.assert_array_equal(narrow, wide)


# ---------------------------------------------------------------------- the duality gap


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_gap_is_upper_bound_for_every_code(two_sided, signed, rng):
    atoms, x = random_problem(rng, signed=signed)
    transfer = SoftThreshold(0.2, two_sided)
    best = energies(atoms, x, lasso(atoms, x, 0.2, not two_sided), transfer)
    for scale in (0.0, 1e-3, 0.1, 0.3, 1.0, 3.0, 30.0):
        code = scale * rng.standard_normal((7, 12)) * (rng.random((7, 12)) < 0.3)
        code = code if two_sided else np.abs(code)
        energy = energies(atoms, x, code, transfer)
        gap = metrics.relative_gap(transfer, x @ atoms.T, atoms @ atoms.T, code, (x**2).sum(1))
        assert (gap >= (energy - best) / energy - 1e-12).all()
        assert (gap <= 1).all()


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.01, 1.2])
def test_gap_is_upper_bound_near_the_optimum(scale):
    # One atom, one input: the code is 0.9; the exact reconstruction, 1, is not the answer.
    one = np.ones((1, 1))
    gap = metrics.relative_gap(SoftThreshold(0.1), one, one, scale * one, np.ones(1))
    energy = 0.5 * (1 - scale) ** 2 + 0.1 * scale
    assert gap[0] >= (energy - 0.095) / energy - 1e-15


@pytest.mark.parametrize("two_sided", [False, True])
def test_gap_is_zero_only_at_the_optimum(two_sided, rng):
    atoms, x = random_problem(rng, signed=True)
    transfer = SoftThreshold(0.2, two_sided)
    code = lasso(atoms, x, 0.2, not two_sided)
    parts = (transfer, x @ atoms.T, atoms @ atoms.T)
    assert metrics.relative_gap(*parts, code, (x**2).sum(1)).max() < 1e-12
    active = code.any(axis=1)
    assert active.any()
    assert metrics.relative_gap(*parts, 1.01 * code, (x**2).sum(1))[active].min() > 1e-6
    assert metrics.fixed_point_residual(*parts, code).max() < 1e-7


def test_gap_of_blank_sample_is_zero(rng):
    atoms, _ = random_problem(rng)
    nothing = np.zeros((1, 12))
    gap = metrics.relative_gap(SoftThreshold(0.1), nothing, atoms @ atoms.T, nothing, np.zeros(1))
    np.testing.assert_array_equal(gap, 0)


def test_gap_is_nan_for_current_at_threshold(rng):
    atoms, x = random_problem(rng, samples=3)
    current = np.zeros((3, 12))
    current[1, 4] = 0.2
    current[2, 4] = 0.19
    gap = metrics.relative_gap(
        SoftThreshold(0.2), x @ atoms.T, atoms @ atoms.T, np.zeros((3, 12)), (x**2).sum(1), current
    )
    np.testing.assert_array_equal(np.isnan(gap), [False, True, False])


def test_clamped_neuron_does_not_widen_the_gap(rng):
    atoms, x = random_problem(rng)
    kept = np.arange(12) < 6
    code = np.zeros((7, 12))
    code[:, kept] = lasso(atoms[kept], x, 0.2, True)
    allowed = np.tile(kept, (7, 1))
    parts = (SoftThreshold(0.2), x @ atoms.T, atoms @ atoms.T, code)
    assert metrics.relative_gap(*parts, (x**2).sum(1), None, allowed).max() < 1e-12
    assert metrics.relative_gap(*parts, (x**2).sum(1)).max() > 1e-3
    assert metrics.fixed_point_residual(*parts, allowed).max() < 1e-7
    assert metrics.fixed_point_residual(*parts).max() > 1e-3


# ---------------------------------------------------------------------- fixed point


@pytest.mark.parametrize("transfer", [SoftThreshold(0.2), HardThreshold(0.2)])
def test_residual_is_next_step_in_threshold_units(transfer, rng):
    atoms, x = random_problem(rng)
    gram, code = atoms @ atoms.T, rng.random((7, 12))
    u = x @ atoms.T - code @ (gram - np.eye(12))
    expected = np.abs(transfer(u) - code).max(axis=1) / 0.2
    found = metrics.fixed_point_residual(transfer, x @ atoms.T, gram, code)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_residual_holds_for_atoms_without_unit_norm():
    # |phi| = 2, x = 3: a = (2 * 3 - 0.5) / 4.
    transfer, four = SoftThreshold(0.5), np.full((1, 1), 4.0)
    residual = metrics.fixed_point_residual(transfer, np.full((1, 1), 6.0), four, four * 5.5 / 16)
    np.testing.assert_allclose(residual, 0, atol=1e-14)


# ---------------------------------------------------------------------- sparsity and order


def test_active_fraction_counts_nonzero_outputs():
    code = np.array([[0, -1.0, 2, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(metrics.active_fraction(code), [0.5, 0])


def test_block_sums_exclude_unassigned_neurons():
    code = np.arange(10.0).reshape(2, 5)
    sums = metrics.block_sums(code, [0, 0, 1, 1, -1], 2)
    np.testing.assert_array_equal(sums, [[1, 5], [11, 15]])


def test_selectivity_of_perfect_order_is_the_identity():
    neuron_classes = [0, 0, 1, 1, -1]
    code = np.array([[1, 2, 0, 0, 9], [0, 0, 0, 3, 9], [0, 0, 0, 0, 9.0]])
    np.testing.assert_array_equal(
        metrics.block_selectivity(code[:2], [0, 1], neuron_classes, 2), np.eye(2)
    )
    np.testing.assert_array_equal(
        metrics.block_selectivity(code, [0, 1, 1], neuron_classes, 2), [[1, 0], [0, 0.5]]
    )


def test_selectivity_averages_over_samples():
    code = np.array([[3.0, 1.0], [100.0, 300.0]])
    found = metrics.block_selectivity(code, [0, 0], [0, 1], 2)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0, 0]])


def test_selectivity_of_signed_codes_uses_magnitudes():
    found = metrics.block_selectivity(np.array([[-3.0, 1.0]]), [0], [0, 1], 2)
    np.testing.assert_allclose(found[0], [0.75, 0.25])


def test_selectivity_of_driven_code_is_high(rng):
    atoms, x = random_problem(rng, samples=40)
    driver = OrdinalDriver(n_classes=2, excitation=0.05, inhibition=10.0)
    circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms)], [driver])
    labels = np.arange(40) % 2
    code = circuit.encode({"x": x}, labels=labels).code
    order = metrics.block_selectivity(code, labels, driver.neuron_classes(12), 2)
    np.testing.assert_array_equal(order, np.eye(2))

"""Transfer functions: the output, its inverse, and the cost that follows from both."""

from __future__ import annotations

import numpy as np
import pytest

from spikelca import HardThreshold, SoftThreshold

KINDS = [SoftThreshold, HardThreshold]
SIDES = [False, True]


@pytest.fixture
def u():
    return np.random.default_rng(0).uniform(-3, 3, (40, 7))


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (SoftThreshold(0.5), [0.0, 0.0, 0.0, 0.0, 0.25, 1.5]),
        (SoftThreshold(0.5, two_sided=True), [-1.5, 0.0, 0.0, 0.0, 0.25, 1.5]),
        (HardThreshold(0.5), [0.0, 0.0, 0.0, 0.0, 0.75, 2.0]),
        (HardThreshold(0.5, two_sided=True), [-2.0, 0.0, 0.0, 0.0, 0.75, 2.0]),
    ],
)
def test_outputs_equal_the_table(transfer, expected):
    np.testing.assert_array_equal(transfer(np.array([-2.0, -0.5, 0.25, 0.5, 0.75, 2.0])), expected)


@pytest.mark.parametrize("two_sided", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_output_minimises_distance_plus_cost(kind, two_sided, u):
    # dC/da = u - a means that T(u) is a minimum of (u - a)^2 / 2 + C(a), which is global for both
    # thresholds.
    transfer = kind(0.8, two_sided)
    grid = np.linspace(-3 if two_sided else 0, 3, 6001)
    objective = 0.5 * (u[..., None] - grid) ** 2 + transfer.cost(grid[:, None])
    a = transfer(u)
    minimum = 0.5 * (u - a) ** 2 + transfer.cost(a[..., None])
    assert (minimum <= objective.min(axis=-1) + 1e-12).all()


@pytest.mark.parametrize("two_sided", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_inverse_gives_potential_of_the_output(kind, two_sided, u):
    transfer = kind(0.8, two_sided)
    a = transfer(u)
    np.testing.assert_allclose(transfer(transfer.inverse(a)), a, rtol=0, atol=1e-15)
    assert not transfer.inverse(a)[a == 0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_two_sided_outputs_are_odd(kind, u):
    transfer = kind(0.8, two_sided=True)
    np.testing.assert_array_equal(transfer(-u), -transfer(u))


@pytest.mark.parametrize("kind", KINDS)
def test_one_sided_outputs_are_never_negative(kind, u):
    assert kind(0.1)(u).min() == 0


def test_costs_of_soft_and_hard_thresholds():
    a = np.array([[1.0, 0.0, -2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(SoftThreshold(0.5, True).cost(a), [1.5, 0.0])
    np.testing.assert_allclose(HardThreshold(0.5, True).cost(a), [0.25, 0.0])


def test_hard_potential_at_threshold_stays_silent():
    assert HardThreshold(0.5)(np.array([0.5]))[0] == 0


@pytest.mark.parametrize("two_sided", SIDES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept_and_costs_are_float64(kind, two_sided, dtype, u):
    transfer = kind(0.8, two_sided)
    a = transfer(u.astype(dtype))
    assert a.dtype == dtype
    assert transfer.inverse(a).dtype == dtype
    assert transfer.cost(a).dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
def test_integers_are_compared_with_exact_threshold(kind):
    numbers = np.array([0, 1, 2])
    np.testing.assert_array_equal(kind(1.5)(numbers), kind(1.5)(numbers.astype(float)))
    np.testing.assert_array_equal(
        kind(1.5).inverse([0, 2]), kind(1.5).inverse(np.array([0.0, 2.0]))
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0, -1, np.nan, np.inf, -np.inf])
def test_threshold_must_be_finite_and_positive(kind, threshold):
    with pytest.raises(ValueError, match="threshold must be a finite number > 0"):
        kind(threshold)


@pytest.mark.parametrize("kind", KINDS)
def test_transfer_function_is_a_value(kind):
    assert kind(1) == kind(1.0)
    assert kind(1.0) != kind(1.0, two_sided=True)
    assert SoftThreshold(1.0) != HardThreshold(1.0)
    with pytest.raises(AttributeError):
        kind(1.0).threshold = 2.0

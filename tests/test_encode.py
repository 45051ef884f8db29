"""Codes: optimality (KKT, energy), agreement with scikit-learn, and invariances."""

from __future__ import annotations

import re
import warnings

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
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
from spikelca.model.drivers import Driver, Injection

ENGINES = ["reference", "numba"]
HARD_ENGINES = ["reference", "numba"]
SIDES = pytest.mark.parametrize("two_sided", [False, True], ids=["one-sided", "two-sided"])
DRIVERS = {
    "none": (),
    "current": (OrdinalDriver(4, excitation=0.05, inhibition=0.2),),
    "linked": (OrdinalDriver(4, mode="linked", gain=0.2),),
    "clamp": (OrdinalDriver(4, mode="clamp"),),
}
DRIVEN = pytest.mark.parametrize("driver", DRIVERS)

pytestmark = pytest.mark.filterwarnings("error:.*did not converge")


def world(n_neurons=24, n_inputs=32, n_samples=20, two_sided=False, seed=0):
    """Atoms and samples of unit norm; a dozen neurons are active in each code."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal if two_sided else rng.random
    atoms = draw((n_neurons, n_inputs))
    if not two_sided:
        atoms *= rng.random(atoms.shape) < 0.3
    X = draw((n_samples, n_inputs))
    return tuple(Z / np.linalg.norm(Z, axis=1)[:, None] for Z in (atoms, X))


def make(atoms, transfer=None, drivers=(), dtype=np.float64, threshold=0.1, two_sided=False):
    transfer = SoftThreshold(threshold, two_sided) if transfer is None else transfer
    return Circuit(RateNeuron(), transfer, [Dictionary("x", atoms.astype(dtype))], drivers)


def lasso(atoms, X, threshold, two_sided):
    """The codes of scikit-learn."""
    model = Lasso(
        threshold / X.shape[1],
        positive=not two_sided,
        fit_intercept=False,
        tol=1e-14,
        max_iter=200_000,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.array([model.fit(atoms.T, x).coef_ for x in X])


def kkt_residual(atoms, X, code, threshold, two_sided):
    """How far the subgradient of the LASSO is from zero at most, for each sample."""
    slope = (X - code @ atoms) @ atoms.T
    off = np.abs(slope - np.sign(code) * threshold)
    silent = (np.abs(slope) if two_sided else slope) - threshold
    return np.where(code != 0, off, np.maximum(silent, 0)).max(axis=1)


def gap_of(circuit, X, code, labels=None):
    problem = circuit.compile({"x": X}, labels)
    return metrics.relative_gap(
        circuit.transfer,
        problem.drive(),
        problem.gram,
        code,
        problem.stimulus_energy(),
        problem.current,
        problem.allowed,
    )


# ---------------------------------------------------------------------- the law


@SIDES
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_neurons", [24, 40], ids=["fewer than inputs", "overcomplete"])
def test_soft_codes_satisfy_kkt_and_match_sklearn_energy(engine, two_sided, n_neurons):
    atoms, X = world(n_neurons, two_sided=two_sided)
    circuit = make(atoms, two_sided=two_sided)
    found = circuit.encode({"x": X}, 1e-10, engine=engine)
    assert kkt_residual(atoms, X, found.code, 0.1, two_sided).max() < 1e-10
    assert found.residual.max() <= 1e-10
    assert found.gap.max() <= 1e-10
    assert two_sided or found.code.min() == 0
    theirs = circuit.energy({"x": X}, lasso(atoms, X, 0.1, two_sided))
    np.testing.assert_allclose(circuit.energy({"x": X}, found.code), theirs, rtol=0, atol=1e-9)
    assert (found.code != 0).sum(axis=1).min() > 5  # not a trivial circuit


@DRIVEN
@SIDES
def test_engines_agree_under_every_driver(driver, two_sided):
    atoms, X = world(two_sided=two_sided)
    labels = np.arange(20) % 4
    circuit = make(atoms, drivers=DRIVERS[driver], threshold=0.25, two_sided=two_sided)
    slow, fast = (
        circuit.encode({"x": X}, 1e-10, labels=labels, engine=engine) for engine in ENGINES
    )
    np.testing.assert_allclose(fast.code, slow.code, rtol=0, atol=1e-8)
    assert fast.code.any()


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.3)])
@pytest.mark.parametrize("engine", ENGINES)
def test_linked_modalities_equal_one_stacked_dictionary(engine, weights):
    atoms, X = world()
    cut, scale = 20, np.sqrt(np.repeat(weights, [20, 12]))
    linked = Circuit(
        RateNeuron(),
        SoftThreshold(0.1),
        [
            Dictionary("left", atoms[:, :cut], weights[0]),
            Dictionary("right", atoms[:, cut:], weights[1]),
        ],
    )
    stacked = make(atoms * scale)
    shown = {"left": X[:, :cut], "right": X[:, cut:]}
    found = linked.encode(shown, 1e-10, engine=engine)
    expected = stacked.encode({"x": X * scale}, 1e-10, engine=engine)
    np.testing.assert_allclose(found.code, expected.code, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        linked.energy(shown, found.code), stacked.energy({"x": X * scale}, expected.code)
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_modality_is_excluded_not_zero_filled(engine):
    atoms, X = world()
    parts = [Dictionary("left", atoms[:, :20]), Dictionary("right", atoms[:, 20:])]
    linked = Circuit(RateNeuron(), SoftThreshold(0.1), parts)
    alone = make(atoms[:, :20] / np.linalg.norm(atoms[:, :20], axis=1)[:, None])
    found = linked.encode({"left": X[:, :20]}, 1e-10, engine=engine).code
    expected = alone.encode({"x": X[:, :20]}, 1e-10, engine=engine).code
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    black = linked.encode({"left": X[:, :20], "right": 0 * X[:, 20:]}, 1e-10, engine=engine).code
    assert np.abs(found - black).max() > 0.01


@SIDES
@pytest.mark.parametrize("engine", HARD_ENGINES)
def test_hard_codes_are_fixed_points(engine, two_sided):
    atoms, X = world(two_sided=two_sided)
    circuit = make(atoms, HardThreshold(0.2, two_sided))
    found = circuit.encode({"x": X}, 1e-8, engine=engine)
    u = X @ atoms.T - found.code @ circuit.lateral
    off = np.abs(circuit.transfer(u) - found.code).max(axis=1) / 0.2
    assert off.max() <= 1e-8
    np.testing.assert_allclose(found.residual, off, rtol=0, atol=1e-12)
    assert found.gap is None
    assert np.abs(found.code[found.code != 0]).min() > 0.2
    assert (found.code != 0).any(axis=1).all()


@pytest.mark.parametrize("driver", ["none", "current", "clamp"])
def test_engines_agree_on_hard_codes(driver):
    atoms, X = world()
    labels = np.arange(20) % 4
    circuit = make(atoms, HardThreshold(0.3), DRIVERS[driver])
    slow, fast = (
        circuit.encode({"x": X}, 1e-10, labels=labels, engine=engine) for engine in HARD_ENGINES
    )
    np.testing.assert_allclose(fast.code, slow.code, rtol=0, atol=1e-8)


def test_engines_use_the_start_of_hard_codes():
    atoms, X = world()
    circuit = make(atoms, HardThreshold(0.3))
    start = np.random.default_rng(0).random((20, 24))
    slow, fast = (
        circuit.encode({"x": X}, 1e-10, start=start, engine=engine).code for engine in HARD_ENGINES
    )
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-8)
    rest = circuit.encode({"x": X}, 1e-10).code
    assert np.abs(fast - rest).max() > 0.1  # the answer depends on the start


# ---------------------------------------------------------------------- certificates


@DRIVEN
@SIDES
@pytest.mark.parametrize("engine", ENGINES)
def test_returned_gap_belongs_to_returned_code(engine, driver, two_sided):
    atoms, X = world(two_sided=two_sided)
    labels = np.arange(20) % 4
    circuit = make(atoms, drivers=DRIVERS[driver], threshold=0.25, two_sided=two_sided)
    found = circuit.encode({"x": X}, 1e-10, labels=labels, engine=engine)
    expected = gap_of(circuit, X, found.code, labels)
    np.testing.assert_allclose(found.gap, expected, rtol=0, atol=1e-9)


@DRIVEN
@pytest.mark.parametrize("tol", [0.5, 1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("n_neurons", [24, 60])
def test_early_gap_is_an_upper_bound(driver, tol, n_neurons):
    atoms, X = world(n_neurons)
    labels = np.arange(20) % 4
    circuit = make(atoms, drivers=DRIVERS[driver])
    found = circuit.encode({"x": X}, tol, labels=labels)
    assert (found.gap >= gap_of(circuit, X, found.code, labels) - 1e-12).all()
    assert found.gap.max() <= tol


@pytest.mark.parametrize("driver", ["none", "clamp"])
@pytest.mark.parametrize("tol", [0.5, 1e-1, 1e-2, 1e-3])
def test_early_gap_is_exact_for_equal_thresholds(driver, tol):
    atoms, X = world()
    labels = np.arange(20) % 4
    circuit = make(atoms, drivers=DRIVERS[driver])
    found = circuit.encode({"x": X}, tol, labels=labels)
    np.testing.assert_allclose(found.gap, gap_of(circuit, X, found.code, labels), rtol=0, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("max_iter", [1, 2, 3])
def test_unconverged_codes_are_counted_with_valid_gap(engine, max_iter):
    atoms, X = world()
    circuit = make(atoms)
    with pytest.warns(ConvergenceWarning) as caught:
        found = circuit.encode({"x": X}, engine=engine, max_iter=max_iter)
    exact = gap_of(circuit, X, found.code)
    assert count_in(caught) == (exact > 1e-4).sum() > 0
    assert (found.gap >= exact - 1e-12).all()
    np.testing.assert_allclose(found.gap, exact, rtol=0.5, atol=1e-9)


def count_in(caught) -> int:
    [message] = [str(w.message) for w in caught if w.category is ConvergenceWarning]
    return int(re.match(r"(\d+) of \d+ codes did not converge", message)[1])


@pytest.mark.parametrize(
    ("dtype", "tol", "max_iter", "advice"),
    [
        (np.float64, 1e-4, 1, "Increase max_iter, now 1, or tol"),
        (np.float32, 1e-20, 1000, "limit of float32: use float64 atoms or a larger tol"),
        (np.float64, 1e-20, 1000, "limit of float64: use a larger tol"),
    ],
)
def test_convergence_warning_names_the_remedy(dtype, tol, max_iter, advice):
    rng = np.random.default_rng(0)
    circuit = make(rng.random((20, 8)), dtype=dtype)
    with pytest.warns(ConvergenceWarning, match=advice):
        circuit.encode({"x": rng.random((5, 8)).astype(dtype)}, tol=tol, max_iter=max_iter)


class Push(Driver):
    """A current above the threshold into one neuron: it fires with no input at all."""

    def inject(self, labels, n_samples, n_neurons):
        current = np.zeros((1, n_neurons))
        current[0, 3] = 0.5
        return Injection(current)

    def check(self, n_neurons, transfer):
        pass


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tol", [1e-4, 1e-10])
def test_current_above_threshold_converges_by_residual(engine, tol):
    atoms, X = world()
    X[0] = 0
    circuit = make(atoms, drivers=[Push()])
    found = circuit.encode({"x": X}, tol, engine=engine)
    assert np.isnan(found.gap).all()
    total = X @ atoms.T + 0.5 * (np.arange(24) == 3)
    residual = metrics.fixed_point_residual(circuit.transfer, total, circuit.gram, found.code)
    assert residual.max() <= tol
    np.testing.assert_allclose(found.code[0], 0.4 * (np.arange(24) == 3), atol=tol)


# ---------------------------------------------------------------------- what must not matter


@DRIVEN
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_do_not_depend_on_batch_order(driver, dtype):
    atoms, X = world(60, n_samples=300)
    labels = np.arange(300) % 4
    circuit = make(atoms, drivers=DRIVERS[driver], dtype=dtype)
    X = X.astype(dtype)
    whole = circuit.encode({"x": X}, labels=labels)
    order = np.random.default_rng(1).permutation(300)
    permuted = circuit.encode({"x": X[order]}, labels=labels[order])
    np.testing.assert_array_equal(permuted.code, whole.code[order])
    np.testing.assert_array_equal(permuted.gap, whole.gap[order])
    for rows in (slice(0, 1), slice(7, 9), slice(100, 300)):
        part = circuit.encode({"x": X[rows]}, labels=labels[rows]).code
        np.testing.assert_array_equal(part, whole.code[rows])


def test_chunked_codes_equal_codes_of_single_samples():
    atoms, X = world(n_samples=5000)
    circuit = make(atoms)
    whole = circuit.encode({"x": X})
    for name in ("code", "gap", "residual", "n_iter"):
        part = getattr(circuit.encode({"x": X[4090:4100]}), name)
        np.testing.assert_array_equal(getattr(whole, name)[4090:4100], part)


@pytest.mark.parametrize("transfer", [SoftThreshold(0.1), HardThreshold(0.2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_and_two_threads_are_bit_identical(dtype, transfer, monkeypatch):
    atoms, X = world(60, n_samples=1000)
    circuit, codes = make(atoms, transfer, dtype=dtype), []
    for n_threads in (1, 2):
        # Numba itself allows no more threads than there are cores.
        monkeypatch.setattr(numba, "get_num_threads", lambda n=n_threads: n)
        codes.append(circuit.encode({"x": X}, 1e-3).code)
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
def test_codes_do_not_depend_on_memory_layout(layout):
    atoms, X = world(60, n_samples=100)
    circuit = make(atoms)
    np.testing.assert_array_equal(
        circuit.encode({"x": layout(X)}).code, circuit.encode({"x": X}).code
    )


@SIDES
@pytest.mark.parametrize("engine", ENGINES)
def test_float32_codes_are_close_to_float64(engine, two_sided):
    atoms, X = world(two_sided=two_sided)
    codes = [
        make(atoms, dtype=dtype, two_sided=two_sided).encode({"x": X}, 1e-5, engine=engine).code
        for dtype in (np.float32, np.float64)
    ]
    assert [code.dtype for code in codes] == [np.float32, np.float64]
    circuit = make(atoms, two_sided=two_sided)
    energies = [circuit.energy({"x": X}, code) for code in codes]
    np.testing.assert_allclose(*energies, rtol=2e-5)


def test_strict_float32_code_is_rounded_float64_code():
    atoms, X = world()
    atoms, X = atoms.astype(np.float32), X.astype(np.float32)
    narrow = make(atoms, dtype=np.float32).encode({"x": X}, 1e-10).code
    wide = make(atoms, dtype=np.float64).encode({"x": X}, 1e-10).code
    np.testing.assert_allclose(narrow, wide, rtol=6e-8, atol=1e-9)


STARTS = {
    "the answer": lambda code, rng: code,
    "a tenth more": lambda code, rng: 1.1 * code,
    "half of it": lambda code, rng: 0.5 * code,
    "the code of another sample": lambda code, rng: code[::-1],
    "noise": lambda code, rng: rng.random(code.shape),
    "noise of the wrong sign": lambda code, rng: -rng.random(code.shape),
    "far away": lambda code, rng: 1e3 * rng.random(code.shape),
    "everywhere": lambda code, rng: np.ones(code.shape),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("n_neurons", [24, 60])
@pytest.mark.parametrize("engine", ENGINES)
@SIDES
def test_every_start_gives_the_same_code(engine, two_sided, n_neurons, start):
    atoms, X = world(n_neurons, 40, two_sided=two_sided)
    circuit = make(atoms, two_sided=two_sided)
    cold = circuit.encode({"x": X}, 1e-10).code
    first = STARTS[start](cold, np.random.default_rng(0))
    for tol, close in ((1e-10, 1e-7), (1e-4, 0.02)):
        warm = circuit.encode({"x": X}, tol, start=first, engine=engine)
        np.testing.assert_allclose(warm.code, cold, rtol=0, atol=close)
        assert gap_of(circuit, X, warm.code).max() <= tol


def test_start_outside_clamped_block_is_ignored():
    atoms, X = world()
    labels = np.arange(20) % 4
    circuit = make(atoms, drivers=DRIVERS["clamp"])
    cold = circuit.encode({"x": X}, 1e-10, labels=labels).code
    warm = circuit.encode({"x": X}, 1e-10, labels=labels, start=np.ones((20, 24))).code
    np.testing.assert_allclose(warm, cold, rtol=0, atol=1e-8)


def test_start_at_solution_needs_no_iterations():
    atoms, X = world()
    circuit = make(atoms)
    cold = circuit.encode({"x": X}, 1e-4)
    warm = circuit.encode({"x": X}, 1e-4, start=cold.code)
    assert warm.n_iter.max() <= 2 < cold.n_iter.mean()


@pytest.mark.parametrize("engine", ENGINES)
def test_start_is_not_modified(engine):
    atoms, X = world()
    start = np.random.default_rng(0).random((20, 24))
    before = start.copy()
    make(atoms).encode({"x": X}, start=start, engine=engine)
    np.testing.assert_array_equal(start, before)


# ---------------------------------------------------------------------- edges


@SIDES
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blank_sample_has_zero_code_and_gap(engine, two_sided, dtype):
    atoms, X = world(two_sided=two_sided)
    X[3] = 0
    found = make(atoms, dtype=dtype, two_sided=two_sided).encode({"x": X}, engine=engine)
    assert not found.code[3].any()
    assert found.gap[3] == 0
    assert found.residual[3] == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transfer", [SoftThreshold(50.0), HardThreshold(50.0)])
def test_huge_threshold_gives_zero_codes(engine, transfer):
    atoms, X = world()
    found = make(atoms, transfer).encode({"x": X}, 1e-10, engine=engine)
    assert not found.code.any()
    assert found.residual.max() == 0
    assert found.gap is None or found.gap.max() == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("n_neurons", "n_inputs", "n_samples"),
    [(1, 1, 1), (1, 9, 4), (9, 1, 1), (33, 16, 1), (17, 4, 2)],
)
@SIDES
def test_circuits_of_every_size_converge(engine, n_neurons, n_inputs, n_samples, two_sided):
    atoms, X = world(n_neurons, n_inputs, n_samples, two_sided=True)
    atoms *= np.linspace(1, 1.5, n_neurons)[:, None]  # one input: no two atoms are equal
    circuit = make(atoms, two_sided=two_sided)
    found = circuit.encode({"x": X}, 1e-8, engine=engine)
    assert found.code.shape == (n_samples, n_neurons)
    assert kkt_residual(atoms, X, found.code, 0.1, two_sided).max() < 1e-8


@pytest.mark.parametrize("engine", ENGINES)
def test_tiny_threshold_gives_least_squares_code(engine):
    atoms, X = world(8, two_sided=True)
    circuit = make(atoms, threshold=1e-9, two_sided=True)
    code = circuit.encode({"x": X}, 1e-3, engine=engine).code
    np.testing.assert_allclose(code, np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T, atol=1e-6)


# ---------------------------------------------------------------------- any circuit at all


@st.composite
def any_world(draw):
    """Atoms that are signed or not, of unit norm or not, some of them nearly twins."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, p = draw(st.integers(1, 14)), draw(st.integers(1, 12))
    atoms = rng.standard_normal((n, p)) if draw(st.booleans()) else rng.random((n, p))
    atoms /= np.linalg.norm(atoms, axis=1)[:, None]
    twins = draw(st.sampled_from([0, 1e-3, 1e-6, 1e-9]))
    if n > 1 and twins:
        chosen = rng.integers(n, size=n // 2 + 1)
        atoms[chosen] = atoms[0] + twins * rng.standard_normal((len(chosen), p))
    if draw(st.booleans()):
        atoms *= 10 ** rng.uniform(-2, 2, (n, 1))
    if n > 1 and p > 1 and draw(st.booleans()):
        atoms[-1, 0] = 0
    X = rng.standard_normal((5, p)) if draw(st.booleans()) else rng.random((5, p))
    X *= 10.0 ** draw(st.integers(-2, 2))
    threshold = 10 ** draw(st.floats(-5, 0.5))
    return atoms, X, threshold, draw(st.booleans())


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(any_world(), st.sampled_from([1e-3, 1e-7]), st.sampled_from([np.float32, np.float64]))
@pytest.mark.filterwarnings("default:.*did not converge")
def test_inaccurate_codes_are_never_silent(case, tol, dtype):
    atoms, X, threshold, two_sided = case
    if len(np.unique(atoms.astype(dtype), axis=0)) < len(atoms):
        return  # a circuit with two equal atoms is rejected
    circuit = make(atoms, dtype=dtype, threshold=threshold, two_sided=two_sided)
    # scikit-learn sees what the circuit sees.
    atoms, X = circuit.dictionaries[0].atoms.astype(float), X.astype(dtype).astype(float)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = circuit.encode({"x": X}, tol, max_iter=3000)
    assert np.isfinite(found.code).all()
    assert not (found.gap < 0).any()
    unconverged = ~(found.gap <= tol)
    assert (count_in(caught) if caught else 0) == unconverged.sum()
    wide = make(atoms, threshold=threshold, two_sided=two_sided)
    ours = wide.energy({"x": X}, found.code)
    theirs = wide.energy({"x": X}, lasso(atoms, X, threshold, two_sided))
    excess = ((ours - theirs) / ours)[~unconverged & (ours > 0)]
    assert (excess <= max(tol, 1e-6)).all()


def test_reference_stops_when_all_samples_have_converged():
    rng = np.random.default_rng(0)
    atoms = rng.random((6, 8))
    circuit = make(atoms / np.linalg.norm(atoms, axis=1, keepdims=True))
    X = rng.random((5, 8)) / 3
    rough, fine = (
        circuit.encode({"x": X}, tol, engine="reference", max_iter=20_000).n_iter
        for tol in (1e-2, 1e-8)
    )
    assert (rough <= fine).all()
    assert rough.mean() < fine.mean()
    assert fine.max() < 20_000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
def test_negated_stimuli_give_negated_codes(kind, dtype):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        atoms = rng.standard_normal((30, 12))
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        X = rng.standard_normal((8, 12)) * rng.uniform(0.1, 1.0, (8, 1))
        circuit = make(atoms, kind(0.2, two_sided=True), dtype=dtype)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            code, negated = (circuit.encode({"x": Z}, 1e-5).code for Z in (X, -X))
        np.testing.assert_array_equal(negated, -code)

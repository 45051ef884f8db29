"""The active sets of the soft code: coherent dictionaries, termination, limits of space and rounds.

The families of dictionaries are those in which active atoms are nearly or exactly linearly
dependent. The criterion is the duality gap, computed in NumPy from the returned code.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest

from spikelca import Circuit, CurrentDriver, Dictionary, LinkedLCA, RateNeuron, SoftThreshold
from spikelca.engines.numba.encode import solve
from spikelca.engines.numba.encode.active_set import make_active_set_workspace
from spikelca.engines.numba.encode.cholesky import append, project_on_active, remove
from spikelca.engines.numba.encode.solve import solve_active_set, solve_exact_active_set
from spikelca.engines.response import Response
from spikelca.metrics import relative_gap

N_SEEDS = 200


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mix(atoms, rng, n_samples=6, noise=0.05):
    """Make sparse sums of the atoms, with noise."""
    code = rng.random((n_samples, len(atoms))) * (rng.random((n_samples, len(atoms))) < 0.15)
    return code @ atoms + noise * rng.random((n_samples, atoms.shape[1]))


def make_twins(rng, spread):
    """Make more atoms than inputs, and a twin of each at a small distance."""
    atoms = unit(rng.random((30, 12)))
    twins = unit(atoms + spread * rng.standard_normal(atoms.shape))
    return np.vstack([atoms, twins]), mix(atoms, rng)


def make_overcomplete(rng):
    """Make eight times as many atoms as inputs, of both signs."""
    return unit(rng.standard_normal((80, 10))), rng.standard_normal((6, 10))


def make_common_mean(rng):
    """Make atoms around one mean, and stimuli well inside their cone."""
    atoms = unit(np.abs(rng.standard_normal((100, 20))) + 3)
    return atoms, unit(np.abs(unit(rng.standard_normal((6, 20)))) + 3)


def make_rank_deficient(rng):
    """Make sixty atoms in a space of five dimensions."""
    basis = rng.random((5, 30))
    atoms = unit(rng.random((60, 5)) @ basis)
    return atoms, rng.random((6, 5)) @ basis + 0.01 * rng.random((6, 30))


def make_integers(rng):
    """Make atoms and stimuli of integers: ties, and atoms that are sums of others."""
    atoms = np.unique(rng.integers(0, 2, (40, 8)), axis=0).astype(float)
    return atoms[atoms.any(axis=1)], rng.integers(0, 5, (6, 8)).astype(float)


FAMILIES = {
    "twins 1e-2": lambda rng: make_twins(rng, 1e-2),
    "twins 1e-4": lambda rng: make_twins(rng, 1e-4),
    "twins 1e-6": lambda rng: make_twins(rng, 1e-6),
    "twins 1e-9": lambda rng: make_twins(rng, 1e-9),
    "overcomplete": make_overcomplete,
    "common mean": make_common_mean,
    "rank-deficient": make_rank_deficient,
    "integers": make_integers,
}


def make_circuit(atoms, lam=0.01, two_sided=False, drivers=()):
    dictionaries = [Dictionary("x", atoms)]
    return Circuit(RateNeuron(), SoftThreshold(lam, two_sided), dictionaries, drivers)


def compute_gap(circuit, X, code):
    atoms = circuit.dictionaries[0].atoms.astype(float)
    x2 = (X**2).sum(axis=1)
    return relative_gap(circuit.transfer, X @ atoms.T, atoms @ atoms.T, code, x2)


def start_from(code):
    """Make a response that has reached this code in zero rounds."""
    return Response(code, np.empty(0), None, np.zeros(len(code), np.int64))


def solve_from(circuit, X, code, tol=1e-6, max_iter=10_000):
    problem = circuit.compile({"x": X})
    return solve_exact_active_set(problem, start_from(code), np.arange(len(X)), tol, max_iter)


# ---------------------------------------------------------------- termination


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("lam", [1e-3, 0.03])
@pytest.mark.parametrize("family", FAMILIES)
def test_coherent_dictionaries_converge_in_few_rounds(family, lam, two_sided, figure):
    rounds, gaps = [], []
    for seed in range(N_SEEDS):
        atoms, X = FAMILIES[family](np.random.default_rng(seed))
        circuit = make_circuit(atoms, lam, two_sided)
        response = circuit.encode({"x": X}, tol=1e-6)
        rounds.append(response.n_iter.max() / len(atoms))
        gaps.append(compute_gap(circuit, X, response.code).max())
    figure(f"rounds per neuron at most {max(rounds):.2f}, largest gap {max(gaps):.1e}")
    assert max(rounds) <= 4
    # The kernel's gap was at most 1e-6; NumPy adds in another order.
    assert max(gaps) <= 1e-6 * (1 + 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_active_set_reaches_rounding_size(family):
    for seed in range(10):
        atoms, X = FAMILIES[family](np.random.default_rng(seed))
        circuit = make_circuit(atoms)
        response = solve_from(circuit, X, np.zeros((len(X), len(atoms))), tol=1e-11)
        assert (response.gap <= 1e-11).all()
        assert (response.residual <= 1e-11).all()
        assert (response.n_iter <= 2 * len(atoms)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_energy_falls_in_every_round(family):
    atoms, X = FAMILIES[family](np.random.default_rng(0))
    circuit = make_circuit(atoms)
    before, n_rounds = np.full(len(X), np.inf), 0
    while True:
        rest = np.zeros((len(X), len(atoms)))
        response = solve_from(circuit, X, rest, tol=1e-9, max_iter=n_rounds)
        energy = circuit.energy({"x": X}, response.code)
        running = response.n_iter == n_rounds
        if not running.any():
            break
        # A fall can be smaller than the last digits of the energy; a rise cannot be larger.
        assert (energy <= before * (1 + 1e-13))[running].all()
        before, n_rounds = energy, n_rounds + 1
    assert n_rounds > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_any_code_is_a_start(family):
    rng = np.random.default_rng(0)
    atoms, X = FAMILIES[family](rng)
    circuit = make_circuit(atoms, two_sided=True)
    for density in (0.1, 0.5, 1.0):
        shape = (len(X), len(atoms))
        code = rng.standard_normal(shape) * (rng.random(shape) < density)
        response = solve_from(circuit, X, code)
        assert (compute_gap(circuit, X, response.code) <= 1.1e-6).all()


@pytest.mark.parametrize("n_components", [None, 256])
def test_wine_converges_with_all_defaults(n_components, recwarn):
    from sklearn.datasets import load_wine

    LinkedLCA(n_components, random_state=0).fit_transform(load_wine().data)
    assert not [w for w in recwarn if "did not converge" in str(w.message)]


def test_unbounded_energy_ends_with_its_report():
    # Opposite atoms and a current above the threshold: the energy falls without limit.
    atoms = np.array([[1.0, 0.0], [-1.0, 0.0]])
    circuit = make_circuit(atoms, 0.1, drivers=[CurrentDriver(0.3)])
    response = solve_from(circuit, np.array([[0.5, 0.0]]), np.zeros((1, 2)))
    c = np.array([[0.5, -0.5]]) - response.code @ (atoms @ atoms.T)
    slope = c + 0.3 - 0.1
    residual = np.where(response.code > 0, np.abs(slope), np.maximum(slope, 0)).max() / 0.1
    assert response.residual[0] == pytest.approx(residual)
    assert residual > 1


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tol", [1e-4, 1e-7])
def test_rounds_of_all_solvers_obey_the_limit(dtype, tol):
    atoms, X = make_common_mean(np.random.default_rng(0))
    circuit, X = make_circuit(atoms.astype(dtype), 1e-3), X.astype(dtype)
    ends = circuit.encode({"x": X}, tol=tol).n_iter
    for max_iter in (1, 5, 40, 64, 70):
        with np.testing.suppress_warnings() as sup:
            sup.filter(message=".*did not converge")
            n_iter = circuit.encode({"x": X}, tol=tol, max_iter=max_iter).n_iter
        np.testing.assert_array_equal(n_iter, np.minimum(ends, max_iter))


def test_full_active_set_is_finished_exactly(monkeypatch):
    atoms, X = make_overcomplete(np.random.default_rng(0))
    circuit = make_circuit(atoms)
    expected = circuit.encode({"x": X}, tol=1e-10)
    monkeypatch.setattr(solve, "MAX_ACTIVE", 3)
    limited = circuit.encode({"x": X}, tol=1e-10)
    assert (limited.gap <= 1e-10).all()
    np.testing.assert_allclose(limited.code, expected.code, atol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_single_precision_is_finished_in_double(family):
    atoms, X = FAMILIES[family](np.random.default_rng(0))
    atoms = np.unique(atoms.astype(np.float32), axis=0)
    response = make_circuit(atoms).encode({"x": X.astype(np.float32)}, tol=1e-5)
    assert response.code.dtype == np.float32
    assert (response.gap <= 1e-5).all()


def test_exact_and_fast_active_set_agree():
    atoms, X = make_overcomplete(np.random.default_rng(1))
    circuit = make_circuit(atoms, 0.1)
    fast = solve_active_set(circuit.compile({"x": X}), 1e-10, 1000)
    exact = solve_from(circuit, X, np.zeros((len(X), len(atoms))), tol=1e-10)
    assert (fast.gap <= 1e-10).all()
    np.testing.assert_allclose(exact.code, fast.code, atol=1e-9)


# ---------------------------------------------------------------- the factor


@numba.njit
def add_to_factor(gram, workspace, n, j):
    append(workspace, n, j, project_on_active(gram, workspace, n, j))


@numba.njit
def remove_from_factor(workspace, n, p):
    return remove(workspace, n, p)


def test_factor_follows_its_block():
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((30, 60))
    gram = atoms @ atoms.T
    workspace, n = make_active_set_workspace(30, 64, np.dtype(np.float64)), 0
    for j in rng.permutation(30):
        add_to_factor(gram, workspace, n, int(j))
        workspace.a[n] = workspace.sign[n] = workspace.gradient[n] = j
        n += 1
        if n > 2 and rng.random() < 0.4:
            n = remove_from_factor(workspace, n, int(rng.integers(n)))
        active = workspace.active[:n]
        factor = np.tril(workspace.Q[:n, :n])
        np.testing.assert_allclose(factor @ factor.T, gram[np.ix_(active, active)], rtol=1e-12)
        for values in (workspace.a, workspace.sign, workspace.gradient):
            np.testing.assert_array_equal(values[:n], active)

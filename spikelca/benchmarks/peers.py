"""The peers: other ways to the same codes, each as a task on the same arrays.

All solve ``min_a 1/2 |x - Phi a|^2 + lam |a|_1, a >= 0`` for each sample. What does not depend on
the samples (the Gram matrix, the step) is made beforehand for everyone. A peer that is not
installed is not there; it is never imitated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikelca.model.atoms import largest_eigenvalue
from spikelca.utils.validation import FloatArray


@dataclass(frozen=True, eq=False)
class LassoProblem:
    """One problem for all: samples X (n_samples, n_inputs), atoms (n_neurons, n_inputs), lam."""

    X: FloatArray
    atoms: FloatArray
    lam: float

    def part(self, n_samples: int) -> LassoProblem:
        """The first samples alone."""
        return LassoProblem(self.X[:n_samples], self.atoms, self.lam)


Solver = Callable[[], FloatArray]


def product_task(problem: LassoProblem) -> Solver:
    """The limit: Phi^T X in float32, and nothing else."""
    X, phi = problem.X.astype(np.float32), np.ascontiguousarray(problem.atoms.T, np.float32)
    return lambda: np.asarray(X @ phi)


def spams_lasso(problem: LassoProblem) -> Solver:
    """SPAMS: LARS with a Gram matrix, one thread."""
    import spams

    phi = np.asfortranarray(problem.atoms.T, np.float64)
    X = np.asfortranarray(problem.X.T, np.float64)
    gram = np.asfortranarray(phi.T @ phi)

    def solve() -> FloatArray:
        q = np.asfortranarray(phi.T @ X)
        code = spams.lasso(
            X, Q=gram, q=q, lambda1=problem.lam, lambda2=0.0, mode=2, pos=True, numThreads=1
        )
        return np.asarray(code.toarray().T)

    return solve


def sklearn_lasso(problem: LassoProblem, tol: float = 1e-4) -> Solver:
    """scikit-learn's `LassoProblem`, coordinate descent on a precomputed Gram matrix."""
    from sklearn.linear_model import Lasso as SklearnLasso

    phi = np.asfortranarray(problem.atoms.T, np.float64)
    X = np.asfortranarray(problem.X.T, np.float64)
    model = SklearnLasso(
        alpha=problem.lam / phi.shape[0],
        fit_intercept=False,
        precompute=np.ascontiguousarray(phi.T @ phi),
        positive=True,
        tol=tol,
        max_iter=10_000,
    )
    return lambda: np.atleast_2d(model.fit(phi, X).coef_)


def sklearn_sparse_encode(problem: LassoProblem) -> Solver:
    """scikit-learn's `sparse_encode`, which takes no tolerance."""
    from sklearn.decomposition import sparse_encode

    X, atoms = problem.X.astype(np.float64), problem.atoms.astype(np.float64)
    gram = atoms @ atoms.T
    return lambda: np.asarray(
        sparse_encode(
            X, atoms, gram=gram, algorithm="lasso_cd", alpha=problem.lam, positive=True,
            max_iter=10_000,
        )
    )  # fmt: skip


def celer_lasso(problem: LassoProblem, tol: float = 1e-4) -> Solver:
    """celer: one sample at a time, as it is made for large single problems."""
    import celer

    phi = np.asfortranarray(problem.atoms.T, np.float64)
    X = problem.X.astype(np.float64)
    model = celer.Lasso(
        alpha=problem.lam / phi.shape[0], fit_intercept=False, positive=True, tol=tol
    )
    return lambda: np.array([model.fit(phi, x).coef_ for x in X])


def numpy_rate(problem: LassoProblem, n_steps: int, k: float) -> Solver:
    """Potentials after forward Euler of the circuit with dense matrices, float32."""
    X, atoms = problem.X.astype(np.float32), problem.atoms.astype(np.float32)
    lam, lateral = np.float32(problem.lam), atoms @ atoms.T - np.eye(len(atoms), dtype=np.float32)
    step = np.float32(k)

    def solve() -> FloatArray:
        b = X @ atoms.T
        u = np.zeros_like(b)
        for _ in range(n_steps):
            u += step * (b - np.maximum(u - lam, np.float32(0)) @ lateral - u)
        return u

    return solve


def numpy_lca(problem: LassoProblem, n_steps: int, k: float = 0.1) -> Solver:
    """The codes of the same."""
    potentials, lam = numpy_rate(problem, n_steps, k), np.float32(problem.lam)
    return lambda: np.maximum(potentials() - lam, np.float32(0))


def numpy_fista(problem: LassoProblem, n_steps: int) -> Solver:
    """FISTA with dense matrices, float32."""
    X, atoms = problem.X.astype(np.float32), problem.atoms.astype(np.float32)
    gram = atoms @ atoms.T
    step = np.float32(1 / largest_eigenvalue(gram))
    lam = np.float32(problem.lam)

    def solve() -> FloatArray:
        b = X @ atoms.T
        a = z = np.zeros_like(b)
        t = 1.0
        for _ in range(n_steps):
            new = np.maximum(z + step * (b - z @ gram - lam), np.float32(0))
            after = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
            z = new + np.float32((t - 1) / after) * (new - a)
            a, t = new, after
        return a

    return solve

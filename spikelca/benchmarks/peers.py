"""Other solvers of the same problem, each as a task on the same arrays.

All solve ``min_a 1/2 |x - Phi a|^2 + lam |a|_1, a >= 0`` for each sample. Arrays that do not depend
on the samples (Gram matrix, step size) are computed before the measurement, for all solvers. The
task of a package that is not installed raises ImportError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikelca.model.atoms import largest_eigenvalue
from spikelca.utils.validation import FloatArray


@dataclass(frozen=True, eq=False)
class LassoProblem:
    """Non-negative LASSO: samples X (n_samples, n_inputs), atoms (n_neurons, n_inputs) and lam."""

    X: FloatArray
    atoms: FloatArray
    lam: float

    def head(self, n_samples: int) -> LassoProblem:
        """Return the problem of the first samples."""
        return LassoProblem(self.X[:n_samples], self.atoms, self.lam)


Solver = Callable[[], FloatArray]


def product_task(problem: LassoProblem) -> Solver:
    """Compute the product Phi^T X in float32, a lower bound of the time to encode."""
    X, phi = problem.X.astype(np.float32), np.ascontiguousarray(problem.atoms.T, np.float32)
    return lambda: np.asarray(X @ phi)


def spams_lasso(problem: LassoProblem) -> Solver:
    """Solve with SPAMS: LARS with a Gram matrix, one thread."""
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
    """Solve with ``Lasso`` of scikit-learn: coordinate descent with a precomputed Gram matrix."""
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
    """Solve with ``sparse_encode`` of scikit-learn, which has no tolerance parameter."""
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
    """Solve with celer, one sample at a time, as it is designed for single large problems."""
    import celer

    phi = np.asfortranarray(problem.atoms.T, np.float64)
    X = problem.X.astype(np.float64)
    model = celer.Lasso(
        alpha=problem.lam / phi.shape[0], fit_intercept=False, positive=True, tol=tol
    )
    return lambda: np.array([model.fit(phi, x).coef_ for x in X])


def numpy_rate(problem: LassoProblem, n_steps: int, k: float) -> Solver:
    """Integrate the potentials of rate neurons by forward Euler with dense float32 matrices."""
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
    """Compute the codes of `numpy_rate`."""
    potentials, lam = numpy_rate(problem, n_steps, k), np.float32(problem.lam)
    return lambda: np.maximum(potentials() - lam, np.float32(0))


def numpy_fista(problem: LassoProblem, n_steps: int) -> Solver:
    """Solve by FISTA with dense float32 matrices."""
    X, atoms = problem.X.astype(np.float32), problem.atoms.astype(np.float32)
    gram = atoms @ atoms.T
    step = np.float32(1 / largest_eigenvalue(gram))
    lam = np.float32(problem.lam)

    def solve() -> FloatArray:
        b = X @ atoms.T
        a = z = np.zeros_like(b)
        t = 1.0
        for _ in range(n_steps):
            a_next = np.maximum(z + step * (b - z @ gram - lam), np.float32(0))
            t_next = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
            z = a_next + np.float32((t - 1) / t_next) * (a_next - a)
            a, t = a_next, t_next
        return a

    return solve

"""Suite ``encode``: time to encode, compared with other packages and with the product Phi^T X."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from spikelca.benchmarks import peers
from spikelca.benchmarks.measure import (
    Quartiles,
    Row,
    fix_threads,
    meets_target,
    objectives_agree,
    time_interleaved,
)
from spikelca.benchmarks.peers import LassoProblem, Solver
from spikelca.circuit import Circuit
from spikelca.metrics import energy, relative_gap
from spikelca.model.dictionary import Dictionary
from spikelca.model.neurons import RateNeuron
from spikelca.model.transfer import SoftThreshold
from spikelca.utils.validation import FloatArray


@dataclass(frozen=True)
class PeerBenchmark:
    """Comparison with one package.

    Attributes
    ----------
    name : str
        Name of the package and method.
    make : callable
        Makes a task that computes codes from a problem.
    n_samples : int
        Number of samples, small enough for short rounds.
    tol : float
        Tolerance of spikelca.
    slack : float
        Maximum relative difference of the objectives; no ratio is shown for larger ones.
    target : str
        Target of the ratio of times, as ``">= 5"``.
    """

    name: str
    make: Callable[[LassoProblem], Solver]
    n_samples: int
    tol: float = 1e-4
    slack: float = 1e-4
    target: str = ""


def make_circuit(problem: LassoProblem) -> Circuit:
    """Make the circuit that solves a problem."""
    return Circuit(RateNeuron(), SoftThreshold(problem.lam), [Dictionary("x", problem.atoms)])


def encode_task(problem: LassoProblem, tol: float = 1e-4) -> Solver:
    """Make the task of spikelca as called by users, with validation, drive and certificate."""
    circuit = make_circuit(problem)
    return lambda: circuit.encode({"x": problem.X}, tol=tol).code


def mean_gap(problem: LassoProblem, code: FloatArray) -> float:
    """Compute the mean relative duality gap of a code in float64."""
    X, atoms = problem.X.astype(np.float64), problem.atoms.astype(np.float64)
    x2 = np.einsum("ij,ij->i", X, X)
    gaps = relative_gap(SoftThreshold(problem.lam), X @ atoms.T, atoms @ atoms.T, code, x2)
    return float(gaps.mean())


def mean_objective(problem: LassoProblem, code: FloatArray) -> float:
    """Compute the mean objective of a code."""
    atoms = [Dictionary("x", problem.atoms)]
    return float(energy({"x": problem.X}, atoms, code, SoftThreshold(problem.lam)).mean())


def peer_benchmarks(quick: bool) -> list[PeerBenchmark]:
    """List the comparisons, the fastest packages first."""
    scale = 4 if quick else 1
    return [
        PeerBenchmark("SPAMS", peers.spams_lasso, 1000 // scale, target=">= 5"),
        PeerBenchmark("scikit-learn Lasso", peers.sklearn_lasso, 400 // scale, target=">= 15"),
        PeerBenchmark("scikit-learn sparse_encode", peers.sklearn_sparse_encode, 200 // scale),
        PeerBenchmark("celer", peers.celer_lasso, 20),
    ]


def encode_suite(
    problem: LassoProblem, large: LassoProblem | None, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Yield the rows of the suite as they are measured."""
    rounds = 5 if quick else 9
    with fix_threads(1):
        yield compare_with_product(problem, rounds)
        for peer in peer_benchmarks(quick):
            yield from compare_with_peer(problem, peer, rounds, skipped)
        for name, maker in (("NumPy LCA", peers.numpy_lca), ("NumPy FISTA", peers.numpy_fista)):
            target = ">= 50" if name == "NumPy LCA" else ""
            subset = problem.head(500 // (4 if quick else 1))
            n_steps = count_steps_to_gap(subset, maker, 1e-3)
            peer = PeerBenchmark(
                f"{name}, {n_steps} steps",
                lambda p, m=maker, n=n_steps: m(p, n),  # type: ignore[misc]
                len(subset.X),
                1e-3,
                1e-3,
                target,
            )
            yield from compare_with_peer(problem, peer, max(rounds // 2, 3), skipped)
        if large is not None:
            for name, make, n, target in (
                ("SPAMS", peers.spams_lasso, 300, ">= 10"),
                ("scikit-learn Lasso", peers.sklearn_lasso, 100, ">= 40"),
            ):
                yield from compare_with_peer(
                    large, PeerBenchmark(name, make, n, target=target), 5, skipped
                )


def compare_with_product(problem: LassoProblem, rounds: int) -> Row:
    """Compare the time to encode with the time of the product Phi^T X, its lower bound."""
    tasks = {"ours": encode_task(problem), "product": peers.product_task(problem)}
    seconds = time_interleaved(tasks, 2 * rounds)
    code, n = tasks["ours"](), len(problem.X)
    value = Quartiles.of(seconds["ours"] / seconds["product"])
    return Row(
        "encode", f"encode / product Phi^T X ({len(problem.atoms)} atoms)", value, "x", "<= 3.5",
        meets_target(value.median, "<= 3.5"),
        {name: float(np.median(s)) / n * 1e6 for name, s in seconds.items()},
        {"ours": mean_gap(problem, code)}, {"ours": mean_objective(problem, code)},
        f"{np.count_nonzero(code) / code.size:.1%} of the neurons active",
    )  # fmt: skip


def compare_with_peer(
    problem: LassoProblem, peer: PeerBenchmark, rounds: int, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Compare spikelca with another package on the same samples."""
    subset = problem.head(peer.n_samples)
    try:
        peer_task = peer.make(subset)
    except ImportError as error:
        skipped.append({"peer": peer.name, "why": str(error)})
        return
    tasks = {"ours": encode_task(subset, peer.tol), "peer": peer_task}
    codes = {name: task() for name, task in tasks.items()}
    objectives = {name: mean_objective(subset, code) for name, code in codes.items()}
    gaps = {name: mean_gap(subset, code) for name, code in codes.items()}
    if not objectives_agree(objectives, peer.slack):
        skipped.append({"peer": peer.name, "why": f"objectives differ: {objectives}"})
        return
    seconds = time_interleaved(tasks, rounds)
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "encode", f"{peer.name} / encode ({len(problem.atoms)} atoms)", value, "x",
        peer.target, meets_target(value.median, peer.target),
        {name: float(np.median(s)) / len(subset.X) * 1e6 for name, s in seconds.items()},
        gaps, objectives, f"tol {peer.tol:g}, {len(subset.X)} samples",
    )  # fmt: skip


def count_steps_to_gap(
    problem: LassoProblem, maker: Callable[[LassoProblem, int], Solver], gap: float
) -> int:
    """Count the steps (in a geometric sequence) that an iteration needs for a mean gap."""
    subset, n_steps = problem.head(100), 50
    while n_steps < 3200 and not mean_gap(subset, maker(subset, n_steps)()) <= gap:
        n_steps = int(n_steps * 1.25)
    return n_steps

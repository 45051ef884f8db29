"""Suite ``encode``: the settled code, beside the peers and beside the product Phi^T X alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from spikelca.benchmarks import peers as peers
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
    """One peer, and how it is to be met.

    Attributes
    ----------
    name : str
    make : callable
        From a problem to a task that gives codes.
    n_samples : int
        As many as make a round of it short.
    tol : float
        The gap to which this library settles beside it.
    slack : float
        How far the objectives may differ, as a part; beyond, no ratio is shown.
    target : str
    """

    name: str
    make: Callable[[LassoProblem], Solver]
    n_samples: int
    tol: float = 1e-4
    slack: float = 1e-4
    target: str = ""


def make_circuit(problem: LassoProblem) -> Circuit:
    """The circuit that solves a problem."""
    return Circuit(RateNeuron(), SoftThreshold(problem.lam), [Dictionary("x", problem.atoms)])


def encode_task(problem: LassoProblem, tol: float = 1e-4) -> Solver:
    """This library, as a user calls it: checks, drive, settling and certificate included."""
    circuit = make_circuit(problem)
    return lambda: circuit.encode({"x": problem.X}, tol=tol).code


def mean_gap(problem: LassoProblem, code: FloatArray) -> float:
    """Mean relative duality gap of a code, computed in float64 from its own arrays."""
    X, atoms = problem.X.astype(np.float64), problem.atoms.astype(np.float64)
    x2 = np.einsum("ij,ij->i", X, X)
    gaps = relative_gap(SoftThreshold(problem.lam), X @ atoms.T, atoms @ atoms.T, code, x2)
    return float(gaps.mean())


def mean_objective(problem: LassoProblem, code: FloatArray) -> float:
    """Mean objective of a code."""
    atoms = [Dictionary("x", problem.atoms)]
    return float(energy({"x": problem.X}, atoms, code, SoftThreshold(problem.lam)).mean())


def peer_benchmarks(quick: bool) -> list[PeerBenchmark]:
    """The field, from the nearest to the farthest."""
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
    """All rows of the suite, each as soon as it is measured."""
    rounds = 5 if quick else 9
    with fix_threads(1):
        yield compare_with_product(problem, rounds)
        for contest in peer_benchmarks(quick):
            yield from compare_with_peer(problem, contest, rounds, skipped)
        for name, maker in (("NumPy LCA", peers.numpy_lca), ("NumPy FISTA", peers.numpy_fista)):
            target = ">= 50" if name == "NumPy LCA" else ""
            part = problem.part(500 // (4 if quick else 1))
            n_steps = steps_to_gap(part, maker, 1e-3)
            contest = PeerBenchmark(
                f"{name}, {n_steps} steps",
                lambda p, m=maker, n=n_steps: m(p, n),  # type: ignore[misc]
                len(part.X),
                1e-3,
                1e-3,
                target,
            )
            yield from compare_with_peer(problem, contest, max(rounds // 2, 3), skipped)
        if large is not None:
            for name, make, n, target in (
                ("SPAMS", peers.spams_lasso, 300, ">= 10"),
                ("scikit-learn Lasso", peers.sklearn_lasso, 100, ">= 40"),
            ):
                yield from compare_with_peer(
                    large, PeerBenchmark(name, make, n, target=target), 5, skipped
                )


def compare_with_product(problem: LassoProblem, rounds: int) -> Row:
    """Encode over the time of Phi^T X: what is left to gain."""
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
    problem: LassoProblem, contest: PeerBenchmark, rounds: int, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """One peer beside this library on the same samples."""
    part = problem.part(contest.n_samples)
    try:
        theirs = contest.make(part)
    except ImportError as error:
        skipped.append({"peer": contest.name, "why": str(error)})
        return
    tasks = {"ours": encode_task(part, contest.tol), "peer": theirs}
    codes = {name: task() for name, task in tasks.items()}
    objectives = {name: mean_objective(part, code) for name, code in codes.items()}
    gaps = {name: mean_gap(part, code) for name, code in codes.items()}
    if not objectives_agree(objectives, contest.slack):
        skipped.append({"peer": contest.name, "why": f"objectives differ: {objectives}"})
        return
    seconds = time_interleaved(tasks, rounds)
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "encode", f"{contest.name} / encode ({len(problem.atoms)} atoms)", value, "x",
        contest.target, meets_target(value.median, contest.target),
        {name: float(np.median(s)) / len(part.X) * 1e6 for name, s in seconds.items()},
        gaps, objectives, f"tol {contest.tol:g}, {len(part.X)} samples",
    )  # fmt: skip


def steps_to_gap(
    problem: LassoProblem, maker: Callable[[LassoProblem, int], Solver], gap: float
) -> int:
    """How many steps a plain iteration takes until its mean gap is small enough."""
    part, n_steps = problem.part(100), 50
    while n_steps < 3200 and not mean_gap(part, maker(part, n_steps)()) <= gap:
        n_steps = int(n_steps * 1.25)
    return n_steps

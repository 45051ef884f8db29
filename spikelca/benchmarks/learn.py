"""Suites ``learn`` and ``spiking``: one epoch of learning, and simulation over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from spikelca.benchmarks.encode import encode_task, make_circuit, mean_objective
from spikelca.benchmarks.measure import Quartiles, Row, fix_threads, meets_target, time_interleaved
from spikelca.benchmarks.peers import LassoProblem, numpy_rate
from spikelca.benchmarks.simulate import time_spiking
from spikelca.circuit import Circuit
from spikelca.learning import learn
from spikelca.model.atoms import draw_initial_atoms
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray

BATCH = 250
"""Samples per batch."""


def learn_epoch(X: FloatArray, start: FloatArray, lam: float, n_epochs: int = 1) -> FloatArray:
    """Learn from initial atoms for some epochs, in the order of the samples; return the atoms."""
    circuit = make_circuit(LassoProblem(X, start, lam))
    batches = (
        ({"x": X[i : i + BATCH]}, None)
        for _ in range(n_epochs)
        for i in range(0, len(X) - BATCH + 1, BATCH)
    )
    for new_circuit, _ in learn(circuit, batches, rng=np.random.default_rng(0)):
        circuit = new_circuit
    return circuit.dictionaries[0].atoms


def initial_atoms(X: FloatArray, n_neurons: int) -> FloatArray:
    """Draw samples as initial atoms."""
    return draw_initial_atoms({"x": X}, {"x": 1.0}, n_neurons, np.random.default_rng(0))["x"]


def learn_suite(
    problem: LassoProblem, X_train: FloatArray, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Compare one epoch with scikit-learn, from the same atoms and samples in the same order."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    start = initial_atoms(X_train, len(problem.atoms))
    # In float32, the coordinate descent of scikit-learn does not reach its tolerance and is slower.
    X_double = X_train.astype(np.float64)
    peer_atoms: list[Any] = []

    def fit_peer() -> None:
        model = MiniBatchDictionaryLearning(
            n_components=len(start), alpha=problem.lam, max_iter=1, batch_size=BATCH,
            shuffle=False, tol=0.0, dict_init=start.astype(np.float64), fit_algorithm="cd",
            positive_code=True, max_no_improvement=None, random_state=0,
        )  # fmt: skip
        peer_atoms[:] = [model.fit(X_double).components_]

    own_atoms: list[Any] = []

    def fit_own() -> None:
        own_atoms[:] = [learn_epoch(X_train, start, problem.lam)]

    with fix_threads(1):
        seconds = time_interleaved({"ours": fit_own, "peer": fit_peer}, 3 if quick else 1)
        objectives = {}
        for name, atoms in (("ours", own_atoms[0]), ("peer", peer_atoms[0])):
            test = replace(problem.head(1000), atoms=np.asarray(atoms, problem.atoms.dtype))
            objectives[name] = mean_objective(test, encode_task(test, 1e-5)())
    if objectives["ours"] > objectives["peer"] * (1 + 1e-3):
        reason = f"objective worse: {objectives}"
        skipped.append({"peer": "MiniBatchDictionaryLearning", "why": reason})
        return
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "learn", f"MiniBatchDictionaryLearning / one epoch of {len(X_train)}", value, "x", ">= 10",
        meets_target(value.median, ">= 10"),
        {name: float(np.median(s)) / len(X_train) * 1e6 for name, s in seconds.items()},
        objectives=objectives,
        note=f"{len(start)} atoms, batches of {BATCH}; objectives on test data",
    )  # fmt: skip


def spiking_suite(
    problem: LassoProblem, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Compare simulations: rate neurons with dense NumPy, spiking neurons with Brian2."""
    with fix_threads(1):
        yield from compare_dense_rate(problem.head(50 if quick else 200), quick, skipped)
        yield from compare_brian2(problem.head(2 if quick else 8), quick, skipped)
    if not quick:
        yield from time_spiking(problem, skipped)


def compare_dense_rate(
    problem: LassoProblem, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Compare complete simulations (every step, without early stop) with the same final state."""
    circuit = make_circuit(problem)
    tau = circuit.neuron.tau
    clock = circuit.simulate({"x": problem.X[:1]}, 5 * tau).clock
    assert clock is not None
    dt, n_steps = clock.dt, clock.n_steps

    def simulate() -> FloatArray:
        return circuit.simulate({"x": problem.X}, n_steps * dt, dt).state["u"]

    def simulate_dense() -> FloatArray:
        return numpy_rate(problem, n_steps, dt / tau)()

    difference = float(np.abs(simulate() - simulate_dense()).max() / problem.lam)
    if difference > 1e-3:
        reason = f"trajectories differ by {difference:.1e}"
        skipped.append({"peer": "dense NumPy Euler", "why": reason})
        return
    seconds = time_interleaved({"ours": simulate, "peer": simulate_dense}, 3 if quick else 7)
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    n = len(problem.X)
    yield Row(
        "spiking", "dense NumPy Euler / rate simulation", value, "x", ">= 5",
        meets_target(value.median, ">= 5"),
        {name: float(np.median(s)) / n * 1e6 for name, s in seconds.items()},
        note=f"{n_steps} steps, {n} samples, final u differ by {difference:.1e} of the threshold",
    )  # fmt: skip


def compare_brian2(
    problem: LassoProblem, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Compare the times of both engines for the same spikes."""
    rate = make_circuit(problem)
    circuit = Circuit(SpikingNeuron(), rate.transfer, rate.dictionaries)
    duration = 0.02 if quick else 0.1
    responses: dict[str, Any] = {}

    def run(engine: str) -> None:
        responses[engine] = circuit.simulate(
            {"x": problem.X}, duration, engine=engine, record=("spikes",)
        )

    try:
        run("brian2")
    except (ImportError, NotImplementedError, ValueError) as error:
        skipped.append({"peer": "Brian2", "why": str(error)})
        return
    seconds = time_interleaved({"ours": lambda: run("numba"), "peer": lambda: run("brian2")}, 3)
    spikes = {name: np.stack([*response.spikes]) for name, response in responses.items()}
    if not np.array_equal(spikes["numba"], spikes["brian2"]):
        skipped.append({"peer": "Brian2", "why": "different spikes"})
        return
    n = spikes["numba"].shape[1]
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "spiking", "Brian2 / spiking simulation", value, "x", "", None,
        {name: float(np.median(s)) / len(problem.X) * 1e6 for name, s in seconds.items()},
        note=f"{n} identical spikes, {duration:g} s of {len(problem.X)} samples; "
        f"{n / float(np.median(seconds['ours'])):.2g} spikes per second",
    )  # fmt: skip

"""Suites ``learn`` and ``spiking``: a dictionary's epoch, and circuits simulated in time."""

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
"""Samples of one step of learning."""


def learn_epoch(X: FloatArray, start: FloatArray, lam: float, n_epochs: int = 1) -> FloatArray:
    """The atoms after some epochs, from a start, in the order of the samples."""
    circuit = make_circuit(LassoProblem(X, start, lam))
    batches = (
        ({"x": X[i : i + BATCH]}, None)
        for _ in range(n_epochs)
        for i in range(0, len(X) - BATCH + 1, BATCH)
    )
    for learned, _ in learn(circuit, batches, rng=np.random.default_rng(0)):
        circuit = learned
    return circuit.dictionaries[0].atoms


def draw_first_atoms(X: FloatArray, n_neurons: int) -> FloatArray:
    """Samples as atoms."""
    return draw_initial_atoms({"x": X}, {"x": 1.0}, n_neurons, np.random.default_rng(0))["x"]


def learn_suite(
    problem: LassoProblem, X_train: FloatArray, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """One epoch beside scikit-learn's, from the same atoms, over the same samples in one order."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    start = draw_first_atoms(X_train, len(problem.atoms))
    # In float32 its coordinate descent does not reach its own tolerance, and is slower.
    wide = X_train.astype(np.float64)
    theirs: list[Any] = []

    def peer() -> None:
        model = MiniBatchDictionaryLearning(
            n_components=len(start), alpha=problem.lam, max_iter=1, batch_size=BATCH,
            shuffle=False, tol=0.0, dict_init=start.astype(np.float64), fit_algorithm="cd",
            positive_code=True, max_no_improvement=None, random_state=0,
        )  # fmt: skip
        theirs[:] = [model.fit(wide).components_]

    mine: list[Any] = []

    def own() -> None:
        mine[:] = [learn_epoch(X_train, start, problem.lam)]

    with fix_threads(1):
        seconds = time_interleaved({"ours": own, "peer": peer}, 3 if quick else 1)
        found = {}
        for name, atoms in (("ours", mine[0]), ("peer", theirs[0])):
            test = replace(problem.part(1000), atoms=np.asarray(atoms, problem.atoms.dtype))
            found[name] = mean_objective(test, encode_task(test, 1e-5)())
    if found["ours"] > found["peer"] * (1 + 1e-3):
        skipped.append({"peer": "MiniBatchDictionaryLearning", "why": f"objective worse: {found}"})
        return
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "learn", f"MiniBatchDictionaryLearning / one epoch of {len(X_train)}", value, "x", ">= 10",
        meets_target(value.median, ">= 10"),
        {name: float(np.median(s)) / len(X_train) * 1e6 for name, s in seconds.items()},
        objectives=found, note=f"{len(start)} atoms, batches of {BATCH}; objectives on test data",
    )  # fmt: skip


def spiking_suite(
    problem: LassoProblem, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Simulation in time: rate beside dense NumPy, spikes beside Brian2."""
    with fix_threads(1):
        yield from compare_dense_rate(problem.part(50 if quick else 200), quick, skipped)
        yield from compare_brian2(problem.part(2 if quick else 8), quick, skipped)
    if not quick:
        yield from time_spiking(problem, skipped)


def compare_dense_rate(
    problem: LassoProblem, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """The faithful trajectory: every step, no early stop, the same last state."""
    circuit = make_circuit(problem)
    tau = circuit.neuron.tau
    clock_of = circuit.simulate({"x": problem.X[:1]}, 5 * tau).clock
    assert clock_of is not None
    k, n_steps = clock_of.dt / tau, clock_of.n_steps

    def own() -> FloatArray:
        return circuit.simulate({"x": problem.X}, n_steps * clock_of.dt, clock_of.dt).state["u"]

    def dense() -> FloatArray:
        return numpy_rate(problem, n_steps, k)()

    worst = float(np.abs(own() - dense()).max() / problem.lam)
    if worst > 1e-3:
        skipped.append({"peer": "dense NumPy Euler", "why": f"trajectories differ by {worst:.1e}"})
        return
    seconds = time_interleaved({"ours": own, "peer": dense}, 3 if quick else 7)
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    n = len(problem.X)
    yield Row(
        "spiking", "dense NumPy Euler / rate simulation", value, "x", ">= 5",
        meets_target(value.median, ">= 5"),
        {name: float(np.median(s)) / n * 1e6 for name, s in seconds.items()},
        note=f"{n_steps} steps, {n} samples, last states {worst:.1e} of the threshold apart",
    )  # fmt: skip


def compare_brian2(
    problem: LassoProblem, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """The same spikes from both engines, and the time for them."""
    rate = make_circuit(problem)
    circuit = Circuit(SpikingNeuron(), rate.transfer, rate.dictionaries)
    duration = 0.02 if quick else 0.1
    found: dict[str, Any] = {}

    def run(engine: str) -> None:
        found[engine] = circuit.simulate(
            {"x": problem.X}, duration, engine=engine, record=("spikes",)
        )

    try:
        run("brian2")
    except (ImportError, NotImplementedError, ValueError) as error:
        skipped.append({"peer": "Brian2", "why": str(error)})
        return
    seconds = time_interleaved({"ours": lambda: run("numba"), "peer": lambda: run("brian2")}, 3)
    spikes = {name: np.stack([*response.spikes]) for name, response in found.items()}
    if not np.array_equal(spikes["numba"], spikes["brian2"]):
        skipped.append({"peer": "Brian2", "why": "the spikes are others"})
        return
    n = spikes["numba"].shape[1]
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "spiking", "Brian2 / spiking simulation", value, "x", "", None,
        {name: float(np.median(s)) / len(problem.X) * 1e6 for name, s in seconds.items()},
        note=f"{n} spikes, the same in both, {duration:g} s of {len(problem.X)} samples; "
        f"{n / float(np.median(seconds['ours'])):.2g} spikes a second",
    )  # fmt: skip

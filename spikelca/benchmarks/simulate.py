"""Suite ``spiking``, the part on spikes: images a second, and compiled Brian2 beside.

Images have unit norm, a step is a fiftieth of tau and a run is twenty: codes within a few 1e-4 of
the optimum. The clock is the wall's, and each time is that of whole calls, objects of Brian2 built
and certificates computed; its code was compiled before. One image at a time takes a millisecond,
too short for the clock of a machine that others use: a round is some images, call after call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from spikelca.benchmarks.encode import make_circuit
from spikelca.benchmarks.measure import Quartiles, Row, fix_threads, meets_target, time_interleaved
from spikelca.benchmarks.peers import LassoProblem
from spikelca.circuit import Circuit
from spikelca.engines import Engine, Response
from spikelca.engines.brian2 import Brian2Engine
from spikelca.model.neurons import SpikingNeuron

N_TAU, STEPS_PER_TAU = 20, 50

SINGLE_CALLS = 5
"""Images of a round in which each is a call of its own."""


def time_spiking(problem: LassoProblem, skipped: list[dict[str, str]]) -> Iterator[Row]:
    """All images on two threads; then compiled Brian2 beside one thread, one and many at a time."""
    unit = problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True)
    scale = float(np.median(np.linalg.norm(problem.X, axis=1)))
    # Spikes are computed in double precision; a circuit that is in it keeps its Gram matrix.
    atoms = problem.atoms.astype(np.float64)
    small = replace(problem, X=unit, atoms=atoms, lam=problem.lam / scale)
    yield time_full_set(small)
    try:
        for batch, target in ((1, ">= 200"), (100, ">= 5")):
            yield from compare_compiled_brian2(small, batch, target)
    except (ImportError, RuntimeError) as error:
        skipped.append({"peer": "Brian2, compiled", "why": str(error)})


def spiking_task(
    problem: LassoProblem, engine: str | Engine, batch: int | None = None
) -> Callable[[], list[Response]]:
    """Code all samples of a problem in spikes, so many in a call; all at once unless told."""
    rate = make_circuit(problem)
    circuit = Circuit(SpikingNeuron(), rate.transfer, rate.dictionaries)
    tau, size = circuit.neuron.tau, batch or len(problem.X)
    parts = [problem.X[i : i + size] for i in range(0, len(problem.X), size)]

    def run() -> list[Response]:
        return [
            circuit.simulate({"x": X}, N_TAU * tau, tau / STEPS_PER_TAU, engine=engine)
            for X in parts
        ]

    return run


def time_full_set(problem: LassoProblem) -> Row:
    """Every image on two threads, in seconds.

    What both threads computed stands beside: on a machine that others use, the wall tells of them.
    """
    run, n = spiking_task(problem, "numba"), len(problem.X)
    with fix_threads(2):
        gap = run()[0].gap
        before = time.process_time()
        seconds = time_interleaved({"ours": run}, 3, time.perf_counter)["ours"]
        # One more call than rounds.
        busy = (time.process_time() - before) / (len(seconds) + 1)
    assert gap is not None
    value = Quartiles.of(seconds)
    return Row(
        "spiking", f"{n} images spike-coded for {N_TAU} tau, two threads", value, "s", "<= 4",
        meets_target(value.median, "<= 4"), {"ours": value.median / n * 1e6},
        {"ours": float(gap.mean())}, note=f"seconds of the wall; {busy:.3g} s of processor time",
    )  # fmt: skip


def compare_compiled_brian2(problem: LassoProblem, batch: int, target: str) -> Iterator[Row]:
    """The same run by both engines, and how many images Brian2 codes in a minute."""
    n = batch if batch > 1 else SINGLE_CALLS
    part = problem.part(n)
    tasks = {"ours": spiking_task(part, "numba", batch),
             "peer": spiking_task(part, Brian2Engine("cython"), batch)}  # fmt: skip
    with fix_threads(1):
        spikes = {
            name: sum(r.events["spikes"].sum() for r in task()) for name, task in tasks.items()
        }
        seconds = time_interleaved(tasks, 5, time.perf_counter)
    value = Quartiles.of(seconds["peer"] / seconds["ours"])
    yield Row(
        "spiking", f"compiled Brian2 / spiking simulation, batch of {batch}", value, "x", target,
        meets_target(value.median, target),
        {name: float(np.median(s)) / n * 1e6 for name, s in seconds.items()},
        note=f"spikes: {', '.join(f'{name} {n}' for name, n in spikes.items())}",
    )  # fmt: skip
    if batch > 1:
        pace = Quartiles.of(60 * batch / seconds["peer"])
        yield Row(
            "spiking", f"images a minute in compiled Brian2, batch of {batch}", pace, "", ">= 5000",
            meets_target(pace.median, ">= 5000"),
        )  # fmt: skip

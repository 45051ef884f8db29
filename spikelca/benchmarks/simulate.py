"""Suite ``spiking``, spiking neurons: images per second, compared with compiled Brian2.

Images have unit norm, dt is tau / 50 and the duration 20 tau, so that codes are within a few 1e-4
of the optimum. Times are wall-clock times of complete calls: Brian2 builds its objects, both
compute certificates, and code is compiled beforehand. A single image takes about 1 ms, which is too
short to measure on a shared machine, so a round consists of several calls.
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
"""Calls per round with one image each."""


def time_spiking(problem: LassoProblem, skipped: list[dict[str, str]]) -> Iterator[Row]:
    """Time all images with two threads; compare one thread with compiled Brian2 for two batches."""
    unit = problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True)
    scale = float(np.median(np.linalg.norm(problem.X, axis=1)))
    # Spiking neurons are simulated in float64; a float64 circuit keeps its Gram matrix.
    atoms = problem.atoms.astype(np.float64)
    scaled = replace(problem, X=unit, atoms=atoms, lam=problem.lam / scale)
    yield time_full_set(scaled)
    try:
        for batch, target in ((1, ">= 200"), (100, ">= 5")):
            yield from compare_compiled_brian2(scaled, batch, target)
    except (ImportError, RuntimeError) as error:
        skipped.append({"peer": "Brian2, compiled", "why": str(error)})


def spiking_task(
    problem: LassoProblem, engine: str | Engine, batch: int | None = None
) -> Callable[[], list[Response]]:
    """Make the task that simulates all samples, ``batch`` samples per call (default: all)."""
    rate = make_circuit(problem)
    circuit = Circuit(SpikingNeuron(), rate.transfer, rate.dictionaries)
    tau, size = circuit.neuron.tau, batch or len(problem.X)
    batches = [problem.X[i : i + size] for i in range(0, len(problem.X), size)]

    def run() -> list[Response]:
        return [
            circuit.simulate({"x": X}, N_TAU * tau, tau / STEPS_PER_TAU, engine=engine)
            for X in batches
        ]

    return run


def time_full_set(problem: LassoProblem) -> Row:
    """Measure the seconds for all images with two threads.

    The note contains the processor time of both threads, since other processes on a shared machine
    increase the wall-clock time.
    """
    run, n = spiking_task(problem, "numba"), len(problem.X)
    with fix_threads(2):
        gap = run()[0].gap
        before = time.process_time()
        seconds = time_interleaved({"ours": run}, 3, time.perf_counter)["ours"]
        # `time_interleaved` makes one call more than the rounds that it measures.
        processor_time = (time.process_time() - before) / (len(seconds) + 1)
    assert gap is not None
    value = Quartiles.of(seconds)
    return Row(
        "spiking", f"{n} images in spikes for {N_TAU} tau, two threads", value, "s", "<= 4",
        meets_target(value.median, "<= 4"), {"ours": value.median / n * 1e6},
        {"ours": float(gap.mean())},
        note=f"wall-clock time; {processor_time:.3g} s of processor time",
    )  # fmt: skip


def compare_compiled_brian2(problem: LassoProblem, batch: int, target: str) -> Iterator[Row]:
    """Compare the same run by both engines, and compute the images per minute of Brian2."""
    n = batch if batch > 1 else SINGLE_CALLS
    subset = problem.head(n)
    tasks = {"ours": spiking_task(subset, "numba", batch),
             "peer": spiking_task(subset, Brian2Engine("cython"), batch)}  # fmt: skip
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
        rate = Quartiles.of(60 * batch / seconds["peer"])
        yield Row(
            "spiking", f"images per minute, compiled Brian2, batch of {batch}", rate, "", ">= 5000",
            meets_target(rate.median, ">= 5000"),
        )  # fmt: skip

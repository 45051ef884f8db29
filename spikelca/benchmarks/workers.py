"""Suite ``workers``: one Dask worker compared with two, and parameters of a model of scaling.

Both clusters exist at the same time and run in interleaved rounds; samples and codes are in the
memory of the workers. Workers are compared in wall-clock time; the times of client and scheduler,
which share this process, are processor times. ``docs/scaling.md`` extrapolates them to larger
clusters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from spikelca.benchmarks.measure import Quartiles, Row, fix_threads, meets_target, time_interleaved
from spikelca.benchmarks.peers import LassoProblem
from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import BLOCK_SAMPLES
from spikelca.distributed import DaskSamples, check_dask, encode_lazily
from spikelca.engines import get_engine
from spikelca.learning import learn
from spikelca.model.dictionary import Dictionary
from spikelca.model.neurons import RateNeuron
from spikelca.model.transfer import SoftThreshold
from spikelca.utils.optional import require
from spikelca.utils.validation import FloatArray

CHUNKS = 16
STEP = 4 * BLOCK_SAMPLES
"""Samples of one learning step: two blocks for each of two workers."""

Clients = Mapping[str, Any]


def workers_suite(
    problem: LassoProblem, X: FloatArray, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """Yield the rows of the suite as they are measured."""
    try:
        distributed = require("distributed", "dask")
    except ImportError as error:
        skipped.append({"peer": "workers", "why": str(error)})
        return
    circuit = Circuit(RateNeuron(), SoftThreshold(problem.lam), [Dictionary("x", problem.atoms)])
    rounds = 3 if quick else 9
    yield time_learning_step(circuit, X, rounds)
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(distributed.Client(stack.enter_context(_make_cluster(n))))
            for name, n in (("one", 1), ("two", 2))
        }
        data = {name: _scatter(client, X) for name, client in clients.items()}
        yield time_empty_tasks(clients["two"], rounds)
        yield time_encoding(clients, data, circuit, rounds)
        yield from time_distributed_step(clients, data, circuit, rounds)


def _make_cluster(n_workers: int) -> Any:
    return require("distributed", "dask").LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=50,
    )


def _scatter(client: Any, X: FloatArray) -> Any:
    """Store the samples in the memory of the workers."""
    dask_array, config = require("dask.array", "dask"), require("dask", "dask").config
    settings = {"distributed.admin.large-graph-warning-threshold": "4 GiB"}
    with client.as_current(), config.set(settings):
        rows = dask_array.from_array(X, chunks=(-(-len(X) // CHUNKS), -1)).persist()
        require("distributed", "dask").wait(rows)
    return rows


def _run_on(client: Any, function: Callable[[], Any]) -> Callable[[], Any]:
    def task() -> Any:
        with client.as_current():
            return function()

    return task


def time_learning_step(circuit: Circuit, X: FloatArray, rounds: int) -> Row:
    """Measure microseconds per sample of a learning step without a cluster."""
    batch = ({"x": X[:BLOCK_SAMPLES]}, None)
    with fix_threads(1):
        tasks = {"local": lambda: list(learn(circuit, [batch]))}
        seconds = time_interleaved(tasks, rounds)["local"]
    value = Quartiles.of(seconds / BLOCK_SAMPLES * 1e6)
    return Row("workers", "sample of a learning step, local", value, "us")


def time_empty_tasks(client: Any, rounds: int, n_tasks: int = 1000) -> Row:
    """Measure the processor time of client and scheduler per trivial task."""
    dask = require("dask", "dask")
    trivial = dask.delayed(abs, pure=False)
    task = _run_on(client, lambda: dask.compute(*(trivial(-i) for i in range(n_tasks))))
    seconds = time_interleaved({"two": task}, rounds)["two"]
    measure = "trivial task, client and scheduler"
    return Row("workers", measure, Quartiles.of(seconds / n_tasks * 1e6), "us")


def time_encoding(clients: Clients, data: Mapping[str, Any], circuit: Circuit, rounds: int) -> Row:
    """Compare the seconds to encode all samples with one worker and with two."""
    distributed = require("distributed", "dask")

    def encode(circuit: Circuit, stimuli: Mapping[str, FloatArray]) -> FloatArray:
        return circuit.encode(stimuli).code

    def make_task(name: str) -> Callable[[], Any]:
        lazy = encode_lazily(circuit, {"x": check_dask(data[name])}, encode)
        return _run_on(clients[name], lambda: distributed.wait(lazy.persist()))

    tasks = {name: make_task(name) for name in clients}
    seconds = time_interleaved(tasks, rounds, time.perf_counter)
    n_samples = len(data["one"])
    value = Quartiles.of(seconds["one"] / seconds["two"])
    times = {name: float(np.median(s)) / n_samples * 1e6 for name, s in seconds.items()}
    return Row("workers", f"encode {n_samples} samples: one worker / two", value, "x", ">= 1.6",
               meets_target(value.median, ">= 1.6"), times)  # fmt: skip


def time_distributed_step(
    clients: Clients, data: Mapping[str, Any], circuit: Circuit, rounds: int
) -> Iterator[Row]:
    """Measure a learning step with samples from all chunks, and the data that it transfers."""
    engine, n_samples = get_engine("numba"), len(data["one"])
    batch = np.random.default_rng(0).permutation(n_samples)[:STEP]

    def make_task(name: str) -> Callable[[], Any]:
        with clients[name].as_current():
            rows = DaskSamples(check_dask(data[name]), {"x": data[name].shape[1]}, keep=True)
            require("distributed", "dask").wait(rows.X)
        return _run_on(
            clients[name], lambda: rows.batch(batch).compute_statistics(circuit, None, 1e-3, engine)
        )

    tasks = {name: make_task(name) for name in clients}
    seconds = time_interleaved(tasks, rounds, time.perf_counter)
    value = Quartiles.of(seconds["one"] / seconds["two"])
    times = {name: float(np.median(s)) / len(batch) * 1e6 for name, s in seconds.items()}
    yield Row("workers", f"step of {len(batch)} samples: one worker / two", value, times=times)
    overhead = Quartiles.of(time_interleaved({"two": tasks["two"]}, rounds)["two"] * 1e3)
    yield Row("workers", "the same step, client and scheduler", overhead, "ms")
    before = _bytes_received(clients["two"])
    for _ in range(rounds):
        tasks["two"]()
    transfer = (_bytes_received(clients["two"]) - before) / rounds / 2**20
    measure = "data transferred between two workers per step"
    yield Row("workers", measure, Quartiles(transfer, transfer, transfer, rounds), "MiB")


def _bytes_received(client: Any) -> float:
    """Sum the bytes that the workers have received from each other."""

    def total(dask_worker: Any) -> int:
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    return float(sum(client.run(total).values()))

"""Suite ``workers``: one worker process beside two, and the prices that a cost model needs.

Both clusters live side by side and take turns, round after round; the samples lie in the memory of
the workers, and the codes stay there. Where workers are compared the clock is the wall's; what
client and scheduler take, which share this process, is processor time. `docs/scaling.md` puts the
prices together and carries them on to clusters that no test machine has.
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
from spikelca.distributed import DaskSamples, check_dask, encode_lazily, require
from spikelca.engines import get_engine
from spikelca.learning import learn
from spikelca.model.dictionary import Dictionary
from spikelca.model.neurons import RateNeuron
from spikelca.model.transfer import SoftThreshold
from spikelca.utils.validation import FloatArray

CHUNKS = 16
STEP = 4 * BLOCK_SAMPLES
"""Samples of one step: two blocks for each of two workers."""

Clients = Mapping[str, Any]


def workers_suite(
    problem: LassoProblem, X: FloatArray, quick: bool, skipped: list[dict[str, str]]
) -> Iterator[Row]:
    """All rows of the suite, each as soon as it is measured."""
    try:
        distributed = require("distributed")
    except ImportError as error:
        skipped.append({"peer": "workers", "why": str(error)})
        return
    circuit = Circuit(RateNeuron(), SoftThreshold(problem.lam), [Dictionary("x", problem.atoms)])
    rounds = 3 if quick else 9
    yield time_learning_step(circuit, X, rounds)
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(distributed.Client(stack.enter_context(_cluster(n))))
            for name, n in (("one", 1), ("two", 2))
        }
        data = {name: _scatter(client, X) for name, client in clients.items()}
        yield time_empty_tasks(clients["two"], rounds)
        yield encode(clients, data, circuit, rounds)
        yield from step(clients, data, circuit, rounds)


def _cluster(n_workers: int) -> Any:
    return require("distributed").LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=50,
    )


def _scatter(client: Any, X: FloatArray) -> Any:
    """The samples in the memory of the workers."""
    array, config = require("dask.array"), require("dask").config
    quiet = {"distributed.admin.large-graph-warning-threshold": "4 GiB"}
    with client.as_current(), config.set(quiet):
        rows = array.from_array(X, chunks=(-(-len(X) // CHUNKS), -1)).persist()
        require("distributed").wait(rows)
    return rows


def _run_on(client: Any, work: Callable[[], Any]) -> Callable[[], Any]:
    def task() -> Any:
        with client.as_current():
            return work()

    return task


def time_learning_step(circuit: Circuit, X: FloatArray, rounds: int) -> Row:
    """What a sample costs in learning, without any cluster."""
    batch = ({"x": X[:BLOCK_SAMPLES]}, None)
    with fix_threads(1):
        seconds = time_interleaved({"here": lambda: list(learn(circuit, [batch]))}, rounds)["here"]
    value = Quartiles.of(seconds / BLOCK_SAMPLES * 1e6)
    return Row("workers", "a sample of a learning step, here", value, "us")


def time_empty_tasks(client: Any, rounds: int, n_tasks: int = 1000) -> Row:
    """A task that does nothing."""
    dask = require("dask")
    nothing = dask.delayed(abs, pure=False)
    work = _run_on(client, lambda: dask.compute(*(nothing(-i) for i in range(n_tasks))))
    seconds = time_interleaved({"two": work}, rounds)["two"]
    measure = "a task that does nothing, to client and scheduler"
    return Row("workers", measure, Quartiles.of(seconds / n_tasks * 1e6), "us")


def encode(clients: Clients, data: Mapping[str, Any], circuit: Circuit, rounds: int) -> Row:
    """Encode all samples: seconds of one worker over those of two."""
    distributed = require("distributed")

    def codes(circuit: Circuit, stimuli: Mapping[str, FloatArray]) -> FloatArray:
        return circuit.encode(stimuli).code

    def encoding(name: str) -> Callable[[], Any]:
        lazy = encode_lazily(circuit, {"x": check_dask(data[name])}, codes)
        return _run_on(clients[name], lambda: distributed.wait(lazy.persist()))

    tasks = {name: encoding(name) for name in clients}
    seconds = time_interleaved(tasks, rounds, time.perf_counter)
    n_samples = len(data["one"])
    value = Quartiles.of(seconds["one"] / seconds["two"])
    times = {name: float(np.median(s)) / n_samples * 1e6 for name, s in seconds.items()}
    return Row("workers", f"encode {n_samples} samples: one worker / two", value, "x", ">= 1.6",
               meets_target(value.median, ">= 1.6"), times)  # fmt: skip


def step(clients: Clients, data: Mapping[str, Any], circuit: Circuit, rounds: int) -> Iterator[Row]:
    """A learning step whose samples are spread over all chunks, and what it moves."""
    engine, n_samples = get_engine("numba"), len(data["one"])
    shown = np.random.default_rng(0).permutation(n_samples)[:STEP]

    def learning(name: str) -> Callable[[], Any]:
        with clients[name].as_current():
            rows = DaskSamples(check_dask(data[name]), {"x": data[name].shape[1]}, keep=True)
            require("distributed").wait(rows.X)
        return _run_on(
            clients[name], lambda: rows.batch(shown).compute_statistics(circuit, None, 1e-3, engine)
        )

    tasks = {name: learning(name) for name in clients}
    seconds = time_interleaved(tasks, rounds, time.perf_counter)
    value = Quartiles.of(seconds["one"] / seconds["two"])
    times = {name: float(np.median(s)) / len(shown) * 1e6 for name, s in seconds.items()}
    yield Row("workers", f"step of {len(shown)} samples: one worker / two", value, times=times)
    alone = Quartiles.of(time_interleaved({"two": tasks["two"]}, rounds)["two"] * 1e3)
    yield Row("workers", "that step, to client and scheduler", alone, "ms")
    before = _bytes_received(clients["two"])
    for _ in range(rounds):
        tasks["two"]()
    moved = (_bytes_received(clients["two"]) - before) / rounds / 2**20
    measure = "one step moves between two workers"
    yield Row("workers", measure, Quartiles(moved, moved, moved, rounds), "MiB")


def _bytes_received(client: Any) -> float:
    """Bytes that all workers have received from each other so far."""

    def total(dask_worker: Any) -> int:
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    return float(sum(client.run(total).values()))

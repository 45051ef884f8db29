"""Suite ``scaling``: time against neurons, samples, inputs and threads; latency; memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spikelca.benchmarks.encode import encode_task, make_circuit
from spikelca.benchmarks.measure import Quartiles, Row, fix_threads, meets_target, time_interleaved
from spikelca.benchmarks.peers import LassoProblem, product_task
from spikelca.circuit import Circuit
from spikelca.engines.numba.jit.parallel import max_threads
from spikelca.estimators import LCACoder, LinkedLCA
from spikelca.model import Dictionary, RateNeuron, SoftThreshold
from spikelca.utils.validation import FloatArray


def scaling_suite(problem: LassoProblem, X_train: FloatArray, quick: bool) -> Iterator[Row]:
    """Yield the rows of the suite as they are measured."""
    yield time_single_sample(problem, quick)
    yield from time_estimators(problem, X_train, quick)
    yield from time_threads(problem, quick)
    yield from time_batches(problem, quick)
    yield from time_neurons(problem, X_train, quick)
    yield from time_thresholds(problem)
    yield from time_inputs(problem)
    yield time_warm_start(problem)
    yield from time_cold_start()
    yield measure_memory(problem, quick)


def time_single_sample(problem: LassoProblem, quick: bool) -> Row:
    """Measure the latency of a batch of one sample."""
    with fix_threads(1):
        task = encode_task(problem.head(1))
        seconds = time_interleaved({"one": task}, 300 if quick else 2000, time.perf_counter)["one"]
    value = Quartiles.of(seconds * 1e6)
    return Row("scaling", "latency of a batch of one", value, "us", "<= 150",
               meets_target(value.median, "<= 150"))  # fmt: skip


def time_estimators(problem: LassoProblem, X_train: FloatArray, quick: bool) -> Iterator[Row]:
    """Measure the time of `transform` of one row in addition to that of `Circuit.encode`."""
    rows, row = X_train[np.linalg.norm(X_train, axis=1) > 0], problem.X[:1]
    part = np.ascontiguousarray(row[:, :-1])
    for n in (64,) if quick else (256, 2048):
        atoms = np.unique(rows[:n], axis=0)
        atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
        coder = LCACoder(atoms, threshold=problem.lam).fit(row)
        linked = LinkedLCA(
            n, {"x": row.shape[1] - 1, "y": 1}, observe="x", threshold=problem.lam, n_epochs=1,
            random_state=0,
        ).fit(rows[: max(n, 250)])  # fmt: skip
        for name, model, x in (("LCACoder", coder, row), ("LinkedLCA", linked, part)):
            with fix_threads(1):
                circuit = inference_circuit(model)
                stimuli = {circuit.dictionaries[0].name: x}
                tasks: dict[str, Callable[[], Any]] = {
                    "transform": partial(model.transform, x),
                    "encode": partial(circuit.encode, stimuli),
                }
                seconds = time_interleaved(tasks, 100 if quick else 1000, time.perf_counter)
            extra = Quartiles.of((seconds["transform"] - seconds["encode"]) * 1e6)
            times = {task: float(np.median(s)) * 1e6 for task, s in seconds.items()}
            yield Row("scaling", f"one row, {n} atoms: {name}.transform less encode", extra, "us",
                      "<= 150", meets_target(extra.median, "<= 150"), times=times)  # fmt: skip


def inference_circuit(model: LCACoder | LinkedLCA) -> Circuit:
    """Return the circuit that `transform` of an estimator encodes with."""
    if isinstance(model, LinkedLCA):
        return model.circuit_.without_drivers().observe("x")
    atoms = np.asarray(model.dictionary, dtype=np.float32)
    return Circuit(RateNeuron(), SoftThreshold(model.threshold_), [Dictionary("x", atoms)])


def time_threads(problem: LassoProblem, quick: bool) -> Iterator[Row]:
    """Measure the speed-up by two threads, if there are two cores."""
    if max_threads() < 2:
        return
    task = encode_task(problem)

    def run_with_threads(n: int) -> None:
        with fix_threads(n):
            task()

    tasks = {"1": lambda: run_with_threads(1), "2": lambda: run_with_threads(2)}
    seconds = time_interleaved(tasks, 5 if quick else 15, time.perf_counter)
    value = Quartiles.of(seconds["1"] / seconds["2"])
    yield Row("scaling", f"one thread / two threads, {len(problem.X)} samples", value, "x",
              ">= 1.7", meets_target(value.median, ">= 1.7"),
              note="valid only if both cores are idle")  # fmt: skip


def time_batches(problem: LassoProblem, quick: bool) -> Iterator[Row]:
    """Measure microseconds per sample against the batch size."""
    with fix_threads(1):
        for n in (10, 100, 1000) if quick else (10, 100, 1000, 10_000):
            if n <= len(problem.X):
                seconds = time_interleaved(
                    {"ours": encode_task(problem.head(n))}, 20 if n < 1000 else 5
                )
                value = Quartiles.of(seconds["ours"] / n * 1e6)
                yield Row("scaling", f"batch of {n}", value, "us/sample")


def time_neurons(problem: LassoProblem, X_train: FloatArray, quick: bool) -> Iterator[Row]:
    """Measure microseconds per sample against the number of atoms, with similar activity."""
    rng = np.random.default_rng(0)
    n_active = float(np.count_nonzero(encode_task(problem.head(200))()) / 200)
    sizes = (64, 128, 256) if quick else (256, 512, 1024, 2048, 4096)
    rows = X_train[np.linalg.norm(X_train, axis=1) > 0]
    first = None
    with fix_threads(1):
        for size in sizes:
            atoms = rows[rng.choice(len(rows), size, replace=False)]
            atoms = np.unique(atoms, axis=0)
            atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
            subset = with_activity(LassoProblem(problem.X[:300], atoms, problem.lam), n_active)
            tasks = {"ours": encode_task(subset), "product": product_task(subset)}
            seconds = time_interleaved(tasks, 3)
            n = len(subset.X)
            active = np.count_nonzero(tasks["ours"]()) / n
            times = {name: float(np.median(s)) / n * 1e6 for name, s in seconds.items()}
            first = first or (len(atoms), times["ours"])
            growth = (times["ours"] / first[1]) / (len(atoms) / first[0])
            yield Row(
                "scaling", f"{len(atoms)} atoms", Quartiles.of(seconds["ours"] / n * 1e6),
                "us/sample", times=times,
                note=f"{active:.1f} active (raw samples as atoms, lam {subset.lam:.3g}); growth "
                f"from {first[0]} atoms is {growth:.2f} of linear",
            )  # fmt: skip


def with_activity(problem: LassoProblem, n_active: float) -> LassoProblem:
    """Choose the threshold at which about ``n_active`` neurons are active."""
    low, high = problem.lam / 30, problem.lam * 30
    for _ in range(12):
        lam = float(np.sqrt(low * high))
        subset = LassoProblem(problem.X[:60], problem.atoms, lam)
        active = np.count_nonzero(encode_task(subset, 1e-2)()) / len(subset.X)
        low, high = (lam, high) if active > n_active else (low, lam)
    return LassoProblem(problem.X, problem.atoms, lam)


def time_thresholds(problem: LassoProblem) -> Iterator[Row]:
    """Measure microseconds per sample against the threshold, which sets the activity."""
    with fix_threads(1):
        for factor in (4.0, 2.0, 1.0, 0.5, 0.25):
            subset = replace(problem.head(300), lam=problem.lam * factor)
            yield time_encode(subset, f"threshold x {factor:g}")


def time_inputs(problem: LassoProblem) -> Iterator[Row]:
    """Measure microseconds per sample against the number of inputs, with normalised atoms."""
    with fix_threads(1):
        for step in (4, 2, 1):
            atoms, X = problem.atoms[:, ::step], problem.X[:300, ::step]
            norms = np.linalg.norm(atoms, axis=1, keepdims=True)
            nonzero = norms[:, 0] > 0
            subset = LassoProblem(
                np.ascontiguousarray(X),
                np.unique(atoms[nonzero] / norms[nonzero], axis=0),
                problem.lam / step**0.5,
            )
            yield time_encode(subset, f"{X.shape[1]} inputs")


def time_encode(problem: LassoProblem, measure: str) -> Row:
    """Measure microseconds per sample of one problem."""
    task = encode_task(problem)
    seconds = time_interleaved({"ours": task}, 5)["ours"]
    active = np.count_nonzero(task()) / len(problem.X)
    value = Quartiles.of(seconds / len(problem.X) * 1e6)
    return Row("scaling", measure, value, "us/sample", note=f"{active:.1f} active")


def time_warm_start(problem: LassoProblem) -> Row:
    """Measure the speed-up by a warm start from codes with an error of 3 %."""
    circuit, subset = make_circuit(problem), problem.head(1000)
    start = circuit.encode({"x": subset.X}).code * np.float32(0.97)
    tasks = {
        "rest": encode_task(subset),
        "near": lambda: circuit.encode({"x": subset.X}, start=start).code,
    }
    with fix_threads(1):
        seconds = time_interleaved(tasks, 7)
    value = Quartiles.of(seconds["rest"] / seconds["near"])
    times = {name: float(np.median(s)) / len(subset.X) * 1e6 for name, s in seconds.items()}
    return Row("scaling", "cold start / warm start with 3 % error", value, times=times)


COLD_START_SCRIPT = """
import time; start = time.process_time()
import spikelca; imported = time.process_time()
import numpy as np
circuit = spikelca.Circuit(spikelca.RateNeuron(), spikelca.SoftThreshold(0.1),
                           [spikelca.Dictionary("x", np.eye(8, dtype=np.float32))])
ready = time.process_time()
circuit.encode({"x": np.ones((1, 8), np.float32)})
print(imported - start, time.process_time() - ready)
"""


def time_cold_start() -> Iterator[Row]:
    """Measure the import, and the first encode of a process with cached kernels."""
    runs = []
    for _ in range(6):
        process = subprocess.run(
            [sys.executable, "-c", COLD_START_SCRIPT], capture_output=True, check=True
        )
        runs.append([float(number) for number in process.stdout.split()])
    # The first run fills the page cache.
    for name, column, target in (("import spikelca", 0, "<= 1.5"), ("first encode", 1, "<= 1")):
        value = Quartiles.of(np.array(runs[1:])[:, column])
        yield Row("scaling", name, value, "s", target, meets_target(value.median, target))


def measure_memory(problem: LassoProblem, quick: bool) -> Row:
    """Measure the peak memory to encode a memory map, in addition to the codes."""
    n, width = (20_000 if quick else 1_000_000), problem.X.shape[1]
    circuit = make_circuit(problem)
    circuit.encode({"x": problem.X[:10]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stimuli.raw")
        with path.open("wb") as file:
            for start_row in range(0, n, len(problem.X)):
                file.write(problem.X[: min(len(problem.X), n - start_row)].astype("f4").tobytes())
        X = np.memmap(path, np.float32, "r", shape=(n, width))
        before = resident_bytes()
        start = time.perf_counter()
        with PeakMemory() as watch:
            response = circuit.encode({"x": X})
        seconds = time.perf_counter() - start
        del X
    codes = response.code.nbytes + 3 * response.residual.nbytes
    overhead = max(watch.peak - before - codes, 0)
    value = Quartiles.of(np.array([overhead / 2**20]))
    return Row(
        "scaling", f"memory without the codes, {n:,} rows of {width} from a map", value, "MiB",
        "<= 1024", meets_target(value.median, "<= 1024"), {"ours": seconds / n * 1e6},
        note=f"{before / 2**20:.0f} MiB before, {watch.peak / 2**20:.0f} MiB at the peak, of which "
        f"{codes / 2**20:.0f} MiB are the codes; {seconds:.1f} s",
    )  # fmt: skip


def resident_bytes() -> int:
    """Read the resident memory of this process in bytes; zero if the system does not provide it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    import mmap

    return pages * mmap.PAGESIZE


class PeakMemory:
    """Context that records the peak of the resident memory, polled every 20 ms."""

    def __enter__(self) -> PeakMemory:
        import threading

        self.peak, self._stop = resident_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        return self

    def _poll(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, resident_bytes())

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

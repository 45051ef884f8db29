"""Suite ``scaling``: cost against neurons, samples and threads; what one call costs; memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from spikelca.benchmarks.encode import encode_task, make_circuit
from spikelca.benchmarks.measure import Quartiles, Row, fix_threads, meets_target, time_interleaved
from spikelca.benchmarks.peers import LassoProblem, product_task
from spikelca.engines.numba.jit.parallel import max_threads
from spikelca.utils.validation import FloatArray


def scaling_suite(problem: LassoProblem, X_train: FloatArray, quick: bool) -> Iterator[Row]:
    """All rows of the suite, each as soon as it is measured."""
    yield latency(problem, quick)
    yield from threads(problem, quick)
    yield from batches(problem, quick)
    yield from neurons(problem, X_train, quick)
    yield from sparsity(problem)
    yield from inputs(problem)
    yield warm_start(problem)
    yield from cold_start()
    yield memory(problem, quick)


def latency(problem: LassoProblem, quick: bool) -> Row:
    """One encode of a batch of one."""
    with fix_threads(1):
        task = encode_task(problem.part(1))
        seconds = time_interleaved({"one": task}, 300 if quick else 2000, time.perf_counter)["one"]
    value = Quartiles.of(seconds * 1e6)
    return Row("scaling", "latency of a batch of one", value, "us", "<= 150",
               meets_target(value.median, "<= 150"))  # fmt: skip


def threads(problem: LassoProblem, quick: bool) -> Iterator[Row]:
    """One thread over two; nothing if the machine has one."""
    if max_threads() < 2:
        return
    task = encode_task(problem)

    def with_threads(n: int) -> None:
        with fix_threads(n):
            task()

    tasks = {"1": lambda: with_threads(1), "2": lambda: with_threads(2)}
    seconds = time_interleaved(tasks, 5 if quick else 15, time.perf_counter)
    value = Quartiles.of(seconds["1"] / seconds["2"])
    yield Row("scaling", f"one thread / two threads, {len(problem.X)} samples", value, "x",
              ">= 1.7", meets_target(value.median, ">= 1.7"),
              note="counts only when both cores are free")  # fmt: skip


def batches(problem: LassoProblem, quick: bool) -> Iterator[Row]:
    """Microseconds a sample against the size of the batch."""
    with fix_threads(1):
        for n in (10, 100, 1000) if quick else (10, 100, 1000, 10_000):
            if n <= len(problem.X):
                seconds = time_interleaved(
                    {"ours": encode_task(problem.part(n))}, 20 if n < 1000 else 5
                )
                value = Quartiles.of(seconds["ours"] / n * 1e6)
                yield Row("scaling", f"batch of {n}", value, "us/sample")


def neurons(problem: LassoProblem, X_train: FloatArray, quick: bool) -> Iterator[Row]:
    """Time a sample from few to many atoms, at about one number of active neurons."""
    rng = np.random.default_rng(0)
    wanted = float(np.count_nonzero(encode_task(problem.part(200))()) / 200)
    sizes = (64, 128, 256) if quick else (256, 512, 1024, 2048, 4096)
    rows = X_train[np.linalg.norm(X_train, axis=1) > 0]
    first = None
    with fix_threads(1):
        for n in sizes:
            atoms = rows[rng.choice(len(rows), n, replace=False)]
            atoms = np.unique(atoms, axis=0)
            atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
            part = with_activity(LassoProblem(problem.X[:300], atoms, problem.lam), wanted)
            tasks = {"ours": encode_task(part), "product": product_task(part)}
            seconds = time_interleaved(tasks, 3)
            active = np.count_nonzero(tasks["ours"]()) / len(part.X)
            times = {name: float(np.median(s)) / len(part.X) * 1e6 for name, s in seconds.items()}
            first = first or (len(atoms), times["ours"])
            growth = (times["ours"] / first[1]) / (len(atoms) / first[0])
            yield Row(
                "scaling", f"{len(atoms)} atoms", Quartiles.of(seconds["ours"] / len(part.X) * 1e6),
                "us/sample", times=times,
                note=f"{active:.1f} active (raw samples as atoms, lam {part.lam:.3g}); growth over "
                f"{first[0]} atoms is {growth:.2f} of linear",
            )  # fmt: skip


def with_activity(problem: LassoProblem, wanted: float) -> LassoProblem:
    """The problem with a threshold at which about so many neurons are active."""
    low, high = problem.lam / 30, problem.lam * 30
    for _ in range(12):
        lam = float(np.sqrt(low * high))
        part = LassoProblem(problem.X[:60], problem.atoms, lam)
        active = np.count_nonzero(encode_task(part, 1e-2)()) / len(part.X)
        low, high = (lam, high) if active > wanted else (low, lam)
    return LassoProblem(problem.X, problem.atoms, lam)


def sparsity(problem: LassoProblem) -> Iterator[Row]:
    """Microseconds a sample against the threshold, and so against the number of active neurons."""
    with fix_threads(1):
        for factor in (4.0, 2.0, 1.0, 0.5, 0.25):
            part = replace(problem.part(300), lam=problem.lam * factor)
            yield time_encode(part, f"threshold x {factor:g}")


def inputs(problem: LassoProblem) -> Iterator[Row]:
    """Microseconds a sample against the number of inputs: a part of each, brought to unit norm."""
    with fix_threads(1):
        for step in (4, 2, 1):
            atoms, X = problem.atoms[:, ::step], problem.X[:300, ::step]
            norms = np.linalg.norm(atoms, axis=1, keepdims=True)
            seen = norms[:, 0] > 0
            part = LassoProblem(
                np.ascontiguousarray(X),
                np.unique(atoms[seen] / norms[seen], axis=0),
                problem.lam / step**0.5,
            )
            yield time_encode(part, f"{X.shape[1]} inputs")


def time_encode(problem: LassoProblem, measure: str) -> Row:
    """Microseconds a sample of one problem."""
    task = encode_task(problem)
    seconds = time_interleaved({"ours": task}, 5)["ours"]
    active = np.count_nonzero(task()) / len(problem.X)
    value = Quartiles.of(seconds / len(problem.X) * 1e6)
    return Row("scaling", measure, value, "us/sample", note=f"{active:.1f} active")


def warm_start(problem: LassoProblem) -> Row:
    """From rest over from near: the codes of the same samples, 3 % off."""
    circuit, part = make_circuit(problem), problem.part(1000)
    near = circuit.encode({"x": part.X}).code * np.float32(0.97)
    tasks = {
        "rest": encode_task(part),
        "near": lambda: circuit.encode({"x": part.X}, start=near).code,
    }
    with fix_threads(1):
        seconds = time_interleaved(tasks, 7)
    value = Quartiles.of(seconds["rest"] / seconds["near"])
    times = {name: float(np.median(s)) / len(part.X) * 1e6 for name, s in seconds.items()}
    return Row("scaling", "from rest / from codes that are 3 % off", value, times=times)


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


def cold_start() -> Iterator[Row]:
    """Import, and the first encode of a process whose kernels are in the cache."""
    runs = []
    for _ in range(6):
        told = subprocess.run(
            [sys.executable, "-c", COLD_START_SCRIPT], capture_output=True, check=True
        )
        runs.append([float(number) for number in told.stdout.split()])
    # The first one fills the caches of the disk.
    for name, column, target in (("import spikelca", 0, "<= 1.5"), ("first encode", 1, "<= 1")):
        value = Quartiles.of(np.array(runs[1:])[:, column])
        yield Row("scaling", name, value, "s", target, meets_target(value.median, target))


def memory(problem: LassoProblem, quick: bool) -> Row:
    """Peak memory while a memory map is encoded, beyond the codes; and how long it takes."""
    n, width = (20_000 if quick else 1_000_000), problem.X.shape[1]
    circuit = make_circuit(problem)
    circuit.encode({"x": problem.X[:10]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stimuli.raw")
        with path.open("wb") as file:
            for first in range(0, n, len(problem.X)):
                file.write(problem.X[: min(len(problem.X), n - first)].astype("f4").tobytes())
        X = np.memmap(path, np.float32, "r", shape=(n, width))
        before = resident_bytes()
        start = time.perf_counter()
        with PeakMemory() as watch:
            response = circuit.encode({"x": X})
        seconds = time.perf_counter() - start
        del X
    codes = response.code.nbytes + 3 * response.residual.nbytes
    beyond = max(watch.peak - before - codes, 0)
    value = Quartiles.of(np.array([beyond / 2**20]))
    return Row(
        "scaling", f"memory beyond the codes, {n:,} rows of {width} from a map", value, "MiB",
        "<= 1024", meets_target(value.median, "<= 1024"), {"ours": seconds / n * 1e6},
        note=f"{before / 2**20:.0f} MiB before, {watch.peak / 2**20:.0f} MiB at the peak, of which "
        f"{codes / 2**20:.0f} MiB are the codes; {seconds:.1f} s",
    )  # fmt: skip


def resident_bytes() -> int:
    """Bytes of this process in memory; zero where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    import mmap

    return pages * mmap.PAGESIZE


class PeakMemory:
    """The largest resident memory while something runs, looked at every few milliseconds."""

    def __enter__(self) -> PeakMemory:
        import threading

        self.peak, self._over = resident_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, resident_bytes())

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

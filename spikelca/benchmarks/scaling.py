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

from spikelca.benchmarks.encode import circuit_of, ours
from spikelca.benchmarks.measure import Row, Spread, interleaved, judged, pinned
from spikelca.benchmarks.peers import Lasso, product_alone
from spikelca.engines.numba.jit.parallel import most_threads
from spikelca.utils.validation import FloatArray


def scaling_suite(problem: Lasso, X_train: FloatArray, quick: bool) -> Iterator[Row]:
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


def latency(problem: Lasso, quick: bool) -> Row:
    """One encode of a batch of one."""
    with pinned(1):
        task = ours(problem.part(1))
        seconds = interleaved({"one": task}, 300 if quick else 2000, time.perf_counter)["one"]
    value = Spread.of(seconds * 1e6)
    return Row("scaling", "latency of a batch of one", value, "us", "<= 150",
               judged(value.median, "<= 150"))  # fmt: skip


def threads(problem: Lasso, quick: bool) -> Iterator[Row]:
    """One thread over two; nothing if the machine has one."""
    if most_threads() < 2:
        return
    task = ours(problem)

    def with_threads(n: int) -> None:
        with pinned(n):
            task()

    tasks = {"1": lambda: with_threads(1), "2": lambda: with_threads(2)}
    seconds = interleaved(tasks, 5 if quick else 15, time.perf_counter)
    value = Spread.of(seconds["1"] / seconds["2"])
    yield Row("scaling", f"one thread / two threads, {len(problem.X)} samples", value, "x",
              ">= 1.7", judged(value.median, ">= 1.7"),
              note="counts only when both cores are free")  # fmt: skip


def batches(problem: Lasso, quick: bool) -> Iterator[Row]:
    """Microseconds a sample against the size of the batch."""
    with pinned(1):
        for n in (10, 100, 1000) if quick else (10, 100, 1000, 10_000):
            if n <= len(problem.X):
                seconds = interleaved({"ours": ours(problem.part(n))}, 20 if n < 1000 else 5)
                value = Spread.of(seconds["ours"] / n * 1e6)
                yield Row("scaling", f"batch of {n}", value, "us/sample")


def neurons(problem: Lasso, X_train: FloatArray, quick: bool) -> Iterator[Row]:
    """Time a sample from few to many atoms, at about one number of active neurons."""
    rng = np.random.default_rng(0)
    wanted = float(np.count_nonzero(ours(problem.part(200))()) / 200)
    sizes = (64, 128, 256) if quick else (256, 512, 1024, 2048, 4096)
    rows = X_train[np.linalg.norm(X_train, axis=1) > 0]
    first = None
    with pinned(1):
        for n in sizes:
            atoms = rows[rng.choice(len(rows), n, replace=False)]
            atoms = np.unique(atoms, axis=0)
            atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
            part = at_activity(Lasso(problem.X[:300], atoms, problem.lam), wanted)
            tasks = {"ours": ours(part), "product": product_alone(part)}
            seconds = interleaved(tasks, 3)
            active = np.count_nonzero(tasks["ours"]()) / len(part.X)
            times = {name: float(np.median(s)) / len(part.X) * 1e6 for name, s in seconds.items()}
            first = first or (len(atoms), times["ours"])
            growth = (times["ours"] / first[1]) / (len(atoms) / first[0])
            yield Row(
                "scaling", f"{len(atoms)} atoms", Spread.of(seconds["ours"] / len(part.X) * 1e6),
                "us/sample", times=times,
                note=f"{active:.1f} active (raw samples as atoms, lam {part.lam:.3g}); growth over "
                f"{first[0]} atoms is {growth:.2f} of linear",
            )  # fmt: skip


def at_activity(problem: Lasso, wanted: float) -> Lasso:
    """The problem with a threshold at which about so many neurons are active."""
    low, high = problem.lam / 30, problem.lam * 30
    for _ in range(12):
        lam = float(np.sqrt(low * high))
        part = Lasso(problem.X[:60], problem.atoms, lam)
        active = np.count_nonzero(ours(part, 1e-2)()) / len(part.X)
        low, high = (lam, high) if active > wanted else (low, lam)
    return Lasso(problem.X, problem.atoms, lam)


def sparsity(problem: Lasso) -> Iterator[Row]:
    """Microseconds a sample against the threshold, and so against the number of active neurons."""
    with pinned(1):
        for factor in (4.0, 2.0, 1.0, 0.5, 0.25):
            part = replace(problem.part(300), lam=problem.lam * factor)
            yield timed(part, f"threshold x {factor:g}")


def inputs(problem: Lasso) -> Iterator[Row]:
    """Microseconds a sample against the number of inputs: a part of each, brought to unit norm."""
    with pinned(1):
        for step in (4, 2, 1):
            atoms, X = problem.atoms[:, ::step], problem.X[:300, ::step]
            norms = np.linalg.norm(atoms, axis=1, keepdims=True)
            seen = norms[:, 0] > 0
            part = Lasso(
                np.ascontiguousarray(X),
                np.unique(atoms[seen] / norms[seen], axis=0),
                problem.lam / step**0.5,
            )
            yield timed(part, f"{X.shape[1]} inputs")


def timed(problem: Lasso, measure: str) -> Row:
    """Microseconds a sample of one problem."""
    task = ours(problem)
    seconds = interleaved({"ours": task}, 5)["ours"]
    active = np.count_nonzero(task()) / len(problem.X)
    value = Spread.of(seconds / len(problem.X) * 1e6)
    return Row("scaling", measure, value, "us/sample", note=f"{active:.1f} active")


def warm_start(problem: Lasso) -> Row:
    """From rest over from near: the codes of the same samples, 3 % off."""
    circuit, part = circuit_of(problem), problem.part(1000)
    near = circuit.encode({"x": part.X}).code * np.float32(0.97)
    tasks = {
        "rest": ours(part),
        "near": lambda: circuit.encode({"x": part.X}, start=near).code,
    }
    with pinned(1):
        seconds = interleaved(tasks, 7)
    value = Spread.of(seconds["rest"] / seconds["near"])
    times = {name: float(np.median(s)) / len(part.X) * 1e6 for name, s in seconds.items()}
    return Row("scaling", "from rest / from codes that are 3 % off", value, times=times)


COLD = """
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
        told = subprocess.run([sys.executable, "-c", COLD], capture_output=True, check=True)
        runs.append([float(number) for number in told.stdout.split()])
    # The first one fills the caches of the disk.
    for name, column, target in (("import spikelca", 0, "<= 1.5"), ("first encode", 1, "<= 1")):
        value = Spread.of(np.array(runs[1:])[:, column])
        yield Row("scaling", name, value, "s", target, judged(value.median, target))


def memory(problem: Lasso, quick: bool) -> Row:
    """Peak memory while a memory map is encoded, beyond the codes; and how long it takes."""
    n, width = (20_000 if quick else 1_000_000), problem.X.shape[1]
    circuit = circuit_of(problem)
    circuit.encode({"x": problem.X[:10]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stimuli.raw")
        with path.open("wb") as file:
            for first in range(0, n, len(problem.X)):
                file.write(problem.X[: min(len(problem.X), n - first)].astype("f4").tobytes())
        X = np.memmap(path, np.float32, "r", shape=(n, width))
        before = resident()
        start = time.perf_counter()
        with Watch() as watch:
            response = circuit.encode({"x": X})
        seconds = time.perf_counter() - start
        del X
    codes = response.code.nbytes + 3 * response.residual.nbytes
    beyond = max(watch.peak - before - codes, 0)
    value = Spread.of(np.array([beyond / 2**20]))
    return Row(
        "scaling", f"memory beyond the codes, {n:,} rows of {width} from a map", value, "MiB",
        "<= 1024", judged(value.median, "<= 1024"), {"ours": seconds / n * 1e6},
        note=f"{before / 2**20:.0f} MiB before, {watch.peak / 2**20:.0f} MiB at the peak, of which "
        f"{codes / 2**20:.0f} MiB are the codes; {seconds:.1f} s",
    )  # fmt: skip


def resident() -> int:
    """Bytes of this process in memory; zero where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    import mmap

    return pages * mmap.PAGESIZE


class Watch:
    """The largest resident memory while something runs, looked at every few milliseconds."""

    def __enter__(self) -> Watch:
        import threading

        self.peak, self._over = resident(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, resident())

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

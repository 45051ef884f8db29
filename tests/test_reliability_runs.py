"""The same codes whatever runs beside: threads, processes, odd circuits, little memory, no home."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from quickly import HANGS
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

import spikelca
from spikelca import Circuit, Dictionary, HardThreshold, RateNeuron, SoftThreshold

pytestmark = pytest.mark.reliability


def make_circuit(n_neurons=40, n_inputs=30, seed=0):
    rng = np.random.default_rng(seed)
    atoms = rng.random((n_neurons, n_inputs))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return Circuit(RateNeuron(), SoftThreshold(0.05), [Dictionary("x", atoms)])


def make_samples(n_samples=200, n_inputs=30):
    return np.random.default_rng(1).random((n_samples, n_inputs)) / 3


def encode():
    """The code that a worker is asked for."""
    return make_circuit().encode({"x": make_samples()}).code


# ------------------------------------------------------------------ threads and processes


def test_threads_that_encode_at_once_find_the_same_codes(full, figure):
    circuit, X = make_circuit(), make_samples()
    alone, n = circuit.encode({"x": X}).code, 100 if full else 12

    def work(_):
        return all(np.array_equal(circuit.encode({"x": X}).code, alone) for _ in range(n))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    figure(f"8 threads x {n} encodes: identical codes")


THREADS_CODE = """
import sys, hashlib
import numba
import numpy as np
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, sys.argv[1])
from test_reliability_runs import make_circuit, make_samples
circuit, X = make_circuit(), make_samples(400)
with ThreadPoolExecutor(8) as pool:
    codes = list(pool.map(lambda _: circuit.encode({"x": X}).code, range(80)))
assert all(np.array_equal(code, codes[0]) for code in codes)
numba.get_num_threads()  # starts the layer, as the engine does where there are two threads
print(numba.threading_layer(), hashlib.sha256(codes[0].tobytes()).hexdigest())
"""
LAYERS = {"workqueue": "workqueue", "omp": "omppool", "tbb": "tbbpool"}


def with_layer(layer, code, *arguments, **more):
    """Run code under a threading layer; pip puts the library of tbb where no loader looks."""
    folders = os.pathsep.join(
        [str(Path(sys.prefix, "lib")), os.environ.get("LD_LIBRARY_PATH", "")]
    ).rstrip(os.pathsep)
    more |= {"LD_LIBRARY_PATH": folders} if layer == "tbb" else {}
    return python(code, *arguments, NUMBA_THREADING_LAYER=layer, **more)


def test_neither_threading_layer_nor_number_of_threads_changes_a_code(full, figure):
    layers, found = ["workqueue"], set()
    if full:
        layers = [
            layer
            for layer, module in LAYERS.items()
            if with_layer(layer, f"import numba.np.ufunc.{module}").returncode == 0
        ]
    for layer in layers:
        for threads in ("1", "2"):
            done = with_layer(
                layer,
                THREADS_CODE,
                str(Path(__file__).parent),
                NUMBA_NUM_THREADS=threads,
                OPENBLAS_NUM_THREADS=threads,
            )
            assert done.returncode == 0, done.stderr
            ran, code = done.stdout.split()
            assert ran == layer
            found.add(code)
    assert len(found) == 1
    figure(f"{', '.join(layers)} with 1 and 2 threads, 80 encodes by 8 threads: 0 aborts, 1 code")


@pytest.mark.parametrize("rows", [1, 7, 64, 150])
def test_a_code_does_not_depend_on_the_samples_beside_it(rows):
    circuit, X = make_circuit(), make_samples()
    whole = circuit.encode({"x": X}).code
    parts = [circuit.encode({"x": X[i : i + rows]}).code for i in range(0, len(X), rows)]
    assert np.array_equal(np.vstack(parts), whole)
    assert np.array_equal(circuit.encode({"x": X[::-1]}).code, whole[::-1])


METHODS = [
    m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_process_finds_the_same_code(method):
    here = encode()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert np.array_equal(here, pool.apply_async(encode).get(timeout=HANGS))


def test_workers_of_joblib_find_the_same_code():
    from joblib import Parallel, delayed

    here, pool = encode(), Parallel(n_jobs=2, backend="loky", timeout=HANGS)
    assert all(np.array_equal(code, here) for code in pool(delayed(encode)() for _ in range(4)))


# ------------------------------------------------------------------ odd circuits


def odd_circuit(rng):
    """A circuit that nobody would build: near copies, tiny and huge thresholds, odd scales."""
    n_neurons, n_inputs = int(rng.integers(1, 40)), int(rng.integers(2, 30))
    signed, two_sided = rng.random(2) < 0.5
    atoms = rng.normal(size=(n_neurons, n_inputs))
    atoms = atoms if signed else np.abs(atoms)
    if n_neurons > 3 and rng.random() < 0.5:
        twins = atoms[0] + 10 ** rng.uniform(-7, -1) * rng.normal(size=n_inputs)
        atoms[1] = twins if signed else np.abs(twins)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    kind = HardThreshold if rng.random() < 0.2 else SoftThreshold
    transfer = kind(10 ** rng.uniform(-4, 2), bool(two_sided))
    circuit = Circuit(RateNeuron(), transfer, [Dictionary("x", atoms)])
    X = rng.normal(size=(3, n_inputs)) * 10 ** rng.uniform(-2, 1)
    return circuit, X if signed else np.abs(X)


def lasso_energy(circuit, x):
    """The energy of Eq. 1 that scikit-learn's coordinate descent finds."""
    atoms, lam = circuit.dictionaries[0].atoms, circuit.transfer.threshold
    solver = Lasso(
        lam / len(x), fit_intercept=False, positive=not circuit.transfer.two_sided,
        max_iter=100_000, tol=1e-10,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):
        code = solver.fit(atoms.T, x).coef_
    return circuit.energy({"x": x[None]}, code[None])[0]


def test_odd_circuits_have_finite_codes_that_settled_or_a_warning(full, figure):
    rng, n = np.random.default_rng(0), 1000 if full else 80
    n_warned, n_soft, worst, tol = 0, 0, 0.0, 1e-7
    for _ in range(n):
        circuit, X = odd_circuit(rng)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            found = circuit.encode({"x": X}, tol)
        warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        n_warned += warned
        assert np.isfinite(found.code).all()
        soft = isinstance(circuit.transfer, SoftThreshold)
        certificate = found.gap if soft else found.residual
        assert warned or (certificate <= tol).all()
        if not soft or warned:
            continue
        for x, energy in zip(X, circuit.energy({"x": X}, found.code), strict=True):
            theirs = lasso_energy(circuit, x)
            worst, n_soft = max(worst, (energy - theirs) / max(theirs, 1e-300)), n_soft + 1
    assert worst < 1e-6
    figure(
        f"{n} circuits: 0 non-finite, 0 silently unsettled ({n_warned} warned); {n_soft} soft "
        f"energies at most {worst:.1e} (relative) above scikit-learn's Lasso"
    )


def test_any_step_is_finite_or_refused(full, figure):
    rng, n, refused = np.random.default_rng(1), 1000 if full else 60, 0
    for _ in range(n):
        circuit, X = odd_circuit(rng)
        dt = 10 ** rng.uniform(-5, -1)
        try:
            found = circuit.simulate({"x": X}, 20 * dt, dt, engine="reference")
        except ValueError as error:
            refused += 1
            words = str(error)
            assert "step" in words or "dt" in words or "stab" in words, words
        else:
            assert np.isfinite(found.code).all()
    figure(f"{n} simulations: {n - refused} finite, {refused} refused for their step, 0 others")


# ------------------------------------------------------------------ surroundings


def python(code, *arguments, cwd=None, drop=(), timeout=HANGS, **environment):
    """Run code in a Python of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    kept["PYTHONPATH"] = str(Path(spikelca.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=timeout, cwd=cwd, env=kept | environment,
    )  # fmt: skip


HOMELESS = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import spikelca
assert spikelca.__file__.startswith(sys.argv[1]), spikelca.__file__
circuit = spikelca.Circuit(
    spikelca.RateNeuron(), spikelca.SoftThreshold(0.1), [spikelca.Dictionary("x", np.eye(3))]
)
print(circuit.encode({"x": np.ones((1, 3))}, engine=sys.argv[2]).code.round(6).tolist())
"""


@pytest.mark.parametrize("engine", ["reference", "numba"])
def test_neither_a_home_nor_a_cache_is_needed(tmp_path, engine, full, figure):
    if engine == "numba" and not full:
        pytest.skip("compiles every kernel: --full")
    source, here = Path(spikelca.__file__).parent, tmp_path / "here"
    copy = tmp_path / "site" / "spikelca"
    here.mkdir()
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            # A file in its place: no folder for caches can be made there, not even by root.
            (target.parent / "__pycache__").touch()
    before = sorted(tmp_path.rglob("*"))
    start = time.perf_counter()
    done = python(
        HOMELESS, str(copy.parent), engine, cwd=here, drop=("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"),
        HOME="/proc/nowhere", TMPDIR=str(here), MPLCONFIGDIR="/proc/nowhere",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[0.9, 0.9, 0.9]]"
    assert sorted(tmp_path.rglob("*")) == before
    figure(f"{engine} without home and caches: an answer after {seconds:.1f} s, nothing written")


OFFLINE = """
import socket, sys

def refuse(*arguments, **more):
    raise AssertionError("a socket was opened")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
import numpy as np
from spikelca import LinkedLCA, load, save
X = np.random.default_rng(0).random((30, 6))
lca = LinkedLCA(4, random_state=0, engine="reference", n_epochs=1).fit(X)
save(lca, "model")
load("model").transform(X)
"""


def test_learning_touches_no_network_and_writes_what_it_was_told(tmp_path, figure):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    done = python(OFFLINE, cwd=here, HOME=str(home), TMPDIR=str(here))
    assert done.returncode == 0, done.stderr
    assert os.listdir(here) == ["model"]
    assert not list(home.rglob("*"))
    figure("fit, save, load, transform: 0 sockets, 1 file written, 0 in the home folder")


# ------------------------------------------------------------------ memory

MILLION = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import numpy as np
from spikelca import LCACoder
from spikelca.datasets import RowFile
path, n, scale, way = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
X = RowFile(path) if way == "windows" else np.load(path, mmap_mode="r")
assert X.shape == (n, 784)
rng = np.random.default_rng(0)
atoms = rng.random((64, 784), dtype=np.float32)
atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
code = LCACoder(atoms, threshold=0.3 * scale, sparse_output=True).transform(X)
assert code.shape == (n, 64) and np.isfinite(code.data).all() and code.nnz >= n
kept = code.data.nbytes + code.indices.nbytes + code.indptr.nbytes
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print((peak - kept) >> 20, kept >> 20)
"""


def write_rows(path, n, scale):
    """Images of 784 pixels of which most are dark, as an ``.npy`` file; nothing is held."""
    rng = np.random.default_rng(0)
    pixels = rng.random((2000, 784)) * (rng.random((2000, 784)) < 0.2)
    block = (pixels / np.linalg.norm(pixels, axis=1, keepdims=True) * scale).astype(
        np.float32 if scale == 1 else np.uint8
    )
    header = {"descr": block.dtype.str, "fortran_order": False, "shape": (n, 784)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(n // 2000):
            file.write(block.tobytes())


@pytest.mark.skipif(sys.platform != "linux", reason="address limits of Linux")
@pytest.mark.skipif(importlib.util.find_spec("resource") is None, reason="no limits here")
@pytest.mark.parametrize(
    ("way", "scale"), [("windows", 1), ("map", 1000)], ids=["float32", "uint8"]
)
def test_a_million_rows_are_encoded_within_two_gigabytes(tmp_path, way, scale, full, figure):
    if not full:
        pytest.skip("a million rows: --full")
    path, found = tmp_path / "rows.npy", []
    for n in (100_000, 1_000_000):
        write_rows(path, n, scale)
        start = time.perf_counter()
        done = python(MILLION, str(path), str(n), str(scale), way, OPENBLAS_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        found.append((*map(int, done.stdout.split()), time.perf_counter() - start))
    (few, _, _), (many, codes, seconds) = found
    size = path.stat().st_size >> 20
    path.unlink()
    assert many < few + 64
    figure(
        f"a million rows of 784 ({size} MB, {way}) under a 2 GB address limit in {seconds:.0f} s: "
        f"peak {many} MB beside {codes} MB of sparse codes; {few} MB for a tenth of the rows"
    )

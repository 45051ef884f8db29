"""Codes with threads, processes, unusual circuits, little memory and without home folder."""

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
    """Code of the samples, computed in a worker."""
    return make_circuit().encode({"x": make_samples()}).code


# ------------------------------------------------------------------ threads and processes


def test_concurrent_threads_compute_the_same_codes(full, figure):
    circuit, X = make_circuit(), make_samples()
    expected, n = circuit.encode({"x": X}).code, 100 if full else 12

    def encode_repeatedly(_):
        return all(np.array_equal(circuit.encode({"x": X}).code, expected) for _ in range(n))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(encode_repeatedly, range(8)))
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
numba.get_num_threads()  # starts the layer, as the engine does with two threads
print(numba.threading_layer(), hashlib.sha256(codes[0].tobytes()).hexdigest())
"""
LAYERS = {"workqueue": "workqueue", "omp": "omppool", "tbb": "tbbpool"}


def run_with_layer(layer, code, *arguments, **environment):
    """Run code with a threading layer; pip installs tbb outside the path of the loader."""
    folders = os.pathsep.join(
        [str(Path(sys.prefix, "lib")), os.environ.get("LD_LIBRARY_PATH", "")]
    ).rstrip(os.pathsep)
    environment |= {"LD_LIBRARY_PATH": folders} if layer == "tbb" else {}
    return run_python(code, *arguments, NUMBA_THREADING_LAYER=layer, **environment)


def test_codes_are_independent_of_layer_and_threads(full, figure):
    layers, codes = ["workqueue"], set()
    if full:
        layers = [
            layer
            for layer, module in LAYERS.items()
            if run_with_layer(layer, f"import numba.np.ufunc.{module}").returncode == 0
        ]
    for layer in layers:
        for threads in ("1", "2"):
            done = run_with_layer(
                layer,
                THREADS_CODE,
                str(Path(__file__).parent),
                NUMBA_NUM_THREADS=threads,
                OPENBLAS_NUM_THREADS=threads,
            )
            assert done.returncode == 0, done.stderr
            used_layer, code = done.stdout.split()
            assert used_layer == layer
            codes.add(code)
    assert len(codes) == 1
    figure(f"{', '.join(layers)} with 1 and 2 threads, 80 encodes by 8 threads: 0 aborts, 1 code")


@pytest.mark.parametrize("rows", [1, 7, 64, 150])
def test_code_is_independent_of_other_samples(rows):
    circuit, X = make_circuit(), make_samples()
    code = circuit.encode({"x": X}).code
    chunks = [circuit.encode({"x": X[i : i + rows]}).code for i in range(0, len(X), rows)]
    assert np.array_equal(np.vstack(chunks), code)
    assert np.array_equal(circuit.encode({"x": X[::-1]}).code, code[::-1])


METHODS = [
    m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_child_process_computes_the_same_code(method):
    expected = encode()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert np.array_equal(expected, pool.apply_async(encode).get(timeout=HANGS))


def test_joblib_workers_compute_the_same_code():
    from joblib import Parallel, delayed

    expected, pool = encode(), Parallel(n_jobs=2, backend="loky", timeout=HANGS)
    codes = pool(delayed(encode)() for _ in range(4))
    assert all(np.array_equal(code, expected) for code in codes)


# ------------------------------------------------------------------ unusual circuits


def make_unusual_circuit(rng):
    """A circuit with nearly equal atoms, extreme thresholds or extreme scales."""
    n_neurons, n_inputs = int(rng.integers(1, 40)), int(rng.integers(2, 30))
    signed, two_sided = rng.random(2) < 0.5
    atoms = rng.normal(size=(n_neurons, n_inputs))
    atoms = atoms if signed else np.abs(atoms)
    if n_neurons > 3 and rng.random() < 0.5:
        near_copy = atoms[0] + 10 ** rng.uniform(-7, -1) * rng.normal(size=n_inputs)
        atoms[1] = near_copy if signed else np.abs(near_copy)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    kind = HardThreshold if rng.random() < 0.2 else SoftThreshold
    transfer = kind(10 ** rng.uniform(-4, 2), bool(two_sided))
    circuit = Circuit(RateNeuron(), transfer, [Dictionary("x", atoms)])
    X = rng.normal(size=(3, n_inputs)) * 10 ** rng.uniform(-2, 1)
    return circuit, X if signed else np.abs(X)


def compute_lasso_energy(circuit, x):
    """Minimise the energy of Eq. 1 by coordinate descent of scikit-learn."""
    atoms, lam = circuit.dictionaries[0].atoms, circuit.transfer.threshold
    solver = Lasso(
        lam / len(x), fit_intercept=False, positive=not circuit.transfer.two_sided,
        max_iter=100_000, tol=1e-10,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):
        code = solver.fit(atoms.T, x).coef_
    return circuit.energy({"x": x[None]}, code[None])[0]


def test_unusual_circuits_converge_or_warn(full, figure):
    rng, n = np.random.default_rng(0), 1000 if full else 80
    n_warned, n_soft, max_excess, tol = 0, 0, 0.0, 1e-7
    for _ in range(n):
        circuit, X = make_unusual_circuit(rng)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            response = circuit.encode({"x": X}, tol)
        has_warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        n_warned += has_warned
        assert np.isfinite(response.code).all()
        is_soft = isinstance(circuit.transfer, SoftThreshold)
        certificate = response.gap if is_soft else response.residual
        assert has_warned or (certificate <= tol).all()
        if not is_soft or has_warned:
            continue
        for x, energy in zip(X, circuit.energy({"x": X}, response.code), strict=True):
            minimum = compute_lasso_energy(circuit, x)
            max_excess = max(max_excess, (energy - minimum) / max(minimum, 1e-300))
            n_soft += 1
    assert max_excess < 1e-6
    figure(
        f"{n} circuits: 0 non-finite, 0 unconverged without warning ({n_warned} warned); {n_soft} "
        f"soft energies at most {max_excess:.1e} (relative) above scikit-learn's Lasso"
    )


def test_any_step_gives_finite_codes_or_raises(full, figure):
    rng, n, n_rejected = np.random.default_rng(1), 1000 if full else 60, 0
    for _ in range(n):
        circuit, X = make_unusual_circuit(rng)
        dt = 10 ** rng.uniform(-5, -1)
        try:
            response = circuit.simulate({"x": X}, 20 * dt, dt, engine="reference")
        except ValueError as error:
            n_rejected += 1
            message = str(error)
            assert "step" in message or "dt" in message or "stab" in message, message
        else:
            assert np.isfinite(response.code).all()
    figure(f"{n} simulations: {n - n_rejected} finite, {n_rejected} rejected for dt, 0 others")


# ------------------------------------------------------------------ environment


def run_python(code, *arguments, cwd=None, drop=(), timeout=HANGS, **environment):
    """Run code in a separate Python process."""
    inherited = {name: value for name, value in os.environ.items() if name not in drop}
    inherited["PYTHONPATH"] = str(Path(spikelca.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=timeout, cwd=cwd, env=inherited | environment,
    )  # fmt: skip


WITHOUT_HOME = """
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
def test_encoding_works_without_home_and_cache(tmp_path, engine, full, figure):
    if engine == "numba" and not full:
        pytest.skip("compiles every kernel: --full")
    source, cwd = Path(spikelca.__file__).parent, tmp_path / "cwd"
    copy = tmp_path / "site" / "spikelca"
    cwd.mkdir()
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            # With a file of this name, even root cannot create a folder for caches.
            (target.parent / "__pycache__").touch()
    before = sorted(tmp_path.rglob("*"))
    start = time.perf_counter()
    done = run_python(
        WITHOUT_HOME, str(copy.parent), engine, cwd=cwd, drop=("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"),
        HOME="/proc/nowhere", TMPDIR=str(cwd), MPLCONFIGDIR="/proc/nowhere",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[0.9, 0.9, 0.9]]"
    assert sorted(tmp_path.rglob("*")) == before
    figure(f"{engine} without home and caches: a code after {seconds:.1f} s, nothing written")


OFFLINE = """
import socket, sys

def fail(*args, **kwargs):
    raise AssertionError("a socket was opened")

socket.socket.connect = fail
socket.getaddrinfo = fail
import numpy as np
from spikelca import LinkedLCA, load, save
X = np.random.default_rng(0).random((30, 6))
lca = LinkedLCA(4, random_state=0, engine="reference", n_epochs=1).fit(X)
save(lca, "model")
load("model").transform(X)
"""


def test_learning_uses_no_network_and_no_other_files(tmp_path, figure):
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    done = run_python(OFFLINE, cwd=cwd, HOME=str(home), TMPDIR=str(cwd))
    assert done.returncode == 0, done.stderr
    assert os.listdir(cwd) == ["model"]
    assert not list(home.rglob("*"))
    figure("fit, save, load, transform: 0 sockets, 1 file written, 0 in the home folder")


# ------------------------------------------------------------------ memory

MILLION = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import numpy as np
from spikelca import LCACoder
from spikelca.datasets import RowFile
path, n, scale, method = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
X = RowFile(path) if method == "rows" else np.load(path, mmap_mode="r")
assert X.shape == (n, 784)
rng = np.random.default_rng(0)
atoms = rng.random((64, 784), dtype=np.float32)
atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
code = LCACoder(atoms, threshold=0.3 * scale, sparse_output=True).transform(X)
assert code.shape == (n, 64) and np.isfinite(code.data).all() and code.nnz >= n
n_bytes = code.data.nbytes + code.indices.nbytes + code.indptr.nbytes
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print((peak - n_bytes) >> 20, n_bytes >> 20)
"""


def write_rows(path, n, scale):
    """Write images of 784 mostly dark pixels as an ``.npy`` file, block by block."""
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
@pytest.mark.skipif(importlib.util.find_spec("resource") is None, reason="no limits on this system")
@pytest.mark.parametrize(
    ("method", "scale"), [("rows", 1), ("map", 1000)], ids=["float32", "uint8"]
)
def test_million_rows_are_encoded_in_two_gigabytes(tmp_path, method, scale, full, figure):
    if not full:
        pytest.skip("a million rows: --full")
    path, results = tmp_path / "rows.npy", []
    for n in (100_000, 1_000_000):
        write_rows(path, n, scale)
        start = time.perf_counter()
        done = run_python(MILLION, str(path), str(n), str(scale), method, OPENBLAS_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        results.append((*map(int, done.stdout.split()), time.perf_counter() - start))
    (peak_of_tenth, _, _), (peak, codes, seconds) = results
    size = path.stat().st_size >> 20
    path.unlink()
    assert peak < peak_of_tenth + 64
    figure(
        f"a million rows of 784 ({size} MB, {method}), 2 GB address limit, {seconds:.0f} s: peak "
        f"{peak} MB without {codes} MB of sparse codes; {peak_of_tenth} MB for a tenth of the rows"
    )

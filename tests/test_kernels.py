"""Kernels of the fast engine: precision, reproducibility, SIMD operations and memory."""

from __future__ import annotations

import sys
from dataclasses import replace

import numba
import numpy as np
import pytest

from spikelca import Circuit, Dictionary, HardThreshold, OrdinalDriver, RateNeuron, SoftThreshold
from spikelca.engines.numba.encode.active_set import active_set_rows
from spikelca.engines.numba.encode.drive import add_drive, make_drive_workspace
from spikelca.engines.numba.encode.linalg import (
    append_to_inverse,
    remove_from_inverse,
    schur_complement,
)
from spikelca.engines.numba.encode.solve import solve_active_set
from spikelca.engines.numba.jit import parallel
from spikelca.engines.numba.jit.intrinsics import (
    CACHE_LINE,
    any_gt,
    broadcast,
    ctz,
    euler_step,
    fma,
    hmax,
    load,
    mask_ge,
    mask_ne,
    maximum,
    neg,
    skip_refcount,
    store,
    sub,
    vector_width,
)
from spikelca.engines.numba.jit.layout import (
    allocate_aligned,
    pad_gram_rows,
    padded_neurons,
    tile_lateral,
    tile_synapses,
)
from spikelca.utils import out_of_core
from spikelca.utils.out_of_core import release_pages


def make_data(n_neurons=40, n_inputs=30, n_samples=50, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    atoms = rng.random((n_neurons, n_inputs))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = rng.random((n_samples, n_neurons)) * (rng.random((n_samples, n_neurons)) < 0.15)
    X = codes @ atoms + 0.05 * rng.random((n_samples, n_inputs))
    return atoms.astype(dtype), X.astype(dtype)


def make_circuit(atoms, transfer=None, drivers=()):
    transfer = SoftThreshold(0.1) if transfer is None else transfer
    return Circuit(RateNeuron(), transfer, [Dictionary("x", atoms)], drivers)


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_neurons", [1, 64, 300, 513])
@pytest.mark.parametrize("n_inputs", [3, 16, 50])
def test_drive_is_bit_identical_for_any_batch(n_neurons, n_inputs, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((70, n_inputs)) * (rng.random((70, n_inputs)) < 0.6)
    X, atoms = X.astype(dtype), rng.standard_normal((n_neurons, n_inputs)).astype(dtype)
    b, values, nonzero = make_drive_workspace(
        70, padded_neurons(n_neurons), n_inputs, np.dtype(dtype)
    )
    results = []
    for size in (70, 1, 33):
        b[:], x2 = 0, np.zeros(70)
        for i in range(0, 70, size):
            rows = slice(i, i + size)
            tiles = tile_synapses(atoms)
            add_drive(X[rows], tiles, dtype(0.7), b[rows], x2[rows], nonzero, values)
        results.append((b.copy(), x2))
    drive, energy = results[0]
    np.testing.assert_allclose(drive[:, :n_neurons], 0.7 * X @ atoms.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(drive[:, n_neurons:], 0)
    np.testing.assert_allclose(energy, 0.7 * (X**2).sum(axis=1), rtol=1e-6)
    for b, x2 in results[1:]:
        np.testing.assert_array_equal(b, drive)
        np.testing.assert_array_equal(x2, energy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 64, 70])
def test_layouts_contain_the_matrix_and_zero_padding(n, dtype):
    gram = np.random.default_rng(0).random((n, n)).astype(dtype)
    rows, tiles = pad_gram_rows(gram), tile_lateral(gram)
    np.testing.assert_array_equal(rows[:, :n], gram)
    assert not rows[:, n:].any()
    assert rows.strides[0] // CACHE_LINE % 2 == 1
    lateral = np.concatenate(list(tiles), axis=1)[:n]
    np.testing.assert_array_equal(lateral[:, :n], np.eye(n, dtype=dtype) - gram)
    assert not lateral[:, n:].any()


def test_allocated_arrays_are_aligned_and_do_not_overlap():
    arrays = allocate_aligned([(3,), (5, 7), (1,)], np.dtype(np.float32))
    for number, array in enumerate(arrays):
        assert array.__array_interface__["data"][0] % CACHE_LINE == 0
        array[:] = number
    assert [array.shape for array in arrays] == [(3,), (5, 7), (1,)]
    assert [set(array.ravel()) for array in arrays] == [{0}, {1}, {2}]


def test_readonly_and_writable_arrays_share_one_compilation():
    atoms, X = make_data()
    make_circuit(atoms).encode({"x": X})
    before = {dtype: len(f.signatures) for dtype, f in active_set_rows.compiled.items()}
    X.setflags(write=False)
    make_circuit(atoms).encode({"x": X}, start=np.zeros((len(X), len(atoms)), np.float32))
    make_circuit(atoms).encode({"x": np.asfortranarray(X)})
    after = {dtype: len(f.signatures) for dtype, f in active_set_rows.compiled.items()}
    assert before == after
    assert set(after.values()) == {1}


# ---------------------------------------------------------------- SIMD operations


@numba.njit
def apply_arithmetic(x, y, k, results):
    width = results.shape[1]
    for row in range(x.shape[0]):
        a, b = load(x, row * width), load(y, row * width)
        store(results, 4 * row * width, fma(a, k, b))
        store(results, (4 * row + 1) * width, euler_step(a, k, b))
        store(results, (4 * row + 2) * width, maximum(a, b))
        store(results, (4 * row + 3) * width, neg(a))


@numba.njit
def apply_any_gt(x, y, row):
    return any_gt(load(x, row * x.shape[1]), load(y, row * x.shape[1]))


@numba.njit
def apply_comparisons(x, y, row, results):
    width = vector_width(x)
    a, b = load(x, row * width), load(y, row * width)
    store(results, 0, sub(a, b))
    store(results, width, broadcast(x, y[row, 0]))
    return hmax(a), mask_ge(a, b), mask_ne(a, b)


@numba.njit
def list_bits(mask):
    indices = [0]
    while mask != 0:
        indices.append(ctz(mask))
        mask &= mask - 1
    return indices[1:]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_simd_comparisons_equal_numpy(dtype):
    width = CACHE_LINE // np.dtype(dtype).itemsize
    x, y = np.random.default_rng(1).integers(-2, 3, (2, 9, width)).astype(dtype)
    for row in range(9):
        results = np.empty(2 * width, dtype)
        largest, greater_equal, not_equal = apply_comparisons(x, y, row, results)
        np.testing.assert_array_equal(results[:width], x[row] - y[row])
        np.testing.assert_array_equal(results[width:], y[row, 0])
        assert largest == x[row].max()
        assert list_bits(greater_equal) == list(np.flatnonzero(x[row] >= y[row]))
        assert list_bits(not_equal) == list(np.flatnonzero(x[row] != y[row]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_simd_arithmetic_equals_numpy(dtype):
    width, k = CACHE_LINE // np.dtype(dtype).itemsize, dtype(0.25)
    x, y = np.random.default_rng(0).integers(-9, 10, (2, 5, width)).astype(dtype)
    results = np.empty((20, width), dtype)
    apply_arithmetic(x, y, k, results)
    expected = (x + k * y, k * (y - x) + x, np.maximum(x, y), -x)
    np.testing.assert_array_equal(results, np.stack(expected, axis=1).reshape(20, width))
    for lane in range(width):
        y = x + 1
        assert not apply_any_gt(x, y, 3)
        y[3, lane] = x[3, lane] - 1
        assert apply_any_gt(x, y, 3)
        assert not apply_any_gt(x, y, 2)


# ---------------------------------------------------------------- reference counts


def test_skip_refcount_keeps_values_and_reference_counts():
    @numba.njit
    def total(rows, pair):
        rows, pair, result = skip_refcount(rows), skip_refcount(pair), 0.0
        for i in range(rows.shape[0]):
            row = rows[i]
            result += row[0] + pair[0][i] + pair[1][i]
        return result

    rows, pair = np.arange(6.0).reshape(3, 2), (np.ones(3), np.arange(3))
    n_references = sys.getrefcount(rows)
    for _ in range(3):
        assert total(rows, pair) == 12.0
    assert sys.getrefcount(rows) == n_references


# ---------------------------------------------------------------- the inverse of the block


def test_inverse_follows_additions_and_removals():
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((30, 60))
    gram = atoms @ atoms.T

    @numba.njit
    def add(gram, Q, active, n, j, w, t):
        schur = schur_complement(gram, Q, active, n, j, w, t)
        append_to_inverse(Q, active, n, j, schur, t)

    @numba.njit
    def remove(Q, active, n, p, t):
        remove_from_inverse(Q, active, n, p, t)

    Q, active, n = np.empty((32, 48)), np.empty(32, np.int64), 0
    w, t = np.empty(48), np.empty(48)
    for j in rng.permutation(30):
        add(gram, Q, active, n, j, w, t)
        n += 1
        if n > 2 and rng.random() < 0.3:
            remove(Q, active, n, int(rng.integers(n)), t)
            n -= 1
        block = gram[np.ix_(active[:n], active[:n])]
        np.testing.assert_allclose(Q[:n, :n] @ block, np.eye(n), atol=1e-9)


# ---------------------------------------------------------------- reproducibility


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transfer", [SoftThreshold(0.1), HardThreshold(0.2)], ids=["soft", "hard"])
def test_codes_are_bit_identical_for_chunks_and_threads(dtype, transfer, monkeypatch):
    atoms, X = make_data(n_samples=60, dtype=dtype)
    circuit, expected_code = make_circuit(atoms, transfer), None
    order = np.random.default_rng(0).permutation(len(X))
    for chunk, serial, n_threads in ((4096, 64, 1), (7, 64, 1), (64, 4, 2), (13, 2, 2)):
        monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", chunk)
        monkeypatch.setattr(parallel, "MIN_SAMPLES_PER_THREAD", serial)
        monkeypatch.setattr(numba, "get_num_threads", lambda n=n_threads: n)
        response = circuit.encode({"x": X[order]})
        code = np.empty_like(response.code)
        code[order] = response.code
        expected_code = code if expected_code is None else expected_code
        np.testing.assert_array_equal(code, expected_code)


def test_workspaces_are_exclusive_and_reused_by_size():
    sizes = []

    def make(n):
        sizes.append(n)
        return [n]

    with parallel.borrow_workspace(make, 3) as first, parallel.borrow_workspace(make, 3) as second:
        assert first is not second
    with parallel.borrow_workspace(make, 3) as reused:
        assert reused is first or reused is second
    with parallel.borrow_workspace(make, 4), parallel.borrow_workspace(make, 3):
        pass
    assert sizes == [3, 3, 4]
    with parallel.borrow_workspace(make, 3):
        pass
    assert sizes == [3, 3, 4, 3]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_blocks_cover_all_samples_and_raise_errors(n_threads, monkeypatch):
    monkeypatch.setattr(parallel, "MIN_SAMPLES_PER_THREAD", 4)
    monkeypatch.setattr(parallel, "MAX_BLOCK_SAMPLES", 7)
    monkeypatch.setattr(numba, "get_num_threads", lambda: n_threads)
    for n in (0, 1, 8, 100):
        blocks = []
        parallel.parallel_for(
            lambda rows, _, blocks=blocks: blocks.append(rows), n, parallel.no_workspace
        )
        assert sorted(i for rows in blocks for i in range(n)[rows]) == list(range(n))
    with pytest.raises(ZeroDivisionError):
        parallel.parallel_for(lambda rows, _: 1 // 0, 100, parallel.no_workspace)


# ---------------------------------------------------------------- hard threshold


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("mode", [None, "current", "linked", "clamp"])
def test_hard_threshold_codes_equal_the_reference(mode, two_sided):
    atoms, X = make_data(40, 30, 20, dtype=np.float64)
    drivers, labels = (), None
    if mode is not None:
        drivers, labels = [OrdinalDriver(4, mode=mode, excitation=0.05)], np.arange(20) % 4
    circuit = make_circuit(atoms, HardThreshold(0.2, two_sided), drivers)
    fast = circuit.encode({"x": X}, tol=1e-6, labels=labels)
    reference = circuit.encode({"x": X}, tol=1e-6, labels=labels, engine="reference")
    np.testing.assert_array_equal(fast.code != 0, reference.code != 0)
    np.testing.assert_allclose(fast.code, reference.code, atol=1e-4)
    assert (fast.residual <= 1e-6).all()


# ---------------------------------------------------------------- memory


def test_memory_map_is_encoded_in_released_chunks(tmp_path, monkeypatch):
    atoms, X = make_data(n_samples=2000)
    path = tmp_path / "X.npy"
    np.save(path, X)
    chunks = []
    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 128)
    monkeypatch.setattr(
        out_of_core, "release_pages", lambda x, rows: chunks.append(rows) or release_pages(x, rows)
    )
    mapped = np.load(path, mmap_mode="r")
    code = make_circuit(atoms).encode({"x": mapped}).code
    np.testing.assert_array_equal(code, make_circuit(atoms).encode({"x": X}).code)
    np.testing.assert_array_equal(mapped, X)
    assert [rows.start for rows in chunks][:16] == list(range(0, 2000, 128))


def test_memory_is_independent_of_the_memory_map(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 100)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    atoms, X = make_data(n_samples=4000)
    np.save(tmp_path / "X.npy", X.astype(np.float64))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    circuit = make_circuit(atoms)
    circuit.encode({"x": X[:10]})
    peaks = []
    for n in (400, 4000):
        tracemalloc.start()
        response = circuit.encode({"x": mapped[:n]})
        arrays = (response.code, response.residual, response.gap, response.n_iter)
        returned = sum(array.nbytes for array in arrays)
        peaks.append(tracemalloc.get_traced_memory()[1] - returned)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000 < X.nbytes * 2


def test_error_names_the_index_of_an_invalid_value(monkeypatch):
    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 16)
    atoms, X = make_data()
    X[37, 5] = np.nan
    with pytest.raises(ValueError, match=r"NaN at index \(37, 5\)"):
        make_circuit(atoms).encode({"x": X})


def test_selected_samples_have_the_same_codes():
    atoms, X = make_data()
    problem = make_circuit(atoms).compile({"x": X})
    inputs = tuple(replace(p, stimulus=p.stimulus[10:20]) for p in problem.inputs)
    selected = solve_active_set(replace(problem, inputs=inputs), 1e-4, 1000)
    complete = solve_active_set(problem, 1e-4, 1000)
    np.testing.assert_array_equal(selected.code, complete.code[10:20])

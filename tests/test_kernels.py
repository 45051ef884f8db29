"""The kernels of the fast engine: their precision, their bits, and their narrow places."""

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
from spikelca.engines.numba.jit import parallel as threads
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


def atoms_and_samples(n_neurons=40, n_inputs=30, n_samples=50, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    atoms = rng.random((n_neurons, n_inputs))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = rng.random((n_samples, n_neurons)) * (rng.random((n_samples, n_neurons)) < 0.15)
    X = codes @ atoms + 0.05 * rng.random((n_samples, n_inputs))
    return atoms.astype(dtype), X.astype(dtype)


def circuit_of(atoms, transfer=None, drivers=()):
    transfer = SoftThreshold(0.1) if transfer is None else transfer
    return Circuit(RateNeuron(), transfer, [Dictionary("x", atoms)], drivers)


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_neurons", [1, 64, 300, 513])
@pytest.mark.parametrize("n_inputs", [3, 16, 50])
def test_neighbours_do_not_touch_a_bit_of_the_drive(n_neurons, n_inputs, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((70, n_inputs)) * (rng.random((70, n_inputs)) < 0.6)
    X, atoms = X.astype(dtype), rng.standard_normal((n_neurons, n_inputs)).astype(dtype)
    b, values, live = make_drive_workspace(70, padded_neurons(n_neurons), n_inputs, np.dtype(dtype))
    found = []
    for size in (70, 1, 33):
        b[:], x2 = 0, np.zeros(70)
        for i in range(0, 70, size):
            rows = slice(i, i + size)
            parts = tile_synapses(atoms), dtype(0.7), b[rows], x2[rows], live, values
            add_drive(X[rows], *parts)
        found.append((b.copy(), x2))
    np.testing.assert_allclose(found[0][0][:, :n_neurons], 0.7 * X @ atoms.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found[0][0][:, n_neurons:], 0)
    np.testing.assert_allclose(found[0][1], 0.7 * (X**2).sum(axis=1), rtol=1e-6)
    for b, x2 in found[1:]:
        np.testing.assert_array_equal(b, found[0][0])
        np.testing.assert_array_equal(x2, found[0][1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 64, 70])
def test_layouts_hold_the_same_numbers_and_silence_behind_them(n, dtype):
    gram = np.random.default_rng(0).random((n, n)).astype(dtype)
    rows, tiles = pad_gram_rows(gram), tile_lateral(gram)
    np.testing.assert_array_equal(rows[:, :n], gram)
    assert not rows[:, n:].any()
    assert rows.strides[0] // CACHE_LINE % 2 == 1
    lateral = np.concatenate(list(tiles), axis=1)[:n]
    np.testing.assert_array_equal(lateral[:, :n], np.eye(n, dtype=dtype) - gram)
    assert not lateral[:, n:].any()


def test_arrays_side_by_side_begin_with_a_line_of_the_cache_and_do_not_overlap():
    parts = allocate_aligned([(3,), (5, 7), (1,)], np.dtype(np.float32))
    for number, part in enumerate(parts):
        assert part.__array_interface__["data"][0] % CACHE_LINE == 0
        part[:] = number
    assert [part.shape for part in parts] == [(3,), (5, 7), (1,)]
    assert [set(part.ravel()) for part in parts] == [{0}, {1}, {2}]


def test_an_entry_takes_read_only_and_writable_arrays_without_compiling_again():
    atoms, X = atoms_and_samples()
    circuit_of(atoms).encode({"x": X})
    before = {dtype: len(f.signatures) for dtype, f in active_set_rows.compiled.items()}
    X.setflags(write=False)
    circuit_of(atoms).encode({"x": X}, start=np.zeros((len(X), len(atoms)), np.float32))
    circuit_of(atoms).encode({"x": np.asfortranarray(X)})
    after = {dtype: len(f.signatures) for dtype, f in active_set_rows.compiled.items()}
    assert before == after
    assert set(after.values()) == {1}


# ---------------------------------------------------------------- numbers side by side


@numba.njit
def through_lanes(x, y, k, found):
    width = found.shape[1]
    for row in range(x.shape[0]):
        a, b = load(x, row * width), load(y, row * width)
        store(found, 4 * row * width, fma(a, k, b))
        store(found, (4 * row + 1) * width, euler_step(a, k, b))
        store(found, (4 * row + 2) * width, maximum(a, b))
        store(found, (4 * row + 3) * width, neg(a))


@numba.njit
def some_above(x, y, row):
    return any_gt(load(x, row * x.shape[1]), load(y, row * x.shape[1]))


@numba.njit
def asked(x, y, row, found):
    width = vector_width(x)
    a, b = load(x, row * width), load(y, row * width)
    store(found, 0, sub(a, b))
    store(found, width, broadcast(x, y[row, 0]))
    return hmax(a), mask_ge(a, b), mask_ne(a, b)


@numba.njit
def places(bits):
    found = [0]
    while bits != 0:
        found.append(ctz(bits))
        bits &= bits - 1
    return found[1:]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_tell_what_numpy_tells(dtype):
    width = CACHE_LINE // np.dtype(dtype).itemsize
    x, y = np.random.default_rng(1).integers(-2, 3, (2, 9, width)).astype(dtype)
    for row in range(9):
        found = np.empty(2 * width, dtype)
        most, reach, differ = asked(x, y, row, found)
        np.testing.assert_array_equal(found[:width], x[row] - y[row])
        np.testing.assert_array_equal(found[width:], y[row, 0])
        assert most == x[row].max()
        assert places(reach) == list(np.flatnonzero(x[row] >= y[row]))
        assert places(differ) == list(np.flatnonzero(x[row] != y[row]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_compute_what_numpy_does(dtype):
    width, k = CACHE_LINE // np.dtype(dtype).itemsize, dtype(0.25)
    x, y = np.random.default_rng(0).integers(-9, 10, (2, 5, width)).astype(dtype)
    found = np.empty((20, width), dtype)
    through_lanes(x, y, k, found)
    awaited = (x + k * y, k * (y - x) + x, np.maximum(x, y), -x)
    np.testing.assert_array_equal(found, np.stack(awaited, axis=1).reshape(20, width))
    for lane in range(width):
        y = x + 1
        assert not some_above(x, y, 3)
        y[3, lane] = x[3, lane] - 1
        assert some_above(x, y, 3)
        assert not some_above(x, y, 2)


# ---------------------------------------------------------------- what is borrowed


def test_what_is_borrowed_is_the_same_and_its_owner_keeps_it():
    @numba.njit
    def total(rows, pair):
        rows, pair, found = skip_refcount(rows), skip_refcount(pair), 0.0
        for i in range(rows.shape[0]):
            row = rows[i]
            found += row[0] + pair[0][i] + pair[1][i]
        return found

    rows, pair = np.arange(6.0).reshape(3, 2), (np.ones(3), np.arange(3))
    holders = sys.getrefcount(rows)
    for _ in range(3):
        assert total(rows, pair) == 12.0
    assert sys.getrefcount(rows) == holders


# ---------------------------------------------------------------- the inverse of the block


def test_the_inverse_follows_its_block_as_neurons_come_and_go():
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((30, 60))
    gram = atoms @ atoms.T

    @numba.njit
    def come(gram, Q, members, n, j, w, t):
        schur = schur_complement(gram, Q, members, n, j, w, t)
        append_to_inverse(Q, members, n, j, schur, t)

    @numba.njit
    def go(Q, members, n, p, t):
        remove_from_inverse(Q, members, n, p, t)

    Q, members, n = np.empty((32, 48)), np.empty(32, np.int64), 0
    w, t = np.empty(48), np.empty(48)
    for j in rng.permutation(30):
        come(gram, Q, members, n, j, w, t)
        n += 1
        if n > 2 and rng.random() < 0.3:
            go(Q, members, n, int(rng.integers(n)), t)
            n -= 1
        block = gram[np.ix_(members[:n], members[:n])]
        np.testing.assert_allclose(Q[:n, :n] @ block, np.eye(n), atol=1e-9)


# ---------------------------------------------------------------- the same bits, however it is cut


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transfer", [SoftThreshold(0.1), HardThreshold(0.2)], ids=["soft", "hard"])
def test_chunks_threads_and_order_do_not_touch_a_bit(dtype, transfer, monkeypatch):
    atoms, X = atoms_and_samples(n_samples=60, dtype=dtype)
    circuit, whole = circuit_of(atoms, transfer), None
    order = np.random.default_rng(0).permutation(len(X))
    for chunk, serial, n_threads in ((4096, 64, 1), (7, 64, 1), (64, 4, 2), (13, 2, 2)):
        monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", chunk)
        monkeypatch.setattr(threads, "MIN_SAMPLES_PER_THREAD", serial)
        monkeypatch.setattr(numba, "get_num_threads", lambda n=n_threads: n)
        found = circuit.encode({"x": X[order]})
        code = np.empty_like(found.code)
        code[order] = found.code
        whole = code if whole is None else whole
        np.testing.assert_array_equal(code, whole)


def test_scratch_is_lent_to_one_at_a_time_and_only_the_last_size_is_kept():
    made = []

    def make(n):
        made.append(n)
        return [n]

    with threads.borrow_workspace(make, 3) as one, threads.borrow_workspace(make, 3) as other:
        assert one is not other
    with threads.borrow_workspace(make, 3) as again:
        assert again is one or again is other
    with threads.borrow_workspace(make, 4), threads.borrow_workspace(make, 3):
        pass
    assert made == [3, 3, 4]
    with threads.borrow_workspace(make, 3):
        pass
    assert made == [3, 3, 4, 3]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_blocks_cover_every_sample_once_and_an_error_comes_through(n_threads, monkeypatch):
    monkeypatch.setattr(threads, "MIN_SAMPLES_PER_THREAD", 4)
    monkeypatch.setattr(threads, "MAX_BLOCK_SAMPLES", 7)
    monkeypatch.setattr(numba, "get_num_threads", lambda: n_threads)
    for n in (0, 1, 8, 100):
        seen = []
        threads.parallel_for(lambda rows, _, seen=seen: seen.append(rows), n, threads.no_workspace)
        assert sorted(i for rows in seen for i in range(n)[rows]) == list(range(n))
    with pytest.raises(ZeroDivisionError):
        threads.parallel_for(lambda rows, _: 1 // 0, 100, threads.no_workspace)


# ---------------------------------------------------------------- hard threshold


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("reading", [None, "current", "linked", "clamp"])
def test_hard_codes_end_where_the_plain_steps_end(reading, two_sided):
    atoms, X = atoms_and_samples(40, 30, 20, dtype=np.float64)
    drivers, labels = (), None
    if reading is not None:
        drivers, labels = [OrdinalDriver(4, reading=reading, excitation=0.05)], np.arange(20) % 4
    circuit = circuit_of(atoms, HardThreshold(0.2, two_sided), drivers)
    fast = circuit.encode({"x": X}, tol=1e-6, labels=labels)
    plain = circuit.encode({"x": X}, tol=1e-6, labels=labels, engine="reference")
    np.testing.assert_array_equal(fast.code != 0, plain.code != 0)
    np.testing.assert_allclose(fast.code, plain.code, atol=1e-4)
    assert (fast.residual <= 1e-6).all()


# ---------------------------------------------------------------- memory


def test_a_memory_map_is_encoded_chunk_by_chunk_and_let_go(tmp_path, monkeypatch):
    atoms, X = atoms_and_samples(n_samples=2000)
    path = tmp_path / "X.npy"
    np.save(path, X)
    seen = []
    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 128)
    monkeypatch.setattr(
        out_of_core, "release_pages", lambda x, rows: seen.append(rows) or release_pages(x, rows)
    )
    mapped = np.load(path, mmap_mode="r")
    code = circuit_of(atoms).encode({"x": mapped}).code
    np.testing.assert_array_equal(code, circuit_of(atoms).encode({"x": X}).code)
    np.testing.assert_array_equal(mapped, X)
    assert [rows.start for rows in seen][:16] == list(range(0, 2000, 128))


def test_memory_does_not_grow_with_the_rows_of_a_map(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 100)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    atoms, X = atoms_and_samples(n_samples=4000)
    np.save(tmp_path / "X.npy", X.astype(np.float64))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    circuit = circuit_of(atoms)
    circuit.encode({"x": X[:10]})
    peaks = []
    for n in (400, 4000):
        tracemalloc.start()
        response = circuit.encode({"x": mapped[:n]})
        kept = sum(v.nbytes for v in (response.code, response.residual, response.gap))
        peaks.append(tracemalloc.get_traced_memory()[1] - kept - response.n_iter.nbytes)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000 < X.nbytes * 2


def test_a_bad_value_far_down_is_named_by_its_place_among_all(monkeypatch):
    monkeypatch.setattr(out_of_core, "CHUNK_SAMPLES", 16)
    atoms, X = atoms_and_samples()
    X[37, 5] = np.nan
    with pytest.raises(ValueError, match=r"NaN at index \(37, 5\)"):
        circuit_of(atoms).encode({"x": X})


def test_a_problem_of_some_samples_settles_as_in_the_whole():
    atoms, X = atoms_and_samples()
    problem = circuit_of(atoms).compile({"x": X})
    inputs = tuple(replace(p, stimulus=p.stimulus[10:20]) for p in problem.inputs)
    part = solve_active_set(replace(problem, inputs=inputs), 1e-4, 1000)
    np.testing.assert_array_equal(part.code, solve_active_set(problem, 1e-4, 1000).code[10:20])

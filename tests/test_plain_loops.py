"""Kernels with SIMD intrinsics and their plain-loop twins compute the same."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from functools import cache

import numba
import numpy as np
import pytest

from spikelca import Circuit, Dictionary, HardThreshold, RateNeuron, SoftThreshold
from spikelca.engines.numba.encode import active_set, drive, linalg
from spikelca.engines.numba.jit import intrinsics, plain_loops
from spikelca.engines.numba.jit.layout import (
    aligned_zeros,
    pad_gram_rows,
    tile_lateral,
    tile_synapses,
)
from spikelca.engines.numba.simulate import rate_lateral
from spikelca.engines.numba.simulate.recording import RateParams

TWINS = {
    name: next(
        getattr(module, name)
        for module in (linalg, active_set, drive, rate_lateral)
        if hasattr(module, name)
    )
    for name, _ in inspect.getmembers(plain_loops, inspect.isfunction)
}
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
pytestmark = pytest.mark.skipif(not intrinsics.USE_SIMD, reason="both are the plain loops")


def run_both(name, *arguments):
    """Call a kernel and its twin on copies of the arguments; return results and arrays of both."""
    outcomes = []
    for call in kernel_and_twin(name):
        values = [copy(value) for value in arguments]
        outcomes.append((call(*values), values))
    return outcomes


@cache
def kernel_and_twin(name):
    """A kernel and its twin, callable from Python; each is compiled once for all tests."""
    twin = numba.njit(getattr(plain_loops, name))
    return callable_from_python(TWINS[name]), callable_from_python(twin)


def callable_from_python(kernel):
    @numba.njit
    def call(*args):
        return kernel(*args)

    return call


def copy(value):
    if isinstance(value, np.ndarray):
        return aligned_copy(value)
    return type(value)(*map(copy, value)) if isinstance(value, tuple) else value


def aligned_copy(array):
    if not array.size or not np.issubdtype(array.dtype, np.floating):
        return array.copy()
    copied = aligned_zeros(array.shape, array.dtype)
    copied[...] = array
    return copied


def assert_close(first, second, absolute_sum, dtype):
    """Assert that sums differ by at most 4 ulp of the sum of absolute values."""
    assert (np.abs(first - second) <= 4 * np.finfo(dtype).eps * absolute_sum).all()


def random(*shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_every_twin_has_a_test():
    source = inspect.getsource(sys.modules[__name__])
    missing = [name for name in TWINS if not re.search(rf'run_both\(\s*"{name}"', source)]
    assert not missing
    assert len(TWINS) == 12


def test_twins_have_the_arguments_of_their_kernels():
    for name, kernel in TWINS.items():
        arguments = list(inspect.signature(kernel.py_func).parameters)
        assert arguments == list(inspect.signature(getattr(plain_loops, name)).parameters)


# ---------------------------------------------------------------- selections, bit for bit


@DTYPES
def test_selections_are_bit_identical(dtype):
    values = random(128, dtype=dtype)
    values[5] = values[100] = values.max() + 1
    candidates = np.zeros(129, np.int64)
    for cutoff in (dtype(0.3), values.max(), dtype(9)):
        (n, first), (m, second) = run_both("list_candidates", cutoff, values, candidates)
        assert n == m == np.count_nonzero(values >= cutoff)
        np.testing.assert_array_equal(first[2][:n], second[2][:m])
    (largest, _), (expected, _) = run_both("max_element", values)
    assert largest == expected == values.max()


@DTYPES
@pytest.mark.parametrize("n_inputs", [3, 16, 50])
def test_listed_inputs_are_bit_identical(n_inputs, dtype):
    X = random(4, n_inputs, dtype=dtype)
    X[np.abs(X) < 0.6] = 0
    for row in range(4):
        nonzero, values = np.zeros(n_inputs + 1, np.int32), np.zeros(n_inputs + 1, dtype)
        (n, first), (m, second) = run_both("list_nonzero", X, row, dtype(0.7), nonzero, values)
        assert n == m == np.count_nonzero(X[row])
        for one, other in zip(first[3:], second[3:], strict=True):
            np.testing.assert_array_equal(one[:n], other[:m])


@DTYPES
def test_excess_and_copies_are_bit_identical(dtype):
    c, upper, lower = random(3, 64, dtype=dtype)
    lower[3] = upper[7] = np.inf
    (_, first), (_, second) = run_both("compute_excess", c, upper, lower, np.zeros(64, dtype))
    np.testing.assert_array_equal(first[3], second[3])
    (_, first), (_, second) = run_both("copy_row", c, np.zeros(64, dtype), 37)
    np.testing.assert_array_equal(first[1][:37], second[1][:37])


# ---------------------------------------------------------------- sums, within rounding


@DTYPES
@pytest.mark.parametrize("n", [1, 6, 37])
def test_sums_over_active_neurons_agree(n, dtype):
    Q, t = random(40, 48, dtype=dtype), random(48, dtype=dtype, seed=1)
    (_, first), (_, second) = run_both("matvec", Q, t, n, n, np.zeros(48, dtype))
    absolute = np.abs(t[:n]) @ np.abs(Q[:n, :n])
    assert_close(first[4][:n], second[4][:n], absolute, dtype)
    (_, first), (_, second) = run_both("rank_one_update", Q, t, dtype(0.3), n)
    absolute = np.abs(Q[:n, :n]) + 0.3 * np.abs(np.outer(t[:n], t[:n]))
    assert_close(first[0][:n, :n], second[0][:n, :n], absolute, dtype)


@DTYPES
def test_residual_correlations_agree(dtype):
    gram = pad_gram_rows(random(60, 60, dtype=dtype))
    b, a = np.zeros(64, dtype), random(9, dtype=dtype)
    b[:60] = random(60, dtype=dtype, seed=2)
    active = np.arange(0, 54, 6)
    (_, first), (_, second) = run_both(
        "compute_residual_correlation", b, gram, active, a, 9, np.zeros(64, dtype)
    )
    absolute = np.abs(b) + np.abs(a) @ np.abs(gram[active, :64])
    assert_close(first[5], second[5], absolute, dtype)


@DTYPES
def test_drives_of_a_tile_agree(dtype):
    tile = tile_synapses(random(30, 20, dtype=dtype))[0]
    X, counts = random(5, 20, dtype=dtype), np.array([20, 0, 7, 20, 1])
    nonzero = np.tile(np.arange(20, dtype=np.int32), (5, 1))
    b = np.zeros((5, tile.shape[1]), dtype)
    (_, first), (_, second) = run_both("accumulate_tile", tile, counts, nonzero, X, b, 0)
    listed = np.where(np.arange(20) < counts[:, None], np.abs(X), 0)
    assert_close(first[4], second[4], listed @ np.abs(tile), dtype)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def span(request):
    """Workspace of a span of 70 neurons, and the tiles of a Gram matrix."""
    dtype, n = request.param, 70
    gram = np.eye(n) + 0.1 * np.random.default_rng(3).random((n, n))
    tiles = tile_lateral(((gram + gram.T) / 2).astype(dtype))
    workspace = rate_lateral.make_span_workspace(n, np.dtype(dtype))
    for seed, name in enumerate(("u", "c", "outputs", "tracked_u", "tracked_input")):
        values = getattr(workspace, name)
        values[...] = random(*values.shape, dtype=dtype, seed=seed)
    workspace.tracked_block[...] = -0.1 * random(64, 64, dtype=dtype)
    workspace.untracked_threshold[:] = 0.8
    workspace.tracked[:9] = workspace.active_list[:9] = np.arange(9)
    workspace.tracked[:9] *= 7
    workspace.tile_offset[:9] = workspace.tracked[:9] * tiles.shape[2]
    return dtype, tiles, workspace


def test_steps_of_tracked_neurons_agree(span):
    dtype, _, workspace = span
    a = workspace.outputs[0].copy()
    (_, first), (_, second) = run_both("advance_tracked", dtype(0.2), a, 9, workspace)
    absolute = np.abs(workspace.tracked_input[:9]) + np.abs(workspace.tracked_u[:9])
    absolute += np.abs(a[:9]) @ np.abs(workspace.tracked_block[:9, :9])
    assert_close(first[3].tracked_u[:9], second[3].tracked_u[:9], absolute, dtype)


def test_steps_of_all_neurons_agree(span):
    dtype, tiles, workspace = span
    c, u = workspace.c[0].copy(), workspace.u[0].copy()
    (_, first), (_, second) = run_both(
        "advance_all", tiles, dtype(0.2), c, u, np.zeros_like(u), 9, workspace
    )
    rows = np.concatenate(list(tiles), axis=1)[:9]
    absolute = np.abs(c) + np.abs(u) + np.abs(workspace.outputs[0, :9]) @ np.abs(rows)
    assert_close(first[4], second[4], absolute, dtype)


@pytest.mark.parametrize("is_time_varying", [0, 1])
@pytest.mark.parametrize("two_sided", [False, True])
def test_spans_of_all_neurons_agree(span, two_sided, is_time_varying):
    dtype, tiles, workspace = span
    params = RateParams(dtype(0.2), dtype(0.1), False, two_sided, dtype(1))
    n_steps = 8  # a multiple of four, which the SIMD kernel computes in one pass
    (_, first), (_, second) = run_both(
        "integrate_all", tiles, is_time_varying, params, n_steps, 9, workspace
    )
    rows = np.concatenate(list(tiles), axis=1)[workspace.tracked[:9].astype(int)]
    per_step = np.abs(workspace.c).max() + np.abs(workspace.outputs[:, :9]).max() * np.abs(
        rows
    ).sum(axis=0)
    absolute = n_steps * (np.abs(workspace.u[0]) + per_step)
    u, expected = first[5].u[: n_steps + 1], second[5].u[: n_steps + 1]
    assert_close(u, expected, absolute, dtype)
    np.testing.assert_array_equal(first[5].mispredicted, second[5].mispredicted)
    assert 0 < np.count_nonzero(first[5].mispredicted) <= len(tiles)


# ---------------------------------------------------------------- the engine without intrinsics

SCRIPT = """
import sys
import numpy as np
from test_plain_loops import respond
from spikelca.engines.numba.jit.intrinsics import USE_SIMD
assert not USE_SIMD
np.savez(sys.argv[1], **respond())
"""


def respond():
    """Codes and traces of rate circuits with lateral wiring, by name."""
    rng = np.random.default_rng(0)
    atoms = rng.random((40, 30))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    results = {}
    for dtype in (np.float32, np.float64):
        for kind in (SoftThreshold, HardThreshold):
            for two_sided in (False, True):
                transfer = kind(0.1, two_sided)
                circuit = Circuit(RateNeuron(), transfer, [Dictionary("x", atoms.astype(dtype))])
                X = {"x": rng.random((5, 30)) / 3}
                name = f"{np.dtype(dtype)} {transfer}"
                results[f"{name} code"] = circuit.encode(X, 1e-5).code
                results[f"{name} u"] = circuit.simulate(X, 0.02, record=("u",)).traces["u"]
    return results


def test_engine_without_intrinsics_agrees(tmp_path):
    path = tmp_path / "plain.npz"
    environment = {**os.environ, "SPIKELCA_SIMD": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], env=environment, check=True)
    expected = respond()
    with np.load(path) as results:
        assert sorted(results) == sorted(expected)
        for name in results:
            tol = 1e-4 if name.startswith("float32") else 1e-5
            np.testing.assert_allclose(results[name], expected[name], atol=tol, err_msg=name)


def test_untested_numba_and_setting_select_plain_loops():
    lowest, first_untested = intrinsics.TESTED_NUMBA
    assert intrinsics.is_simd_supported(f"{lowest[0]}.{lowest[1]}.0", "")
    assert not intrinsics.is_simd_supported(f"{lowest[0]}.{lowest[1]}.0", "0")
    assert not intrinsics.is_simd_supported(f"{first_untested[0]}.{first_untested[1]}.0rc1", "")

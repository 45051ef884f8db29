"""Codes that are given up: code, gap and residual belong together, whenever that happens."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spikelca import (
    Circuit,
    Dictionary,
    HardThreshold,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    metrics,
)

LABELS = np.arange(12) % 4
DRIVERS = {
    "none": (),
    "current": (OrdinalDriver(4, excitation=0.03, inhibition=0.05),),
    "clamp": (OrdinalDriver(4, mode="clamp"),),
}
WORLDS = [
    ("random", "none"),
    ("random", "current"),
    ("random", "clamp"),
    ("common mean", "none"),
    ("twins", "none"),
]
ROUNDING = {np.float32: 1e-5, np.float64: 1e-12}
"""Sums over at most 40 products of numbers of at most one, in units of the threshold 0.1."""

pytestmark = pytest.mark.filterwarnings("ignore:.*(did not settle|did not converge)")


def world(kind, two_sided):
    """Atoms and samples of unit norm; coherent atoms share a mean or come as near twins."""
    rng = np.random.default_rng(0)
    draw = rng.standard_normal if two_sided else rng.random
    atoms, X = draw((40, 20)), draw((12, 20))
    if kind == "common mean":
        atoms, X = atoms + 2, X + 2
    elif kind == "twins":
        atoms[1::2] = atoms[::2] + 1e-4 * draw(atoms[::2].shape)
    return tuple(Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (atoms, X))


def recomputed(circuit, X, code, labels):
    """Residual and gap of a code by `spikelca.metrics`, and samples whose report is exact.

    The kernels measure an active neuron by its distance from the threshold on either side, and the
    dual point by the lowest threshold. Both are bounds; they are exact where no active neuron lies
    below its threshold, and where all thresholds are equal.
    """
    problem = circuit.compile({"x": X.astype(circuit.dtype)}, labels)
    drive, gram, allowed = problem.drive(), problem.gram, problem.allowed
    total = drive.astype(float) + problem.current
    residual = metrics.fixed_point_residual(circuit.transfer, total, gram, code, allowed)
    if isinstance(circuit.transfer, HardThreshold):
        return residual, None, np.ones(len(X), bool)
    parts = (problem.stimulus_energy(), problem.current, allowed)
    gap = metrics.relative_gap(circuit.transfer, drive, gram, code, *parts)
    slope = (total - code.astype(float) @ gram) * np.sign(code) - circuit.transfer.threshold
    exact = ~((code != 0) & (slope < -0.1 * ROUNDING[circuit.dtype.type])).any(axis=1) & (
        np.ptp(problem.current) == 0
    )
    return residual, gap, exact


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("two_sided", [False, True], ids=["one-sided", "two-sided"])
@pytest.mark.parametrize("kind", [SoftThreshold, HardThreshold])
@pytest.mark.parametrize("engine", ["numba", "reference"])
def test_code_and_report_belong_together(engine, kind, two_sided, dtype):
    n_exact, near = 0, {"rtol": 0, "atol": ROUNDING[dtype]}
    for atoms_kind, driver in WORLDS if engine == "numba" else WORLDS[:1]:
        atoms, X = world(atoms_kind, two_sided)
        parts = [Dictionary("x", atoms.astype(dtype))]
        circuit = Circuit(RateNeuron(), kind(0.1, two_sided), parts, DRIVERS[driver])
        for tol, max_iter in itertools.product((1e-3, 1e-8), range(1, 13)):
            found = circuit.encode({"x": X}, tol, labels=LABELS, engine=engine, max_iter=max_iter)
            residual, gap, exact = recomputed(circuit, X, found.code, LABELS)
            exact |= engine == "reference"
            note = f"{atoms_kind}, {driver}, tol {tol}, max_iter {max_iter}"
            pairs = [(found.residual, residual)] if gap is None else [
                (found.residual, residual), (found.gap, gap)]  # fmt: skip
            for reported, true in pairs:
                np.testing.assert_allclose(reported[exact], true[exact], err_msg=note, **near)
                assert (reported >= true - ROUNDING[dtype]).all(), note
            assert (found.gap is None) == (gap is None)
            n_exact += exact.sum()
    assert n_exact >= 12 * 24


@pytest.mark.parametrize("engine", ["numba", "reference"])
def test_zero_rounds_raise(engine):
    atoms, X = world("random", False)
    circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms)])
    with pytest.raises(ValueError, match=r"max_iter .*0"):
        circuit.encode({"x": X}, engine=engine, max_iter=0)

"""Python frames from a public call to the compiled kernel, counted while the call runs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from spikelca import Circuit, Dictionary, LCACoder, LinkedLCA, RateNeuron, SoftThreshold
from spikelca.engines.numba.encode import solve
from spikelca.engines.numba.simulate import run

ATOMS = np.random.default_rng(0).random((6, 8))
ATOMS /= np.linalg.norm(ATOMS, axis=1, keepdims=True)
X = np.random.default_rng(1).random((20, 8)) / 3
CIRCUIT = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", ATOMS)])

CALLS = {
    "fit": (9, "active_set_rows", LinkedLCA(5, n_epochs=1, random_state=0).fit, (X,)),
    "transform": (8, "active_set_rows", LCACoder(ATOMS, threshold=0.1).transform, (X,)),
    "simulate": (7, "integrate_rate_lateral", CIRCUIT.simulate, ({"x": X}, 0.01)),
}
MODULES = {"active_set_rows": solve, "integrate_rate_lateral": run}


@pytest.mark.parametrize("name", CALLS)
def test_few_frames_lie_between_call_and_kernel(name, monkeypatch, figure):
    most, kernel, call, arguments = CALLS[name]
    compiled, names = getattr(MODULES[kernel], kernel), []

    here = sys._getframe()

    def spy(*args):
        frame, found = sys._getframe(1), []
        while frame is not here:
            found.append(frame.f_code.co_name)
            frame = frame.f_back
        found.reverse()
        names.append(found[found.index(name) :])  # without the wrapper of scikit-learn
        return compiled(*args)

    monkeypatch.setattr(MODULES[kernel], kernel, spy)
    call(*arguments)
    assert names
    deepest = max(names, key=len)
    figure(f"{name}: {len(deepest)} frames to the kernel: {', '.join(deepest)}")
    assert len(deepest) <= most

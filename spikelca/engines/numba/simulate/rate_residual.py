"""Rate neurons followed through time: what both wirings share, and the residual one.

The lateral wiring takes several steps at a time, see `spans.py`. All that a step needs stands ready
before the loop begins.
"""

from __future__ import annotations

from typing import Any

from spikelca.engines.numba.jit.compile import exact_kernel
from spikelca.engines.numba.simulate.recording import (
    RateParams,
    TraceBuffers,
    apply_transfer,
    is_recorded,
    membrane_from_residual,
    record,
    record_all,
)
from spikelca.utils.validation import FloatArray


@exact_kernel
def rate_residual(x: FloatArray, current: FloatArray, wave: FloatArray, open_: Any,
                  phi: FloatArray, edges: Any, weights: FloatArray, cell: RateParams, n_steps: int,
                  tape: TraceBuffers, slot: int, r: FloatArray, s: FloatArray, u: FloatArray,
                  a: FloatArray, feed: FloatArray, active: Any) -> None:  # fmt: skip
    """``r' = k (x - Phi a - r) + r``, ``s' = k (a + d - s) + s``; u and a are those of the end."""
    kept = is_recorded(tape, slot)
    for step in range(n_steps):
        membrane_from_residual(r, phi, edges, weights, s, feed, u)
        n = apply_transfer(u, open_, cell, a, active)
        if kept and step % tape.every == 0:
            record(tape.u, step // tape.every, slot, u, tape.neurons)
            record(tape.a, step // tape.every, slot, a, tape.neurons)
            record(tape.s, step // tape.every, slot, s, tape.neurons)
            record_all(tape.r, step // tape.every, slot, r)
        for p in range(r.shape[0]):
            feedback, row = r.dtype.type(0), phi[p]
            for m in range(n):
                feedback += a[active[m]] * row[active[m]]
            r[p] = cell.k * ((x[p] - feedback) - r[p]) + r[p]
        for j in range(s.shape[0]):
            flow = cell.self_gain * a[j] + current[j]
            if wave.shape[0] > 0:
                flow += wave[step, j]
            s[j] = cell.k * (flow - s[j]) + s[j]
    membrane_from_residual(r, phi, edges, weights, s, feed, u)
    apply_transfer(u, open_, cell, a, active)

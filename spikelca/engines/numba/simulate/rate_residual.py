"""Rate neurons followed through time: what both wirings share, and the residual one.

The lateral wiring takes several steps at a time, see `spans.py`. All that a step needs stands ready
before the loop begins.
"""

from __future__ import annotations

from typing import Any

from spikelca.engines.numba.jit.compile import exact_kernel
from spikelca.engines.numba.simulate.recording import (
    Cell,
    Tape,
    keep,
    keep_all,
    membrane,
    outputs,
    records,
)
from spikelca.utils.validation import FloatArray


@exact_kernel
def rate_residual(x: FloatArray, current: FloatArray, wave: FloatArray, open_: Any,
                  phi: FloatArray, edges: Any, weights: FloatArray, cell: Cell, n_steps: int,
                  tape: Tape, slot: int, r: FloatArray, s: FloatArray, u: FloatArray,
                  a: FloatArray, feed: FloatArray, active: Any) -> None:  # fmt: skip
    """``r' = k (x - Phi a - r) + r``, ``s' = k (a + d - s) + s``; u and a are those of the end."""
    kept = records(tape, slot)
    for step in range(n_steps):
        membrane(r, phi, edges, weights, s, feed, u)
        n = outputs(u, open_, cell, a, active)
        if kept and step % tape.every == 0:
            keep(tape.u, step // tape.every, slot, u, tape.neurons)
            keep(tape.a, step // tape.every, slot, a, tape.neurons)
            keep(tape.s, step // tape.every, slot, s, tape.neurons)
            keep_all(tape.r, step // tape.every, slot, r)
        for p in range(r.shape[0]):
            feedback, row = r.dtype.type(0), phi[p]
            for m in range(n):
                feedback += a[active[m]] * row[active[m]]
            r[p] = cell.k * ((x[p] - feedback) - r[p]) + r[p]
        for j in range(s.shape[0]):
            flow = cell.own * a[j] + current[j]
            if wave.shape[0] > 0:
                flow += wave[step, j]
            s[j] = cell.k * (flow - s[j]) + s[j]
    membrane(r, phi, edges, weights, s, feed, u)
    outputs(u, open_, cell, a, active)

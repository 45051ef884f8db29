"""Rate neurons followed through time: what both wirings share, and the residual one.

The lateral wiring takes several steps at a time, see `spans.py`. All that a step needs stands ready
before the loop begins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spikelca.engines.numba.jit.compile import exact_kernel
from spikelca.utils.validation import FloatArray


class RateParams(NamedTuple):
    """Constants of a neuron, in the precision of the circuit."""

    k: Any
    lam: Any
    hard: bool
    two_sided: bool
    self_gain: Any


class TraceBuffers(NamedTuple):
    """What is recorded: traces (n_times, n_kept_samples, n_kept); of no length if not wanted."""

    every: int
    neurons: Any
    u: FloatArray
    a: FloatArray
    v: FloatArray
    s: FloatArray
    r: FloatArray


@exact_kernel
def accumulate_drive(x: FloatArray, phi: FloatArray, edges: Any, weights: FloatArray,
                   b: FloatArray) -> None:  # fmt: skip
    """Add ``sum_i w_i Phi_i^T x_i`` to b, input by input in ascending order."""
    for row in range(x.shape[0]):
        for i in range(weights.shape[0]):
            for p in range(edges[i], edges[i + 1]):
                value, synapses = weights[i] * x[row, p], phi[p]
                if value != 0:
                    for j in range(b.shape[1]):
                        b[row, j] += value * synapses[j]


@exact_kernel
def is_recorded(tape: TraceBuffers, slot: int) -> bool:
    """Whether traces of this sample are kept: asked before a run, not at each of its steps."""
    wanted = tape.u.shape[0] + tape.v.shape[0] + tape.a.shape[0] + tape.s.shape[0]
    return slot >= 0 and wanted + tape.r.shape[0] > 0


@exact_kernel
def record(trace: FloatArray, time: int, slot: int, values: FloatArray, chosen: Any) -> None:
    """Write the chosen values into a trace, if it is wanted and the sample is among the kept."""
    if slot < 0 or time >= trace.shape[0]:
        return
    for m in range(chosen.shape[0]):
        trace[time, slot, m] = values[chosen[m]]


@exact_kernel
def record_all(trace: FloatArray, time: int, slot: int, values: FloatArray) -> None:
    """Write all values into a trace, if it is wanted and the sample is among the kept."""
    if slot < 0 or time >= trace.shape[0]:
        return
    for m in range(values.shape[0]):
        trace[time, slot, m] = values[m]


@exact_kernel
def apply_transfer(u: FloatArray, open_: Any, cell: RateParams, a: FloatArray, active: Any) -> int:
    """``a = T(u)``; lists the neurons that are not silent and returns their number.

    ``active`` has room for one more than there are neurons.
    """
    n, zero = 0, u.dtype.type(0)
    shift = zero if cell.hard else cell.lam
    for j in range(u.shape[0]):
        above = u[j] - shift if u[j] > cell.lam else zero
        a[j] = above if open_[j] else zero
    if cell.two_sided:
        for j in range(u.shape[0]):
            below = u[j] + shift if -u[j] > cell.lam else a[j]
            a[j] = below if open_[j] else zero
    # Without a branch: which neurons are active cannot be predicted.
    for j in range(u.shape[0]):
        active[n] = j
        n += a[j] != 0
    return n


@exact_kernel
def membrane_from_residual(r: FloatArray, phi: FloatArray, edges: Any, weights: FloatArray, s: FloatArray,
             feed: FloatArray, u: FloatArray) -> None:  # fmt: skip
    """``u = sum_i w_i Phi_i^T r_i + s``, input by input in ascending order."""
    zero = u.dtype.type(0)
    for i in range(weights.shape[0]):
        for j in range(u.shape[0]):
            feed[j] = zero
        for p in range(edges[i], edges[i + 1]):
            error, row = r[p], phi[p]
            for j in range(u.shape[0]):
                feed[j] += error * row[j]
        if i == 0:
            for j in range(u.shape[0]):
                u[j] = weights[i] * feed[j]
        else:
            for j in range(u.shape[0]):
                u[j] += weights[i] * feed[j]
    for j in range(u.shape[0]):
        u[j] += s[j]

"""Rate neurons with residual wiring, step by step."""

from __future__ import annotations

from spikelca.engines.numba.jit.compile import jit
from spikelca.engines.numba.jit.intrinsics import skip_refcount
from spikelca.engines.numba.simulate.recording import (
    RateParams,
    ResidualInput,
    Scratch,
    State,
    Synapses,
    TraceBuffers,
    apply_transfer,
    is_recorded,
    membrane_from_residual,
    record,
    record_all,
)
from spikelca.utils.validation import FloatArray


@jit("strict", from_python=True)
def integrate_rate_residual(
    inputs: ResidualInput,
    synapses: Synapses,
    params: RateParams,
    n_steps: int,
    traces: TraceBuffers,
    trace_index: int,
    state: State,
    a: FloatArray,
    scratch: Scratch,
) -> None:
    """Integrate ``r' = k (x - Phi a - r) + r`` and ``s' = k (a + d - s) + s``, in place.

    On return, u and a belong to the final state.
    """
    inputs, synapses, traces, state, a, scratch = skip_refcount(
        (inputs, synapses, traces, state, a, scratch)
    )
    x, current, waveform, allowed = inputs.x, inputs.current, inputs.waveform, inputs.allowed
    u, s, r = state.u, state.s, state.r
    phi, active = synapses.phi, scratch.active
    recording = is_recorded(traces, trace_index)
    for step in range(n_steps):
        membrane_from_residual(synapses, state, scratch.total)
        n = apply_transfer(u, allowed, params, a, active)
        if recording and step % traces.every == 0:
            time = step // traces.every
            record(traces.u, time, trace_index, u, traces.neurons)
            record(traces.a, time, trace_index, a, traces.neurons)
            record(traces.s, time, trace_index, s, traces.neurons)
            record_all(traces.r, time, trace_index, r)
        # Feedback Phi a from active neurons only, in ascending order as in the other engines.
        for p in range(r.shape[0]):
            feedback, row = r.dtype.type(0), phi[p]
            for m in range(n):
                feedback += a[active[m]] * row[active[m]]
            r[p] = params.k * ((x[p] - feedback) - r[p]) + r[p]
        for j in range(s.shape[0]):
            total = params.self_gain * a[j] + current[j]
            if waveform.shape[0] > 0:
                total += waveform[step, j]
            s[j] = params.k * (total - s[j]) + s[j]
    membrane_from_residual(synapses, state, scratch.total)
    apply_transfer(u, allowed, params, a, active)

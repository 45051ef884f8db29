"""Shared parts of the simulation kernels: arguments, transfer function, drive and traces.

Arguments of the kernels are grouped in named tuples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spikelca.engines.numba.jit.compile import jit
from spikelca.utils.validation import FloatArray


class RateParams(NamedTuple):
    """Parameters of a rate neuron, in the precision of the circuit.

    Attributes
    ----------
    k : float
        dt / tau.
    lam : float
        Threshold.
    hard, two_sided : bool
        Transfer function: hard instead of soft threshold, signed outputs.
    self_gain : float
        Effect of the output on s of the same neuron: 1 minus the gain of linked drivers.
    """

    k: Any
    lam: Any
    hard: bool
    two_sided: bool
    self_gain: Any


class LateralInput(NamedTuple):
    """Input of one sample with lateral wiring.

    Attributes
    ----------
    b : (n_neurons,)
        Feed-forward drive and constant current.
    waveform : (n_steps or 0, n_neurons)
        Time-varying current, of length zero if there is none.
    allowed : (n_neurons,)
        One, or zero where a driver clamps the code.
    """

    b: FloatArray
    waveform: FloatArray
    allowed: FloatArray


class ResidualInput(NamedTuple):
    """Input of one sample with residual wiring.

    Attributes
    ----------
    x : (n_inputs,)
        Stimulus, all modalities concatenated.
    current : (n_neurons,)
        Constant current.
    waveform, allowed
        As in `LateralInput`.
    """

    x: FloatArray
    current: FloatArray
    waveform: FloatArray
    allowed: FloatArray


class Synapses(NamedTuple):
    """Feed-forward synapses of all modalities.

    Attributes
    ----------
    phi : (n_inputs, n_neurons)
    input_offsets : (n_modalities + 1,)
        Index of the first input of each modality.
    weights : (n_modalities,)
        Zero for input cells that charge v instead of u.
    """

    phi: FloatArray
    input_offsets: Any
    weights: FloatArray


class State(NamedTuple):
    """State of one sample, changed in place: u, v and s (n_neurons,), r (n_inputs,)."""

    u: FloatArray
    v: FloatArray
    s: FloatArray
    r: FloatArray


class Scratch(NamedTuple):
    """Workspace of one thread: outputs and sums (n_neurons,), and a list of neurons.

    The list is one element longer than the number of neurons, see `apply_transfer`.
    """

    a: FloatArray
    total: FloatArray
    active: Any


class TraceBuffers(NamedTuple):
    """Recorded traces, of length zero if not recorded.

    Attributes
    ----------
    every : int
        Number of steps between two recorded values.
    neurons : (n_recorded_neurons,) int64
    u, a, v, s : (n_times, n_recorded_samples, n_recorded_neurons)
    r : (n_times, n_recorded_samples, n_inputs)
    """

    every: int
    neurons: Any
    u: FloatArray
    a: FloatArray
    v: FloatArray
    s: FloatArray
    r: FloatArray


@jit("strict", from_python=True)
def accumulate_drive(
    x: FloatArray, phi: FloatArray, input_offsets: Any, weights: FloatArray, b: FloatArray
) -> None:
    """Add ``sum_i w_i Phi_i^T x_i`` to b, input by input in ascending order."""
    for row in range(x.shape[0]):
        for i in range(weights.shape[0]):
            for p in range(input_offsets[i], input_offsets[i + 1]):
                value, synapses = weights[i] * x[row, p], phi[p]
                if value != 0:
                    for j in range(b.shape[1]):
                        b[row, j] += value * synapses[j]


@jit("strict")
def is_recorded(traces: TraceBuffers, trace_index: int) -> bool:
    """Whether any trace of this sample is recorded; tested once, not at each step."""
    length = traces.u.shape[0] + traces.v.shape[0] + traces.a.shape[0] + traces.s.shape[0]
    return trace_index >= 0 and length + traces.r.shape[0] > 0


@jit("strict")
def record(
    trace: FloatArray, time: int, trace_index: int, values: FloatArray, indices: Any
) -> None:
    """Write the values of some neurons into a trace, if it and the sample are recorded."""
    if trace_index < 0 or time >= trace.shape[0]:
        return
    for m in range(indices.shape[0]):
        trace[time, trace_index, m] = values[indices[m]]


@jit("strict")
def record_all(trace: FloatArray, time: int, trace_index: int, values: FloatArray) -> None:
    """Write all values into a trace, if it and the sample are recorded."""
    if trace_index < 0 or time >= trace.shape[0]:
        return
    for m in range(values.shape[0]):
        trace[time, trace_index, m] = values[m]


@jit("strict")
def apply_transfer(
    u: FloatArray, allowed: Any, params: RateParams, a: FloatArray, active: Any
) -> int:
    """Compute ``a = T(u)``, list the active neurons, and return their number.

    ``active`` is one element longer than the number of neurons.
    """
    n, zero = 0, u.dtype.type(0)
    shift = zero if params.hard else params.lam
    for j in range(u.shape[0]):
        above = u[j] - shift if u[j] > params.lam else zero
        a[j] = above if allowed[j] else zero
    if params.two_sided:
        for j in range(u.shape[0]):
            below = u[j] + shift if -u[j] > params.lam else a[j]
            a[j] = below if allowed[j] else zero
    # Without a branch, because the processor cannot predict which neurons are active.
    for j in range(u.shape[0]):
        active[n] = j
        n += a[j] != 0
    return n


@jit("strict", from_python=True)
def membrane_from_residual(synapses: Synapses, state: State, feedforward: FloatArray) -> None:
    """Compute ``u = sum_i w_i Phi_i^T r_i + s``, input by input in ascending order."""
    phi, input_offsets, weights = synapses.phi, synapses.input_offsets, synapses.weights
    u, s, r = state.u, state.s, state.r
    zero = u.dtype.type(0)
    for i in range(weights.shape[0]):
        for j in range(u.shape[0]):
            feedforward[j] = zero
        for p in range(input_offsets[i], input_offsets[i + 1]):
            error, row = r[p], phi[p]
            for j in range(u.shape[0]):
                feedforward[j] += error * row[j]
        if i == 0:
            for j in range(u.shape[0]):
                u[j] = weights[i] * feedforward[j]
        else:
            for j in range(u.shape[0]):
                u[j] += weights[i] * feedforward[j]
    for j in range(u.shape[0]):
        u[j] += s[j]

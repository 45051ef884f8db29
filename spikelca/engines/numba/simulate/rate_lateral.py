"""Rate neurons with lateral inhibition: several steps at a time, bit-identical to single steps.

Step by step, every neuron has to read the row of L of every active neuron, although most neurons
remain inactive. The neurons that may become active soon can be predicted. Therefore a span of steps
is computed in three passes:

1. Predict which neurons may be active within the span (`predict_active`), and integrate these few
   among themselves (`integrate_tracked`). The block of L between them fits into the cache.
2. All outputs of the span are known now. Integrate all neurons, a few at a time, with four steps
   for each read of a row of L (`integrate_all`).
3. Test whether an untracked neuron became active. If so, the span ends before the first step that
   would depend on its output (`count_valid_steps`).

A wrong prediction only takes time. The operations on each potential and their order are those of
single steps: one subtraction after the other, in ascending order of the active neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikelca.engines.numba.jit import plain_loops
from spikelca.engines.numba.jit.compile import jit
from spikelca.engines.numba.jit.intrinsics import (
    any_gt,
    euler_step,
    fma,
    load,
    maximum,
    neg,
    skip_refcount,
    store,
    vector_width,
)
from spikelca.engines.numba.jit.layout import aligned_zeros, padded_neurons
from spikelca.engines.numba.simulate.recording import (
    RateParams,
    TraceBuffers,
    apply_transfer,
    record,
)
from spikelca.utils.validation import FloatArray

SPAN_STEPS = 16
"""Number of steps of a span."""

MAX_TRACKED = 64
"""Largest number of tracked neurons; if more are predicted, single steps are computed."""

FALLBACK_STEPS = 4
"""Number of single steps before the next prediction."""

PREDICTION_FRACTION = 0.97
"""A neuron is tracked if its predicted potential exceeds this fraction of the threshold."""

MAX_EXTRA_TRACKED = 6
"""Largest number of neurons that remain tracked although they are no longer predicted."""


class SpanWorkspace(NamedTuple):
    """Workspace of one thread; its arrays do not overlap.

    Attributes
    ----------
    threshold, untracked_threshold : (width,)
        Thresholds of all neurons; the same with infinity for tracked neurons.
    velocity : (width,)
        Estimate of ``tau du/dt = b + d - L a - u``, the distance from u to the value that it
        approaches if its input stays constant.
    c : (SPAN_STEPS, width)
        ``b + d`` at each step; only the first row if it is constant.
    u : (SPAN_STEPS + 1, width)
    predicted : (width,)
        Whether the neuron may be active within the span.
    mispredicted : (n_tiles,)
        Whether an untracked neuron of the tile becomes active.
    tracked, tile_offset, column_offset : (width,)
        Tracked neurons in ascending order; the offset of their rows in a tile, and of their
        columns in the tiles.
    tracked_block : (MAX_TRACKED, MAX_TRACKED)
        -L between the tracked neurons.
    tracked_threshold, tracked_u, tracked_input : (width,)
        Threshold, potential and drive of the tracked neurons.
    outputs : (SPAN_STEPS, width)
        Outputs of the tracked neurons.
    is_active, active_list : (width,)
        Whether a tracked neuron is active at any step of the span; the list of these neurons.
    active : (n_neurons + 1,)
        List of active neurons, see `apply_transfer`.
    """

    threshold: FloatArray
    untracked_threshold: FloatArray
    velocity: FloatArray
    c: FloatArray
    u: FloatArray
    predicted: Any
    mispredicted: Any
    tracked: Any
    tile_offset: Any
    column_offset: Any
    tracked_block: FloatArray
    tracked_threshold: FloatArray
    tracked_u: FloatArray
    tracked_input: FloatArray
    outputs: FloatArray
    is_active: Any
    active_list: Any
    active: Any


def make_span_workspace(n_neurons: int, dtype: np.dtype[Any]) -> SpanWorkspace:
    """Allocate the workspace for n neurons."""
    width = padded_neurons(n_neurons)

    def zeros(*shape: int) -> FloatArray:
        return aligned_zeros(shape, dtype)

    # Unsigned indices save the test for negative ones at each use.
    return SpanWorkspace(
        threshold=zeros(width),
        untracked_threshold=zeros(width),
        velocity=zeros(width),
        c=zeros(SPAN_STEPS, width),
        u=zeros(SPAN_STEPS + 1, width),
        predicted=np.zeros(width, np.int32),
        mispredicted=np.zeros(width, np.bool_),
        tracked=np.zeros(width + 1, np.uintp),
        tile_offset=np.zeros(width + 1, np.int64),
        column_offset=np.zeros(width + 1, np.uintp),
        tracked_block=zeros(MAX_TRACKED, MAX_TRACKED),
        tracked_threshold=zeros(width),
        tracked_u=zeros(width),
        tracked_input=zeros(width),
        outputs=zeros(SPAN_STEPS, width),
        is_active=np.zeros(width, np.int32),
        active_list=np.zeros(width + 1, np.uintp),
        active=np.zeros(n_neurons + 1, np.int64),
    )


@jit("fma", inline="llvm")
def predict_active(k: Any, two_sided: bool, workspace: SpanWorkspace) -> int:
    """Mark the neurons that may be active within the span; return their number."""
    n, u, velocity = 0, workspace.u[0], workspace.velocity
    fraction = velocity.dtype.type(PREDICTION_FRACTION)
    # With constant input, u approaches its limit exponentially: a step covers the fraction k of the
    # distance, n steps cover 1 - (1 - k)^n. u is monotonic, so its extremes are at both ends.
    covered = velocity.dtype.type(1 - (1 - k) ** SPAN_STEPS)
    for j in range(u.shape[0]):
        end = u[j] + covered * velocity[j]
        high = end if end > u[j] else u[j]
        low = u[j] if end > u[j] else end
        high = -low if two_sided and -low > high else high
        workspace.predicted[j] = np.int32(high > fraction * workspace.threshold[j])
    for j in range(u.shape[0]):
        n += workspace.predicted[j]
    return n


@jit("fma", inline="llvm")
def update_tracked(tiles: FloatArray, n: int, n_predicted: int, workspace: SpanWorkspace) -> int:
    """Make the predicted neurons the tracked ones; return their number.

    Neurons that are no longer predicted stay tracked while they are few, because rebuilding the
    block takes longer than integrating them.
    """
    n_known, width = 0, tiles.shape[2]
    for i in range(n):
        n_known += workspace.predicted[workspace.tracked[i]]
    if n_known == n_predicted and n <= n_predicted + MAX_EXTRA_TRACKED:
        return n
    for i in range(n):
        neuron = workspace.tracked[i]
        workspace.untracked_threshold[neuron] = workspace.threshold[neuron]
    count = np.uintp(0)
    for j in range(workspace.predicted.shape[0]):
        # Without a branch, because the processor cannot predict which neurons are listed: every
        # neuron is written, and the next one overwrites it unless it is listed.
        workspace.tracked[count], workspace.tile_offset[count] = j, j * width
        count += np.uintp(workspace.predicted[j])
    n = np.int64(count)
    for i in range(n):
        workspace.untracked_threshold[workspace.tracked[i]] = np.inf
    load_tracked_block(tiles, n, workspace)
    return n


@jit("fma", inline="llvm")
def load_tracked_block(tiles: FloatArray, n: int, workspace: SpanWorkspace) -> None:
    """Copy -L between the tracked neurons."""
    n_rows, width = tiles.shape[1], tiles.shape[2]
    flat = tiles.reshape(tiles.size)
    for m in range(n):
        j = np.int64(workspace.tracked[m])
        workspace.column_offset[m] = j // width * n_rows * width + j % width
    for i in range(n):
        block_row, offset = workspace.tracked_block[i], np.uintp(workspace.tile_offset[i])
        for m in range(n):
            block_row[m] = flat[offset + workspace.column_offset[m]]


@jit("fma", inline="llvm")
def load_tracked(n: int, workspace: SpanWorkspace) -> None:
    """Copy the potentials and thresholds of the tracked neurons."""
    for i in range(n):
        j = workspace.tracked[i]
        workspace.tracked_u[i] = workspace.u[0, j]
        workspace.tracked_threshold[i] = workspace.threshold[j]
    for i in range(n, MAX_TRACKED):
        workspace.tracked_u[i] = 0


@jit("fma", inline="llvm")
def add_waveform(
    b: FloatArray, waveform: FloatArray, row: int, step: int, span: int, workspace: SpanWorkspace
) -> None:
    """Compute ``b + d`` of all steps of the span, if it is time-varying."""
    for t in range(span if waveform.shape[0] > 0 else 0):
        c, d = workspace.c[t], waveform[step + t, row % waveform.shape[1]]
        for j in range(b.shape[0]):
            c[j] = b[j] + d[j]


@jit("fma", inline="llvm")
def compute_output(
    params: RateParams, u: FloatArray, threshold: FloatArray, n: int, a: FloatArray
) -> None:
    """Compute ``a = T(u)`` of the first n neurons."""
    zero = u.dtype.type(0)
    shift = zero if params.hard else params.lam
    for i in range(n):
        a[i] = u[i] - shift if u[i] > threshold[i] else zero
    if params.two_sided:
        for i in range(n):
            a[i] += u[i] + shift if -u[i] > threshold[i] else zero


@jit("fma", inline="llvm", plain=plain_loops.advance_tracked)
def advance_tracked(k: Any, a: FloatArray, n: int, workspace: SpanWorkspace) -> None:
    """Take one step of the n tracked neurons, with their outputs a."""
    u, block, drive = workspace.tracked_u, workspace.tracked_block, workspace.tracked_input
    width = vector_width(u)
    # Four vectors of potentials at a time: their sums over the active neurons stay in registers.
    # Silent tracked neurons contribute a product with zero, which leaves the sums unchanged.
    for start in range(0, n, 4 * width):
        p, q, r = start + width, start + 2 * width, start + 3 * width
        c0, c1, c2, c3 = load(drive, start), load(drive, p), load(drive, q), load(drive, r)
        for i in range(n):
            row = i * MAX_TRACKED
            c0 = fma(c0, a[i], load(block, row + start))
            c1 = fma(c1, a[i], load(block, row + p))
            c2 = fma(c2, a[i], load(block, row + q))
            c3 = fma(c3, a[i], load(block, row + r))
        store(u, start, euler_step(load(u, start), k, c0))
        store(u, p, euler_step(load(u, p), k, c1))
        store(u, q, euler_step(load(u, q), k, c2))
        store(u, r, euler_step(load(u, r), k, c3))


@jit("fma", inline="llvm")
def integrate_tracked(
    params: RateParams, is_time_varying: int, span: int, n: int, workspace: SpanWorkspace
) -> None:
    """Integrate the tracked neurons, and store their outputs at the start of each step.

    Outputs are set to zero after the end of the span, up to a multiple of four steps.
    """
    drive = workspace.tracked_input
    for t in range(span):
        a = workspace.outputs[t]
        compute_output(params, workspace.tracked_u, workspace.tracked_threshold, n, a)
        if t + 1 == span:
            break
        # A constant drive is copied once, at the first step.
        for i in range(n if is_time_varying or t == 0 else 0):
            drive[i] = workspace.c[t * is_time_varying, workspace.tracked[i]]
        advance_tracked(params.k, a, n, workspace)
    for t in range(span, -(-span // 4) * 4):
        workspace.outputs[t, :n] = 0


@jit("fma", inline="llvm")
def list_active(span: int, n: int, workspace: SpanWorkspace) -> int:
    """List which of the first n outputs are ever nonzero in the span; return their number."""
    is_active, active_list, count = workspace.is_active, workspace.active_list, np.uintp(0)
    for i in range(n):
        is_active[i] = workspace.outputs[0, i] != 0
    for t in range(1, span):
        a = workspace.outputs[t]
        for i in range(n):
            is_active[i] |= np.int32(a[i] != 0)
    # Without a branch, see `update_tracked`.
    for i in range(n):
        active_list[count] = i
        count += np.uintp(is_active[i])
    return np.int64(count)


@jit("fma", inline="llvm", plain=plain_loops.integrate_all)
def integrate_all(
    tiles: FloatArray,
    is_time_varying: int,
    params: RateParams,
    span: int,
    n: int,
    workspace: SpanWorkspace,
) -> None:
    """Integrate ``u' = k (b + d - L a - u) + u`` of all neurons over the span.

    Also marks the tiles in which an untracked neuron becomes active.
    """
    row_width, width, c, u = workspace.u.shape[1], tiles.shape[2], workspace.c, workspace.u
    outputs, threshold = workspace.outputs, workspace.untracked_threshold
    for tile in range(tiles.shape[0]):
        start, tile_start = tile * width, tile * tiles.shape[1] * width
        u3 = load(u, start)
        high = u3
        for t in range(0, span, 4):
            # The inputs L a of four steps depend on known outputs only, so that each row of L is
            # read once for four steps. The time-dependent part, u, follows below.
            a0, a1, a2, a3 = outputs[t], outputs[t + 1], outputs[t + 2], outputs[t + 3]
            offset = is_time_varying * t * row_width + start
            stride = is_time_varying * row_width
            c0, c1 = load(c, offset), load(c, offset + stride)
            c2, c3 = load(c, offset + 2 * stride), load(c, offset + 3 * stride)
            for m in range(n):
                i = workspace.active_list[m]
                row = load(tiles, tile_start + workspace.tile_offset[i])
                c0, c1 = fma(c0, a0[i], row), fma(c1, a1[i], row)
                c2, c3 = fma(c2, a2[i], row), fma(c3, a3[i], row)
            offset = (t + 1) * row_width + start
            u0 = euler_step(u3, params.k, c0)
            u1 = euler_step(u0, params.k, c1)
            u2 = euler_step(u1, params.k, c2)
            u3 = euler_step(u2, params.k, c3)
            store(u, offset, u0)
            store(u, offset + row_width, u1)
            store(u, offset + 2 * row_width, u2)
            store(u, offset + 3 * row_width, u3)
            # The largest u (or |u|) of the span suffices to detect a misprediction.
            high = maximum(high, maximum(maximum(u0, u1), maximum(u2, u3)))
            if params.two_sided:
                u0, u1 = maximum(neg(u0), neg(u1)), maximum(neg(u2), neg(u3))
                high = maximum(high, maximum(u0, u1))
        workspace.mispredicted[tile] = any_gt(high, load(threshold, start))


@jit("fma", inline="llvm", plain=plain_loops.advance_all)
def advance_all(
    tiles: FloatArray, k: Any, c: FloatArray, u: FloatArray, new_u: FloatArray, n: int,
    workspace: SpanWorkspace,
) -> None:  # fmt: skip
    """Take one step of all neurons, with the outputs of the n active ones."""
    n_rows, width, a = tiles.shape[1], tiles.shape[2], workspace.outputs[0]
    next_tile = n_rows * width
    for start in range(0, u.shape[0], 4 * width):
        p, q, r = start + width, start + 2 * width, start + 3 * width
        c0, c1, c2, c3 = load(c, start), load(c, p), load(c, q), load(c, r)
        for i in range(n):
            output = a[workspace.active_list[i]]
            row = start * n_rows + np.int64(workspace.active_list[i]) * width
            c0 = fma(c0, output, load(tiles, row))
            c1 = fma(c1, output, load(tiles, row + next_tile))
            c2 = fma(c2, output, load(tiles, row + 2 * next_tile))
            c3 = fma(c3, output, load(tiles, row + 3 * next_tile))
        store(new_u, start, euler_step(load(u, start), k, c0))
        store(new_u, p, euler_step(load(u, p), k, c1))
        store(new_u, q, euler_step(load(u, q), k, c2))
        store(new_u, r, euler_step(load(u, r), k, c3))


@jit("fma", inline="llvm")
def integrate_stepwise(
    tiles: FloatArray,
    is_time_varying: int,
    params: RateParams,
    n_steps: int,
    workspace: SpanWorkspace,
) -> None:
    """Integrate the same equation in single steps, with the outputs of all active neurons."""
    row_width, a = workspace.u.shape[1], workspace.outputs[0]
    for t in range(n_steps):
        c, u, new_u = workspace.c[t * is_time_varying], workspace.u[t], workspace.u[t + 1]
        compute_output(params, u, workspace.threshold, row_width, a)
        n = list_active(1, row_width, workspace)
        advance_all(tiles, params.k, c, u, new_u, n, workspace)


@jit("fma", inline="llvm")
def count_valid_steps(two_sided: bool, span: int, width: int, workspace: SpanWorkspace) -> int:
    """Count the steps of the span before the first output of an untracked neuron is missing."""
    threshold = workspace.untracked_threshold
    for tile in range(workspace.u.shape[1] // width):
        # Step 0 need not be tested: active neurons at the start of a span are always predicted.
        for t in range(1, span if workspace.mispredicted[tile] else 0):
            for j in range(tile * width, (tile + 1) * width):
                u = workspace.u[t, j]
                if (abs(u) if two_sided else u) > threshold[j]:
                    span = t
                    break
            if span == t:
                break
    return span


@jit("fma", inline="llvm")
def record_span(
    params: RateParams,
    allowed: FloatArray,
    step: int,
    n_valid: int,
    traces: TraceBuffers,
    trace_index: int,
    a: FloatArray,
    workspace: SpanWorkspace,
) -> None:
    """Record the valid steps of a span."""
    if trace_index < 0 or len(traces.u) + len(traces.a) == 0:
        return
    for t in range(n_valid):
        if (step + t) % traces.every == 0:
            time, u = (step + t) // traces.every, workspace.u[t, : a.shape[0]]
            apply_transfer(u, allowed, params, a, workspace.active)
            record(traces.u, time, trace_index, u, traces.neurons)
            record(traces.a, time, trace_index, a, traces.neurons)


@jit("fma", inline="llvm")
def init_sample(
    b: FloatArray,
    allowed: FloatArray,
    u: FloatArray,
    params: RateParams,
    workspace: SpanWorkspace,
) -> None:
    """Set thresholds, drive and state of a sample; the padding never becomes active."""
    n = b.shape[0]
    workspace.threshold[n:], workspace.u[0, n:], workspace.velocity[n:] = np.inf, 0, 0
    for j in range(n):
        workspace.threshold[j] = params.lam if allowed[j] else np.inf
        workspace.c[0, j], workspace.u[0, j], workspace.velocity[j] = b[j], u[j], b[j] - u[j]
    workspace.untracked_threshold[:] = workspace.threshold


@jit("fma", inline="llvm")
def shift_span(k: Any, n_valid: int, workspace: SpanWorkspace) -> None:
    """Make the end of a span the start of the next one, and estimate the velocity."""
    u, previous, last = workspace.u[0], workspace.u[n_valid - 1], workspace.u[n_valid]
    one = u.dtype.type(1)
    # A step covers the fraction k of the distance to the limit, so that the distance after the
    # step is (1 - k) / k times the step.
    gain = one / k - one
    for j in range(u.shape[0]):
        workspace.velocity[j] = gain * (last[j] - previous[j])
    for j in range(u.shape[0]):
        u[j] = last[j]


@jit("fma", from_python=True)
def integrate_rate_lateral(
    first: int,
    b: FloatArray,
    waveform: FloatArray,
    allowed: FloatArray,
    tiles: FloatArray,
    params: RateParams,
    n_steps: int,
    traces: TraceBuffers,
    trace_indices: Any,
    u: FloatArray,
    a: FloatArray,
    workspace: SpanWorkspace,
) -> None:
    """Integrate ``u' = k (b + d - L a - u) + u`` of some samples, in place.

    ``first`` is the index of the first of them. On return, u and a belong to the final state.
    """
    b, waveform = skip_refcount(b), skip_refcount(waveform)
    allowed, tiles = skip_refcount(allowed), skip_refcount(tiles)
    u, a = skip_refcount(u), skip_refcount(a)
    workspace, traces = skip_refcount(workspace), skip_refcount(traces)
    is_time_varying, width = int(waveform.shape[0] > 0), tiles.shape[2]
    for row in range(b.shape[0]):
        step, n = 0, 0
        init_sample(b[row], allowed[row], u[row], params, workspace)
        while step < n_steps:
            span = min(SPAN_STEPS, n_steps - step)
            n_predicted = predict_active(params.k, params.two_sided, workspace)
            add_waveform(b[row], waveform, first + row, step, span, workspace)
            if n_predicted <= MAX_TRACKED:
                n = update_tracked(tiles, n, n_predicted, workspace)
                load_tracked(n, workspace)
                integrate_tracked(params, is_time_varying, span, n, workspace)
                n_active = list_active(span, n, workspace)
                integrate_all(tiles, is_time_varying, params, span, n_active, workspace)
                n_valid = count_valid_steps(params.two_sided, span, width, workspace)
            else:
                n_valid = min(FALLBACK_STEPS, span)
                integrate_stepwise(tiles, is_time_varying, params, n_valid, workspace)
            record_span(
                params, allowed[row], step, n_valid, traces, trace_indices[row], a[row], workspace
            )
            shift_span(params.k, n_valid, workspace)
            step += n_valid
        u[row] = workspace.u[0, : u.shape[1]]
        apply_transfer(u[row], allowed[row], params, a[row], workspace.active)

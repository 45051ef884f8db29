"""Spiking neurons and spiking input cells, step by step, in float64.

Each kernel returns early when the spike log might overflow, and is called again with a longer one,
so that no memory is allocated within the time loop. The order of sums and products is that of the
equations in Brian2.

The equations of spiking input cells are described in `spikelca.model.inputs`. Random spikes are
drawn before the simulation of a sample, as a list in the order of time. Signed residual neurons
fire within the time loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.jit.compile import jit
from spikelca.engines.numba.jit.intrinsics import skip_refcount
from spikelca.engines.numba.simulate.recording import (
    LateralInput,
    ResidualInput,
    Scratch,
    State,
    Synapses,
    TraceBuffers,
    is_recorded,
    membrane_from_residual,
    record,
    record_all,
)
from spikelca.engines.problem import Problem
from spikelca.engines.response import Clock
from spikelca.utils.validation import FloatArray


class InputSpikes(NamedTuple):
    """Spiking input cells of one sample.

    Attributes
    ----------
    steps, inputs, charges : (n_events,)
        Step, input cell and charge of the random spikes, in order of time.
    quanta : (n_modalities,)
        Threshold of signed residual neurons; zero for other cells.
    weights : (n_modalities,)
    floor : float
        Lower limit of v if some cells charge it directly, otherwise minus infinity.
    p : (n_inputs,)
        Charge of the signed residual neurons, changed in place.
    totals : (n_inputs,)
        Number of spikes of each input cell, changed in place.
    """

    steps: NDArray[np.int64]
    inputs: NDArray[np.int64]
    charges: FloatArray
    quanta: FloatArray
    weights: FloatArray
    floor: float
    p: FloatArray
    totals: NDArray[np.int64]


EMPTY_INT, EMPTY_FLOAT = np.zeros(0, np.int64), np.zeros(0)

NO_INPUT_SPIKES = InputSpikes(
    EMPTY_INT, EMPTY_INT, EMPTY_FLOAT, EMPTY_FLOAT, EMPTY_FLOAT, -np.inf, EMPTY_FLOAT, EMPTY_INT
)
"""Value for circuits without spiking input cells."""


def make_input_spikes(
    problem: Problem,
    clock: Clock,
    row: int,
    input_offsets: Any,
    p: FloatArray,
    totals: NDArray[np.int64],
) -> InputSpikes:
    """Draw the random spikes of a sample, and collect its signed residual neurons."""
    if not problem.has_spiking_inputs:
        return NO_INPUT_SPIKES
    events = [population.spike_events(row, problem.k, clock) for population in problem.inputs]
    steps = np.concatenate([steps for steps, _, _ in events])
    inputs = np.concatenate(
        [i + offset for (_, i, _), offset in zip(events, input_offsets[:-1], strict=True)]
    )
    # Spikes onto a dendrite are weighted here, those onto a residual neuron at its synapses.
    weights = np.array([population.weight for population in problem.inputs])
    scale = np.ones_like(weights) if problem.residual_wiring else weights
    charges = np.concatenate([q * w for (_, _, q), w in zip(events, scale, strict=True)])
    order = np.argsort(steps, kind="stable")
    totals += np.bincount(inputs, minlength=len(totals))
    floor = problem.v_floor if problem.has_direct_inputs else -np.inf
    quanta = [
        0.0 if population.charges_dendrite else population.quantum for population in problem.inputs
    ]
    return InputSpikes(
        steps[order], inputs[order], charges[order], np.array(quanta), weights, floor,
        p, totals,
    )  # fmt: skip


@jit("strict")
def first_event(input_spikes: InputSpikes, step: int) -> int:
    """Find the first random spike at or after a step."""
    return int(np.searchsorted(input_spikes.steps, step))


@jit("strict")
def deliver_to_dendrites(
    input_spikes: InputSpikes, next_event: int, step: int, phi: FloatArray, u: FloatArray
) -> int:
    """Add the random spikes of this step to u; return the index of the next event."""
    while next_event < input_spikes.steps.shape[0] and input_spikes.steps[next_event] == step:
        row, charge = phi[input_spikes.inputs[next_event]], input_spikes.charges[next_event]
        for j in range(u.shape[0]):
            u[j] += row[j] * charge
        next_event += 1
    return next_event


@jit("strict")
def deliver_to_inputs(input_spikes: InputSpikes, next_event: int, step: int, r: FloatArray) -> int:
    """Add the random spikes of this step to r; return the index of the next event."""
    while next_event < input_spikes.steps.shape[0] and input_spikes.steps[next_event] == step:
        r[input_spikes.inputs[next_event]] += input_spikes.charges[next_event]
        next_event += 1
    return next_event


@jit("strict")
def integrate_inputs(
    input_spikes: InputSpikes, input_offsets: Any, k: float, r: FloatArray
) -> None:
    """Compute ``p' = k r + p`` of the signed residual neurons."""
    for i in range(input_spikes.quanta.shape[0]):
        if input_spikes.quanta[i] > 0:
            for m in range(input_offsets[i], input_offsets[i + 1]):
                input_spikes.p[m] = k * r[m] + input_spikes.p[m]


@jit("strict")
def deliver_to_generators(
    input_spikes: InputSpikes,
    input_offsets: Any,
    phi: FloatArray,
    allowed: FloatArray,
    v: FloatArray,
) -> None:
    """Add the spikes of signed residual neurons to v, and reset these neurons."""
    for i in range(input_spikes.quanta.shape[0]):
        quantum, charge = input_spikes.quanta[i], input_spikes.weights[i] * input_spikes.quanta[i]
        if quantum == 0:
            continue
        for m in range(input_offsets[i], input_offsets[i + 1]):
            if abs(input_spikes.p[m]) >= quantum:
                sign, row = np.sign(input_spikes.p[m]), phi[m]
                for j in range(v.shape[0]):
                    v[j] += allowed[j] * (row[j] * (charge * sign))
                input_spikes.p[m] -= sign * quantum
                input_spikes.totals[m] += 1


@jit("strict")
def clip_at_floor(v: FloatArray, floor: float) -> None:
    """Clip v at its floor."""
    for j in range(v.shape[0]):
        v[j] = max(v[j], floor)


class SpikingParams(NamedTuple):
    """Parameters of a spiking neuron.

    Attributes
    ----------
    k : float
        dt / tau.
    lam : float
        Threshold: v is charged while ``u > lam``.
    shift : float
        Subtracted from u in the charge of v: lam (soft threshold), or zero (hard threshold).
    theta : float
        Spike quantum.
    v_floor : float
        Value of v down to which silent neurons discharge, infinite with a hard threshold.
    self_gain : float
        See `RateParams`.
    """

    k: float
    lam: float
    shift: float
    theta: float
    v_floor: float
    self_gain: float


class SpikeOutput(NamedTuple):
    """Spike counters and spike log of one sample, changed in place.

    Attributes
    ----------
    window_start, window_stop : int
        Steps of the read-out window, counted from the start of this part of the run.
    n_steps : int
        Number of steps of this part of the run.
    weighted, counts : (n_neurons,)
        Number of spikes in the window, weighted by `Clock.taper` and not weighted.
    totals : (n_neurons,)
        Number of spikes in the whole run.
    log : (capacity, 2)
        Step and neuron of each spike; of capacity zero if spikes are not recorded.
    """

    window_start: int
    window_stop: int
    n_steps: int
    weighted: Any
    counts: Any
    totals: Any
    log: Any


@jit("strict")
def integrate_v(u: FloatArray, v: FloatArray, allowed: FloatArray, params: SpikingParams) -> int:
    """Compute ``v' = k (u - lam) [u > lam or v > floor] + v``; count neurons that reach theta.

    With a hard threshold, v is charged by u itself (shift 0) and never discharged (infinite floor).
    """
    n = 0
    for j in range(u.shape[0]):
        charge = allowed[j] * (u[j] - params.shift)
        charge = charge if (u[j] > params.lam) | (v[j] > params.v_floor) else 0.0
        v[j] = params.k * charge + v[j]
        n += v[j] >= params.theta
    return n


@jit("strict")
def emit_spikes(
    v: FloatArray, theta: float, n: int, step: int, output: SpikeOutput, fired: Any, n_logged: int
) -> int:
    """Find the n neurons that fire, count and log their spikes; return the length of the log."""
    n_found, j, in_window = 0, 0, step >= output.window_start
    # The parabola of `Clock.taper`: (i + 1) (n - i) in step i of a window of n steps.
    weight = (step - output.window_start + 1) * (output.window_stop - step) if in_window else 0
    while n_found < n:
        if v[j] >= theta:
            fired[n_found] = j
            n_found += 1
            output.totals[j] += 1
            output.weighted[j] += weight
            output.counts[j] += in_window
            if output.log.shape[0] > 0:
                output.log[n_logged, 0], output.log[n_logged, 1] = step, j
                n_logged += 1
        j += 1
    return n_logged


@jit("strict")
def is_log_full(output: SpikeOutput, n_logged: int) -> bool:
    """Whether the spikes of one more step might not fit into the log."""
    capacity = output.log.shape[0]
    return capacity > 0 and n_logged + output.totals.shape[0] > capacity


@jit("strict", from_python=True)
def integrate_spiking_lateral(
    inputs: LateralInput,
    synapses: Synapses,
    input_spikes: InputSpikes,
    inhibition: FloatArray,
    params: SpikingParams,
    start: int,
    traces: TraceBuffers,
    trace_index: int,
    state: State,
    scratch: Scratch,
    output: SpikeOutput,
    n_logged: int,
) -> tuple[int, int]:
    """Integrate ``u' = k (b + d - u) + u``, with ``u -= L_j theta`` on a spike of j.

    ``inhibition[j]`` is ``L_j theta``. Returns the step that was reached and the length of the log.
    """
    inputs, synapses, input_spikes, inhibition, traces, state, scratch, output = skip_refcount(
        (inputs, synapses, input_spikes, inhibition, traces, state, scratch, output)
    )
    b, waveform, allowed = inputs.b, inputs.waveform, inputs.allowed
    u, v, c, fired = state.u, state.v, scratch.total, scratch.active
    # Optional parts are skipped by a test, because an empty call takes a tenth of a step.
    next_event, recording = first_event(input_spikes, start), is_recorded(traces, trace_index)
    for step in range(start, output.n_steps):
        if is_log_full(output, n_logged):
            return step, n_logged
        if recording and step % traces.every == 0:
            record_neurons(
                traces, step // traces.every, trace_index, state, allowed, params, scratch.a
            )
        # v first, because it depends on the old u. Then u, and spikes in ascending order.
        n = integrate_v(u, v, allowed, params)
        if waveform.shape[0] > 0:
            for j in range(u.shape[0]):
                c[j] = b[j] + waveform[step, j]
                u[j] = params.k * (c[j] - u[j]) + u[j]
        else:
            for j in range(u.shape[0]):
                u[j] = params.k * (b[j] - u[j]) + u[j]
        if next_event < input_spikes.steps.shape[0]:
            next_event = deliver_to_dendrites(input_spikes, next_event, step, synapses.phi, u)
        if n > 0:
            n_logged = emit_spikes(v, params.theta, n, step, output, fired, n_logged)
            for m in range(n):
                row = inhibition[fired[m]]
                v[fired[m]] -= params.theta
                for j in range(u.shape[0]):
                    u[j] -= row[j]
    return output.n_steps, n_logged


@jit("strict")
def record_neurons(
    traces: TraceBuffers,
    time: int,
    trace_index: int,
    state: State,
    allowed: FloatArray,
    params: SpikingParams,
    a: FloatArray,
) -> None:
    """Record u, v and a = T(u)."""
    u, v = state.u, state.v
    if traces.a.shape[0] > 0:
        for j in range(u.shape[0]):
            a[j] = allowed[j] * (u[j] - params.shift) if u[j] > params.lam else 0.0
    record(traces.u, time, trace_index, u, traces.neurons)
    record(traces.v, time, trace_index, v, traces.neurons)
    record(traces.a, time, trace_index, a, traces.neurons)


@jit("strict")
def apply_plasticity(
    synapses: Synapses, r: FloatArray, learning_rates: FloatArray, fired: Any, n: int
) -> None:
    """Apply ``Phi_j += rate_j r`` for each spike of a neuron j, modality by modality.

    ``learning_rates`` contains the rate per spike, see `spike_learning_rates`: (n_modalities,
    n_neurons), or (0, n_neurons) without plasticity.
    """
    phi, input_offsets = synapses.phi, synapses.input_offsets
    for i in range(learning_rates.shape[0]):
        for m in range(n):
            rate = learning_rates[i, fired[m]]
            for p in range(input_offsets[i], input_offsets[i + 1]):
                phi[p, fired[m]] += rate * r[p]


@jit("strict", from_python=True)
def integrate_spiking_residual(
    inputs: ResidualInput,
    synapses: Synapses,
    input_spikes: InputSpikes,
    learning_rates: FloatArray,
    params: SpikingParams,
    start: int,
    traces: TraceBuffers,
    trace_index: int,
    state: State,
    scratch: Scratch,
    output: SpikeOutput,
    n_logged: int,
) -> tuple[int, int]:
    """Integrate ``r' = k (x - r) + r``, with plasticity and feedback on each spike.

    A spike of j first changes the synapses (`apply_plasticity`), then ``r -= Phi_j theta`` and
    ``s_j += theta``. Returns the step that was reached and the length of the log. On return, u
    belongs to the start of the last step.
    """
    inputs, synapses, input_spikes, traces, state, scratch, output = skip_refcount(
        (inputs, synapses, input_spikes, traces, state, scratch, output)
    )
    x, current, waveform, allowed = inputs.x, inputs.current, inputs.waveform, inputs.allowed
    phi, input_offsets, fired = synapses.phi, synapses.input_offsets, scratch.active
    v, s, r = state.v, state.s, state.r
    next_event, recording = first_event(input_spikes, start), is_recorded(traces, trace_index)
    has_signed = input_spikes.quanta.shape[0] > 0
    for step in range(start, output.n_steps):
        if is_log_full(output, n_logged):
            return step, n_logged
        membrane_from_residual(synapses, state, scratch.total)
        if recording and step % traces.every == 0:
            record_neurons(
                traces, step // traces.every, trace_index, state, allowed, params, scratch.a
            )
            record(traces.s, step // traces.every, trace_index, s, traces.neurons)
            record_all(traces.r, step // traces.every, trace_index, r)
        # v and p first, because they depend on the old u and r; see `spikelca.engines.base`.
        n = integrate_v(state.u, v, allowed, params)
        if has_signed:
            integrate_inputs(input_spikes, input_offsets, params.k, r)
        for p in range(r.shape[0]):
            r[p] = params.k * (x[p] - r[p]) + r[p]
        for j in range(s.shape[0]):
            total = current[j]
            if waveform.shape[0] > 0:
                total += waveform[step, j]
            s[j] = params.k * (total - s[j]) + s[j]
        if next_event < input_spikes.steps.shape[0]:
            next_event = deliver_to_inputs(input_spikes, next_event, step, r)
        if n > 0:
            n_logged = emit_spikes(v, params.theta, n, step, output, fired, n_logged)
        if has_signed:
            deliver_to_generators(input_spikes, input_offsets, phi, allowed, v)
        if n > 0:
            apply_plasticity(synapses, r, learning_rates, fired, n)
            for m in range(n):
                v[fired[m]] -= params.theta
                s[fired[m]] += params.self_gain * params.theta
                for p in range(r.shape[0]):
                    r[p] -= phi[p, fired[m]] * params.theta
        if input_spikes.floor > -np.inf:
            clip_at_floor(v, input_spikes.floor)
    return output.n_steps, n_logged

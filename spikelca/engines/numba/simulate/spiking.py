"""Spiking neurons followed through time, one sample after the other, in float64.

Each kernel returns early when the log of spikes might run over, and is called again with a longer
one: nothing is allocated while time runs. Sums and products stand as Brian2 writes them.

Input cells that spike, in the fast engine; the equations stand in `spikelca.inputs`.

Random spikes are drawn before a sample is run and handed to the kernel as a list in order of time.
Signed residual neurons fire inside the time loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.jit.compile import exact_kernel
from spikelca.engines.numba.simulate.recording import (
    TraceBuffers,
    is_recorded,
    membrane_from_residual,
    record,
    record_all,
)
from spikelca.engines.problem import Problem
from spikelca.utils.validation import FloatArray


class InputSpikes(NamedTuple):
    """The spiking input cells of one sample.

    Attributes
    ----------
    steps, inputs, charges : (n_arrivals,)
        Random spikes in order of time, and what each adds.
    quanta : (n_modalities,)
        Threshold of signed residual neurons; zero for other cells.
    weights : (n_modalities,)
    floor : float
        Of v, if some cells charge it directly; else minus infinity.
    p : (n_inputs,)
        Charge of the signed residual neurons; written to.
    totals : (n_inputs,)
        Spikes of each input cell; written to.
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
"""Of a circuit whose input cells do not spike."""


def make_input_spikes(
    problem: Problem, row: int, edges: Any, p: FloatArray, totals: NDArray[np.int64]
) -> InputSpikes:
    """Draw the random spikes of a sample, and lay out its signed residual neurons."""
    if not problem.has_spiking_inputs:
        return NO_INPUT_SPIKES
    told = [
        population.spike_events(row, problem.k, problem.n_steps) for population in problem.inputs
    ]
    steps = np.concatenate([steps for steps, _, _ in told])
    inputs = np.concatenate([i + first for (_, i, _), first in zip(told, edges[:-1], strict=True)])
    # What reaches a dendrite is weighted; what reaches a residual neuron is weighted behind it.
    weights = np.array([population.weight for population in problem.inputs])
    scale = np.ones_like(weights) if problem.residual_wiring else weights
    charges = np.concatenate([q * w for (_, _, q), w in zip(told, scale, strict=True)])
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


@exact_kernel
def first_event(cells: InputSpikes, step: int) -> int:
    """The first random spike that does not lie before a step."""
    return int(np.searchsorted(cells.steps, step))


@exact_kernel
def deliver_to_dendrites(
    cells: InputSpikes, following: int, step: int, phi: FloatArray, u: FloatArray
) -> int:
    """Random spikes of this step charge the dendrites; returns the first that lies behind it."""
    while following < cells.steps.shape[0] and cells.steps[following] == step:
        row, charge = phi[cells.inputs[following]], cells.charges[following]
        for j in range(u.shape[0]):
            u[j] += row[j] * charge
        following += 1
    return following


@exact_kernel
def deliver_to_inputs(cells: InputSpikes, following: int, step: int, r: FloatArray) -> int:
    """Random spikes of this step charge their residual neurons."""
    while following < cells.steps.shape[0] and cells.steps[following] == step:
        r[cells.inputs[following]] += cells.charges[following]
        following += 1
    return following


@exact_kernel
def integrate_inputs(cells: InputSpikes, edges: Any, k: float, r: FloatArray) -> None:
    """``p' = k r + p`` of the signed residual neurons."""
    for i in range(cells.quanta.shape[0]):
        if cells.quanta[i] > 0:
            for m in range(edges[i], edges[i + 1]):
                cells.p[m] = k * r[m] + cells.p[m]


@exact_kernel
def deliver_to_generators(
    cells: InputSpikes, edges: Any, phi: FloatArray, open_: FloatArray, v: FloatArray
) -> None:
    """Signed residual neurons that reach their threshold charge the generators, and reset."""
    for i in range(cells.quanta.shape[0]):
        quantum, charge = cells.quanta[i], cells.weights[i] * cells.quanta[i]
        if quantum == 0:
            continue
        for m in range(edges[i], edges[i + 1]):
            if abs(cells.p[m]) >= quantum:
                sign, row = np.sign(cells.p[m]), phi[m]
                for j in range(v.shape[0]):
                    v[j] += open_[j] * (row[j] * (charge * sign))
                cells.p[m] -= sign * quantum
                cells.totals[m] += 1


@exact_kernel
def clip_at_floor(v: FloatArray, floor: float) -> None:
    """v sinks no deeper than its floor."""
    for j in range(v.shape[0]):
        v[j] = max(v[j], floor)


class SpikingParams(NamedTuple):
    """Constants of a spiking neuron."""

    k: float
    lam: float
    shift: float
    theta: float
    v_floor: float
    self_gain: float


class SpikeCounters(NamedTuple):
    """Where the spikes of one sample are counted: (n_neurons,) each.

    Attributes
    ----------
    first, end : int
        Steps at which the read-out window begins and ends.
    weighed : spikes of the window, weighed by `Clock.taper`
    counts : spikes of the window
    totals : spikes of the whole run
    """

    first: int
    end: int
    weighed: Any
    counts: Any
    totals: Any


@exact_kernel
def integrate_v(u: FloatArray, v: FloatArray, open_: FloatArray, cell: SpikingParams) -> int:
    """``v' = k (u - lam) [u > lam or v > floor] + v``; returns how many reach the quantum.

    A hard threshold charges with u itself (shift 0) and never drains (floor infinite).
    """
    n = 0
    for j in range(u.shape[0]):
        flow = open_[j] * (u[j] - cell.shift)
        flow = flow if (u[j] > cell.lam) | (v[j] > cell.v_floor) else 0.0
        v[j] = cell.k * flow + v[j]
        n += v[j] >= cell.theta
    return n


@exact_kernel
def emit_spikes(v: FloatArray, cell: SpikingParams, n: int, step: int, tally: SpikeCounters, fired: Any, log: Any,
         logged: bool, used: int) -> int:  # fmt: skip
    """Find the n neurons that fire, count and log them; returns the log's length."""
    found, j = 0, 0
    weight = (step - tally.first + 1) * (tally.end - step) if step >= tally.first else 0
    while found < n:
        if v[j] >= cell.theta:
            fired[found] = j
            found += 1
            tally.totals[j] += 1
            tally.weighed[j] += weight
            tally.counts[j] += step >= tally.first
            if logged:
                log[used, 0], log[used, 1] = step, j
                used += 1
        j += 1
    return used


@exact_kernel
def spiking_lateral(b: FloatArray, wave: FloatArray, open_: FloatArray, phi: FloatArray,
                    cells: InputSpikes, inhibition: FloatArray, cell: SpikingParams, first: int,
                    n_steps: int, tape: TraceBuffers, slot: int, u: FloatArray, v: FloatArray,
                    a: FloatArray, c: FloatArray, fired: Any, tally: SpikeCounters, log: Any,
                    logged: bool, used: int) -> tuple[int, int]:  # fmt: skip
    """``u' = k (b + d - u) + u``, and on a spike of j ``u -= L_j theta``.

    ``inhibition[j]`` is ``L_j theta``. Returns the step that was reached and the log's length.
    """
    # What most runs do without is asked for here: a call that does nothing costs a tenth of a step.
    following, kept = first_event(cells, first), is_recorded(tape, slot)
    for step in range(first, n_steps):
        if logged and used + u.shape[0] > log.shape[0]:
            return step, used
        if kept and step % tape.every == 0:
            record_neurons(tape, step // tape.every, slot, u, v, open_, cell, a)
        n = integrate_v(u, v, open_, cell)
        if wave.shape[0] > 0:
            for j in range(u.shape[0]):
                c[j] = b[j] + wave[step, j]
                u[j] = cell.k * (c[j] - u[j]) + u[j]
        else:
            for j in range(u.shape[0]):
                u[j] = cell.k * (b[j] - u[j]) + u[j]
        if following < cells.steps.shape[0]:
            following = deliver_to_dendrites(cells, following, step, phi, u)
        if n > 0:
            used = emit_spikes(v, cell, n, step, tally, fired, log, logged, used)
            for m in range(n):
                row = inhibition[fired[m]]
                v[fired[m]] -= cell.theta
                for j in range(u.shape[0]):
                    u[j] -= row[j]
    return n_steps, used


@exact_kernel
def record_neurons(tape: TraceBuffers, time: int, slot: int, u: FloatArray, v: FloatArray, open_: FloatArray,
               cell: SpikingParams, a: FloatArray) -> None:  # fmt: skip
    """Record u, v and a = T(u)."""
    if tape.a.shape[0] > 0:
        for j in range(u.shape[0]):
            a[j] = open_[j] * (u[j] - cell.shift) if u[j] > cell.lam else 0.0
    record(tape.u, time, slot, u, tape.neurons)
    record(tape.v, time, slot, v, tape.neurons)
    record(tape.a, time, slot, a, tape.neurons)


@exact_kernel
def apply_plasticity(
    phi: FloatArray, r: FloatArray, edges: Any, rates: FloatArray, fired: Any, n: int
) -> None:
    """On each spike of j: ``Phi_j += eta_j theta r``, modality by modality.

    ``rates`` holds ``eta_j theta``: (n_modalities, n_neurons), without rows if nothing learns.
    """
    for i in range(rates.shape[0]):
        for m in range(n):
            rate = rates[i, fired[m]]
            for p in range(edges[i], edges[i + 1]):
                phi[p, fired[m]] += rate * r[p]


@exact_kernel
def spiking_residual(x: FloatArray, current: FloatArray, wave: FloatArray, open_: FloatArray,
                     phi: FloatArray, edges: Any, weights: FloatArray, cells: InputSpikes,
                     rates: FloatArray, cell: SpikingParams, first: int, n_steps: int, tape: TraceBuffers,
                     slot: int, r: FloatArray, s: FloatArray, u: FloatArray, v: FloatArray,
                     a: FloatArray, feed: FloatArray, fired: Any, tally: SpikeCounters, log: Any,
                     logged: bool, used: int) -> tuple[int, int]:  # fmt: skip
    """``r' = k (x - r) + r``, and on a spike of j: learn, ``r -= Phi_j theta``, ``s_j += theta``.

    ``rates`` is described in `apply_plasticity`. Returns the step that was
    reached and the log's length; u is left at the start of the last step.
    """
    following, kept, signed = (
        first_event(cells, first),
        is_recorded(tape, slot),
        cells.quanta.shape[0] > 0,
    )
    for step in range(first, n_steps):
        if logged and used + u.shape[0] > log.shape[0]:
            return step, used
        membrane_from_residual(r, phi, edges, weights, s, feed, u)
        if kept and step % tape.every == 0:
            record_neurons(tape, step // tape.every, slot, u, v, open_, cell, a)
            record(tape.s, step // tape.every, slot, s, tape.neurons)
            record_all(tape.r, step // tape.every, slot, r)
        n = integrate_v(u, v, open_, cell)
        if signed:
            integrate_inputs(cells, edges, cell.k, r)
        for p in range(r.shape[0]):
            r[p] = cell.k * (x[p] - r[p]) + r[p]
        for j in range(s.shape[0]):
            flow = current[j]
            if wave.shape[0] > 0:
                flow += wave[step, j]
            s[j] = cell.k * (flow - s[j]) + s[j]
        if following < cells.steps.shape[0]:
            following = deliver_to_inputs(cells, following, step, r)
        if n > 0:
            used = emit_spikes(v, cell, n, step, tally, fired, log, logged, used)
        if signed:
            deliver_to_generators(cells, edges, phi, open_, v)
        if n > 0:
            apply_plasticity(phi, r, edges, rates, fired, n)
            for m in range(n):
                v[fired[m]] -= cell.theta
                s[fired[m]] += cell.self_gain * cell.theta
                for p in range(r.shape[0]):
                    r[p] -= phi[p, fired[m]] * cell.theta
        if cells.floor > -np.inf:
            clip_at_floor(v, cells.floor)
    return n_steps, used

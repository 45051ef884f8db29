"""`run_numba` of the fast engine: arrays around the kernels of `rate.py` and `spiking.py`.

Samples never meet: blocks of them run side by side on threads, and no result depends on how many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.jit.layout import tile_lateral
from spikelca.engines.numba.jit.parallel import no_workspace, parallel_for
from spikelca.engines.numba.simulate.rate_lateral import make_span_workspace, rate_lateral
from spikelca.engines.numba.simulate.rate_residual import rate_residual
from spikelca.engines.numba.simulate.recording import (
    RateParams,
    TraceBuffers,
    accumulate_drive,
    membrane_from_residual,
)
from spikelca.engines.numba.simulate.spiking import (
    SpikeCounters,
    SpikingParams,
    make_input_spikes,
    spiking_lateral,
    spiking_residual,
)
from spikelca.engines.postprocess import make_rate_response, make_spiking_response
from spikelca.engines.problem import Problem
from spikelca.engines.response import Response, Spikes
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import HardThreshold
from spikelca.utils.validation import FloatArray

INITIAL_LOG_SIZE = 4096
"""Spikes that a log holds at first."""


@dataclass(frozen=True)
class RunArrays:
    """The arrays of one run, laid out for the kernels, which write to all but the inputs.

    Attributes
    ----------
    state : mapping of str to (n_samples, width)
    x : (n_samples, n_inputs), all modalities side by side
    phi : (n_inputs, n_neurons)
    edges : (n_modalities + 1,), where each modality begins in x
    weights : (n_modalities,), zero for input cells that charge v and not u
    open_ : (n_samples, n_neurons), one where no driver clamps
    current : (n_samples, n_neurons), the constant driver current
    drive : (n_samples, n_neurons), b of what flows in steadily, in the lateral wiring
    code : (n_samples, n_neurons)
    weighed, counts, totals : (n_samples, n_neurons), spikes in the window and in the whole run
    arrived : (n_samples, n_inputs), spikes of input cells in the whole run
    tape : where traces are written
    slots : (n_samples,), place of each sample in the traces, -1 for none
    logs : spikes of each sample as (n_spikes, 2) of step and neuron
    """

    problem: Problem
    state: dict[str, FloatArray]
    x: FloatArray
    phi: FloatArray
    edges: NDArray[np.int64]
    weights: FloatArray
    open_: FloatArray
    current: FloatArray
    drive: FloatArray
    code: FloatArray
    weighed: NDArray[np.int64]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]
    arrived: NDArray[np.int64]
    tape: TraceBuffers
    slots: NDArray[np.int64]
    logs: dict[int, NDArray[np.int64]] = field(default_factory=dict)


def run_numba(problem: Problem) -> Response:
    """The time-stepped equations."""
    run, spiking = allocate_run(problem), isinstance(problem.neuron, SpikingNeuron)
    if problem.residual_wiring:
        work = run_spiking_residual if spiking else run_rate_residual
    else:
        work = run_spiking_lateral if spiking else run_rate_lateral
    parallel_for(lambda rows, _: work(run, rows.start, rows.stop), problem.n_samples, no_workspace)
    return make_response(run)


def make_response(run: RunArrays) -> Response:
    """The response of a finished run."""
    problem, state = run.problem, {"u": run.state["u"], **final_state(run)}
    if not isinstance(problem.neuron, SpikingNeuron):
        steady = not (problem.residual_wiring or problem.has_spiking_inputs)
        drive = run.drive if steady else None
        return make_rate_response(problem, run.code, state, collect_traces(run), drive)
    spikes = collect_spikes(run) if problem.record.spikes else None
    traces = collect_traces(run)
    seen = run.weighed, run.counts, run.totals
    return make_spiking_response(problem, *seen, spikes, state, traces, run.arrived)


def final_state(run: RunArrays) -> dict[str, FloatArray]:
    """The state variables by the names that the outside knows."""
    problem = run.problem
    held = problem.state_widths()
    state = {name: values for name, values in run.state.items() if name in held}
    for i, p in enumerate(problem.inputs if problem.residual_wiring else ()):
        for letter in ("r",) if p.charges_dendrite else ("r", "p"):
            state[f"{letter}:{p.name}"] = run.state[letter][:, run.edges[i] : run.edges[i + 1]]
    return state


def allocate_run(problem: Problem) -> RunArrays:
    """Copies of all that the kernels write to, and the synapses input by input."""
    n, m, dtype = problem.n_samples, problem.n_neurons, problem.dtype
    edges = np.cumsum([0, *(p.atoms.shape[1] for p in problem.inputs)])
    state: dict[str, FloatArray] = {name: np.zeros((n, m), dtype) for name in ("u", "v", "s")}
    state |= {letter: np.zeros((n, edges[-1]), dtype) for letter in ("r", "p")}
    start = problem.start or {}
    for name in start.keys() & state.keys():
        state[name][:] = start[name]
    for i, p in enumerate(problem.inputs):
        for letter in ("r", "p"):
            if f"{letter}:{p.name}" in start:
                state[letter][:, edges[i] : edges[i + 1]] = start[f"{letter}:{p.name}"]
    kept = problem.record.samples if problem.record.names else np.zeros(0, np.int64)
    samples, slots = np.unique(kept), np.full(n, -1)
    slots[samples] = np.arange(len(samples))
    return RunArrays(
        problem,
        state,
        stack_inputs([p.constant_input for p in problem.inputs], 1, problem.residual_wiring),
        stack_inputs([p.synapses for p in problem.inputs], 0, problem.residual_wiring),
        edges,
        np.array([p.weight if p.charges_dendrite else 0.0 for p in problem.inputs], dtype),
        np.ones((n, m), dtype) if problem.allowed is None else problem.allowed.astype(dtype),
        np.array(np.broadcast_to(problem.current, (n, m)), dtype),
        np.zeros((n, m), dtype),
        np.zeros((n, m), dtype),
        np.zeros((n, m), np.int64),
        np.zeros((n, m), np.int64),
        np.zeros((n, m), np.int64),
        np.zeros((n, edges[-1]), np.int64),
        _allocate_traces(problem, len(samples), int(edges[-1])),
        slots,
    )


def stack_inputs(parts: list[FloatArray], axis: int, own: bool) -> FloatArray:
    """The modalities as one array; one that may be written to if it is to be the run's own."""
    if own:
        return np.concatenate(parts, axis)
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis)
    whole = np.ascontiguousarray(whole).view()
    # Kernels are compiled anew for each kind of array; let there be one.
    whole.setflags(write=False)
    return whole


def _allocate_traces(problem: Problem, n_samples: int, n_inputs: int) -> TraceBuffers:
    assert problem.clock is not None
    record, n_times = problem.record, problem.record.n_times(problem.clock)
    had = {"u", "a", *problem.state_widths()} | ({"r"} if problem.residual_wiring else set())

    def room(name: str, width: int) -> FloatArray:
        wanted = name in record.names and name in had
        return np.zeros((n_times if wanted else 0, n_samples, width), problem.dtype)

    u, a, v, s = (room(name, len(record.neurons)) for name in ("u", "a", "v", "s"))
    return TraceBuffers(
        record.every, np.ascontiguousarray(record.neurons), u, a, v, s, room("r", n_inputs)
    )


def collect_traces(run: RunArrays) -> dict[str, FloatArray]:
    """The recorded traces by name, samples in the order in which they were asked for."""
    problem, record = run.problem, run.problem.record
    assert problem.clock is not None
    order = run.slots[record.samples]
    traces = {
        name: getattr(run.tape, name)[:, order]
        for name in ("u", "a", "v", "s")
        if len(getattr(run.tape, name))
    }
    if len(run.tape.r):
        for i, p in enumerate(problem.inputs):
            traces[f"r:{p.name}"] = run.tape.r[:, order, run.edges[i] : run.edges[i + 1]]
    if "current" in record.names:
        traces["current"] = problem.recorded_current()
    return traces


def collect_spikes(run: RunArrays) -> Spikes:
    """The logs of all samples as one list."""
    logs = [run.logs[row] for row in range(run.problem.n_samples)]
    sample = np.repeat(np.arange(len(logs)), [len(log) for log in logs])
    both = np.concatenate(logs)
    return Spikes(sample, both[:, 1], both[:, 0])


def make_rate_params(problem: Problem) -> RateParams:
    """Constants of the rate neuron for the kernels."""
    hard = isinstance(problem.transfer, HardThreshold)
    lam = problem.dtype.type(problem.transfer.threshold)
    return RateParams(problem.k, lam, hard, problem.transfer.two_sided, problem.self_gain)


def make_spiking_params(problem: Problem) -> SpikingParams:
    """Constants of the spiking neuron for the kernels."""
    neuron, lam = problem.neuron, problem.transfer.threshold
    assert isinstance(neuron, SpikingNeuron)
    hard = isinstance(problem.transfer, HardThreshold)
    shift, v_floor = (0.0, np.inf) if hard else (lam, problem.v_floor)
    return SpikingParams(
        float(problem.k), lam, shift, neuron.quantum, float(v_floor), float(problem.self_gain)
    )


def make_spike_counters(run: RunArrays, row: int) -> SpikeCounters:
    """Where the spikes of a sample are counted."""
    p = run.problem
    return SpikeCounters(
        p.window_start_step, p.n_steps, run.weighed[row], run.counts[row], run.totals[row]
    )


def compute_total_drive(run: RunArrays, first: int, last: int) -> FloatArray:
    """``b + d`` of some samples, as far as it does not change over time."""
    b = run.drive[first:last]
    accumulate_drive(run.x[first:last], run.phi, run.edges, run.weights, b)
    return b + run.current[first:last]


def sample_waveform(problem: Problem, row: int) -> FloatArray:
    """The changing driver current of a sample: (n_steps, n_neurons), of no length without one."""
    if problem.waveform is None:
        return np.zeros((0, 0), problem.dtype)
    shared = problem.waveform.shape[1] == 1
    return np.ascontiguousarray(problem.waveform[:, 0 if shared else row], problem.dtype)


def _allocate_scratch(problem: Problem) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    m = problem.n_neurons
    # One place more than neurons: see `outputs`.
    return np.zeros(m, problem.dtype), np.zeros(m, problem.dtype), np.zeros(m + 1, np.int64)


def run_rate_lateral(run: RunArrays, first: int, last: int) -> None:
    """Rate neurons, one layer."""
    p, rows = run.problem, slice(first, last)
    tiles = p.coupling.derived.get(tile_lateral)
    b, room = compute_total_drive(run, first, last), make_span_workspace(p.n_neurons, p.dtype)
    waves = np.zeros((0, 1, 1)) if p.waveform is None else p.waveform
    waves = np.ascontiguousarray(waves, p.dtype)
    rate_lateral(
        first, b, waves, run.open_[rows], tiles, make_rate_params(p), p.n_steps, run.tape, run.slots[rows],
        run.state["u"][rows], run.code[rows], _allocate_scratch(p)[2], room,
    )  # fmt: skip


def run_rate_residual(run: RunArrays, first: int, last: int) -> None:
    """Rate neurons, two layers."""
    p, cell, state = run.problem, make_rate_params(run.problem), run.state
    _, feed, active = _allocate_scratch(p)
    for row in range(first, last):
        rate_residual(
            run.x[row], run.current[row], sample_waveform(p, row), run.open_[row], run.phi, run.edges,
            run.weights, cell, p.n_steps, run.tape, run.slots[row], state["r"][row],
            state["s"][row], state["u"][row], run.code[row], feed, active,
        )  # fmt: skip


def run_spiking_lateral(run: RunArrays, first: int, last: int) -> None:
    """Spiking neurons, one layer."""
    p, cell, state = run.problem, make_spiking_params(run.problem), run.state
    # L is symmetric to the last bit: its rows are its columns.
    inhibition = p.coupling.inhibition(cell.theta)
    b, (a, c, fired) = compute_total_drive(run, first, last), _allocate_scratch(p)
    for row in range(first, last):
        cells = make_input_spikes(p, row, run.edges, state["p"][row], run.arrived[row])

        def go(step: int, log: Any, used: int, row: int = row, cells: Any = cells) -> Any:
            return spiking_lateral(
                b[row - first], sample_waveform(p, row), run.open_[row], run.phi, cells, inhibition,
                cell, step, p.n_steps, run.tape, run.slots[row], state["u"][row],
                state["v"][row], a, c, fired, make_spike_counters(run, row), log, p.record.spikes, used,
            )  # fmt: skip

        run.logs[row] = run_with_growing_log(go, p)


def run_spiking_residual(
    run: RunArrays, first: int, last: int, rates: FloatArray | None = None
) -> None:
    """Spiking neurons, two layers; ``rates`` makes the synapses plastic, see the kernel."""
    p, cell, state = run.problem, make_spiking_params(run.problem), run.state
    a, feed, fired = _allocate_scratch(p)
    rates = np.zeros((0, p.n_neurons)) if rates is None else rates
    for row in range(first, last):
        cells = make_input_spikes(p, row, run.edges, state["p"][row], run.arrived[row])

        def go(step: int, log: Any, used: int, row: int = row, cells: Any = cells) -> Any:
            return spiking_residual(
                run.x[row], run.current[row], sample_waveform(p, row), run.open_[row], run.phi,
                run.edges, run.weights, cells, rates, cell, step, p.n_steps,
                run.tape, run.slots[row], state["r"][row], state["s"][row], state["u"][row],
                state["v"][row], a, feed, fired, make_spike_counters(run, row), log, p.record.spikes, used,
            )  # fmt: skip

        run.logs[row] = run_with_growing_log(go, p)
        membrane_from_residual(state["r"][row], run.phi, run.edges, run.weights, state["s"][row], feed,
                 state["u"][row])  # fmt: skip


def run_with_growing_log(
    go: Callable[[int, Any, int], tuple[int, int]], problem: Problem
) -> NDArray[np.int64]:
    """Run one sample to its end, with a longer log each time that it is full."""
    log = np.empty(
        (INITIAL_LOG_SIZE + problem.n_neurons if problem.record.spikes else 0, 2), np.int64
    )
    step, used = go(0, log, 0)
    while step < problem.n_steps:
        longer = np.empty((2 * len(log), 2), np.int64)
        longer[:used] = log[:used]
        log = longer
        step, used = go(step, log, used)
    return log[:used].copy()

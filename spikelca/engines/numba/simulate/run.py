"""Simulation with the Numba engine: the arrays of the kernels, and the response from them.

Samples do not interact. Blocks of samples run in parallel threads, and results do not depend on the
number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.jit.layout import tile_lateral
from spikelca.engines.numba.jit.parallel import no_workspace, parallel_for
from spikelca.engines.numba.simulate.rate_lateral import integrate_rate_lateral, make_span_workspace
from spikelca.engines.numba.simulate.rate_residual import integrate_rate_residual
from spikelca.engines.numba.simulate.recording import (
    LateralInput,
    RateParams,
    ResidualInput,
    Scratch,
    State,
    Synapses,
    TraceBuffers,
    accumulate_drive,
    membrane_from_residual,
)
from spikelca.engines.numba.simulate.spiking import (
    SpikeOutput,
    SpikingParams,
    integrate_spiking_lateral,
    integrate_spiking_residual,
    make_input_spikes,
)
from spikelca.engines.postprocess import make_rate_response, make_spiking_response
from spikelca.engines.problem import Problem
from spikelca.engines.response import Clock, Response, Spikes
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import HardThreshold
from spikelca.utils.progress import show_progress
from spikelca.utils.validation import FloatArray

INITIAL_LOG_SIZE = 4096
"""Initial capacity of the spike log of a sample."""

PART_OPERATIONS = 400_000_000
"""Number of additions and multiplications between two checks for an interrupt, about 50 ms."""

OPERATIONS_PER_NEURON = 8
"""Typical number of operations of a neuron in a step, without residual neurons."""


@dataclass(frozen=True)
class RunArrays:
    """The arrays of one run. Kernels write to all of them except the inputs.

    Attributes
    ----------
    problem : Problem
    state : mapping of str to (n_samples, width)
        u, v, s, and r and p of all modalities concatenated.
    x : (n_samples, n_inputs)
        Constant inputs, all modalities concatenated.
    phi : (n_inputs, n_neurons)
    input_offsets : (n_modalities + 1,)
        Index of the first input of each modality in x.
    weights : (n_modalities,)
        Zero for input cells that charge v instead of u.
    allowed : (n_samples, n_neurons)
        One, or zero where a driver clamps the code.
    current : (n_samples, n_neurons)
        Constant driver current.
    drive : (n_samples, n_neurons)
        b of the constant inputs, with lateral wiring.
    code : (n_samples, n_neurons)
    weighted_counts, counts, totals : (n_samples, n_neurons)
        Weighted and plain number of spikes in the window, and number of spikes in the whole run.
    input_counts : (n_samples, n_inputs)
        Number of spikes of the input cells in the whole run.
    traces : TraceBuffers
        Of the steps of this part of the run.
    trace_indices : (n_samples,)
        Index of each sample in the traces, or -1.
    waveform : (n_steps or 0, 1 or n_samples, n_neurons)
        Time-varying current in this part of the run.
    first_step, n_steps : int
        Steps of this part of the run.
    spike_logs : mapping of int to list of (n_spikes, 2)
        Step and neuron of the spikes of each sample, part after part.
    """

    problem: Problem
    state: dict[str, FloatArray]
    x: FloatArray
    phi: FloatArray
    input_offsets: NDArray[np.int64]
    weights: FloatArray
    allowed: FloatArray
    current: FloatArray
    drive: FloatArray
    code: FloatArray
    weighted_counts: NDArray[np.int64]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]
    input_counts: NDArray[np.int64]
    traces: TraceBuffers
    trace_indices: NDArray[np.int64]
    waveform: FloatArray
    first_step: int = 0
    n_steps: int = 0
    spike_logs: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)

    def part(self, first: int, n_steps: int) -> RunArrays:
        """Return the run for some steps of it; the arrays of state and counts are shared."""
        every, waveform = self.problem.record.every, self.problem.waveform
        times = slice(first // every, -(-(first + n_steps) // every))
        u, a, v, s, r = (getattr(self.traces, name)[times] for name in ("u", "a", "v", "s", "r"))
        traces = self.traces._replace(u=u, a=a, v=v, s=s, r=r)
        if waveform is not None:
            values = waveform.values(first, first + n_steps)
            values = np.ascontiguousarray(values, self.problem.dtype)
        else:
            values = self.waveform
        return replace(self, traces=traces, waveform=values, first_step=first, n_steps=n_steps)

    @property
    def clock(self) -> Clock:
        """The clock of this part of the run."""
        clock = self.problem.clock
        assert clock is not None
        return replace(clock, n_steps=self.n_steps, first_step=clock.first_step + self.first_step)

    @property
    def synapses(self) -> Synapses:
        """The synapses as an argument of the kernels."""
        return Synapses(self.phi, self.input_offsets, self.weights)


def make_response(run: RunArrays) -> Response:
    """Make the response of a finished run."""
    problem, state = run.problem, {"u": run.state["u"], **final_state(run)}
    if not isinstance(problem.neuron, SpikingNeuron):
        has_drive = not (problem.residual_wiring or problem.has_spiking_inputs)
        drive = run.drive if has_drive else None
        return make_rate_response(problem, run.code, state, collect_traces(run), drive)
    spikes = collect_spikes(run) if problem.record.spikes else None
    traces = collect_traces(run)
    counts = run.weighted_counts, run.counts, run.totals
    return make_spiking_response(problem, *counts, spikes, state, traces, run.input_counts)


def final_state(run: RunArrays) -> dict[str, FloatArray]:
    """Return the state variables by their public names."""
    problem = run.problem
    names = problem.state_widths()
    state = {name: values for name, values in run.state.items() if name in names}
    for i, p in enumerate(problem.inputs if problem.residual_wiring else ()):
        for letter in ("r",) if p.charges_dendrite else ("r", "p"):
            state[f"{letter}:{p.name}"] = run.state[letter][
                :, run.input_offsets[i] : run.input_offsets[i + 1]
            ]
    return state


def allocate_run(problem: Problem) -> RunArrays:
    """Allocate the arrays of a run; arrays that kernels write to are copies."""
    n, m, dtype = problem.n_samples, problem.n_neurons, problem.dtype
    input_offsets = np.cumsum([0, *(p.atoms.shape[1] for p in problem.inputs)])
    state: dict[str, FloatArray] = {name: np.zeros((n, m), dtype) for name in ("u", "v", "s")}
    state |= {letter: np.zeros((n, input_offsets[-1]), dtype) for letter in ("r", "p")}
    start = problem.start or {}
    for name in start.keys() & state.keys():
        state[name][:] = start[name]
    for i, p in enumerate(problem.inputs):
        for letter in ("r", "p"):
            if f"{letter}:{p.name}" in start:
                state[letter][:, input_offsets[i] : input_offsets[i + 1]] = start[
                    f"{letter}:{p.name}"
                ]
    return RunArrays(
        problem,
        state,
        stack_inputs([p.constant_input for p in problem.inputs], 1, problem.residual_wiring),
        stack_inputs([p.synapses for p in problem.inputs], 0, problem.residual_wiring),
        input_offsets,
        np.array([p.weight if p.charges_dendrite else 0.0 for p in problem.inputs], dtype),
        np.ones((n, m), dtype) if problem.allowed is None else problem.allowed.astype(dtype),
        np.array(np.broadcast_to(problem.current, (n, m)), dtype),
        np.zeros((n, m), dtype),
        np.zeros((n, m), dtype),
        np.zeros((n, m), np.int64),
        np.zeros((n, m), np.int64),
        np.zeros((n, m), np.int64),
        np.zeros((n, input_offsets[-1]), np.int64),
        *allocate_traces(problem, int(input_offsets[-1])),
        np.zeros((0, 1, 1), dtype),
    )


def simulate_parts(run: RunArrays, simulate_rows: Callable[[RunArrays, slice], None]) -> None:
    """Simulate all samples, part after part; show the progress of a long run."""
    problem = run.problem
    total = problem.n_samples * problem.n_steps
    is_long = total * operations_per_step(problem) > PART_OPERATIONS
    with show_progress(total, "simulate", "step") if is_long else nullcontext() as update:
        for first, n_steps in part_lengths(problem):
            part = run.part(first, n_steps)

            def body(rows: slice, workspace: None, part: RunArrays = part) -> None:
                simulate_rows(part, rows)
                if update is not None:
                    update((rows.stop - rows.start) * part.n_steps)

            max_rows = PART_OPERATIONS // (n_steps * operations_per_step(problem))
            parallel_for(body, problem.n_samples, no_workspace, max_rows=max(max_rows, 1))


def part_lengths(problem: Problem) -> Iterator[tuple[int, int]]:
    """Divide the run into parts: the first step and the number of steps of each.

    An interrupt is noticed between two parts. A part of one sample takes about 50 ms, and its
    time-varying current at most 64 MiB. Recorded steps begin a part, and the results do not depend
    on the division.
    """
    every, n_steps = problem.record.every, PART_OPERATIONS // operations_per_step(problem)
    if problem.waveform is not None:
        n_steps = min(n_steps, problem.waveform.chunk_steps)
    n_steps = max(n_steps // every, 1) * every
    for first in range(0, problem.n_steps, n_steps):
        yield first, min(n_steps, problem.n_steps - first)


def operations_per_step(problem: Problem) -> int:
    """Estimate the number of additions and multiplications of a sample in one step."""
    n_inputs = sum(p.atoms.shape[1] for p in problem.inputs) if problem.residual_wiring else 0
    return problem.n_neurons * (n_inputs + OPERATIONS_PER_NEURON)


def stack_inputs(arrays: list[FloatArray], axis: int, writable: bool) -> FloatArray:
    """Concatenate the modalities, as a new array if it must be writable."""
    if writable:
        return np.concatenate(arrays, axis)
    stacked = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis)
    stacked = np.ascontiguousarray(stacked).view()
    # A kernel is compiled separately for read-only and for writable arrays: always use the former.
    stacked.setflags(write=False)
    return stacked


def allocate_traces(problem: Problem, n_inputs: int) -> tuple[TraceBuffers, NDArray[np.int64]]:
    """Allocate the traces of the recorded samples; return the index of each sample, or -1."""
    assert problem.clock is not None
    recorded = problem.record.samples if problem.record.names else np.zeros(0, np.int64)
    samples, trace_indices = np.unique(recorded), np.full(problem.n_samples, -1)
    trace_indices[samples] = np.arange(len(samples))
    n_samples = len(samples)
    record, n_times = problem.record, problem.record.n_times(problem.clock)
    names = {"u", "a", *problem.state_widths()} | ({"r"} if problem.residual_wiring else set())

    def allocate(name: str, width: int) -> FloatArray:
        is_used = name in record.names and name in names
        return np.zeros((n_times if is_used else 0, n_samples, width), problem.dtype)

    u, a, v, s = (allocate(name, len(record.neurons)) for name in ("u", "a", "v", "s"))
    neurons = np.ascontiguousarray(record.neurons)
    traces = TraceBuffers(record.every, neurons, u, a, v, s, allocate("r", n_inputs))
    return traces, trace_indices


def collect_traces(run: RunArrays) -> dict[str, FloatArray]:
    """Return the recorded traces by name, with the samples in the requested order."""
    problem, record = run.problem, run.problem.record
    assert problem.clock is not None
    order = run.trace_indices[record.samples]
    traces = {
        name: getattr(run.traces, name)[:, order]
        for name in ("u", "a", "v", "s")
        if len(getattr(run.traces, name))
    }
    if len(run.traces.r):
        for i, p in enumerate(problem.inputs):
            traces[f"r:{p.name}"] = run.traces.r[
                :, order, run.input_offsets[i] : run.input_offsets[i + 1]
            ]
    if "current" in record.names:
        traces["current"] = problem.recorded_current()
    return traces


def collect_spikes(run: RunArrays) -> Spikes:
    """Concatenate the spike logs of all samples."""
    spike_logs = [np.concatenate(run.spike_logs[row]) for row in range(run.problem.n_samples)]
    sample = np.repeat(np.arange(len(spike_logs)), [len(log) for log in spike_logs])
    events = np.concatenate(spike_logs)
    return Spikes(sample, events[:, 1], events[:, 0])


def make_rate_params(problem: Problem) -> RateParams:
    """Make the parameters of the rate neuron for the kernels."""
    hard = isinstance(problem.transfer, HardThreshold)
    lam = problem.dtype.type(problem.transfer.threshold)
    return RateParams(problem.k, lam, hard, problem.transfer.two_sided, problem.self_gain)


def make_spiking_params(problem: Problem) -> SpikingParams:
    """Make the parameters of the spiking neuron for the kernels."""
    neuron, lam = problem.neuron, problem.transfer.threshold
    assert isinstance(neuron, SpikingNeuron)
    hard = isinstance(problem.transfer, HardThreshold)
    shift, v_floor = (0.0, np.inf) if hard else (lam, problem.v_floor)
    return SpikingParams(
        float(problem.k), lam, shift, neuron.quantum, float(v_floor), float(problem.self_gain)
    )


def make_spike_output(run: RunArrays, row: int) -> SpikeOutput:
    """Make the spike counters of a sample, as views of the arrays of the run, and its log."""
    p = run.problem
    log = np.empty((INITIAL_LOG_SIZE + p.n_neurons if p.record.spikes else 0, 2), np.int64)
    counters = run.weighted_counts[row], run.counts[row], run.totals[row]
    window = p.window_start_step - run.first_step, p.n_steps - run.first_step
    return SpikeOutput(*window, run.n_steps, *counters, log)


def make_residual_input(run: RunArrays, row: int) -> ResidualInput:
    """Make the input of a sample with residual wiring."""
    waveform = sample_waveform(run, row)
    return ResidualInput(run.x[row], run.current[row], waveform, run.allowed[row])


def sample_state(run: RunArrays, row: int) -> State:
    """Return the state of a sample, as views of the arrays of the run."""
    return State(*(run.state[name][row] for name in ("u", "v", "s", "r")))


def compute_total_drive(run: RunArrays, rows: slice) -> FloatArray:
    """Compute the constant part of ``b + d`` of some samples; b once, in the first part."""
    b = run.drive[rows]
    if run.first_step == 0:
        accumulate_drive(run.x[rows], run.phi, run.input_offsets, run.weights, b)
    return b + run.current[rows]


def sample_waveform(run: RunArrays, row: int) -> FloatArray:
    """Return the time-varying driver current of a sample: (n_steps or 0, n_neurons)."""
    is_shared = run.waveform.shape[1] == 1
    return np.ascontiguousarray(run.waveform[:, 0 if is_shared else row])


def _allocate_scratch(problem: Problem) -> Scratch:
    m, dtype = problem.n_neurons, problem.dtype
    return Scratch(np.zeros(m, dtype), np.zeros(m, dtype), np.zeros(m + 1, np.int64))


def run_rate_lateral(run: RunArrays, rows: slice) -> None:
    """Simulate rate neurons with lateral wiring."""
    p = run.problem
    tiles = p.coupling.derived.get(tile_lateral)
    b = compute_total_drive(run, rows)
    span_workspace = make_span_workspace(p.n_neurons, p.dtype)
    integrate_rate_lateral(
        rows.start, b, run.waveform, run.allowed[rows], tiles, make_rate_params(p), run.n_steps,
        run.traces, run.trace_indices[rows], run.state["u"][rows], run.code[rows], span_workspace,
    )  # fmt: skip


def run_rate_residual(run: RunArrays, rows: slice) -> None:
    """Simulate rate neurons with residual wiring."""
    params, scratch = make_rate_params(run.problem), _allocate_scratch(run.problem)
    for row in range(rows.start, rows.stop):
        integrate_rate_residual(
            make_residual_input(run, row), run.synapses, params, run.n_steps, run.traces,
            run.trace_indices[row], sample_state(run, row), run.code[row], scratch,
        )  # fmt: skip


def run_spiking_lateral(run: RunArrays, rows: slice) -> None:
    """Simulate spiking neurons with lateral wiring."""
    p, params = run.problem, make_spiking_params(run.problem)
    # L is exactly symmetric, so that its rows can replace its columns.
    inhibition = p.coupling.inhibition(params.theta)
    b, scratch = compute_total_drive(run, rows), _allocate_scratch(p)
    for row in range(rows.start, rows.stop):
        sample = LateralInput(b[row - rows.start], sample_waveform(run, row), run.allowed[row])
        simulate_spikes(run, row, integrate_spiking_lateral, sample, inhibition, params, scratch)


def run_spiking_residual(
    run: RunArrays, rows: slice, learning_rates: FloatArray | None = None
) -> None:
    """Simulate spiking neurons with residual wiring; for learning rates see the kernel."""
    p, params = run.problem, make_spiking_params(run.problem)
    scratch = _allocate_scratch(p)
    learning_rates = np.zeros((0, p.n_neurons)) if learning_rates is None else learning_rates
    for row in range(rows.start, rows.stop):
        sample = make_residual_input(run, row)
        simulate_spikes(
            run, row, integrate_spiking_residual, sample, learning_rates, params, scratch
        )
        membrane_from_residual(run.synapses, sample_state(run, row), scratch.total)


def simulate_spikes(
    run: RunArrays,
    row: int,
    kernel: Callable[..., tuple[int, int]],
    sample: LateralInput | ResidualInput,
    weights: FloatArray,
    params: SpikingParams,
    scratch: Scratch,
) -> None:
    """Run one sample to the end of the part, with a larger spike log whenever it is full.

    ``weights`` is the inhibition of the lateral kernel, or the learning rates of the residual one.
    """
    charges, counts = run.state["p"][row], run.input_counts[row]
    input_spikes = make_input_spikes(
        run.problem, run.clock, row, run.input_offsets, charges, counts
    )
    output, state, step, n_logged = make_spike_output(run, row), sample_state(run, row), 0, 0
    while True:
        step, n_logged = kernel(
            sample, run.synapses, input_spikes, weights, params, step, run.traces,
            run.trace_indices[row], state, scratch, output, n_logged,
        )  # fmt: skip
        if step == run.n_steps:
            break
        larger = np.empty((2 * len(output.log), 2), np.int64)
        larger[:n_logged] = output.log[:n_logged]
        output = output._replace(log=larger)
    log = output.log[:n_logged].copy()
    log[:, 0] += run.first_step
    run.spike_logs.setdefault(row, []).append(log)

"""`simulate` of the fast engine: arrays around the kernels of `rate.py` and `spiking.py`.

Samples never meet: blocks of them run side by side on threads, and no result depends on how many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.numba.jit.layout import lateral_in_tiles
from spikelca.engines.numba.jit.parallel import no_room, over_blocks
from spikelca.engines.numba.simulate.rate_lateral import make_room, rate_lateral
from spikelca.engines.numba.simulate.rate_residual import rate_residual
from spikelca.engines.numba.simulate.recording import Cell, Tape, drive_in_order, membrane
from spikelca.engines.numba.simulate.spiking import (
    Spiker,
    Tally,
    afferents_of,
    spiking_lateral,
    spiking_residual,
)
from spikelca.engines.postprocess import rate_response, spiking_response
from spikelca.engines.problem import Problem
from spikelca.engines.response import Response, Spikes
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import HardThreshold
from spikelca.utils.validation import FloatArray

LOG = 4096
"""Spikes that a log holds at first."""


@dataclass(frozen=True)
class Run:
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
    tape: Tape
    slots: NDArray[np.int64]
    logs: dict[int, NDArray[np.int64]] = field(default_factory=dict)


def simulate(problem: Problem) -> Response:
    """The time-stepped equations."""
    run, spiking = prepare(problem), isinstance(problem.neuron, SpikingNeuron)
    if problem.residual_wiring:
        work = spike_residual if spiking else rate_by_residual
    else:
        work = spike_lateral if spiking else rate_by_lateral
    over_blocks(lambda rows, _: work(run, rows.start, rows.stop), problem.n_samples, no_room)
    return respond(run)


def respond(run: Run) -> Response:
    """The response of a finished run."""
    problem, state = run.problem, {"u": run.state["u"], **state_of(run)}
    if not isinstance(problem.neuron, SpikingNeuron):
        steady = not (problem.residual_wiring or problem.inputs_spike)
        drive = run.drive if steady else None
        return rate_response(problem, run.code, state, traces_of(run), drive)
    spikes = spikes_of(run) if problem.record.spikes else None
    traces = traces_of(run)
    seen = run.weighed, run.counts, run.totals
    return spiking_response(problem, *seen, spikes, state, traces, run.arrived)


def state_of(run: Run) -> dict[str, FloatArray]:
    """The state variables by the names that the outside knows."""
    problem = run.problem
    held = problem.state_widths()
    state = {name: values for name, values in run.state.items() if name in held}
    for i, p in enumerate(problem.inputs if problem.residual_wiring else ()):
        for letter in ("r",) if p.dendritic else ("r", "p"):
            state[f"{letter}:{p.name}"] = run.state[letter][:, run.edges[i] : run.edges[i + 1]]
    return state


def prepare(problem: Problem) -> Run:
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
    return Run(
        problem,
        state,
        laid_out([p.steady for p in problem.inputs], 1, problem.residual_wiring),
        laid_out([p.synapses for p in problem.inputs], 0, problem.residual_wiring),
        edges,
        np.array([p.weight if p.dendritic else 0.0 for p in problem.inputs], dtype),
        np.ones((n, m), dtype) if problem.allowed is None else problem.allowed.astype(dtype),
        np.array(np.broadcast_to(problem.current, (n, m)), dtype),
        np.zeros((n, m), dtype),
        np.zeros((n, m), dtype),
        np.zeros((n, m), np.int64),
        np.zeros((n, m), np.int64),
        np.zeros((n, m), np.int64),
        np.zeros((n, edges[-1]), np.int64),
        _tape(problem, len(samples), int(edges[-1])),
        slots,
    )


def laid_out(parts: list[FloatArray], axis: int, own: bool) -> FloatArray:
    """The modalities as one array; one that may be written to if it is to be the run's own."""
    if own:
        return np.concatenate(parts, axis)
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis)
    whole = np.ascontiguousarray(whole).view()
    # Kernels are compiled anew for each kind of array; let there be one.
    whole.setflags(write=False)
    return whole


def _tape(problem: Problem, n_samples: int, n_inputs: int) -> Tape:
    assert problem.clock is not None
    record, n_times = problem.record, problem.record.n_times(problem.clock)
    had = {"u", "a", *problem.state_widths()} | ({"r"} if problem.residual_wiring else set())

    def room(name: str, width: int) -> FloatArray:
        wanted = name in record.names and name in had
        return np.zeros((n_times if wanted else 0, n_samples, width), problem.dtype)

    u, a, v, s = (room(name, len(record.neurons)) for name in ("u", "a", "v", "s"))
    return Tape(record.every, np.ascontiguousarray(record.neurons), u, a, v, s, room("r", n_inputs))


def traces_of(run: Run) -> dict[str, FloatArray]:
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


def spikes_of(run: Run) -> Spikes:
    """The logs of all samples as one list."""
    logs = [run.logs[row] for row in range(run.problem.n_samples)]
    sample = np.repeat(np.arange(len(logs)), [len(log) for log in logs])
    both = np.concatenate(logs)
    return Spikes(sample, both[:, 1], both[:, 0])


def cell_of(problem: Problem) -> Cell:
    """Constants of the rate neuron for the kernels."""
    hard = isinstance(problem.transfer, HardThreshold)
    lam = problem.dtype.type(problem.transfer.threshold)
    return Cell(problem.k, lam, hard, problem.transfer.two_sided, problem.own)


def spiker_of(problem: Problem) -> Spiker:
    """Constants of the spiking neuron for the kernels."""
    neuron, lam = problem.neuron, problem.transfer.threshold
    assert isinstance(neuron, SpikingNeuron)
    hard = isinstance(problem.transfer, HardThreshold)
    shift, v_floor = (0.0, np.inf) if hard else (lam, problem.v_floor)
    return Spiker(float(problem.k), lam, shift, neuron.quantum, float(v_floor), float(problem.own))


def tally_of(run: Run, row: int) -> Tally:
    """Where the spikes of a sample are counted."""
    p = run.problem
    return Tally(p.counted_from, p.n_steps, run.weighed[row], run.counts[row], run.totals[row])


def total_drive(run: Run, first: int, last: int) -> FloatArray:
    """``b + d`` of some samples, as far as it does not change over time."""
    b = run.drive[first:last]
    drive_in_order(run.x[first:last], run.phi, run.edges, run.weights, b)
    return b + run.current[first:last]


def wave_of(problem: Problem, row: int) -> FloatArray:
    """The changing driver current of a sample: (n_steps, n_neurons), of no length without one."""
    if problem.waveform is None:
        return np.zeros((0, 0), problem.dtype)
    shared = problem.waveform.shape[1] == 1
    return np.ascontiguousarray(problem.waveform[:, 0 if shared else row], problem.dtype)


def _scratch(problem: Problem) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    m = problem.n_neurons
    # One place more than neurons: see `outputs`.
    return np.zeros(m, problem.dtype), np.zeros(m, problem.dtype), np.zeros(m + 1, np.int64)


def rate_by_lateral(run: Run, first: int, last: int) -> None:
    """Rate neurons, one layer."""
    p, rows = run.problem, slice(first, last)
    tiles = p.coupling.layouts.by(lateral_in_tiles)
    b, room = total_drive(run, first, last), make_room(p.n_neurons, p.dtype)
    waves = np.zeros((0, 1, 1)) if p.waveform is None else p.waveform
    waves = np.ascontiguousarray(waves, p.dtype)
    rate_lateral(
        first, b, waves, run.open_[rows], tiles, cell_of(p), p.n_steps, run.tape, run.slots[rows],
        run.state["u"][rows], run.code[rows], _scratch(p)[2], room,
    )  # fmt: skip


def rate_by_residual(run: Run, first: int, last: int) -> None:
    """Rate neurons, two layers."""
    p, cell, state = run.problem, cell_of(run.problem), run.state
    _, feed, active = _scratch(p)
    for row in range(first, last):
        rate_residual(
            run.x[row], run.current[row], wave_of(p, row), run.open_[row], run.phi, run.edges,
            run.weights, cell, p.n_steps, run.tape, run.slots[row], state["r"][row],
            state["s"][row], state["u"][row], run.code[row], feed, active,
        )  # fmt: skip


def spike_lateral(run: Run, first: int, last: int) -> None:
    """Spiking neurons, one layer."""
    p, cell, state = run.problem, spiker_of(run.problem), run.state
    # L is symmetric to the last bit: its rows are its columns.
    inhibition = p.coupling.inhibition(cell.theta)
    b, (a, c, fired) = total_drive(run, first, last), _scratch(p)
    for row in range(first, last):
        cells = afferents_of(p, row, run.edges, state["p"][row], run.arrived[row])

        def go(step: int, log: Any, used: int, row: int = row, cells: Any = cells) -> Any:
            return spiking_lateral(
                b[row - first], wave_of(p, row), run.open_[row], run.phi, cells, inhibition,
                cell, step, p.n_steps, run.tape, run.slots[row], state["u"][row],
                state["v"][row], a, c, fired, tally_of(run, row), log, p.record.spikes, used,
            )  # fmt: skip

        run.logs[row] = logged(go, p)


def spike_residual(run: Run, first: int, last: int, rates: FloatArray | None = None) -> None:
    """Spiking neurons, two layers; ``rates`` makes the synapses plastic, see the kernel."""
    p, cell, state = run.problem, spiker_of(run.problem), run.state
    a, feed, fired = _scratch(p)
    rates = np.zeros((0, p.n_neurons)) if rates is None else rates
    for row in range(first, last):
        cells = afferents_of(p, row, run.edges, state["p"][row], run.arrived[row])

        def go(step: int, log: Any, used: int, row: int = row, cells: Any = cells) -> Any:
            return spiking_residual(
                run.x[row], run.current[row], wave_of(p, row), run.open_[row], run.phi,
                run.edges, run.weights, cells, rates, cell, step, p.n_steps,
                run.tape, run.slots[row], state["r"][row], state["s"][row], state["u"][row],
                state["v"][row], a, feed, fired, tally_of(run, row), log, p.record.spikes, used,
            )  # fmt: skip

        run.logs[row] = logged(go, p)
        membrane(state["r"][row], run.phi, run.edges, run.weights, state["s"][row], feed,
                 state["u"][row])  # fmt: skip


def logged(go: Callable[[int, Any, int], tuple[int, int]], problem: Problem) -> NDArray[np.int64]:
    """Run one sample to its end, with a longer log each time that it is full."""
    log = np.empty((LOG + problem.n_neurons if problem.record.spikes else 0, 2), np.int64)
    step, used = go(0, log, 0)
    while step < problem.n_steps:
        longer = np.empty((2 * len(log), 2), np.int64)
        longer[:used] = log[:used]
        log = longer
        step, used = go(step, log, used)
    return log[:used].copy()

"""From final states and counts to a `Response`: codes with their certificates, counters, checks.

Every engine ends here, so that a code means the same whoever computed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.problem import Problem
from spikelca.engines.response import Clock, Response, Spikes
from spikelca.metrics import compute_gap, compute_residual, residual_correlation
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import SoftThreshold
from spikelca.utils.validation import FloatArray


def compute_certificates(
    problem: Problem, drive: FloatArray, code: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Fixed-point residual and (soft threshold) relative duality gap of each sample.

    Parameters
    ----------
    problem : Problem
    drive : (n_samples, n_neurons)
        b, without currents.
    code : (n_samples, n_neurons)
    """
    transfer, d, allowed = problem.transfer, problem.current, problem.allowed
    a, b = code.astype(np.float64, copy=False), drive.astype(np.float64, copy=False)
    c = residual_correlation(b, problem.gram, a)
    residual = compute_residual(transfer, c + d, a, allowed)
    if not isinstance(transfer, SoftThreshold):
        return residual, None
    return residual, compute_gap(transfer, b, c, a, problem.stimulus_energy(), d, allowed)


def make_rate_response(
    problem: Problem,
    code: FloatArray,
    state: Mapping[str, FloatArray],
    traces: Mapping[str, FloatArray],
    drive: FloatArray | None = None,
) -> Response:
    """What a rate circuit gives back: the code of its last state, with its certificate.

    ``drive`` is b, if it is at hand.
    """
    assert problem.clock is not None
    b = problem.drive() if drive is None else drive
    residual, gap = compute_certificates(problem, b, code)
    n_iter = np.full(problem.n_samples, problem.clock.n_steps)
    times = problem.clock.times[:: problem.record.every]
    return Response(code, residual, gap, n_iter, state, traces, times, clock=problem.clock)


def make_spiking_response(
    problem: Problem,
    weighed: NDArray[np.int64],
    counts: NDArray[np.int64],
    totals: NDArray[np.int64],
    spikes: Spikes | None,
    state: Mapping[str, FloatArray],
    traces: Mapping[str, FloatArray],
    arrived: NDArray[np.int64] | None = None,
) -> Response:
    """What a spiking circuit gives back: the code read from its spikes, and its counters.

    Parameters
    ----------
    problem : Problem
    weighed : (n_samples, n_neurons)
        Spikes in the read-out window, weighed by `Clock.taper`.
    counts, totals : (n_samples, n_neurons)
        Spikes in the read-out window and in the whole run.
    spikes : Spikes, optional
    state, traces : mapping of str to array
    arrived : (n_samples, n_inputs), optional
        Spikes of all input cells in the whole run, modality after modality.

    Raises
    ------
    ValueError
        If a neuron had more charge than it could fire away, one spike a step.
    """
    assert problem.clock is not None
    neuron, clock, window = problem.neuron, problem.clock, problem.record.window
    assert isinstance(neuron, SpikingNeuron)
    check_backlog(state["v"], neuron, clock)
    code = tapered_code(weighed, clock, window, neuron)
    residual, gap = compute_certificates(problem, problem.drive(), code)
    return Response(
        code,
        residual,
        gap,
        np.full(problem.n_samples, clock.n_steps),
        state,
        traces,
        clock.times[:: problem.record.every],
        spikes,
        counts,
        clock,
        neuron.quantum,
        neuron.tau,
        window,
        count_events(problem, totals, arrived),
    )


def tapered_code(
    weighed: NDArray[np.int64], clock: Clock, window: float, neuron: SpikingNeuron
) -> FloatArray:
    """``a = theta sum_t w_t n_t / (sum_t w_t dt / tau)``, w the taper of the window."""
    whole = clock.taper_sum(window)
    return np.asarray(neuron.quantum * weighed / (whole * (clock.dt / neuron.tau)))


def count_events(
    problem: Problem, totals: NDArray[np.int64], arrived: NDArray[np.int64] | None
) -> dict[str, NDArray[np.int64]]:
    """What the run has cost, in events of each sample; see `make_spiking_response`."""
    found = {"spikes": totals.sum(axis=1), "synaptic_events": totals @ fan_out(problem)}
    if arrived is not None and problem.has_spiking_inputs:
        found["input_spikes"] = arrived.sum(axis=1)
        found["synaptic_events"] = found["synaptic_events"] + arrived @ input_fan_out(problem)
    return found


def input_fan_out(problem: Problem) -> NDArray[np.int64]:
    """Synapses that a spike of each input cell reaches: (n_inputs,), modality after modality.

    In the residual wiring a random spike charges its own residual neuron, and nothing else.
    """
    own = problem.residual_wiring
    return np.concatenate([
        np.ones(p.atoms.shape[1], np.int64) if own and p.charges_dendrite
        else np.count_nonzero(p.atoms, axis=0)
        for p in problem.inputs
    ])  # fmt: skip


def check_backlog(v: FloatArray, neuron: SpikingNeuron, clock: Clock) -> None:
    """Raise ValueError if a generator holds charge that it could not fire away: it saturated.

    A few quanta may wait for their turn after a burst of the others; what a neuron is asked for
    beyond one spike a step, though, piles up.
    """
    late = v > (10 + 0.01 * clock.n_steps) * neuron.quantum
    if late.any():
        sample, cell = np.argwhere(late)[0]
        raise ValueError(
            f"Neuron {cell} of sample {sample} was charged faster than one spike a step can carry "
            f"away: {v[sample, cell] / neuron.quantum:.0f} spikes are left over, and its rate is "
            f"wrong. Take a quantum above {neuron.quantum:.3g}, or a dt below {clock.dt:.3g} s."
        )


def fan_out(problem: Problem) -> NDArray[np.int64]:
    """Synapses that a spike of each neuron reaches, its own reset not counted: (n_neurons,)."""
    if problem.residual_wiring:
        return np.sum([np.count_nonzero(p.atoms, axis=1) for p in problem.inputs], axis=0)
    return problem.coupling.fan_out


def compute_membrane(problem: Problem, state: Mapping[str, FloatArray]) -> FloatArray:
    """u: a state of its own, or in the residual wiring ``sum_i w_i Phi_i^T r_i + s``.

    Input cells that charge v directly have no part in it.
    """
    if not problem.residual_wiring:
        return state["u"]
    total: Any = None
    for p in (p for p in problem.inputs if p.charges_dendrite):
        feed = np.zeros_like(state["s"])
        for r, phi in zip(state[f"r:{p.name}"].T, p.atoms.T, strict=True):
            feed += r[:, None] * phi
        weighted = problem.dtype.type(p.weight) * feed
        total = weighted if total is None else total + weighted
    return np.asarray(state["s"] if total is None else total + state["s"])


def compute_output(problem: Problem, u: FloatArray) -> FloatArray:
    """a = T(u), zero where a driver clamps."""
    a = problem.transfer(u)
    return a if problem.allowed is None else np.where(problem.allowed, a, a.dtype.type(0))

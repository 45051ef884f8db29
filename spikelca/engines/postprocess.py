"""The response from final states and spike counts: codes, duality gaps, event counters, checks.

All engines use these functions, so that a code is defined in the same way in each of them.
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
    """Compute the fixed-point residual and the relative duality gap of each sample.

    They refer to the current at the end of the run.

    Parameters
    ----------
    problem : Problem
    drive : (n_samples, n_neurons)
        b, without currents.
    code : (n_samples, n_neurons)

    Returns
    -------
    residual : (n_samples,)
    gap : (n_samples,) or None
        None unless the transfer function is `SoftThreshold`.
    """
    transfer, d, allowed = problem.transfer, problem.final_current, problem.allowed
    a, b = code.astype(np.float64, copy=False), drive.astype(np.float64, copy=False)
    c = residual_correlation(b, problem.gram, a)
    residual = compute_residual(transfer, c + d, a, allowed)
    if type(transfer) is not SoftThreshold:
        return residual, None
    return residual, compute_gap(transfer, b, c, a, problem.stimulus_energy(), d, allowed)


def make_rate_response(
    problem: Problem,
    code: FloatArray,
    state: Mapping[str, FloatArray],
    traces: Mapping[str, FloatArray],
    drive: FloatArray | None = None,
) -> Response:
    """Make the response of a rate circuit: the code of its last state, and its duality gap.

    ``drive`` is b, if it has already been computed.
    """
    assert problem.clock is not None
    b = problem.drive() if drive is None else drive
    residual, gap = compute_certificates(problem, b, code)
    n_iter = np.full(problem.n_samples, problem.clock.n_steps)
    times = problem.clock.times[:: problem.record.every]
    return Response(code, residual, gap, n_iter, state, traces, times, clock=problem.clock)


def make_spiking_response(
    problem: Problem,
    weighted_counts: NDArray[np.int64],
    counts: NDArray[np.int64],
    totals: NDArray[np.int64],
    spikes: Spikes | None,
    state: Mapping[str, FloatArray],
    traces: Mapping[str, FloatArray],
    input_counts: NDArray[np.int64] | None = None,
) -> Response:
    """Make the response of a spiking circuit: the code from its spikes, and event counters.

    Parameters
    ----------
    problem : Problem
    weighted_counts : (n_samples, n_neurons)
        Spikes in the read-out window, weighted by `Clock.taper`.
    counts, totals : (n_samples, n_neurons)
        Number of spikes in the read-out window and in the whole run.
    spikes : Spikes, optional
    state, traces : mapping of str to array
    input_counts : (n_samples, n_inputs), optional
        Number of spikes of all input cells in the whole run, modality after modality.

    Raises
    ------
    ValueError
        If a neuron saturated, see `check_backlog`.
    """
    assert problem.clock is not None
    neuron, clock, window = problem.neuron, problem.clock, problem.record.window
    assert isinstance(neuron, SpikingNeuron)
    check_backlog(state["v"], neuron, clock)
    code = tapered_code(weighted_counts, clock, window, neuron)
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
        count_events(problem, totals, input_counts),
    )


def tapered_code(
    weighted_counts: NDArray[np.int64], clock: Clock, window: float, neuron: SpikingNeuron
) -> FloatArray:
    """Compute ``a = theta sum_t w_t n_t / (sum_t w_t dt / tau)``, with the taper w."""
    weight_sum = clock.taper_sum(window)
    return np.asarray(neuron.quantum * weighted_counts / (weight_sum * (clock.dt / neuron.tau)))


def count_events(
    problem: Problem, totals: NDArray[np.int64], input_counts: NDArray[np.int64] | None
) -> dict[str, NDArray[np.int64]]:
    """Count the spikes and synaptic events of each sample; see `make_spiking_response`."""
    events = {"spikes": totals.sum(axis=1), "synaptic_events": totals @ fan_out(problem)}
    if input_counts is not None and problem.has_spiking_inputs:
        input_events = input_counts @ input_fan_out(problem)
        events["input_spikes"] = input_counts.sum(axis=1)
        events["synaptic_events"] = events["synaptic_events"] + input_events
    return events


def input_fan_out(problem: Problem) -> NDArray[np.int64]:
    """Count the synapses of each input cell: (n_inputs,), modality after modality.

    With residual wiring, a random spike charges only the residual neuron of its input.
    """
    residual = problem.residual_wiring
    return np.concatenate([
        np.ones(p.atoms.shape[1], np.int64) if residual and p.charges_dendrite
        else np.count_nonzero(p.atoms, axis=0)
        for p in problem.inputs
    ])  # fmt: skip


def check_backlog(v: FloatArray, neuron: SpikingNeuron, clock: Clock) -> None:
    """Raise ValueError if a neuron saturated, that is, required more than one spike per step.

    After a burst of input, a few quanta of charge can remain in v for some steps. With
    saturation the charge grows over the whole run.
    """
    saturated = v > (10 + 0.01 * clock.n_steps) * neuron.quantum
    if saturated.any():
        sample, j = np.argwhere(saturated)[0]
        raise ValueError(
            f"`quantum` must be so large that one spike per step suffices, got "
            f"{neuron.quantum:.3g}: cell {j} of sample {sample} has the charge of "
            f"{v[sample, j] / neuron.quantum:.0f} further spikes, and its rate is wrong. Use a "
            f"larger quantum, or a dt below {clock.dt:.3g} s."
        )


def fan_out(problem: Problem) -> NDArray[np.int64]:
    """Count the synapses of each neuron, without its reset: (n_neurons,)."""
    if problem.residual_wiring:
        return np.sum([np.count_nonzero(p.atoms, axis=1) for p in problem.inputs], axis=0)
    return problem.coupling.fan_out


def compute_membrane(problem: Problem, state: Mapping[str, FloatArray]) -> FloatArray:
    """Return the membrane potential u, a state variable with lateral wiring.

    With residual wiring, u is ``sum_i w_i Phi_i^T r_i + s``, without the modalities whose input
    cells charge v directly.
    """
    if not problem.residual_wiring:
        return state["u"]
    total: Any = None
    for p in (p for p in problem.inputs if p.charges_dendrite):
        feedforward = np.zeros_like(state["s"])
        for r, phi in zip(state[f"r:{p.name}"].T, p.atoms.T, strict=True):
            feedforward += r[:, None] * phi
        weighted = problem.dtype.type(p.weight) * feedforward
        total = weighted if total is None else total + weighted
    return np.asarray(state["s"] if total is None else total + state["s"])


def compute_output(problem: Problem, u: FloatArray) -> FloatArray:
    """Compute a = T(u), zero where a driver clamps the code."""
    a = problem.transfer(u)
    return a if problem.allowed is None else np.where(problem.allowed, a, a.dtype.type(0))

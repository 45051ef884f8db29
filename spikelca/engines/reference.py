"""The reference engine: an executable specification in plain NumPy, one line per equation.

It is not optimised. Other engines are tested against it and against the optimality conditions (KKT,
energy).

One step of each circuit; the order of its parts is described in `spikelca.engines.base`::

    rate, lateral       u' = k (b + d - L a - u) + u                         a = T(u)
    rate, residual      u = sum_i w_i Phi_i^T r_i + s                        a = T(u)
                        r_i' = k (x_i - Phi_i a - r_i) + r_i                 s' = k (a + d - s) + s
    spiking, lateral    u' = k (b + d - u) + u          on a spike of j:     u -= L_j theta
    spiking, residual   u as above, r_i' = k (x_i - r_i) + r_i,  s' = k (d - s) + s
                        on a spike of j:                r_i -= Phi_ij theta,  s_j += theta
    both spiking        v' = k (u - lam) [u > lam or v > floor] + v          spike when v >= theta
    hard threshold      v' = k u [u > lam] + v


with ``k = dt / tau``. A linked driver of gain g reduces the effect of a neuron on its own ``s`` by
``g^2``, as its identity dictionary would. Spiking input cells (`spikelca.model.inputs`), with the
charge q of one spike::

    PoissonInput        lateral:   on a spike of i:  u += Phi_i^T (w q sign(x_i))
                        residual:  on a spike of i:  r_i += q sign(x_i)
    SpikingResidual     p' = k r + p,  spike when |p| >= q,  p -= q sign(p)
                        on a spike of i:  v += Phi_i^T (w q sign(p_i)),  and v >= floor

Spikes are added one by one, in ascending order of the inputs. The order of all products and sums is
the same in every engine, so that the results are bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import Engine
from spikelca.engines.postprocess import (
    compute_certificates,
    compute_membrane,
    compute_output,
    make_rate_response,
    make_spiking_response,
)
from spikelca.engines.problem import InputPopulation, Problem
from spikelca.engines.response import Clock, Response, Spikes
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold
from spikelca.utils.progress import show_progress
from spikelca.utils.validation import FloatArray

InputSigns = list[NDArray[np.int16]]
"""For each modality the signed number of spikes: (n_steps, n_samples, n_inputs)."""


def draw_input_signs(problem: Problem) -> InputSigns:
    """Draw the random spikes of the whole run; those of residual neurons are filled in later."""
    assert problem.clock is not None
    return [_draw_signs(p, problem.k, problem.clock) for p in problem.inputs]


def _draw_signs(population: InputPopulation, k: float, clock: Clock) -> NDArray[np.int16]:
    n_spiking = clock.n_steps if population.quantum else 0
    signs = np.zeros((n_spiking, *population.stimulus.shape), np.int16)
    for row in range(len(population.stimulus)):
        steps, inputs, quanta = population.spike_events(row, k, clock)
        np.add.at(signs[:, row], (steps, inputs), np.sign(quanta).astype(np.int16))
    return signs


def fire_residual_neurons(
    population: InputPopulation, state: dict[str, FloatArray], k: float, signs: Any
) -> None:
    """Integrate and fire the signed residual neurons; ``signs`` is written to."""
    name, quantum = f"p:{population.name}", population.quantum
    p = k * state[f"r:{population.name}"] + state[name]
    signs[:] = np.where(np.abs(p) >= quantum, np.sign(p), 0)
    state[name] = p - signs * quantum


def deliver_to_generators(
    population: InputPopulation, signs: Any, allowed: Any, v: FloatArray
) -> None:
    """Add the charge of input spikes to the unclamped spike generators, in place."""
    previous = v.copy()
    deliver_spikes(population, signs, v)
    if allowed is not None:
        v[~allowed] = previous[~allowed]


def deliver_spikes(population: InputPopulation, signs: Any, target: FloatArray) -> None:
    """Add the charge of input spikes to the targets of their synapses, in place."""
    charge = population.weight * population.quantum
    for i in np.flatnonzero(signs.any(axis=0)):
        for spike in range(np.abs(signs[:, i]).max()):  # one after the other, as in every engine
            spiking = np.abs(signs[:, i]) > spike
            sign = np.sign(signs[spiking, i])
            target[spiking] += population.synapses[i] * (charge * sign)[:, None]


State = dict[str, FloatArray]


def simulate(problem: Problem) -> Response:
    """Integrate all samples together, step by step."""
    assert problem.clock is not None
    spiking = isinstance(problem.neuron, SpikingNeuron)
    advance = _STEP[spiking, problem.residual_wiring]
    state, b = (
        initial_state(problem),
        problem.sequential_drive() + problem.current.astype(problem.dtype),
    )
    recorded: dict[str, list[FloatArray]] = {}
    fired = np.zeros((problem.clock.n_steps if spiking else 0, *b.shape), dtype=bool)
    input_signs = draw_input_signs(problem)
    with show_progress(problem.n_steps, "simulate", "step") as update:
        for step in range(problem.n_steps):
            if step % problem.record.every == 0:
                for name, values in record_state(problem, state, step).items():
                    recorded.setdefault(name, []).append(values)
            advance(problem, state, b, step, fired, input_signs)
            update(1)
    traces = {name: np.array(values) for name, values in recorded.items()}
    if not spiking:
        state["u"] = compute_membrane(problem, state)
        return make_rate_response(problem, compute_output(problem, state["u"]), state, traces)
    spikes = None
    if problem.record.spikes:
        sample, spike_step, neuron = np.nonzero(fired.transpose(1, 0, 2))
        spikes = Spikes(sample, neuron, spike_step)
    state["u"] = compute_membrane(problem, state)
    weighted_counts = np.tensordot(problem.taper, fired, axes=1)
    counts, totals = fired[problem.window_start_step :].sum(axis=0), fired.sum(axis=0)
    input_counts = np.hstack([np.abs(signs).sum(axis=0, dtype=np.int64) for signs in input_signs])
    return make_spiking_response(
        problem, weighted_counts, counts, totals, spikes, state, traces, input_counts
    )


def initial_state(problem: Problem) -> State:
    """Return a copy of the initial state of the problem (default: zeros)."""
    start, state = problem.start or {}, {}
    for name, width in problem.state_widths().items():
        state[name] = np.zeros((problem.n_samples, width), dtype=problem.dtype)
        if name in start:
            state[name][:] = start[name]
    return state


def record_state(problem: Problem, state: State, step: int) -> State:
    """Return the recorded values of the state at the start of a step."""
    record = problem.record
    if not set(record.names) - {"spikes"}:
        return {}
    u = compute_membrane(problem, state)
    current = problem.current.astype(problem.dtype) + problem.waveform_at(step)
    variables = {
        **state,
        "u": u,
        "a": compute_output(problem, u),
        "current": np.broadcast_to(current, u.shape),
    }
    recorded = np.ix_(record.samples, record.neurons)
    values = {name: variables[name][recorded] for name in record.names if name in variables}
    if "r" in record.names:
        values |= {name: r[record.samples] for name, r in state.items() if name.startswith("r:")}
    return values


def generator_input(problem: Problem, u: FloatArray, v: FloatArray) -> FloatArray:
    """Compute the input of the spike generator: ``tau dv/dt``."""
    lam = problem.transfer.threshold
    if isinstance(problem.transfer, HardThreshold):
        flow = np.where(u > lam, u, 0.0)
    else:
        flow = np.where((u > lam) | (v > problem.v_floor), u - lam, 0.0)
    return flow if problem.allowed is None else np.where(problem.allowed, flow, 0.0)


def _step_rate_lateral(
    p: Problem, state: State, b: FloatArray, step: int, fired: Any, input_signs: InputSigns
) -> None:
    u, k = state["u"], p.k
    a = compute_output(p, u)
    state["u"] = k * (b + p.waveform_at(step) - a @ p.lateral - u) + u


def _step_rate_residual(
    p: Problem, state: State, b: FloatArray, step: int, fired: Any, input_signs: InputSigns
) -> None:
    a, k, s = compute_output(p, compute_membrane(p, state)), p.k, state["s"]
    for population in p.inputs:
        r, feedback = state[f"r:{population.name}"], np.zeros_like(population.stimulus)
        for a_j, phi in zip(a.T, population.atoms, strict=True):
            feedback += a_j[:, None] * phi
        state[f"r:{population.name}"] = k * ((population.stimulus - feedback) - r) + r
    current = p.current.astype(p.dtype)
    state["s"] = k * (((p.self_gain * a + current) + p.waveform_at(step)) - s) + s


def _step_spiking_lateral(
    p: Problem, state: State, b: FloatArray, step: int, fired: Any, input_signs: InputSigns
) -> None:
    u, v, k = state["u"], state["v"], p.k
    theta, lateral = p.neuron.quantum, p.lateral  # type: ignore[attr-defined]
    new_u, new_v = k * ((b + p.waveform_at(step)) - u) + u, k * generator_input(p, u, v) + v
    fired[step] = new_v >= theta
    for population, signs in zip(p.inputs, input_signs, strict=True):
        if population.quantum:
            deliver_spikes(population, signs[step], new_u)
    for j in np.flatnonzero(fired[step].any(axis=0)):
        new_u[fired[step, :, j]] -= lateral[:, j] * theta
    state["u"], state["v"] = new_u, np.where(fired[step], new_v - theta, new_v)


def _step_spiking_residual(
    p: Problem, state: State, b: FloatArray, step: int, fired: Any, input_signs: InputSigns
) -> None:
    u, v, s, k = compute_membrane(p, state), state["v"], state["s"], p.k
    theta: float = p.neuron.quantum  # type: ignore[attr-defined]
    new_v = k * generator_input(p, u, v) + v
    new_s = k * ((p.current + p.waveform_at(step)) - s) + s
    fired[step] = new_v >= theta
    residuals = []
    for population, signs in zip(p.inputs, input_signs, strict=True):
        r = state[f"r:{population.name}"]
        new_r = k * (population.constant_input - r) + r
        residuals.append(new_r)
        if not population.charges_dendrite:
            fire_residual_neurons(population, state, k, signs[step])
            deliver_to_generators(population, signs[step], p.allowed, new_v)
        elif population.quantum:
            for spike in range(np.abs(signs[step]).max()):
                fires = np.abs(signs[step]) > spike
                new_r += np.where(fires, np.sign(signs[step]) * population.quantum, 0.0)
    for population, r in zip(p.inputs, residuals, strict=True):
        for j in np.flatnonzero(fired[step].any(axis=0)):
            r[fired[step, :, j]] -= population.atoms[j] * theta
        state[f"r:{population.name}"] = r
    state["v"] = np.where(fired[step], new_v - theta, new_v)
    state["s"] = np.where(fired[step], new_s + p.self_gain * theta, new_s)
    if p.has_direct_inputs:
        state["v"] = np.maximum(state["v"], p.v_floor)


_STEP: dict[
    tuple[bool, bool], Callable[[Problem, State, FloatArray, int, Any, InputSigns], None]
] = {
    (False, False): _step_rate_lateral,
    (False, True): _step_rate_residual,
    (True, False): _step_spiking_lateral,
    (True, True): _step_spiking_residual,
}


class ReferenceEngine(Engine):
    """The executable specification: NumPy loops over time, all samples together."""

    name = "reference"
    neurons = (RateNeuron, SpikingNeuron)
    input_kinds = (AnalogInput, PoissonInput, SpikingResidual)

    def check(self, problem: Problem) -> None:
        """Check that the types are implemented; rate neurons have any transfer function."""
        super().check(problem)
        if isinstance(problem.neuron, SpikingNeuron):
            self._check_type("transfer", problem.transfer, (SoftThreshold, HardThreshold))

    def encode(self, problem: Problem, tol: float, max_iter: int) -> Response:
        """Integrate the rate equations with a stable step until every sample has converged."""
        b, k = problem.drive(), problem.dtype.type(problem.coupling.default_step)
        total = b + problem.current.astype(problem.dtype)
        u = np.zeros_like(total)
        if problem.start is not None:
            u += problem.transfer.inverse(problem.start["a"])
        n_iter = np.zeros(problem.n_samples, dtype=np.int64)
        pending = np.arange(problem.n_samples)
        for step in range(max_iter):
            a = _output(problem, u, pending)
            u[pending] += k * (total[pending] - a @ problem.lateral - u[pending])
            n_iter[pending] = step + 1
            if step % 50 == 49:
                a = _output(problem, u, pending)
                pending = pending[~_converged(problem, b, a, tol, pending)]
                if pending.size == 0:
                    break
        a = _output(problem, u, np.arange(problem.n_samples))
        residual, gap = compute_certificates(problem, b, a)
        return Response(a, residual, gap, n_iter, state={"u": u})

    def simulate(self, problem: Problem) -> Response:
        """Integrate by forward Euler, in the order described in `spikelca.engines.base`."""
        return simulate(problem)


def _output(problem: Problem, u: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
    a = problem.transfer(u[rows] if len(rows) != len(u) else u)
    return a if problem.allowed is None else np.where(problem.allowed[rows], a, a.dtype.type(0))


def _converged(
    problem: Problem, b: FloatArray, code: FloatArray, tol: float, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    selected = problem.select(rows)
    residual, gap = compute_certificates(selected, b[rows], code)
    # Without a gap (hard threshold, or a current above the threshold) the residual decides.
    if gap is not None:
        return np.asarray((residual <= tol) & ~(gap > tol))
    return np.asarray(residual <= tol)

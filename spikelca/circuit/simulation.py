"""From a Problem to a run: its clock, its waveforms, what it records, and what would go wrong.

Everything is checked here, before time begins: the step against the spectrum, the quantum against
the step, the recording against the memory. A spiking circuit becomes what every engine can run: in
float64, and with a pair of one-sided cells for each signed unit.

One spike a step: what a cell can carry, and what is refused because it would carry more.

A cell that is asked for more than one spike a step would count too few, and nobody would know. So
the strongest drive and the largest input are looked at before time begins, and the step is chosen
so that they fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikelca.circuit.compile import expand_on_off, merge_on_off, needs_on_off
from spikelca.engines import (
    DEFAULT_WINDOW,
    RECORDABLE,
    Clock,
    Coupling,
    Engine,
    Problem,
    Record,
    Response,
)
from spikelca.engines.problem import InputPopulation
from spikelca.model.drivers import CurrentDriver, Driver
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold
from spikelca.utils.system import available_bytes, format_bytes
from spikelca.utils.validation import (
    FloatArray,
    as_float,
    check_finite,
    check_indices,
    to_positive_seconds,
)


def run_simulation(
    problem: Problem,
    drivers: Sequence[Driver],
    engine: Engine,
    duration: Any,
    dt: Any | None,
    **options: Any,
) -> Response:
    """Prepare a run and hand it to the engine.

    Parameters
    ----------
    problem : Problem
        Compiled without those drivers that are told by time.
    drivers : sequence of Driver
        All of them; those told by time are looked at here.
    engine : Engine
    duration, dt, **options
        As in `Circuit.run_simulation`.
    """
    run = prepare_run(problem, drivers, engine.float64_only, duration, dt, **options)
    response = engine.simulate(run)
    return merge_on_off(response, widen(problem)) if needs_on_off(problem) else response


def prepare_run(
    problem: Problem,
    drivers: Sequence[Driver],
    double: bool,
    duration: Any,
    dt: Any | None,
    *,
    start: Mapping[str, FloatArray] | None = None,
    **kept: Any,
) -> Problem:
    """The problem as an engine simulates it: timed, recorded, in pairs if need be, started."""
    check_spiking_inputs(problem)
    if double or isinstance(problem.neuron, SpikingNeuron):
        problem = widen(problem)
    run = set_recording(add_clock(problem, duration, dt, drivers), **kept)
    return set_initial_state(expand_on_off(run) if needs_on_off(run) else run, start)


def static_drivers(drivers: Sequence[Driver]) -> tuple[Driver, ...]:
    """The drivers that do the same all the time."""
    return tuple(d for d in drivers if not isinstance(d, CurrentDriver))


def add_clock(
    problem: Problem, duration: Any, dt: Any | None, drivers: Sequence[Driver] = ()
) -> Problem:
    """The problem with its clock and the currents of the drivers that are told by time.

    Raises
    ------
    ValueError
        If the duration is shorter than a step, the step is beyond the stability limit, or a
        spiking neuron would saturate.
    """
    clock = make_clock(problem, duration, dt)
    current, waveform = problem.current, None
    for driver in drivers:
        if isinstance(driver, CurrentDriver):
            d = driver.current_at(clock.times, problem.n_samples, problem.n_neurons)
            if len(d) == 1 and clock.n_steps > 1:
                current = current + d[0]
            else:
                waveform = d if waveform is None else waveform + d
    if waveform is not None:
        waveform = waveform.astype(problem.dtype)
    run = replace(problem, clock=clock, current=current, waveform=waveform)
    check_saturation(run)
    return run


def make_clock(problem: Problem, duration: Any, dt: Any | None) -> Clock:
    """The clock of a run; without dt the longest step that is certainly right."""
    tau, duration = problem.neuron.tau, to_positive_seconds(duration, "duration")
    dt = default_k(problem) * tau if dt is None else to_positive_seconds(dt, "dt")
    limit = problem.coupling.step_limit
    if dt / tau >= limit:
        raise ValueError(
            f"dt is {dt:.3g} s, {dt / tau:.3g} of tau; below {limit * tau:.3g} s ({limit:.3g} of "
            "tau) forward Euler is certainly stable for this dictionary. Take a smaller dt, or "
            "leave dt out."
        )
    if duration < dt * (1 - 1e-9):
        raise ValueError(
            f"duration is {duration:.3g} s, shorter than one step of {dt:.3g} s. "
            "Simulate for longer."
        )
    return Clock(dt, round(duration / dt))


def widen(problem: Problem) -> Problem:
    """The same problem in float64, its Gram matrix computed anew."""
    if problem.dtype == np.float64:
        return problem
    inputs = tuple(
        replace(p.with_atoms(p.atoms.astype(np.float64)), stimulus=p.stimulus.astype(np.float64))
        for p in problem.inputs
    )
    gram = np.diag(np.full(problem.n_neurons, problem.gain))
    for p in inputs:
        gram += p.weight * (p.atoms @ p.atoms.T)
    return replace(problem, inputs=inputs, coupling=Coupling((gram + gram.T) * 0.5))


def set_recording(
    problem: Problem,
    record: Sequence[str] = (),
    every: int = 1,
    neurons: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    window: float = DEFAULT_WINDOW,
) -> Problem:
    """The problem with what it is to record, once it is sure that this fits into memory."""
    assert problem.clock is not None
    offered = recordable_names(problem)
    wrong = [name for name in record if name not in offered]
    if wrong or isinstance(record, str):
        raise ValueError(f"record is {record!r}; a sequence out of {offered} was awaited here.")
    if every != int(every) or every < 1:
        raise ValueError(f"every is {every}; a whole number of steps, 1 or more, was awaited.")
    spiking = isinstance(problem.neuron, SpikingNeuron)
    (problem.clock.readout_start if spiking else problem.clock.window_start)(window)
    kept = Record(
        tuple(record),
        int(every),
        check_indices(neurons, problem.n_neurons, "neurons"),
        check_indices(samples, problem.n_samples, "samples"),
        window,
    )
    run = replace(problem, record=kept)
    check_memory(run)
    return run


def recordable_names(problem: Problem) -> tuple[str, ...]:
    """What a circuit of this kind can record."""
    absent = set() if problem.residual_wiring else {"r", "s"}
    if not isinstance(problem.neuron, SpikingNeuron):
        absent |= {"v", "spikes"}
    return tuple(name for name in RECORDABLE if name not in absent)


def check_memory(problem: Problem) -> None:
    """Raise MemoryError if the recording would not fit into the memory that is free."""
    needed = recording_bytes(problem)
    # The system is asked only if there is something to ask for.
    if needed and needed > (free := available_bytes()):
        every = max(2, math.ceil(problem.record.every * needed / free))
        raise MemoryError(
            f"The recording needs about {format_bytes(needed)}, and {format_bytes(free)} are free. Record "
            f"every {every} steps or more (every=), fewer neurons (neurons=) or samples "
            "(samples=), or split the batch."
        )


def recording_bytes(problem: Problem) -> int:
    """Memory of all that is recorded; spikes are an estimate from above of a settled circuit."""
    assert problem.clock is not None
    record, n_values = problem.record, 0
    for name in record.names:
        if name == "r":
            n_values += len(record.samples) * sum(p.atoms.shape[1] for p in problem.inputs)
        elif name != "spikes":
            n_values += len(record.samples) * len(record.neurons)
    traces = n_values * record.n_times(problem.clock) * problem.dtype.itemsize
    return traces + (24 * expected_spikes(problem) if record.spikes else 0)


def expected_spikes(problem: Problem) -> int:
    """How many spikes there may be: what the drive without rivals, or the energy, allows."""
    assert problem.clock is not None
    assert isinstance(problem.neuron, SpikingNeuron)
    lam, soft = problem.transfer.threshold, isinstance(problem.transfer, SoftThreshold)
    total = problem.drive() + problem.current
    charges = (np.abs(total) if problem.transfer.two_sided else total) - (lam if soft else 0.0)
    activity = np.maximum(charges, 0.0).sum(axis=1)
    if soft and not problem.current.any():
        # At the optimum lam |a|_1 <= |x|^2 / 2.
        activity = np.minimum(activity, problem.stimulus_energy() / (2 * lam))
    spikes = activity.sum() / problem.neuron.quantum * problem.clock.dt / problem.neuron.tau
    return int(min(spikes, problem.n_samples * problem.n_neurons) * problem.clock.n_steps)


def set_initial_state(problem: Problem, start: Mapping[str, FloatArray] | None) -> Problem:
    """The problem with a checked state to start from.

    Raises
    ------
    ValueError
        If a variable is unknown here, has another shape, or is not finite.
    """
    if start is None:
        return problem
    widths = {"u": problem.n_neurons, **problem.state_widths()}
    checked = {}
    for name, values in start.items():
        if name not in widths:
            raise ValueError(f"start holds {name!r}; this circuit has the states {list(widths)}.")
        array, awaited = as_float(values, f"start {name!r}"), (problem.n_samples, widths[name])
        if array.shape != awaited:
            raise ValueError(f"start {name!r} has shape {array.shape}; {awaited} was awaited.")
        check_finite(array, f"start {name!r}")
        checked[name] = array
    return replace(problem, start=checked)


def default_k(problem: Problem) -> float:
    """dt / tau: half the stability limit, and no longer than one quantum takes to charge."""
    k = problem.coupling.default_step
    if isinstance(problem.neuron, SpikingNeuron):
        largest = max_drive(problem)
        k = min(k, problem.neuron.quantum / largest) if largest > 0 else k
    return min(
        [
            k,
            *(
                p.quantum / peak_stimulus(p)
                for p in problem.inputs
                if p.quantum and peak_stimulus(p)
            ),
        ]
    )


def peak_stimulus(population: InputPopulation) -> float:
    """The largest absolute stimulus."""
    return float(np.abs(population.stimulus).max(initial=0.0))


def max_drive(problem: Problem) -> float:
    """The largest code that any drive could ask for: ``b + d - lam`` (soft), ``b + d`` (hard)."""
    two = problem.transfer.two_sided
    total = problem.drive() + problem.current
    if problem.waveform is not None:
        low, high = total + problem.waveform.min(axis=0), total + problem.waveform.max(axis=0)
        total = np.maximum(high, -low) if two else high
    elif two:
        total = np.abs(total)
    if problem.allowed is not None:
        total = np.where(problem.allowed, total, -np.inf)
    hard = isinstance(problem.transfer, HardThreshold)
    return float(total.max()) - (0.0 if hard else problem.transfer.threshold)


def check_saturation(problem: Problem) -> None:
    """Raise ValueError if some drive asks for more than one spike a step: theta < k * code."""
    assert problem.clock is not None
    if not isinstance(problem.neuron, SpikingNeuron):
        return
    check_input_saturation(problem)
    k, theta = problem.clock.dt / problem.neuron.tau, problem.neuron.quantum
    largest = max_drive(problem)
    if theta < k * largest * (1 - 1e-9):
        raise ValueError(
            f"The strongest drive asks for a code of {largest:.3g}; with quantum {theta:.3g} and "
            f"dt {problem.clock.dt:.3g} s ({k:.3g} of tau) a neuron carries {theta / k:.3g} at most"
            f", one spike a step. Take a quantum of at least {k * largest:.3g}, or a dt of at most "
            f"{theta / largest * problem.neuron.tau:.3g} s."
        )


def check_input_saturation(problem: Problem) -> None:
    """Raise ValueError if an input cell would have to fire more than once a step."""
    assert problem.clock is not None
    k, tau = problem.clock.dt / problem.neuron.tau, problem.neuron.tau
    for p in problem.inputs:
        peak = peak_stimulus(p)
        if p.quantum and k * peak > p.quantum * (1 + 1e-9):
            raise ValueError(
                f"The largest input of {p.name!r} is {peak:.3g}; with spikes of {p.quantum:.3g} "
                f"and dt {problem.clock.dt:.3g} s ({k:.3g} of tau) an input cell carries "
                f"{p.quantum / k:.3g} at most, one spike a step. Take spikes of at least "
                f"{k * peak:.3g} (quantum of PoissonInput, threshold of SpikingResidual), or a dt "
                f"of at most {p.quantum / peak * tau:.3g} s."
            )


def check_spiking_inputs(problem: Problem) -> None:
    """Raise ValueError if input cells that spike stand where they cannot work."""
    if problem.has_spiking_inputs and not isinstance(problem.neuron, SpikingNeuron):
        raise ValueError(
            f"The circuit has a {type(problem.neuron).__name__} and input cells that spike. Take "
            "a SpikingNeuron, or AnalogInput for every dictionary."
        )
    if problem.has_direct_inputs and not problem.residual_wiring:
        raise ValueError(
            "SpikingResidual inputs count off the reconstruction error, which the wiring 'lateral' "
            "does not hold. Take Circuit(..., wiring='residual')."
        )
    if problem.has_direct_inputs and isinstance(problem.transfer, HardThreshold):
        raise ValueError(
            "SpikingResidual inputs charge past the dendrite u, which a hard threshold must see. "
            "Take a SoftThreshold, or AnalogInput or PoissonInput."
        )

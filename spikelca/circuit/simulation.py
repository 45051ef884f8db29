"""Preparation of a simulation: clock, waveforms, recording, initial state and saturation.

Everything is checked before the run: the step against the stability limit, the quantum against the
step, the recording against the free memory. A spiking circuit is converted to a form that every
engine supports: float64, with a pair of one-sided ON and OFF cells for each signed neuron.

Saturation: a neuron fires at most once per step. A larger drive would lose spikes without an error,
so the strongest drive and the largest input are checked, and the default step avoids saturation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.circuit.compile import expand_on_off, merge_on_off, needs_on_off
from spikelca.engines import (
    DEFAULT_WINDOW,
    MAX_WINDOW_STEPS,
    RECORDABLE,
    Clock,
    Engine,
    Problem,
    Record,
    Response,
    Spikes,
    State,
)
from spikelca.engines.currents import TimeVaryingCurrent
from spikelca.engines.problem import InputPopulation
from spikelca.model.drivers import CurrentDriver, Driver
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import HardThreshold, SoftThreshold
from spikelca.model.waveforms import Constant, Waveform
from spikelca.utils.system import available_bytes, format_bytes
from spikelca.utils.validation import (
    FloatArray,
    check_indices,
    check_integer,
    to_positive_seconds,
    to_seconds,
)

MAX_TIME_ERROR = 1e-6
"""Largest difference between the start of a run and a multiple of dt, as a fraction of dt."""

LONG_RUN = 2000.0
"""Duration in units of tau from which a run is announced: codes settle within 100 tau."""

MAX_STEP_REDUCTIONS = 8
"""Maximum number of times that the default step is shortened for high waveforms."""


def run_simulation(
    problem: Problem,
    drivers: Sequence[Driver],
    engine: Engine,
    duration: Any,
    dt: Any | None,
    **options: Any,
) -> Response:
    """Prepare a run and simulate it with the engine.

    Parameters
    ----------
    problem : Problem
        Compiled without time-varying drivers.
    drivers : sequence of Driver
        All drivers; the currents of time-varying drivers are added here.
    engine : Engine
    duration, dt, **options
        As in `Circuit.simulate`.
    """
    engine.check(problem)
    run = prepare_run(problem, drivers, engine.float64_only, duration, dt, **options)
    assert run.clock is not None
    announce_long_run(run.clock, problem.neuron.tau)
    response = engine.simulate(run)
    if response.spikes is not None:
        spikes = select_spikes(response.spikes, run.record, run.n_samples, run.n_neurons)
        response = replace(response, spikes=spikes)
    response = set_time(response, run.clock)
    n_recorded = len(run.record.neurons) // (2 if needs_on_off(problem) else 1)
    neurons, samples = run.record.neurons[:n_recorded], run.record.samples
    every = run.record.every
    response = replace(response, neurons=neurons, samples=samples, every=every)
    return merge_on_off(response, problem.astype(np.float64)) if needs_on_off(problem) else response


def announce_long_run(clock: Clock, tau: float) -> None:
    """Warn before a run that is so long that its duration may be in another unit."""
    duration = clock.n_steps * clock.dt
    if duration > LONG_RUN * tau:
        warnings.warn(
            f"The run takes {clock.n_steps} steps: a duration of {duration:g} s is "
            f"{duration / tau:.0f} tau. Times are in seconds: 100 ms is 0.1.",
            stacklevel=4,
        )


def prepare_run(
    problem: Problem,
    drivers: Sequence[Driver],
    float64: bool,
    duration: Any,
    dt: Any | None,
    *,
    start: Any = None,
    t_start: Any | None = None,
    **recording: Any,
) -> Problem:
    """Add clock, waveforms, recording, ON and OFF cells and initial state to a problem."""
    check_spiking_inputs(problem)
    if float64 or isinstance(problem.neuron, SpikingNeuron):
        problem = problem.astype(np.float64)
    state = read_start(start)
    dt = state.dt if dt is None else dt
    run = add_clock(problem, duration, dt, drivers, partial(find_first_step, state, t_start))
    run = set_recording(run, **recording)
    run = expand_on_off(run) if needs_on_off(run) else run
    check_memory(run)
    return set_initial_state(run, state)


def read_start(start: Any) -> State:
    """Return the initial state of a response, a state, a mapping of arrays, or None.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    state = getattr(start, "state", start)
    if not isinstance(state, Mapping | None):
        raise TypeError(
            f"start must be a response, its state or a mapping of arrays, got "
            f"{type(start).__name__}. Use start=response."
        )
    return state if isinstance(state, State) else State(state or {})


def find_first_step(state: State, t_start: Any | None, dt: float) -> int:
    """Return the number of steps of dt before the run, from the state or the time of its start.

    Raises
    ------
    ValueError
        If the start is not a multiple of dt.
    """
    if t_start is None and dt == state.dt:
        return state.step
    time = state.step * (state.dt or 0.0) if t_start is None else to_seconds(t_start, "t_start")
    step = round(time / dt)
    if step < 0 or abs(step * dt - time) > MAX_TIME_ERROR * dt:
        raise ValueError(
            f"The start of the run must be a multiple of dt >= 0, got {time:.6g} s and a dt of "
            f"{dt:.6g} s. Use the dt of the state, or another t_start."
        )
    return step


def select_spikes(spikes: Spikes, record: Record, n_samples: int, n_neurons: int) -> Spikes:
    """Return the spikes of the recorded neurons and samples only."""
    if (len(record.samples), len(record.neurons)) == (n_samples, n_neurons):
        return spikes
    is_recorded = np.isin(spikes.sample, record.samples) & np.isin(spikes.neuron, record.neurons)
    sample, neuron, step = (values[is_recorded] for values in spikes)
    return Spikes(sample, neuron, step)


def set_time(response: Response, clock: Clock) -> Response:
    """Return a response whose state has its time, and whose spikes count steps from time zero."""
    spikes = response.spikes
    if spikes is not None:
        spikes = replace(spikes, step=spikes.step + clock.first_step, dt=clock.dt)
    state = State(response.state, clock.end_step, clock.dt)
    return replace(response, state=state, spikes=spikes)


def static_drivers(drivers: Sequence[Driver]) -> tuple[Driver, ...]:
    """Return the drivers that have a constant effect."""
    return tuple(d for d in drivers if not isinstance(d, CurrentDriver))


def add_clock(
    problem: Problem,
    duration: Any,
    dt: Any | None,
    drivers: Sequence[Driver] = (),
    first_step: Callable[[float], int] = lambda dt: 0,
) -> Problem:
    """Add the clock and the currents of time-varying drivers to a problem.

    ``first_step`` returns the number of steps before the run for a dt.

    Raises
    ------
    ValueError
        If the duration is shorter than a step, the step is beyond the stability limit, or a
        spiking neuron would saturate.
    """
    resolution = min((resolution_of(d) for d in drivers), default=math.inf)
    clock = make_clock(problem, duration, dt, first_step, resolution)
    if dt is not None:
        warn_of_coarse_step(clock.dt, resolution)
    run = add_currents(problem, clock, drivers)
    # With a shorter step a waveform may reach a higher value, which requires a shorter step again.
    for _ in range(MAX_STEP_REDUCTIONS if dt is None else 0):
        default_dt = min(default_k(run) * problem.neuron.tau, resolution)
        shorter = make_clock(problem, duration, default_dt, first_step)
        if shorter.dt >= clock.dt * (1 - 1e-9) or shorter.n_steps > MAX_WINDOW_STEPS:
            break
        clock = shorter
        run = add_currents(problem, clock, drivers)
    check_saturation(run)
    return run


def warn_of_coarse_step(dt: float, resolution: float) -> None:
    """Warn if a given step is longer than the longest one that resolves the waveforms."""
    if dt > resolution * (1 + 1e-9):
        warnings.warn(
            f"dt should be at most {resolution:.3g} s to resolve the waveforms of the drivers, got "
            f"{dt:.3g} s: a shorter pulse can be missed. Use a smaller dt, or dt=None.",
            stacklevel=6,
        )


def add_currents(problem: Problem, clock: Clock, drivers: Sequence[Driver]) -> Problem:
    """Add a clock and the currents of each `CurrentDriver` at its times to a problem."""
    current, size = problem.current, (problem.n_samples, problem.n_neurons)
    varying = []
    for number, driver in enumerate(drivers):
        if isinstance(driver, CurrentDriver) and isinstance(driver.waveform, Constant):
            current = current + driver.current_at(np.zeros(1), *size)[0]
        elif isinstance(driver, CurrentDriver):
            varying.append((number, driver))
    waveform = compile_waveform(varying, clock, size, problem.dtype) if varying else None
    return replace(problem, clock=clock, current=current, waveform=waveform)


def compile_waveform(
    drivers: Sequence[tuple[int, CurrentDriver]],
    clock: Clock,
    size: tuple[int, int],
    dtype: np.dtype[Any],
) -> TimeVaryingCurrent:
    """Compile the sum of time-varying drivers, each with its number in the circuit.

    The last value is computed here, so that an array that is too short raises before the run.
    """

    def compute(start: int, stop: int, rows: NDArray[np.int64] | None) -> FloatArray:
        times = clock.times_of(start, stop)
        return reduce(
            add,
            (
                driver.current_at(times, *size, dt=clock.dt, driver=number, rows=rows)
                for number, driver in drivers
            ),
        ).astype(dtype, copy=False)

    per_sample = any(driver.per_sample for _, driver in drivers)
    shape = (clock.n_steps, size[0] if per_sample else 1, size[1])
    compute(clock.n_steps - 1, clock.n_steps, np.zeros(1, np.int64) if per_sample else None)
    return TimeVaryingCurrent(compute, shape)


def resolution_of(driver: Driver) -> float:
    """Return the longest step in seconds that resolves the current of a driver."""
    waveform = getattr(driver, "waveform", None)
    return waveform.resolution if isinstance(waveform, Waveform) else math.inf


def make_clock(
    problem: Problem,
    duration: Any,
    dt: Any | None,
    first_step: Callable[[float], int],
    resolution: float = math.inf,
) -> Clock:
    """Make the clock of a run; if dt is None, with the default step, at most ``resolution``."""
    tau, duration = problem.neuron.tau, to_positive_seconds(duration, "duration")
    default_dt = min(default_k(problem) * tau, resolution)
    dt = default_dt if dt is None else to_positive_seconds(dt, "dt")
    limit = problem.coupling.step_limit
    if dt / tau >= limit:
        raise ValueError(
            f"dt must be below the stability limit {limit * tau:.3g} s ({limit:.3g} tau) of this "
            f"dictionary, got {dt:.3g} s ({dt / tau:.3g} tau). Use a smaller dt, or dt=None."
        )
    if duration < dt * (1 - 1e-9):
        raise ValueError(f"duration must be at least one step of {dt:.3g} s, got {duration:.3g} s.")
    return Clock(dt, round(duration / dt), first_step(dt))


def set_recording(
    problem: Problem,
    record: Sequence[str] = (),
    every: int = 1,
    neurons: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    window: float = DEFAULT_WINDOW,
    learns: bool = False,
) -> Problem:
    """Check the recording and add it to a problem.

    With ``learns``, the synapses are plastic, and weights can be recorded.
    """
    assert problem.clock is not None
    names = (*recordable_names(problem), "weights") if learns else recordable_names(problem)
    is_sequence = isinstance(record, Iterable) and not isinstance(record, str)
    unknown = not is_sequence or [name for name in record if name not in names]
    if unknown:
        raise ValueError(f"record must be a sequence of names from {names}, got {record!r}.")
    every = check_integer(every, "every", 1)
    spiking = isinstance(problem.neuron, SpikingNeuron)
    (problem.clock.readout_start if spiking else problem.clock.window_start)(window)
    recording = Record(
        tuple(record),
        every,
        check_indices(neurons, problem.n_neurons, "neurons"),
        check_indices(samples, problem.n_samples, "samples"),
        window,
    )
    return replace(problem, record=recording)


def recordable_names(problem: Problem) -> tuple[str, ...]:
    """Return the names of the variables that the circuit can record."""
    absent = set() if problem.residual_wiring else {"r", "s"}
    if not isinstance(problem.neuron, SpikingNeuron):
        absent |= {"v", "spikes"}
    return tuple(name for name in RECORDABLE if name not in absent)


def check_memory(problem: Problem) -> None:
    """Raise MemoryError if the recording does not fit into the free memory."""
    needed = recording_bytes(problem)
    # Free memory is read only if something is recorded.
    if needed and needed > (free := available_bytes()):
        every = max(2, math.ceil(problem.record.every * needed / free))
        raise MemoryError(
            f"The recording must fit into the free memory of {format_bytes(free)}, got about "
            f"{format_bytes(needed)}. Record every {every} steps or more (every=), fewer neurons "
            "(neurons=) or samples (samples=), or split the batch."
        )


def recording_bytes(problem: Problem) -> int:
    """Estimate the memory of the recording, with an upper bound for the spikes."""
    assert problem.clock is not None
    record, n_values = problem.record, 0
    for name in record.names:
        if name == "r":
            n_values += len(record.samples) * sum(p.atoms.shape[1] for p in problem.inputs)
        elif name == "weights":
            n_values += len(record.samples) * sum(p.atoms.size for p in problem.inputs)
        elif name != "spikes":
            n_values += len(record.samples) * len(record.neurons)
    traces = n_values * record.n_times(problem.clock) * problem.dtype.itemsize
    return traces + (24 * expected_spikes(problem) if record.spikes else 0)


def expected_spikes(problem: Problem) -> int:
    """Compute an upper bound on the number of spikes of one-sided codes: drive or energy."""
    assert problem.clock is not None
    assert isinstance(problem.neuron, SpikingNeuron)
    lam, soft = problem.transfer.threshold, isinstance(problem.transfer, SoftThreshold)
    total = problem.drive() + problem.current
    if problem.waveform is not None:
        total = total + problem.waveform.bounds()[1]
    charges = total - (lam if soft else 0.0)
    activity = np.maximum(charges, 0.0).sum(axis=1)
    if soft and problem.waveform is None and not problem.current.any():
        # At the optimum lam |a|_1 <= |x|^2 / 2.
        activity = np.minimum(activity, problem.stimulus_energy() / (2 * lam))
    spikes = activity.sum() / problem.neuron.quantum * problem.clock.dt / problem.neuron.tau
    return int(min(spikes, problem.n_samples * problem.n_neurons) * problem.clock.n_steps)


def set_initial_state(problem: Problem, start: State) -> Problem:
    """Check the initial state and add it to a problem."""
    return replace(problem, start=problem.check_state(start, "start")) if start else problem


def default_k(problem: Problem) -> float:
    """Compute the default dt / tau: half the stability limit, and at most one spike per step."""
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
                if not p.charges_dendrite and peak_stimulus(p)
            ),
        ]
    )


def peak_stimulus(population: InputPopulation) -> float:
    """Return the largest absolute stimulus."""
    return float(np.abs(population.stimulus).max(initial=0.0))


def max_drive(problem: Problem) -> float:
    """Compute the largest possible code: max of ``b + d - lam`` (soft) or ``b + d`` (hard)."""
    two_sided = problem.transfer.two_sided
    total = problem.drive() + problem.current
    if problem.waveform is not None:
        lowest, highest = problem.waveform.bounds()
        low, high = total + lowest, total + highest
        total = np.maximum(high, -low) if two_sided else high
    elif two_sided:
        total = np.abs(total)
    if problem.allowed is not None:
        total = np.where(problem.allowed, total, -np.inf)
    hard = isinstance(problem.transfer, HardThreshold)
    return float(total.max()) - (0.0 if hard else problem.transfer.threshold)


def check_saturation(problem: Problem) -> None:
    """Raise ValueError if a drive requires more than one spike per step: theta < k * code."""
    assert problem.clock is not None
    if not isinstance(problem.neuron, SpikingNeuron):
        return
    check_input_saturation(problem)
    k, theta = problem.clock.dt / problem.neuron.tau, problem.neuron.quantum
    largest = max_drive(problem)
    if theta < k * largest * (1 - 1e-9):
        raise ValueError(
            f"The code must be at most {theta / k:.3g} (one spike per step) with quantum "
            f"{theta:.3g} and dt {problem.clock.dt:.3g} s ({k:.3g} tau), got {largest:.3g} at "
            f"the strongest drive. Use a quantum of at least {k * largest:.3g}, or a dt of at most "
            f"{theta / largest * problem.neuron.tau:.3g} s."
        )


def check_input_saturation(problem: Problem) -> None:
    """Raise ValueError if a residual neuron would have to fire more than once per step."""
    assert problem.clock is not None
    k, tau = problem.clock.dt / problem.neuron.tau, problem.neuron.tau
    for p in problem.inputs:
        peak = peak_stimulus(p)
        if not p.charges_dendrite and k * peak > p.quantum * (1 + 1e-9):
            raise ValueError(
                f"The inputs of {p.name!r} must be at most {p.quantum / k:.3g} (one spike per "
                f"step) with spikes of {p.quantum:.3g} and dt {problem.clock.dt:.3g} s ({k:.3g} "
                f"tau), got {peak:.3g}. Use SpikingResidual(threshold=...) of at least "
                f"{k * peak:.3g}, or a dt of at most {p.quantum / peak * tau:.3g} s."
            )


def check_spiking_inputs(problem: Problem) -> None:
    """Raise ValueError if the circuit does not support its spiking inputs."""
    if problem.has_spiking_inputs and not isinstance(problem.neuron, SpikingNeuron):
        raise ValueError(
            f"neuron must be a SpikingNeuron for spiking inputs, got "
            f"{type(problem.neuron).__name__}. Use a SpikingNeuron, or AnalogInput for every "
            "dictionary."
        )
    if problem.has_direct_inputs and not problem.residual_wiring:
        raise ValueError(
            "wiring must be 'residual' for SpikingResidual inputs, got 'lateral'. The lateral "
            "wiring has no residual neurons: use Circuit(..., wiring='residual')."
        )
    if problem.has_direct_inputs and isinstance(problem.transfer, HardThreshold):
        raise ValueError(
            "transfer must be a SoftThreshold for SpikingResidual inputs, got HardThreshold. "
            "These inputs bypass the dendrite u, on which a hard threshold depends: use a "
            "SoftThreshold, or AnalogInput or PoissonInput."
        )

"""Learning in simulation: checks before the run and the learned circuit after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikelca.circuit.compile import needs_on_off
from spikelca.circuit.simulation import (
    add_currents,
    announce_long_run,
    check_saturation,
    prepare_run,
    read_start,
    select_spikes,
    set_initial_state,
)
from spikelca.engines import Engine, OnlineResult, OnlineRule, Problem, State
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import CurrentDriver, Driver
from spikelca.model.inputs import PoissonInput
from spikelca.model.plasticity import Activity, Hebbian, PlasticityState


@dataclass(frozen=True, eq=False)
class Presentations(Sequence[Problem]):
    """The problems of the presentations of a run, made when they are needed.

    Time and time-varying currents continue from one presentation to the next, and so does the noise
    of each driver. An index into the samples of a driver is the number of a presentation.

    Parameters
    ----------
    problem : Problem
        With all samples, and the clock of the first presentation.
    drivers : sequence of Driver
        All drivers; the currents of time-varying drivers are added to each presentation.
    start : State
        Initial state of the first presentation.
    """

    problem: Problem
    drivers: Sequence[Driver]
    start: State

    def __len__(self) -> int:
        return self.problem.n_samples

    def __getitem__(self, index: Any) -> Any:
        clock, number = self.problem.clock, range(len(self))[index]
        assert clock is not None
        clock = replace(clock, first_step=clock.first_step + number * clock.n_steps)
        problem = add_currents(self.problem, clock, self.drivers).select(np.array([number]))
        # The only sample of this problem is recorded, or none.
        record = self.problem.record
        is_recorded = number in record.samples and bool(set(record.names) - {"spikes"})
        record = replace(record, samples=np.zeros(int(is_recorded), np.int64))
        return set_initial_state(replace(problem, record=record), self.start)


ONLINE_OPTIONS = ("window", "record", "every", "neurons", "samples", "t_start")


def check_rules(dictionaries: Sequence[Dictionary]) -> None:
    """Raise NotImplementedError for a rule that plastic synapses of a simulation do not have."""
    if any(d.plasticity is not None and d.plasticity.non_negative for d in dictionaries):
        raise NotImplementedError(
            "Learning in simulation is not supported for Hebbian(non_negative=True). Use "
            "Hebbian(), or Circuit.learn_step."
        )


def check_plastic(problem: Problem) -> None:
    """Raise an error for circuits whose synapses cannot learn in a simulation, see `run_online`."""
    if not problem.residual_wiring:
        raise ValueError(
            "wiring must be 'residual' for learning in simulation, got 'lateral'. Synapses learn "
            "from residual neurons: use Circuit(..., wiring='residual')."
        )
    if needs_on_off(problem):
        raise NotImplementedError(
            "Learning in simulation is not supported for spiking neurons with signed codes: the "
            "synapses of their ON and OFF cells would diverge. Use a one-sided transfer, or "
            "RateNeuron."
        )
    poisson_inputs = [p.name for p in problem.inputs if isinstance(p.input_kind, PoissonInput)]
    if poisson_inputs:
        raise NotImplementedError(
            f"Learning in simulation is not supported for PoissonInput, got {poisson_inputs}. Use "
            "AnalogInput or SpikingResidual."
        )


def check_options(options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that does not exist."""
    unknown = [name for name in options if name not in ONLINE_OPTIONS]
    if unknown:
        raise TypeError(
            f"learn_in_simulation must have only the options {(*ONLINE_OPTIONS, 'start')}, got "
            f"{unknown}."
        )


def select_recorded(result: OnlineResult, run: Problem) -> OnlineResult:
    """Return a result with the spikes of recorded neurons and presentations, and their indices."""
    spikes, record = result.spikes, run.record
    if spikes is not None:
        spikes = select_spikes(spikes, record, run.n_samples, run.n_neurons)
    recorded = np.unique(record.samples) if result.traces else record.samples[:0]
    return replace(result, spikes=spikes, presentations=recorded)


def run_online(
    problem: Problem,
    dictionaries: Sequence[Dictionary],
    drivers: Sequence[Driver],
    engine: Engine,
    presentation: Any,
    dt: Any | None,
    rate: float,
    decay: float,
    state: PlasticityState,
    *,
    start: Any = None,
    **options: Any,
) -> tuple[dict[str, Any], OnlineResult]:
    """Present the samples one after the other and return the changed fields of the circuit.

    Raises
    ------
    ValueError
        If the circuit has no residual neurons, whose error the synapses require.
    NotImplementedError
        For ON and OFF cells, whose weights would diverge, and for Poisson inputs.
    """
    engine.check(problem)
    # `Hebbian` checks the rate and the decay.
    rule = Hebbian(rate, decay)
    check_plastic(problem)
    check_options(options)
    first = read_start(start)
    options["start"] = replace(first, arrays={})
    run = prepare_run(problem, drivers, True, presentation, dt, learns=True, **options)
    assert run.clock is not None
    announce_long_run(run.clock, run.neuron.tau)
    without_currents = replace(run, current=problem.current, waveform=None)
    continued = [replace(d, shared=True) if isinstance(d, CurrentDriver) else d for d in drivers]
    presentations = Presentations(without_currents, continued, first)
    if run.waveform is not None:
        for each in presentations:
            check_saturation(each)
    plastic = {d.name: d.plasticity is not None for d in dictionaries}
    rates = np.array([rule.rate if plastic[p.name] else 0.0 for p in run.inputs])
    result = engine.learn_online(presentations, OnlineRule(rates, rule.decay, state.usage))
    end_step = run.clock.first_step + len(presentations) * run.clock.n_steps
    result = select_recorded(result, run)
    result = replace(result, state=State(result.state, end_step, run.clock.dt))
    dtype = dictionaries[0].atoms.dtype
    learned = tuple(
        d._with_atoms(result.atoms[d.name].astype(dtype)) if d.name in result.atoms else d
        for d in dictionaries
    )
    silent = Activity.from_code(result.code).silent_after(state.silent)
    return {
        "dictionaries": learned,
        "plasticity": PlasticityState(result.usage, silent),
    }, result

"""Learning inside the simulation: checks and arrays around an engine's plastic synapses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spikelca.circuit.compile import needs_on_off
from spikelca.circuit.simulation import prepare_run, set_initial_state
from spikelca.engines import Engine, OnlineResult, OnlineRule, Problem
from spikelca.engines.online import select_presentation
from spikelca.model.dictionary import Dictionary
from spikelca.model.inputs import PoissonInput
from spikelca.model.plasticity import Activity, Hebbian, PlasticityState
from spikelca.utils.validation import FloatArray


def run_online(
    problem: Problem,
    dictionaries: Sequence[Dictionary],
    engine: Engine,
    presentation: Any,
    dt: Any | None,
    rate: float,
    memory: float,
    state: PlasticityState,
    *,
    start: Mapping[str, FloatArray] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], OnlineResult]:
    """Run the stream and return the parts of the circuit that have learnt from it.

    Raises
    ------
    ValueError
        If the circuit has no residual neurons, from whose error its synapses could learn.
    NotImplementedError
        For pairs of spiking cells, whose weights would drift apart, and for random spikes.
    """
    # The same checks for both rules.
    rule = Hebbian(rate, memory)
    if not problem.residual_wiring:
        raise ValueError(
            "The circuit has the wiring 'lateral'; synapses learn in the simulation from residual "
            "neurons. Take Circuit(..., wiring='residual')."
        )
    if needs_on_off(problem):
        raise NotImplementedError(
            "Spiking neurons with signed codes are pairs of cells whose synapses would drift apart "
            "while they learn. Take a one-sided transfer, or RateNeuron."
        )
    told = [p.name for p in problem.inputs if isinstance(p.input_kind, PoissonInput)]
    if told:
        raise NotImplementedError(
            f"Synapses do not learn from the random spikes of {told}. Take AnalogInput or "
            "SpikingResidual for what learns."
        )
    run = prepare_run(problem, (), True, presentation, dt, **options)
    run = replace(run, start=set_initial_state(select_presentation(run, 0), start).start)
    plastic = {d.name: d.plasticity is not None for d in dictionaries}
    rates = np.array([rule.rate if plastic[p.name] else 0.0 for p in run.inputs])
    stream = engine.learn_online(run, OnlineRule(rates, rule.memory, state.usage))
    dtype = dictionaries[0].atoms.dtype
    moved = tuple(
        d._with_atoms(stream.atoms[d.name].astype(dtype)) if d.name in stream.atoms else d
        for d in dictionaries
    )
    silent = Activity.from_code(stream.code).silent_after(state.silent)
    after = PlasticityState(stream.usage, silent)
    return {"dictionaries": moved, "plasticity": after}, stream

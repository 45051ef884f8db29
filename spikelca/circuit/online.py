"""Learning in simulation: checks before the run and the learned circuit after it."""

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
    decay: float,
    state: PlasticityState,
    *,
    start: Mapping[str, FloatArray] | None = None,
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
    run = prepare_run(problem, (), True, presentation, dt, **options)
    run = replace(run, start=set_initial_state(select_presentation(run, 0), start).start)
    plastic = {d.name: d.plasticity is not None for d in dictionaries}
    rates = np.array([rule.rate if plastic[p.name] else 0.0 for p in run.inputs])
    result = engine.learn_online(run, OnlineRule(rates, rule.decay, state.usage))
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

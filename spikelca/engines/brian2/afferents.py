"""Input cells that spike, as Brian2's own objects; see `spikelca.inputs` for what they do.

Random spikes are drawn beforehand, the same as in every engine, and told by a SpikeGeneratorGroup.
Signed residual neurons fire of themselves; their equations stand in `equations.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import InputPopulation, Problem
from spikelca.engines.brian2.equations import (
    HOLD,
    KICK,
    ON_ARRIVAL_LATERAL,
    ON_ARRIVAL_RESIDUAL,
    suffix,
)
from spikelca.inputs import PoissonInput
from spikelca.validation import FloatArray


def random_inputs(
    brian2: Any, problem: Problem, population: Any, inputs: dict[str, Any], clock: Any, code: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Generators of random spikes, and the synapses through which they arrive, by modality."""
    generators, arrivals = {}, {}
    for i, p in enumerate(problem.inputs):
        if not isinstance(p.cells, PoissonInput):
            continue
        name = suffix(problem, i)
        generators[p.name] = _generator(brian2, problem, p, name, clock, code)
        target = inputs[p.name] if problem.residual_wiring else population
        arrivals[p.name] = synapses = brian2.Synapses(
            generators[p.name],
            target,
            KICK,
            on_pre=ON_ARRIVAL_RESIDUAL if problem.residual_wiring else ON_ARRIVAL_LATERAL,
            namespace={},
            clock=clock,
            name=f"spikelca_arrival_{name}*",
            codeobj_class=code,
        )
        synapses.pre.order = -2
        _connect(synapses, problem, p)
    return generators, arrivals


def _generator(
    brian2: Any, problem: Problem, p: InputPopulation, name: str, clock: Any, code: Any
) -> Any:
    n_samples, n_inputs = p.stimulus.shape
    told = [p.arrivals(row, problem.k, problem.n_steps) for row in range(n_samples)]
    steps = np.concatenate([steps for steps, _, _ in told])
    cells = np.concatenate([inputs + row * n_inputs for row, (_, inputs, _) in enumerate(told)])
    order = np.lexsort((cells, steps))
    return brian2.SpikeGeneratorGroup(
        n_samples * n_inputs,
        cells[order],
        steps[order] * clock.dt_ * brian2.second,
        clock=clock,
        name=f"spikelca_random_{name}*",
        codeobj_class=code,
        sorted=True,
    )


def _connect(synapses: Any, problem: Problem, p: InputPopulation) -> None:
    """From every cell that may fire to what it charges; a silent cell needs no synapse."""
    charge = p.quantum * np.sign(p.stimulus)
    sample, cell = np.nonzero(charge)
    if not len(cell):
        # Brian2 takes no empty list; a synapse without weight does nothing.
        sample, cell = np.zeros(1, np.int64), np.zeros(1, np.int64)
    source = sample * p.stimulus.shape[1] + cell
    if problem.residual_wiring:
        synapses.connect(i=source, j=source, namespace={})
        kicks: FloatArray = charge[sample, cell]
    else:
        targets = sample[:, None] * problem.n_neurons + np.arange(problem.n_neurons)
        synapses.connect(i=np.repeat(source, problem.n_neurons), j=targets.ravel(), namespace={})
        scaled = charge[sample, cell] * p.weight
        kicks = (p.synapses[cell] * scaled[:, None]).ravel()
    synapses.variables["kick"].get_value()[:] = kicks


def hold_at_floor(problem: Problem, population: Any, clock: Any, code: Any) -> None:
    """Where input cells charge v directly, it sinks no deeper than its floor."""
    if problem.v_is_charged:
        population.run_regularly(
            HOLD, clock=clock, when="end", name="spikelca_hold*", codeobj_class=code
        )


def arrived(problem: Problem, monitors: Mapping[str, Any]) -> NDArray[np.int64]:
    """Spikes of every input cell so far: (n_samples, n_inputs), modality after modality."""
    shapes = [p.stimulus.shape for p in problem.inputs]
    counts = [
        np.asarray(monitors[f"input spikes:{p.name}"].count[:], np.int64).reshape(shape)
        if p.quantum
        else np.zeros(shape, np.int64)
        for p, shape in zip(problem.inputs, shapes, strict=True)
    ]
    return np.hstack(counts)

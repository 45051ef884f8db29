"""Brian2 objects of a problem; their equations are in `equations.py`.

All samples are in one population: neuron j of sample s has the index ``s * n_neurons + j``, and
there are no synapses between samples. Brian2's magic network is not used: all objects are in one
explicit Network with its own Clock.

Random input spikes are drawn before the simulation, as in every engine, and emitted by a
SpikeGeneratorGroup. Signed residual neurons have their own equations and threshold.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.brian2.equations import (
    CLIP_V,
    EVENT_WEIGHT,
    ON_ARRIVAL_LATERAL,
    ON_ARRIVAL_RESIDUAL,
    SIGNED_RESET,
    SIGNED_THRESHOLD,
    ModelEquations,
    make_equations,
    suffix,
)
from spikelca.engines.brian2.live import Brian2Circuit
from spikelca.engines.brian2.session import import_brian2, use_preferences
from spikelca.engines.problem import InputPopulation, Problem
from spikelca.model.inputs import PoissonInput
from spikelca.model.neurons import SpikingNeuron
from spikelca.utils.validation import FloatArray


def make_poisson_inputs(
    brian2: Any, problem: Problem, population: Any, inputs: dict[str, Any], clock: Any, code: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the generators of random spikes and their synapses, by modality."""
    generators, arrivals = {}, {}
    for i, p in enumerate(problem.inputs):
        if not isinstance(p.input_kind, PoissonInput):
            continue
        name = suffix(problem, i)
        generators[p.name] = _make_spike_generator(brian2, problem, p, name, clock, code)
        target = inputs[p.name] if problem.residual_wiring else population
        arrivals[p.name] = synapses = brian2.Synapses(
            generators[p.name],
            target,
            EVENT_WEIGHT,
            on_pre=ON_ARRIVAL_RESIDUAL if problem.residual_wiring else ON_ARRIVAL_LATERAL,
            namespace={},
            clock=clock,
            name=f"spikelca_arrival_{name}*",
            codeobj_class=code,
        )
        synapses.pre.order = -2
        _connect_inputs(synapses, problem, p)
    return generators, arrivals


def _make_spike_generator(
    brian2: Any, problem: Problem, p: InputPopulation, name: str, clock: Any, code: Any
) -> Any:
    steps, cells, copies = _list_random_spikes(problem, p)
    n_copies = count_copies(copies)
    return brian2.SpikeGeneratorGroup(
        p.stimulus.size * n_copies,
        cells * n_copies + copies,
        steps * clock.dt_ * brian2.second,
        clock=clock,
        name=f"spikelca_random_{name}*",
        codeobj_class=code,
        sorted=True,
    )


def _list_random_spikes(
    problem: Problem, p: InputPopulation
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """List step, cell and copy of the random spikes of all samples, sorted by step and cell.

    A generator fires a cell at most once per step, so that each cell has copies: the second spike
    in a step is that of copy 1, the third that of copy 2.
    """
    assert problem.clock is not None
    n_samples, n_inputs = p.stimulus.shape
    events = [p.spike_events(row, problem.k, problem.clock) for row in range(n_samples)]
    steps = np.concatenate([steps for steps, _, _ in events])
    cells = np.concatenate([inputs + row * n_inputs for row, (_, inputs, _) in enumerate(events)])
    order = np.lexsort((cells, steps))
    steps, cells = steps[order], cells[order]
    is_first = np.ones(len(steps), bool)
    is_first[1:] = (np.diff(steps) != 0) | (np.diff(cells) != 0)
    index = np.arange(len(steps))
    return steps, cells, index - np.maximum.accumulate(np.where(is_first, index, 0))


def count_copies(copies: NDArray[np.int64]) -> int:
    """Return the number of copies of each cell."""
    return int(copies.max(initial=0)) + 1


def _connect_inputs(synapses: Any, problem: Problem, p: InputPopulation) -> None:
    """Connect every copy of every input cell that may fire to its targets."""
    charge, n_copies = p.quantum * np.sign(p.stimulus), len(synapses.source) // p.stimulus.size
    sample, cell = np.nonzero(charge)
    if not len(cell):
        # Brian2 does not accept an empty list; a synapse of weight zero has no effect.
        sample, cell = np.zeros(1, np.int64), np.zeros(1, np.int64)
    sample, cell = np.repeat(sample, n_copies), np.repeat(cell, n_copies)
    target = sample * p.stimulus.shape[1] + cell
    source = target * n_copies + np.arange(len(target)) % n_copies
    if problem.residual_wiring:
        synapses.connect(i=source, j=target, namespace={})
        weights: FloatArray = charge[sample, cell]
    else:
        targets = sample[:, None] * problem.n_neurons + np.arange(problem.n_neurons)
        synapses.connect(i=np.repeat(source, problem.n_neurons), j=targets.ravel(), namespace={})
        scaled = charge[sample, cell] * p.weight
        weights = (p.synapses[cell] * scaled[:, None]).ravel()
    synapses.variables["w"].get_value()[:] = weights


def clip_at_floor(problem: Problem, population: Any, clock: Any, code: Any) -> None:
    """Clip v at its floor after each step, if input cells charge v directly."""
    if problem.has_direct_inputs:
        population.run_regularly(
            CLIP_V, clock=clock, when="end", name="spikelca_hold*", codeobj_class=code
        )


def count_input_spikes(problem: Problem, monitors: Mapping[str, Any]) -> NDArray[np.int64]:
    """Count the spikes of every input cell: (n_samples, n_inputs), modality after modality."""
    shapes = [p.stimulus.shape for p in problem.inputs]
    counts = [
        np.asarray(monitors[f"input spikes:{p.name}"].count[:], np.int64)
        .reshape(*shape, -1)
        .sum(axis=-1)
        if p.quantum
        else np.zeros(shape, np.int64)
        for p, shape in zip(problem.inputs, shapes, strict=True)
    ]
    return np.hstack(counts)


BYTES_PER_SYNAPSE = 52
"""Measured peak memory of Brian2 while the synapses are made."""


def build_network(problem: Problem, code: Any) -> Brian2Circuit:
    """Make all objects of a circuit, at rest and without a stimulus.

    Parameters
    ----------
    problem : Problem
        In float64, with its clock.
    code : class
        Brian2's code object class of the target.
    """
    brian2, equations = import_brian2(), make_equations(problem)
    assert problem.clock is not None
    # Release the names of deleted objects: Brian2 finds compiled code in its cache only if the new
    # objects have the same names.
    gc.collect()
    with use_preferences():
        clock = brian2.Clock(dt=problem.clock.dt * brian2.second, name="spikelca_clock*")
        population = _make_population(brian2, problem, equations, clock, code)
        inputs, synapses, lateral = {}, {}, None
        if problem.residual_wiring:
            for i, p in enumerate(problem.inputs):
                inputs[p.name] = _make_input(brian2, problem, equations, i, clock, code)
                synapses[p.name] = _make_synapses(
                    brian2, problem, equations, i, inputs[p.name], population, clock, code
                )
        else:
            lateral = _make_lateral(brian2, problem, equations, population, clock, code)
        random, arrivals = make_poisson_inputs(brian2, problem, population, inputs, clock, code)
        clip_at_floor(problem, population, clock, code)
        monitors = _make_monitors(brian2, problem, population, inputs, random, code)
        parts = [population, *inputs.values(), *synapses.values(), *monitors.values(),
                 *random.values(), *arrivals.values()]  # fmt: skip
        network = brian2.Network(*parts, *([] if lateral is None else [lateral]))
    for brian2_object in network:
        # Brian2 sets this at the first run only, and warns when objects are deleted without it.
        brian2_object._network = network.id
    return Brian2Circuit(
        network, population, inputs, synapses, lateral, monitors, str(equations), clock, problem
    )


def _make_population(
    brian2: Any, problem: Problem, equations: ModelEquations, clock: Any, code: Any
) -> Any:
    namespace = {}
    if problem.waveform is not None:
        n_steps = problem.waveform.shape[0]
        waveform = problem.waveform.values(0, n_steps).reshape(n_steps, -1)
        namespace["wave"] = brian2.TimedArray(waveform, dt=clock.dt, name="spikelca_wave*")
    group = brian2.NeuronGroup(
        problem.n_samples * problem.n_neurons,
        equations.population,
        method="euler",
        threshold=equations.threshold,
        reset=equations.reset,
        namespace=namespace,
        clock=clock,
        name="spikelca_population*",
        codeobj_class=code,
    )
    neuron = problem.neuron
    values = {"lam": problem.transfer.threshold, "tau": neuron.tau, "own": float(problem.self_gain)}
    if isinstance(neuron, SpikingNeuron):
        values |= {
            "theta": neuron.quantum,
            "v_floor": problem.v_floor,
        }
    values |= {f"g_{suffix(problem, i)}": p.weight for i, p in enumerate(problem.inputs)}
    for name in values.keys() & group.variables.keys():
        group.variables[name].get_value()[:] = values[name]
    return group


def _make_input(
    brian2: Any, problem: Problem, equations: ModelEquations, i: int, clock: Any, code: Any
) -> Any:
    p = problem.inputs[i]
    group = brian2.NeuronGroup(
        problem.n_samples * p.atoms.shape[1],
        equations.inputs[i],
        method="euler",
        threshold=None if p.charges_dendrite else SIGNED_THRESHOLD,
        reset=None if p.charges_dendrite else SIGNED_RESET,
        namespace={},
        clock=clock,
        name=f"spikelca_input_{suffix(problem, i)}*",
        codeobj_class=code,
    )
    values = {"tau": problem.neuron.tau, "quantum": p.quantum, "charge": p.weight * p.quantum}
    for name in values.keys() & group.variables.keys():
        group.variables[name].get_value()[:] = values[name]
    return group


def _make_synapses(
    brian2: Any,
    problem: Problem,
    equations: ModelEquations,
    i: int,
    source: Any,
    target: Any,
    clock: Any,
    code: Any,
) -> Any:
    """Make the synapses of a modality: feed-forward, learning and feedback on the same weights."""
    name = suffix(problem, i)
    synapses = brian2.Synapses(
        source,
        target,
        equations.phi[i],
        on_pre=equations.on_input_spike[i] or None,
        on_post=dict(equations.on_spike[i]) or None,
        namespace={},
        clock=clock,
        name=f"spikelca_phi_{name}*",
        codeobj_class=code,
    )
    # Order within the slot: input of the neurons, then feedback, then all state variables.
    for variable, updater in synapses.summed_updaters.items():
        updater.order = -3 if variable == "feedback_pre" else -4
    if not problem.inputs[i].charges_dendrite:
        synapses.pre.order = -1
    for order, pathway in enumerate(equations.on_spike[i]):
        getattr(synapses, pathway).order = order
    weights = problem.inputs[i].synapses
    pre, post = np.divmod(np.arange(weights.size), weights.shape[1])
    _connect(synapses, problem.n_samples, pre, post, weights.shape, weights.ravel())
    return synapses


def _make_lateral(
    brian2: Any,
    problem: Problem,
    equations: ModelEquations,
    population: Any,
    clock: Any,
    code: Any,
) -> Any:
    synapses = brian2.Synapses(
        population,
        population,
        equations.lateral,
        on_pre=equations.on_lateral_spike,
        namespace={},
        clock=clock,
        name="spikelca_lateral*",
        codeobj_class=code,
    )
    weights = problem.lateral.T
    pre, post = np.nonzero(weights)
    _connect(synapses, problem.n_samples, pre, post, weights.shape, weights[pre, post])
    return synapses


def _connect(synapses: Any, n_samples: int, pre: NDArray[np.int64], post: NDArray[np.int64],
             widths: tuple[int, ...], weights: FloatArray) -> None:  # fmt: skip
    """Make the same synapses for each sample."""
    if not len(pre):
        # Brian2 does not accept an empty list; a synapse of weight zero has no effect.
        pre, post, weights = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
    block = np.arange(n_samples, dtype=np.int32)[:, None]
    sources = (pre.astype(np.int32) + block * np.int32(widths[0])).ravel()
    targets = (post.astype(np.int32) + block * np.int32(widths[1])).ravel()
    synapses.connect(i=sources, j=targets, namespace={})
    synapses.variables["w"].get_value().reshape(n_samples, -1)[:] = weights


def _make_monitors(
    brian2: Any,
    problem: Problem,
    population: Any,
    inputs: dict[str, Any],
    random: dict[str, Any],
    code: Any,
) -> dict[str, Any]:
    """Make a spike monitor, and a state monitor for each recorded trace."""
    record, monitors = problem.record, {}
    assert problem.clock is not None
    if isinstance(problem.neuron, SpikingNeuron):
        monitors["spikes"] = brian2.SpikeMonitor(
            population, name="spikelca_spikes*", codeobj_class=code
        )
    for p in problem.inputs:
        if p.quantum:
            # Random spikes are emitted by the generator, not by its residual neuron.
            monitors[f"input spikes:{p.name}"] = brian2.SpikeMonitor(
                {**inputs, **random}[p.name],
                record=False,
                name="spikelca_input_spikes*",
                codeobj_class=code,
            )
    dt = record.every * problem.clock.dt * brian2.second

    def make_state_monitor(group: Any, name: str, cells: NDArray[np.int64]) -> Any:
        # After the sums of this step are computed, before the state is updated.
        return brian2.StateMonitor(
            group, name, record=cells, dt=dt, when="groups", order=-2,
            name=f"spikelca_{name}*", codeobj_class=code,
        )  # fmt: skip

    cells = (record.samples[:, None] * problem.n_neurons + record.neurons).ravel()
    for name in record.names:
        if name in ("u", "a", "v", "s"):
            monitors[name] = make_state_monitor(population, name, cells)
        elif name == "r":
            for p in problem.inputs:
                width = p.atoms.shape[1]
                chosen = (record.samples[:, None] * width + np.arange(width)).ravel()
                monitors[f"r:{p.name}"] = make_state_monitor(inputs[p.name], "r", chosen)
    return monitors


def network_bytes(problem: Problem) -> int:
    """Estimate the memory for the synapses of all samples, and for time-varying currents."""
    n_synapses = sum(p.atoms.size for p in problem.inputs if problem.residual_wiring or p.quantum)
    if not problem.residual_wiring:
        n_synapses += problem.n_neurons**2
    waveform = 0 if problem.waveform is None else 8 * math.prod(problem.waveform.shape)
    return BYTES_PER_SYNAPSE * n_synapses * problem.n_samples + waveform

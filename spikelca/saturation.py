"""One spike a step: what a cell can carry, and what is refused because it would carry more.

A cell that is asked for more than one spike a step would count too few, and nobody would know. So
the strongest drive and the largest input are looked at before time begins, and the step is chosen
so that they fit.
"""

from __future__ import annotations

import numpy as np

from spikelca.engines import Problem
from spikelca.engines.base import InputPopulation
from spikelca.neurons import SpikingNeuron
from spikelca.transfer import HardThreshold


def automatic_k(problem: Problem) -> float:
    """dt / tau: half the stability limit, and no longer than one quantum takes to charge."""
    k = problem.coupling.automatic_step
    if isinstance(problem.neuron, SpikingNeuron):
        largest = largest_charge(problem)
        k = min(k, problem.neuron.quantum / largest) if largest > 0 else k
    return min([k, *(p.quantum / peak_of(p) for p in problem.inputs if p.quantum and peak_of(p))])


def peak_of(population: InputPopulation) -> float:
    """The largest absolute stimulus."""
    return float(np.abs(population.stimulus).max(initial=0.0))


def largest_charge(problem: Problem) -> float:
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
    largest = largest_charge(problem)
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
        peak = peak_of(p)
        if p.quantum and k * peak > p.quantum * (1 + 1e-9):
            raise ValueError(
                f"The largest input of {p.name!r} is {peak:.3g}; with spikes of {p.quantum:.3g} "
                f"and dt {problem.clock.dt:.3g} s ({k:.3g} of tau) an input cell carries "
                f"{p.quantum / k:.3g} at most, one spike a step. Take spikes of at least "
                f"{k * peak:.3g} (quantum of PoissonInput, threshold of SpikingResidual), or a dt "
                f"of at most {p.quantum / peak * tau:.3g} s."
            )


def check_inputs(problem: Problem) -> None:
    """Raise ValueError if input cells that spike stand where they cannot work."""
    if problem.inputs_spike and not isinstance(problem.neuron, SpikingNeuron):
        raise ValueError(
            f"The circuit has a {type(problem.neuron).__name__} and input cells that spike. Take "
            "a SpikingNeuron, or AnalogInput for every dictionary."
        )
    if problem.v_is_charged and not problem.residual_wiring:
        raise ValueError(
            "SpikingResidual inputs count off the reconstruction error, which the wiring 'lateral' "
            "does not hold. Take Circuit(..., wiring='residual')."
        )
    if problem.v_is_charged and isinstance(problem.transfer, HardThreshold):
        raise ValueError(
            "SpikingResidual inputs charge past the dendrite u, which a hard threshold must see. "
            "Take a SoftThreshold, or AnalogInput or PoissonInput."
        )

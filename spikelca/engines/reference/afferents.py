"""Input cells that spike, as their equations stand; see `spikelca.inputs`.

::

    random              lateral:   on a spike of i:  u += Phi_i^T (w q sign(x_i))
                        residual:  on a spike of i:  r_i += q sign(x_i)
    signed residual     p' = k r + p,  spike when |p| >= q,  p -= q sign(p)
                        on a spike of i:  v += Phi_i^T (w q sign(p_i)),  and v >= floor

Every spike is added on its own, in ascending order of the inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import InputPopulation, Problem
from spikelca.validation import FloatArray

Sent = list[NDArray[np.int8]]
"""For each modality the sign of each spike, zero for none: (n_steps, n_samples, n_inputs)."""


def sent_by(problem: Problem) -> Sent:
    """Random spikes of the whole run, drawn beforehand; room for those of residual neurons."""
    return [_sent(p, problem.k, problem.n_steps) for p in problem.inputs]


def _sent(population: InputPopulation, k: float, n_steps: int) -> NDArray[np.int8]:
    spiking = n_steps if population.quantum else 0
    signs = np.zeros((spiking, *population.stimulus.shape), np.int8)
    for row in range(len(population.stimulus)):
        steps, inputs, quanta = population.arrivals(row, k, n_steps)
        signs[steps, row, inputs] = np.sign(quanta)
    return signs


def emit(population: InputPopulation, state: dict[str, FloatArray], k: float, signs: Any) -> None:
    """Signed residual neurons charge and fire; ``signs`` is written to."""
    name, quantum = f"p:{population.name}", population.quantum
    p = k * state[f"r:{population.name}"] + state[name]
    signs[:] = np.where(np.abs(p) >= quantum, np.sign(p), 0)
    state[name] = p - signs * quantum


def charge_directly(population: InputPopulation, signs: Any, allowed: Any, v: FloatArray) -> None:
    """Their spikes charge the spike generators, in place; not those that a driver clamps."""
    before = v.copy()
    spread(population, signs, v)
    if allowed is not None:
        v[~allowed] = before[~allowed]


def spread(population: InputPopulation, signs: Any, target: FloatArray) -> None:
    """Spikes charge the cells that their synapses lead to, in place."""
    charge = population.weight * population.quantum
    for i in np.flatnonzero(signs.any(axis=0)):
        hit = signs[:, i] != 0
        target[hit] += population.synapses[i] * (charge * signs[hit, i])[:, None]

"""Input cells that spike, in the fast engine; the equations stand in `spikelca.inputs`.

Random spikes are drawn before a sample is run and handed to the kernel as a list in order of time.
Signed residual neurons fire inside the time loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelca.engines.base import Problem
from spikelca.engines.numba.compile import exact_kernel
from spikelca.validation import FloatArray


class Afferents(NamedTuple):
    """The spiking input cells of one sample.

    Attributes
    ----------
    steps, inputs, charges : (n_arrivals,)
        Random spikes in order of time, and what each adds.
    quanta : (n_modalities,)
        Threshold of signed residual neurons; zero for other cells.
    weights : (n_modalities,)
    floor : float
        Of v, if some cells charge it directly; else minus infinity.
    p : (n_inputs,)
        Charge of the signed residual neurons; written to.
    totals : (n_inputs,)
        Spikes of each input cell; written to.
    """

    steps: NDArray[np.int64]
    inputs: NDArray[np.int64]
    charges: FloatArray
    quanta: FloatArray
    weights: FloatArray
    floor: float
    p: FloatArray
    totals: NDArray[np.int64]


NO_INDICES, NO_NUMBERS = np.zeros(0, np.int64), np.zeros(0)

SILENT = Afferents(
    NO_INDICES, NO_INDICES, NO_NUMBERS, NO_NUMBERS, NO_NUMBERS, -np.inf, NO_NUMBERS, NO_INDICES
)
"""Of a circuit whose input cells do not spike."""


def afferents_of(
    problem: Problem, row: int, edges: Any, p: FloatArray, totals: NDArray[np.int64]
) -> Afferents:
    """Draw the random spikes of a sample, and lay out its signed residual neurons."""
    if not problem.inputs_spike:
        return SILENT
    told = [population.arrivals(row, problem.k, problem.n_steps) for population in problem.inputs]
    steps = np.concatenate([steps for steps, _, _ in told])
    inputs = np.concatenate([i + first for (_, i, _), first in zip(told, edges[:-1], strict=True)])
    # What reaches a dendrite is weighted; what reaches a residual neuron is weighted behind it.
    weights = np.array([population.weight for population in problem.inputs])
    scale = np.ones_like(weights) if problem.residual_wiring else weights
    charges = np.concatenate([q * w for (_, _, q), w in zip(told, scale, strict=True)])
    order = np.argsort(steps, kind="stable")
    totals += np.bincount(inputs, minlength=len(totals))
    floor = problem.v_floor if problem.v_is_charged else -np.inf
    quanta = [0.0 if population.dendritic else population.quantum for population in problem.inputs]
    return Afferents(
        steps[order], inputs[order], charges[order], np.array(quanta), weights, floor,
        p, totals,
    )  # fmt: skip


@exact_kernel
def next_of(cells: Afferents, step: int) -> int:
    """The first random spike that does not lie before a step."""
    return int(np.searchsorted(cells.steps, step))


@exact_kernel
def arrive(cells: Afferents, following: int, step: int, phi: FloatArray, u: FloatArray) -> int:
    """Random spikes of this step charge the dendrites; returns the first that lies behind it."""
    while following < cells.steps.shape[0] and cells.steps[following] == step:
        row, charge = phi[cells.inputs[following]], cells.charges[following]
        for j in range(u.shape[0]):
            u[j] += row[j] * charge
        following += 1
    return following


@exact_kernel
def arrive_at_inputs(cells: Afferents, following: int, step: int, r: FloatArray) -> int:
    """Random spikes of this step charge their residual neurons."""
    while following < cells.steps.shape[0] and cells.steps[following] == step:
        r[cells.inputs[following]] += cells.charges[following]
        following += 1
    return following


@exact_kernel
def integrate(cells: Afferents, edges: Any, k: float, r: FloatArray) -> None:
    """``p' = k r + p`` of the signed residual neurons."""
    for i in range(cells.quanta.shape[0]):
        if cells.quanta[i] > 0:
            for m in range(edges[i], edges[i + 1]):
                cells.p[m] = k * r[m] + cells.p[m]


@exact_kernel
def charge_directly(
    cells: Afferents, edges: Any, phi: FloatArray, open_: FloatArray, v: FloatArray
) -> None:
    """Signed residual neurons that reach their threshold charge the generators, and reset."""
    for i in range(cells.quanta.shape[0]):
        quantum, charge = cells.quanta[i], cells.weights[i] * cells.quanta[i]
        if quantum == 0:
            continue
        for m in range(edges[i], edges[i + 1]):
            if abs(cells.p[m]) >= quantum:
                sign, row = np.sign(cells.p[m]), phi[m]
                for j in range(v.shape[0]):
                    v[j] += open_[j] * (row[j] * (charge * sign))
                cells.p[m] -= sign * quantum
                cells.totals[m] += 1


@exact_kernel
def hold(v: FloatArray, floor: float) -> None:
    """v sinks no deeper than its floor."""
    for j in range(v.shape[0]):
        v[j] = max(v[j], floor)

"""Signed codes of spiking neurons: a pair of cells for each unit, one for each sign.

A spike has no sign. The dictionary ``[Phi, -Phi]`` with outputs that are never negative describes
the same circuit as Phi with signed ones: ``a = a+ - a-``. In the Gram matrix the pairs stand as
four blocks, ``[[G, -G], [-G, G]]``. Cells 0 .. n - 1 are the positive ones, n .. 2n - 1 their
partners.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikelca.engines import Coupling, Problem, Response
from spikelca.engines.outcome import certificates
from spikelca.neurons import SpikingNeuron


def needs_pairs(problem: Problem) -> bool:
    """Whether the circuit has signed codes and neurons that spike."""
    return isinstance(problem.neuron, SpikingNeuron) and problem.transfer.two_sided


def paired(problem: Problem) -> Problem:
    """The circuit of one-sided cells.

    Raises
    ------
    NotImplementedError
        For a linked driver in the residual wiring: its identity dictionary would have to be an
        input population of its own.
    """
    if problem.gain and problem.residual_wiring:
        raise NotImplementedError(
            "Signed spiking codes with a linked driver need the lateral wiring; found "
            "wiring='residual'. Take Circuit(wiring='lateral'), or another reading of the driver."
        )
    G, d, allowed, record = problem.gram, problem.current, problem.allowed, problem.record
    wave, chosen = problem.waveform, record.neurons
    return replace(
        problem,
        transfer=replace(problem.transfer, two_sided=False),
        inputs=tuple(p.with_atoms(np.vstack([p.atoms, -p.atoms])) for p in problem.inputs),
        coupling=Coupling(np.block([[G, -G], [-G, G]])),
        current=np.hstack([d, -d]),
        allowed=None if allowed is None else np.hstack([allowed, allowed]),
        waveform=None if wave is None else np.concatenate([wave, -wave], axis=2),
        record=replace(record, neurons=np.concatenate([chosen, chosen + problem.n_neurons])),
    )


def folded(response: Response, problem: Problem) -> Response:
    """The response of the pairs with the signed code of the circuit that they stand for."""
    n = problem.n_neurons
    code = response.code[:, :n] - response.code[:, n:]
    residual, gap = certificates(problem, problem.drive(), code)
    return replace(response, code=code, residual=residual, gap=gap)

"""One step of learning on all linked dictionaries: Hebb, idle atoms, unit sphere.

Free functions on the parts of a circuit; `Circuit.learn` puts the result back together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spikelca.dictionary import Dictionary
from spikelca.plasticity import IdleAtoms, PlasticityState, draw_rows, normalise_stacked
from spikelca.validation import FloatArray


def updated_atoms(
    dictionaries: Sequence[Dictionary],
    stimuli: Mapping[str, FloatArray],
    code: FloatArray,
    state: PlasticityState,
    idle: IdleAtoms,
    favoured: NDArray[np.bool_] | None,
    rng: np.random.Generator | None,
) -> tuple[list[FloatArray], PlasticityState]:
    """The atoms of every dictionary after one batch, and what the rule remembers of it.

    Parameters
    ----------
    dictionaries : sequence of Dictionary
    stimuli : mapping of modality to (n_samples, n_inputs)
    code : (n_samples, n_neurons)
    state : PlasticityState
    idle : IdleAtoms
    favoured : (n_samples, n_neurons) bool, optional
        Samples from which each neuron may be drawn anew.
    rng : numpy Generator, optional
        Without it idle atoms stay.

    Returns
    -------
    atoms : list of (n_neurons, n_inputs)
    state : PlasticityState
    """
    plastic = [d for d in dictionaries if d.plasticity is not None and d.name in stimuli]
    if not plastic:
        return [d.atoms for d in dictionaries], state
    memory = max(d.plasticity.memory for d in plastic if d.plasticity is not None)
    state = state.after(code, memory)
    residual = {d.name: stimuli[d.name] - code @ d.atoms for d in plastic}
    atoms = {d.name: d.atoms for d in dictionaries}
    for d in plastic:
        assert d.plasticity is not None
        atoms[d.name] = d.plasticity.step(d.atoms, residual[d.name], code, state.usage)
    if rng is not None:
        state = _revive(atoms, plastic, stimuli, residual, state, idle, favoured, rng)
    weights = [d.weight for d in dictionaries]
    return normalise_stacked([atoms[d.name] for d in dictionaries], weights), state


def _revive(
    atoms: Mapping[str, FloatArray],
    plastic: Sequence[Dictionary],
    stimuli: Mapping[str, FloatArray],
    residual: Mapping[str, FloatArray],
    state: PlasticityState,
    idle: IdleAtoms,
    favoured: NDArray[np.bool_] | None,
    rng: np.random.Generator,
) -> PlasticityState:
    """Write new atoms into the idle rows of ``atoms``."""
    neurons = np.flatnonzero(state.silent >= idle.patience)
    if not neurons.size:
        return state
    material = {d.name: idle.material(stimuli[d.name], residual[d.name]) for d in plastic}
    norms = sum(np.einsum("ij,ij->i", m, m, dtype=np.float64) for m in material.values())
    rows = draw_rows(rng, neurons, np.asarray(norms), favoured)
    neurons, rows = neurons[rows >= 0], rows[rows >= 0]
    scale = 1 / np.sqrt(np.asarray(norms)[rows])
    for d in plastic:
        fresh = material[d.name][rows] * scale[:, None].astype(d.atoms.dtype)
        atoms[d.name][neurons] = fresh
    return state.revived(neurons)

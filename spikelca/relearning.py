"""One step of learning on all linked dictionaries: Hebb, idle atoms, unit sphere.

What is not shown, or has no plasticity, keeps its atoms to the last bit; the part of the stacked
atom that learns is projected to what the rest leaves of the unit sphere.

Free functions on the parts of a circuit; `Circuit.learn` puts the result back together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikelca.dictionary import Dictionary
from spikelca.plasticity import (
    IdleAtoms,
    PlasticityState,
    draw_rows,
    normalise_stacked,
    stacked_norms,
)
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
        return [d.atoms for d in dictionaries], replace(state, redrawn=0)
    memory = max(d.plasticity.memory for d in plastic if d.plasticity is not None)
    state = state.after(code, memory)
    seen = _as_coded([d for d in dictionaries if d.name in stimuli], len(dictionaries))
    residual = {d.name: stimuli[d.name] - code @ seen[d.name] for d in plastic}
    atoms = {}
    for d in plastic:
        assert d.plasticity is not None
        atoms[d.name] = d.plasticity.step(seen[d.name], residual[d.name], code, state.usage)
    if rng is not None:
        state = _revive(atoms, plastic, stimuli, residual, state, idle, favoured, rng)
    moved = normalise_stacked(
        [atoms[d.name] for d in plastic], [d.weight for d in plastic], room(dictionaries, plastic)
    )
    atoms.update(zip(atoms, moved, strict=True))
    return [atoms.get(d.name, d.atoms) for d in dictionaries], state


def _as_coded(shown: Sequence[Dictionary], n_dictionaries: int) -> dict[str, FloatArray]:
    """The atoms that the code belongs to: of unit norm where it saw a part of the modalities."""
    atoms = [d.atoms for d in shown]
    if len(shown) < n_dictionaries:
        atoms = normalise_stacked(atoms, [d.weight for d in shown])
    return {d.name: phi for d, phi in zip(shown, atoms, strict=True)}


def room(dictionaries: Sequence[Dictionary], plastic: Sequence[Dictionary]) -> FloatArray | float:
    """Norm for the part of each stacked atom that learns, such that the whole has norm one.

    Where the rest alone is longer than one, the part keeps the norm it has.
    """
    rest = [d for d in dictionaries if all(d is not p for p in plastic)]
    if not rest:
        return 1.0
    taken, own = (
        stacked_norms([d.atoms for d in part], [d.weight for d in part]) for part in (rest, plastic)
    )
    return np.where(taken < 1, np.sqrt(np.maximum(1 - taken**2, 0.0)), own)


def _revive(
    atoms: dict[str, FloatArray],
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
    stacked = np.hstack(list(material.values())).astype(np.float64)
    norms = np.einsum("ij,ij->i", stacked, stacked)
    rows = draw_rows(rng, neurons, np.where(_seen_before(stacked, norms), 0.0, norms), favoured)
    neurons, rows = neurons[rows >= 0], rows[rows >= 0]
    scale = 1 / np.sqrt(norms[rows])
    for d in plastic:
        fresh = material[d.name][rows] * scale[:, None].astype(d.atoms.dtype)
        atoms[d.name][neurons] = fresh
    return state.revived(neurons)


def _seen_before(stacked: FloatArray, norms: FloatArray) -> NDArray[np.bool_]:
    """Rows that point where an earlier one points: two atoms made of them would be one."""
    directions = stacked / np.sqrt(np.where(norms > 0, norms, 1.0))[:, None]
    _, first = np.unique(np.round(directions, 6) + 0.0, axis=0, return_index=True)
    seen = np.ones(len(stacked), dtype=bool)
    seen[first] = False
    return seen

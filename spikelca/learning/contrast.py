"""Contrastive learning: taught with everything in view, then asked as it will be asked.

Equation 4 learns from codes that settled with every modality and every driver in view. A code that
is *used* sees less: the observed modalities alone, drivers off. `Contrast` lets the last part of a
learning see both, and move the synapses by what the teaching changes::

    observed i:  Phi_i[j] += eta_j sum [ a+_j (X_i - Phi_i a+) - kappa a-_j (X_i - Phi_i a-) ]
    other i:     Phi_i[j] += eta_j rho sum a-_j (X_i - Phi_i a-)

    a+  the taught code: all modalities, drivers on
    a-  the free code: the observed modalities, drivers off, in the scale of the stacked atoms

Every product is still pre times post at one synapse. ``kappa = 0`` keeps the first term alone,
which is Eq. 4. ``kappa = 1`` is contrastive Hebbian learning (Movellan 1991): it rests where
teaching changes nothing any more, and while the teaching is weak it descends the error of what is
recalled (equilibrium propagation, Scellier and Bengio 2017). In between, the atoms go on explaining
what they see. A modality that is recalled learns from the error of the recall itself.

The price is paid in reconstruction: atoms that tell classes apart explain less of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import BatchSums
from spikelca.circuit.dictionary_update import remaining_norm
from spikelca.engines import Engine
from spikelca.model.atoms import normalise_stacked, rescale_to_stacked
from spikelca.model.dictionary import Dictionary
from spikelca.model.plasticity import Contrast, PlasticityState
from spikelca.utils.validation import FloatArray


def check_contrast(circuit: Circuit, observed: Sequence[str]) -> None:
    """Raise ValueError if nothing tells the taught code from the free one."""
    if set(observed) >= set(circuit.widths) and not circuit.drivers:
        raise ValueError(
            f"contrast needs something to teach: {sorted(observed)} are all observed and there is "
            "no driver. Name fewer modalities in observe, add a driver, or take contrast=None."
        )


def free_phase_code(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    observed: Sequence[str],
    tol: float,
    engine: str | Engine,
) -> FloatArray:
    """The code as it is used, in the scale of the stacked atoms: (n_samples, n_neurons)."""
    asked = circuit.without_drivers().observe(*observed)
    response = asked.encode({name: stimuli[name] for name in observed}, tol, engine=engine)
    return rescale_to_stacked(response.code, circuit.observed_norms(*observed))


def contrastive_step(
    circuit: Circuit,
    taught: BatchSums,
    free: BatchSums,
    observed: Sequence[str],
    contrast: Contrast,
    strength: float = 1.0,
) -> Circuit:
    """One contrastive step: a new circuit, stacked atoms of unit norm.

    Parameters
    ----------
    circuit : Circuit
    taught, free : Sums
        What the batch says when settled as a+ and as a-, from `spikelca.lessons.lesson_of`.
    observed : sequence of str
        The modalities that the free code saw.
    contrast : Contrast
    strength : float
        Part of the rate.

    Returns
    -------
    Circuit

    Raises
    ------
    ValueError
        If a modality was not shown.
    """
    if set(taught.power) != set(circuit.widths):
        raise ValueError(
            f"A contrastive step was shown {sorted(taught.power)}; all of "
            f"{sorted(circuit.widths)} were awaited."
        )
    plastic = [d for d in circuit.dictionaries if d.plasticity is not None]
    if not plastic:
        return circuit
    memory = max(d.plasticity.memory for d in plastic if d.plasticity is not None)
    assert circuit.plasticity is not None
    state = circuit.plasticity.after(taught.activity, memory)
    stepped = [
        _contrastive_atoms(d, taught, free, d.name in observed, contrast, strength, state)
        for d in plastic
    ]
    weights = [d.weight for d in plastic]
    moved = normalise_stacked(stepped, weights, remaining_norm(circuit.dictionaries, plastic))
    atoms = {d.name: phi for d, phi in zip(plastic, moved, strict=True)}
    learned = tuple(
        d.with_atoms(atoms[d.name]) if d.name in atoms else d for d in circuit.dictionaries
    )
    return circuit._replace(dictionaries=learned, plasticity=replace(state, redrawn=0))


def _contrastive_atoms(
    d: Dictionary,
    taught: BatchSums,
    free: BatchSums,
    seen: bool,
    contrast: Contrast,
    strength: float,
    state: PlasticityState,
) -> FloatArray:
    """The atoms of one modality after the step, not yet normalised: (n_neurons, n_inputs)."""
    assert d.plasticity is not None
    rate = d.plasticity.rate * contrast.rate * strength
    if seen:
        kappa = d.atoms.dtype.type(contrast.amount)
        lesson = taught.correlation[d.name] - kappa * free.correlation[d.name]
    else:
        lesson, rate = free.correlation[d.name], rate * contrast.recall
    return replace(d.plasticity, rate=rate).step(d.atoms, lesson, state.usage)

"""Contrastive Hebbian learning: the clamped phase against the free phase.

Eq. 4 uses codes inferred from all modalities with all drivers on. At inference the code is
inferred from the observed modalities only, with drivers off. In the last part of a training run,
`Contrast` uses both codes::

    observed i:  Phi_i[j] += eta_j sum [ a+_j (X_i - Phi_i a+) - kappa a-_j (X_i - Phi_i a-) ]
    other i:     Phi_i[j] += eta_j rho sum a-_j (X_i - Phi_i a-)

    a+  code of the clamped phase: all modalities, drivers on
    a-  code of the free phase: observed modalities, drivers off, rescaled to the stacked atoms

Every term is a product of pre- and post-synaptic activity at one synapse. With ``kappa = 0`` the
first term alone remains, which is Eq. 4. With ``kappa = 1`` the rule is contrastive Hebbian
learning (Movellan 1991). It has a fixed point where both phases agree, and for a weak clamp it
descends the reconstruction error (equilibrium propagation, Scellier and Bengio 2017). For values in
between, the atoms still learn to explain their input. Unobserved modalities learn from the error of
their cross-modal reconstruction.

The cost is a larger reconstruction error: atoms that separate classes explain less of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spikelca.circuit import Circuit
from spikelca.circuit.batch_statistics import BatchSums
from spikelca.circuit.dictionary_update import batch_decay, remaining_norm
from spikelca.engines import Engine
from spikelca.model.atoms import normalise_stacked, rescale_to_stacked
from spikelca.model.dictionary import Dictionary
from spikelca.model.plasticity import Contrast, PlasticityState
from spikelca.utils.validation import FloatArray


def check_contrast(circuit: Circuit, observed: Sequence[str]) -> None:
    """Raise ValueError if the clamped and the free phase are identical."""
    if set(observed) >= set(circuit.widths) and not circuit.drivers:
        raise ValueError(
            "contrast must have an unobserved modality or a driver, got none: "
            f"{sorted(observed)} are all observed. Observe fewer modalities, add a driver, or use "
            "contrast=None."
        )


def free_phase_code(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    observed: Sequence[str],
    tol: float,
    engine: str | Engine,
    max_iter: int = 100_000,
) -> FloatArray:
    """Compute the code of the free phase, rescaled to the stacked atoms."""
    inference_circuit = circuit.without_drivers().observe(*observed)
    response = inference_circuit.encode(
        {name: stimuli[name] for name in observed}, tol, engine=engine, max_iter=max_iter
    )
    return rescale_to_stacked(response.code, circuit.observed_norms(*observed))


def contrastive_step(
    circuit: Circuit,
    clamped: BatchSums,
    free: BatchSums,
    observed: Sequence[str],
    contrast: Contrast,
    strength: float = 1.0,
    batch_size: int | None = None,
) -> Circuit:
    """Take one contrastive step.

    Parameters
    ----------
    circuit : Circuit
    clamped, free : BatchSums
        Sums of the batch with the codes a+ and a-, from `make_statistics`.
    observed : sequence of str
        Modalities observed in the free phase.
    contrast : Contrast
    strength : float
        Factor on the rate.
    batch_size : int, optional
        Number of samples to which the decay refers (default: those of the batch).

    Returns
    -------
    Circuit
        With stacked atoms of unit norm.

    Raises
    ------
    ValueError
        If the sums do not contain all modalities.
    """
    if set(clamped.stimulus_energy) != set(circuit.widths):
        raise ValueError(
            f"A contrastive step must have all modalities {sorted(circuit.widths)}, got "
            f"{sorted(clamped.stimulus_energy)}."
        )
    plastic = [d for d in circuit.dictionaries if d.plasticity is not None]
    if not plastic:
        return circuit
    decay = batch_decay(plastic, clamped.activity.n_samples, batch_size)
    assert circuit.plasticity is not None
    state = circuit.plasticity.update(clamped.activity, decay)
    updated = [
        _contrastive_atoms(d, clamped, free, d.name in observed, contrast, strength, state)
        for d in plastic
    ]
    weights = [d.weight for d in plastic]
    normalised = normalise_stacked(updated, weights, remaining_norm(circuit.dictionaries, plastic))
    atoms = {d.name: phi for d, phi in zip(plastic, normalised, strict=True)}
    dictionaries = tuple(
        d._with_atoms(atoms[d.name]) if d.name in atoms else d for d in circuit.dictionaries
    )
    return circuit._replace(dictionaries=dictionaries, plasticity=replace(state, redrawn=0))


def _contrastive_atoms(
    d: Dictionary,
    clamped: BatchSums,
    free: BatchSums,
    is_observed: bool,
    contrast: Contrast,
    strength: float,
    state: PlasticityState,
) -> FloatArray:
    """Compute the atoms of one modality after the step, not yet normalised."""
    assert d.plasticity is not None
    rate = d.plasticity.rate * contrast.rate * strength
    if is_observed:
        kappa = d.atoms.dtype.type(contrast.kappa)
        correlation = clamped.correlation[d.name] - kappa * free.correlation[d.name]
    else:
        correlation, rate = free.correlation[d.name], rate * contrast.recall_rate
    return replace(d.plasticity, rate=rate).step(d.atoms, correlation, state.usage)

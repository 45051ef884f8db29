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
from dataclasses import dataclass, replace

from spikelca.circuit import Circuit
from spikelca.dictionary import Dictionary
from spikelca.engines import Engine
from spikelca.lessons import Sums
from spikelca.plasticity import PlasticityState, normalise_stacked, to_stacked
from spikelca.relearning import room
from spikelca.validation import FloatArray, finite, positive


@dataclass(frozen=True)
class Contrast:
    """The last part of a learning: what is taught against what is answered.

    Parameters
    ----------
    amount : float in [0, 1], default=0.95
        kappa, the part of the free phase that is taken away.
    share : float in (0, 1], default=0.25
        Part of the learning, at its end, that is contrastive.
    rate : float, default=1.0
        Factor on the rate of the Hebbian rule; it falls to zero towards the end.
    recall : float, default=0.04
        rho, a further factor for modalities that are recalled. They learn slowly: once the free
        code recalls without error, there is nothing left to teach.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> contrast = Contrast(share=0.5)
    >>> contrast.strength(0.25), contrast.strength(0.5), contrast.strength(0.75)
    (0.0, 1.0, 0.5)
    """

    amount: float = 0.95
    share: float = 0.25
    rate: float = 1.0
    recall: float = 0.04

    def __post_init__(self) -> None:
        for name in ("rate", "recall"):
            object.__setattr__(self, name, positive(getattr(self, name), name))
        for name in ("amount", "share"):
            object.__setattr__(self, name, finite(getattr(self, name), name))
        if not (0 <= self.amount <= 1 and 0 < self.share <= 1):
            raise ValueError(
                f"amount is {self.amount} and share is {self.share}; "
                "amount in [0, 1] and share in (0, 1] were awaited."
            )

    def strength(self, fraction: float) -> float:
        """Part of the rate after a part of the learning: 0 before the contrast begins.

        Parameters
        ----------
        fraction : float in [0, 1]
            How much of the learning is done.

        Returns
        -------
        float
        """
        begun = 1 - self.share
        return 0.0 if fraction < begun else max(1 - fraction, 0.0) / self.share


def check_contrast(circuit: Circuit, observed: Sequence[str]) -> None:
    """Raise ValueError if nothing tells the taught code from the free one."""
    if set(observed) >= set(circuit.widths) and not circuit.drivers:
        raise ValueError(
            f"contrast needs something to teach: {sorted(observed)} are all observed and there is "
            "no driver. Name fewer modalities in observe, add a driver, or take contrast=None."
        )


def free_code(
    circuit: Circuit,
    stimuli: Mapping[str, FloatArray],
    observed: Sequence[str],
    tol: float,
    engine: str | Engine,
) -> FloatArray:
    """The code as it is used, in the scale of the stacked atoms: (n_samples, n_neurons)."""
    asked = circuit.without_drivers().observe(*observed)
    response = asked.encode({name: stimuli[name] for name in observed}, tol, engine=engine)
    return to_stacked(response.code, circuit.observed_norms(*observed))


def contrasted(
    circuit: Circuit,
    taught: Sums,
    free: Sums,
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
        _stepped(d, taught, free, d.name in observed, contrast, strength, state) for d in plastic
    ]
    weights = [d.weight for d in plastic]
    moved = normalise_stacked(stepped, weights, room(circuit.dictionaries, plastic))
    atoms = {d.name: phi for d, phi in zip(plastic, moved, strict=True)}
    learned = tuple(
        d.with_atoms(atoms[d.name]) if d.name in atoms else d for d in circuit.dictionaries
    )
    return circuit.with_parts(dictionaries=learned, plasticity=replace(state, redrawn=0))


def _stepped(
    d: Dictionary,
    taught: Sums,
    free: Sums,
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

"""One warning after a fit, if data, threshold and drivers are of different scales.

It lists every finding with its remedy. At most `CHECKED_SAMPLES` samples are encoded for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from spikelca.circuit import Circuit
from spikelca.estimators.automatic_threshold import encode_quietly, take_samples, typical_drive
from spikelca.metrics import squared_error
from spikelca.model.drivers import OrdinalDriver
from spikelca.utils.validation import FloatArray

CHECKED_SAMPLES = 200

MANY_ZEROS = 1 / 3
"""Fraction of zero codes from which the threshold is too large."""

NEGLIGIBLE = 2e-3
"""Threshold or current, relative to the typical drive, below which it has hardly any effect."""

DENSE = 0.9
"""Number of active neurons, relative to the rank of the dictionary, from which codes are dense."""

EXPLAINED = 0.8
"""Energy explained by one-sided codes, relative to signed ones, below which they are too few."""

SWALLOWED = 0.01
"""Energy of a modality, relative to that of the largest, below which it has hardly any effect."""

_REMEDY = "Use threshold='auto' or n_active, or scale the samples."


def warn_of_scale(
    trained: Circuit,
    inference: Circuit,
    samples: Mapping[str, FloatArray],
    n_samples: int | None = None,
) -> None:
    """Warn once with a UserWarning of everything in a fit that is out of scale.

    Parameters
    ----------
    trained, inference : Circuit
        Circuit with drivers and all modalities; the one of `transform`.
    samples : mapping of modality to (n_samples, n_inputs)
    n_samples : int, optional
        Number of samples that were learned (None if nothing was learned).
    """
    rows = np.arange(len(next(iter(samples.values()))))
    samples, _ = take_samples(samples, rows, CHECKED_SAMPLES)
    observed = {name: samples[name] for name in inference.widths}
    code, signed = encode_quietly(inference, observed), _with_signed_codes(inference, observed)
    findings = [*_check_threshold(inference, observed, code)]
    if signed is not None:
        findings += _check_sign(inference, observed, code, encode_quietly(signed, observed))
    findings += [
        *_check_modalities(trained, samples),
        *_check_currents(trained, samples),
    ]
    if n_samples is not None and trained.n_neurons > n_samples:
        findings.append(
            f"n_components={trained.n_neurons} is more than the {n_samples} samples, which some "
            "atoms copy. Use fewer neurons or more samples."
        )
    if findings:
        warnings.warn(" ".join(findings), UserWarning, stacklevel=3)


def _check_threshold(
    circuit: Circuit, samples: Mapping[str, FloatArray], code: FloatArray
) -> Iterator[str]:
    n_active = np.count_nonzero(code, axis=1)
    is_seen = np.hstack(list(samples.values())).any(axis=1)
    zeros = (n_active[is_seen] == 0).mean() if is_seen.any() else 0.0
    drive, threshold = typical_drive(circuit, samples), circuit.transfer.threshold
    rank = min(circuit.n_neurons, sum(circuit.widths.values()))
    scale = f"threshold={threshold:.3g} (largest drive of a typical sample: {drive:.3g})"
    if zeros > MANY_ZEROS:
        yield f"{scale} is too large: {zeros:.0%} of the codes are zero. {_REMEDY}"
    elif threshold < NEGLIGIBLE * drive:
        yield f"{scale} is too small for sparse codes. {_REMEDY}"
    elif rank > 3 and n_active.mean() > DENSE * rank:
        yield (
            f"{scale} is too small for sparse codes: {n_active.mean():.1f} neurons are active, and "
            f"the rank is at most {rank}. {_REMEDY}"
        )


def _with_signed_codes(circuit: Circuit, samples: Mapping[str, FloatArray]) -> Circuit | None:
    """Return the circuit with signed codes, if it has one-sided codes of negative samples."""
    if circuit.transfer.two_sided or all(X.min() >= 0 for X in samples.values()):
        return None
    return circuit._replace(transfer=replace(circuit.transfer, two_sided=True))


def _check_sign(
    circuit: Circuit, samples: Mapping[str, FloatArray], code: FloatArray, signed_code: FloatArray
) -> Iterator[str]:
    one, two = (_explained(circuit, samples, a) for a in (code, signed_code))
    if one < EXPLAINED * two:
        yield (
            f"X has negative values, of which one-sided codes explain too little: {one:.0%} of the "
            f"energy, and signed codes {two:.0%}. Use two_sided=True, or samples >= 0."
        )


def _explained(circuit: Circuit, samples: Mapping[str, FloatArray], code: FloatArray) -> float:
    error = sum(
        d.weight * squared_error(samples[d.name], d.atoms, code).sum() for d in circuit.dictionaries
    )
    energy = sum(_energies(circuit, samples).values())
    return float(1 - error / energy) if energy else 0.0


def _energies(circuit: Circuit, samples: Mapping[str, FloatArray]) -> dict[str, float]:
    return {
        d.name: d.weight * float(np.square(samples[d.name], dtype=np.float64).sum())
        for d in circuit.dictionaries
    }


def _check_modalities(circuit: Circuit, samples: Mapping[str, FloatArray]) -> Iterator[str]:
    energies = _energies(circuit, samples)
    largest = max(energies, key=lambda name: energies[name])
    small = [name for name in energies if energies[name] < SWALLOWED * energies[largest]]
    if small:
        yield (
            f"The modalities {small} have less than {SWALLOWED:.0%} of the energy of {largest!r}, "
            "so that they hardly affect the code. Scale each modality to unit norm, or use weights."
        )


def _check_currents(circuit: Circuit, samples: Mapping[str, FloatArray]) -> Iterator[str]:
    drive = typical_drive(circuit.without_drivers(), samples)
    for driver in circuit.drivers:
        if not isinstance(driver, OrdinalDriver) or driver.mode != "current":
            continue
        current = max(driver.excitation, driver.inhibition)
        scale = f"currents of {current:.3g} (largest drive of a typical sample: {drive:.3g})"
        if 0 < current < NEGLIGIBLE * drive:
            yield (
                f"OrdinalDriver has {scale}, which have hardly any effect. Scale the samples, or "
                "increase excitation and inhibition."
            )
        elif current > drive:
            yield (
                f"OrdinalDriver has {scale}, which silence the neurons of other classes. Decrease "
                "inhibition, or use mode='clamp'."
            )

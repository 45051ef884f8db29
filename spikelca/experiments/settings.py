"""Settings of the experiments, fixed before the test labels are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spikelca.model.drivers import Fade, OrdinalDriver
from spikelca.model.plasticity import Contrast

HANDWRITTEN, PRINTED = "handwritten", "printed"
"""Names of the two linked modalities."""


@dataclass(frozen=True)
class Settings:
    """Settings of the linked experiment, whose images and printed digits have unit norm.

    Parameters
    ----------
    n_neurons : int
        Number of neurons.
    thresholds : tuple of float
        Candidates for lam, chosen by cross-validation on training data.
    printed_weight : float
        Weight w of the printed digits in Eq. 6.
    n_batches, batch_size : int
        Number of batches of the training run, and their size.
    excitation, inhibition : float
        Currents of the ordinal driver, relative to lam.
    gain : float
        Gain of the ordinal driver in mode "linked", relative to ``sqrt(lam)``.
    fade_floor, fade_until : float
        Fading of the driver during training; a floor of one is a constant driver.
    contrast_kappa, contrast_fraction : float
        Strength and length of the contrastive last part of training, see `spikelca.Contrast`; a
        fraction of zero is Eq. 4 only, as in the paper.
    transfer : {"soft", "hard"}
        Transfer function; "hard" is Eq. 2 as printed.
    driver_mode : {"current", "linked", "clamp"}
        Mode of the ordinal driver, the third input of the paper.
    tuning_samples : int
        Number of training samples for the cross-validation of lam, C and gamma.
    tuning_batches : int
        Number of batches of the training run for each candidate of lam.
    n_constants : int
        Number of constants of each classifier that are tried.
    """

    n_neurons: int = 256
    thresholds: tuple[float, ...] = (0.04, 0.05, 0.06)
    printed_weight: float = 1.0
    n_batches: int = 3600
    batch_size: int = 250
    excitation: float = 0.0
    inhibition: float = 1.0
    gain: float = 0.7
    fade_floor: float = 0.5
    fade_until: float = 0.8
    contrast_kappa: float = 0.8
    contrast_fraction: float = 0.25
    transfer: str = "soft"
    driver_mode: str = "current"
    tuning_samples: int = 12_000
    tuning_batches: int = 480
    n_constants: int = 12

    def make_driver(self, n_classes: int, threshold: float) -> OrdinalDriver:
        """Make the ordinal driver, scaled to the threshold."""
        fade = None if self.fade_floor == 1 else Fade(self.fade_floor, self.fade_until)
        return OrdinalDriver(
            n_classes,
            mode=self.driver_mode,
            excitation=self.excitation * threshold,
            inhibition=self.inhibition * threshold,
            gain=self.gain * threshold**0.5,
            fade=fade,
        )

    def make_contrast(self, kind: str) -> Contrast | None:
        """Make the contrastive rule; None for a single dictionary, which has no clamped phase."""
        if kind == "single" or self.contrast_fraction == 0:
            return None
        return Contrast(self.contrast_kappa, self.contrast_fraction)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for ``results.json``."""
        return asdict(self)


MNIST = Settings()
"""60,000 images of 28 x 28 pixels, with the 256 neurons of the paper."""

DIGITS = Settings(
    n_neurons=100, n_batches=260, batch_size=100, tuning_samples=1_297, tuning_batches=80
)
"""1,797 images of 8 x 8 pixels, with ten neurons per digit."""

QUICK = Settings(
    n_neurons=50, n_batches=40, batch_size=100, thresholds=(0.05,), tuning_samples=200,
    tuning_batches=10, n_constants=2,
)  # fmt: skip
"""Smoke test in seconds; its results are not meaningful."""

QUICK_IMAGES = (600, 200)
"""Numbers of training and test images of the smoke test."""

PAPER: Mapping[str, tuple[float, float, float]] = {
    "raw": (0.9167, 0.8522, 0.9250),
    "linked": (0.9633, 0.9619, 0.981),
    "ordinal": (0.9541, 0.9542, 0.9738),
}
"""Table I of the paper on MNIST (logistic regression, linear SVM, non-linear SVM)."""

"""What an experiment fixes before it sees a label of the test set."""

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
    """Numbers of the linked experiment. Images and printed digits have unit norm.

    Parameters
    ----------
    n_neurons : int
        Neurons of the code.
    thresholds : tuple of float
        Candidates for lam, from which cross-validation on training data chooses.
    printed_weight : float
        w of the printed digits in Eq. 6.
    n_batches, batch_size : int
        Length of the learning.
    excitation, inhibition : float
        Currents of the ordinal driver, as parts of lam.
    gain : float
        Gain of the ordinal driver in its linked reading, as a part of ``sqrt(lam)``.
    fade_floor, fade_until : float
        Fading of the driver over the learning; a floor of one is a constant driver.
    contrast_amount, contrast_share : float
        The last part of the learning is contrastive, see `spikelca.Contrast`; a share of zero is
        Eq. 4 alone, as in the paper.
    transfer : {"soft", "hard"}
        Transfer function ("hard" is Eq. 2 as printed).
    reading : {"current", "linked", "clamp"}
        Reading of the paper's third input.
    tuning_samples : int
        Training samples on which lam, C and gamma are cross-validated.
    tuning_batches : int
        Length of the learning behind each candidate for lam.
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
    contrast_amount: float = 0.8
    contrast_share: float = 0.25
    transfer: str = "soft"
    reading: str = "current"
    tuning_samples: int = 12_000
    tuning_batches: int = 480

    def driver(self, n_classes: int, threshold: float) -> OrdinalDriver:
        """The ordinal driver, scaled to the threshold it competes with."""
        fade = None if self.fade_floor == 1 else Fade(self.fade_floor, self.fade_until)
        return OrdinalDriver(
            n_classes,
            reading=self.reading,
            excitation=self.excitation * threshold,
            inhibition=self.inhibition * threshold,
            gain=self.gain * threshold**0.5,
            fade=fade,
        )

    def contrast(self, kind: str) -> Contrast | None:
        """The contrastive part of a learning; a single dictionary has nothing to teach it."""
        if kind == "single" or self.contrast_share == 0:
            return None
        return Contrast(self.contrast_amount, self.contrast_share)

    def as_dict(self) -> dict[str, Any]:
        """For `results.json`."""
        return asdict(self)


MNIST = Settings()
"""60,000 images of 28 x 28: the paper's 256 neurons."""

DIGITS = Settings(
    n_neurons=100, n_batches=260, batch_size=100, tuning_samples=1_297, tuning_batches=80
)
"""1,797 images of 8 x 8: ten neurons for each digit."""

QUICK = Settings(
    n_neurons=50, n_batches=40, batch_size=100, thresholds=(0.05,), tuning_samples=400,
    tuning_batches=10,
)  # fmt: skip
"""A look at the whole road in seconds; its figures mean nothing."""

PAPER: Mapping[str, tuple[float, float, float]] = {
    "raw": (0.9167, 0.8522, 0.9250),
    "linked": (0.9633, 0.9619, 0.981),
    "ordinal": (0.9541, 0.9542, 0.9738),
}
"""Table I of the paper on MNIST: logistic regression, linear SVM, non-linear SVM."""

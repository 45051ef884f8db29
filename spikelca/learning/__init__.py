"""Learning over batches: the loop, its contrastive part, and checkpoints."""

from spikelca.learning.loop import Elsewhere, Progress, learn

__all__ = ["Elsewhere", "Progress", "learn"]

"""Learning over batches: the training loop, contrastive learning and checkpoints."""

from spikelca.learning.loop import Progress, RemoteBatch, learn

__all__ = ["Progress", "RemoteBatch", "learn"]

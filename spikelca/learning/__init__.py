"""Learning over batches: the loop, its contrastive part, and checkpoints."""

from spikelca.learning.loop import Progress, RemoteBatch, learn

__all__ = ["Progress", "RemoteBatch", "learn"]

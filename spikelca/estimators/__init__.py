"""scikit-learn faces of the circuit. They hold state and have no mathematics of their own.

Modalities are named columns of one X: ``modalities={"mnist": 784, "arial": 784}`` says that the
first 784 columns of X are the one and the next 784 the other. ``transform`` sees the observed
modality only and switches every driver off: neither the printed digit nor the driver, which both
know the label, can leak into a code.
"""

from __future__ import annotations

from spikelca.estimators.lca_coder import LCACoder
from spikelca.estimators.linked_lca import LinkedLCA

__all__ = ["LCACoder", "LinkedLCA"]

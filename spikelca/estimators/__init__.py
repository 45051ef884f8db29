"""scikit-learn estimators of the circuit.

Modalities are named columns of one X: with ``modalities={"mnist": 784, "arial": 784}`` the first
784 columns of X are one modality and the next 784 the other. ``transform`` uses the observed
modality only, with drivers off. The printed digit and the driver both contain the label, so neither
may be used to infer a code.
"""

from __future__ import annotations

from spikelca.estimators.lca_coder import LCACoder
from spikelca.estimators.linked_lca import LinkedLCA
from spikelca.estimators.ordinal_classifier import OrdinalBlockClassifier

__all__ = ["LCACoder", "LinkedLCA", "OrdinalBlockClassifier"]

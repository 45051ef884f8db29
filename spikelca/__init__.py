"""spikelca: neuromorphic sparse coding with the Locally Competitive Algorithm.

A `Circuit` describes a population of neurons that encodes linked modalities. Engines compute its
steady-state codes or simulate it with rate or spiking neurons. `LinkedLCA`, `LCACoder` and
`OrdinalBlockClassifier` are scikit-learn estimators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelca._version import __version__
from spikelca.circuit import Circuit
from spikelca.model.dictionary import Dictionary
from spikelca.model.drivers import CurrentDriver, Fade, OrdinalDriver
from spikelca.model.neurons import RateNeuron, SpikingNeuron
from spikelca.model.plasticity import Contrast, Hebbian, IdleAtoms
from spikelca.model.transfer import HardThreshold, SoftThreshold

if TYPE_CHECKING:
    from spikelca.estimators import LCACoder, LinkedLCA, OrdinalBlockClassifier
    from spikelca.persistence import load, save

__all__ = [
    "Circuit",
    "Contrast",
    "CurrentDriver",
    "Dictionary",
    "Fade",
    "HardThreshold",
    "Hebbian",
    "IdleAtoms",
    "LCACoder",
    "LinkedLCA",
    "OrdinalBlockClassifier",
    "OrdinalDriver",
    "RateNeuron",
    "SoftThreshold",
    "SpikingNeuron",
    "__version__",
    "load",
    "save",
]

# scikit-learn is slow to import and not required to simulate circuits.
_LAZY = {
    "LCACoder": "spikelca.estimators",
    "LinkedLCA": "spikelca.estimators",
    "OrdinalBlockClassifier": "spikelca.estimators",
    "load": "spikelca.persistence",
    "save": "spikelca.persistence",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'spikelca' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

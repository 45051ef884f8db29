"""Circuits and spikes in the exchange formats of the field: what leaves for other tools.

``nir``
    a spiking circuit as a graph of the Neuromorphic Intermediate Representation, and back
    (extra ``nir``);
``neo``
    spikes and traces of a simulation as a Neo block, which analysis tools read, and back
    (extra ``neo``).

Neither package is imported before a function that needs it is called.
"""

from __future__ import annotations

from spikelca.interop.neo import from_neo, to_neo
from spikelca.interop.nir import from_nir, read_nir, to_nir, write_nir

__all__ = ["from_neo", "from_nir", "read_nir", "to_neo", "to_nir", "write_nir"]

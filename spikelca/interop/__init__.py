"""Export to other simulators and analysis tools, and import of exported circuits and spikes.

``nir``
    Spiking circuits as graphs of the Neuromorphic Intermediate Representation (extra ``nir``).
``neo``
    Spikes and traces of a simulation as a Neo block for analysis tools (extra ``neo``).

The packages are imported when a function that requires them is called.
"""

from __future__ import annotations

from spikelca.interop.neo import from_neo, to_neo
from spikelca.interop.nir import from_nir, read_nir, to_nir, write_nir

__all__ = ["from_neo", "from_nir", "read_nir", "to_neo", "to_nir", "write_nir"]

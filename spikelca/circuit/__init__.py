"""A circuit, and what it does: encode, simulate, learn."""

from spikelca.circuit.circuit import Circuit

__all__ = ["Circuit"]

"""The circuit with its operations: encode, simulate and learn."""

from spikelca.circuit.circuit import Circuit

__all__ = ["Circuit"]

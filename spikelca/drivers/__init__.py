"""Drivers: currents that are injected into chosen neurons.

A driver may carry the label. It steers learning and is off whenever a code is used to predict.
"""

from __future__ import annotations

from spikelca.drivers.base import Driver, Injection
from spikelca.drivers.electrode import CurrentDriver
from spikelca.drivers.ordinal import Fade, OrdinalDriver

__all__ = ["CurrentDriver", "Driver", "Fade", "Injection", "OrdinalDriver"]

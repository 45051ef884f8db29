"""Figures of circuits and codes.

Every ``draw_*`` function takes arrays and optional matplotlib axes, draws on them (or on a new
figure) and returns them. None of them loads data, computes codes or writes files. The ``*Display``
classes follow scikit-learn: ``from_estimator`` computes the arrays, ``plot`` draws them.

Non-negative values are drawn with a colour map from white to black, signed values with a diverging
one centred at zero. Information in colours is repeated in another form: classes and blocks are
labelled by their number, thresholds are dashed lines.
"""

from __future__ import annotations

from spikelca.plotting.codes import draw_blocks, draw_code, draw_embedding
from spikelca.plotting.displays import BlocksDisplay, DictionaryDisplay, RecallDisplay
from spikelca.plotting.images import draw_dictionary, draw_recall
from spikelca.plotting.style import CLASS_COLOURS, colour_of
from spikelca.plotting.traces import draw_energy, draw_membrane, draw_raster

__all__ = [
    "CLASS_COLOURS",
    "BlocksDisplay",
    "DictionaryDisplay",
    "RecallDisplay",
    "colour_of",
    "draw_blocks",
    "draw_code",
    "draw_dictionary",
    "draw_embedding",
    "draw_energy",
    "draw_membrane",
    "draw_raster",
    "draw_recall",
]

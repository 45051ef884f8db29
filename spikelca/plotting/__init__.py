"""Pictures of circuits: arrays in, axes out.

Every ``draw_*`` function takes arrays and an ``ax`` (a new one is made if none is given), draws,
and returns the axes. None of them loads, computes a code, or saves. The ``*Display`` classes are
scikit-learn's way to the same pictures: ``from_estimator`` computes what is to be seen and keeps
it, ``plot`` draws it.

Two rules hold for every picture. What cannot be negative stands on a map from white to black, what
can be negative on a diverging map whose middle is zero. And colour is never the only carrier of
meaning: classes carry their number, blocks their label, thresholds a dashed line.
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

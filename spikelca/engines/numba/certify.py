"""When a code is done: how far neurons lie beyond their thresholds, and the gap that follows."""

from __future__ import annotations

from typing import Any

from spikelca.engines.numba.compile import kernel
from spikelca.engines.numba.lanes import beyond, higher, highest, opposite, put, take, width_of
from spikelca.validation import FloatArray


@kernel
def excesses(c: FloatArray, up: FloatArray, down: FloatArray, excess: FloatArray) -> None:
    """How far each neuron is driven beyond one of its two thresholds; negative for none."""
    for first in range(0, c.shape[0], width_of(c)):
        now = take(c, first)
        above, below = beyond(now, take(up, first)), beyond(opposite(now), take(down, first))
        put(excess, first, higher(above, below))


@kernel
def largest(values: FloatArray) -> Any:
    """The largest of values that fill whole groups of four lines of the cache.

    A running maximum would be one long chain of comparisons; here there are four short ones.
    """
    width = width_of(values)
    x0, x1 = take(values, 0), take(values, width)
    x2, x3 = take(values, 2 * width), take(values, 3 * width)
    for first in range(4 * width, values.shape[0], 4 * width):
        x0, x1 = higher(x0, take(values, first)), higher(x1, take(values, first + width))
        x2 = higher(x2, take(values, first + 2 * width))
        x3 = higher(x3, take(values, first + 3 * width))
    return highest(higher(higher(x0, x1), higher(x2, x3)))


@kernel
def relative_gap(x2: float, ab: float, ac: float, cost: float, reach: float) -> float:
    """The relative duality gap from inner products; see `spikelca.certificate.relative_gap`."""
    r2, xr = max(x2 - ab - ac, 0.0), x2 - ab
    primal = 0.5 * r2 + cost
    if primal <= 0.0:
        return 0.0
    # A negative step would need bounds on c from below, which one-sided codes do not have.
    scale = max(xr / r2, 0.0) if r2 > 0.0 else 0.0
    if reach > 0.0:
        scale = min(scale, 1.0 / reach)
    return max((primal - scale * xr + 0.5 * scale * scale * r2) / primal, 0.0)

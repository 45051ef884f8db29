"""When a code is done: how far neurons lie beyond their thresholds, and the gap that follows."""

from __future__ import annotations

from typing import Any

from spikelca.engines.numba.compile import kernel
from spikelca.validation import FloatArray


@kernel
def excesses(c: FloatArray, up: FloatArray, down: FloatArray, excess: FloatArray) -> None:
    """How far each neuron is driven beyond one of its two thresholds; negative for none."""
    for j in range(c.shape[0]):
        above, below = c[j] - up[j], -c[j] - down[j]
        excess[j] = above if above > below else below


@kernel
def highest(values: FloatArray, tree: FloatArray) -> Any:
    """The largest of a power of two of values, by halving; ``tree`` has room for as many.

    A running maximum would be one long chain of comparisons; halves are compared as vectors. Each
    half goes to a place of its own: written over one of its sources it would become a masked store,
    which some processors do very slowly.
    """
    half = values.shape[0] // 2
    upper, into = values[half:], tree[:half]
    for j in range(half):
        into[j] = values[j] if values[j] > upper[j] else upper[j]
    first = 0
    while half > 8:
        half //= 2
        lower, upper = tree[first : first + half], tree[first + half : first + 2 * half]
        first += 2 * half
        into = tree[first : first + half]
        for j in range(half):
            into[j] = lower[j] if lower[j] > upper[j] else upper[j]
    best = tree[first]
    for j in range(first + 1, first + half):
        best = tree[j] if tree[j] > best else best
    return best


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

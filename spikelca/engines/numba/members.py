"""The active neurons of one sample: how they are let in, walk, change places and leave.

`Room` holds them with the inverse of their block; each function takes the number n of members and
returns the new one. Which of them is called when stands in `active_set.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from spikelca.engines.numba.block import (
    NOBODY,
    ZERO,
    border,
    dismiss,
    project,
    times,
)
from spikelca.engines.numba.compile import filled, kernel, routine
from spikelca.engines.numba.lanes import LINE, alike, lowest_bit, take, which_reach, width_of
from spikelca.engines.numba.layout import padded, side_by_side
from spikelca.validation import FloatArray

KEEP = 0.5
"""A neuron is let in if this part of the cut is left once those before it are let in."""


class Room(NamedTuple):
    """Scratch of one thread; the first group belongs to the members, the second to all neurons."""

    Q: FloatArray
    members: Any
    sign: FloatArray
    a: FloatArray
    goal: FloatArray
    slope: FloatArray
    w: FloatArray
    t: FloatArray

    c: FloatArray
    excess: FloatArray
    queue: Any


def make_room(cap: int, n_neurons: int, dtype: np.dtype[Any]) -> Room:
    """Scratch for `cap` active neurons out of n, who fill whole groups of four lines."""
    # The leading dimension is odd in cache lines, or the rows of Q would fall on one another.
    wide = padded(cap) + LINE // dtype.itemsize
    shapes = [(cap, wide), *6 * [(wide,)], (n_neurons,), (n_neurons,)]
    Q, sign, a, goal, slope, w, t, c, excess = side_by_side(shapes, dtype)
    members, queue = np.empty(cap, np.int64), np.empty(n_neurons + 1, np.int64)
    return Room(Q, members, sign, a, goal, slope, w, t, c, excess, queue)


def room_type(real: Any) -> Any:
    """The type of `Room` in a precision."""
    number, index = filled(real, 1), filled(types.int64, 1)
    parts = (filled(real, 2), index, *6 * (number,), number, number, index)
    return types.NamedTuple(parts, Room)  # type: ignore[no-untyped-call]


@kernel
def leave(room: Room, n: int, p: int) -> int:
    """Take out member p; returns the number that is left."""
    dismiss(room.Q, room.members, n, p, room.t)
    n -= 1
    room.sign[p], room.a[p], room.goal[p] = room.sign[n], room.a[n], room.goal[n]
    return n


@kernel
def set_goal(room: Room, n: int) -> None:
    """One Newton step on the block: ``goal = a + Q slope``, which also wipes out rounding."""
    times(room.Q, room.slope, n, n, room.goal)
    for p in range(n):
        room.goal[p] += room.a[p]


@kernel
def walk(room: Room, n: int) -> int:
    """Walk from a to the goal; take out every member that is brought to zero. Returns n."""
    a, goal, one = room.a, room.goal, room.a.dtype.type(1)
    while True:
        first, reach = NOBODY, one
        for p in range(n):
            if goal[p] * room.sign[p] <= 0:
                span = a[p] - goal[p]
                step = a[p] / span if span != 0 else a.dtype.type(0)
                if first < 0 or step < reach:
                    first, reach = p, step
        for p in range(n):
            a[p] += reach * (goal[p] - a[p])
        if first < 0:
            return n
        # The goal moves to the solution in which this member is held at zero.
        row = room.Q[first]
        scaled = goal[first] / row[first]
        for q in range(n):
            goal[q] -= row[q] * scaled
        n = leave(room, n, first)


@kernel
def line_up(cut: Any, room: Room) -> int:
    """The silent neurons whose excess is at least ``cut``; returns their number."""
    n, width, bar = 0, width_of(room.excess), alike(room.excess, cut)
    for first in range(0, room.excess.shape[0], width):
        bits = which_reach(take(room.excess, first), bar)
        while bits != 0:
            room.queue[n] = first + lowest_bit(bits)
            bits &= bits - 1
            n += 1
    return n


@kernel
def let_in(
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    n_waiting: int,
    cut: Any,
    singular: Any,
    room: Room,
    n: int,
) -> tuple[int, int]:
    """Let in who waits; returns the number of members, and who could not (-1 for nobody).

    The number is -1 if there is no room.
    """
    one, inside = room.c.dtype.type(1), NOBODY
    keep = cut * room.c.dtype.type(KEEP)
    for k in range(n_waiting):
        j = room.queue[k]
        side = one if room.c[j] - up[j] == room.excess[j] else -one
        slope = side * room.excess[j]
        # c holds the slope at a, not at the goal: bring it there along the block. The rows of the
        # members were just read and are near; the row of j is not.
        for p in range(n):
            slope -= gram[room.members[p], j] * (room.goal[p] - room.a[p])
        if slope * side < keep:
            continue
        if n >= room.members.shape[0]:
            return -1, -1
        schur = project(gram, room.Q, room.members, n, j, room.w, room.t)
        if schur <= gram[j, j] * singular:
            inside = j if inside < 0 or room.excess[j] > room.excess[inside] else inside
            continue
        border(room.Q, room.members, n, j, schur, room.t)
        beta = slope / schur
        for p in range(n):
            room.goal[p] -= beta * room.t[p]
        room.goal[n], room.a[n], room.sign[n] = beta, 0, side
        n += 1
    return n, inside


@routine
def refresh(gram: FloatArray, room: Room, n: int) -> None:
    """Compute the inverse of the block anew: errors add up while members come and go."""
    for p in range(n):
        j = room.members[p]
        schur = project(gram, room.Q, room.members, p, j, room.w, room.t)
        border(room.Q, room.members, p, j, schur, room.t)


@routine
def exchange(
    b: FloatArray,
    gram: FloatArray,
    up: FloatArray,
    down: FloatArray,
    j: int,
    singular: Any,
    room: Room,
    n: int,
) -> int:
    """Let in neuron j, whose atom lies in the span, for the first member that falls to zero.

    Returns n as it is if j is not driven any more; ``-1 - n`` if nobody can make room.
    """
    one = b.dtype.type(1)
    project(gram, room.Q, room.members, n, j, room.w, room.t)
    c = b[j]
    for p in range(n):
        c -= room.w[p] * room.a[p]
    side = one if c - up[j] > -c - down[j] else -one
    if not max(c - up[j], -c - down[j]) > 0:
        return n
    first, step = NOBODY, one
    for p in range(n):
        fall, height = side * room.t[p] * room.sign[p], abs(room.a[p])
        if fall > 0 and (first < 0 or height < step * fall):
            first, step = p, height / fall
    if first < 0:
        return -1 - n
    for p in range(n):
        room.a[p] -= side * step * room.t[p]
    n = leave(room, n, first)
    # The inverse of a block that was nearly singular a moment ago is full of errors.
    refresh(gram, room, n)
    schur = project(gram, room.Q, room.members, n, j, room.w, room.t)
    if schur <= gram[j, j] * singular:
        return -1 - n
    border(room.Q, room.members, n, j, schur, room.t)
    room.a[n], room.sign[n] = side * step, side
    return n + 1


@routine
def take_up(gram: FloatArray, start: FloatArray, singular: Any, room: Room) -> int:
    """Make the active neurons of a start the members, as far as they fit; blank the start."""
    n = ZERO
    for j in range(start.shape[0]):
        if start[j] != 0:
            if n < room.members.shape[0]:
                schur = project(gram, room.Q, room.members, n, j, room.w, room.t)
                if schur > gram[j, j] * singular:
                    border(room.Q, room.members, n, j, schur, room.t)
                    room.a[n] = start[j]
                    room.sign[n] = 1 if start[j] > 0 else -1
                    n += 1
            start[j] = 0
    return n

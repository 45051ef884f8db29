"""Who may fire soon: the few neurons that are followed step by step, see `spans.py`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikelca.engines.numba.compile import ordered_part
from spikelca.engines.numba.layout import aligned, padded
from spikelca.validation import FloatArray

SPAN = 16
"""Steps of a span."""

MOST = 64
"""Neurons that are followed at most; if there would be more, steps are taken one by one."""

SINGLE = 4
"""Steps that are then taken before it is asked again."""

NEAR = 0.97
"""A neuron is followed if it is foreseen at this part of the threshold or beyond."""

SLACK = 6
"""Neurons that are followed without need, before the list is made anew."""


class Room(NamedTuple):
    """Scratch of one thread; none of its arrays may seem to overlap another.

    Attributes
    ----------
    bar, rest : (width,)
        Thresholds; and of those who are not followed alone.
    pace : (width,)
        How far u would go if its input stayed.
    c : (SPAN, width)
        ``b + d`` at each step; the first row alone if it does not change.
    u : (SPAN + 1, width)
    wanted : (width,)
    missed : (n_tiles,)
        Whether somebody fires there who is not followed.
    followed, place, column : (width,)
        Who is followed, in ascending order, where his part of a tile begins, and in which place of
        the tiles his own column does.
    block : (MOST, MOST)
        -L between those who are followed.
    bars, v, flow : (width,)
        Their thresholds, potentials and drive, side by side.
    out : (SPAN, width)
        Their outputs.
    says, heard : (width,)
        Who of them ever says something in the span; their list.
    """

    bar: FloatArray
    rest: FloatArray
    pace: FloatArray
    c: FloatArray
    u: FloatArray
    wanted: Any
    missed: Any
    followed: Any
    place: Any
    column: Any
    block: FloatArray
    bars: FloatArray
    v: FloatArray
    flow: FloatArray
    out: FloatArray
    says: Any
    heard: Any


def make_room(n_neurons: int, dtype: np.dtype[Any]) -> Room:
    """Scratch for n neurons."""
    wide = padded(n_neurons)

    def numbers(*shape: int) -> FloatArray:
        return aligned(shape, dtype)

    parts: list[Any] = [*(numbers(wide) for _ in range(3)), numbers(SPAN, wide)]
    parts += [numbers(SPAN + 1, wide), np.zeros(wide, np.int32), np.zeros(wide, np.bool_)]
    # Unsigned, or Numba would ask at each use whether a place is counted from the end.
    parts += [np.zeros(wide + 1, np.uintp), np.zeros(wide + 1, np.int64)]
    parts += [np.zeros(wide + 1, np.uintp), numbers(MOST, MOST)]
    parts += [*(numbers(wide) for _ in range(3)), numbers(SPAN, wide)]
    parts += [np.zeros(wide, np.int32), np.zeros(wide + 1, np.uintp)]
    return Room(*parts)


@ordered_part
def foresee(k: Any, two_sided: bool, room: Room) -> int:
    """Mark who may fire while u goes on at its pace for a span; returns their number."""
    n, u, near = 0, room.u[0], room.pace.dtype.type(NEAR)
    reach = room.pace.dtype.type(1 - (1 - k) ** SPAN)
    for j in range(u.shape[0]):
        ahead = u[j] + reach * room.pace[j]
        high = ahead if ahead > u[j] else u[j]
        low = u[j] if ahead > u[j] else ahead
        high = -low if two_sided and -low > high else high
        room.wanted[j] = np.int32(high > near * room.bar[j])
    for j in range(u.shape[0]):
        n += room.wanted[j]
    return n


@ordered_part
def gather(tiles: FloatArray, n: int, n_wanted: int, room: Room) -> int:
    """Follow those who are wanted; returns how many they are.

    Who is not wanted any more stays while there are few of them: a new block costs more.
    """
    known, width = 0, tiles.shape[2]
    for i in range(n):
        known += room.wanted[room.followed[i]]
    if known == n_wanted and n <= n_wanted + SLACK:
        return n
    for i in range(n):
        room.rest[room.followed[i]] = room.bar[room.followed[i]]
    count = np.uintp(0)
    for j in range(room.wanted.shape[0]):
        # Without a branch: who is wanted cannot be predicted.
        room.followed[count], room.place[count] = j, j * width
        count += np.uintp(room.wanted[j])
    n = np.int64(count)
    for i in range(n):
        room.rest[room.followed[i]] = np.inf
    among(tiles, n, room)
    return n


@ordered_part
def among(tiles: FloatArray, n: int, room: Room) -> None:
    """-L between those who are followed."""
    n_rows, width = tiles.shape[1], tiles.shape[2]
    flat = tiles.reshape(tiles.size)
    for m in range(n):
        j = np.int64(room.followed[m])
        room.column[m] = j // width * n_rows * width + j % width
    for i in range(n):
        part, row = room.block[i], np.uintp(room.place[i])
        for m in range(n):
            part[m] = flat[row + room.column[m]]


@ordered_part
def meet(n: int, room: Room) -> None:
    """Bring potential and threshold of those who are followed together."""
    for i in range(n):
        room.v[i], room.bars[i] = room.u[0, room.followed[i]], room.bar[room.followed[i]]
    for i in range(n, MOST):
        room.v[i] = 0

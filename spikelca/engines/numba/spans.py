"""Rate neurons with lateral inhibition, several steps at a time and to the last bit the same.

Step by step every neuron waits for the row of L of every active one, and most of them only to stay
silent. But who will be active soon is easy to foresee. So a span of steps is taken in three passes:

1. foresee who may fire within the span (`plan`) and follow these few among themselves: the block of
   L between them stays next to the core (`follow`);
2. now that all outputs of the span are known, compute all potentials, many steps to each reading of
   a row (`integrate`);
3. look whether a neuron fired that nobody had foreseen; if so, the span ends with the step before
   it would have been heard (`trusted`).

A wrong guess costs time and nothing else. Each potential sees the same operations in the same order
as step by step: one subtraction after the other in ascending order of the active neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikelca.engines.numba.block import LANES, padded
from spikelca.engines.numba.compile import ordered_kernel
from spikelca.engines.numba.rate import Cell, Tape, keep, outputs
from spikelca.validation import FloatArray

SPAN = 16
"""Steps of a span at most."""

SHORT = 4
"""Steps of a span at least, unless more than `MOST` neurons would have to be followed."""

FEW = 96
"""Neurons from which on a shorter span is planned."""

NEAR = 0.97
"""A neuron is followed if it is foreseen at this part of the threshold or beyond."""

MOST = 128
"""Neurons that are followed at most; beyond, steps are taken one by one."""

PANEL = 256
"""Neurons that are looked at side by side: their parts of the rows of L stay next to the core."""

GROUP = 6
"""Rows that are read to a visit of what they are subtracted from; more would not fit registers."""

SLACK = 6
"""Neurons that are followed without need, before the list is made anew."""


class Room(NamedTuple):
    """Scratch of one thread: all neurons, then those that are followed, side by side.

    Arrays are many because none may seem to overlap another, or loops over them are no vector
    loops. ``rows`` are the rows of L of those that are followed, panel by panel, and ``block`` is
    the part of them between themselves.
    """

    bar: FloatArray
    rest: FloatArray
    now: FloatArray
    c: FloatArray
    u: FloatArray
    missed: Any
    wanted: Any
    rows: FloatArray

    followed: Any
    block: FloatArray
    bars: FloatArray
    v: FloatArray
    flow: FloatArray
    drive: FloatArray
    out: FloatArray


def make_room(n_neurons: int, dtype: np.dtype[Any]) -> Room:
    """Scratch for n neurons."""
    wide, n_panels = n_neurons + LANES + GROUP, -(-n_neurons // PANEL)

    def numbers(*shape: int) -> FloatArray:
        # Whole lines of the cache, so that no vector lies across two of them.
        size, line = int(np.prod(shape)), 64 // dtype.itemsize
        raw = np.zeros(size + line, dtype)
        first = -raw.ctypes.data % 64 // dtype.itemsize
        return raw[first : first + size].reshape(shape)

    parts: list[Any] = [numbers(n_neurons) for _ in range(3)]
    parts += [numbers(SPAN + 1, n_neurons) for _ in range(2)]
    parts += [np.zeros(n_neurons, np.int32) for _ in range(2)]
    parts += [numbers(n_panels, wide * PANEL), np.full(wide, -1), numbers((MOST + GROUP) * MOST)]
    parts += [*(numbers(wide) for _ in range(4)), numbers(SPAN + 1, wide)]
    return Room(*parts)


@ordered_kernel
def foresee(reach: Any, two_sided: bool, c: FloatArray, room: Room) -> int:
    """Mark who may fire while u goes a part ``reach`` of its way to c; returns their number."""
    n, u, near = 0, room.u[0], c.dtype.type(NEAR)
    for j in range(u.shape[0]):
        ahead = u[j] + reach * (c[j] - u[j])
        high = ahead if ahead > u[j] else u[j]
        low = u[j] if ahead > u[j] else ahead
        high = -low if two_sided and -low > high else high
        room.wanted[j] = np.int32(high > near * room.bar[j])
    for j in range(u.shape[0]):
        n += room.wanted[j]
    return n


@ordered_kernel
def plan(k: Any, two_sided: bool, c: FloatArray, room: Room) -> tuple[int, int]:
    """How many steps to take, and how many neurons are wanted; the longer, the more may fire."""
    span, n = 2 * SPAN, room.bar.shape[0]
    while span > SHORT and (n > FEW or span > SPAN):
        span //= 2
        n = foresee(c.dtype.type(1 - (1 - k) ** span), two_sided, c, room)
    return span, n


@ordered_kernel
def gather(lateral: FloatArray, n: int, n_wanted: int, room: Room) -> int:
    """Follow those who are wanted, with their rows of L; returns how many are followed.

    Who is not wanted any more stays while there are few of them: to fetch rows costs more.
    """
    known = 0
    for i in range(n):
        known += room.wanted[room.followed[i]]
    if known == n_wanted and n <= n_wanted + SLACK:
        return n
    n = 0
    for j in range(room.wanted.shape[0]):
        if room.wanted[j]:
            if room.followed[n] != j:
                room.followed[n] = j
                for first in range(0, lateral.shape[1], PANEL):
                    part = lateral[j, first : first + PANEL]
                    rows = room.rows[first // PANEL, n * PANEL : n * PANEL + part.shape[0]]
                    for m in range(part.shape[0]):
                        rows[m] = part[m]
            n += 1
    for i in range(n if n <= MOST else 0):
        row, part = lateral[room.followed[i]], room.block[i * MOST : (i + 1) * MOST]
        for m in range(n):
            part[m] = row[room.followed[m]]
    return n


@ordered_kernel
def meet(b: FloatArray, n: int, room: Room) -> None:
    """Bring potential, drive and threshold of those who are followed together."""
    for i in range(n):
        j = room.followed[i]
        room.v[i], room.drive[i], room.bars[i] = room.u[0, j], b[j], room.bar[j]
    for i in range(n, padded(n)):
        room.v[i], room.drive[i], room.bars[i] = 0, 0, np.inf


@ordered_kernel
def subtract(rows: FloatArray, a: FloatArray, n: int, c: FloatArray) -> None:
    """``c -= sum_i a_i rows_i``, one after the other; rows lie `MOST` apart."""
    for i in range(0, n, GROUP):
        a0, a1, a2, a3, a4, a5 = a[i], a[i + 1], a[i + 2], a[i + 3], a[i + 4], a[i + 5]
        r = rows[i * MOST : (i + GROUP) * MOST]
        for m in range(c.shape[0]):
            x = ((c[m] - a0 * r[m]) - a1 * r[m + MOST]) - a2 * r[m + 2 * MOST]
            c[m] = ((x - a3 * r[m + 3 * MOST]) - a4 * r[m + 4 * MOST]) - a5 * r[m + 5 * MOST]


@ordered_kernel
def follow(wave: FloatArray, cell: Cell, step: int, span: int, n: int, room: Room) -> None:
    """The outputs of those who are followed, at the start of each step; silence behind the span."""
    zero, m = room.v.dtype.type(0), padded(n)
    v, c, bar, shift = room.v, room.flow[:m], room.bars, zero if cell.hard else cell.lam
    for t in range(span):
        a = room.out[t]
        for i in range(m, m + GROUP):
            a[i] = zero
        for i in range(m):
            a[i] = v[i] - shift if v[i] > bar[i] else zero
        if cell.two_sided:
            for i in range(m):
                a[i] += v[i] + shift if -v[i] > bar[i] else zero
        if t + 1 == span:
            break
        for i in range(m):
            c[i] = room.drive[i]
        if wave.shape[0] > 0:
            for i in range(n):
                c[i] += wave[step + t, room.followed[i]]
        subtract(room.block, a, n, c)
        for i in range(m):
            v[i] = cell.k * (c[i] - v[i]) + v[i]
    for i in range(m + GROUP):
        room.out[span, i] = zero


@ordered_kernel
def subtract_twice(
    rows: FloatArray, a: FloatArray, b: FloatArray, n: int, c: FloatArray, d: FloatArray
) -> None:
    """The same for two steps at once, whose outputs are a and b; rows lie `PANEL` apart."""
    for i in range(0, n, GROUP // 2):
        a0, a1, a2, b0, b1, b2 = a[i], a[i + 1], a[i + 2], b[i], b[i + 1], b[i + 2]
        r = rows[i * PANEL : (i + GROUP // 2) * PANEL]
        for m in range(c.shape[0]):
            r0, r1, r2 = r[m], r[m + PANEL], r[m + 2 * PANEL]
            x = ((c[m] - a0 * r0) - a1 * r1) - a2 * r2
            y = ((d[m] - b0 * r0) - b1 * r1) - b2 * r2
            c[m], d[m] = x, y


@ordered_kernel
def inhibit(b: FloatArray, wave: FloatArray, step: int, span: int, n: int,
            room: Room) -> None:  # fmt: skip
    """``c = b + d - L a`` of all neurons and steps of the span."""
    for t in range(span):
        c = room.c[t]
        for j in range(b.shape[0]):
            c[j] = b[j]
        if wave.shape[0] > 0:
            for j in range(b.shape[0]):
                c[j] += wave[step + t, j]
    for panel in range(room.rows.shape[0]):
        first, last = panel * PANEL, (panel + 1) * PANEL
        for t in range(0, span, 2):
            subtract_twice(room.rows[panel], room.out[t], room.out[t + 1], n,
                           room.c[t, first:last], room.c[t + 1, first:last])  # fmt: skip


@ordered_kernel
def integrate(cell: Cell, span: int, n: int, room: Room) -> None:
    """``u' = k (c - u) + u`` for the span; notes who fires without being followed."""
    rest, missed, now = room.rest, room.missed, room.now
    for j in range(now.shape[0]):
        rest[j], missed[j], now[j] = room.bar[j], 0, room.u[0, j]
    for i in range(n):
        rest[room.followed[i]] = np.inf
    for t in range(span):
        c, after = room.c[t], room.u[t + 1]
        for j in range(now.shape[0]):
            new = cell.k * (c[j] - now[j]) + now[j]
            now[j] = after[j] = new
            missed[j] |= np.int32((abs(new) if cell.two_sided else new) > rest[j])


@ordered_kernel
def trusted(two_sided: bool, span: int, room: Room) -> int:
    """The steps of the span that heard everybody who fired."""
    first, unheard = span, 0
    for j in range(room.missed.shape[0]):
        unheard += room.missed[j]
    for j in range(room.missed.shape[0] if unheard else 0):
        for t in range(1, first if room.missed[j] else 0):
            u = room.u[t, j]
            if (abs(u) if two_sided else u) > room.bar[j]:
                first = t
                break
    return first


@ordered_kernel
def write_down(open_: FloatArray, cell: Cell, step: int, taken: int, tape: Tape, slot: int,
               a: FloatArray, listed: Any, room: Room) -> None:  # fmt: skip
    """Keep the wanted traces of the steps that were taken."""
    if slot < 0 or len(tape.u) + len(tape.a) == 0:
        return
    for t in range(taken):
        if (step + t) % tape.every == 0:
            time = (step + t) // tape.every
            outputs(room.u[t], open_, cell, a, listed)
            keep(tape.u, time, slot, room.u[t], tape.neurons)
            keep(tape.a, time, slot, a, tape.neurons)


@ordered_kernel
def rate_lateral(b: FloatArray, wave: FloatArray, open_: Any, lateral: FloatArray, cell: Cell,
                 n_steps: int, tape: Tape, slot: int, u: FloatArray, a: FloatArray, listed: Any,
                 room: Room) -> None:  # fmt: skip
    """``u' = k (b + d - L a - u) + u``, from u to u."""
    step, last, n = 0, 0, 0
    for j in range(b.shape[0]):
        room.bar[j] = cell.lam if open_[j] else np.inf
        room.c[0, j] = b[j]
    room.u[0] = u
    while step < n_steps:
        span, n_wanted = plan(cell.k, cell.two_sided, room.c[last], room)
        n = gather(lateral, n, n_wanted, room)
        span = min(span, n_steps - step) if n <= MOST else 1
        meet(b, n, room)
        follow(wave, cell, step, span, n, room)
        inhibit(b, wave, step, span, n, room)
        integrate(cell, span, n, room)
        taken = trusted(cell.two_sided, span, room)
        write_down(open_, cell, step, taken, tape, slot, a, listed, room)
        room.u[0] = room.u[taken]
        last, step = taken - 1, step + taken
    u[:] = room.u[0]
    outputs(u, open_, cell, a, listed)

"""Rate neurons with lateral inhibition, several steps at a time and to the last bit the same.

Step by step every neuron waits for the row of L of every active one, and most of them only to stay
silent. But who will be active soon is easy to foresee. So a span of steps is taken in three passes:

1. foresee who may fire within the span (`foresight.py`) and follow these few among themselves: the
   block of L between them stays next to the core (`follow`);
2. now that all outputs of the span are known, compute all potentials, a few neurons after the other
   and four steps to each reading of their part of a row (`advance`);
3. look whether a neuron fired that nobody had foreseen; if so, the span ends with the step before
   it would have been heard (`trusted`).

A wrong guess costs time and nothing else. Each potential sees the same operations in the same order
as step by step: one subtraction after the other in ascending order of the active neurons.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.borrow import borrowed
from spikelca.engines.numba.compile import ordered_kernel, ordered_part
from spikelca.engines.numba.foresight import MOST, SINGLE, SPAN, Room, foresee, gather, meet
from spikelca.engines.numba.lanes import any_above, higher, more, nearer, opposite, put, take
from spikelca.engines.numba.rate import Cell, Tape, keep, outputs
from spikelca.validation import FloatArray


@ordered_part
def charge(b: FloatArray, waves: FloatArray, row: int, step: int, span: int, room: Room) -> None:
    """``b + d`` of all steps of the span, where it changes."""
    for t in range(span if waves.shape[0] > 0 else 0):
        c, wave = room.c[t], waves[step + t, row % waves.shape[1]]
        for j in range(b.shape[0]):
            c[j] = b[j] + wave[j]


@ordered_part
def speak(cell: Cell, u: FloatArray, bar: FloatArray, n: int, a: FloatArray) -> None:
    """``a = T(u)`` of the first n."""
    zero = u.dtype.type(0)
    shift = zero if cell.hard else cell.lam
    for i in range(n):
        a[i] = u[i] - shift if u[i] > bar[i] else zero
    if cell.two_sided:
        for i in range(n):
            a[i] += u[i] + shift if -u[i] > bar[i] else zero


@ordered_part
def follow(cell: Cell, waving: int, span: int, n: int, width: int, room: Room) -> None:
    """The outputs of those who are followed, at the start of each step; silence behind the span."""
    v, block, flow = room.v, room.block, room.flow
    for t in range(span):
        a = room.out[t]
        speak(cell, v, room.bars, n, a)
        if t + 1 == span:
            break
        for i in range(n if waving or t == 0 else 0):
            flow[i] = room.c[t * waving, room.followed[i]]
        for first in range(0, n, 4 * width):
            p, q, r = first + width, first + 2 * width, first + 3 * width
            c0, c1, c2, c3 = take(flow, first), take(flow, p), take(flow, q), take(flow, r)
            for i in range(n):
                row = i * MOST
                c0 = more(c0, a[i], take(block, row + first))
                c1 = more(c1, a[i], take(block, row + p))
                c2 = more(c2, a[i], take(block, row + q))
                c3 = more(c3, a[i], take(block, row + r))
            put(v, first, nearer(take(v, first), cell.k, c0))
            put(v, p, nearer(take(v, p), cell.k, c1))
            put(v, q, nearer(take(v, q), cell.k, c2))
            put(v, r, nearer(take(v, r), cell.k, c3))
    for t in range(span, -(-span // 4) * 4):
        room.out[t, :n] = 0


@ordered_part
def heed(span: int, n: int, room: Room) -> int:
    """List who of the first n ever says something, without a branch; returns their number."""
    says, heard, count = room.says, room.heard, np.uintp(0)
    for i in range(n):
        says[i] = room.out[0, i] != 0
    for t in range(1, span):
        a = room.out[t]
        for i in range(n):
            says[i] |= np.int32(a[i] != 0)
    for i in range(n):
        heard[count] = i
        count += np.uintp(says[i])
    return np.int64(count)


@ordered_part
def advance(tiles: FloatArray, waving: int, cell: Cell, span: int, n: int, room: Room) -> None:
    """``u' = k (b + d - L a - u) + u`` for the span; notes where somebody fires unforeseen."""
    wide, width, c, u = room.u.shape[1], tiles.shape[2], room.c, room.u
    for tile in range(tiles.shape[0]):
        first, rows = tile * width, tile * tiles.shape[1] * width
        u3 = take(u, first)
        high = u3
        for t in range(0, span, 4):
            a0, a1, a2, a3 = room.out[t], room.out[t + 1], room.out[t + 2], room.out[t + 3]
            place = waving * t * wide + first
            c0, c1 = take(c, place), take(c, place + waving * wide)
            c2, c3 = take(c, place + 2 * waving * wide), take(c, place + 3 * waving * wide)
            for m in range(n):
                i = room.heard[m]
                row = take(tiles, rows + room.place[i])
                c0, c1 = more(c0, a0[i], row), more(c1, a1[i], row)
                c2, c3 = more(c2, a2[i], row), more(c3, a3[i], row)
            place = (t + 1) * wide + first
            u0 = nearer(u3, cell.k, c0)
            u1 = nearer(u0, cell.k, c1)
            u2 = nearer(u1, cell.k, c2)
            u3 = nearer(u2, cell.k, c3)
            put(u, place, u0)
            put(u, place + wide, u1)
            put(u, place + 2 * wide, u2)
            put(u, place + 3 * wide, u3)
            high = higher(high, higher(higher(u0, u1), higher(u2, u3)))
            if cell.two_sided:
                u0, u1 = higher(opposite(u0), opposite(u1)), higher(opposite(u2), opposite(u3))
                high = higher(high, higher(u0, u1))
        room.missed[tile] = any_above(high, take(room.rest, first))


@ordered_part
def one_by_one(tiles: FloatArray, waving: int, cell: Cell, n_steps: int, room: Room) -> None:
    """The same step by step, for all neurons and whoever is active."""
    n_rows, width = tiles.shape[1], tiles.shape[2]
    wide, next_tile, a = room.u.shape[1], n_rows * width, room.out[0]
    for t in range(n_steps):
        c, u, new = room.c[t * waving], room.u[t], room.u[t + 1]
        speak(cell, u, room.bar, wide, a)
        n = heed(1, wide, room)
        for first in range(0, wide, 4 * width):
            p, q, r = first + width, first + 2 * width, first + 3 * width
            c0, c1, c2, c3 = take(c, first), take(c, p), take(c, q), take(c, r)
            for i in range(n):
                spoken = a[room.heard[i]]
                row = first * n_rows + np.int64(room.heard[i]) * width
                c0 = more(c0, spoken, take(tiles, row))
                c1 = more(c1, spoken, take(tiles, row + next_tile))
                c2 = more(c2, spoken, take(tiles, row + 2 * next_tile))
                c3 = more(c3, spoken, take(tiles, row + 3 * next_tile))
            put(new, first, nearer(take(u, first), cell.k, c0))
            put(new, p, nearer(take(u, p), cell.k, c1))
            put(new, q, nearer(take(u, q), cell.k, c2))
            put(new, r, nearer(take(u, r), cell.k, c3))


@ordered_part
def trusted(two_sided: bool, span: int, width: int, room: Room) -> int:
    """The steps of the span that heard everybody who fired."""
    for tile in range(room.u.shape[1] // width):
        for t in range(1, span if room.missed[tile] else 0):
            for j in range(tile * width, (tile + 1) * width):
                u = room.u[t, j]
                if (abs(u) if two_sided else u) > room.rest[j]:
                    span = t
                    break
            if span == t:
                break
    return span


@ordered_part
def write_down(cell: Cell, open_: FloatArray, step: int, taken: int, tape: Tape, slot: int,
               a: FloatArray, listed: Any, room: Room) -> None:  # fmt: skip
    """Keep the wanted traces of the steps that were taken."""
    if slot < 0 or len(tape.u) + len(tape.a) == 0:
        return
    for t in range(taken):
        if (step + t) % tape.every == 0:
            time, u = (step + t) // tape.every, room.u[t, : a.shape[0]]
            outputs(u, open_, cell, a, listed)
            keep(tape.u, time, slot, u, tape.neurons)
            keep(tape.a, time, slot, a, tape.neurons)


@ordered_part
def set_out(b: FloatArray, open_: FloatArray, u: FloatArray, cell: Cell, room: Room) -> None:
    """Thresholds, drive and state of a sample; places behind the last neuron never fire."""
    n = b.shape[0]
    room.bar[n:], room.u[0, n:], room.pace[n:] = np.inf, 0, 0
    for j in range(n):
        room.bar[j] = cell.lam if open_[j] else np.inf
        room.c[0, j], room.u[0, j], room.pace[j] = b[j], u[j], b[j] - u[j]
    room.rest[:] = room.bar


@ordered_part
def go_on(k: Any, taken: int, room: Room) -> None:
    """The end of a span is the start of the next, and tells how fast u moves."""
    u, before, now = room.u[0], room.u[taken - 1], room.u[taken]
    one = u.dtype.type(1)
    gain = one / k - one
    for j in range(u.shape[0]):
        room.pace[j] = gain * (now[j] - before[j])
    for j in range(u.shape[0]):
        u[j] = now[j]


@ordered_kernel
def rate_lateral(first: int, b: FloatArray, waves: FloatArray, open_: FloatArray,
                 tiles: FloatArray, cell: Cell, n_steps: int, tape: Tape, slots: Any,
                 u: FloatArray, a: FloatArray, listed: Any, room: Room) -> None:  # fmt: skip
    """``u' = k (b + d - L a - u) + u`` of some samples, from u to u; the first is number first."""
    b, waves, open_, tiles = borrowed(b), borrowed(waves), borrowed(open_), borrowed(tiles)
    u, a, listed, room = borrowed(u), borrowed(a), borrowed(listed), borrowed(room)
    tape = borrowed(tape)
    waving, width = int(waves.shape[0] > 0), tiles.shape[2]
    for row in range(b.shape[0]):
        step, n = 0, 0
        set_out(b[row], open_[row], u[row], cell, room)
        while step < n_steps:
            span = min(SPAN, n_steps - step)
            n_wanted = foresee(cell.k, cell.two_sided, room)
            charge(b[row], waves, first + row, step, span, room)
            if n_wanted <= MOST:
                n = gather(tiles, n, n_wanted, room)
                meet(n, room)
                follow(cell, waving, span, n, width, room)
                advance(tiles, waving, cell, span, heed(span, n, room), room)
                taken = trusted(cell.two_sided, span, width, room)
            else:
                taken = min(SINGLE, span)
                one_by_one(tiles, waving, cell, taken, room)
            write_down(cell, open_[row], step, taken, tape, slots[row], a[row], listed, room)
            go_on(cell.k, taken, room)
            step += taken
        u[row] = room.u[0, : u.shape[1]]
        outputs(u[row], open_[row], cell, a[row], listed)

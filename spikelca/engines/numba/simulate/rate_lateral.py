"""Rate neurons with lateral inhibition, several steps at a time and to the last bit the same.

Step by step every neuron waits for the row of L of every active one, and most of them only to stay
silent. But who will be active soon is easy to foresee. So a span of steps is taken in three passes:

1. foresee who may fire within the span (`foresight.py`) and follow these few among themselves: the
   block of L between them stays next to the core (`integrate_tracked`);
2. now that all outputs of the span are known, compute all potentials, a few neurons after the other
   and four steps to each reading of their part of a row (`integrate_all`);
3. look whether a neuron fired that nobody had foreseen; if so, the span ends with the step before
   it would have been heard (`count_valid_steps`).

A wrong guess costs time and nothing else. Each potential sees the same operations in the same order
as step by step: one subtraction after the other in ascending order of the active neurons.

Who may fire soon: the few neurons that are followed step by step, see `spans.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikelca.engines.numba.jit.compile import ordered_kernel, ordered_part
from spikelca.engines.numba.jit.intrinsics import (
    any_gt,
    euler_step,
    fma,
    load,
    maximum,
    neg,
    skip_refcount,
    store,
)
from spikelca.engines.numba.jit.layout import aligned_zeros, padded_neurons
from spikelca.engines.numba.simulate.recording import (
    RateParams,
    TraceBuffers,
    apply_transfer,
    record,
)
from spikelca.utils.validation import FloatArray

SPAN_STEPS = 16
"""Steps of a span."""

MAX_TRACKED = 64
"""Neurons that are followed at most; if there would be more, steps are taken one by one."""

FALLBACK_STEPS = 4
"""Steps that are then taken before it is asked again."""

PREDICTION_FRACTION = 0.97
"""A neuron is followed if it is foreseen at this part of the threshold or beyond."""

MAX_EXTRA_TRACKED = 6
"""Neurons that are followed without need, before the list is made anew."""


class SpanWorkspace(NamedTuple):
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


def make_span_workspace(n_neurons: int, dtype: np.dtype[Any]) -> SpanWorkspace:
    """Scratch for n neurons."""
    wide = padded_neurons(n_neurons)

    def numbers(*shape: int) -> FloatArray:
        return aligned_zeros(shape, dtype)

    parts: list[Any] = [*(numbers(wide) for _ in range(3)), numbers(SPAN_STEPS, wide)]
    parts += [numbers(SPAN_STEPS + 1, wide), np.zeros(wide, np.int32), np.zeros(wide, np.bool_)]
    # Unsigned, or Numba would ask at each use whether a place is counted from the end.
    parts += [np.zeros(wide + 1, np.uintp), np.zeros(wide + 1, np.int64)]
    parts += [np.zeros(wide + 1, np.uintp), numbers(MAX_TRACKED, MAX_TRACKED)]
    parts += [*(numbers(wide) for _ in range(3)), numbers(SPAN_STEPS, wide)]
    parts += [np.zeros(wide, np.int32), np.zeros(wide + 1, np.uintp)]
    return SpanWorkspace(*parts)


@ordered_part
def predict_active(k: Any, two_sided: bool, room: SpanWorkspace) -> int:
    """Mark who may fire while u goes on at its pace for a span; returns their number."""
    n, u, near = 0, room.u[0], room.pace.dtype.type(PREDICTION_FRACTION)
    reach = room.pace.dtype.type(1 - (1 - k) ** SPAN_STEPS)
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
def update_tracked(tiles: FloatArray, n: int, n_wanted: int, room: SpanWorkspace) -> int:
    """Follow those who are wanted; returns how many they are.

    Who is not wanted any more stays while there are few of them: a new block costs more.
    """
    known, width = 0, tiles.shape[2]
    for i in range(n):
        known += room.wanted[room.followed[i]]
    if known == n_wanted and n <= n_wanted + MAX_EXTRA_TRACKED:
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
    load_tracked_block(tiles, n, room)
    return n


@ordered_part
def load_tracked_block(tiles: FloatArray, n: int, room: SpanWorkspace) -> None:
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
def load_tracked(n: int, room: SpanWorkspace) -> None:
    """Bring potential and threshold of those who are followed together."""
    for i in range(n):
        room.v[i], room.bars[i] = room.u[0, room.followed[i]], room.bar[room.followed[i]]
    for i in range(n, MAX_TRACKED):
        room.v[i] = 0


@ordered_part
def add_waveform(
    b: FloatArray, waves: FloatArray, row: int, step: int, span: int, room: SpanWorkspace
) -> None:
    """``b + d`` of all steps of the span, where it changes."""
    for t in range(span if waves.shape[0] > 0 else 0):
        c, wave = room.c[t], waves[step + t, row % waves.shape[1]]
        for j in range(b.shape[0]):
            c[j] = b[j] + wave[j]


@ordered_part
def compute_output(cell: RateParams, u: FloatArray, bar: FloatArray, n: int, a: FloatArray) -> None:
    """``a = T(u)`` of the first n."""
    zero = u.dtype.type(0)
    shift = zero if cell.hard else cell.lam
    for i in range(n):
        a[i] = u[i] - shift if u[i] > bar[i] else zero
    if cell.two_sided:
        for i in range(n):
            a[i] += u[i] + shift if -u[i] > bar[i] else zero


@ordered_part
def integrate_tracked(
    cell: RateParams, waving: int, span: int, n: int, width: int, room: SpanWorkspace
) -> None:
    """The outputs of those who are followed, at the start of each step; silence behind the span."""
    v, block, flow = room.v, room.block, room.flow
    for t in range(span):
        a = room.out[t]
        compute_output(cell, v, room.bars, n, a)
        if t + 1 == span:
            break
        for i in range(n if waving or t == 0 else 0):
            flow[i] = room.c[t * waving, room.followed[i]]
        for first in range(0, n, 4 * width):
            p, q, r = first + width, first + 2 * width, first + 3 * width
            c0, c1, c2, c3 = load(flow, first), load(flow, p), load(flow, q), load(flow, r)
            for i in range(n):
                row = i * MAX_TRACKED
                c0 = fma(c0, a[i], load(block, row + first))
                c1 = fma(c1, a[i], load(block, row + p))
                c2 = fma(c2, a[i], load(block, row + q))
                c3 = fma(c3, a[i], load(block, row + r))
            store(v, first, euler_step(load(v, first), cell.k, c0))
            store(v, p, euler_step(load(v, p), cell.k, c1))
            store(v, q, euler_step(load(v, q), cell.k, c2))
            store(v, r, euler_step(load(v, r), cell.k, c3))
    for t in range(span, -(-span // 4) * 4):
        room.out[t, :n] = 0


@ordered_part
def list_active(span: int, n: int, room: SpanWorkspace) -> int:
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
def integrate_all(
    tiles: FloatArray, waving: int, cell: RateParams, span: int, n: int, room: SpanWorkspace
) -> None:
    """``u' = k (b + d - L a - u) + u`` for the span; notes where somebody fires unforeseen."""
    wide, width, c, u = room.u.shape[1], tiles.shape[2], room.c, room.u
    for tile in range(tiles.shape[0]):
        first, rows = tile * width, tile * tiles.shape[1] * width
        u3 = load(u, first)
        high = u3
        for t in range(0, span, 4):
            a0, a1, a2, a3 = room.out[t], room.out[t + 1], room.out[t + 2], room.out[t + 3]
            place = waving * t * wide + first
            c0, c1 = load(c, place), load(c, place + waving * wide)
            c2, c3 = load(c, place + 2 * waving * wide), load(c, place + 3 * waving * wide)
            for m in range(n):
                i = room.heard[m]
                row = load(tiles, rows + room.place[i])
                c0, c1 = fma(c0, a0[i], row), fma(c1, a1[i], row)
                c2, c3 = fma(c2, a2[i], row), fma(c3, a3[i], row)
            place = (t + 1) * wide + first
            u0 = euler_step(u3, cell.k, c0)
            u1 = euler_step(u0, cell.k, c1)
            u2 = euler_step(u1, cell.k, c2)
            u3 = euler_step(u2, cell.k, c3)
            store(u, place, u0)
            store(u, place + wide, u1)
            store(u, place + 2 * wide, u2)
            store(u, place + 3 * wide, u3)
            high = maximum(high, maximum(maximum(u0, u1), maximum(u2, u3)))
            if cell.two_sided:
                u0, u1 = maximum(neg(u0), neg(u1)), maximum(neg(u2), neg(u3))
                high = maximum(high, maximum(u0, u1))
        room.missed[tile] = any_gt(high, load(room.rest, first))


@ordered_part
def integrate_stepwise(
    tiles: FloatArray, waving: int, cell: RateParams, n_steps: int, room: SpanWorkspace
) -> None:
    """The same step by step, for all neurons and whoever is active."""
    n_rows, width = tiles.shape[1], tiles.shape[2]
    wide, next_tile, a = room.u.shape[1], n_rows * width, room.out[0]
    for t in range(n_steps):
        c, u, new = room.c[t * waving], room.u[t], room.u[t + 1]
        compute_output(cell, u, room.bar, wide, a)
        n = list_active(1, wide, room)
        for first in range(0, wide, 4 * width):
            p, q, r = first + width, first + 2 * width, first + 3 * width
            c0, c1, c2, c3 = load(c, first), load(c, p), load(c, q), load(c, r)
            for i in range(n):
                spoken = a[room.heard[i]]
                row = first * n_rows + np.int64(room.heard[i]) * width
                c0 = fma(c0, spoken, load(tiles, row))
                c1 = fma(c1, spoken, load(tiles, row + next_tile))
                c2 = fma(c2, spoken, load(tiles, row + 2 * next_tile))
                c3 = fma(c3, spoken, load(tiles, row + 3 * next_tile))
            store(new, first, euler_step(load(u, first), cell.k, c0))
            store(new, p, euler_step(load(u, p), cell.k, c1))
            store(new, q, euler_step(load(u, q), cell.k, c2))
            store(new, r, euler_step(load(u, r), cell.k, c3))


@ordered_part
def count_valid_steps(two_sided: bool, span: int, width: int, room: SpanWorkspace) -> int:
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
def record_span(cell: RateParams, open_: FloatArray, step: int, taken: int, tape: TraceBuffers, slot: int,
               a: FloatArray, listed: Any, room: SpanWorkspace) -> None:  # fmt: skip
    """Keep the wanted traces of the steps that were taken."""
    if slot < 0 or len(tape.u) + len(tape.a) == 0:
        return
    for t in range(taken):
        if (step + t) % tape.every == 0:
            time, u = (step + t) // tape.every, room.u[t, : a.shape[0]]
            apply_transfer(u, open_, cell, a, listed)
            record(tape.u, time, slot, u, tape.neurons)
            record(tape.a, time, slot, a, tape.neurons)


@ordered_part
def init_sample(
    b: FloatArray, open_: FloatArray, u: FloatArray, cell: RateParams, room: SpanWorkspace
) -> None:
    """Thresholds, drive and state of a sample; places behind the last neuron never fire."""
    n = b.shape[0]
    room.bar[n:], room.u[0, n:], room.pace[n:] = np.inf, 0, 0
    for j in range(n):
        room.bar[j] = cell.lam if open_[j] else np.inf
        room.c[0, j], room.u[0, j], room.pace[j] = b[j], u[j], b[j] - u[j]
    room.rest[:] = room.bar


@ordered_part
def shift_span(k: Any, taken: int, room: SpanWorkspace) -> None:
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
                 tiles: FloatArray, cell: RateParams, n_steps: int, tape: TraceBuffers, slots: Any,
                 u: FloatArray, a: FloatArray, listed: Any, room: SpanWorkspace) -> None:  # fmt: skip
    """``u' = k (b + d - L a - u) + u`` of some samples, from u to u; the first is number first."""
    b, waves, open_, tiles = (
        skip_refcount(b),
        skip_refcount(waves),
        skip_refcount(open_),
        skip_refcount(tiles),
    )
    u, a, listed, room = (
        skip_refcount(u),
        skip_refcount(a),
        skip_refcount(listed),
        skip_refcount(room),
    )
    tape = skip_refcount(tape)
    waving, width = int(waves.shape[0] > 0), tiles.shape[2]
    for row in range(b.shape[0]):
        step, n = 0, 0
        init_sample(b[row], open_[row], u[row], cell, room)
        while step < n_steps:
            span = min(SPAN_STEPS, n_steps - step)
            n_wanted = predict_active(cell.k, cell.two_sided, room)
            add_waveform(b[row], waves, first + row, step, span, room)
            if n_wanted <= MAX_TRACKED:
                n = update_tracked(tiles, n, n_wanted, room)
                load_tracked(n, room)
                integrate_tracked(cell, waving, span, n, width, room)
                integrate_all(tiles, waving, cell, span, list_active(span, n, room), room)
                taken = count_valid_steps(cell.two_sided, span, width, room)
            else:
                taken = min(FALLBACK_STEPS, span)
                integrate_stepwise(tiles, waving, cell, taken, room)
            record_span(cell, open_[row], step, taken, tape, slots[row], a[row], listed, room)
            shift_span(cell.k, taken, room)
            step += taken
        u[row] = room.u[0, : u.shape[1]]
        apply_transfer(u[row], open_[row], cell, a[row], listed)

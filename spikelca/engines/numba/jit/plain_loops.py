"""The kernels that use SIMD intrinsics, as plain loops.

Each function is the twin of the kernel with the same name and arguments, whose docstring describes
both. The twins are tested against the kernels, and are compiled instead of them if the intrinsics
are not used (`intrinsics.USE_SIMD`). Results may differ in the rounding of sums.
"""

from __future__ import annotations

from typing import Any

from spikelca.utils.validation import FloatArray


def matvec(rows: FloatArray, x: FloatArray, n: int, width: int, y: FloatArray) -> None:
    for p in range(width):
        y[p] = 0
    for q in range(n):
        for p in range(width):
            y[p] += x[q] * rows[q, p]


def rank_one_update(Q: FloatArray, t: FloatArray, scale: Any, n: int) -> None:
    for p in range(n):
        for q in range(n):
            Q[p, q] += (scale * t[p]) * t[q]


def copy_row(source: FloatArray, target: FloatArray, n: int) -> None:
    for p in range(n):
        target[p] = source[p]


def compute_excess(c: FloatArray, upper: FloatArray, lower: FloatArray, excess: FloatArray) -> None:
    for j in range(c.shape[0]):
        above, below = c[j] - upper[j], -c[j] - lower[j]
        excess[j] = above if above > below else below


def max_element(values: FloatArray) -> Any:
    largest = values[0]
    for value in values:
        largest = value if value > largest else largest
    return largest


def compute_residual_correlation(
    b: FloatArray, gram: FloatArray, active: Any, a: FloatArray, n: int, c: FloatArray
) -> None:
    for j in range(b.shape[0]):
        c[j] = b[j]
    for m in range(n):
        for j in range(b.shape[0]):
            c[j] -= a[m] * gram[active[m], j]


def list_candidates(cutoff: Any, excess: FloatArray, candidates: Any) -> int:
    n = 0
    for j in range(excess.shape[0]):
        if excess[j] >= cutoff:
            candidates[n] = j
            n += 1
    return n


def list_nonzero(X: FloatArray, row: int, weight: Any, nonzero: Any, values: FloatArray) -> int:
    n = 0
    for k in range(X.shape[1]):
        if X[row, k] != 0:
            nonzero[n], values[n] = k, weight * X[row, k]
            n += 1
    return n


def accumulate_tile(
    tile: FloatArray, counts: Any, nonzero: Any, values: FloatArray, b: FloatArray, start: int
) -> None:
    for row in range(counts.shape[0]):
        for m in range(counts[row]):
            for j in range(tile.shape[1]):
                b[row, start + j] += values[row, m] * tile[nonzero[row, m], j]


def advance_tracked(k: Any, a: FloatArray, n: int, workspace: Any) -> None:
    for i in range(n):
        total = workspace.tracked_input[i]
        for m in range(n):
            total += a[m] * workspace.tracked_block[m, i]
        workspace.tracked_u[i] += k * (total - workspace.tracked_u[i])


def integrate_all(
    tiles: FloatArray, is_time_varying: int, params: Any, span: int, n: int, workspace: Any
) -> None:
    for tile in range(tiles.shape[0]):
        workspace.mispredicted[tile] = False
        for lane in range(tiles.shape[2]):
            j = tile * tiles.shape[2] + lane
            u, threshold = workspace.u[0, j], workspace.untracked_threshold[j]
            workspace.mispredicted[tile] |= u > threshold
            for t in range(span):
                total = workspace.c[t * is_time_varying, j]
                for m in range(n):
                    i = workspace.active_list[m]
                    total += workspace.outputs[t, i] * tiles[tile, workspace.tracked[i], lane]
                u += params.k * (total - u)
                workspace.u[t + 1, j] = u
                high = abs(u) if params.two_sided else u
                workspace.mispredicted[tile] |= high > threshold


def advance_all(
    tiles: FloatArray, k: Any, c: FloatArray, u: FloatArray, new_u: FloatArray, n: int,
    workspace: Any,
) -> None:  # fmt: skip
    width = tiles.shape[2]
    for j in range(u.shape[0]):
        total = c[j]
        for m in range(n):
            i = workspace.active_list[m]
            total += workspace.outputs[0, i] * tiles[j // width, i, j % width]
        new_u[j] = u[j] + k * (total - u[j])

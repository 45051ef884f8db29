"""The Cholesky factor of the block of active neurons, updated as neurons are added and removed.

The rows of `room.Q` hold the lower triangular F with ``F F' = G_SS``. An inverse that is updated
many times loses digits with the square of the block's condition number. The factor does not: a
system that is solved with it has a residual of rounding size however coherent the atoms are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.encode.active_set import ActiveSetWorkspace
from spikelca.engines.numba.jit.compile import routine
from spikelca.utils.validation import FloatArray


@routine
def solve_lower(F: FloatArray, n: int, x: FloatArray) -> None:
    """Solve ``F y = x`` in place, by forward substitution."""
    for p in range(n):
        row, rest = F[p], x[p]
        for q in range(p):
            rest -= row[q] * x[q]
        x[p] = rest / row[p]


@routine
def solve_upper(F: FloatArray, n: int, x: FloatArray) -> None:
    """Solve ``F' y = x`` in place, by back substitution along the rows of F."""
    for p in range(n - 1, -1, -1):
        row = F[p]
        x[p] /= row[p]
        for q in range(p):
            x[q] -= row[q] * x[p]


@routine
def project_on_active(gram: FloatArray, room: ActiveSetWorkspace, n: int, j: int) -> Any:
    """Set ``w = F^-1 G_Sj``; return the squared distance of atom j from the active atoms' span."""
    for p in range(n):
        room.w[p] = gram[room.members[p], j]
    solve_lower(room.Q, n, room.w)
    distance = gram[j, j]
    for p in range(n):
        distance -= room.w[p] * room.w[p]
    return distance


@routine
def append(room: ActiveSetWorkspace, n: int, j: int, distance: Any) -> None:
    """Add neuron j as active neuron n; w and distance are those of `project_on_active`."""
    row = room.Q[n]
    for p in range(n):
        row[p] = room.w[p]
    row[n] = np.sqrt(distance)
    room.members[n] = j


@routine
def remove(room: ActiveSetWorkspace, n: int, p: int) -> int:
    """Remove active neuron p, keep the order of the others, and return their number.

    Without row p the rows below it reach one column past the diagonal. A rotation of the columns
    i and i + 1 clears that entry of row i, and leaves ``F F'`` as it is.
    """
    F = room.Q
    for i in range(p, n - 1):
        row, below = F[i], F[i + 1]
        for q in range(i + 2):
            row[q] = below[q]
        room.members[i], room.sign[i] = room.members[i + 1], room.sign[i + 1]
        room.a[i], room.slope[i] = room.a[i + 1], room.slope[i + 1]
    n -= 1
    for i in range(p, n):
        length = np.hypot(F[i, i], F[i, i + 1])
        cosine, sine = F[i, i] / length, F[i, i + 1] / length
        for row in F[i:n]:
            x, y = row[i], row[i + 1]
            row[i], row[i + 1] = cosine * x + sine * y, cosine * y - sine * x
    return n

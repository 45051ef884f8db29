"""The Cholesky factor of the Gram block of the active neurons, updated neuron by neuron.

The rows of `workspace.Q` contain the lower triangular F with ``F F' = G_SS``. The rounding error of
an inverse that is updated many times grows with the square of the block's condition number. With
the factor, the residual of a solved system is of the size of rounding for any coherence of the
atoms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelca.engines.numba.encode.active_set import ActiveSetWorkspace
from spikelca.engines.numba.jit.compile import jit
from spikelca.utils.validation import FloatArray


@jit("fast")
def solve_lower(F: FloatArray, n: int, x: FloatArray) -> None:
    """Solve ``F y = x`` in place, by forward substitution."""
    for p in range(n):
        row, remainder = F[p], x[p]
        for q in range(p):
            remainder -= row[q] * x[q]
        x[p] = remainder / row[p]


@jit("fast")
def solve_upper(F: FloatArray, n: int, x: FloatArray) -> None:
    """Solve ``F' y = x`` in place, by back substitution along the rows of F."""
    for p in range(n - 1, -1, -1):
        row = F[p]
        x[p] /= row[p]
        for q in range(p):
            x[q] -= row[q] * x[p]


@jit("fast")
def project_on_active(gram: FloatArray, workspace: ActiveSetWorkspace, n: int, j: int) -> Any:
    """Compute ``w = F^-1 G_Sj``; return the squared distance of atom j from the active atoms."""
    for p in range(n):
        workspace.w[p] = gram[workspace.active[p], j]
    solve_lower(workspace.Q, n, workspace.w)
    distance = gram[j, j]
    for p in range(n):
        distance -= workspace.w[p] * workspace.w[p]
    return distance


@jit("fast")
def append(workspace: ActiveSetWorkspace, n: int, j: int, distance: Any) -> None:
    """Add neuron j as active neuron n; w and distance are those of `project_on_active`."""
    # New last row of F: F w = G_Sj, and the diagonal element is what remains of the norm of atom j.
    row = workspace.Q[n]
    for p in range(n):
        row[p] = workspace.w[p]
    row[n] = np.sqrt(distance)
    workspace.active[n] = j


@jit("fast")
def remove(workspace: ActiveSetWorkspace, n: int, p: int) -> int:
    """Remove active neuron p, keep the order of the others, and return their number.

    Without row p the rows below it reach one column past the diagonal. A rotation of the columns
    i and i + 1 clears that entry of row i, and leaves ``F F'`` as it is.
    """
    F = workspace.Q
    for i in range(p, n - 1):
        row, next_row = F[i], F[i + 1]
        for q in range(i + 2):
            row[q] = next_row[q]
        workspace.active[i], workspace.sign[i] = workspace.active[i + 1], workspace.sign[i + 1]
        workspace.a[i], workspace.gradient[i] = workspace.a[i + 1], workspace.gradient[i + 1]
    n -= 1
    for i in range(p, n):
        length = np.hypot(F[i, i], F[i, i + 1])
        cosine, sine = F[i, i] / length, F[i, i + 1] / length
        for row in F[i:n]:
            x, y = row[i], row[i + 1]
            row[i], row[i + 1] = cosine * x + sine * y, cosine * y - sine * x
    return n

"""Encoding many samples with flat memory: chunk by chunk, one certificate for each sample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.engines import Engine, Problem, Response
from spikelca.validation import FloatArray

CHUNK = 4096
"""Samples compiled into one Problem: large enough to keep the cores busy, small in memory."""


def encode_in_chunks(
    make_problem: Callable[..., Problem],
    stimuli: Mapping[str, FloatArray],
    labels: ArrayLike | None,
    start: FloatArray | None,
    engine: Engine,
    tol: float,
    max_iter: int,
) -> Response:
    """Settle all samples, `CHUNK` at a time, and warn of those that did not arrive.

    Parameters
    ----------
    make_problem : callable
        ``make_problem(stimuli, labels, start=...)``: compiles one chunk.
    stimuli : mapping of modality to (n_samples, n_inputs), checked
    labels : (n_samples,), optional
    start : (n_samples, n_neurons), optional
    engine : Engine
    tol : float
    max_iter : int
    """
    if not (math.isfinite(tol) and tol > 0):
        raise ValueError(f"tol is {tol}; a finite number above zero was awaited.")
    n_samples = len(next(iter(stimuli.values())))
    numbers = None if labels is None else np.asarray(labels)
    if numbers is not None and numbers.shape != (n_samples,):
        raise ValueError(f"labels has shape {numbers.shape}; ({n_samples},) was awaited.")
    parts = []
    for first in range(0, n_samples, CHUNK):
        rows = slice(first, first + CHUNK)
        problem = make_problem(
            {name: X[rows] for name, X in stimuli.items()},
            None if numbers is None else numbers[rows],
            start=None if start is None else {"a": start[rows]},
        )
        parts.append(engine.settle(problem, tol, max_iter))
    response = parts[0] if len(parts) == 1 else _joined(parts)
    warn_unsettled(response, tol)
    return response


def _joined(parts: list[Response]) -> Response:
    def join(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    return Response(join("code"), join("residual"), join("gap"), join("n_iter"))


def unsettled(response: Response, tol: float) -> NDArray[np.bool_]:
    """Samples whose certificate is above the tolerance: the gap, or where there is none the residual."""
    if response.gap is None:
        return np.asarray(~(response.residual <= tol))
    decided = np.where(np.isnan(response.gap), response.residual, response.gap)
    return np.asarray(~(decided <= tol))


def warn_unsettled(response: Response, tol: float) -> None:
    """Warn with a ConvergenceWarning that counts the codes above the tolerance."""
    count = int(unsettled(response, tol).sum())
    if count:
        from sklearn.exceptions import ConvergenceWarning

        worst = response.residual if response.gap is None else response.gap
        warnings.warn(
            f"{count} of {len(worst)} codes did not settle within tol={tol:g} (worst "
            f"{np.nanmax(worst):.2g}). Raise max_iter, take a larger tol, or float64 atoms.",
            ConvergenceWarning,
            stacklevel=4,
        )

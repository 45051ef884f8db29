"""Encoding many samples with flat memory: chunk by chunk, one certificate for each sample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.engines import Engine, Problem, Response
from spikelca.metrics import converged, stopping_value
from spikelca.utils.validation import check_matrix, check_values

if TYPE_CHECKING:
    from scipy import sparse
from spikelca.utils import out_of_core


def encode_in_chunks(
    make_problem: Callable[..., Problem],
    stimuli: Mapping[str, NDArray[Any]],
    labels: ArrayLike | None,
    start: NDArray[Any] | None,
    dtype: np.dtype[Any],
    engine: Engine,
    tol: float,
    max_iter: int,
) -> Response:
    """Settle all samples, `CHUNK` at a time, and warn of those that did not arrive.

    Values are checked and converted chunk by chunk: beyond the codes themselves, memory does not
    grow with the number of samples, and an array outside memory is never read as a whole.

    Parameters
    ----------
    make_problem : callable
        ``make_problem(stimuli, labels, start=...)``: compiles one chunk.
    stimuli : mapping of modality to (n_samples, n_inputs), of checked shapes
    labels : (n_samples,), optional
    start : (n_samples, n_neurons), optional
    dtype : dtype
        Precision of the circuit.
    engine : Engine
    tol : float
    max_iter : int
    """
    n_samples = len(next(iter(stimuli.values())))
    total: Response | None = None
    for rows, part in iter_encoded_chunks(
        make_problem, stimuli, labels, start, dtype, engine, tol, max_iter
    ):
        if rows.stop - rows.start == n_samples:
            total = part
        else:
            total = _allocate_like(part, n_samples) if total is None else total
            _copy_rows(part, total, rows)
    assert total is not None
    warn_unconverged(total, tol, max_iter, dtype)
    return total


def encode_sparse(
    make_problem: Callable[..., Problem],
    stimuli: Mapping[str, NDArray[Any]],
    dtype: np.dtype[Any],
    engine: Engine,
    tol: float,
    max_iter: int = 100_000,
) -> sparse.csr_array:
    """The codes alone, as a sparse array: memory grows with the active neurons, not with all."""
    from scipy import sparse  # who asks for no sparse codes does not wait for it

    codes, total = [], None
    n_samples = len(next(iter(stimuli.values())))
    for rows, part in iter_encoded_chunks(
        make_problem, stimuli, None, None, dtype, engine, tol, max_iter
    ):
        codes.append(sparse.csr_array(part.code))
        report = replace(part, code=part.code[:, :0])
        total = _allocate_like(report, n_samples) if total is None else total
        _copy_rows(report, total, rows)
    assert total is not None
    warn_unconverged(total, tol, max_iter, dtype)
    return sparse.vstack(codes, format="csr")


def iter_encoded_chunks(
    make_problem: Callable[..., Problem],
    stimuli: Mapping[str, NDArray[Any]],
    labels: ArrayLike | None,
    start: NDArray[Any] | None,
    dtype: np.dtype[Any],
    engine: Engine,
    tol: float,
    max_iter: int,
) -> Iterator[tuple[slice, Response]]:
    """Settle one chunk after the other; yields which rows they are, and their codes."""
    if not (math.isfinite(tol) and tol > 0):
        raise ValueError(f"tol is {tol}; a finite number above zero was awaited.")
    if not (isinstance(max_iter, (int, np.integer)) and max_iter >= 1):
        raise ValueError(f"max_iter is {max_iter!r}; a whole number above zero was awaited.")
    n_samples = len(next(iter(stimuli.values())))
    numbers = _check_rows(labels, "labels", n_samples)
    begin = _check_rows(start, "start", n_samples)
    for first in range(0, n_samples, out_of_core.CHUNK_SAMPLES):
        rows = slice(first, min(first + out_of_core.CHUNK_SAMPLES, n_samples))
        seen = check_values({name: X[rows] for name, X in stimuli.items()}, dtype, first)
        guess = None
        if begin is not None:
            guess = {"a": check_matrix(begin[rows], "start", None, dtype, first)}
        problem = make_problem(seen, None if numbers is None else numbers[rows], start=guess)
        yield rows, engine.encode(problem, tol, max_iter)
        for X in stimuli.values():
            out_of_core.release_pages(X, rows)


def _check_rows(values: ArrayLike | None, name: str, n_samples: int) -> NDArray[Any] | None:
    found = None if values is None else np.asarray(values)
    if found is not None and found.shape[:1] != (n_samples,):
        raise ValueError(f"{name} has shape {found.shape}; {n_samples} rows were awaited.")
    return found


_PER_SAMPLE_FIELDS = ("code", "residual", "gap", "n_iter")


def _allocate_like(part: Response, n_samples: int) -> Response:
    """Empty arrays like those of the part, for all samples."""
    room = {}
    for name in _PER_SAMPLE_FIELDS:
        value = getattr(part, name)
        room[name] = None if value is None else np.empty((n_samples, *value.shape[1:]), value.dtype)
    return Response(**room)  # type: ignore[arg-type]


def _copy_rows(part: Response, total: Response, rows: slice) -> None:
    for name in _PER_SAMPLE_FIELDS:
        if getattr(part, name) is not None:
            getattr(total, name)[rows] = getattr(part, name)


def warn_unconverged(response: Response, tol: float, max_iter: int, dtype: np.dtype[Any]) -> None:
    """Warn with a ConvergenceWarning that counts the codes above the tolerance, and advises."""
    if converged(response.residual, response.gap, tol):
        return
    reached = stopping_value(response.residual, response.gap, tol)
    missed = ~(reached <= tol)
    if response.n_iter is not None and (response.n_iter[missed] >= max_iter).any():
        advice = f"Increase max_iter, now {max_iter}, or tol."
    elif dtype == np.float32:
        advice = "This is the limit of float32: use float64 atoms or a larger tol."
    else:
        advice = "This is the limit of float64: use a larger tol."
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(
        f"{missed.sum()} of {len(reached)} codes did not settle within tol={tol:g} (worst "
        f"{reached[missed].max():.2g}). {advice}",
        ConvergenceWarning,
        stacklevel=4,
    )

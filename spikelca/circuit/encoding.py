"""Encode many samples chunk by chunk, with bounded memory and a duality gap for each sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.engines import Engine, Problem, Response
from spikelca.metrics import converged, stopping_value
from spikelca.utils.validation import check_matrix, check_positive, check_values

if TYPE_CHECKING:
    from scipy import sparse
from spikelca.utils import out_of_core


def encode_in_chunks(
    compile_chunk: Callable[..., Problem],
    stimuli: Mapping[str, NDArray[Any]],
    labels: ArrayLike | None,
    start: NDArray[Any] | None,
    dtype: np.dtype[Any],
    engine: Engine,
    tol: float,
    max_iter: int,
) -> Response:
    """Encode all samples, `CHUNK_SAMPLES` at a time, and warn of those that did not converge.

    Values are checked and converted chunk by chunk. Apart from the codes, memory does not grow with
    the number of samples, and an out-of-core array is never read as a whole.

    Parameters
    ----------
    compile_chunk : callable
        ``compile_chunk(stimuli, labels, start=...)`` returns the `Problem` of one chunk.
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
    tol, max_iter = check_settings(tol, max_iter)
    for rows, problem in iter_chunks(compile_chunk, stimuli, labels, start, dtype):
        engine.check(problem)
        chunk = engine.encode(problem, tol, max_iter)
        if rows.stop - rows.start == n_samples:
            total = chunk
        else:
            total = _allocate_like(chunk, n_samples) if total is None else total
            _copy_rows(chunk, total, rows)
    assert total is not None
    warn_unconverged(total, tol, max_iter, dtype)
    return total


def encode_sparse(
    compile_chunk: Callable[..., Problem],
    stimuli: Mapping[str, NDArray[Any]],
    dtype: np.dtype[Any],
    engine: Engine,
    tol: float,
    max_iter: int = 100_000,
) -> sparse.csr_array:
    """Encode all samples into a sparse array, with memory proportional to the active neurons."""
    from scipy import sparse  # imported here, because dense codes do not require it

    codes, total = [], None
    n_samples = len(next(iter(stimuli.values())))
    tol, max_iter = check_settings(tol, max_iter)
    for rows, problem in iter_chunks(compile_chunk, stimuli, None, None, dtype):
        engine.check(problem)
        chunk = engine.encode(problem, tol, max_iter)
        codes.append(sparse.csr_array(chunk.code))
        report = replace(chunk, code=chunk.code[:, :0])
        total = _allocate_like(report, n_samples) if total is None else total
        _copy_rows(report, total, rows)
    assert total is not None
    warn_unconverged(total, tol, max_iter, dtype)
    return sparse.vstack(codes, format="csr")


def check_settings(tol: float, max_iter: int) -> tuple[float, int]:
    """Check the tolerance and the number of iterations, and return them as plain numbers."""
    tol = check_positive(tol, "tol")
    if not (isinstance(max_iter, (int, np.integer)) and max_iter >= 1):
        raise ValueError(f"max_iter must be a whole number > 0, got {max_iter!r}.")
    return tol, int(max_iter)


def iter_chunks(
    compile_chunk: Callable[..., Problem],
    stimuli: Mapping[str, NDArray[Any]],
    labels: ArrayLike | None,
    start: NDArray[Any] | None,
    dtype: np.dtype[Any],
) -> Iterator[tuple[slice, Problem]]:
    """Check and compile one chunk after the other; yields its rows and its problem.

    Pages of memory maps are released after the chunk has been used.
    """
    n_samples = len(next(iter(stimuli.values())))
    numbers = _check_rows(labels, "labels", n_samples)
    initial_codes = _check_rows(start, "start", n_samples)
    for first in range(0, n_samples, out_of_core.CHUNK_SAMPLES):
        rows = slice(first, min(first + out_of_core.CHUNK_SAMPLES, n_samples))
        checked = check_values({name: X[rows] for name, X in stimuli.items()}, dtype, first)
        state = None
        if initial_codes is not None:
            state = {"a": check_matrix(initial_codes[rows], "start", None, dtype, first)}
        chunk_labels = None if numbers is None else numbers[rows]
        yield rows, compile_chunk(checked, chunk_labels, start=state)
        for X in stimuli.values():
            out_of_core.release_pages(X, rows)


def _check_rows(values: ArrayLike | None, name: str, n_samples: int) -> NDArray[Any] | None:
    array = None if values is None else np.asarray(values)
    if array is not None and array.shape[:1] != (n_samples,):
        raise ValueError(f"{name} must have {n_samples} rows, got shape {array.shape}.")
    return array


_PER_SAMPLE_FIELDS = ("code", "residual", "gap", "n_iter")


def _allocate_like(chunk: Response, n_samples: int) -> Response:
    """Allocate a response for all samples with arrays like those of one chunk."""
    arrays = {}
    for name in _PER_SAMPLE_FIELDS:
        value = getattr(chunk, name)
        arrays[name] = (
            None if value is None else np.empty((n_samples, *value.shape[1:]), value.dtype)
        )
    return Response(**arrays)  # type: ignore[arg-type]


def _copy_rows(chunk: Response, total: Response, rows: slice) -> None:
    for name in _PER_SAMPLE_FIELDS:
        if getattr(chunk, name) is not None:
            getattr(total, name)[rows] = getattr(chunk, name)


def warn_unconverged(response: Response, tol: float, max_iter: int, dtype: np.dtype[Any]) -> None:
    """Warn with a ConvergenceWarning if codes did not converge to the tolerance."""
    if converged(response.residual, response.gap, tol):
        return
    values = stopping_value(response.residual, response.gap, tol)
    failed = ~(values <= tol)
    if response.n_iter is not None and (response.n_iter[failed] >= max_iter).any():
        advice = f"Increase max_iter, now {max_iter}, or tol."
    elif dtype == np.float32:
        advice = "This is the limit of float32: use float64 atoms or a larger tol."
    else:
        advice = "This is the limit of float64: use a larger tol."
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(
        f"{failed.sum()} of {len(values)} codes did not converge to tol={tol:g} (worst "
        f"{values[failed].max():.2g}). {advice}",
        ConvergenceWarning,
        stacklevel=4,
    )

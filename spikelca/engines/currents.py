"""Time-varying currents of a run, computed in pieces, so that a long run needs little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray

CHUNK_BYTES = 1 << 26
"""Largest size of a piece of a current, 64 MiB. A smaller current is computed once and kept."""

Rows = NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class TimeVaryingCurrent:
    """Driver current that changes with each step of a run.

    Parameters
    ----------
    compute : callable
        ``compute(start, stop, rows)`` returns the current of these steps and samples (None: all),
        (stop - start, 1 or n_rows, n_neurons).
    shape : (n_steps, 1 or n_samples, n_neurons)
        With one row if all samples share the current.
    rows : int array, optional
        Samples of the current (default: all).

    Examples
    --------
    >>> current = TimeVaryingCurrent.from_array(np.arange(6.0).reshape(3, 2, 1))
    >>> current.select(np.array([1])).values(1, 3).ravel()
    array([3., 5.])
    """

    compute: Callable[[int, int, Rows], FloatArray]
    shape: tuple[int, int, int]
    rows: Rows = None
    _kept: dict[int, FloatArray] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_array(cls, array: FloatArray) -> TimeVaryingCurrent:
        """Make a current from its values: (n_steps, 1 or n_samples, n_neurons)."""

        def compute(start: int, stop: int, rows: Rows) -> FloatArray:
            part = array[start:stop]
            return part if rows is None else part[:, rows]

        n_steps, n_rows, n_neurons = array.shape
        return cls(compute, (n_steps, n_rows, n_neurons))

    @property
    def chunk_steps(self) -> int:
        """Number of steps of a piece of at most `CHUNK_BYTES`, at least one."""
        return max(CHUNK_BYTES // (8 * self.shape[1] * self.shape[2]), 1)

    def values(self, start: int, stop: int) -> FloatArray:
        """Compute the current of some steps: (stop - start, 1 or n_samples, n_neurons)."""
        if self.shape[0] > self.chunk_steps:
            return self.compute(start, stop, self.rows)
        return self._chunk(0)[start:stop]

    def at(self, step: int) -> FloatArray:
        """Return the current of a step: (1 or n_samples, n_neurons)."""
        start = step - step % self.chunk_steps
        return self._chunk(start)[step - start]

    def chunks(self) -> Iterator[FloatArray]:
        """Compute the current piece by piece, in ascending order of the steps."""
        for start in range(0, self.shape[0], self.chunk_steps):
            yield self._chunk(start)

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Compute the smallest and the largest current of the run: (1 or n_samples, n_neurons)."""
        extremes = [(part.min(axis=0), part.max(axis=0)) for part in self.chunks()]
        lows, highs = zip(*extremes, strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def select(self, rows: NDArray[np.int64]) -> TimeVaryingCurrent:
        """Return the current of some of the samples."""
        if self.shape[1] == 1:
            return self
        selected = rows if self.rows is None else self.rows[rows]
        return replace(self, rows=selected, shape=(self.shape[0], len(rows), self.shape[2]))

    def map(self, function: Callable[[FloatArray], FloatArray]) -> TimeVaryingCurrent:
        """Return the current with a function applied to its values, neuron by neuron."""

        def compute(start: int, stop: int, rows: Rows) -> FloatArray:
            return function(self.compute(start, stop, rows))

        return replace(self, compute=compute)

    def with_off_cells(self) -> TimeVaryingCurrent:
        """Return the current of ON cells followed by that of OFF cells, of the opposite sign."""
        n_steps, n_rows, n_neurons = self.shape
        pairs = self.map(lambda values: np.concatenate([values, -values], axis=2))
        return replace(pairs, shape=(n_steps, n_rows, 2 * n_neurons))

    def astype(self, dtype: Any) -> TimeVaryingCurrent:
        """Return the current in another precision."""
        return self.map(lambda values: values.astype(dtype, copy=False))

    def _chunk(self, start: int) -> FloatArray:
        """Compute the piece from a step on, and keep it until another one is computed."""
        if start not in self._kept:
            values = self.compute(start, min(start + self.chunk_steps, self.shape[0]), self.rows)
            self._kept.clear()
            self._kept[start] = values
        return self._kept[start]

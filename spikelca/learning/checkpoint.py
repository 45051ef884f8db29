"""Checkpoints: a training run that was killed can be resumed with bit-identical results.

The next batch depends on the fields of a `LearningState` only:

=========  ======================================================================================
circuit    atoms, and the state of the learning rule
n_steps    number of batches: the position in the epoch and the progress of the drivers
rng        state of the random generator
order      its state before the order of this epoch was drawn, from which the order is drawn again
=========  ======================================================================================

A checkpoint belongs to one data set and one set of parameters. It contains a digest of the data and
the parameters as text, so that resuming with others raises ValueError.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.circuit import Circuit
from spikelca.modelfile import (
    ArrayStore,
    circuit_from_json,
    circuit_to_json,
    from_json,
    model_file_errors,
    read_archive,
    rng_from_json,
    rng_to_json,
    to_json,
    unpack,
    update_old_fields,
    write_archive,
)

DIGEST_ROWS = 4096
"""Rows per digest: memory maps and Dask arrays are not loaded as a whole."""


@dataclass(frozen=True, eq=False)
class LearningState:
    """State of a training run after a batch.

    Attributes
    ----------
    circuit : Circuit
    n_steps : int
        Number of batches.
    n_redrawn : int
        Number of idle atoms re-initialised.
    rng, order : dict
        State of the random generator, now and before the order of this epoch was drawn.
    history : sequence of (2, n_modalities)
        Relative error and largest norm of each batch; one list, to which a training run appends.
    """

    circuit: Circuit
    n_steps: int
    n_redrawn: int
    rng: Mapping[str, Any]
    order: Mapping[str, Any]
    history: Sequence[Any] = ()

    def make_rng(self) -> np.random.Generator:
        """Make a random generator in the state of that of the training run."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self.rng
        return rng


class BatchSchedule:
    """Samples of each batch over all epochs, starting from any batch.

    Parameters
    ----------
    n_samples, batch_size, n_epochs : int
    rng : numpy Generator
        Draws the order of every epoch at its start. Other draws from the same generator change the
        orders that follow.

    Examples
    --------
    >>> schedule = BatchSchedule(5, 2, 1, np.random.default_rng(0))
    >>> [len(rows) for rows in schedule.batches(0)]
    [2, 2, 1]
    """

    def __init__(
        self, n_samples: int, batch_size: int, n_epochs: int, rng: np.random.Generator
    ) -> None:
        self.n_samples, self.batch_size, self.n_epochs = n_samples, batch_size, n_epochs
        self.rng = rng
        self.order: Mapping[str, Any] = rng.bit_generator.state

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches per epoch."""
        return -(-self.n_samples // self.batch_size)

    @property
    def n_batches(self) -> int:
        """Number of batches of all epochs."""
        return self.n_epochs * self.batches_per_epoch

    def snapshot(
        self, circuit: Circuit, n_steps: int = 0, n_redrawn: int = 0, history: Sequence[Any] = ()
    ) -> LearningState:
        """Return the present state of the training run."""
        rng = self.rng.bit_generator.state
        return LearningState(circuit, n_steps, n_redrawn, rng, self.order, history)

    def restore(self, state: LearningState) -> None:
        """Restore the random generator and the order of the epoch."""
        self.rng.bit_generator.state = state.rng
        self.order = state.order

    def batches(self, first: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of every batch, starting from batch ``first``."""
        epoch, batch = divmod(first, self.batches_per_epoch)
        if batch:
            current = self.rng.bit_generator.state
            self.rng.bit_generator.state = self.order
            order = self.rng.permutation(self.n_samples)
            self.rng.bit_generator.state = current
            yield from self._split(order, batch)
            epoch += 1
        for _ in range(epoch, self.n_epochs):
            self.order = self.rng.bit_generator.state
            yield from self._split(self.rng.permutation(self.n_samples), 0)

    def _split(self, order: NDArray[np.int64], batch: int) -> Iterator[NDArray[np.int64]]:
        for start in range(batch * self.batch_size, self.n_samples, self.batch_size):
            yield order[start : start + self.batch_size]


class Checkpoint:
    """Checkpoint file of one training run.

    Parameters
    ----------
    path : path
    every : int
        Number of batches between two writes.
    params : mapping of str to value
        Parameters that determine the result, in addition to the data.
    data : mapping of str to array, or to an object with a ``digest`` method
        Samples and labels.
    n_batches : int
        Number of batches of the whole training run.

    Raises
    ------
    ValueError
        If ``every`` is not a whole number >= 1.
    TypeError
        If a parameter cannot be stored in a file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int,
        params: Mapping[str, Any],
        data: Mapping[str, Any],
        n_batches: int,
    ) -> None:
        if not isinstance(every, (int, np.integer)) or every < 1:
            raise ValueError(
                f"checkpoint_every must be a whole number of batches >= 1, got {every!r}."
            )
        self.path, self.every, self.n_batches = Path(path), int(every), n_batches
        self.run_id = {name: to_text(value, name) for name, value in params.items()}
        self.run_id |= {name: digest_array(array) for name, array in data.items()}

    def open(self, resume: bool) -> LearningState | None:
        """Return the state from which to resume; None to start from the first batch.

        Raises
        ------
        ModelFileError
            If the file is not a valid checkpoint.
        ValueError
            If it belongs to other data or parameters; or, without ``resume``, if it contains an
            unfinished training run, which would be overwritten.
        """
        if not self.path.exists():
            return None
        state, run_id, n_batches = read_checkpoint(self.path)
        if resume:
            self._check_run_id(run_id)
            return state
        if state.n_steps < n_batches:
            raise ValueError(
                f"checkpoint must not contain an unfinished training run, got {self.path} stopped "
                f"after {state.n_steps} of {n_batches} batches. Continue it with resume=True "
                "(--resume), or delete the file to start again."
            )
        return None

    def _check_run_id(self, run_id: Mapping[str, str]) -> None:
        run_id = {name: rename_in_text(text) for name, text in run_id.items()}
        names = sorted(n for n in {*run_id, *self.run_id} if run_id.get(n) != self.run_id.get(n))
        if names:
            differences = "; ".join(
                f"{n}: {run_id.get(n)} in the file, {self.run_id.get(n)} now" for n in names
            )
            raise ValueError(
                f"{self.path} belongs to another training run ({differences}). Use the same data "
                "and parameters, or another file."
            )

    def write_if_due(self, state: LearningState) -> None:
        """Write the state every ``every`` batches and after the last batch."""
        if state.n_steps % self.every == 0 or state.n_steps == self.n_batches:
            self.write(state)

    def write(self, state: LearningState) -> None:
        """Replace the file by the state, atomically."""
        arrays = ArrayStore()
        data = {
            "circuit": circuit_to_json(state.circuit, "circuit", arrays),
            "n_steps": state.n_steps,
            "n_redrawn": state.n_redrawn,
            "rng": rng_to_json(state.rng),
            "order": rng_to_json(state.order),
            "n_batches": self.n_batches,
            "owner": self.run_id,
            "history": to_json(history_array(state), "history", arrays) if state.n_steps else None,
        }
        write_archive(self.path, {"kind": "checkpoint", "model": data}, arrays.arrays)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[LearningState, dict[str, str], int]:
    """Read a checkpoint: its state, the id of its training run, and the number of batches.

    Raises
    ------
    ModelFileError
        If the file is not a valid checkpoint.
    OSError
        If it cannot be read.
    """
    manifest, stored = read_archive(path)
    with model_file_errors(path):
        arrays = ArrayStore(stored)
        kind, data = unpack(manifest, "file", "kind", "model")
        if kind != "checkpoint":
            raise ValueError(
                f"must be a checkpoint, got a saved {str(kind)[:40]}. Use another file: this one "
                "would be overwritten."
            )
        names = ("circuit", "n_steps", "n_redrawn", "rng", "order", "n_batches", "owner")
        history = data.pop("history", None) if isinstance(data, dict) else None
        circuit, n_steps, n_redrawn, rng, order, n_batches, run_id = unpack(data, "it", *names)
        are_counts = all(type(n) is int and n >= 0 for n in (n_steps, n_redrawn, n_batches))
        if not are_counts or n_steps > n_batches:
            raise ValueError(
                "the number of batches must not exceed that of the training run, got "
                f"{str(n_steps)[:20]} of {str(n_batches)[:20]} batches"
            )
        if not isinstance(run_id, dict) or not all(isinstance(v, str) for v in run_id.values()):
            raise ValueError("the checkpoint contains no run parameters")
        state = LearningState(
            circuit_from_json(circuit, "circuit", arrays),
            n_steps,
            n_redrawn,
            rng_from_json(rng, "rng"),
            rng_from_json(order, "order"),
        )
        values = from_json(history, "history", arrays)
        if not isinstance(values, np.ndarray | None):
            raise ValueError(f"history must be an array, got {str(history)[:40]}.")
        state = replace(state, history=() if values is None else list(values))
        state = replace(state, history=list(history_array(state)))
        arrays.check_all_used()
        return state, run_id, n_batches


def history_array(state: LearningState) -> NDArray[np.float64]:
    """Return the history as (n_steps, 2, n_modalities); NaN for a file without a history.

    Raises
    ------
    ValueError
        If it has another shape.
    """
    shape = (state.n_steps, 2, len(state.circuit.dictionaries))
    if not state.history:
        return np.full(shape, np.nan)
    history = np.asarray(state.history)
    if history.shape != shape or history.dtype != np.float64:
        raise ValueError(f"history must have shape {shape}, got {history.shape}.")
    return history


def to_text(value: Any, name: str) -> str:
    """Convert a parameter to text; equal texts mean equal values."""
    if isinstance(value, np.random.RandomState):
        return (
            "RandomState"  # its state has changed; the checkpoint contains the seed drawn from it
        )
    arrays = ArrayStore()
    text = json.dumps(to_json(value, name, arrays))
    return " ".join([text, *(digest_array(array) for array in arrays.arrays.values())])


def rename_in_text(text: str) -> str:
    """Replace the old names of fields in a text from `to_text`."""
    if not text.startswith(("{", "[")):
        return text
    data, end = json.JSONDecoder(object_hook=update_old_fields).raw_decode(text)
    return json.dumps(data) + text[end:]


def digest_array(array: NDArray[Any] | None) -> str:
    """Return shape, dtype and SHA-256 of an array, independent of its memory layout.

    An array with a ``digest`` method, such as one on workers, computes the same text itself.
    """
    if array is None:
        return "none"
    if hasattr(array, "digest"):
        return str(array.digest())
    chunks = (array[start : start + DIGEST_ROWS] for start in range(0, len(array), DIGEST_ROWS))
    return combine_digests(array.shape, array.dtype, [digest_rows(rows) for rows in chunks])


def digest_rows(rows: NDArray[Any]) -> bytes:
    """Return the SHA-256 of a chunk of `DIGEST_ROWS` rows."""
    is_text = rows.dtype.kind in "OU"
    values = repr(rows.tolist()).encode() if is_text else np.ascontiguousarray(rows).tobytes()
    return hashlib.sha256(values).digest()


def combine_digests(shape: tuple[int, ...], dtype: np.dtype[Any], digests: Iterable[bytes]) -> str:
    """Return the digest of an array from the digests of its chunks."""
    return f"{shape} {dtype.name} {hashlib.sha256(b''.join(digests)).hexdigest()[:16]}"

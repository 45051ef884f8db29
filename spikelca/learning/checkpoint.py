"""Checkpoints: a learning that was killed goes on as if nothing had happened, to the last bit.

What the next batch depends on is little, and all of it is a `LearningState`:

=========  ======================================================================================
circuit    atoms, and what the learning rule remembers of each (usage, how long it has been silent)
n_steps    batches seen: the place in the epoch, and the time to which the drivers' fading refers
rng        state of the random generator
order      its state before the order of this epoch was drawn; the order is drawn from it again
=========  ======================================================================================

A checkpoint belongs to one data set and to one set of parameters. It carries the digest of the
first and the second in words, so that going on with others is refused and not muddled through.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.circuit import Circuit
from spikelca.modelfile import (
    ArrayStore,
    circuit_from_json,
    circuit_to_json,
    model_file_errors,
    read_archive,
    rng_from_json,
    rng_to_json,
    to_json,
    unpack,
    write_archive,
)

DIGEST_ROWS = 4096
"""Rows of which one digest is taken: neither a memory map nor a cluster hands over the whole."""


@dataclass(frozen=True, eq=False)
class LearningState:
    """Where a learning stands.

    Attributes
    ----------
    circuit : Circuit
    n_steps : int
        Batches seen.
    n_redrawn : int
        Idle atoms that were drawn anew.
    rng, order : dict
        State of the random generator, now and before the order of this epoch was drawn.
    """

    circuit: Circuit
    n_steps: int
    n_redrawn: int
    rng: Mapping[str, Any]
    order: Mapping[str, Any]

    def generator(self) -> np.random.Generator:
        """A random generator that stands where that of the learning stood."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self.rng
        return rng


class BatchSchedule:
    """Which samples make up which batch, over all epochs; it can be entered anywhere.

    Parameters
    ----------
    n_samples, batch_size, n_epochs : int
    rng : numpy Generator
        Draws the order of every epoch when it begins. Whoever draws from it in between changes the
        orders that follow, as it should be: it is one stream.

    Examples
    --------
    >>> course = BatchSchedule(5, 2, 1, np.random.default_rng(0))
    >>> [len(rows) for rows in course.batches(0)]
    [2, 2, 1]
    """

    def __init__(
        self, n_samples: int, batch_size: int, n_epochs: int, rng: np.random.Generator
    ) -> None:
        self.n_samples, self.batch_size, self.n_epochs = n_samples, batch_size, n_epochs
        self.rng = rng
        self.order: Mapping[str, Any] = rng.bit_generator.state

    @property
    def per_epoch(self) -> int:
        """Batches of one epoch."""
        return -(-self.n_samples // self.batch_size)

    @property
    def n_batches(self) -> int:
        """Batches of all epochs."""
        return self.n_epochs * self.per_epoch

    def bookmark(self, circuit: Circuit, n_steps: int = 0, n_redrawn: int = 0) -> LearningState:
        """Where the learning stands now."""
        return LearningState(circuit, n_steps, n_redrawn, self.rng.bit_generator.state, self.order)

    def turn_to(self, mark: LearningState) -> None:
        """Go where a bookmark lies."""
        self.rng.bit_generator.state = mark.rng
        self.order = mark.order

    def batches(self, first: int) -> Iterator[NDArray[np.int64]]:
        """The rows of every batch from the ``first`` one on."""
        epoch, place = divmod(first, self.per_epoch)
        if place:
            now = self.rng.bit_generator.state
            self.rng.bit_generator.state = self.order
            order = self.rng.permutation(self.n_samples)
            self.rng.bit_generator.state = now
            yield from self._cut(order, place)
            epoch += 1
        for _ in range(epoch, self.n_epochs):
            self.order = self.rng.bit_generator.state
            yield from self._cut(self.rng.permutation(self.n_samples), 0)

    def _cut(self, order: NDArray[np.int64], place: int) -> Iterator[NDArray[np.int64]]:
        for first in range(place * self.batch_size, self.n_samples, self.batch_size):
            yield order[first : first + self.batch_size]


class Checkpoint:
    """A file that follows one learning.

    Parameters
    ----------
    path : path
    every : int
        It is written after every how many batches.
    params : mapping of str to value
        All that decides what is learned, besides the data.
    data : mapping of str to array, or to what digests itself
        The samples, and what else is learned from (labels).
    n_batches : int
        Batches of the whole learning.

    Raises
    ------
    ValueError
        If ``every`` is no count.
    TypeError
        If a parameter is nothing that a file can hold.
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
                f"checkpoint_every is {every!r}; a whole number of batches, 1 or more, was awaited."
            )
        self.path, self.every, self.n_batches = Path(path), int(every), n_batches
        self.owner = {name: to_text(value, name) for name, value in params.items()}
        self.owner |= {name: digest_array(array) for name, array in data.items()}

    def begin(self, resume: bool) -> LearningState | None:
        """Where to go on from; None to start anew, because nothing is there or all is done.

        Raises
        ------
        ModelFileError
            If the file is no whole checkpoint.
        ValueError
            If it belongs to other data or parameters; or, without ``resume``, if it holds a
            learning that is not done, which would be overwritten.
        """
        if not self.path.exists():
            return None
        mark, owner, n_batches = read_checkpoint(self.path)
        if resume:
            self._check_owner(owner)
            return mark
        if mark.n_steps < n_batches:
            raise ValueError(
                f"{self.path} holds a learning that stopped after {mark.n_steps} of {n_batches} "
                "batches. Go on with it by resume=True, or delete the file to start anew."
            )
        return None

    def _check_owner(self, owner: Mapping[str, str]) -> None:
        names = sorted(n for n in {*owner, *self.owner} if owner.get(n) != self.owner.get(n))
        if names:
            others = "; ".join(
                f"{n}: {owner.get(n)} there, {self.owner.get(n)} here" for n in names
            )
            raise ValueError(
                f"{self.path} belongs to another learning ({others}). Go on with the same data and "
                "parameters, or name another file."
            )

    def after(self, mark: LearningState) -> None:
        """Write, if it is time."""
        if mark.n_steps % self.every == 0 or mark.n_steps == self.n_batches:
            self.write(mark)

    def write(self, mark: LearningState) -> None:
        """Put the bookmark in place of the one before, as a whole or not at all."""
        arrays = ArrayStore()
        told = {
            "circuit": circuit_to_json(mark.circuit, "circuit", arrays),
            "n_steps": mark.n_steps,
            "n_redrawn": mark.n_redrawn,
            "rng": rng_to_json(mark.rng),
            "order": rng_to_json(mark.order),
            "n_batches": self.n_batches,
            "owner": self.owner,
        }
        write_archive(self.path, {"kind": "checkpoint", "model": told}, arrays.arrays)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[LearningState, dict[str, str], int]:
    """A bookmark, to whom it belongs, and how many batches the whole learning has.

    Raises
    ------
    ModelFileError
        If the file is no whole checkpoint.
    OSError
        If it cannot be read.
    """
    found, held = read_archive(path)
    with model_file_errors(path):
        arrays = ArrayStore(held)
        kind, told = unpack(found, "file", "kind", "model")
        if kind != "checkpoint":
            raise ValueError(
                f"found a saved {str(kind)[:40]}, no checkpoint. Name another file: this one would "
                "be overwritten."
            )
        names = ("circuit", "n_steps", "n_redrawn", "rng", "order", "n_batches", "owner")
        circuit, n_steps, n_redrawn, rng, order, n_batches, owner = unpack(told, "it", *names)
        counted = all(type(n) is int and n >= 0 for n in (n_steps, n_redrawn, n_batches))
        if not counted or n_steps > n_batches:
            raise ValueError(f"found {str(n_steps)[:20]} of {str(n_batches)[:20]} batches.")
        if not isinstance(owner, dict) or not all(isinstance(v, str) for v in owner.values()):
            raise ValueError("found no word of whom the checkpoint belongs to.")
        mark = LearningState(
            circuit_from_json(circuit, "circuit", arrays),
            n_steps,
            n_redrawn,
            rng_from_json(rng, "rng"),
            rng_from_json(order, "order"),
        )
        arrays.check_all_used()
        return mark, owner, n_batches


def to_text(value: Any, name: str) -> str:
    """A parameter as text: equal texts, equal values."""
    if isinstance(value, np.random.RandomState):
        return "RandomState"  # it has moved on since; the checkpoint holds what was drawn from it
    arrays = ArrayStore()
    text = json.dumps(to_json(value, name, arrays))
    return " ".join([text, *(digest_array(array) for array in arrays.arrays.values())])


def digest_array(array: NDArray[Any] | None) -> str:
    """Shape, dtype and SHA-256 of an array's values, whatever its layout in memory.

    An array that is in many places has a ``digest_array()`` of its own, which tells the same.
    """
    if array is None:
        return "none"
    if hasattr(array, "digest"):
        return str(array.digest())
    stretches = (array[first : first + DIGEST_ROWS] for first in range(0, len(array), DIGEST_ROWS))
    return combine_digests(array.shape, array.dtype, [digest_rows(rows) for rows in stretches])


def digest_rows(rows: NDArray[Any]) -> bytes:
    """SHA-256 of a stretch of `DIGEST_ROWS` rows: they need not all be in one place."""
    text = rows.dtype.kind in "OU"
    values = repr(rows.tolist()).encode() if text else np.ascontiguousarray(rows).tobytes()
    return hashlib.sha256(values).digest()


def combine_digests(shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[bytes]) -> str:
    """The digest of an array of which every stretch has been digested."""
    return f"{shape} {dtype.name} {hashlib.sha256(b''.join(parts)).hexdigest()[:16]}"

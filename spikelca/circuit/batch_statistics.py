"""What the learning rule is told of a batch: sums over blocks, added in one fixed tree.

Of the samples the step of Eq. 4 needs sums only: ``a (x) r`` for every modality that learns,
``a^2``, and when each neuron last fired. A sum of floating point numbers depends on its order, so
the order is fixed. A batch is cut into blocks of `BLOCK_SAMPLES` samples as they are shown, each block is
summed by itself, and the sums of neighbours are added pairwise::

    blocks    0   1   2   3   4
    sums      (0 + 1) + 2     3 + 4
    total     ((0 + 1) + 2) + (3 + 4)

Whoever sums a block, this process or a worker far away, now or once more after a crash: the total
is the same to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.model.atoms import normalise_stacked
from spikelca.model.dictionary import Dictionary
from spikelca.model.plasticity import Activity, IdleAtoms
from spikelca.utils.validation import FloatArray

BLOCK_SAMPLES = 1024
"""Samples of one block: enough work that sending it to a worker costs little beside it."""


@dataclass(frozen=True, eq=False)
class EncodedBlock:
    """Samples that have settled.

    Parameters
    ----------
    stimuli, residual : mapping of modality to (n_samples, n_inputs)
        What was shown, and what the code leaves unexplained of it.
    code : (n_samples, n_neurons)
    """

    stimuli: Mapping[str, FloatArray]
    code: FloatArray
    residual: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class BatchSums:
    """Sums over the samples of a block, or of several blocks in a row.

    Parameters
    ----------
    activity : Activity
    correlation : mapping of modality to (n_neurons, n_inputs)
        ``sum a (x) r`` of every modality that learns.
    power, error : mapping of modality to float
        ``sum |x|^2`` and ``sum |r|^2``.
    n_active : int
        Active neurons of all samples together.
    """

    activity: Activity
    correlation: Mapping[str, FloatArray]
    power: Mapping[str, float]
    error: Mapping[str, float]
    n_active: int

    def __add__(self, later: BatchSums) -> BatchSums:
        return BatchSums(
            self.activity + later.activity,
            _add_mappings(self.correlation, later.correlation),
            _add_mappings(self.power, later.power),
            _add_mappings(self.error, later.error),
            self.n_active + later.n_active,
        )


def _add_mappings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value + second[name] for name, value in first.items()}


BlockQueries = Mapping[int, Callable[[EncodedBlock], Any]]
"""What is asked of which block."""


@dataclass(frozen=True, eq=False)
class BatchStatistics:
    """All that a batch has to say.

    Parameters
    ----------
    sums : Sums
    ask : callable
        ``ask(questions)`` hands each question to its block, wherever that is, and returns the
        answers in the same order. Only for idle atoms the sums are not enough.
    """

    sums: BatchSums
    ask: Callable[[BlockQueries], Sequence[Any]]

    @property
    def n_samples(self) -> int:
        """Samples of the batch."""
        return self.sums.activity.n_samples

    def marks(self, idle: IdleAtoms) -> list[bytes]:
        """The mark of every sample, see `fingerprint_samples`."""
        names = tuple(self.sums.correlation)
        n_blocks = len(split_blocks(self.n_samples))
        question = partial(fingerprint_samples, names=names, idle=idle)
        answers = self.ask(dict.fromkeys(range(n_blocks), question))
        return [mark for marks in answers for mark in marks]

    def material(self, rows: NDArray[np.int64], idle: IdleAtoms) -> dict[str, FloatArray]:
        """What new atoms are made of: these samples, (n_rows, n_inputs) for each modality."""
        names, home = tuple(self.sums.correlation), rows // BLOCK_SAMPLES
        questions = {
            int(i): partial(
                candidate_samples, names=names, idle=idle, rows=rows[home == i] % BLOCK_SAMPLES
            )
            for i in np.unique(home)
        }
        back = np.argsort(np.argsort(home, kind="stable"))
        answers = self.ask(questions)
        return {name: np.concatenate([a[name] for a in answers])[back] for name in names}


def split_blocks(n_samples: int) -> list[slice]:
    """Where the blocks of a batch lie."""
    return [slice(i, min(i + BLOCK_SAMPLES, n_samples)) for i in range(0, n_samples, BLOCK_SAMPLES)]


def pairwise_reduce(make: Callable[[int], Any], first: int, last: int) -> Any:
    """``make(first) + ... + make(last - 1)``, in a tree that their number alone decides.

    Examples
    --------
    >>> pairwise_reduce(str, 0, 5)
    '01234'
    """
    if last - first == 1:
        return make(first)
    middle = (first + last + 1) // 2
    return pairwise_reduce(make, first, middle) + pairwise_reduce(make, middle, last)


def observed_atoms(shown: Sequence[Dictionary], n_dictionaries: int) -> dict[str, FloatArray]:
    """The atoms that the code belongs to: of unit norm where it saw a part of the modalities."""
    atoms = [d.atoms for d in shown]
    if len(shown) < n_dictionaries:
        atoms = normalise_stacked(atoms, [d.weight for d in shown])
    return {d.name: phi for d, phi in zip(shown, atoms, strict=True)}


def make_block(
    dictionaries: Sequence[Dictionary], stimuli: Mapping[str, FloatArray], code: FloatArray
) -> EncodedBlock:
    """What was shown, with its codes and what they leave unexplained."""
    seen = observed_atoms([d for d in dictionaries if d.name in stimuli], len(dictionaries))
    return EncodedBlock(stimuli, code, {name: X - code @ seen[name] for name, X in stimuli.items()})


def sum_block(block: EncodedBlock, learn: Sequence[str]) -> BatchSums:
    """What the rule needs to know of one block; ``learn`` names the modalities that learn."""
    return BatchSums(
        Activity.from_code(block.code),
        {name: block.code.T @ block.residual[name] for name in learn},
        {name: _sum_of_squares(X) for name, X in block.stimuli.items()},
        {name: _sum_of_squares(r) for name, r in block.residual.items()},
        int(np.count_nonzero(block.code)),
    )


def _sum_of_squares(X: FloatArray) -> float:
    return float(np.einsum("ij,ij->", X, X))


def make_statistics(
    dictionaries: Sequence[Dictionary], stimuli: Mapping[str, FloatArray], code: FloatArray
) -> BatchStatistics:
    """The lesson of codes that are at hand."""
    blocks = [
        make_block(dictionaries, {name: X[rows] for name, X in stimuli.items()}, code[rows])
        for rows in split_blocks(len(code))
    ]
    learn = [d.name for d in dictionaries if d.plasticity is not None and d.name in stimuli]
    sums = pairwise_reduce(lambda i: sum_block(blocks[i], learn), 0, len(blocks))
    return BatchStatistics(sums, lambda questions: [ask(blocks[i]) for i, ask in questions.items()])


def fingerprint_samples(block: EncodedBlock, names: Sequence[str], idle: IdleAtoms) -> list[bytes]:
    """A few bytes for each sample, equal where two point the same way; none for a blank one."""
    material = [idle.material(block.stimuli[name], block.residual[name]) for name in names]
    stacked = np.hstack(material).astype(np.float64)
    norms = np.einsum("ij,ij->i", stacked, stacked)
    directions = stacked / np.sqrt(np.where(norms > 0, norms, 1.0))[:, None]
    rows = np.round(directions, 6) + 0.0  # -0.0 is 0.0
    return [
        hashlib.blake2b(row.tobytes(), digest_size=16).digest() if norm > 0 else b""
        for row, norm in zip(rows, norms, strict=True)
    ]


def candidate_samples(
    block: EncodedBlock, names: Sequence[str], idle: IdleAtoms, rows: NDArray[np.int64]
) -> dict[str, FloatArray]:
    """Those samples of a block, or what is left of them, from which atoms are drawn anew."""
    return {name: idle.material(block.stimuli[name], block.residual[name])[rows] for name in names}

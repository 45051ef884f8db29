"""Sufficient statistics of a batch, summed over fixed blocks in a fixed pairwise order.

The step of Eq. 4 requires only sums over the samples: the outer product ``a (x) r`` for every
modality that learns, ``a^2``, and when each neuron was last active. A floating-point sum depends on
its order, so the order is fixed. A batch is split into blocks of `BLOCK_SAMPLES` consecutive
samples, each block is summed separately, and the sums of neighbouring blocks are added pairwise::

    blocks    0   1   2   3   4
    sums      (0 + 1) + 2     3 + 4
    total     ((0 + 1) + 2) + (3 + 4)

The total is bit-identical whether the blocks are summed in this process or on workers.
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
"""Samples per block: enough work to make the transfer to a worker negligible."""


@dataclass(frozen=True, eq=False)
class EncodedBlock:
    """Samples with their steady-state codes.

    Parameters
    ----------
    stimuli, residual : mapping of modality to (n_samples, n_inputs)
        Samples, and their residual ``x - Phi a``.
    code : (n_samples, n_neurons)
    """

    stimuli: Mapping[str, FloatArray]
    code: FloatArray
    residual: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class BatchSums:
    """Sums over the samples of a block, or of several consecutive blocks.

    Parameters
    ----------
    activity : Activity
    correlation : mapping of modality to (n_neurons, n_inputs)
        ``sum a (x) r`` of every modality that learns.
    stimulus_energy, error : mapping of modality to float
        ``sum |x|^2`` and ``sum |r|^2``.
    largest_norm : mapping of modality to float
        Largest ``|x|``.
    n_active : int
        Number of active neurons, summed over the samples.
    """

    activity: Activity
    correlation: Mapping[str, FloatArray]
    stimulus_energy: Mapping[str, float]
    error: Mapping[str, float]
    largest_norm: Mapping[str, float]
    n_active: int

    def __add__(self, later: BatchSums) -> BatchSums:
        return BatchSums(
            self.activity + later.activity,
            _add_mappings(self.correlation, later.correlation),
            _add_mappings(self.stimulus_energy, later.stimulus_energy),
            _add_mappings(self.error, later.error),
            {name: max(n, later.largest_norm[name]) for name, n in self.largest_norm.items()},
            self.n_active + later.n_active,
        )


def _add_mappings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value + second[name] for name, value in first.items()}


BlockQueries = Mapping[int, Callable[[EncodedBlock], Any]]
"""Functions to evaluate on blocks, by block index."""


@dataclass(frozen=True, eq=False)
class BatchStatistics:
    """Statistics of a batch, as used by the learning rule.

    Parameters
    ----------
    sums : BatchSums
    query : callable
        ``query(queries)`` evaluates each function on its block, on the machine that has it, and
        returns the results in the same order. It is used for idle atoms only.
    """

    sums: BatchSums
    query: Callable[[BlockQueries], Sequence[Any]]

    @property
    def n_samples(self) -> int:
        """Number of samples of the batch."""
        return self.sums.activity.n_samples

    def fingerprints(self, idle: IdleAtoms) -> list[bytes]:
        """Compute the fingerprint of every sample, see `fingerprint_samples`."""
        names = tuple(self.sums.correlation)
        n_blocks = len(split_blocks(self.n_samples))
        fingerprint = partial(fingerprint_samples, names=names, idle=idle)
        blocks = self.query(dict.fromkeys(range(n_blocks), fingerprint))
        return [fingerprint for block in blocks for fingerprint in block]

    def candidates(self, rows: NDArray[np.int64], idle: IdleAtoms) -> dict[str, FloatArray]:
        """Return candidates for new atoms from these samples: (n_rows, n_inputs) per modality."""
        names, block_index = tuple(self.sums.correlation), rows // BLOCK_SAMPLES
        queries = {
            int(i): partial(
                candidate_samples,
                names=names,
                idle=idle,
                rows=rows[block_index == i] % BLOCK_SAMPLES,
            )
            for i in np.unique(block_index)
        }
        inverse_order = np.argsort(np.argsort(block_index, kind="stable"))
        results = self.query(queries)
        return {name: np.concatenate([r[name] for r in results])[inverse_order] for name in names}


def split_blocks(n_samples: int) -> list[slice]:
    """Return the rows of each block of a batch."""
    return [slice(i, min(i + BLOCK_SAMPLES, n_samples)) for i in range(0, n_samples, BLOCK_SAMPLES)]


def pairwise_reduce(make: Callable[[int], Any], start: int, stop: int) -> Any:
    """Compute ``make(start) + ... + make(stop - 1)`` in a fixed pairwise order.

    Examples
    --------
    >>> pairwise_reduce(str, 0, 5)
    '01234'
    """
    if stop - start == 1:
        return make(start)
    middle = (start + stop + 1) // 2
    return pairwise_reduce(make, start, middle) + pairwise_reduce(make, middle, stop)


def observed_atoms(observed: Sequence[Dictionary], n_dictionaries: int) -> dict[str, FloatArray]:
    """Return the atoms to which the code refers, normalised over the observed modalities."""
    atoms = [d.atoms for d in observed]
    if len(observed) < n_dictionaries:
        atoms = normalise_stacked(atoms, [d.weight for d in observed])
    return {d.name: phi for d, phi in zip(observed, atoms, strict=True)}


def make_block(
    dictionaries: Sequence[Dictionary], stimuli: Mapping[str, FloatArray], code: FloatArray
) -> EncodedBlock:
    """Compute the residuals of a block of samples with their codes."""
    atoms = observed_atoms([d for d in dictionaries if d.name in stimuli], len(dictionaries))
    return EncodedBlock(
        stimuli, code, {name: X - code @ atoms[name] for name, X in stimuli.items()}
    )


def sum_block(block: EncodedBlock, learn: Sequence[str]) -> BatchSums:
    """Compute the sums of one block; ``learn`` lists the modalities that learn."""
    return BatchSums(
        Activity.from_code(block.code),
        {name: block.code.T @ block.residual[name] for name in learn},
        {name: _sum_of_squares(X) for name, X in block.stimuli.items()},
        {name: _sum_of_squares(r) for name, r in block.residual.items()},
        {name: largest_norm(X) for name, X in block.stimuli.items()},
        int(np.count_nonzero(block.code)),
    )


def _sum_of_squares(X: FloatArray) -> float:
    return float(np.einsum("ij,ij->", X, X))


def largest_norm(X: FloatArray) -> float:
    """Compute the largest norm of a row, in float64."""
    return float(np.sqrt(np.einsum("ij,ij->i", X, X, dtype=np.float64).max()))


def make_statistics(
    dictionaries: Sequence[Dictionary], stimuli: Mapping[str, FloatArray], code: FloatArray
) -> BatchStatistics:
    """Compute the statistics of a batch from its codes."""
    blocks = [
        make_block(dictionaries, {name: X[rows] for name, X in stimuli.items()}, code[rows])
        for rows in split_blocks(len(code))
    ]
    learn = [d.name for d in dictionaries if d.plasticity is not None and d.name in stimuli]
    sums = pairwise_reduce(lambda i: sum_block(blocks[i], learn), 0, len(blocks))
    return BatchStatistics(sums, lambda queries: [query(blocks[i]) for i, query in queries.items()])


def fingerprint_samples(block: EncodedBlock, names: Sequence[str], idle: IdleAtoms) -> list[bytes]:
    """Return a digest of the direction of each sample, empty for a blank sample."""
    candidates = [idle.candidates(block.stimuli[name], block.residual[name]) for name in names]
    stacked = np.hstack(candidates).astype(np.float64)
    norms = np.einsum("ij,ij->i", stacked, stacked)
    directions = stacked / np.sqrt(np.where(norms > 0, norms, 1.0))[:, None]
    rows = np.round(directions, 6) + 0.0  # -0.0 becomes 0.0
    return [
        hashlib.blake2b(row.tobytes(), digest_size=16).digest() if norm > 0 else b""
        for row, norm in zip(rows, norms, strict=True)
    ]


def candidate_samples(
    block: EncodedBlock, names: Sequence[str], idle: IdleAtoms, rows: NDArray[np.int64]
) -> dict[str, FloatArray]:
    """Return candidates for new atoms from these samples of a block."""
    return {
        name: idle.candidates(block.stimuli[name], block.residual[name])[rows] for name in names
    }

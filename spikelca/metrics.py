"""Measures of a code: its energy, its certificate, its sparsity, its order.

All are free functions on arrays and return float64, one value for each sample unless said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.certificate import fixed_point_residual, relative_gap
from spikelca.dictionary import Dictionary
from spikelca.transfer import Transfer
from spikelca.validation import FloatArray

__all__ = [
    "active_fraction",
    "block_selectivity",
    "block_sums",
    "energy",
    "fixed_point_residual",
    "relative_gap",
    "squared_error",
]


def squared_error(stimulus: FloatArray, atoms: FloatArray, code: FloatArray) -> NDArray[np.float64]:
    """``|x - Phi a|^2`` of each sample.

    Parameters
    ----------
    stimulus : (n_samples, n_inputs)
    atoms : (n_neurons, n_inputs)
    code : (n_samples, n_neurons)

    Returns
    -------
    (n_samples,) float64

    Examples
    --------
    >>> import numpy as np
    >>> squared_error(np.array([[2.0, 0.0]]), np.eye(2), np.array([[1.5, 0.0]]))
    array([0.25])
    """
    r = stimulus.astype(np.float64) - code.astype(np.float64) @ atoms.astype(np.float64)
    return np.asarray(np.einsum("ij,ij->i", r, r))


def energy(
    stimuli: Mapping[str, FloatArray],
    dictionaries: Sequence[Dictionary],
    code: FloatArray,
    transfer: Transfer,
) -> NDArray[np.float64]:
    """``1/2 sum_i w_i |x_i - Phi_i a|^2 + C(a)`` (Eq. 6), with the cost of the transfer function.

    Modalities that are not among the stimuli are left out of the sum.

    Parameters
    ----------
    stimuli : mapping of modality to (n_samples, n_inputs)
    dictionaries : sequence of Dictionary
    code : (n_samples, n_neurons)
    transfer : Transfer

    Returns
    -------
    (n_samples,) float64

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import SoftThreshold
    >>> d = Dictionary("x", np.eye(2))
    >>> energy({"x": np.array([[2.0, 0.0]])}, [d], np.array([[1.5, 0.0]]), SoftThreshold(0.5))
    array([0.875])
    """
    total: Any = transfer.cost(code)
    for d in dictionaries:
        if d.name in stimuli:
            total = total + 0.5 * d.weight * squared_error(stimuli[d.name], d.atoms, code)
    return np.asarray(total)


def active_fraction(code: FloatArray) -> NDArray[np.float64]:
    """Share of neurons that are not silent.

    Parameters
    ----------
    code : (n_samples, n_neurons)

    Returns
    -------
    (n_samples,) float64

    Examples
    --------
    >>> import numpy as np
    >>> active_fraction(np.array([[0.0, 0.3, 0.0, 0.1]]))
    array([0.5])
    """
    return np.asarray(np.count_nonzero(code, axis=1) / code.shape[1])


def block_sums(code: FloatArray, owner: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Activity of each block of an ordinal code.

    Parameters
    ----------
    code : (n_samples, n_neurons)
    owner : (n_neurons,) int
        Class of each neuron, negative for the free ones (`OrdinalDriver.owner`).
    n_classes : int

    Returns
    -------
    (n_samples, n_classes) float64

    Examples
    --------
    >>> import numpy as np
    >>> block_sums(np.array([[0.5, 0.25, 1.0, 9.0]]), [0, 0, 1, -1], n_classes=2)
    array([[0.75, 1.  ]])
    """
    member = np.asarray(owner)[:, None] == np.arange(n_classes)
    return np.asarray(code.astype(np.float64) @ member)


def block_selectivity(
    code: FloatArray, labels: ArrayLike, owner: ArrayLike, n_classes: int
) -> NDArray[np.float64]:
    """Mean share of the driven activity that falls into each block, for each class.

    Parameters
    ----------
    code : (n_samples, n_neurons)
    labels : (n_samples,) int
        Class of each sample.
    owner : (n_neurons,) int
        Class of each neuron, negative for the free ones (`OrdinalDriver.owner`).
    n_classes : int

    Returns
    -------
    (n_classes, n_classes) float64
        Row: class of the sample; column: block. The identity is perfect order.

    Examples
    --------
    >>> import numpy as np
    >>> block_selectivity(np.array([[0.75, 0.25], [0.0, 2.0]]), [0, 1], [0, 1], n_classes=2)
    array([[0.75, 0.25],
           [0.  , 1.  ]])
    """
    sums = block_sums(np.abs(code), owner, n_classes)
    total = sums.sum(axis=1, keepdims=True)
    share = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    of_class = np.asarray(labels)[:, None] == np.arange(n_classes)
    size = np.maximum(of_class.sum(axis=0), 1)
    return np.asarray((of_class.T.astype(np.float64) @ share) / size[:, None])

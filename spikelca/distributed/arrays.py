"""Lazy arrays: samples and their codes, checked and computed chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spikelca.circuit import Circuit
from spikelca.distributed.cluster import single_threaded
from spikelca.engines import Engine
from spikelca.utils.optional import require
from spikelca.utils.validation import FLOAT_DTYPES, FloatArray, check_matrix

Codes = Callable[[Circuit, Mapping[str, FloatArray]], FloatArray]
"""Function from a circuit and stimuli to codes."""


def is_dask(X: Any) -> bool:
    """Whether X is a collection of Dask; does not import Dask."""
    return type(X).__module__.partition(".")[0] == "dask"


def check_dask(X: Any, name: str = "X") -> Any:
    """Convert samples to floats that are checked on computation, with each row in one block.

    Values are checked when a chunk is computed; the error then contains the index of the value.

    Parameters
    ----------
    X : dask.array.Array of (n_samples, n_features)
        The number of samples may be unknown.

    Raises
    ------
    ValueError
        If X is not 2D, is empty, has an unknown number of columns, or does not contain numbers.
    """
    if X.ndim != 2 or math.isnan(X.shape[1]) or 0 in X.shape:
        raise ValueError(
            f"{name} must be a 2D array (n_samples, n_features), not empty and with a known number "
            f"of features, got shape {X.shape}."
        )
    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} must contain real numbers, got dtype {X.dtype}.")
    dtype = X.dtype if X.dtype in FLOAT_DTYPES else np.dtype(np.float64)
    return X.rechunk({1: -1}).map_blocks(
        _check_block, argument=name, to=dtype, dtype=dtype, meta=np.empty((0, 0), dtype)
    )


def _check_block(
    block: FloatArray, argument: str, to: np.dtype[Any], block_info: Any = None
) -> FloatArray:
    if not len(block):  # a filter may leave an empty chunk
        return np.empty(block.shape, to)
    first = block_info[0]["array-location"][0][0] if block_info else 0
    return check_matrix(block, argument, None, to, 0 if math.isnan(first) else int(first))


def encode_lazily(circuit: Circuit, stimuli: Mapping[str, Any], codes: Codes) -> Any:
    """Return the codes of every chunk as a lazy array in the precision of the samples.

    Parameters
    ----------
    circuit : Circuit
        Sent once together with its Gram matrix, which all workers use.
    stimuli : mapping of modality to dask.array.Array of (n_samples, n_inputs)
        With equal chunks.
    codes : callable
        Function that computes the codes of one chunk.
    """
    array = require("dask.array", "dask")
    first = next(iter(stimuli.values()))
    return array.map_blocks(
        _encode_block,
        *stimuli.values(),
        names=tuple(stimuli),
        circuit=delay_circuit(circuit),
        codes=codes,
        chunks=(first.chunks[0], (circuit.n_neurons,)),
        dtype=first.dtype,
        meta=np.empty((0, 0), first.dtype),
    )


def delay_circuit(circuit: Circuit) -> Any:
    """Make a circuit, including its Gram matrix, one key of a graph."""
    dask = require("dask", "dask")
    _ = circuit.coupling
    return dask.delayed(circuit, name=f"circuit-{dask.base.tokenize(circuit)}", traverse=False)


def _encode_block(
    *blocks: FloatArray, names: Sequence[str], circuit: Circuit, codes: Codes
) -> FloatArray:
    if not len(blocks[0]):
        return np.empty((0, circuit.n_neurons), blocks[0].dtype)
    with single_threaded():
        code = codes(circuit, dict(zip(names, blocks, strict=True)))
    return code.astype(blocks[0].dtype, copy=False)


def encode_with_certificates(
    circuit: Circuit, X: Any, tol: float, engine: str | Engine = "numba"
) -> dict[str, Any]:
    """Compute codes of one modality with gap, residual and iterations, lazily, chunk by chunk.

    Parameters
    ----------
    circuit : Circuit
        Circuit with one modality.
    X : dask.array.Array of (n_samples, n_inputs)
        With a known number of samples.
    tol : float
    engine : str or Engine, default="numba"

    Returns
    -------
    dict of name to dask.array.Array
        ``code``, ``gap`` (with a soft threshold), ``residual`` and ``n_iter``.

    Examples
    --------
    >>> import dask.array
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> X = dask.array.ones((4, 2), chunks=(2, 2))
    >>> encode_with_certificates(circuit, X, tol=1e-4)["code"][:1].compute()
    array([[0.9, 0.9]])
    """
    dask, array = require("dask", "dask"), require("dask.array", "dask")
    [name] = circuit.widths
    response = circuit.encode({name: np.zeros((1, circuit.widths[name]))}, tol, engine=engine)
    templates = {k: getattr(response, k) for k in ("code", "gap", "residual", "n_iter")}
    templates = {key: value for key, value in templates.items() if value is not None}
    encode, pick, circuit_key = (
        dask.delayed(_encode_chunk),
        dask.delayed(_pick),
        delay_circuit(circuit),
    )
    blocks = [encode(b, circuit_key, tol, engine, tuple(templates)) for b in X.to_delayed().ravel()]
    sizes = list(zip(blocks, X.chunks[0], strict=True))
    return {
        key: array.concatenate(
            [array.from_delayed(pick(b, key), (n, *value.shape[1:]), value.dtype) for b, n in sizes]
        )
        for key, value in templates.items()
    }


def _encode_chunk(
    X: FloatArray, circuit: Circuit, tol: float, engine: str | Engine, keys: Sequence[str]
) -> dict[str, FloatArray]:
    [name] = circuit.widths
    with single_threaded():
        response = circuit.encode({name: X}, tol, engine=engine)
    return {key: getattr(response, key) for key in keys}


def _pick(arrays: Mapping[str, FloatArray], key: str) -> FloatArray:
    return arrays[key]

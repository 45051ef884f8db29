"""Lazy arrays: samples checked chunk by chunk, and the codes of every chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from spikelca.circuit import Circuit
from spikelca.distributed.cluster import single_threaded
from spikelca.engines import Engine
from spikelca.utils.optional import require
from spikelca.utils.validation import FLOAT_DTYPES, FloatArray, check_matrix

Codes = Callable[[Circuit, Mapping[str, FloatArray]], FloatArray]
"""From a circuit and what it sees to codes."""


def is_dask(X: Any) -> bool:
    """Whether this is a collection of Dask, told without an import of Dask."""
    return type(X).__module__.partition(".")[0] == "dask"


def check_dask(X: Any, name: str = "X") -> Any:
    """The same samples as finite floats, each row in one block.

    Values are looked at when a chunk is computed; the error that one then raises names its place.

    Parameters
    ----------
    X : dask.array.Array of (n_samples, n_features)
        The number of samples need not be known.

    Raises
    ------
    ValueError
        If X is not 2D, has no columns or an unknown number of them, or holds no numbers.
    """
    if X.ndim != 2 or math.isnan(X.shape[1]) or 0 in X.shape:
        raise ValueError(
            f"{name} has shape {X.shape}; a 2D array (n_samples, n_features), not empty, with a "
            "known number of features, was awaited."
        )
    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {X.dtype} values; real numbers were awaited.")
    dtype = X.dtype if X.dtype in FLOAT_DTYPES else np.dtype(np.float64)
    return X.rechunk({1: -1}).map_blocks(
        _check_block, what=name, to=dtype, dtype=dtype, meta=np.empty((0, 0), dtype)
    )


def _check_block(
    block: FloatArray, what: str, to: np.dtype[Any], block_info: Any = None
) -> FloatArray:
    if not len(block):  # a chunk of which a filter has left nothing
        return np.empty(block.shape, to)
    first = block_info[0]["array-location"][0][0] if block_info else 0
    return check_matrix(block, what, None, to, 0 if math.isnan(first) else int(first))


def encode_lazily(circuit: Circuit, stimuli: Mapping[str, Any], codes: Codes) -> Any:
    """The codes of every chunk, lazily: (n_samples, n_neurons), in the precision of the samples.

    Parameters
    ----------
    circuit : Circuit
        Sent once, with its Gram matrix: all workers use the one that was made here.
    stimuli : mapping of modality to dask.array.Array of (n_samples, n_inputs)
        Chunked alike.
    codes : callable
        What one machine would call.
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
    """A circuit as one key of a graph, its Gram matrix made."""
    dask = require("dask", "dask")
    _ = circuit.coupling
    return dask.delayed(circuit, name=f"circuit-{dask.base.tokenize(circuit)}", traverse=False)


def _encode_block(
    *blocks: FloatArray, names: Sequence[str], circuit: Circuit, codes: Codes
) -> FloatArray:
    if not len(blocks[0]):
        return np.empty((0, circuit.n_neurons), blocks[0].dtype)
    with single_threaded():
        found = codes(circuit, dict(zip(names, blocks, strict=True)))
    return found.astype(blocks[0].dtype, copy=False)


def encode_with_certificates(
    circuit: Circuit, X: Any, tol: float, engine: str | Engine = "numba"
) -> dict[str, Any]:
    """Codes of one modality with their certificates, lazily, each chunk settled once.

    Parameters
    ----------
    circuit : Circuit
        That sees one modality.
    X : dask.array.Array of (n_samples, n_inputs)
        Its number of samples known.
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
    >>> found = encode_with_certificates(circuit, dask.array.ones((4, 2), chunks=(2, 2)), tol=1e-4)
    >>> found["code"][:1].compute()
    array([[0.9, 0.9]])
    """
    dask, array = require("dask", "dask"), require("dask.array", "dask")
    [name] = circuit.widths
    one = circuit.encode({name: np.zeros((1, circuit.widths[name]))}, tol, engine=engine)
    kept = {k: getattr(one, k) for k in ("code", "gap", "residual", "n_iter")}
    kept = {key: value for key, value in kept.items() if value is not None}
    settle, pick, circuit_key = (
        dask.delayed(_encode_chunk),
        dask.delayed(_pick),
        delay_circuit(circuit),
    )
    blocks = [settle(b, circuit_key, tol, engine, tuple(kept)) for b in X.to_delayed().ravel()]
    sizes = list(zip(blocks, X.chunks[0], strict=True))
    return {
        key: array.concatenate(
            [array.from_delayed(pick(b, key), (n, *value.shape[1:]), value.dtype) for b, n in sizes]
        )
        for key, value in kept.items()
    }


def _encode_chunk(
    X: FloatArray, circuit: Circuit, tol: float, engine: str | Engine, keys: Sequence[str]
) -> dict[str, FloatArray]:
    [name] = circuit.widths
    with single_threaded():
        response = circuit.encode({name: X}, tol, engine=engine)
    return {key: getattr(response, key) for key in keys}


def _pick(found: Mapping[str, FloatArray], key: str) -> FloatArray:
    return itemgetter(key)(found)

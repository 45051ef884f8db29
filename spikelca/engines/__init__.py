"""Engines: the ways to run a circuit. `get_engine` turns a name into one, once, at the border."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spikelca.engines.base import Engine
from spikelca.engines.online import OnlineResult, OnlineRule
from spikelca.engines.problem import Coupling, InputPopulation, Problem
from spikelca.engines.response import DEFAULT_WINDOW, RECORDABLE, Clock, Record, Response, Spikes

__all__ = [
    "DEFAULT_WINDOW",
    "RECORDABLE",
    "Clock",
    "Coupling",
    "Engine",
    "InputPopulation",
    "OnlineResult",
    "OnlineRule",
    "Problem",
    "Record",
    "Response",
    "Spikes",
    "get_engine",
]


def _reference() -> Engine:
    from spikelca.engines.reference import ReferenceEngine

    return ReferenceEngine()


def _numba() -> Engine:
    from spikelca.engines.numba import NumbaEngine

    return NumbaEngine()


def _brian2() -> Engine:
    from spikelca.engines.brian2 import Brian2Engine

    return Brian2Engine()


_ENGINES: Mapping[str, Callable[[], Engine]] = {
    "numba": _numba,
    "brian2": _brian2,
    "reference": _reference,
}


def get_engine(engine: str | Engine) -> Engine:
    """The engine of a name; an instance passes through.

    Parameters
    ----------
    engine : {"numba", "brian2", "reference"} or Engine

    Raises
    ------
    ValueError
        If there is no such engine.

    Examples
    --------
    >>> get_engine("reference").name
    'reference'
    """
    if isinstance(engine, Engine):
        return engine
    if engine not in _ENGINES:
        raise ValueError(f"engine is {engine!r}; one of {list(_ENGINES)} or an Engine was awaited.")
    return _ENGINES[engine]()

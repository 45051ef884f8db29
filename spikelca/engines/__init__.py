"""Engines, which compute the response of a circuit; `get_engine` finds one by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spikelca.engines.base import Engine
from spikelca.engines.online import OnlineResult, OnlineRule
from spikelca.engines.problem import Coupling, InputPopulation, Problem
from spikelca.engines.response import (
    DEFAULT_WINDOW,
    MAX_WINDOW_STEPS,
    RECORDABLE,
    Clock,
    Record,
    Response,
    Spikes,
    State,
)

__all__ = [
    "DEFAULT_WINDOW",
    "MAX_WINDOW_STEPS",
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
    "State",
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
    """Return the engine with this name; an instance is returned unchanged.

    Parameters
    ----------
    engine : {"numba", "brian2", "reference"} or Engine

    Returns
    -------
    Engine

    Raises
    ------
    ValueError
        If no engine has this name.

    Examples
    --------
    >>> get_engine("reference").name
    'reference'
    """
    if isinstance(engine, Engine):
        return engine
    if engine not in _ENGINES:
        raise ValueError(
            f"`engine` must be one of {list(_ENGINES)} or an Engine instance, got {engine!r}."
        )
    return _ENGINES[engine]()

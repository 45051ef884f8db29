"""Packages that come with an extra: imported when they are needed, or told how to be had."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(package: str, what: str, extra: str | None = None) -> Any:
    """The module of an optional package; its extra has the same name unless told.

    Raises
    ------
    ImportError
        If it is not installed; the message holds the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{what} needs the package {package!r} ({error}): "
            f"pip install 'spikelca[{extra or package}]'"
        ) from error

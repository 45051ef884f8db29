"""Optional packages, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(package: str, extra: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    package : str
        Name of the module.
    extra : str
        Extra of spikelca that installs the package.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If the package is not installed; the message contains the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is required but could not be imported ({error}). "
            f"Install it with: pip install 'spikelca[{extra}]'"
        ) from error

"""Optional packages: imported on use, with the installation command if one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(package: str, what: str, extra: str | None = None) -> Any:
    """Import an optional package.

    Parameters
    ----------
    package : str
        Module to import.
    what : str
        Feature that requires it, for the message.
    extra : str, optional
        Extra that installs the package (default: the name of the package).

    Raises
    ------
    ImportError
        If the package is not installed; the message contains the installation command.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{what} requires the package {package!r} ({error}). Install it with: "
            f"pip install 'spikelca[{extra or package}]'"
        ) from error

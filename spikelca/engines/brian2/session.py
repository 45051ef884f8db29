"""Import and preferences of Brian2, without side effects on the process of the user.

Importing Brian2 opens a debug log, copies the running script, redirects all warnings and replaces
the hook for uncaught errors. If spikelca imports it, these changes are undone immediately.
Preferences are set only within `use_preferences`, which restores them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

PREFERENCES = {
    "core.default_float_dtype": np.float64,
    "core.network.default_schedule": [
        "start", "groups", "thresholds", "synapses", "resets", "end",
    ],
    "codegen.loop_invariant_optimisations": True,
    "logging.std_redirection_to_file": False,
}  # fmt: skip
"""Preferences that bit-identical results without log messages require."""


def import_brian2() -> Any:
    """Import the module brian2.

    Raises
    ------
    ImportError
        If Brian2 cannot be imported, with a remedy.
    """
    if "brian2" in sys.modules:
        return sys.modules["brian2"]
    hook, show = sys.excepthook, warnings.showwarning
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import brian2
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"cannot import Brian2: {error}. On Python 3.11 it requires numpy below 2.4: "
            "pip install 'brian2>=2.9' 'numpy<2.4'. engine='numba' does not require it."
        ) from error
    finally:
        sys.excepthook = hook
        if warnings.showwarning is not show:
            logging.captureWarnings(False)
            warnings.showwarning = show
        if threading.current_thread() is threading.main_thread() and interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
    _close_log(brian2.BrianLogger)
    return brian2


def _close_log(log: Any) -> None:
    """Close and delete the debug log and the copy of the script that the import made."""
    if log.file_handler is not None:
        logging.getLogger("brian2").removeHandler(log.file_handler)
        log.file_handler.close()
        log.file_handler = None
    for name in ("tmp_log", "tmp_script"):
        path = getattr(log, name)
        setattr(log, name, None)
        if path is not None and os.path.exists(path):
            os.remove(path)


def _ignored_warnings() -> tuple[type[Warning], ...]:
    """List the categories of deprecation warnings that Brian2 causes in its dependencies."""
    import pyparsing

    module = getattr(pyparsing, "warnings", None)
    return DeprecationWarning, getattr(module, "PyparsingDeprecationWarning", DeprecationWarning)


@contextmanager
def use_preferences() -> Iterator[None]:
    """Set the preferences of the engine in a context, and restore the previous ones at its end."""
    prefs = import_brian2().prefs
    previous = {name: prefs[name] for name in PREFERENCES}
    try:
        for name, value in PREFERENCES.items():
            prefs[name] = value
        with warnings.catch_warnings():
            for category in _ignored_warnings():
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for name, value in previous.items():
            prefs[name] = value


def code_object_class(target: str) -> Any:
    """Return Brian2's code object class of a target.

    Raises
    ------
    ValueError
        If the target is unknown.
    RuntimeError
        If a device other than Brian2's runtime is set, or if the target is "cython" and the
        compiler does not work.
    """
    device = import_brian2().get_device()
    from brian2.devices.device import RuntimeDevice

    if not isinstance(device, RuntimeDevice):
        raise RuntimeError(
            f"Brian2's device must be 'runtime', got {type(device).__name__}: circuits are made of "
            "objects that run in Python. Call brian2.set_device('runtime') before."
        )
    if target == "numpy":
        from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

        return NumpyCodeObject
    if target != "cython":
        raise ValueError(f"`target` must be 'numpy' or 'cython', got {target!r}.")
    from brian2.codegen.runtime.cython_rt import CythonCodeObject
    from brian2.utils.logger import catch_logs

    with use_preferences(), catch_logs() as logs:
        available = CythonCodeObject.is_available()
    if not available:
        reason = logs[0][2] if logs else "unknown"
        raise RuntimeError(
            "cannot use target='cython': the C++ compiler does not work. Install gcc or clang, or "
            f"use target='numpy'. Reason given by Brian2: {reason}"
        )
    return CythonCodeObject

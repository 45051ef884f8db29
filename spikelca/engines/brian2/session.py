"""Brian2 as a guest: nothing of it, and nothing that it changes in Python, is left otherwise.

Importing Brian2 opens a debug log, copies the running script, catches all warnings and replaces the
hook for uncaught errors. If it was not the user who imported it, all of this is taken back at once.
Preferences are set only inside `use_preferences`, which restores them.
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
"""What bit-equality and silence rest on."""


def import_brian2() -> Any:
    """The module brian2.

    Raises
    ------
    ImportError
        If Brian2 cannot be imported, with what to do.
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
            f"Brian2 cannot be imported: {error}. On Python 3.11 it needs numpy below 2.4: "
            "pip install 'brian2>=2.9' 'numpy<2.4'. engine='numba' runs without it."
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
    """What Brian2 is warned of by its own libraries; pyparsing has a category to itself."""
    import pyparsing

    found = getattr(pyparsing, "warnings", None)
    return DeprecationWarning, getattr(found, "PyparsingDeprecationWarning", DeprecationWarning)


@contextmanager
def use_preferences() -> Iterator[None]:
    """Brian2's preferences as the engine needs them; as they were, afterwards."""
    prefs = import_brian2().prefs
    before = {name: prefs[name] for name in PREFERENCES}
    try:
        for name, value in PREFERENCES.items():
            prefs[name] = value
        with warnings.catch_warnings():
            for category in _ignored_warnings():
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for name, value in before.items():
            prefs[name] = value


def code_object_class(target: str) -> Any:
    """The class that runs Brian2's code on a target.

    Raises
    ------
    ValueError
        If there is no such target.
    RuntimeError
        If cython was asked for and no compiler works.
    """
    import_brian2()
    if target == "numpy":
        from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

        return NumpyCodeObject
    if target != "cython":
        raise ValueError(f"target is {target!r}; 'numpy' or 'cython' was awaited.")
    from brian2.codegen.runtime.cython_rt import CythonCodeObject
    from brian2.utils.logger import catch_logs

    with use_preferences(), catch_logs() as logs:
        available = CythonCodeObject.is_available()
    if not available:
        reason = logs[0][2] if logs else "no reason was given"
        raise RuntimeError(
            "target='cython' was asked for, and a C++ compiler does not work here. Install one "
            f"(gcc or clang), or take target='numpy'. Brian2 says: {reason}"
        )
    return CythonCodeObject

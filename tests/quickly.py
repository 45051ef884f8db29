"""One quick run of the paper's experiment, shared by all tests that look at what it writes."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from spikelca.cli import main

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None

WORDS = ("reproduce", "--quick", "--leaky", "--report", "--quiet")
HANGS = 600
"""Seconds after which a process is taken to hang, however slow the machine."""
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


@contextmanager
def one_at_a_time(name):
    """What only one of the processes that run the tests does at a time."""
    if fcntl is None:
        yield
        return
    # Each user has its own lock, because none can open the file of another.
    with open(Path(tempfile.gettempdir(), f"spikelca-{os.getuid()}-{name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def shared_folder(factory) -> Path:
    """A temporary folder that all processes of this run of the tests share; pytest clears it away.

    Parameters
    ----------
    factory : TempPathFactory
    """
    base = factory.getbasetemp()
    shared = WORKER and fcntl is not None
    return base.parent if shared else base


def quick_results(factory) -> Path:
    """The folder of ``spikelca reproduce --quick --leaky --report``.

    Parameters
    ----------
    factory : TempPathFactory
    """
    folder = shared_folder(factory) / "quick"
    with one_at_a_time("quick"):
        if not (folder / "results.json").exists():
            assert main([*WORDS, "--out", str(folder)]) == 0
    return folder

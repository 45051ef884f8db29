"""One quick run of the paper's experiment, shared by all tests of its results."""

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
"""Seconds after which a process counts as hanging on any machine."""
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


@contextmanager
def one_at_a_time(name):
    """Let only one of the test processes run the block at a time."""
    if fcntl is None:
        yield
        return
    # Each user has its own lock, because none can open the file of another.
    with open(Path(tempfile.gettempdir(), f"spikelca-{os.getuid()}-{name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def shared_folder(factory) -> Path:
    """Return a temporary folder shared by all processes of a test run; pytest removes it.

    Parameters
    ----------
    factory : TempPathFactory
    """
    base = factory.getbasetemp()
    shared = WORKER and fcntl is not None
    return base.parent if shared else base


def quick_results(factory) -> Path:
    """Return the folder of ``spikelca reproduce --quick --leaky --report``.

    Parameters
    ----------
    factory : TempPathFactory
    """
    folder = shared_folder(factory) / "quick"
    with one_at_a_time("quick"):
        if not (folder / "results.json").exists():
            assert main([*WORDS, "--out", str(folder)]) == 0
    return folder

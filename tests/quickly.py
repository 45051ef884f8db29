"""One quick run of the paper's experiment, shared by all tests that look at what it writes."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from spikelca.cli import main

WORDS = ("reproduce", "--quick", "--leaky", "--report", "--quiet")


@cache
def quick_results() -> Path:
    """The folder of ``spikelca reproduce --quick --leaky --report``; it goes when the tests end."""
    folder = tempfile.mkdtemp(prefix="spikelca-quick-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    assert main([*WORDS, "--out", folder]) == 0
    return Path(folder)

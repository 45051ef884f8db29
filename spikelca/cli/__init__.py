"""The command line: each command calls the library, and imports nothing before it is called.

Every command is one file with two functions: ``add`` describes it to argparse, ``run`` does it.
Results are replaced as a whole or not at all, so that Ctrl-C leaves no half-written file.
"""

from __future__ import annotations

from spikelca.cli.main import DONE, FAILED, USAGE, main, make_parser

__all__ = ["DONE", "FAILED", "USAGE", "main", "make_parser"]

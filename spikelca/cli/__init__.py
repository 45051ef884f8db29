"""Command line interface.

Each command is one file with two functions: ``add`` adds its options to argparse, ``run`` calls the
library. Heavy packages are imported inside ``run``, so that ``--help`` is fast. Output files are
replaced atomically, so that Ctrl-C leaves no half-written file.
"""

from __future__ import annotations

from spikelca.cli.main import DONE, FAILED, INTERRUPTED, USAGE, main, make_parser

__all__ = ["DONE", "FAILED", "INTERRUPTED", "USAGE", "main", "make_parser"]

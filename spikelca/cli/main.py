"""From words to a command, and from what happened to an exit code."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from spikelca._version import __version__
from spikelca.cli import bench, encode, fit, info, reproduce, simulate
from spikelca.cli.interrupt import reraise_lost_interrupts

DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes: done; failed, with one line that says why; wrong usage (argparse's own)."""

FIRST_STEPS = """\
first steps:
  spikelca reproduce                                   the paper's table and figures, offline
  spikelca simulate --image 3 --plot membrane.png      one image, neuron by neuron, in time
  spikelca fit digits -o model.spikelca                learn linked dictionaries
  spikelca encode model.spikelca digits -o codes.npz   the handwritten images alone, as codes
  spikelca COMMAND --help                              more examples
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        "spikelca",
        description="Neuromorphic sparse coding: linked dictionaries, rate and spiking.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spikelca {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (reproduce, fit, encode, simulate, info, bench):
        made = command.add(commands)
        made.formatter_class = argparse.RawDescriptionHelpFormatter
        made.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = make_parser().parse_args(words)
    arguments.command_line = shlex.join(["spikelca", *words])
    try:
        with reraise_lost_interrupts():
            arguments.run(arguments)
    except KeyboardInterrupt:
        print("spikelca: interrupted", file=sys.stderr)
        return FAILED
    except (ValueError, TypeError, OSError, ImportError, NotImplementedError, MemoryError) as error:
        print(f"spikelca: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    return DONE

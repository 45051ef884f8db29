"""Entry point: parser of all commands, error messages and exit codes."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from spikelca._version import __version__
from spikelca.cli import bench, encode, fit, info, reproduce, simulate
from spikelca.cli.interrupt import reraise_lost_interrupts

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: success; failure, with the reason in one line; wrong usage; Ctrl-C."""

FIRST_STEPS = """\
first steps:
  spikelca reproduce                                   the paper's table and figures, offline
  spikelca simulate --image 3 --plot membrane.png      membrane potentials and spikes of an image
  spikelca fit digits -o model.spikelca                learn linked dictionaries
  spikelca encode model.spikelca digits -o codes.npz   codes of the handwritten images
  spikelca COMMAND --help                              more examples
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        "spikelca",
        description="Neuromorphic sparse coding with linked dictionaries, rate and spiking.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spikelca {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (reproduce, fit, encode, simulate, info, bench):
        subparser = command.add(commands)
        subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser()
    if not words:
        parser.print_help()
        parser.exit(USAGE)
    arguments = parser.parse_args(words)
    arguments.command_line = shlex.join(["spikelca", *words])
    try:
        with reraise_lost_interrupts():
            arguments.run(arguments)
    except KeyboardInterrupt as interrupt:
        print(". ".join(["spikelca: interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError, NotImplementedError, MemoryError) as error:
        print(f"spikelca: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    return DONE

"""The command line: each command calls one function, and imports nothing before it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from spikelca._version import __version__

DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes: done; failed, with one line that says why; wrong usage (argparse's own)."""


def _reproduce(arguments: argparse.Namespace) -> None:
    from spikelca.experiments.reproduce import reproduce

    reproduce(
        arguments.data,
        arguments.out,
        arguments.seeds,
        quick=arguments.quick,
        transfer=arguments.transfer,
        driver=arguments.driver,
        leaky=arguments.leaky,
        font=arguments.font,
    )


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        "spikelca", description="Neuromorphic sparse coding: linked dictionaries, rate and spiking."
    )
    parser.add_argument("--version", action="version", version=f"spikelca {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_reproduce(commands)
    return parser


def add_reproduce(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`spikelca reproduce`."""
    command = commands.add_parser(
        "reproduce",
        help="compute Table I of the paper",
        description="Learn single, linked and ordinal dictionaries and score their codes.",
        epilog="examples:  spikelca reproduce   |   spikelca reproduce --data FOLDER --seeds 0 1 2",
    )
    command.add_argument(
        "--data",
        default="digits",
        help="'digits' (offline, default), 'mnist' (SPIKELCA_DATA or download), or a folder of IDX "
        "files",
    )
    command.add_argument(
        "--out", default="results", help="folder for the results (default results/)"
    )
    command.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    command.add_argument("--quick", action="store_true", help="the whole road in seconds")
    command.add_argument(
        "--transfer", choices=("soft", "hard"), default="soft", help="hard is Eq. 2 as printed"
    )
    command.add_argument(
        "--driver",
        choices=("current", "linked", "clamp"),
        default="current",
        help="reading of the paper's third input",
    )
    command.add_argument(
        "--leaky", action="store_true", help="show what the printed digit at test time would give"
    )
    command.add_argument(
        "--font", help="face of the printed digits: a name, a file, or 'search' (default: shipped)"
    )
    command.set_defaults(run=_reproduce)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        print("spikelca: interrupted", file=sys.stderr)
        return FAILED
    except (ValueError, TypeError, OSError, NotImplementedError, MemoryError) as error:
        print(f"spikelca: {error}", file=sys.stderr)
        return FAILED
    return DONE

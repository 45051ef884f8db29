"""``spikelca reproduce``: the paper's table and figures."""

from __future__ import annotations

import argparse

from spikelca.cli.common import Commands, add_quiet, make_printer

EXAMPLES = """\
examples:
  spikelca reproduce                                   digits that scikit-learn carries, offline
  spikelca reproduce --quick --report                  the whole road in seconds, and a report
  spikelca reproduce --data FOLDER --seeds 0 1 2       MNIST from its four IDX files
  spikelca reproduce --plain                           Eq. 4 alone, as in the paper
  spikelca reproduce --leaky                           what cheating would give
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Describe the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "reproduce",
        help="compute Table I and the figures of the paper",
        description="Learn single, linked and ordinal dictionaries, score their codes, draw them.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option(
        "--data",
        default="digits",
        metavar="DATA",
        help="'digits' (offline, default), 'mnist' (SPIKELCA_DATA or download), or a folder of IDX "
        "files",
    )
    option("--out", default="results", metavar="FOLDER", help="for the results (default results/)")
    option(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="one dictionary of each kind for each; the table shows mean and spread (default 0)",
    )
    option("--quick", action="store_true", help="the whole road in seconds, figures mean nothing")
    add_variants(command)
    option("--leaky", action="store_true", help="show what the printed digit would give")
    option(
        "--font", help="face of the printed digits: a name, a file, or 'search' (default: shipped)"
    )
    option("--report", action="store_true", help="also write report.html, one file with it all")
    add_quiet(command)
    return command


def add_variants(command: argparse.ArgumentParser) -> None:
    """Where the paper can be read in several ways: which one."""
    option = command.add_argument
    option(
        "--transfer",
        choices=("soft", "hard"),
        default="soft",
        help="threshold of the neurons (default soft; hard is Eq. 2 of the paper as printed)",
    )
    option(
        "--driver",
        choices=("current", "linked", "clamp"),
        default="current",
        help="reading of the paper's third input (default current)",
    )
    option(
        "--plain",
        action="store_true",
        help="learn by Eq. 4 alone, as the paper does (default: the last part is contrastive)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    from spikelca.experiments.reproduce import reproduce

    reproduce(
        arguments.data,
        arguments.out,
        arguments.seeds,
        quick=arguments.quick,
        transfer=arguments.transfer,
        driver=arguments.driver,
        plain=arguments.plain,
        leaky=arguments.leaky,
        font=arguments.font,
        report_of=arguments.command_line if arguments.report else None,
        say=make_printer(arguments),
    )

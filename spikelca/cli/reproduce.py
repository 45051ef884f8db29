"""``spikelca reproduce``: Table I and the figures of the paper."""

from __future__ import annotations

import argparse
from pathlib import Path

from spikelca.cli.common import Commands, add_no_verify, add_quiet, make_printer

EXAMPLES = """\
examples:
  spikelca reproduce                                   digits of scikit-learn, offline
  spikelca reproduce --quick --report                  smoke test in seconds, with a report
  spikelca reproduce --data FOLDER --seeds 0 1 2       MNIST from its four IDX files
  spikelca reproduce --plain                           Eq. 4 only, as in the paper
  spikelca reproduce --leaky                           effect of label leakage
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command and its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        "reproduce",
        help="compute Table I and the figures of the paper",
        description=(
            "Learn single, linked and ordinal dictionaries, classify their codes and draw the "
            "figures."
        ),
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option(
        "--data",
        default="digits",
        metavar="DATA",
        help="'digits' (offline), 'mnist' (SPIKELCA_DATA or download), or a folder of IDX files "
        "(default: digits)",
    )
    option(
        "--out", default="results", metavar="FOLDER", help="folder for results (default: results)"
    )
    option(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="random seeds; the table shows mean and standard deviation (default: 0)",
    )
    option("--quick", action="store_true", help="smoke test in seconds; results are not meaningful")
    add_variants(command)
    option(
        "--leaky",
        action="store_true",
        help="also score codes of the printed digit, which contains the label",
    )
    option(
        "--font",
        help="font face of the printed digits: name, file or 'search' (default: shipped images)",
    )
    add_no_verify(command)
    option("--report", action="store_true", help="also write report.html, a self-contained page")
    add_quiet(command)
    return command


def add_variants(command: argparse.ArgumentParser) -> None:
    """Add the options for variants of the paper's method."""
    option = command.add_argument
    option(
        "--transfer",
        choices=("soft", "hard"),
        default="soft",
        help="transfer function; hard is Eq. 2 of the paper as printed (default: soft)",
    )
    option(
        "--driver",
        choices=("current", "linked", "clamp"),
        default="current",
        help="mode of the ordinal driver, the third input of the paper (default: current)",
    )
    option(
        "--plain",
        action="store_true",
        help="learn by Eq. 4 only, as in the paper (default: last part contrastive)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Reproduce the experiments and write the results."""
    from spikelca.cli.files import check_output

    check_output(Path(arguments.out), [arguments.data])
    from spikelca.experiments.reproduce import reproduce_paper

    reproduce_paper(
        arguments.data,
        arguments.out,
        arguments.seeds,
        quick=arguments.quick,
        transfer=arguments.transfer,
        driver=arguments.driver,
        plain=arguments.plain,
        leaky=arguments.leaky,
        font=arguments.font,
        verify=not arguments.no_verify,
        command=arguments.command_line if arguments.report else None,
        log=make_printer(arguments),
    )

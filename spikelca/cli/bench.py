"""``spikelca bench``: how fast, beside the peers that are installed."""

from __future__ import annotations

import argparse
from pathlib import Path

from spikelca.cli.common import Commands

EXAMPLES = """\
examples:
  spikelca bench --quick                        a minute, digits
  spikelca bench --suite encode learn           only these
  spikelca bench --data FOLDER --json b.json    MNIST, and the figures as JSON
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Describe the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure speed and accuracy against peers",
        description="Time this library and the peers that are installed on the same problems.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    suites = "encode, learn, spiking, scaling (default: all)"
    option("--suite", nargs="+", metavar="NAME", help=suites)
    option("--quick", action="store_true", help="small problems")
    option("--data", default="digits", help="'digits', 'mnist', or a folder of IDX files")
    option("--json", type=Path, metavar="FILE.json", help="write what was measured")
    return command


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    import json

    from spikelca.benchmarks.suites import format_benchmark, run_benchmark
    from spikelca.cli.files import check_suffix
    from spikelca.utils.atomic_write import write_text

    if arguments.json is not None:
        check_suffix(arguments.json, (".json",))
    found = run_benchmark(arguments.suite, arguments.quick, arguments.data)
    print(format_benchmark(found))
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(found, indent=1) + "\n")
        print(f"written: {arguments.json}")

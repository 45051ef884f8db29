"""``spikelca bench``: speed and accuracy compared with other packages."""

from __future__ import annotations

import argparse
from pathlib import Path

from spikelca.cli.common import Commands, add_no_verify

EXAMPLES = """\
examples:
  spikelca bench --quick                        small problems, about a minute
  spikelca bench --suite encode learn           selected suites
  spikelca bench --data FOLDER --json b.json    MNIST from its IDX files, results as JSON
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command and its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure speed and accuracy compared with other packages",
        description="Time spikelca and the other installed packages on the same problems.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    suites = "suites to run: encode, learn, spiking, scaling, workers (default: all)"
    option("--suite", nargs="+", metavar="NAME", help=suites)
    option("--quick", action="store_true", help="use small problems")
    option(
        "--data",
        default="digits",
        help="'digits', 'mnist', or a folder of IDX files (default: digits)",
    )
    add_no_verify(command)
    option("--json", type=Path, metavar="FILE.json", help="file for the results")
    return command


def run(arguments: argparse.Namespace) -> None:
    """Run the suites and print their tables."""
    import json

    from spikelca.benchmarks.suites import format_benchmark, run_benchmark
    from spikelca.cli.files import check_output, check_suffix
    from spikelca.utils.atomic_write import write_text

    if arguments.json is not None:
        check_output(check_suffix(arguments.json, (".json",)), [arguments.data])
    results = run_benchmark(
        arguments.suite, arguments.quick, arguments.data, not arguments.no_verify
    )
    print(format_benchmark(results))
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(results, indent=1) + "\n")
        print(f"written: {arguments.json}")

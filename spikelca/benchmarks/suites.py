"""Benchmark suites: run them and format their results.

See `spikelca.benchmarks.measure` for the method of measurement.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from spikelca.benchmarks.encode import encode_suite
from spikelca.benchmarks.learn import initial_atoms, learn_epoch, learn_suite, spiking_suite
from spikelca.benchmarks.measure import Row
from spikelca.benchmarks.peers import LassoProblem
from spikelca.benchmarks.scaling import scaling_suite
from spikelca.benchmarks.workers import workers_suite
from spikelca.datasets import load_images
from spikelca.utils.validation import FloatArray

SUITES = ("encode", "learn", "spiking", "scaling", "workers")

RELATIVE_THRESHOLD = 0.054
"""Threshold relative to the median norm of samples: 0.5 on MNIST, with about 7 % active neurons."""

PACKAGES = ("spikelca", "numpy", "numba", "scikit-learn", "spams-bin", "celer", "brian2")


def run_benchmark(
    suites: Sequence[str] | None = None,
    quick: bool = False,
    data: str = "digits",
    verify: bool = True,
) -> dict[str, Any]:
    """Run benchmark suites.

    Parameters
    ----------
    suites : sequence of {"encode", "learn", "spiking", "scaling", "workers"}, optional
        Suites to run (default: all).
    quick : bool, default=False
        Whether to use small problems and few rounds, without targets.
    data : {"digits", "mnist"} or path
        Data set, see `spikelca.datasets.load_images`.
    verify : bool, default=True
        Whether the files of a folder must be those of MNIST.

    Returns
    -------
    dict
        Results in the form of JSON: ``conditions``, ``rows`` (see `Row`) and ``skipped`` (peer,
        why).

    Raises
    ------
    ValueError
        If a suite is unknown.
    """
    chosen = list(SUITES if suites is None else suites)
    unknown = [name for name in chosen if name not in SUITES]
    if unknown or not chosen:
        raise ValueError(f"`suites` must be from {', '.join(SUITES)}, got {unknown or 'none'}.")
    images = load_images(data, verify)
    X_train, X_test = (np.array(X, np.float32) for X in (images.X_train, images.X_test))
    if quick:
        X_train, X_test = X_train[:5000], X_test[:500]
    problem = make_problem(X_train, X_test, 64 if X_train.shape[1] < 256 else 256)
    large = None
    if not quick and "encode" in chosen and len(X_train) >= 20_000:
        large = make_problem(X_train[:20_000], X_test[:300], 2048)
    skipped: list[dict[str, str]] = []
    # Targets are defined for MNIST with 256 atoms only.
    has_targets = not quick and problem.atoms.shape == (256, 784)
    rows = [
        (row if has_targets else replace(row, target="", met=None)).as_dict()
        for name in chosen
        for row in run_suite(name, problem, large, X_train, quick, skipped)
    ]
    conditions = collect_conditions(images.name, problem, quick)
    return {"conditions": conditions, "rows": rows, "skipped": skipped}


def run_suite(
    suite: str, problem: LassoProblem, large: LassoProblem | None, X_train: FloatArray, quick: bool,
    skipped: list[dict[str, str]],
) -> Iterator[Row]:  # fmt: skip
    """Run one suite and return its rows."""
    if suite == "encode":
        return encode_suite(problem, large, quick, skipped)
    if suite == "learn":
        return learn_suite(problem, X_train, quick, skipped)
    if suite == "spiking":
        return spiking_suite(problem, quick, skipped)
    if suite == "workers":
        return workers_suite(problem, X_train, quick, skipped)
    return scaling_suite(problem, X_train, quick)


def make_problem(X_train: FloatArray, X_test: FloatArray, n_neurons: int) -> LassoProblem:
    """Make a problem of test images and a dictionary learned on training images."""
    lam = RELATIVE_THRESHOLD * float(np.median(np.linalg.norm(X_train, axis=1)))
    start = initial_atoms(X_train, n_neurons)
    n_epochs = 1 if len(X_train) >= 5000 else 5
    return LassoProblem(X_test, learn_epoch(X_train, start, lam, n_epochs), lam)


def collect_conditions(name: str, problem: LassoProblem, quick: bool) -> dict[str, Any]:
    """Collect data, machine and versions."""
    from threadpoolctl import threadpool_info

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "data": name,
        "n_test": len(problem.X),
        "n_inputs": int(problem.X.shape[1]),
        "n_neurons": len(problem.atoms),
        "threshold": problem.lam,
        "quick": quick,
        "threads": "one for all packages, except where a row states another number",
        "clock": "processor time; wall-clock time for latency and speed-up by threads",
        "pools": [f"{pool['internal_api']} ({pool['user_api']})" for pool in threadpool_info()],
        "machine": f"{read_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": sys.version.split()[0],
        "versions": versions,
    }


def read_processor() -> str:
    """Read the name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
    except OSError:
        lines = []
    if lines:
        return lines[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def format_benchmark(results: dict[str, Any]) -> str:
    """Format the results of `run_benchmark` as text."""
    conditions = results["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    lines = [
        f"data      {conditions['data']}, {conditions['n_test']} test samples of "
        f"{conditions['n_inputs']}; {conditions['n_neurons']} atoms, threshold "
        f"{conditions['threshold']:.3g}",
        f"machine   {conditions['machine']}, load {conditions['load'] or 0:.1f}",
        f"threads   {conditions['threads']}",
        f"clock     {conditions['clock']}",
        f"versions  Python {conditions['python']}, {versions}",
    ]
    suite = ""
    for row in results["rows"]:
        if row["suite"] != suite:
            suite = row["suite"]
            lines += ["", suite, f"  {'measure':<58}{'median':>9}  {'quartiles':<17}target"]
        lines += _format_row(row)
    if results["skipped"]:
        lines += ["", "skipped"]
        lines += [f"  {item['peer']}: {item['why']}" for item in results["skipped"]]
    return "\n".join(lines)


def _format_row(row: dict[str, Any]) -> list[str]:
    value = row["value"]
    met = {True: " met", False: " NOT MET", None: ""}[row["met"]]
    quartiles = f"{value['low']:.3g} - {value['high']:.3g}"
    lines = [
        f"  {row['measure']:<58}{value['median']:>9.3g}  {quartiles:<17}"
        f"{row['unit']} {row['target']}{met}".rstrip()
    ]
    details = []
    for title, values, number_format in (
        ("us/sample", row["times"], "{:.3g}"),
        ("gap", row["gaps"], "{:.1e}"),
        ("objective", row["objectives"], "{:.6g}"),
    ):
        if values:
            text = ", ".join(f"{name} {number_format.format(v)}" for name, v in values.items())
            details.append(f"{title}: {text}")
    if row["note"]:
        details.append(row["note"])
    return lines + [f"      {text}" for text in details]

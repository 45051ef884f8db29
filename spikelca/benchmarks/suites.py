"""The benchmark: how fast, beside whom, at what accuracy, on which machine.

`run_benchmark` gives plain numbers and words; `format_benchmark` makes them a page. How it measures
stands in `benchmark_measure.py`.
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
from spikelca.benchmarks.learn import draw_first_atoms, learn_epoch, learn_suite, spiking_suite
from spikelca.benchmarks.measure import Row
from spikelca.benchmarks.peers import LassoProblem
from spikelca.benchmarks.scaling import scaling_suite
from spikelca.benchmarks.workers import workers_suite
from spikelca.datasets import load_images
from spikelca.utils.validation import FloatArray

SUITES = ("encode", "learn", "spiking", "scaling", "workers")

RELATIVE_THRESHOLD = 0.054
"""Threshold as a part of the median norm of a sample: 0.5 on MNIST, about 7 % active."""

PACKAGES = ("spikelca", "numpy", "numba", "scikit-learn", "spams-bin", "celer", "brian2")


def run_benchmark(
    suites: Sequence[str] | None = None, quick: bool = False, data: str = "digits"
) -> dict[str, Any]:
    """Measure.

    Parameters
    ----------
    suites : sequence of {"encode", "learn", "spiking", "scaling", "workers"}, optional
        Which ones; all unless told.
    quick : bool, default=False
        Small problems and few rounds: for a look, not for a table.
    data : {"digits", "mnist"} or path
        See `spikelca.datasets.load_images`.

    Returns
    -------
    dict
        ``conditions``, ``rows`` (see `Row`) and ``skipped`` (peer, why): JSON as it is.

    Raises
    ------
    ValueError
        If a suite is unknown.
    """
    chosen = list(SUITES if suites is None else suites)
    unknown = [name for name in chosen if name not in SUITES]
    if unknown or not chosen:
        raise ValueError(f"suites is {chosen}; some of {SUITES} were awaited.")
    images = load_images(data)
    X_train, X_test = (np.array(X, np.float32) for X in (images.X_train, images.X_test))
    if quick:
        X_train, X_test = X_train[:5000], X_test[:500]
    problem = make_problem(X_train, X_test, 64 if X_train.shape[1] < 256 else 256)
    large = None
    if not quick and "encode" in chosen and len(X_train) >= 20_000:
        large = make_problem(X_train[:20_000], X_test[:300], 2048)
    skipped: list[dict[str, str]] = []
    # The targets were set for MNIST with 256 atoms; elsewhere a figure is just a figure.
    official = not quick and problem.atoms.shape == (256, 784)
    rows = [
        (row if official else replace(row, target="", met=None)).as_dict()
        for name in chosen
        for row in run_suite(name, problem, large, X_train, quick, skipped)
    ]
    return {"conditions": conditions(images.name, problem, quick), "rows": rows, "skipped": skipped}


def run_suite(
    suite: str, problem: LassoProblem, large: LassoProblem | None, X_train: FloatArray, quick: bool,
    skipped: list[dict[str, str]],
) -> Iterator[Row]:  # fmt: skip
    """The rows of one suite."""
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
    """Test images and a dictionary that was learned on the training images in one epoch."""
    lam = RELATIVE_THRESHOLD * float(np.median(np.linalg.norm(X_train, axis=1)))
    start = draw_first_atoms(X_train, n_neurons)
    n_epochs = 1 if len(X_train) >= 5000 else 5
    return LassoProblem(X_test, learn_epoch(X_train, start, lam, n_epochs), lam)


def conditions(name: str, problem: LassoProblem, quick: bool) -> dict[str, Any]:
    """What a figure depends on besides the code."""
    from threadpoolctl import threadpool_info

    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {
        "data": name,
        "n_test": len(problem.X),
        "n_inputs": int(problem.X.shape[1]),
        "n_neurons": len(problem.atoms),
        "threshold": problem.lam,
        "quick": quick,
        "threads": "one for everybody, unless a row says otherwise",
        "clock": "processor time; wall time for latency and for the gain of threads",
        "pools": [f"{pool['internal_api']} ({pool['user_api']})" for pool in threadpool_info()],
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": sys.version.split()[0],
        "versions": found,
    }


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
    except OSError:
        lines = []
    if lines:
        return lines[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def format_benchmark(found: dict[str, Any]) -> str:
    """What `run_benchmark` found, as a page."""
    about = found["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"data      {about['data']}, {about['n_test']} test samples of {about['n_inputs']}; "
        f"{about['n_neurons']} atoms, threshold {about['threshold']:.3g}",
        f"machine   {about['machine']}, load {about['load'] or 0:.1f}",
        f"threads   {about['threads']}",
        f"clock     {about['clock']}",
        f"versions  Python {about['python']}, {versions}",
    ]
    suite = ""
    for row in found["rows"]:
        if row["suite"] != suite:
            suite = row["suite"]
            lines += ["", suite, f"  {'measure':<58}{'median':>9}  {'quartiles':<17}target"]
        lines += _row_lines(row)
    if found["skipped"]:
        lines += ["", "left out"]
        lines += [f"  {item['peer']}: {item['why']}" for item in found["skipped"]]
    return "\n".join(lines)


def _row_lines(row: dict[str, Any]) -> list[str]:
    value = row["value"]
    mark = {True: " met", False: " MISSED", None: ""}[row["met"]]
    spread = f"{value['low']:.3g} - {value['high']:.3g}"
    lines = [
        f"  {row['measure']:<58}{value['median']:>9.3g}  {spread:<17}"
        f"{row['unit']} {row['target']}{mark}".rstrip()
    ]
    detail = []
    for title, values, form in (
        ("us/sample", row["times"], "{:.3g}"),
        ("gap", row["gaps"], "{:.1e}"),
        ("objective", row["objectives"], "{:.6g}"),
    ):
        if values:
            told = ", ".join(f"{name} {form.format(number)}" for name, number in values.items())
            detail.append(f"{title}: {told}")
    if row["note"]:
        detail.append(row["note"])
    return lines + [f"      {text}" for text in detail]

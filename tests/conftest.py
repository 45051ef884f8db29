"""Options of the test suite, the figures that it prints at its end, and what keeps it short."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import pytest

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None

# Before numpy, numba and matplotlib are imported, which read these once.
os.environ.setdefault("MPLBACKEND", "Agg")
WORKER = "PYTEST_XDIST_WORKER" in os.environ
if WORKER:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_configure(config):
    """Let no two workers fill Numba's cache at the same moment.

    Each reads the index of a function, takes the next free number for its file and writes the index
    back: two that do so at once would give one number to the kernels of two signatures.
    """
    if not WORKER or fcntl is None:
        return
    from numba.core.caching import IndexDataCacheFile

    save = IndexDataCacheFile.save

    def one_at_a_time(self, key, data):
        with open(Path(tempfile.gettempdir(), "spikelca-tests.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(self, key, data)

    IndexDataCacheFile.save = one_at_a_time


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="the larger counts of the tests marked reliability"
    )


def pytest_collection_finish():
    """Whatever has been imported stays: leave it out of the many collections that Brian2 asks for.

    This halves the time of its tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def full(request):
    """Whether the larger counts are asked for."""
    return request.config.getoption("--full")


@pytest.fixture
def figure(request):
    """Say a figure; all are printed together at the end."""

    def say(text):
        request.node.user_properties.append(("figure", text))

    return say


@pytest.fixture
def quick_compiler(full):
    """Let Brian2 compile without optimising, which takes half the time; as users do with --full."""
    brian2 = pytest.importorskip("brian2")
    before = brian2.prefs.codegen.cpp.extra_compile_args
    if not full:
        brian2.prefs.codegen.cpp.extra_compile_args = ["-w", "-O0", "-std=c++11"]
    yield
    brian2.prefs.codegen.cpp.extra_compile_args = before


def pytest_terminal_summary(terminalreporter):
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
    ]
    lines = [
        f"{report.nodeid.partition('::')[2]}: {text}"
        for report in sorted(reports, key=lambda report: report.nodeid)
        for name, text in report.user_properties
        if name == "figure"
    ]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)

"""Options of the test suite, values printed at its end, and settings that shorten it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

# Before numpy, numba and matplotlib are imported, which read these once.
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_configure(config):
    """Serialise the writes of the test processes to Numba's cache.

    A process reads the index of a function, uses the next free number for its file and writes the
    index back. Two processes at once would give one number to the kernels of two signatures.
    """
    if not hasattr(config, "workerinput"):
        return
    from numba.core.caching import IndexDataCacheFile
    from quickly import one_at_a_time

    save = IndexDataCacheFile.save

    def save_alone(self, key, data):
        with one_at_a_time("kernels"):
            save(self, key, data)

    IndexDataCacheFile.save = save_alone


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="the larger counts of the tests marked reliability"
    )


def pytest_collection_finish():
    exclude_from_collection()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Exclude what a test leaves in the caches of Brian2 and others."""
    if len(gc.get_objects()) > 20_000:
        exclude_from_collection()


def exclude_from_collection():
    """Exclude the objects that are alive from garbage collection, which Brian2 requests often.

    This halves the time of its tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def full(request):
    """Whether the larger counts are requested."""
    return request.config.getoption("--full")


@pytest.fixture
def figure(request):
    """Print a value together with all others at the end."""

    def log(text):
        request.node.user_properties.append(("figure", text))

    return log


@pytest.fixture
def quick_compiler(full, tmp_path):
    """Let Brian2 compile without optimisation, in half the time, except with --full.

    Compiled code is kept in the home folder for the next run, if that folder can be written to.
    """
    brian2 = pytest.importorskip("brian2")
    flags, cython = brian2.prefs.codegen.cpp, brian2.prefs.codegen.runtime.cython
    before = flags.extra_compile_args, cython.cache_dir
    if not full:
        flags.extra_compile_args = ["-w", "-O0", "-std=c++11"]
    if not os.access(Path.home(), os.W_OK):
        cython.cache_dir = str(tmp_path)
    yield
    flags.extra_compile_args, cython.cache_dir = before


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

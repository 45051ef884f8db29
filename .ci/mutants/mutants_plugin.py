"""The part of these scripts that runs inside pytest: it records, or orders, limits and reports.

Recording, each test is a context of coverage, in its child processes too. For a change, the tests
run in the order that the plan gives, each for a limited time, and the log names the running one.
"""

from __future__ import annotations

import faulthandler
import inspect
import json
import os
import re
import resource
import time
from pathlib import Path

import pytest

FOLDER = Path(os.environ["MUTANTS_FOLDER"])
PLAN = FOLDER / "plan.json"
CLOCK = re.compile(r"perf_counter|sleep\(|_within_")  # such a test may fail under load, left out
MOST_MEMORY = 16 << 30  # bytes; a change may ask for any amount
failed: set[str] = set()


def pytest_collection_modifyitems(config, items):
    """Tests that are not on record are new: they come first."""
    if PLAN.exists():
        plan = json.loads(PLAN.read_text())
        rank = {name: place for place, name in enumerate(plan["order"])}
        known = set(plan["known"])
        wanted = [item for item in items if item.nodeid in rank or item.nodeid not in known]
        wanted = [item for item in wanted if not CLOCK.search(inspect.getsource(item.function))]
        items[:] = sorted(wanted, key=lambda item: rank.get(item.nodeid, -1))
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
        config.limits, config.slack = plan["order"], plan["slack"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    os.environ["MUTANTS_TEST"] = item.nodeid  # the context of child processes, see the settings
    start = time.perf_counter()
    if PLAN.exists():
        (FOLDER / "running").write_text(item.nodeid)
        limit = item.config.slack + 10 * item.config.limits.get(item.nodeid, 1.0)
        with open(FOLDER / "hung", "w") as file:
            faulthandler.dump_traceback_later(limit, exit=True, file=file)
            try:
                return (yield)
            finally:
                faulthandler.cancel_dump_traceback_later()
    import coverage

    if active := coverage.Coverage.current():
        active.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        passed = item.nodeid not in failed
        row = [item.nodeid, time.perf_counter() - start if passed else None]
        with open(FOLDER / f"seconds.{os.getpid()}", "a") as file:
            file.write(json.dumps(row) + "\n")
        if active:
            active.switch_context("")


def pytest_runtest_logreport(report):
    if report.failed:
        failed.add(report.nodeid)
        if PLAN.exists():
            (FOLDER / "failed").write_text(report.nodeid)

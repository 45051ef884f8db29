"""One change in a copy of the checkout: which tests run, in which order, and what they notice."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from population import ROOT, Change, changed

WORK = Path(tempfile.gettempdir()) / "spikelca-mutants"
KERNELS = "spikelca/engines/numba/"
RUNS = ("spikelca/experiments/", "spikelca/cli/")  # whose tests share one long run
STEPS = {"simulate", "rate", "spiking", "spans", "foresight", "afferents", "plastic", "lanes"}
STEPS_TESTS = ["simulate", "spiking", "inputs", "plastic", "coupling"]
ENCODE_TESTS = ["kernels", "encode"]
SLOW = 20.0  # seconds; longer tests run only for what they are about, or with --whole
SHARED = re.compile(r"scope=|@cache")  # one test's work serves others of its file
COMMON = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "mutants_plugin"]


def record(folder: Path, jobs: int) -> dict[str, Any]:
    """Which tests reach which lines, and how long each takes; of the tests that pass."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "spikelca").rglob("*.py")):
        digest.update(path.read_bytes())
    kept = WORK / f"record-{digest.hexdigest()[:12]}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    data = clear(WORK / "coverage")
    clear(folder.parent / "temporary")
    (data / "settings").write_text(
        f"[run]\nsource = {folder / 'spikelca'}\ndata_file = {data / 'data'}\nparallel = true\n"
        "context = ${MUTANTS_TEST-}\nconcurrency = thread,multiprocessing\npatch = subprocess\n"
    )
    print("recording which test reaches which line ...", flush=True)
    settings = f"--rcfile={data / 'settings'}"
    words = ["run", settings, "-m", "pytest", *COMMON, "-m", "not mnist", "-n", str(jobs)]
    more = {"MUTANTS_FOLDER": str(data), "COVERAGE_PROCESS_START": str(data / "settings")}
    with open(data / "log", "w") as log:
        subprocess.run(
            [sys.executable, "-m", "coverage", *words],
            cwd=folder, env=environment(folder) | more, stdout=log, stderr=log, check=False,
        )  # fmt: skip
    subprocess.run([sys.executable, "-m", "coverage", "combine", "-q", settings], check=True)
    return gather(folder, data, kept)


def gather(folder: Path, data: Path, kept: Path) -> dict[str, Any]:
    """The record in one file."""
    from coverage import CoverageData

    seconds: dict[str, float | None] = {}
    for path in data.glob("seconds.*"):
        seconds |= dict(map(json.loads, path.read_text().splitlines()))
    tests = {name: value for name, value in seconds.items() if value is not None}
    found = CoverageData(data / "data")
    found.read()
    lines: dict[str, dict[int, list[str]]] = {}
    for path in found.measured_files():
        contexts = found.contexts_by_lineno(path)
        lines[Path(path).relative_to(folder).as_posix()] = {
            line: [test for test in names if test in tests] for line, names in contexts.items()
        }
    kept.write_text(json.dumps({"tests": tests, "lines": lines, "known": list(seconds)}))
    return json.loads(kept.read_text())


def environment(folder: Path) -> dict[str, str]:
    """Variables by which Python finds a copy, and leaves everything next to it."""
    return os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parent}", "MPLBACKEND": "Agg",
        "MUTANTS_FOLDER": str(folder.parent / "plan"), "TMPDIR": str(folder.parent / "temporary"),
        "NUMBA_CACHE_DIR": str(folder.parent / "kernels"),
    }  # fmt: skip


def clear(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def reached(change: Change, lines: dict[str, dict[str, list[str]]]) -> set[str]:
    """The tests that reach a change; of a compiled kernel whatever reaches the kernels."""
    here = lines.get(change.path, {})
    everything = {test for names in here.values() for test in names}
    tree = ast.parse((ROOT / change.path).read_bytes())
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= change.line <= (node.end_lineno or 0)
    ]
    functions = [node for node in around if isinstance(node, ast.FunctionDef)]
    if change.path.startswith(KERNELS) and (not functions or functions[0].decorator_list):
        files = [name for name in lines if name.startswith(KERNELS)]
        return {test for name in files for names in lines[name].values() for test in names}
    if not functions:
        return everything
    inner: Any = around[-1]
    first, last = inner.lineno, inner.end_lineno
    if isinstance(inner, ast.FunctionDef):
        first = inner.body[0].lineno
    elif hasattr(inner, "body"):
        last = inner.body[0].lineno - 1
    found = (here.get(str(line), []) for line in range(first, max(first, last) + 1))
    return {test for names in found for test in names}


def own_files(change: Change) -> list[str]:
    """The test files that are named after the changed module or a folder above it."""
    parts = Path(change.path).with_suffix("").parts
    stems = [*reversed(parts), parts[-1].partition("_")[0]]  # benchmark_time: test_benchmark
    if change.path.startswith(KERNELS):
        stems = STEPS_TESTS + ENCODE_TESTS
        if Path(change.path).stem not in STEPS:
            stems = ENCODE_TESTS + STEPS_TESTS
    names = (f"tests/test_{stem}.py" for stem in stems)
    return [name for name in names if (ROOT / name).exists()]


def order(change: Change, known: dict[str, Any], whole: bool, budget: float) -> dict[str, float]:
    """The tests to run for a change, one file after the other, with their seconds."""
    tests = known["tests"]
    near = reached(change, known["lines"])
    if not whole and not change.path.startswith(RUNS):
        near = {test for test in near if tests[test] < SLOW}
    files = {test.partition("::")[0] for test in near}
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in files}
    shared = {
        name
        for name in files
        if SHARED.search(texts[name])
        and (change.path.startswith(RUNS) or "quick_results" not in texts[name])
    }
    by_file: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for test in tests:
        file = test.partition("::")[0]
        if test in near or whole or (file in shared and tests[test] < SLOW):
            by_file[(test not in near, file)].append(test)
    own = own_files(change)

    def urgency(group: tuple[bool, str]) -> tuple[bool, int, float]:
        place = own.index(group[1]) if group[1] in own else len(own)
        return group[0], place, sum(tests[t] for t in by_file[group]) / len(by_file[group])

    groups = sorted(by_file, key=urgency)
    names = [t for group in groups for t in sorted(by_file[group], key=tests.__getitem__)]
    total = np.cumsum([tests[name] for name in names])
    return {name: tests[name] for name, spent in zip(names, total, strict=True) if spent <= budget}


def copy(folder: Path) -> Path:
    """A copy of the checkout as it stands, with the times of its files, which Numba looks at."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    clear(folder)
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


class Copy:
    """A copy of the checkout, in which one change after the other is tried."""

    def __init__(self, number: int) -> None:
        self.folder = copy(WORK / str(number) / "checkout")
        clear(self.folder.parent / "temporary")
        self.server = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "warm.py"], cwd=self.folder, text=True,
            env=environment(self.folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, files: list[str], plan: Path, limit: float) -> int:
        """The exit code of pytest; whatever it has started is ended with it."""
        assert self.server.stdin
        assert self.server.stdout
        words = [*COMMON, "-x", "-n", "0", *files, str(plan / "log")]
        print(json.dumps(words), file=self.server.stdin, flush=True)
        child = int(self.server.stdout.readline())
        end = threading.Timer(limit, os.killpg, (child, signal.SIGKILL))
        end.start()
        code = int(self.server.stdout.readline())
        end.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return code

    def attempt(
        self, change: Change, known: dict[str, Any], whole: bool, budget: float
    ) -> dict[str, Any]:
        """Make a change in a copy, run the tests, and undo it."""
        plan = clear(self.folder.parent / "plan")
        clear(self.folder.parent / "temporary")
        limits = order(change, known, whole, budget)
        cold = change.path.startswith(KERNELS) or not (self.folder.parent / "kernels").exists()
        slack = 400 if cold else 200  # seconds; compiling takes long, and so do shared fixtures
        files = list(dict.fromkeys([*own_files(change), *(t.partition("::")[0] for t in limits)]))
        content = {"order": limits, "known": known["known"], "slack": slack}
        (plan / "plan.json").write_text(json.dumps(content))
        target, begun = self.folder / change.path, time.monotonic()
        source, before = target.read_bytes(), target.stat()
        target.write_bytes(changed(source, change))
        try:
            limit = 5 * sum(limits.values()) + 3 * slack
            code = self.run(files or ["tests/test_architecture.py"], plan, limit)
        finally:
            target.write_bytes(source)
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
        by = ""
        if code not in (0, 5):  # 5: no test was left
            left = [plan / name for name in ("failed", "running") if (plan / name).exists()]
            by = left[0].read_text() if left else "the import"
            by += "" if left and left[0].name == "failed" else f" (exit code {code})"
        seconds = round(time.monotonic() - begun, 1)
        return change._asdict() | {"by": by, "tests": len(limits), "seconds": seconds}

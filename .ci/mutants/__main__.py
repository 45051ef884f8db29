"""Make seeded single changes to the package and list those that the tests do not notice.

    pip install -e '.[test]' coverage
    python .ci/mutants --count 150 --seed 0 --jobs 2 --json changes.jsonl
    python .ci/mutants --count 150 --seed 0 --jobs 2 --json changes.jsonl --resume
    python .ci/mutants --survivors changes.jsonl --whole
    python .ci/mutants --budget 60 --json first.jsonl && python .ci/mutants --survivors first.jsonl

What can be changed, and what is left alone, is listed in `population.py`. Every change is made in a
copy of the checkout in a temporary folder, one at a time, and undone before the next. It is noticed
if a test fails, crashes, or hangs (takes ten times as long as before, and some minutes more).

Which test reaches which line is recorded once for a package (with coverage, in child processes
too). Compiled kernels are not traced: for these it is whatever reaches their folder. The tests that
reach a change run first, those of the module's own test file before the others and short ones
before long ones; then the rest of their files where fixtures are shared; with ``--whole`` all
others follow. ``--budget`` gives each change so many seconds of tests at most: for a first look.
Tests that need MNIST are left out, those that fail without a change, and those that read a clock.
Tests that are not on record run first: those that were written since.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from population import Change, choose, population
from trial import KERNELS, Copy, record

KEY = ("path", "kind", "text", "old", "new")


def survivors(path: Path, changes: list[Change]) -> list[Change]:
    """The changes of an earlier run that no test noticed, where they can be found again."""
    found = []
    for row in map(json.loads, path.read_text().splitlines()):
        same = [change for change in changes if change.key() == tuple(row[k] for k in KEY)]
        if not row["by"] and same:
            found.append(min(same, key=lambda change: abs(change.line - row["line"])))
        elif not row["by"]:
            print(f"no longer there: {row['path']}:{row['line']}: {row['old']} -> {row['new']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="*", help="files, as a pattern")
    parser.add_argument("--json", type=Path, help="file for one line per change")
    parser.add_argument("--resume", action="store_true", help="leave out what the file holds")
    parser.add_argument("--survivors", type=Path, help="file of an earlier run to go through again")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds of tests each")
    parser.add_argument("--whole", action="store_true", help="run all tests before giving up")
    a = parser.parse_args()
    changes = population(a.only)
    chosen = survivors(a.survivors, changes) if a.survivors else choose(changes, a.count, a.seed)
    print(f"{len(changes)} possible changes:", dict(Counter(c.kind for c in changes).most_common()))
    rows = []
    if a.resume and a.json.exists():
        rows = [json.loads(line) for line in a.json.read_text().splitlines()]
    done = {tuple(row[k] for k in (*KEY, "line")) for row in rows}
    todo = [change for change in chosen if (*change.key(), change.line) not in done]
    todo.sort(key=lambda change: change.path.startswith(KERNELS))  # these take longest: last
    copies = [Copy(number) for number in range(a.jobs)]
    known = record(copies[0].folder, a.jobs)
    free: SimpleQueue[Copy] = SimpleQueue()
    for each in copies:
        free.put(each)

    def one(change: Change) -> dict[str, Any]:
        mine = free.get()
        try:
            return mine.attempt(change, known, a.whole, a.budget)
        finally:
            free.put(mine)

    with ThreadPoolExecutor(a.jobs) as pool:
        for finished in as_completed([pool.submit(one, change) for change in todo]):
            row = finished.result()
            rows.append(row)
            print("{path}:{line}: {old} -> {new}".format_map(row), row["by"] or "SURVIVED",
                  f"{row['seconds']} s", sep="   ", flush=True)  # fmt: skip
            if a.json:
                with open(a.json, "a") as file:
                    file.write(json.dumps(row) + "\n")
    left = sum(not row["by"] for row in rows)
    print(f"{len(rows)} changes, {len(rows) - left} noticed, {left} survived")


if __name__ == "__main__":
    main()

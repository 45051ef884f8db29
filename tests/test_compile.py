"""How kernels are kept on disk: nothing stale is found, nothing is missed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spikelca
from spikelca.engines.numba.jit.compile import digest_sources

INNER = """
from spikelca.engines.numba.jit.compile import kernel

@kernel
def inner(x):
    return {answer} * x
"""
OUTER = """
import numpy as np
from spikelca.engines.numba.jit.compile import entry, given
from spikelca.engines.numba.encode.inner import inner

@entry(lambda real: (given(real, 1),))
def outer(x):
    return inner(x[0])

if __name__ == "__main__":
    for dtype in (np.float32, np.float64):
        print(outer(np.ones(1, dtype)), len(outer.compiled[np.dtype(dtype)].stats.cache_hits))
"""


@pytest.fixture
def house(tmp_path):
    """A copy of the rooms that compile, with an entry that calls a kernel of another file."""
    source, copy = Path(spikelca.__file__).parent, tmp_path / "spikelca"
    numba = copy / "engines" / "numba"
    folders = (copy, copy / "engines", numba, numba / "jit", numba / "encode")
    for folder in folders:
        folder.mkdir()
        (folder / "__init__.py").touch()
    shutil.copy(source / "_version.py", copy)
    shutil.copy(source / "engines" / "numba" / "jit" / "compile.py", numba / "jit")
    (numba / "outer.py").write_text(OUTER)
    (numba / "encode" / "inner.py").write_text(INNER.format(answer=2))
    return copy


def answers(house):
    """What the entry answers in each precision, and how many kernels came out of the cache."""
    done = subprocess.run(
        [sys.executable, "-m", "spikelca.engines.numba.outer"],
        capture_output=True, text=True, cwd=house.parent,
        env=os.environ | {"NUMBA_CACHE_DIR": str(house.parent / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return [float(answer) for answer, _ in rows], [int(hits) for _, hits in rows]


def test_an_entry_follows_the_kernels_that_it_calls(house):
    assert answers(house) == ([2.0, 2.0], [0, 0])
    assert answers(house) == ([2.0, 2.0], [1, 1])
    (house / "engines" / "numba" / "encode" / "inner.py").write_text(INNER.format(answer=3))
    assert answers(house) == ([3.0, 3.0], [0, 0])


def test_the_two_precisions_are_kept_in_files_of_their_own(house):
    answers(house)
    kept = [path.name for path in (house.parent / "cache").rglob("outer*.nbc")]
    assert sum("float32" in name for name in kept) == 1
    assert sum("float64" in name for name in kept) == 1


def test_the_digest_follows_every_file_and_its_name(tmp_path):
    found = {digest_sources(tmp_path)}
    for name, text in [
        ("a.py", "1"),
        ("a.py", "2"),
        ("b.py", ""),
        ("notes.txt", "x"),
        ("encode/a.py", ""),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        found.add(digest_sources(tmp_path))
    assert len(found) == 5

"""The cache of compiled kernels: stale kernels are compiled again, others are reused."""

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
from spikelca.engines.numba.jit.compile import jit

@jit("fast", inline="llvm")
def inner(x):
    return {factor} * x
"""
OUTER = """
import numpy as np
from spikelca.engines.numba.jit.compile import dispatch_precision, readonly_array
from spikelca.engines.numba.encode.inner import inner

@dispatch_precision(lambda real: (readonly_array(real, 1),))
def outer(x):
    return inner(x[0])

if __name__ == "__main__":
    for dtype in (np.float32, np.float64):
        print(outer(np.ones(1, dtype)), len(outer.compiled[np.dtype(dtype)].stats.cache_hits))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the compiler modules, with a kernel that calls a kernel of another file."""
    source, package_copy = Path(spikelca.__file__).parent, tmp_path / "spikelca"
    numba = package_copy / "engines" / "numba"
    folders = (package_copy, package_copy / "engines", numba, numba / "jit", numba / "encode")
    for folder in folders:
        folder.mkdir()
        (folder / "__init__.py").touch()
    shutil.copy(source / "_version.py", package_copy)
    for name in ("compile.py", "intrinsics.py"):
        shutil.copy(source / "engines" / "numba" / "jit" / name, numba / "jit")
    (numba / "outer.py").write_text(OUTER)
    (numba / "encode" / "inner.py").write_text(INNER.format(factor=2))
    return package_copy


def run_outer(package):
    """Return the results in each precision, and the number of kernels read from the cache."""
    process = subprocess.run(
        [sys.executable, "-m", "spikelca.engines.numba.outer"],
        capture_output=True, text=True, cwd=package.parent,
        env=os.environ | {"NUMBA_CACHE_DIR": str(package.parent / "cache")},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    rows = [line.split() for line in process.stdout.splitlines()]
    return [float(result) for result, _ in rows], [int(hits) for _, hits in rows]


def test_changed_inner_kernel_is_compiled_again(package):
    assert run_outer(package) == ([2.0, 2.0], [0, 0])
    assert run_outer(package) == ([2.0, 2.0], [1, 1])
    (package / "engines" / "numba" / "encode" / "inner.py").write_text(INNER.format(factor=3))
    assert run_outer(package) == ([3.0, 3.0], [0, 0])


def test_each_precision_has_its_own_cache_file(package):
    run_outer(package)
    names = [path.name for path in (package.parent / "cache").rglob("outer*.nbc")]
    assert sum("float32" in name for name in names) == 1
    assert sum("float64" in name for name in names) == 1


def test_digest_depends_on_all_files_and_names(tmp_path):
    digests = {digest_sources(tmp_path)}
    for name, text in [
        ("a.py", "1"),
        ("a.py", "2"),
        ("b.py", ""),
        ("notes.txt", "x"),
        ("encode/a.py", ""),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        digests.add(digest_sources(tmp_path))
    assert len(digests) == 5


DAMAGES = {
    "empty": lambda files: [(path, b"") for path in files],
    "truncated": lambda files: [(path, path.read_bytes()[:20]) for path in files],
    "zeros": lambda files: [(path, bytes(path.stat().st_size)) for path in files],
    "foreign": lambda files: [(path, files[0].read_bytes()) for path in files[1:]],
}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_cache_file_is_compiled_again(package, suffix):
    assert run_outer(package) == ([2.0, 2.0], [0, 0])
    for damage in DAMAGES.values():
        files = sorted((package.parent / "cache").rglob(f"*{suffix}"))
        assert len(files) >= 2
        for path, content in damage(files):
            path.write_bytes(content)
        assert run_outer(package)[0] == [2.0, 2.0]
        assert run_outer(package) == ([2.0, 2.0], [1, 1])

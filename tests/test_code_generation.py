"""Properties of compiled code on a fixed target: SIMD vectors, and no reference counting.

The code is inspected, not run, so that the processor of this machine does not matter; see
`compiled.py`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import llvmlite
import numba
import numpy as np
import pytest
from compiled import ENTRIES
from quickly import one_at_a_time, shared_folder
from targets import FIXED, environment, is_x86

import spikelca
from spikelca.engines.numba.jit.compile import digest_sources

pytestmark = pytest.mark.skipif(not is_x86(), reason="the fixed target is one of x86-64")

VECTOR = r"<\d+ x float>"
DOUBLE = r"<\d+ x double>"


def digest_inputs():
    """Return a digest of everything that determines the code: sources, and the compiler."""
    here = Path(__file__).parent
    texts = [(here / name).read_text(encoding="utf-8") for name in ("compiled.py", "targets.py")]
    versions = [module.__version__ for module in (numba, llvmlite, np)]
    parts = [digest_sources(Path(spikelca.__file__).parent), *texts, *versions, sys.version]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def kept_folder(config, factory):
    """Return a folder of pytest's cache, kept for the next run; temporary without that cache."""
    try:
        return config.cache.mkdir("kernels")
    except (AttributeError, OSError):
        return shared_folder(factory)


@pytest.fixture(scope="module")
def code_of(request, tmp_path_factory):
    """A function that returns the LLVM code of a kernel; each is compiled once for all tests."""
    folder, digest = kept_folder(request.config, tmp_path_factory), digest_inputs()

    def code(name):
        path = folder / f"{name} {digest}.ll"
        with one_at_a_time(f"code of {name}"):
            if not path.exists():
                process = subprocess.run(
                    [sys.executable, Path(__file__).with_name("compiled.py"), name],
                    env=environment(FIXED, tmp_path_factory.mktemp("kernels")),
                    capture_output=True, text=True,
                )  # fmt: skip
                assert process.returncode == 0, process.stderr
                for outdated in folder.glob(f"{name} *.ll"):
                    outdated.unlink()
                path.write_text(process.stdout, encoding="utf-8")
        return path.read_text(encoding="utf-8")

    return code


@pytest.mark.parametrize("name", ["active set", "tile", "hard threshold", "simulation"])
def test_single_precision_kernels_have_no_double_vectors(name, code_of):
    code = code_of(name)
    assert re.search(VECTOR, code), "the loops are not vectorised"
    assert not re.search(DOUBLE, code)


@pytest.mark.parametrize("name", ENTRIES)
def test_kernel_loops_do_not_count_references(name, code_of):
    function = ENTRIES[name].function.__name__
    pattern = rf"^define [^\n]*@_ZN\d+spikelca\w*?\d+{function}\w*\(.*?^}}"
    (body,) = re.findall(pattern, code_of(name), re.MULTILINE | re.DOTALL)
    assert " phi " in body, "the function contains no loop"
    assert re.search(VECTOR, body)
    assert "@NRT_incref" not in body

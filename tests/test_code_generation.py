"""Properties of compiled code, on one fixed target: vector loops in single precision, no counting.

The code is only read, so that the processor of this machine does not matter, see `compiled.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiled import ENTRIES
from quickly import one_at_a_time, shared_folder
from targets import FIXED, environment, is_x86

pytestmark = pytest.mark.skipif(not is_x86(), reason="the fixed target is one of x86-64")

VECTOR = r"<\d+ x float>"
DOUBLE = r"<\d+ x double>"


@pytest.fixture(scope="module")
def code_of(tmp_path_factory):
    """The LLVM code of a kernel by its name; each is compiled once for all tests."""
    folder = shared_folder(tmp_path_factory)

    def code(name):
        kept = folder / f"{name}.ll"
        with one_at_a_time(f"code of {name}"):
            if not kept.exists():
                done = subprocess.run(
                    [sys.executable, Path(__file__).with_name("compiled.py"), name],
                    env=environment(FIXED, folder / f"cache {name}"),
                    capture_output=True, text=True,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                kept.write_text(done.stdout, encoding="utf-8")
        return kept.read_text(encoding="utf-8")

    return code


@pytest.mark.parametrize("name", ["active set", "tile", "hard threshold", "simulation"])
def test_single_precision_kernels_have_no_double_vectors(name, code_of):
    code = code_of(name)
    assert re.search(VECTOR, code), "the loops are no vector loops any more"
    assert not re.search(DOUBLE, code)


@pytest.mark.parametrize("name", ENTRIES)
def test_no_loop_of_an_entry_counts_references(name, code_of):
    function = ENTRIES[name].function.__name__
    pattern = rf"^define [^\n]*@_ZN\d+spikelca\w*?\d+{function}\w*\(.*?^}}"
    (body,) = re.findall(pattern, code_of(name), re.MULTILINE | re.DOTALL)
    assert " phi " in body, "a loop was expected"
    assert re.search(VECTOR, body)
    assert "@NRT_incref" not in body

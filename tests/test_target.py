"""The target for which kernels are compiled is the one that was asked for.

`SPIKELCA_TARGET` names the target of this process, see `.ci/targets`. Without it each target is
checked in a process of its own; nothing of what is compiled there is run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from targets import TARGETS, environment, is_x86

pytestmark = pytest.mark.skipif(not is_x86(), reason="the targets are those of x86-64")

ASSEMBLY = """
import numba
from numba import types

row = types.Array(types.float32, 1, "C")

@numba.njit(types.void(types.float32, row, row), fastmath={"contract"}, error_model="numpy")
def add(k, x, y):
    for i in range(x.shape[0]):
        y[i] += k * x[i]

print(add.inspect_asm(add.signatures[0]))
"""
HERE = os.environ.get("SPIKELCA_TARGET", "")


@pytest.mark.parametrize("name", [HERE] if HERE else TARGETS)
def test_the_compiler_keeps_to_its_target(name, tmp_path):
    env = dict(os.environ) if HERE else environment(name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ASSEMBLY], capture_output=True, text=True, env=env, check=True
    )
    widths = [w for w in ("xmm", "ymm", "zmm") if re.search(rf"%{w}\d", done.stdout)]
    assert widths[-1] == TARGETS[name].registers
    assert bool(re.search(r"\bvfn?m(?:add|sub)", done.stdout)) == TARGETS[name].fused


@pytest.mark.skipif(bool(HERE), reason="test_kernels.py runs on the target itself")
def test_lanes_are_right_without_wide_registers(tmp_path):
    tests = Path(__file__).with_name("test_kernels.py")
    words = [str(tests), "-k", "lanes", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], capture_output=True, text=True,
        env=environment("plain", tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[4-9] passed", done.stdout)

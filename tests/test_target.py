"""Kernels are compiled for the selected target.

`SPIKELCA_TARGET` is the target of this process, see `.ci/targets`. Without it each target is
checked in a separate process, in which the compiled code is not run.
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
CURRENT = os.environ.get("SPIKELCA_TARGET", "")


@pytest.mark.parametrize("name", [CURRENT] if CURRENT else TARGETS)
def test_compiler_uses_the_selected_target(name, tmp_path):
    env = dict(os.environ) if CURRENT else environment(name, tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", ASSEMBLY], capture_output=True, text=True, env=env, check=True
    )
    widths = [w for w in ("xmm", "ymm", "zmm") if re.search(rf"%{w}\d", process.stdout)]
    assert widths[-1] == TARGETS[name].registers
    assert bool(re.search(r"\bvfn?m(?:add|sub)", process.stdout)) == TARGETS[name].fused


@pytest.mark.skipif(bool(CURRENT), reason="test_kernels.py runs on the target itself")
def test_simd_is_correct_without_wide_registers(tmp_path):
    tests = Path(__file__).with_name("test_kernels.py")
    arguments = [str(tests), "-k", "simd", "-n", "0", "-p", "no:cacheprovider"]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], capture_output=True, text=True,
        env=environment("plain", tmp_path),
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert re.search(r"\b[4-9] passed", process.stdout)

"""Instruction sets for which kernels are compiled, regardless of the processor of this machine.

`NUMBA_CPU_NAME` alone keeps the features of the host, so each target switches its own on or off.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple


class Target(NamedTuple):
    """A processor, and the expected properties of its assembly code.

    Parameters
    ----------
    cpu, features : str
        Values of `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES`.
    registers : str
        The widest vector registers: xmm, ymm or zmm (16, 32, 64 bytes).
    fused : bool
        Whether a product is added with a single rounding.
    needs : tuple of str
        Flags of /proc/cpuinfo without which the code cannot run.
    """

    cpu: str
    features: str
    registers: str
    fused: bool
    needs: tuple[str, ...]


TARGETS = {
    "plain": Target("x86-64", "-avx,-avx2,-fma,-avx512f", "xmm", False, ()),
    "avx": Target("sandybridge", "+avx,-avx2,-fma,-avx512f", "ymm", False, ("avx",)),
    "avx2": Target("haswell", "+avx2,+fma,-avx512f", "ymm", True, ("avx2", "fma", "bmi2")),
    "avx512": Target(
        "skylake-avx512",
        # By default, LLVM uses half the width on this processor.
        "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,-prefer-256-bit",
        "zmm",
        True,
        ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    ),
}

FIXED = "avx2"
"""The target on which properties of compiled code are tested; its code is not run."""


def is_x86() -> bool:
    """Whether code for the targets can be compiled on this machine."""
    return platform.machine().lower() in ("x86_64", "amd64")


def missing_features(target: Target) -> list[str]:
    """List the flags that the processor lacks for a target (empty outside Linux)."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return [flag for flag in target.needs if flag not in flags]


def environment(name: str, cache: Path) -> dict[str, str]:
    """Return the environment of a process that compiles for a target, with its cache folder."""
    target = TARGETS[name]
    return os.environ | {
        "SPIKELCA_TARGET": name,
        "NUMBA_CPU_NAME": target.cpu,
        "NUMBA_CPU_FEATURES": target.features,
        "NUMBA_CACHE_DIR": str(cache),
    }

"""The memory that a process may still allocate: host, containers, and limit of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spikelca.utils.system import available_bytes

MIB = 2**20
MOUNTS = {
    1: "35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    2: "41 31 0:38 {top} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
}
FILES = {
    1: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("", "memory.max", "memory.current", "inactive_file"),
}
UNLIMITED = {1: 9223372036854771712, 2: "max"}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path):
    """Root of a host with 1,000 MiB of free memory and no control groups."""
    write(tmp_path / "proc/meminfo", f"MemTotal: 9000000 kB\nMemAvailable: {1000 * 1024} kB\n")
    return tmp_path


def add_groups(root, version, limits, path, top="/"):
    """Write the files of control groups; limits maps their paths to limit, usage and cache."""
    controllers, limit_name, usage_name, cache_name = FILES[version]
    write(root / "proc/self/cgroup", f"7:cpu:/other\n4:{controllers}:{path}\n")
    write(
        root / "proc/self/mountinfo",
        "20 1 0:5 / / rw - ext4 a rw\n" + MOUNTS[version].format(top=top),
    )
    mount = root / "sys/fs/cgroup" / controllers
    for group, (limit, usage, cache) in limits.items():
        write(mount / group / limit_name, f"{limit}\n")
        write(mount / group / usage_name, f"{usage}\n")
        write(mount / group / "memory.stat", f"anon 5\n{cache_name} {cache}\n")


def test_free_memory_of_the_host_counts(root):
    assert available_bytes(root) == 1000 * MIB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("limited", ["", "a", "a/b"])
def test_limit_of_every_parent_group_counts(root, version, limited):
    limits = dict.fromkeys(["", "a", "a/b"], (UNLIMITED[version], 7, 3))
    add_groups(root, version, limits | {limited: (100 * MIB, 30 * MIB, 10 * MIB)}, "/a/b")
    assert available_bytes(root) == 80 * MIB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", ["/docker/c", "/", "/../d"])
def test_container_sees_its_group_at_the_mount(root, version, path):
    add_groups(root, version, {"": (100 * MIB, 30 * MIB, 0)}, path, top="/docker/c")
    assert available_bytes(root) == 70 * MIB


@pytest.mark.parametrize("version", [1, 2])
def test_host_counts_where_groups_are_unlimited(root, version):
    add_groups(root, version, {"": (UNLIMITED[version], 7, 3)}, "/")
    assert available_bytes(root) == 1000 * MIB


def test_full_group_has_no_bytes_left(root):
    add_groups(root, 2, {"": (MIB, 2 * MIB, 0)}, "/")
    assert available_bytes(root) == 0


LIMITED = """
import resource
from spikelca.utils.system import available_bytes
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, resource.RLIM_INFINITY))
assert available_bytes() <= 64 * 2**20, available_bytes()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is read from /proc")
def test_limit_of_the_address_space_counts():
    subprocess.run([sys.executable, "-c", LIMITED], check=True)

"""System resources: BLAS thread limit, two parallel threads, free memory and versions.

Training consists of thousands of small matrix products. Several BLAS threads would spend most of
their time waiting for each other, and the rounding of a sum would depend on their number; so BLAS
is limited to one thread. Kernels, products and solvers release the GIL, so two threads can run two
training runs at a time, with results bit-identical to those of a single run.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from spikelca._version import __version__


@cache
def _controller() -> Any:
    return ThreadpoolController()


def _claim_controller() -> None:
    """Allow this thread to set the number of BLAS threads.

    Since threadpoolctl 3.8, only the first thread that set the number can change it; requests of
    other threads are ignored without an error.
    """
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


class _SharedLimit:
    """One BLAS limit shared by all threads of the process, lifted when the last user leaves.

    BLAS has one number of threads per process. If every thread set and restored it separately, one
    thread would lift the limit while another still requires it.
    """

    def __init__(self) -> None:
        self.lock, self.n_users = Lock(), 0
        self.limit: Any = None

    def enter(self) -> None:
        with self.lock:
            if self.n_users == 0:
                _claim_controller()
                self.limit = _controller().limit(limits=1, user_api="blas")
            self.n_users += 1

    def leave(self) -> None:
        with self.lock:
            self.n_users -= 1
            if self.n_users == 0:
                _claim_controller()
                self.limit.restore_original_limits()
                _claim_controller()


_SHARED_LIMIT = _SharedLimit()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit NumPy's BLAS to one thread while the block runs."""
    _SHARED_LIMIT.enter()
    try:
        yield
    finally:
        _SHARED_LIMIT.leave()


FALLBACK_BYTES = 8 * 2**30
"""Free memory assumed where the system does not report it."""

UNLIMITED_BYTES = 2**60
"""A limit from this number on, as version 1 of control groups reports it, is none."""


def available_bytes(root: Path = Path("/")) -> int:
    """Return the number of bytes that this process may still allocate.

    This is the smallest of the free memory of the host, the limits of the control groups of a
    container (version 1 and 2, with all parent groups) less their usage, and the limit of the
    address space (RLIMIT_AS, ``ulimit -v``) less its usage.

    Parameters
    ----------
    root : Path
        Folder that contains ``proc`` and ``sys``.
    """
    free = [_host_bytes(root), *_address_space_bytes(root)]
    for folder, names in _memory_groups(root):
        free.extend(_group_bytes(folder, *names))
    return max(0, min(free))


def _host_bytes(root: Path) -> int:
    try:
        return _read_table(root / "proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError, ValueError):
        return _free_page_bytes()


def _read_table(path: Path) -> dict[str, int]:
    """Read a file with a name and a number in each line."""
    rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {row[0]: int(row[1]) for row in rows}


def _free_page_bytes() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return FALLBACK_BYTES


def _address_space_bytes(root: Path) -> Iterator[int]:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            n_pages = int((root / "proc/self/statm").read_text(encoding="ascii").split()[0])
            yield limit - n_pages * resource.getpagesize()
    except (ImportError, AttributeError, OSError, ValueError):  # not Linux
        return


_GROUP_FILES = {
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
}
"""For each version of control groups, the files of limit and usage, and the reclaimable cache."""


@cache
def _memory_groups(root: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """List the folders of the memory control group of this process and of all its parents."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    entries = [line.split(":", 2) for line in groups]
    for mount in mounts:
        fields, kind = mount.split(), mount.rpartition(" - ")[2].split()
        if kind[0] == "cgroup2":
            paths = [path for _, controllers, path in entries if not controllers]
        elif kind[0] == "cgroup" and "memory" in kind[-1].split(","):
            paths = [path for _, names, path in entries if "memory" in names.split(",")]
        else:
            continue
        top = root / fields[4].lstrip("/")
        for path in paths:
            # A container sees its group at the mount point, whose path is fields[3] outside it.
            below = os.path.relpath(path, fields[3])
            folder = top if below.startswith("..") else top / below
            parents = [folder, *folder.parents]
            found += [(group, _GROUP_FILES[kind[0]]) for group in parents[: parents.index(top) + 1]]
    return found


def _group_bytes(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    try:
        n_bytes = int((folder / limit).read_text(encoding="ascii"))
        if n_bytes >= UNLIMITED_BYTES:
            return
        used = int((folder / usage).read_text(encoding="ascii"))
        cached = _read_table(folder / "memory.stat").get(reclaimable, 0)
    except (OSError, ValueError):  # no limit ("max"), or a group without these files
        return
    yield n_bytes - used + cached


def format_bytes(n_bytes: float) -> str:
    """Format a number of bytes with a binary unit.

    Examples
    --------
    >>> format_bytes(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


Result = TypeVar("Result")


def map_two_threads(
    function: Callable[..., Result], args: Iterable[tuple[Any, ...]]
) -> Iterator[Result]:
    """Yield ``function(*a)`` for each ``a`` in ``args``, two at a time, in order.

    After an error, or Ctrl-C, no further call starts.
    """
    with single_blas_thread(), ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda a: function(*a), args)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which results depend."""
    packages = ("numpy", "scipy", "scikit-learn", "numba", "brian2", "matplotlib")
    return {
        "spikelca": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }

"""A file is replaced as a whole or not at all. Everything this library writes goes through here.

::

    write a neighbour -> flush -> fsync -> give the old file a second name
        -> rename over the old file -> fsync the folder -> remove the second name

A rename within one folder is atomic: whoever looks, at whatever moment, finds the old file or the
new one. The two fsyncs let that hold for a loss of power too. If anything fails (a full disk, a
read-only folder, an error of the device), the error is raised and the old file stays: before the
rename because nothing has touched it, and behind it, at the fsync of the folder, because it is put
back from its second name. Where no file was before, none is after an error.

Two cases are out of reach, and in both the file is whole. On a file system without hard links there
is no second name: if the fsync of the folder fails there, the error is raised and the new file is
in place. The same holds if the disk refuses the way back too.

A process that is killed leaves its neighbour behind, or the second name. The next writer of the
same file sweeps both. To tell what is left behind from what another process is writing at this
moment, a writer holds a lock on them, which the system drops when the process ends, however it
ends.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Elsewhere nothing is swept: there, a file that is open cannot be removed in the first place.
_HAS_FLOCK = os.name == "posix"
if _HAS_FLOCK:
    import fcntl

PART_SUFFIX = ".spikelca-part"
BACKUP_SUFFIX = ".spikelca-kept"
# Windows has no fsync of a folder that could fail: there the rename is the last step.
_HAS_DIR_FSYNC = hasattr(os, "O_DIRECTORY")
_UNSUPPORTED_ERRNOS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS}
_NO_HARD_LINKS = _UNSUPPORTED_ERRNOS | {errno.EPERM, errno.EMLINK, errno.EXDEV}


@contextmanager
def write_atomic(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of ``path`` when the block ends well.

    A link is followed. The new file has the permissions of the old one.

    Parameters
    ----------
    path : path
        What is written. Its folder must exist.

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        If the file cannot be written, whole and durably. The old file is there then, untouched
        (and if there was none, none); for the two exceptions see the head of this module.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights"
    >>> with write_atomic(path) as file:
    ...     _ = file.write(b"all of it")
    >>> path.read_bytes()
    b'all of it'
    """
    target = Path(os.path.realpath(path))
    mode = _file_mode(target)
    _remove_stale(target)
    descriptor, part = _open_temporary(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
            if _HAS_FLOCK:  # renamed under the lock: nobody sweeps it in between
                _commit(part, target, mode is None)
        if not _HAS_FLOCK:
            _commit(part, target, mode is None)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _commit(part: Path, target: Path, is_new: bool) -> None:
    """Rename over the target and make it last; undone if it cannot be made to last."""
    with _backup_link(target, part, is_new) as kept:
        os.replace(part, target)
        try:
            _fsync_directory(target.parent)
        except BaseException:
            with suppress(OSError):
                if is_new:
                    os.unlink(target)
                elif kept is not None:
                    os.replace(kept, target)
            raise


@contextmanager
def _backup_link(target: Path, part: Path, is_new: bool) -> Iterator[Path | None]:
    """Another name of the old file, locked, for as long as it may have to be put back.

    None where no way back is needed, or where the file system has no hard links.
    """
    kept = part.with_suffix(BACKUP_SUFFIX)
    if is_new or not _HAS_DIR_FSYNC or not _try_hard_link(target, kept):
        yield None
        return
    try:
        with _hold_lock(kept):
            yield kept
    finally:
        with suppress(OSError):  # the next writer sweeps it
            os.unlink(kept)


def _try_hard_link(target: Path, kept: Path) -> bool:
    try:
        os.link(target, kept)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    descriptor = _open_for_lock(path)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _open_for_lock(path: Path) -> int:
    # Over a network a lock may ask for a file that is open for writing; not every file can be.
    way = os.O_WRONLY if os.access(path, os.W_OK) else os.O_RDONLY
    return os.open(path, way | os.O_NOFOLLOW | os.O_NONBLOCK)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file by a text in UTF-8, as a whole or not at all."""
    with write_atomic(path) as file:
        file.write(text.encode())


def _file_mode(target: Path) -> int | None:
    """Permissions of the file that will be replaced, None if there is none."""
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise OSError(
            errno.EINVAL, "found something that is no regular file; name a file", str(target)
        )
    return stat.S_IMODE(found)


def _open_temporary(target: Path) -> tuple[int, Path]:
    """A new neighbour of the target, locked."""
    while True:
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        _lock(descriptor)
        # Between its creation and the lock another writer may have taken it for left behind.
        if os.fstat(descriptor).st_nlink:
            return descriptor, part
        os.close(descriptor)


def _lock(descriptor: int, flags: int = 0) -> bool:
    """Lock a file that this process has open; False if another one holds the lock, or none can."""
    if not _HAS_FLOCK:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED_ERRNOS:
            raise
        return False
    return True


def _remove_stale(target: Path) -> None:
    """Remove what writers of this file left behind when they were killed."""
    if not _HAS_FLOCK:
        return
    mark = re.compile(
        re.escape(f".{target.name}.") + "[0-9a-f]{8}" + f"({PART_SUFFIX}|{BACKUP_SUFFIX})"
    )
    for name in os.listdir(target.parent):
        if mark.fullmatch(name):
            with suppress(OSError):  # another sweeper was faster, or it is not ours to remove
                _remove_if_unlocked(target.with_name(name))


def _remove_if_unlocked(part: Path) -> None:
    descriptor = _open_for_lock(part)
    try:
        if _lock(descriptor, fcntl.LOCK_NB):
            os.unlink(part)
    finally:
        os.close(descriptor)


def _fsync_directory(folder: Path) -> None:
    if not _HAS_DIR_FSYNC:
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED_ERRNOS:
            raise
    finally:
        os.close(descriptor)

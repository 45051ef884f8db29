"""Atomic writing: a file is replaced as a whole or not at all. All files are written this way.

::

    write a temporary file -> flush -> fsync -> hard-link the old file as a backup
        -> rename over the old file -> fsync the directory -> remove the backup

A rename within one directory is atomic, so a reader finds the old file or the new one, at any time.
The two fsyncs extend this to a loss of power. If anything fails (a full disk, a read-only
directory, a device error), the error is raised and the old file remains. Before the rename nothing
has changed it; if the fsync of the directory fails after the rename, the backup is renamed back.
Where there was no file before, there is none after an error.

There are two exceptions, and the file is complete in both. On a file system without hard links
there is no backup: if the fsync of the directory fails, the error is raised and the new file is in
place. The same holds if renaming the backup back fails too.

A process that is killed leaves its temporary file or its backup. The next writer of the same file
removes both. A writer holds a lock on these files to distinguish stale files from those in use; the
system releases the lock when the process ends.
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

# Without flock, stale files are not removed (on Windows an open file cannot be removed anyway).
_HAS_FLOCK = os.name == "posix"
if _HAS_FLOCK:
    import fcntl

PART_SUFFIX = ".spikelca-part"
BACKUP_SUFFIX = ".spikelca-kept"
# Windows has no fsync of a directory; there the rename is the last step.
_HAS_DIR_FSYNC = hasattr(os, "O_DIRECTORY")
_UNSUPPORTED_ERRNOS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS}
_NO_HARD_LINKS = _UNSUPPORTED_ERRNOS | {errno.EPERM, errno.EMLINK, errno.EXDEV}


@contextmanager
def write_atomic(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces ``path`` when the block ends without an error.

    Links are followed. The new file has the permissions of the old one.

    Parameters
    ----------
    path : path
        File to write, in an existing directory.

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        If the file cannot be written completely and durably. The old file is then unchanged; for
        the two exceptions see `spikelca.utils.atomic_write`.

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
            if _HAS_FLOCK:  # renamed under the lock, so no other writer removes it in between
                _commit(part, target, mode is None)
        if not _HAS_FLOCK:
            _commit(part, target, mode is None)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _commit(part: Path, target: Path, is_new: bool) -> None:
    """Rename over the target and fsync the directory; undo the rename if the fsync fails."""
    with _backup_link(target, part, is_new) as backup:
        os.replace(part, target)
        try:
            _fsync_directory(target.parent)
        except BaseException:
            with suppress(OSError):
                if is_new:
                    os.unlink(target)
                elif backup is not None:
                    os.replace(backup, target)
            raise


@contextmanager
def _backup_link(target: Path, part: Path, is_new: bool) -> Iterator[Path | None]:
    """Hold a locked hard link to the old file while it may have to be restored.

    Yields None where no backup is needed, or where the file system has no hard links.
    """
    backup = part.with_suffix(BACKUP_SUFFIX)
    if is_new or not _HAS_DIR_FSYNC or not _try_hard_link(target, backup):
        yield None
        return
    try:
        with _hold_lock(backup):
            yield backup
    finally:
        with suppress(OSError):  # the next writer removes it
            os.unlink(backup)


def _try_hard_link(target: Path, backup: Path) -> bool:
    try:
        os.link(target, backup)
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
    # On network file systems a lock may require a file that is open for writing.
    mode = os.O_WRONLY if os.access(path, os.W_OK) else os.O_RDONLY
    return os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file by a text in UTF-8, atomically."""
    with write_atomic(path) as file:
        file.write(text.encode())


def _file_mode(target: Path) -> int | None:
    """Return the permissions of the file that will be replaced, None if there is none."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(target))
    return stat.S_IMODE(mode)


def _open_temporary(target: Path) -> tuple[int, Path]:
    """Create a temporary file in the directory of the target, and lock it."""
    while True:
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        _lock(descriptor)
        # Before it was locked, another writer may have removed it as stale.
        if os.fstat(descriptor).st_nlink:
            return descriptor, part
        os.close(descriptor)


def _lock(descriptor: int, flags: int = 0) -> bool:
    """Lock an open file; return False if it is locked already, or locks are not supported."""
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
    """Remove the files left by writers of this file that were killed."""
    if not _HAS_FLOCK:
        return
    pattern = re.compile(
        re.escape(f".{target.name}.") + "[0-9a-f]{8}" + f"({PART_SUFFIX}|{BACKUP_SUFFIX})"
    )
    for name in os.listdir(target.parent):
        if pattern.fullmatch(name):
            with suppress(OSError):  # already removed by another writer, or not permitted
                _remove_if_unlocked(target.with_name(name))


def _remove_if_unlocked(part: Path) -> None:
    descriptor = _open_for_lock(part)
    try:
        if _lock(descriptor, fcntl.LOCK_NB):
            os.unlink(part)
    finally:
        os.close(descriptor)


def _fsync_directory(directory: Path) -> None:
    if not _HAS_DIR_FSYNC:
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED_ERRNOS:
            raise
    finally:
        os.close(descriptor)

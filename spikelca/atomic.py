"""A file is replaced as a whole or not at all. Everything this library writes goes through here.

::

    write a neighbour -> flush -> fsync -> rename over the old file -> fsync the folder

A rename within one folder is atomic: whoever looks, at whatever moment, finds the old file or the
new one. The two fsyncs let that hold for a loss of power too. If anything fails before the rename
(a full disk, a read-only folder, an error of the device), the neighbour goes and the old file
stays.

A process that is killed leaves its neighbour behind. The next writer of the same file sweeps it. To
tell what is left behind from what another process is writing at this moment, a writer holds a lock
on its neighbour, which the system drops when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Elsewhere nothing is swept: there, a file that is open cannot be removed in the first place.
_LOCKS = os.name == "posix"
if _LOCKS:
    import fcntl

SUFFIX = ".spikelca-part"
_NO_SUCH_SERVICE = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS}


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
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
        If the file cannot be written, whole and durably. Unless it was the last step that failed,
        the fsync of the folder, the old file is still there, untouched.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights"
    >>> with replacing(path) as file:
    ...     _ = file.write(b"all of it")
    >>> path.read_bytes()
    b'all of it'
    """
    target = Path(os.path.realpath(path))
    mode = _mode_of(target)
    _sweep(target)
    descriptor, part = _open_part(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
            if _LOCKS:  # renamed under the lock: nobody sweeps it in between
                os.replace(part, target)
        if not _LOCKS:
            os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    _fsync_folder(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file by a text in UTF-8, as a whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def _mode_of(target: Path) -> int | None:
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


def _open_part(target: Path) -> tuple[int, Path]:
    """A new neighbour of the target, locked."""
    while True:
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{SUFFIX}")
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        _lock(descriptor)
        # Between its creation and the lock another writer may have taken it for left behind.
        if os.fstat(descriptor).st_nlink:
            return descriptor, part
        os.close(descriptor)


def _lock(descriptor: int, flags: int = 0) -> bool:
    """Lock a file that this process has open; False if another one holds the lock, or none can."""
    if not _LOCKS:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_SUCH_SERVICE:
            raise
        return False
    return True


def _sweep(target: Path) -> None:
    """Remove what writers of this file left behind when they were killed."""
    if not _LOCKS:
        return
    start, n_marks = f".{target.name}.", 8
    for name in os.listdir(target.parent):
        middle = name[len(start) : -len(SUFFIX)]
        if name.startswith(start) and name.endswith(SUFFIX) and len(middle) == n_marks:
            with suppress(OSError):  # another sweeper was faster, or it is not ours to remove
                _remove_if_left(target.with_name(name))


def _remove_if_left(part: Path) -> None:
    descriptor = os.open(part, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _lock(descriptor, fcntl.LOCK_NB):
            os.unlink(part)
    finally:
        os.close(descriptor)


def _fsync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SUCH_SERVICE:
            raise
    finally:
        os.close(descriptor)

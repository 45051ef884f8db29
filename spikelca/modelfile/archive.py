"""A zip that can be written in one way only.

::

    manifest.json                   parameters; of every array its name, dtype, shape and SHA-256
    <name>.npy, ...                 the arrays, little-endian, in the order of the manifest
    directory of the zip            follows from the above; its comment is the manifest's SHA-256

Members are stored, not compressed, and carry no time: the same model is the same bytes. Any zip
program opens the file, and so does ``numpy.load``.

The reader is no zip program. The manifest says which arrays follow, and with that the length of the
file and every byte that is not array or manifest are known: they are *compared*, never interpreted.
So there is nothing to trick: a second directory, a compressed or doubled member, sizes of zip64, a
path that climbs out, a pickled object have no reader. The order of events is

1. the size of the manifest against a cap and the file, its digest, its grammar;
2. names, dtypes and shapes; the length that follows from them against the length of the file;
3. all digests, and every byte between the arrays, in pieces;
4. only then is memory taken, and what is read into it is compared with its digest again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spikelca._version import __version__
from spikelca.modelfile.zip_format import (
    MANIFEST,
    MAX_FILE,
    MAX_MANIFEST,
    ArrayEntry,
    WrittenEntry,
    directory,
    header,
    list_entries,
    parse_entries,
)
from spikelca.utils.atomic_write import write_atomic

FORMAT, SCHEMA = "spikelca-model", 2
CHUNK_BYTES = 1 << 20


class ModelFileError(ValueError):
    """A file that is not, byte for byte, a model file. The message names the file and the fault.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from spikelca import load
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.spikelca"
    >>> _ = path.write_bytes(b"no model")
    >>> try:
    ...     load(path)
    ... except ModelFileError:
    ...     print("refused")
    refused
    """


@contextmanager
def model_file_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever is found wrong with the content of a file into one `ModelFileError`."""
    try:
        yield
    except ModelFileError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error


def write_archive(
    path: str | os.PathLike[str], model: Any, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model file, as a whole or not at all.

    Parameters
    ----------
    path : path
    model : JSON value
        The parameters.
    arrays : mapping of name to array of float32, float64, int64 or bool

    Raises
    ------
    ValueError
        If the model is larger than a model file can be.
    OSError
        If it cannot be written; the old file is still there then.
    """
    ordered = {n: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for n, a in arrays.items()}
    members = [ArrayEntry.from_array(name, a) for name, a in ordered.items()]
    parse_entries(list_entries(members), 0)  # what could not be read is not written
    told = {"format": FORMAT, "schema": SCHEMA, "written_by": f"spikelca {__version__}"}
    text = json.dumps(told | {"model": model, "arrays": list_entries(members)}, allow_nan=False)
    manifest = text.encode("ascii")
    _check_size(manifest, members)
    parts: list[tuple[str, list[Any]]] = [(MANIFEST, [manifest])]
    parts += [(m.file_name, [m.npy, _as_bytes(ordered[m.name])]) for m in members]
    with write_atomic(path) as file:
        written = [_write_member(file, name, pieces) for name, pieces in parts]
        file.write(directory(written, hashlib.sha256(manifest).hexdigest()))


def _check_size(manifest: bytes, members: list[ArrayEntry]) -> None:
    if len(manifest) > MAX_MANIFEST:
        raise ValueError(
            f"The parameters take {len(manifest)} bytes; at most {MAX_MANIFEST} fit into a "
            "model file. Fewer names of features or classes, perhaps?"
        )
    size = _file_size(len(manifest), members)
    if size > MAX_FILE:
        raise ValueError(f"The model takes {size} bytes; a model file holds {MAX_FILE}.")


def _as_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8)).cast("B")


def _write_member(file: IO[bytes], name: str, pieces: list[Any]) -> WrittenEntry:
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    size, offset = sum(len(piece) for piece in pieces), file.tell()
    file.write(header(name, size, crc))
    for piece in pieces:
        file.write(piece)
    return WrittenEntry(name, size, crc, offset)


def _file_size(manifest: int, members: list[ArrayEntry]) -> int:
    """Length of the whole file."""
    written = [
        WrittenEntry(MANIFEST, manifest, 0, 0),
        *(WrittenEntry(m.file_name, m.size, 0, 0) for m in members),
    ]
    bodies = sum(len(header(w.name, 0, 0)) + w.size for w in written)
    return bodies + len(directory(written, "0" * 64))


def read_archive(path: str | os.PathLike[str]) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Read a model file: its parameters, as JSON, and its arrays, read-only.

    Raises
    ------
    ModelFileError
        If it is anything but a whole, unaltered model file that this version knows.
    OSError
        If it cannot be opened or read.
    """
    with model_file_errors(path), _open_regular(Path(path)) as file:
        raw = _read_manifest(file)
        manifest = _parse(raw)
        members = parse_entries(manifest["arrays"], file.tell())
        size, awaited = os.fstat(file.fileno()).st_size, _file_size(len(raw), members)
        if size != awaited or size > MAX_FILE:
            raise ValueError(
                f"found {size} bytes; {awaited} were awaited for the arrays that the manifest "
                f"lists, and at most {MAX_FILE}. The file is cut short, or something was "
                "added: fetch it again."
            )
        _verify(file, raw, members)
        return manifest["model"], {m.name: _read_array(file, m) for m in members}


@contextmanager
def _open_regular(path: Path) -> Iterator[IO[bytes]]:
    # Asked before it is opened: to open a pipe is to wait for its writer.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("found a folder, a pipe or a device; a regular file was awaited.")
    with path.open("rb", buffering=0) as file:
        yield file


def _read_exactly(file: IO[bytes], n_bytes: int) -> bytes:
    pieces = []
    while n_bytes:
        piece = file.read(min(n_bytes, CHUNK_BYTES))
        if not piece:
            raise ValueError("found the end of the file inside of it; fetch it again.")
        pieces.append(piece)
        n_bytes -= len(piece)
    return b"".join(pieces)


def _read_manifest(file: IO[bytes]) -> bytes:
    known = header(MANIFEST, 0, 0)
    found = _read_exactly(file, len(known))
    size, crc = int.from_bytes(found[18:22], "little"), int.from_bytes(found[14:18], "little")
    if found != header(MANIFEST, size, crc):
        raise ValueError("found another beginning than that of a model file; is it one?")
    if size > min(MAX_MANIFEST, os.fstat(file.fileno()).st_size):
        raise ValueError(
            f"found a manifest that declares {size} bytes; at most {MAX_MANIFEST}, and no "
            "more than the file has, were awaited."
        )
    return _read_exactly(file, size)


def _parse(raw: bytes) -> dict[str, Any]:
    found = json.loads(
        raw.decode("ascii"), object_pairs_hook=_reject_duplicates, parse_constant=_reject_constants
    )
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"found a manifest that is not of the format {FORMAT!r}.")
    schema = found.get("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"found the schema version {schema!r}; a number from 1 on was awaited.")
    if schema > SCHEMA:
        raise ValueError(
            f"found schema version {schema}, written by {str(found.get('written_by'))[:40]!r}; "
            f"this is spikelca {__version__}, which reads up to {SCHEMA}. Update spikelca."
        )
    if set(found) != {"format", "schema", "written_by", "model", "arrays"}:
        raise ValueError(f"found the entries {str(sorted(found))[:200]} in the manifest.")
    return found


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("found a name twice in one object of the manifest.")
    return found


def _reject_constants(word: str) -> None:
    raise ValueError(f"found {word} in the manifest; a number was awaited.")


def _verify(file: IO[bytes], manifest: bytes, members: list[ArrayEntry]) -> None:
    """Compare every byte of the file with what it must be, in pieces."""
    file.seek(0)
    written = [WrittenEntry(MANIFEST, len(manifest), zlib.crc32(manifest), 0)]
    _check_bytes(file, header(MANIFEST, len(manifest), written[0].crc), "header of the manifest")
    _check_bytes(file, manifest, "manifest")
    for member in members:
        offset = file.tell()
        found = _read_exactly(file, len(header(member.file_name, 0, 0)))
        _check_bytes(file, member.npy, f"header of {member.name!r}")
        crc = _digest(file, member)
        if found != header(member.file_name, member.size, crc):
            raise ValueError(f"found an altered header before {member.name!r}; fetch it again.")
        written.append(WrittenEntry(member.file_name, member.size, crc, offset))
    _check_bytes(file, directory(written, hashlib.sha256(manifest).hexdigest()), "directory")


def _check_bytes(file: IO[bytes], awaited: bytes, what: str) -> None:
    if _read_exactly(file, len(awaited)) != awaited:
        raise ValueError(f"found an altered {what}; the file is damaged: fetch it again.")


def _digest(file: IO[bytes], member: ArrayEntry) -> int:
    """Read over an array, compare its SHA-256, and return the CRC of the member."""
    crc, digest, left = zlib.crc32(member.npy), hashlib.sha256(), member.n_bytes
    while left:
        piece = _read_exactly(file, min(left, CHUNK_BYTES))
        crc, left = zlib.crc32(piece, crc), left - len(piece)
        digest.update(piece)
    _check_digest(digest.hexdigest(), member)
    return crc


def _check_digest(digest: str, member: ArrayEntry) -> None:
    if digest != member.sha256:
        raise ValueError(
            f"found {member.name!r} with SHA-256 {digest[:16]}..; the manifest awaits "
            f"{member.sha256[:16]}... The file is damaged: fetch it again."
        )


def _read_array(file: IO[bytes], member: ArrayEntry) -> NDArray[Any]:
    array = np.empty(member.shape, member.dtype)
    room = _as_bytes(array)
    file.seek(member.offset)
    first = 0
    while first < len(room):
        count = file.readinto(room[first:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("found the end of the file inside of it; fetch it again.")
        first += count
    _check_digest(hashlib.sha256(room).hexdigest(), member)
    if member.dtype == np.bool_ and array.view(np.uint8).max() > 1:
        raise ValueError(f"found {member.name!r} with bytes that are neither true nor false.")
    array.setflags(write=False)
    return array

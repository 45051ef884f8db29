"""Archive of a model file: a zip with exactly one valid byte sequence for given content.

::

    manifest.json                   parameters; name, dtype, shape and SHA-256 of every array
    <name>.npy, ...                 arrays, little-endian, in the order of the manifest
    directory of the zip            follows from the above; its comment is the manifest's SHA-256

Members are stored without compression and time, so that equal models give equal files. Zip programs
and ``numpy.load`` can open them.

The reader does not interpret the zip structure. The manifest lists the arrays, which determines the
length of the file and every byte between them; these bytes are compared with the expected ones.
Therefore second directories, compressed or duplicate members, zip64 sizes, paths outside the
archive and pickled objects are rejected. The order of the checks is

1. size of the manifest (limit and length of the file), its JSON syntax and its entries;
2. names, dtypes and shapes of the arrays; the length of the file that follows from them;
3. all digests, and every byte between the arrays, in chunks;
4. digests again, after memory is allocated and the arrays are read.
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

FORMAT, SCHEMA = "spikelca-model", 3
CHUNK_BYTES = 1 << 20


class ModelFileError(ValueError):
    """Raised for a file that is not a valid model file; the message names the file and the reason.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from spikelca import load
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.spikelca"
    >>> _ = path.write_bytes(b"no model")
    >>> try:
    ...     load(path)
    ... except ModelFileError:
    ...     print("rejected")
    rejected
    """


@contextmanager
def model_file_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert errors about the content of a file to `ModelFileError`, with the name of the file."""
    try:
        yield
    except ModelFileError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error


def write_archive(
    path: str | os.PathLike[str], model: Any, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model file atomically.

    Parameters
    ----------
    path : path
        File to write.
    model : JSON value
        Parameters.
    arrays : mapping of name to array of float32, float64, int64 or bool
        Arrays.

    Raises
    ------
    ValueError
        If the model is too large for a model file.
    OSError
        If the file cannot be written; an existing file is unchanged then.
    """
    ordered = {n: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for n, a in arrays.items()}
    members = [ArrayEntry.from_array(name, a) for name, a in ordered.items()]
    parse_entries(list_entries(members), 0)  # do not write what the reader rejects
    head = {"format": FORMAT, "schema": SCHEMA, "written_by": f"spikelca {__version__}"}
    text = json.dumps(head | {"model": model, "arrays": list_entries(members)}, allow_nan=False)
    manifest = text.encode("ascii")
    _check_size(manifest, members)
    contents: list[tuple[str, list[Any]]] = [(MANIFEST, [manifest])]
    contents += [(m.file_name, [m.npy, _as_bytes(ordered[m.name])]) for m in members]
    with write_atomic(path) as file:
        written = [_write_member(file, name, chunks) for name, chunks in contents]
        file.write(directory(written, hashlib.sha256(manifest).hexdigest()))


def _check_size(manifest: bytes, members: list[ArrayEntry]) -> None:
    if len(manifest) > MAX_MANIFEST:
        raise ValueError(
            f"The parameters must take at most {MAX_MANIFEST} bytes, got {len(manifest)}. Use "
            "fewer or shorter names of features and classes."
        )
    size = _file_size(len(manifest), members)
    if size > MAX_FILE:
        raise ValueError(f"The model must take at most {MAX_FILE} bytes, got {size}.")


def _as_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8)).cast("B")


def _write_member(file: IO[bytes], name: str, chunks: list[Any]) -> WrittenEntry:
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    size, offset = sum(len(chunk) for chunk in chunks), file.tell()
    file.write(header(name, size, crc))
    for chunk in chunks:
        file.write(chunk)
    return WrittenEntry(name, size, crc, offset)


def _file_size(manifest: int, members: list[ArrayEntry]) -> int:
    """Compute the length of the file in bytes."""
    written = [
        WrittenEntry(MANIFEST, manifest, 0, 0),
        *(WrittenEntry(m.file_name, m.size, 0, 0) for m in members),
    ]
    bodies = sum(len(header(w.name, 0, 0)) + w.size for w in written)
    return bodies + len(directory(written, "0" * 64))


def read_archive(path: str | os.PathLike[str]) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Read the parameters of a model file, as JSON, and its arrays, read-only.

    Raises
    ------
    ModelFileError
        If it is not a complete, unaltered model file of a supported schema version.
    OSError
        If it cannot be opened or read.
    """
    with model_file_errors(path), _open_regular(Path(path)) as file:
        raw = _read_manifest(file)
        manifest = _parse(raw)
        members = parse_entries(manifest["arrays"], file.tell())
        size, expected = os.fstat(file.fileno()).st_size, _file_size(len(raw), members)
        if size != expected or size > MAX_FILE:
            raise ValueError(
                f"wrong size (got {size} bytes, expected {expected} for the listed arrays and at "
                f"most {MAX_FILE}). The file is truncated or has additional bytes: get it again."
            )
        _verify(file, raw, members)
        return manifest["model"], {m.name: _read_array(file, m) for m in members}


@contextmanager
def _open_regular(path: Path) -> Iterator[IO[bytes]]:
    # Checked before the file is opened, because opening a pipe waits for its writer.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a regular file (a folder, pipe or device).")
    with path.open("rb", buffering=0) as file:
        yield file


def _read_exactly(file: IO[bytes], n_bytes: int) -> bytes:
    chunks = []
    while n_bytes:
        chunk = file.read(min(n_bytes, CHUNK_BYTES))
        if not chunk:
            raise ValueError("unexpected end of file. Get the file again.")
        chunks.append(chunk)
        n_bytes -= len(chunk)
    return b"".join(chunks)


def _read_manifest(file: IO[bytes]) -> bytes:
    start = _read_exactly(file, len(header(MANIFEST, 0, 0)))
    size, crc = int.from_bytes(start[18:22], "little"), int.from_bytes(start[14:18], "little")
    if start != header(MANIFEST, size, crc):
        raise ValueError("not a spikelca model file (bad header).")
    if size > min(MAX_MANIFEST, os.fstat(file.fileno()).st_size):
        raise ValueError(
            f"manifest too large (got {size} bytes, at most {MAX_MANIFEST} and the length of the "
            "file allowed)."
        )
    return _read_exactly(file, size)


def _parse(raw: bytes) -> dict[str, Any]:
    manifest = json.loads(
        raw.decode("ascii"), object_pairs_hook=_reject_duplicates, parse_constant=_reject_constants
    )
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"The format in the manifest must be {FORMAT!r}.")
    schema = manifest.get("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"The schema version must be an integer >= 1, got {schema!r}.")
    if schema > SCHEMA:
        raise ValueError(
            f"The schema version must be at most {SCHEMA} for spikelca {__version__}, got schema "
            f"version {schema}, written by {str(manifest.get('written_by'))[:40]!r}. Update "
            "spikelca."
        )
    expected = {"format", "schema", "written_by", "model", "arrays"}
    if set(manifest) != expected:
        raise ValueError(
            f"The manifest must have the entries {sorted(expected)}, got "
            f"{str(sorted(manifest))[:200]}."
        )
    return manifest


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("Names in the manifest must be unique.")
    return mapping


def _reject_constants(name: str) -> None:
    raise ValueError(f"Numbers in the manifest must be finite, got {name}.")


def _verify(file: IO[bytes], manifest: bytes, members: list[ArrayEntry]) -> None:
    """Compare every byte of the file with the expected one, in chunks."""
    file.seek(0)
    written = [WrittenEntry(MANIFEST, len(manifest), zlib.crc32(manifest), 0)]
    _check_bytes(file, header(MANIFEST, len(manifest), written[0].crc), "header of the manifest")
    _check_bytes(file, manifest, "manifest")
    for member in members:
        offset = file.tell()
        zip_header = _read_exactly(file, len(header(member.file_name, 0, 0)))
        _check_bytes(file, member.npy, f"header of {member.name!r}")
        crc = _read_crc(file, member)
        if zip_header != header(member.file_name, member.size, crc):
            raise ValueError(f"altered zip header of {member.name!r}. Get the file again.")
        written.append(WrittenEntry(member.file_name, member.size, crc, offset))
    _check_bytes(file, directory(written, hashlib.sha256(manifest).hexdigest()), "directory")


def _check_bytes(file: IO[bytes], expected: bytes, name: str) -> None:
    if _read_exactly(file, len(expected)) != expected:
        raise ValueError(f"altered {name}. The file is damaged: get it again.")


def _read_crc(file: IO[bytes], member: ArrayEntry) -> int:
    """Read an array without keeping it, check its SHA-256, and return the CRC of the member."""
    crc, digest, remaining = zlib.crc32(member.npy), hashlib.sha256(), member.n_bytes
    while remaining:
        chunk = _read_exactly(file, min(remaining, CHUNK_BYTES))
        crc, remaining = zlib.crc32(chunk, crc), remaining - len(chunk)
        digest.update(chunk)
    _check_digest(digest.hexdigest(), member)
    return crc


def _check_digest(digest: str, member: ArrayEntry) -> None:
    if digest != member.sha256:
        raise ValueError(
            f"wrong SHA-256 of {member.name!r} (got {digest[:16]}..., expected "
            f"{member.sha256[:16]}...). The file is damaged: get it again."
        )


def _read_array(file: IO[bytes], member: ArrayEntry) -> NDArray[Any]:
    array = np.empty(member.shape, member.dtype)
    buffer = _as_bytes(array)
    file.seek(member.offset)
    start = 0
    while start < len(buffer):
        count = file.readinto(buffer[start:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("unexpected end of file. Get the file again.")
        start += count
    _check_digest(hashlib.sha256(buffer).hexdigest(), member)
    if member.dtype == np.bool_ and array.view(np.uint8).max() > 1:
        raise ValueError(f"{member.name!r} has bytes that are neither true nor false.")
    array.setflags(write=False)
    return array
